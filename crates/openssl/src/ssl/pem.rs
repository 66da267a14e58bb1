//! PEM texts and what can be read from them.

use std::ffi::{c_char, c_int, c_void};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::ptr;

use spinlane_cryptodev::OpKind;
use zeroize::Zeroizing;

use super::fault::{self, Wanted};
use crate::error::{ErrorStack, SslError};
use crate::ffi::{self, BIO, EVP_PKEY, OSSL_LIB_CTX, X509, X509_CRL};

/// A PEM text and where it came from, for error messages.
#[derive(Clone)]
pub struct Pem {
    name: String,
    text: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Pem {
    /// The text may be a private key and stays out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pem")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Owns an object of libcrypto.
pub(super) struct Owned<T> {
    pointer: *mut T,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// `None` if `pointer` is NULL.
    ///
    /// # Safety
    /// `pointer` is NULL or owned by the caller, and `free` frees it.
    pub(super) unsafe fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        (!pointer.is_null()).then_some(Self { pointer, free })
    }

    pub(super) fn as_ptr(&self) -> *mut T {
        self.pointer
    }

    /// Gives up ownership.
    pub(super) fn into_ptr(self) -> *mut T {
        let pointer = self.pointer;
        std::mem::forget(self);
        pointer
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: owned, and freed once; see `new`.
        unsafe { (self.free)(self.pointer) };
    }
}

unsafe extern "C" fn free_bio(bio: *mut BIO) {
    // SAFETY: called by `Owned` with a BIO it owns.
    unsafe { ffi::BIO_free_all(bio) };
}

/// Answers a request for a pass phrase with none, where OpenSSL would ask the terminal.
unsafe extern "C" fn no_password(_: *mut c_char, _: c_int, _: c_int, _: *mut c_void) -> c_int {
    0
}

/// Reads a file of certificates or keys, and no more than such a file has: 4 MiB, twenty times the bundle
/// of all that browsers trust.
///
/// # Errors
/// The system's; [`FileTooLarge`](io::ErrorKind::FileTooLarge).
pub fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    const MOST: u64 = 4 << 20;
    let file = File::open(path)?;
    // Room for all of it and a byte that is not there: what grows leaves copies.
    let len = file.metadata()?.len().min(MOST) as usize;
    let mut bytes = Zeroizing::new(Vec::with_capacity(len + 1));
    file.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "longer than 4 MiB, so no file of certificates or keys; name that file",
        ));
    }
    Ok(bytes)
}

impl Pem {
    /// `text`, called `name` in errors.
    pub fn new(name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            text: Zeroizing::new(text.into()),
        }
    }

    /// The contents of a file.
    ///
    /// # Errors
    /// [`SslError::Read`], with the path.
    pub fn read(path: &Path) -> Result<Self, SslError> {
        let name = path.display().to_string();
        match read_file(path) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => Err(SslError::Read {
                name,
                error: error.to_string(),
            }),
        }
    }

    /// Where it came from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text itself. Keys are in it.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Looks whether the text has what is `wanted`, whole and not encrypted.
    ///
    /// # Errors
    /// [`SslError::PemFault`], which says what is wrong.
    pub fn check(&self, wanted: Wanted) -> Result<(), SslError> {
        fault::check(&self.text, wanted).map_err(|fault| SslError::PemFault {
            name: self.name.clone(),
            wanted,
            fault,
        })
    }

    /// Its certificates in their order, at least one.
    pub(super) fn certificates(&self) -> Result<Vec<Owned<X509>>, SslError> {
        self.all(Wanted::Certificate, |bio| {
            // SAFETY: a live BIO; no object is reused and no pass phrase is asked for.
            unsafe {
                let (none, ask) = (ptr::null_mut(), Some(no_password as _));
                let read = ffi::PEM_read_bio_X509(bio, ptr::null_mut(), ask, none);
                Owned::new(read, ffi::X509_free)
            }
        })
    }

    /// Its revocation lists, at least one.
    pub(super) fn revocation_lists(&self) -> Result<Vec<Owned<X509_CRL>>, SslError> {
        self.all(Wanted::RevocationList, |bio| {
            // SAFETY: a live BIO; no object is reused and no pass phrase is asked for.
            unsafe {
                let (none, ask) = (ptr::null_mut(), Some(no_password as _));
                let read = ffi::PEM_read_bio_X509_CRL(bio, ptr::null_mut(), ask, none);
                Owned::new(read, ffi::X509_CRL_free)
            }
        })
    }

    /// All that are `wanted`, at least one, by `read`, which gives `None` behind the last.
    fn all<T>(
        &self,
        wanted: Wanted,
        read: impl Fn(*mut BIO) -> Option<Owned<T>>,
    ) -> Result<Vec<Owned<T>>, SslError> {
        self.check(wanted)?;
        let bio = self.bio(wanted)?;
        let mut all = Vec::new();
        while let Some(one) = read(bio.as_ptr()) {
            all.push(one);
        }
        let unreadable = self.unreadable(wanted);
        // The end of the text is an error to the reader too (PEM_R_NO_START_LINE).
        match &unreadable {
            SslError::Pem { detail, .. } if !all.is_empty() && detail.mentions("no start line") => {
                Ok(all)
            }
            _ => Err(unreadable),
        }
    }

    /// Its private key, in the default provider of `library`.
    pub(super) fn private_key(
        &self,
        library: *mut OSSL_LIB_CTX,
    ) -> Result<Owned<EVP_PKEY>, SslError> {
        self.check(Wanted::PrivateKey)?;
        let bio = self.bio(Wanted::PrivateKey)?;
        // SAFETY: a live BIO and library context (NULL = default).
        let key = unsafe {
            Owned::new(
                ffi::PEM_read_bio_PrivateKey_ex(
                    bio.as_ptr(),
                    ptr::null_mut(),
                    Some(no_password),
                    ptr::null_mut(),
                    library,
                    ptr::null(),
                ),
                ffi::EVP_PKEY_free,
            )
        };
        key.ok_or_else(|| self.unreadable(Wanted::PrivateKey))
    }

    fn bio(&self, wanted: Wanted) -> Result<Owned<BIO>, SslError> {
        let len = c_int::try_from(self.text.len()).map_err(|_| self.unreadable(wanted))?;
        // SAFETY: the text outlives the BIO, which only reads it.
        let bio = unsafe {
            Owned::new(
                ffi::BIO_new_mem_buf(self.text.as_ptr().cast(), len),
                free_bio,
            )
        };
        bio.ok_or_else(|| self.unreadable(wanted))
    }

    fn unreadable(&self, wanted: Wanted) -> SslError {
        SslError::Pem {
            name: self.name.clone(),
            wanted,
            detail: ErrorStack::take(),
        }
    }
}

/// Which of `certificates` has the public part of `key`. `None` if that cannot be told.
pub(super) fn position_of(key: &Owned<EVP_PKEY>, certificates: &[Owned<X509>]) -> Option<usize> {
    let position = certificates.iter().position(|certificate| {
        // SAFETY: a live certificate; the result is owned.
        let public = unsafe {
            Owned::new(
                ffi::X509_get_pubkey(certificate.as_ptr()),
                ffi::EVP_PKEY_free,
            )
        };
        // SAFETY: both live.
        public.is_some_and(|public| unsafe { ffi::EVP_PKEY_eq(public.as_ptr(), key.as_ptr()) } == 1)
    });
    drop(ErrorStack::take());
    position
}

/// Whether `key` makes a signature, by its kind's own digest. If not, OpenSSL's error queue says why.
pub(super) fn signs(key: &Owned<EVP_PKEY>) -> bool {
    const TEXT: &[u8] = b"a trial";
    drop(ErrorStack::take());
    // SAFETY: makes a new context, which is owned.
    let Some(context) = (unsafe { Owned::new(ffi::EVP_MD_CTX_new(), ffi::EVP_MD_CTX_free) }) else {
        return false;
    };
    let mut len = 0;
    // SAFETY: all live; NULL stands for the kind's digest, and for a place when the length is asked for.
    unsafe {
        let (context, none) = (context.as_ptr(), ptr::null_mut());
        let begun =
            ffi::EVP_DigestSignInit(context, none, ptr::null(), ptr::null_mut(), key.as_ptr());
        if begun != 1
            || ffi::EVP_DigestSign(
                context,
                ptr::null_mut(),
                &raw mut len,
                TEXT.as_ptr(),
                TEXT.len(),
            ) != 1
        {
            return false;
        }
        let mut signature = vec![0; len];
        ffi::EVP_DigestSign(
            context,
            signature.as_mut_ptr(),
            &raw mut len,
            TEXT.as_ptr(),
            TEXT.len(),
        ) == 1
    }
}

/// The op by which `key`, which is bound to the provider, signs. `None` if that cannot be told.
pub(super) fn op_of(key: &Owned<EVP_PKEY>) -> Option<OpKind> {
    // SAFETY: a live key and C strings.
    let (bits, is_a) = unsafe {
        let is_a = |name: &std::ffi::CStr| ffi::EVP_PKEY_is_a(key.as_ptr(), name.as_ptr()) == 1;
        let is_a = [c"RSA", c"EC", c"ED25519"].map(is_a);
        (ffi::EVP_PKEY_get_bits(key.as_ptr()), is_a)
    };
    match (is_a, bits) {
        ([true, ..], 2048) => Some(OpKind::Rsa2048),
        ([true, ..], 3072) => Some(OpKind::Rsa3072),
        ([true, ..], 4096) => Some(OpKind::Rsa4096),
        ([_, true, _], 256) => Some(OpKind::EcdsaP256),
        ([_, true, _], 384) => Some(OpKind::EcdsaP384),
        ([.., true], _) => Some(OpKind::Ed25519),
        _ => None,
    }
}
