//! Keys for an `SSL_CTX`, and a close that is safe while a call is paused.

use std::ffi::{OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use spinlane::openssl::{KeyOffload, Pem, abi, raw};
use spinlane::rustls;

use crate::device::{OpenDevice, own_key, text};
use crate::error::{Failure, check, guard, null, remember};
use crate::lcore::{ThreadLcore, named, of};
use crate::{start, warn_of_binding};

/// The key's operations go to devices.
const KEY_OFFLOADED: c_int = 1;
/// The key is in use, but no device does its kind.
const KEY_NOT_OFFLOADED: c_int = 2;

/// The library context that the provider is loaded in, or NULL.
#[unsafe(no_mangle)]
pub extern "C" fn spinlane_libctx() -> *mut c_void {
    guard(ptr::null_mut(), || {
        start();
        warn_of_binding();
        Ok(raw::library_context()?.cast())
    })
}

/// Whether libssl's references to `ASYNC_*` are bound to this library.
#[unsafe(no_mangle)]
pub extern "C" fn spinlane_verify_binding() -> c_int {
    check(|| Ok(abi::verify_binding()?))
}

/// Makes `key` the private key of `ctx`.
///
/// # Safety
/// Both are NULL or live, in the library context of [`spinlane_libctx`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_ssl_ctx_use_private_key(
    ctx: *mut c_void,
    key: *mut c_void,
) -> c_int {
    guard(0, || {
        start();
        if ctx.is_null() {
            return Err(null("ctx"));
        }
        if key.is_null() {
            return Err(null("key"));
        }
        // SAFETY: live, by the contract.
        answer(unsafe { raw::use_private_key(ctx.cast(), key.cast()) })
    })
}

/// Makes the key in the PEM file at `path` the private key of `ctx`.
///
/// # Safety
/// `ctx` as above; `path` is NULL or a terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_ssl_ctx_use_private_key_file(
    ctx: *mut c_void,
    path: *const c_char,
) -> c_int {
    guard(0, || {
        start();
        if ctx.is_null() {
            return Err(null("ctx"));
        }
        // SAFETY: NULL or terminated, by the contract.
        let path = unsafe { text(path) }.ok_or_else(|| null("path"))?;
        let pem = Pem::read(Path::new(OsStr::from_bytes(path.to_bytes())))?;
        // SAFETY: live, by the contract.
        answer(unsafe { raw::use_private_key_pem(ctx.cast(), &pem) })
    })
}

/// Makes the key that `uri` names on `device` the private key of `ctx`.
///
/// # Safety
/// `ctx` as above; `device` is NULL or open; `uri` is NULL or a terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_ssl_ctx_use_private_key_uri(
    ctx: *mut c_void,
    device: *const OpenDevice,
    uri: *const c_char,
) -> c_int {
    guard(0, || {
        start();
        if ctx.is_null() {
            return Err(null("ctx"));
        }
        // SAFETY: NULL or open, and NULL or terminated, by the contract.
        let (_, key) = unsafe { own_key(device, uri) }?;
        // SAFETY: live, by the contract.
        unsafe { raw::use_remote_key(ctx.cast(), &key) }?;
        Ok(KEY_OFFLOADED)
    })
}

fn answer<E: Into<Failure>>(used: Result<KeyOffload, E>) -> Result<c_int, Failure> {
    Ok(match used.map_err(Into::into)? {
        KeyOffload::Offloaded => KEY_OFFLOADED,
        KeyOffload::Unsupported(why) => not_offloaded(&why),
        KeyOffload::Off => KEY_NOT_OFFLOADED,
    })
}

/// What is answered of a key that rustls uses.
pub(crate) fn key_offload(offload: rustls::KeyOffload) -> c_int {
    match offload {
        rustls::KeyOffload::Offloaded => KEY_OFFLOADED,
        rustls::KeyOffload::Unsupported(why) => not_offloaded(&why),
    }
}

fn not_offloaded(why: &str) -> c_int {
    remember(why);
    KEY_NOT_OFFLOADED
}

/// Has `conn` come out of `spinlane_next_ready` when a call on `ssl` can go on.
///
/// # Safety
/// `ssl` and `lcore` are NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_attach(
    ssl: *mut c_void,
    lcore: *mut ThreadLcore,
    conn: *mut c_void,
) -> c_int {
    check(|| {
        if ssl.is_null() {
            return Err(null("ssl"));
        }
        // SAFETY: by the contract. It is the thread's current one, as every lcore of C's.
        unsafe { of(lcore) }?;
        // SAFETY: live, by the contract.
        unsafe { raw::attach(ssl.cast(), named(conn)) };
        Ok(())
    })
}

/// Frees `ssl`, unwinding what is paused in it first.
///
/// # Safety
/// `ssl` is NULL or live, of this thread, and used no more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_ssl_free(ssl: *mut c_void) {
    guard((), || {
        if !ssl.is_null() {
            // SAFETY: live, by the contract; the reference that is given back is the caller's.
            unsafe { raw::close(ssl.cast()) };
        }
        Ok(())
    });
}
