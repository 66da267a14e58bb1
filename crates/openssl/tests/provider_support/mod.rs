//! libssl and libcrypto for the provider's tests: keys, certificates and handshakes in memory.
//!
//! Every wrapper owns what it points to, and tests use each on one thread at a time.

#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "each block is a call on what its wrapper owns"
)]
#![allow(dead_code, reason = "not every test program uses everything")]

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::ptr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use openssl_sys::*;
use spinlane_openssl::provider::{self, BindError, Provider};

unsafe extern "C" {
    fn SSL_CTX_new_ex(
        libctx: *mut OSSL_LIB_CTX,
        propq: *const c_char,
        method: *const SSL_METHOD,
    ) -> *mut SSL_CTX;
    fn BIO_new_bio_pair(a: *mut *mut BIO, a_size: usize, b: *mut *mut BIO, b_size: usize) -> c_int;
    fn SSL_get1_session(ssl: *mut SSL) -> *mut SSL_SESSION;
    fn X509_check_private_key(certificate: *const X509, key: *const EVP_PKEY) -> c_int;
    fn EVP_PKEY_dup(key: *mut EVP_PKEY) -> *mut EVP_PKEY;
    fn EVP_PKEY_get0_provider(key: *const EVP_PKEY) -> *const OSSL_PROVIDER;
    fn OSSL_PROVIDER_get0_name(provider: *const OSSL_PROVIDER) -> *const c_char;
    fn SSL_CTX_set_num_tickets(ctx: *mut SSL_CTX, tickets: usize) -> c_int;
}

/// The error queue in words; empty afterwards.
pub fn errors() -> String {
    let mut text = String::new();
    loop {
        let (mut data, mut flags) = (ptr::null(), 0);
        let code = unsafe {
            ERR_get_error_all(
                ptr::null_mut(),
                ptr::null_mut(),
                ptr::null_mut(),
                &mut data,
                &mut flags,
            )
        };
        if code == 0 {
            return text;
        }
        let words = |text: *const c_char| {
            if text.is_null() {
                "".into()
            } else {
                unsafe { CStr::from_ptr(text) }.to_string_lossy()
            }
        };
        text += &format!(
            "{code:#x} {}: {}; ",
            words(unsafe { ERR_reason_error_string(code) }),
            words(data)
        );
    }
}

/// Keeps other counting tests of this program away: the counters are the process's.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A library context, never freed: keys and contexts of it may be left over.
#[derive(Clone, Copy)]
pub struct Lib(pub *mut OSSL_LIB_CTX);

unsafe impl Send for Lib {}
unsafe impl Sync for Lib {}

/// The library context with nothing but the default provider.
pub fn stock() -> Lib {
    static STOCK: OnceLock<Lib> = OnceLock::new();
    *STOCK.get_or_init(|| unsafe {
        let lib = Lib(OSSL_LIB_CTX_new());
        assert!(!OSSL_PROVIDER_load(lib.0, c"default".as_ptr()).is_null());
        lib
    })
}

/// The library context with ours.
pub fn ours() -> Lib {
    static OURS: OnceLock<(Lib, Provider)> = OnceLock::new();
    OURS.get_or_init(|| unsafe {
        let lib = Lib(OSSL_LIB_CTX_new());
        (lib, provider::load(lib.0).expect("provider loads"))
    })
    .0
}

/// An owned key.
pub struct Pkey(pub *mut EVP_PKEY);

unsafe impl Send for Pkey {}
unsafe impl Sync for Pkey {}

impl Drop for Pkey {
    fn drop(&mut self) {
        unsafe { EVP_PKEY_free(self.0) };
    }
}

impl Pkey {
    pub fn rsa(lib: Lib, bits: usize) -> Self {
        Self::checked(unsafe { EVP_PKEY_Q_keygen(lib.0, ptr::null(), c"RSA".as_ptr(), bits) })
    }

    pub fn ec(lib: Lib, curve: &CStr) -> Self {
        Self::checked(unsafe {
            EVP_PKEY_Q_keygen(lib.0, ptr::null(), c"EC".as_ptr(), curve.as_ptr())
        })
    }

    pub fn plain(lib: Lib, name: &CStr) -> Self {
        Self::checked(unsafe { EVP_PKEY_Q_keygen(lib.0, ptr::null(), name.as_ptr()) })
    }

    /// A key by keygen with these parameters.
    pub fn generate(lib: Lib, name: &CStr, query: &CStr, params: &[OSSL_PARAM]) -> Self {
        unsafe {
            let ctx = EVP_PKEY_CTX_new_from_name(lib.0, name.as_ptr(), query.as_ptr());
            assert!(EVP_PKEY_keygen_init(ctx) > 0, "{}", errors());
            assert!(
                params.is_empty() || EVP_PKEY_CTX_set_params(ctx, params.as_ptr()) > 0,
                "{}",
                errors()
            );
            let mut key = ptr::null_mut();
            assert!(EVP_PKEY_keygen(ctx, &mut key) > 0, "{}", errors());
            EVP_PKEY_CTX_free(ctx);
            Self(key)
        }
    }

    pub fn checked(key: *mut EVP_PKEY) -> Self {
        assert!(!key.is_null(), "{}", errors());
        Self(key)
    }

    pub fn bind(&self) -> Result<Self, BindError> {
        unsafe { provider::bind(self.0, ours().0) }.map(Self)
    }

    pub fn bound(&self) -> Self {
        self.bind().unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn dup(&self) -> Self {
        Self::checked(unsafe { EVP_PKEY_dup(self.0) })
    }

    pub fn provider(&self) -> String {
        unsafe { CStr::from_ptr(OSSL_PROVIDER_get0_name(EVP_PKEY_get0_provider(self.0))) }
            .to_string_lossy()
            .into_owned()
    }

    pub fn equals(&self, other: &Self) -> bool {
        unsafe { EVP_PKEY_eq(self.0, other.0) == 1 }
    }

    /// Whether EVP_PKEY_todata gives out what `selection` selects.
    pub fn gives(&self, selection: c_int) -> bool {
        let mut parts = ptr::null_mut();
        let given = unsafe { EVP_PKEY_todata(self.0, selection, &mut parts) } == 1;
        unsafe { OSSL_PARAM_free(parts) };
        errors();
        given
    }
}

/// The keys the tests share, each made once.
pub fn rsa(bits: usize) -> &'static Pkey {
    static KEYS: [OnceLock<Pkey>; 3] = [const { OnceLock::new() }; 3];
    KEYS[bits / 1024 - 2].get_or_init(|| Pkey::rsa(ours(), bits))
}

pub fn p256() -> &'static Pkey {
    static KEY: OnceLock<Pkey> = OnceLock::new();
    KEY.get_or_init(|| Pkey::ec(ours(), c"P-256"))
}

pub fn p384() -> &'static Pkey {
    static KEY: OnceLock<Pkey> = OnceLock::new();
    KEY.get_or_init(|| Pkey::ec(ours(), c"P-384"))
}

pub fn ed25519() -> &'static Pkey {
    static KEY: OnceLock<Pkey> = OnceLock::new();
    KEY.get_or_init(|| Pkey::plain(ours(), c"ED25519"))
}

/// An owned, self-signed certificate.
pub struct Certificate(pub *mut X509);

impl Drop for Certificate {
    fn drop(&mut self) {
        unsafe { X509_free(self.0) };
    }
}

impl Certificate {
    /// Signed by `key` with SHA-256, or without digest if it hashes by itself.
    pub fn of(key: &Pkey) -> Self {
        let hashes = unsafe { EVP_PKEY_is_a(key.0, c"ED25519".as_ptr()) } == 1
            || unsafe { EVP_PKEY_is_a(key.0, c"ED448".as_ptr()) } == 1;
        Self::new(
            key,
            if hashes {
                ptr::null()
            } else {
                unsafe { EVP_sha256() }
            },
        )
    }

    /// Signed by `signer` with `digest` (null for keys that hash themselves).
    pub fn new(signer: &Pkey, digest: *const EVP_MD) -> Self {
        unsafe {
            let certificate = X509_new();
            X509_set_version(certificate, 2);
            ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
            X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
            X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
            let name = X509_get_subject_name(certificate);
            let host = b"localhost";
            X509_NAME_add_entry_by_txt(
                name,
                c"CN".as_ptr(),
                MBSTRING_ASC,
                host.as_ptr(),
                host.len() as c_int,
                -1,
                0,
            );
            X509_set_issuer_name(certificate, name);
            assert_eq!(X509_set_pubkey(certificate, signer.0), 1, "{}", errors());
            assert!(X509_sign(certificate, signer.0, digest) > 0, "{}", errors());
            Self(certificate)
        }
    }

    pub fn verified_by(&self, key: &Pkey) -> bool {
        unsafe { X509_verify(self.0, key.0) == 1 }
    }

    pub fn matches(&self, key: &Pkey) -> bool {
        unsafe { X509_check_private_key(self.0, key.0) == 1 }
    }
}

/// One side's settings.
pub struct Context(pub *mut SSL_CTX);

impl Drop for Context {
    fn drop(&mut self) {
        unsafe { SSL_CTX_free(self.0) };
    }
}

impl Context {
    /// A server in our library context.
    pub fn server(certificate: &Certificate, key: &Pkey) -> Self {
        let method = unsafe { TLS_server_method() };
        Self::new(ours(), provider::PROPERTY_QUERY.as_ptr(), method).with_key(certificate, key)
    }

    /// A client in our library context.
    pub fn client() -> Self {
        Self::new(ours(), provider::PROPERTY_QUERY.as_ptr(), unsafe {
            TLS_client_method()
        })
    }

    pub fn stock_server(certificate: &Certificate, key: &Pkey) -> Self {
        Self::new(stock(), ptr::null(), unsafe { TLS_server_method() }).with_key(certificate, key)
    }

    pub fn stock_client() -> Self {
        Self::new(stock(), ptr::null(), unsafe { TLS_client_method() })
    }

    fn new(lib: Lib, query: *const c_char, method: *const SSL_METHOD) -> Self {
        let ctx = unsafe { SSL_CTX_new_ex(lib.0, query, method) };
        assert!(!ctx.is_null(), "{}", errors());
        Self(ctx)
    }

    pub fn with_key(self, certificate: &Certificate, key: &Pkey) -> Self {
        unsafe {
            assert_eq!(
                SSL_CTX_use_certificate(self.0, certificate.0),
                1,
                "{}",
                errors()
            );
            assert_eq!(SSL_CTX_use_PrivateKey(self.0, key.0), 1, "{}", errors());
            assert_eq!(SSL_CTX_check_private_key(self.0), 1, "{}", errors());
        }
        self
    }

    pub fn trusting(self, certificate: &Certificate) -> Self {
        unsafe {
            X509_STORE_add_cert(SSL_CTX_get_cert_store(self.0), certificate.0);
            SSL_CTX_set_verify(
                self.0,
                SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                None,
            );
        }
        self
    }

    pub fn groups(self, list: &CStr) -> Self {
        unsafe {
            assert_eq!(
                SSL_CTX_set1_groups_list(self.0, list.as_ptr()),
                1,
                "{}",
                errors()
            )
        };
        self
    }

    pub fn ciphers(self, list: &CStr) -> Self {
        unsafe {
            assert_eq!(
                SSL_CTX_set_cipher_list(self.0, list.as_ptr()),
                1,
                "{}",
                errors()
            )
        };
        self
    }

    pub fn sigalgs(self, list: &CStr) -> Self {
        const SSL_CTRL_SET_SIGALGS_LIST: c_int = 98;
        let list = list.as_ptr().cast_mut().cast::<c_void>();
        unsafe {
            assert_eq!(
                SSL_CTX_ctrl(self.0, SSL_CTRL_SET_SIGALGS_LIST, 0, list),
                1,
                "{}",
                errors()
            )
        };
        self
    }

    pub fn protocol(self, version: c_int) -> Self {
        unsafe {
            SSL_CTX_set_min_proto_version(self.0, version);
            SSL_CTX_set_max_proto_version(self.0, version);
        }
        self
    }

    pub fn tickets(self, number: usize) -> Self {
        unsafe { SSL_CTX_set_num_tickets(self.0, number) };
        self
    }
}

/// A session to resume.
pub struct Session(*mut SSL_SESSION);

impl Drop for Session {
    fn drop(&mut self) {
        unsafe { SSL_SESSION_free(self.0) };
    }
}

/// A client and a server, connected.
pub struct Pair {
    pub client: *mut SSL,
    pub server: *mut SSL,
}

impl Drop for Pair {
    fn drop(&mut self) {
        unsafe {
            SSL_free(self.client);
            SSL_free(self.server);
        }
    }
}

/// What was agreed.
#[derive(Debug, PartialEq, Eq)]
pub struct Agreed {
    pub version: c_int,
    pub cipher: String,
    pub resumed: bool,
}

impl Pair {
    pub fn new(client: &Context, server: &Context, session: Option<&Session>) -> Self {
        unsafe {
            let pair = Self {
                client: SSL_new(client.0),
                server: SSL_new(server.0),
            };
            let (mut a, mut b) = (ptr::null_mut(), ptr::null_mut());
            assert_eq!(BIO_new_bio_pair(&mut a, 65536, &mut b, 65536), 1);
            SSL_set_bio(pair.client, a, a);
            SSL_set_bio(pair.server, b, b);
            SSL_set_connect_state(pair.client);
            SSL_set_accept_state(pair.server);
            if let Some(session) = session {
                SSL_set_session(pair.client, session.0);
            }
            pair
        }
    }

    /// Handshake, then some bytes each way.
    pub fn run(&self) -> Result<Agreed, String> {
        let (mut client_done, mut server_done) = (false, false);
        for _ in 0..20 {
            client_done = client_done || step(self.client)?;
            server_done = server_done || step(self.server)?;
            if client_done && server_done {
                break;
            }
        }
        if !(client_done && server_done) {
            return Err("handshake does not end".to_owned());
        }
        self.send(self.client, self.server)?;
        self.send(self.server, self.client)?;
        unsafe {
            Ok(Agreed {
                version: SSL_version(self.server),
                cipher: CStr::from_ptr(SSL_CIPHER_get_name(SSL_get_current_cipher(self.server)))
                    .to_string_lossy()
                    .into_owned(),
                resumed: SSL_session_reused(self.server) == 1,
            })
        }
    }

    fn send(&self, from: *mut SSL, to: *mut SSL) -> Result<(), String> {
        let mut buffer = [0u8; 16];
        unsafe {
            let sent = SSL_write(from, c"ping".as_ptr().cast(), 4);
            let got = SSL_read(to, buffer.as_mut_ptr().cast(), 16);
            if (sent, got) == (4, 4) && &buffer[..4] == b"ping" {
                Ok(())
            } else {
                Err(errors())
            }
        }
    }

    pub fn session(&self) -> Session {
        Session(unsafe { SSL_get1_session(self.client) })
    }
}

/// One step; whether the handshake has ended.
pub fn step(ssl: *mut SSL) -> Result<bool, String> {
    unsafe {
        ERR_clear_error();
        let result = SSL_do_handshake(ssl);
        match (result, SSL_get_error(ssl, result)) {
            (1, _) => Ok(true),
            (_, SSL_ERROR_WANT_READ | SSL_ERROR_WANT_WRITE) => Ok(false),
            (_, error) => Err(format!("SSL error {error}: {}", errors())),
        }
    }
}

/// A parameter that holds an int.
pub fn int_param(key: &'static CStr, value: &mut c_int) -> OSSL_PARAM {
    param(key, 1, ptr::from_mut(value).cast(), size_of::<c_int>())
}

pub fn text_param(key: &'static CStr, value: &CStr) -> OSSL_PARAM {
    param(
        key,
        4,
        value.as_ptr().cast_mut().cast(),
        value.count_bytes(),
    )
}

pub fn octet_param(key: &'static CStr, value: &[u8]) -> OSSL_PARAM {
    param(key, 5, value.as_ptr().cast_mut().cast(), value.len())
}

pub fn end_param() -> OSSL_PARAM {
    OSSL_PARAM {
        key: ptr::null(),
        data_type: 0,
        data: ptr::null_mut(),
        data_size: 0,
        return_size: 0,
    }
}

pub fn param(
    key: &'static CStr,
    data_type: u32,
    data: *mut c_void,
    data_size: usize,
) -> OSSL_PARAM {
    OSSL_PARAM {
        key: key.as_ptr(),
        data_type,
        data,
        data_size,
        return_size: usize::MAX,
    }
}

/// A random message.
pub fn message() -> Vec<u8> {
    (0..1000u32).map(|index| (index * 7 % 251) as u8).collect()
}

pub type Long = c_long;
pub type Text = CString;
