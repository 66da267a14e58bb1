//! `spinlane_conn_config_*`.

use std::ffi::{OsStr, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use spinlane::openssl::Pem;
use spinlane::rustls::{MOST_PERIODS, TicketSeed};

use super::bytes;
use super::settings::{Settings, Side};
use crate::device::{OpenDevice, own_key, text, utf8};
use crate::error::{Failure, check, failure, guard, null};
use crate::ssl::key_offload;
use crate::start;

/// RFC 8446, section 4.6.1.
const LONGEST_LIFETIME: u64 = 7 * 24 * 60 * 60;

/// `spinlane_conn_config`. The lock is never waited for.
pub struct Config(Mutex<Settings>);

impl Config {
    /// # Safety
    /// `config` is NULL or live.
    pub(super) unsafe fn lock<'a>(
        config: *const Self,
    ) -> Result<MutexGuard<'a, Settings>, Failure> {
        // SAFETY: by the caller's promise.
        let config = unsafe { config.as_ref() }.ok_or_else(|| null("config"))?;
        match config.0.try_lock() {
            Ok(settings) => Ok(settings),
            Err(TryLockError::Poisoned(settings)) => Ok(settings.into_inner()),
            Err(TryLockError::WouldBlock) => Err(failure(
                "another thread uses this configuration; give each thread a copy (spinlane_conn_config_copy)",
            )),
        }
    }

    fn make(settings: Settings) -> *mut Self {
        Box::into_raw(Box::new(Self(Mutex::new(settings))))
    }
}

/// Changes a setting.
///
/// # Safety
/// `config` is NULL or live.
unsafe fn change<T>(
    config: *mut Config,
    change: impl FnOnce(&mut Settings) -> Result<T, Failure>,
) -> Result<T, Failure> {
    // SAFETY: by the caller's promise.
    let mut settings = unsafe { Config::lock(config) }?;
    let changed = change(&mut settings)?;
    settings.touch();
    Ok(changed)
}

/// # Safety
/// `path` is NULL or a terminated string.
unsafe fn read(path: *const c_char, argument: &str) -> Result<Pem, Failure> {
    // SAFETY: by the caller's promise.
    let path = unsafe { text(path) }.ok_or_else(|| null(argument))?;
    Ok(Pem::read(Path::new(OsStr::from_bytes(path.to_bytes())))?)
}

/// Makes settings for servers.
#[unsafe(no_mangle)]
pub extern "C" fn spinlane_conn_config_create_server() -> *mut Config {
    guard(ptr::null_mut(), || {
        start();
        Ok(Config::make(Settings::new(Side::Server)))
    })
}

/// Makes settings for clients.
#[unsafe(no_mangle)]
pub extern "C" fn spinlane_conn_config_create_client() -> *mut Config {
    guard(ptr::null_mut(), || {
        start();
        Ok(Config::make(Settings::new(Side::Client)))
    })
}

/// Copies settings, for another thread.
///
/// # Safety
/// `config` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_config_copy(config: *const Config) -> *mut Config {
    guard(ptr::null_mut(), || {
        // SAFETY: by the contract.
        Ok(Config::make(unsafe { Config::lock(config) }?.copy()))
    })
}

/// Frees settings. Connections made from them go on.
///
/// # Safety
/// `config` is NULL or live, and used no more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_config_free(config: *mut Config) {
    guard((), || {
        if !config.is_null() {
            // SAFETY: from `make`, freed once.
            drop(unsafe { Box::from_raw(config) });
        }
        Ok(())
    });
}

/// Checks the settings as the first connection would.
///
/// # Safety
/// `config` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_config_check(config: *mut Config) -> c_int {
    // SAFETY: by the contract.
    check(|| unsafe { Config::lock(config) }?.build().map(|_| ()))
}

/// Adds a certificate and its key, PEM texts in memory.
///
/// # Safety
/// `config` is NULL or live; the others are NULL or readable for their lengths.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_config_add_certificate(
    config: *mut Config,
    chain: *const c_void,
    chain_len: usize,
    key: *const c_void,
    key_len: usize,
) -> c_int {
    guard(0, || {
        // SAFETY: by the contract.
        let (chain, key) = unsafe {
            (
                bytes(chain, chain_len, "chain")?,
                bytes(key, key_len, "key")?,
            )
        };
        let (chain, key) = (Pem::new("chain", chain), Pem::new("key", key));
        // SAFETY: by the contract.
        unsafe { add_certificate(config, &chain, &key) }
    })
}

/// Adds a certificate and its key, PEM files.
///
/// # Safety
/// `config` is NULL or live; the paths are NULL or terminated strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_config_add_certificate_files(
    config: *mut Config,
    chain: *const c_char,
    key: *const c_char,
) -> c_int {
    guard(0, || {
        // SAFETY: by the contract.
        let (chain, key) = unsafe { (read(chain, "chain")?, read(key, "key")?) };
        // SAFETY: by the contract.
        unsafe { add_certificate(config, &chain, &key) }
    })
}

/// Adds a certificate, a PEM file, and its key, which stays on `device`.
///
/// # Safety
/// `config` is NULL or live; `device` is NULL or open; path and URI are NULL or terminated strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_config_add_certificate_uri(
    config: *mut Config,
    chain: *const c_char,
    device: *const OpenDevice,
    uri: *const c_char,
) -> c_int {
    guard(0, || {
        // SAFETY: by the contract.
        let (chain, (uri, key)) = unsafe { (read(chain, "chain")?, own_key(device, uri)?) };
        let add = |settings: &mut Settings| settings.add_own_key(&chain, uri, &key);
        // SAFETY: by the contract.
        unsafe { change(config, add) }.map(key_offload)
    })
}

/// # Safety
/// `config` is NULL or live.
unsafe fn add_certificate(config: *mut Config, chain: &Pem, key: &Pem) -> Result<c_int, Failure> {
    // SAFETY: by the caller's promise.
    unsafe { change(config, |settings| settings.add_certificate(chain, key)) }.map(key_offload)
}

/// Sets the issuers of the peers that are let in, PEM text in memory.
///
/// # Safety
/// `config` is NULL or live; `pem` is NULL or readable for `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_config_set_ca(
    config: *mut Config,
    pem: *const c_void,
    len: usize,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        let pem = Pem::new("pem", unsafe { bytes(pem, len, "pem") }?);
        // SAFETY: by the contract.
        unsafe { change(config, |settings| settings.set_issuers(&pem)) }
    })
}

/// Sets the issuers of the peers that are let in, a PEM file.
///
/// # Safety
/// `config` is NULL or live; `path` is NULL or a terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_config_set_ca_file(
    config: *mut Config,
    path: *const c_char,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        let pem = unsafe { read(path, "path") }?;
        // SAFETY: by the contract.
        unsafe { change(config, |settings| settings.set_issuers(&pem)) }
    })
}

/// Has a client believe every server.
///
/// # Safety
/// `config` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_config_dangerously_accept_any_certificate(
    config: *mut Config,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        unsafe {
            change(config, |settings| match settings.side {
                Side::Client => {
                    settings.accept_any();
                    Ok(())
                }
                Side::Server => Err(failure(
                    "a server that is to accept any client sets no issuers (spinlane_conn_config_set_ca)",
                )),
            })
        }
    })
}

/// Adds a protocol that ALPN may choose.
///
/// # Safety
/// `config` is NULL or live; `name` is NULL or a terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_config_add_alpn(
    config: *mut Config,
    name: *const c_char,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        let name = unsafe { text(name) }
            .ok_or_else(|| null("name"))?
            .to_bytes();
        if !(1..=255).contains(&name.len()) {
            return Err(failure(format!(
                "a protocol's name has 1 to 255 bytes, not {}",
                name.len()
            )));
        }
        // SAFETY: by the contract.
        unsafe {
            change(config, |settings| {
                settings.alpn.push(name.to_vec());
                Ok(())
            })
        }
    })
}

/// Sets the versions of TLS.
///
/// # Safety
/// `config` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_config_set_versions(
    config: *mut Config,
    least: c_uint,
    most: c_uint,
) -> c_int {
    // SAFETY: by the contract.
    check(|| unsafe { change(config, |settings| settings.set_versions(least, most)) })
}

/// Sets the groups of key exchange.
///
/// # Safety
/// `config` is NULL or live; `list` is NULL or a terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_config_set_groups(
    config: *mut Config,
    list: *const c_char,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        let list = unsafe { utf8(list, "list") }?;
        // SAFETY: by the contract.
        unsafe { change(config, |settings| settings.set_groups(list)) }
    })
}

/// Sets the cipher suites.
///
/// # Safety
/// `config` is NULL or live; `list` is NULL or a terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_config_set_suites(
    config: *mut Config,
    list: *const c_char,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        let list = unsafe { utf8(list, "list") }?;
        // SAFETY: by the contract.
        unsafe { change(config, |settings| settings.set_suites(list)) }
    })
}

/// Sets how many tickets a full handshake gives and how long they are good.
///
/// # Safety
/// `config` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_config_set_tickets(
    config: *mut Config,
    count: c_uint,
    lifetime_s: u64,
) -> c_int {
    check(|| {
        if count > 16 || (count != 0 && !(1..=LONGEST_LIFETIME).contains(&lifetime_s)) {
            return Err(failure(format!(
                "{count} tickets good for {lifetime_s} seconds; give at most 16, for 1 to {LONGEST_LIFETIME}"
            )));
        }
        // SAFETY: by the contract.
        unsafe {
            change(config, |settings| {
                settings.set_tickets(count as usize, Duration::from_secs(lifetime_s));
                Ok(())
            })
        }
    })
}

/// Sets the secret that ticket keys come from.
///
/// # Safety
/// `config` is NULL or live; `secret` is NULL or readable for 32 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_config_set_ticket_secret(
    config: *mut Config,
    secret: *const u8,
    since: u64,
    lifetime_s: u64,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        let secret = unsafe { secret.cast::<[u8; 32]>().as_ref() }.ok_or_else(|| null("secret"))?;
        let now = SystemTime::now();
        let born = UNIX_EPOCH.checked_add(Duration::from_secs(since));
        let period = Duration::from_secs(lifetime_s);
        let shared = |born| TicketSeed::shared(secret, born, period);
        let seed = (1..=LONGEST_LIFETIME)
            .contains(&lifetime_s)
            .then_some(born)
            .flatten();
        let seed = seed.and_then(shared).ok_or_else(|| {
            let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            failure(format!(
                "a secret since {since} with a key per {lifetime_s} seconds; since is a time before now ({now}), not \
                 more than {MOST_PERIODS} lifetimes ago, and a lifetime has 1 to {LONGEST_LIFETIME} seconds"
            ))
        })?;
        // SAFETY: by the contract.
        unsafe {
            change(config, |settings| {
                settings.server_only("a ticket secret")?;
                settings.set_seed(seed);
                Ok(())
            })
        }
    })
}

/// Sets how many bytes of the peer's a connection may hold.
///
/// # Safety
/// `config` is NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_conn_config_set_max_input(
    config: *mut Config,
    count: usize,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        unsafe {
            change(config, |settings| {
                settings.max_input = count;
                Ok(())
            })
        }
    })
}
