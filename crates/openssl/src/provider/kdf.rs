//! TLS13-KDF: HKDF as TLS 1.3 uses it (RFC 8446, section 7.1), without allocation and fetch.
//!
//! libssl makes a context, derives once and frees it, a dozen times per handshake. The default
//! provider fetches a digest and a MAC and allocates two dozen times for each; this one
//! allocates the context. Digests other than SHA-256, SHA-384 and SHA-512 are the default
//! provider's.

use std::ffi::{CString, c_int, c_uchar, c_void};
use std::ptr;
use std::sync::OnceLock;

use libc::size_t;
use spinlane_crypto::digest::{Digest, HmacKey, MAX_DIGEST_LEN};
use zeroize::Zeroizing;

use super::context::ContextRef;
use super::counters::{Delegated, count_delegated};
use super::digests::digest_by_name;
use super::dispatch;
use super::error::{check, guard, raise};
use super::ffi::{self, EVP_KDF_CTX, OSSL_DISPATCH, OSSL_PARAM};
use super::field::Field;
use super::held::{self, Dup, borrow, borrow_mut};
use super::names;
use super::params::{self, Param, Params, Table};
use super::secret_cache::hmac_key;

/// The derivation's functions.
pub(super) static TABLE: [OSSL_DISPATCH; 10] = [
    dispatch::kdf_newctx(newctx),
    dispatch::kdf_dupctx(held::dup::<Kdf>),
    dispatch::kdf_freectx(held::free::<Kdf>),
    dispatch::kdf_reset(reset),
    dispatch::kdf_derive(derive),
    dispatch::kdf_set_ctx_params(set_ctx_params),
    dispatch::kdf_settable_ctx_params(settable_ctx_params),
    dispatch::kdf_get_ctx_params(get_ctx_params),
    dispatch::kdf_gettable_ctx_params(gettable_ctx_params),
    dispatch::END,
];

/// What has been set so far. It stays set for later derivations, but for `data`, which every
/// new set of parameters resets, as in the default provider.
#[derive(Clone)]
struct Kdf {
    context: ContextRef,
    mode: c_int,
    digest: Choice,
    key: Field,
    salt: Field,
    prefix: Field,
    label: Field,
    data: Field,
}

#[derive(Clone)]
enum Choice {
    Unset,
    Ours(Digest),
    Other(CString),
}

const ZEROS: [u8; MAX_DIGEST_LEN] = [0; MAX_DIGEST_LEN];
const PREFIX: &[u8] = b"tls13 ";
const DERIVED: &[u8] = b"derived";

/// What every handshake without a pre-shared key begins with: constants of the digest.
struct EarlySecret {
    empty_hash: [u8; MAX_DIGEST_LEN],
    secret: [u8; MAX_DIGEST_LEN],
    derived: [u8; MAX_DIGEST_LEN],
}

impl EarlySecret {
    fn of(digest: Digest) -> &'static Self {
        static OF: [OnceLock<EarlySecret>; Digest::ALL.len()] =
            [const { OnceLock::new() }; Digest::ALL.len()];
        OF[digest as usize].get_or_init(|| Self::new(digest))
    }

    fn new(digest: Digest) -> Self {
        let len = digest.len();
        let [mut empty_hash, mut secret, mut derived] = [ZEROS; 3];
        digest.hash(&[], &mut empty_hash);
        HmacKey::new(digest, &[]).sign(&[&ZEROS[..len]], &mut secret);
        let key = HmacKey::new(digest, &secret[..len]);
        expand(
            &key,
            [PREFIX, DERIVED, &empty_hash[..len]],
            &mut derived[..len],
        );
        Self {
            empty_hash,
            secret,
            derived,
        }
    }
}

/// Computes HKDF-Expand (RFC 5869) of the HkdfLabel made of prefix, label and data (RFC 8446,
/// section 7.1). `None` if a length is out of range.
fn expand(key: &HmacKey, [prefix, label, data]: [&[u8]; 3], out: &mut [u8]) -> Option<()> {
    let len = key.digest().len();
    if out.len().div_ceil(len) > 255 {
        return None;
    }
    let out_len = u16::try_from(out.len()).ok()?.to_be_bytes();
    let label_len = [u8::try_from(prefix.len() + label.len()).ok()?];
    let data_len = [u8::try_from(data.len()).ok()?];
    let mut block = Zeroizing::new(ZEROS);
    for (index, out) in (1..=u8::MAX).zip(out.chunks_mut(len)) {
        let last = block.clone();
        let last = if index == 1 { &[][..] } else { &last[..len] };
        key.sign(
            &[
                last,
                &out_len,
                &label_len,
                prefix,
                label,
                &data_len,
                data,
                &[index],
            ],
            &mut *block,
        );
        out.copy_from_slice(&block[..out.len()]);
    }
    Some(())
}

impl Kdf {
    fn new(context: ContextRef) -> Self {
        Self {
            context,
            mode: ffi::EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND,
            digest: Choice::Unset,
            key: Field::default(),
            salt: Field::default(),
            prefix: Field::default(),
            label: Field::default(),
            data: Field::default(),
        }
    }

    fn set(&mut self, params: Params<'_>) -> bool {
        if params.is_null() {
            return true;
        }
        // A constant pattern compares lengths first: this runs for every derivation.
        const KEY: &[u8] = names::KDF_KEY.to_bytes();
        const LABEL: &[u8] = names::KDF_LABEL.to_bytes();
        const PREFIX_OF_LABEL: &[u8] = names::KDF_PREFIX.to_bytes();
        const DATA: &[u8] = names::KDF_DATA.to_bytes();
        const SALT: &[u8] = names::KDF_SALT.to_bytes();
        const MODE: &[u8] = names::KDF_MODE.to_bytes();
        const DIGEST: &[u8] = names::DIGEST.to_bytes();
        self.data.clear();
        let done = params.iter().all(|param| {
            let field = match param.key().to_bytes() {
                KEY => &mut self.key,
                LABEL => &mut self.label,
                PREFIX_OF_LABEL => &mut self.prefix,
                DATA => &mut self.data,
                SALT => &mut self.salt,
                MODE => return self.set_mode(param),
                DIGEST => return self.set_digest(param),
                _ => return true,
            };
            field.set(param)
        });
        if done && self.mode == ffi::EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND {
            raise(format_args!(
                "TLS13-KDF: mode must be EXTRACT_ONLY or EXPAND_ONLY; set it first"
            ));
            return false;
        }
        done
    }

    fn set_mode(&mut self, param: Param<'_>) -> bool {
        let mode = match param.text() {
            None => param.int(),
            Some(text) if text.eq_ignore_ascii_case(b"EXTRACT_ONLY") => {
                Some(ffi::EVP_KDF_HKDF_MODE_EXTRACT_ONLY)
            }
            Some(text) if text.eq_ignore_ascii_case(b"EXPAND_ONLY") => {
                Some(ffi::EVP_KDF_HKDF_MODE_EXPAND_ONLY)
            }
            Some(_) => None,
        };
        match mode {
            Some(
                mode @ (ffi::EVP_KDF_HKDF_MODE_EXTRACT_ONLY | ffi::EVP_KDF_HKDF_MODE_EXPAND_ONLY),
            ) => {
                self.mode = mode;
                true
            }
            _ => {
                raise(format_args!(
                    "TLS13-KDF: mode must be EXTRACT_ONLY or EXPAND_ONLY"
                ));
                false
            }
        }
    }

    fn set_digest(&mut self, param: Param<'_>) -> bool {
        let Some(name) = param.text() else {
            raise(format_args!("TLS13-KDF: the digest's name is no string"));
            return false;
        };
        self.digest = match (digest_by_name(name), CString::new(name)) {
            (Some(digest), _) => Choice::Ours(digest),
            (None, Ok(name)) => Choice::Other(name),
            (None, Err(_)) => return false,
        };
        true
    }

    fn derive(&self, out: &mut [u8]) -> bool {
        let digest = match &self.digest {
            Choice::Ours(digest) => *digest,
            Choice::Other(name) => return self.derive_by_default_provider(name, out),
            Choice::Unset => {
                raise(format_args!("TLS13-KDF: no digest; set one"));
                return false;
            }
        };
        let done = match self.mode {
            ffi::EVP_KDF_HKDF_MODE_EXTRACT_ONLY => self.extract(digest, out),
            ffi::EVP_KDF_HKDF_MODE_EXPAND_ONLY => {
                let data = self.data.get().unwrap_or_default();
                self.key
                    .get()
                    .and_then(|key| self.expand(digest, key, data, out))
            }
            _ => None,
        };
        if done.is_none() {
            let len = out.len();
            raise(format_args!(
                "TLS13-KDF: mode, key, label or output length ({len}) is missing or out of range"
            ));
        }
        done.is_some()
    }

    /// Computes HKDF-Expand-Label with this prefix and label. Returns `None` if a length is out of
    /// range.
    fn expand(&self, digest: Digest, key: &[u8], data: &[u8], out: &mut [u8]) -> Option<()> {
        let prefix = self.prefix.get().unwrap_or_default();
        let label = self.label.get().unwrap_or_default();
        expand(&hmac_key(digest, key, label), [prefix, label, data], out)
    }

    /// Returns the next secret of the key schedule: HKDF-Extract of the key, salted with
    /// Derive-Secret of the last secret, which is this salt.
    fn extract(&self, digest: Digest, out: &mut [u8]) -> Option<()> {
        let len = digest.len();
        if out.len() != len {
            return None;
        }
        let early = EarlySecret::of(digest);
        let salt = match (self.salt.get(), self.key.get()) {
            (None, None) => {
                out.copy_from_slice(&early.secret[..len]);
                return Some(());
            }
            (None, Some(_)) => None,
            (Some(last), _) => Some(self.salt_after(digest, last, early)?),
        };
        let salt = salt.as_ref().map_or(&[][..], |salt| &salt[..len]);
        let key = self.key.get().unwrap_or(&ZEROS[..len]);
        HmacKey::new(digest, salt).sign(&[key], out);
        Some(())
    }

    fn salt_after(
        &self,
        digest: Digest,
        last: &[u8],
        early: &EarlySecret,
    ) -> Option<Zeroizing<[u8; MAX_DIGEST_LEN]>> {
        let len = digest.len();
        let is_usual = self.prefix.get() == Some(PREFIX) && self.label.get() == Some(DERIVED);
        // What a handshake without a pre-shared key starts from is no secret.
        if is_usual && last == &early.secret[..len] {
            return Some(Zeroizing::new(early.derived));
        }
        let mut salt = Zeroizing::new([0; MAX_DIGEST_LEN]);
        self.expand(digest, last, &early.empty_hash[..len], &mut salt[..len])?;
        Some(salt)
    }

    fn derive_by_default_provider(&self, digest: &CString, out: &mut [u8]) -> bool {
        count_delegated(Delegated::Kdf);
        let mut mode = self.mode;
        let mut array = [const { params::end() }; 8];
        array[0] = params::int(names::KDF_MODE, &mut mode);
        array[1] = params::text(names::DIGEST, digest);
        let fields = [
            (names::KDF_KEY, &self.key),
            (names::KDF_SALT, &self.salt),
            (names::KDF_PREFIX, &self.prefix),
            (names::KDF_LABEL, &self.label),
            (names::KDF_DATA, &self.data),
        ];
        let set = fields
            .iter()
            .filter_map(|(name, field)| Some(params::octets(name, field.get()?)));
        array[2..7]
            .iter_mut()
            .zip(set)
            .for_each(|(slot, param)| *slot = param);
        // SAFETY: live library context and C strings; what is made is freed once, here; the array
        // ends with `end` and lives through the call, as `out` does.
        unsafe {
            let kdf = openssl_sys::EVP_KDF_fetch(
                self.context.inner.libctx(),
                c"TLS13-KDF".as_ptr(),
                ptr::null(),
            );
            let ctx: *mut EVP_KDF_CTX = openssl_sys::EVP_KDF_CTX_new(kdf);
            openssl_sys::EVP_KDF_free(kdf);
            let derived = !ctx.is_null()
                && openssl_sys::EVP_KDF_derive(ctx, out.as_mut_ptr(), out.len(), array.as_ptr())
                    > 0;
            openssl_sys::EVP_KDF_CTX_free(ctx);
            derived
        }
    }

    /// Returns the length of the output in bytes: any, or that of the digest.
    fn size(&self) -> Option<usize> {
        match &self.digest {
            _ if self.mode != ffi::EVP_KDF_HKDF_MODE_EXTRACT_ONLY => Some(usize::MAX),
            Choice::Ours(digest) => Some(digest.len()),
            _ => None,
        }
    }
}

impl Dup for Kdf {
    fn dup(&self) -> Option<Self> {
        Some(self.clone())
    }
}

/// Safety of this and the functions below: libcrypto passes contexts that were given out here
/// and have not been freed, one call at a time, and buffers and parameter arrays of the
/// lengths it says.
unsafe extern "C" fn newctx(provctx: *mut c_void) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: libcrypto passes what our init function gave out.
        let context = unsafe { ContextRef::new(provctx) };
        held::give(context.map(Kdf::new))
    })
}

unsafe extern "C" fn reset(ctx: *mut c_void) {
    guard((), || {
        // SAFETY: see `newctx`.
        if let Some(kdf) = unsafe { borrow_mut::<Kdf>(ctx) } {
            *kdf = Kdf::new(kdf.context);
        }
    });
}

unsafe extern "C" fn derive(
    ctx: *mut c_void,
    out: *mut c_uchar,
    out_len: size_t,
    params: *const OSSL_PARAM,
) -> c_int {
    check(|| {
        spinlane_job::wipe_stack_at_end();
        // SAFETY: see `newctx`.
        let Some(kdf) = (unsafe { borrow_mut::<Kdf>(ctx) }) else {
            return false;
        };
        // SAFETY: see `newctx`.
        if !kdf.set(unsafe { Params::new(params) }) {
            return false;
        }
        if out.is_null() {
            raise(format_args!("TLS13-KDF: no buffer for the output"));
            return false;
        }
        // SAFETY: not null, so the caller's buffer of `out_len` bytes.
        kdf.derive(unsafe { std::slice::from_raw_parts_mut(out, out_len) })
    })
}

unsafe extern "C" fn set_ctx_params(ctx: *mut c_void, params: *const OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `newctx`.
        let (kdf, params) = unsafe { (borrow_mut::<Kdf>(ctx), Params::new(params)) };
        kdf.is_some_and(|kdf| kdf.set(params))
    })
}

unsafe extern "C" fn settable_ctx_params(
    _ctx: *mut c_void,
    _provctx: *mut c_void,
) -> *const OSSL_PARAM {
    static SETTABLE: Table<10> = Table::new([
        (Some(names::KDF_MODE), ffi::OSSL_PARAM_UTF8_STRING),
        (Some(names::KDF_MODE), ffi::OSSL_PARAM_INTEGER),
        (Some(names::PROPERTIES), ffi::OSSL_PARAM_UTF8_STRING),
        (Some(names::DIGEST), ffi::OSSL_PARAM_UTF8_STRING),
        (Some(names::KDF_KEY), ffi::OSSL_PARAM_OCTET_STRING),
        (Some(names::KDF_SALT), ffi::OSSL_PARAM_OCTET_STRING),
        (Some(names::KDF_PREFIX), ffi::OSSL_PARAM_OCTET_STRING),
        (Some(names::KDF_LABEL), ffi::OSSL_PARAM_OCTET_STRING),
        (Some(names::KDF_DATA), ffi::OSSL_PARAM_OCTET_STRING),
        Table::<10>::END,
    ]);
    SETTABLE.as_ptr()
}

unsafe extern "C" fn get_ctx_params(ctx: *mut c_void, params: *mut OSSL_PARAM) -> c_int {
    check(|| {
        // SAFETY: see `newctx`.
        let (kdf, params) = unsafe { (borrow::<Kdf>(ctx), Params::new(params)) };
        let (Some(kdf), Some(size)) = (kdf, params.find(names::KDF_SIZE)) else {
            return false;
        };
        kdf.size().is_some_and(|bytes| size.set_size(bytes))
    })
}

unsafe extern "C" fn gettable_ctx_params(
    _ctx: *mut c_void,
    _provctx: *mut c_void,
) -> *const OSSL_PARAM {
    static GETTABLE: Table<2> = Table::new([
        (Some(names::KDF_SIZE), ffi::OSSL_PARAM_UNSIGNED_INTEGER),
        Table::<2>::END,
    ]);
    GETTABLE.as_ptr()
}
