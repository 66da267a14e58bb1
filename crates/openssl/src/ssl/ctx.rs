//! `SSL_CTX`: certificates, keys, protocol versions, and whether private keys are offloaded.

use std::ffi::{CString, c_int, c_long, c_uchar, c_void};
use std::ptr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use spinlane_cryptodev::OpKind;

use super::pem::{self, Owned, Pem};
use super::suites::{self, SuitePreference};
use super::ticket;
use crate::abi::verify_binding;
use crate::error::{ErrorStack, SslError};
use crate::ffi::{self, EVP_PKEY, OSSL_LIB_CTX, SSL_CTX};
use crate::provider;

/// RFC 8446, section 4.6.1.
const LONGEST_SESSION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl Protocol {
    fn number(self) -> c_long {
        match self {
            Self::Tls12 => c_long::from(ffi::TLS1_2_VERSION),
            Self::Tls13 => c_long::from(ffi::TLS1_3_VERSION),
        }
    }
}

/// A server's settings.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The server's certificate, then its issuers.
    pub certificate_chain: Pem,
    /// The certificate's private key, without pass phrase.
    pub private_key: Pem,
    /// Whether private-key operations and X25519 go to the devices of a connection's lcore. `false`
    /// is stock OpenSSL, synchronous.
    pub offload: bool,
    /// Lowest version accepted.
    pub min_protocol: Protocol,
    /// Highest version accepted.
    pub max_protocol: Protocol,
    /// Session tickets issued per TLS 1.3 handshake; 0 switches tickets off in TLS 1.2 too.
    pub tickets: usize,
    /// How long after its full handshake a session can be resumed, in whole seconds; 7 days at most
    /// (RFC 8446, section 4.6.1). It ends with the client's certificate in any case.
    pub session_lifetime: Duration,
    /// Key exchange groups in order of preference, as SSL_CTX_set1_groups_list(3) takes them;
    /// libssl's own list if `None`.
    pub groups: Option<String>,
    /// TLS 1.2 cipher suites, as SSL_CTX_set_cipher_list(3) takes them; libssl's own list if
    /// `None`.
    pub ciphers: Option<String>,
    /// Whose order of cipher suites counts, and what comes first. TLS 1.2 suites that are given in `ciphers` stay in
    /// their order.
    pub preference: SuitePreference,
    /// Cipher suites of both versions by their names in IANA's list, in order of preference; libssl's own if empty.
    pub suites: Vec<String>,
    /// Issuers of client certificates; if set, a client must present one.
    pub client_roots: Option<Pem>,
    /// Whether a client may also present none.
    pub clients_may_be_anonymous: bool,
    /// Revocation lists of the issuers of client certificates; if there are any, a client's certificate needs one of its
    /// issuer, not out of date, without the certificate on it.
    pub client_crls: Vec<Pem>,
    /// Protocols to choose from by ALPN, most preferred first (`http/1.1`).
    pub alpn: Vec<String>,
}

impl ServerConfig {
    /// TLS 1.2 and 1.3, offloaded, AES-128-GCM preferred, two tickets, sessions of two hours, everything else as libssl
    /// has it.
    pub fn new(certificate_chain: Pem, private_key: Pem) -> Self {
        Self {
            certificate_chain,
            private_key,
            offload: true,
            min_protocol: Protocol::Tls12,
            max_protocol: Protocol::Tls13,
            tickets: 2,
            session_lifetime: Duration::from_secs(2 * 60 * 60),
            groups: None,
            ciphers: None,
            preference: SuitePreference::default(),
            suites: Vec::new(),
            client_roots: None,
            clients_may_be_anonymous: false,
            client_crls: Vec::new(),
            alpn: Vec::new(),
        }
    }
}

/// Which servers a client believes.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those whose certificate has an issuer that this system trusts, and the name that the client asked for: a
    /// connection must have one ([`Ssl::set_server_name`](crate::Ssl::set_server_name)).
    System,
    /// Those whose certificate has one of these issuers; and the name that the client asked for, if it asked for one.
    Issuers(Pem),
    /// Anybody, whatever certificate they show.
    Anybody,
}

/// A client's settings.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Which servers it believes.
    pub trust: Trust,
    /// The client's own certificate chain and private key.
    pub identity: Option<(Pem, Pem)>,
    /// Whether the client's private-key operations and X25519 are offloaded.
    pub offload: bool,
    /// Lowest version offered.
    pub min_protocol: Protocol,
    /// Highest version offered.
    pub max_protocol: Protocol,
    /// Key exchange groups; libssl's own list if `None`.
    pub groups: Option<String>,
    /// TLS 1.2 cipher suites; libssl's own list if `None`.
    pub ciphers: Option<String>,
}

impl ClientConfig {
    /// The default, but for this: any server is believed, so that whoever is on the way reads and changes everything.
    /// For tests, and for those who look at the peer's certificate themselves.
    pub fn dangerously_accepting_any_certificate() -> Self {
        Self {
            trust: Trust::Anybody,
            ..Self::default()
        }
    }
}

impl Default for ClientConfig {
    /// Stock OpenSSL, which verifies servers by the certificate authorities of this system (SSL_CERT_FILE,
    /// SSL_CERT_DIR, or where OpenSSL's build has them) and by their names.
    fn default() -> Self {
        Self {
            trust: Trust::System,
            identity: None,
            offload: false,
            min_protocol: Protocol::Tls12,
            max_protocol: Protocol::Tls13,
            groups: None,
            ciphers: None,
        }
    }
}

/// What became of the private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOffload {
    /// The key's operations go to the devices.
    Offloaded,
    /// The key's operations stay in OpenSSL, since that was asked for or there is no key.
    Off,
    /// The key's operations stay in OpenSSL, since the provider has no op for this key.
    Unsupported(String),
}

/// An `SSL_CTX`. Clones share it; connections may be made from it on any thread.
#[derive(Clone)]
pub struct SslCtx {
    inner: Arc<Inner>,
}

struct Inner {
    ctx: Owned<SSL_CTX>,
    /// Whether ops of the context's connections may go to devices.
    offloads: bool,
    key_offload: KeyOffload,
    key_op: Option<OpKind>,
    needs_name: bool,
    /// ALPN names in wire format, referred to by the selection callback.
    _alpn: Option<Box<AlpnNames>>,
}

// SAFETY: an SSL_CTX is reference-counted and locked by libssl; it is set up before it is shared.
unsafe impl Send for Inner {}
// SAFETY: see above.
unsafe impl Sync for Inner {}

impl SslCtx {
    /// Makes a context for servers.
    ///
    /// # Errors
    /// A PEM text, a setting or the key is at fault, or the process's `ASYNC_*` functions are not
    /// Spinlane's; see [`SslError`].
    pub fn server(config: &ServerConfig) -> Result<Self, SslError> {
        // SAFETY: returns a static.
        let mut setup = Setup::new(unsafe { ffi::TLS_server_method() }, config.offload)?;
        let (min, max) = versions_of(config);
        if min > max {
            return Err(setting("suites", &config.suites.join(":")));
        }
        if config.client_roots.is_none() && !config.client_crls.is_empty() {
            return Err(setting("client_crls", "lists without client_roots"));
        }
        setup.protocols(min, max)?;
        setup.lists(config.groups.as_deref(), config.ciphers.as_deref())?;
        let is_ordered = config.ciphers.is_some() || !config.suites.is_empty();
        // SAFETY: a live context.
        unsafe { suites::prefer(setup.ctx.as_ptr(), config.preference, is_ordered)? };
        setup.suites(&config.suites)?;
        setup.tickets(config.tickets, config.session_lifetime)?;
        setup.identity(&config.certificate_chain, &config.private_key)?;
        if let Some(roots) = &config.client_roots {
            let must = match config.clients_may_be_anonymous {
                true => 0,
                false => ffi::SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
            };
            setup.verify_peer(roots, ffi::SSL_VERIFY_PEER | must)?;
            setup.revocation_lists(&config.client_crls)?;
        }
        setup.alpn(&config.alpn)?;
        Ok(setup.done())
    }

    /// Makes a context for clients.
    ///
    /// # Errors
    /// As for [`SslCtx::server`].
    pub fn client(config: &ClientConfig) -> Result<Self, SslError> {
        // SAFETY: returns a static.
        let mut setup = Setup::new(unsafe { ffi::TLS_client_method() }, config.offload)?;
        setup.protocols(config.min_protocol, config.max_protocol)?;
        setup.lists(config.groups.as_deref(), config.ciphers.as_deref())?;
        if let Some((chain, key)) = &config.identity {
            setup.identity(chain, key)?;
        }
        match &config.trust {
            Trust::System => setup.verify_by_system()?,
            Trust::Issuers(issuers) => setup.verify_peer(issuers, ffi::SSL_VERIFY_PEER)?,
            Trust::Anybody => {}
        }
        Ok(setup.done())
    }

    /// Tells whether the private key's operations are offloaded, and if not, why.
    pub fn key_offload(&self) -> &KeyOffload {
        &self.inner.key_offload
    }

    /// Returns the op by which the private key signs, if it is offloaded and a queue pair serves
    /// that kind.
    pub fn key_op(&self) -> Option<OpKind> {
        self.inner.key_op
    }

    /// Returns `true` if ops of the context's connections may go to devices.
    pub(super) fn offloads(&self) -> bool {
        self.inner.offloads
    }

    /// Returns `true` if a connection without a server's name would believe whoever has a certificate of any name.
    pub(super) fn needs_name(&self) -> bool {
        self.inner.needs_name
    }

    pub(super) fn as_ptr(&self) -> *mut SSL_CTX {
        self.inner.ctx.as_ptr()
    }
}

/// Returns the library context with the provider in it, apart from whatever else the process does
/// with OpenSSL. Made once, with the first call, and never freed.
///
/// # Errors
/// The provider cannot be loaded.
pub fn library_context() -> Result<*mut OSSL_LIB_CTX, SslError> {
    struct Library(*mut OSSL_LIB_CTX, #[allow(dead_code)] provider::Provider);
    // SAFETY: a library context is locked by libcrypto; this one is never freed.
    unsafe impl Send for Library {}
    // SAFETY: see above.
    unsafe impl Sync for Library {}
    static LIBRARY: OnceLock<Result<Library, SslError>> = OnceLock::new();

    let library = LIBRARY.get_or_init(|| {
        // SAFETY: makes a new context.
        let context = unsafe { ffi::OSSL_LIB_CTX_new() };
        if context.is_null() {
            return Err(SslError::call("OSSL_LIB_CTX_new"));
        }
        // SAFETY: a live context that is never freed.
        let provider = unsafe { provider::load(context) }
            .map_err(|error| SslError::Provider(error.to_string()))?;
        offload_hybrid_groups(context)?;
        Ok(Library(context, provider))
    });
    library
        .as_ref()
        .map(|library| library.0)
        .map_err(Clone::clone)
}

/// From 3.5 on OpenSSL has groups like X25519MLKEM768, the first of its default list, and the
/// default provider computes their X25519 by what it finds without libssl's property query: by the
/// library context's own.
fn offload_hybrid_groups(context: *mut OSSL_LIB_CTX) -> Result<(), SslError> {
    // SAFETY: no arguments, no state.
    let version = unsafe { (ffi::OPENSSL_version_major(), ffi::OPENSSL_version_minor()) };
    let query = provider::PROPERTY_QUERY.as_ptr();
    // SAFETY: a live context that nothing else uses yet, a terminated query.
    if version >= (3, 5) && unsafe { ffi::EVP_set_default_properties(context, query) } != 1 {
        return Err(SslError::call("EVP_set_default_properties"));
    }
    Ok(())
}

/// ALPN names in wire format, where the selection callback finds them: boxed, so that they stay
/// put.
struct AlpnNames(Vec<u8>);

/// A context being set up.
struct Setup {
    ctx: Owned<SSL_CTX>,
    library: *mut OSSL_LIB_CTX,
    offload: bool,
    key_offload: KeyOffload,
    key_op: Option<OpKind>,
    needs_name: bool,
    alpn: Option<Box<AlpnNames>>,
}

impl Setup {
    fn new(method: *const ffi::SSL_METHOD, offload: bool) -> Result<Self, SslError> {
        let library = if offload {
            verify_binding()?;
            library_context()?
        } else {
            ptr::null_mut()
        };
        let query = if offload {
            provider::PROPERTY_QUERY.as_ptr()
        } else {
            ptr::null()
        };
        drop(ErrorStack::take());
        // SAFETY: a live library context (NULL = default), a terminated query, a static method.
        let ctx = unsafe {
            Owned::new(
                ffi::SSL_CTX_new_ex(library, query, method),
                ffi::SSL_CTX_free,
            )
        };
        let ctx = ctx.ok_or_else(|| SslError::call("SSL_CTX_new_ex"))?;
        // SSL_MODE_ASYNC is for connections that are attached to an lcore.
        let modes = ffi::SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
            | ffi::SSL_MODE_ENABLE_PARTIAL_WRITE
            | ffi::SSL_MODE_RELEASE_BUFFERS;
        // SAFETY: a live context.
        unsafe {
            ffi::SSL_CTX_ctrl(ctx.as_ptr(), ffi::SSL_CTRL_MODE, modes, ptr::null_mut());
            // A renegotiation would be a second handshake on a connection that is past pausing.
            ffi::SSL_CTX_set_options(ctx.as_ptr(), ffi::SSL_OP_NO_RENEGOTIATION);
        }
        Ok(Self {
            ctx,
            library,
            offload,
            key_offload: KeyOffload::Off,
            key_op: None,
            needs_name: false,
            alpn: None,
        })
    }

    fn ctrl(&self, command: c_int, number: c_long, pointer: *mut c_void) -> c_long {
        // SAFETY: a live context; each caller passes what its command takes.
        unsafe { ffi::SSL_CTX_ctrl(self.ctx.as_ptr(), command, number, pointer) }
    }

    fn protocols(&mut self, min: Protocol, max: Protocol) -> Result<(), SslError> {
        let bounds = [
            (ffi::SSL_CTRL_SET_MIN_PROTO_VERSION, min),
            (ffi::SSL_CTRL_SET_MAX_PROTO_VERSION, max),
        ];
        for (command, version) in bounds {
            if self.ctrl(command, version.number(), ptr::null_mut()) != 1 {
                return Err(setting("protocol", &format!("{version:?}")));
            }
        }
        Ok(())
    }

    fn lists(&mut self, groups: Option<&str>, ciphers: Option<&str>) -> Result<(), SslError> {
        if let Some(list) = groups {
            let text = CString::new(list).map_err(|_| setting("groups", list))?;
            if self.ctrl(
                ffi::SSL_CTRL_SET_GROUPS_LIST,
                0,
                text.as_ptr().cast_mut().cast(),
            ) != 1
            {
                return Err(setting("groups", list));
            }
        }
        match ciphers {
            // SAFETY: a live context.
            Some(list) => unsafe { suites::set_tls12(self.ctx.as_ptr(), list) },
            None => Ok(()),
        }
    }

    /// Suites by their names in IANA's list. libssl wants those of version 1.2 by names of its own; a version without any is
    /// not served.
    fn suites(&mut self, suites: &[String]) -> Result<(), SslError> {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for suite in suites {
            let name = own_name(suite).ok_or_else(|| setting("suites", suite))?;
            match is_of_12(suite) {
                true => old.push(name),
                false => new.push(name),
            }
        }
        let ctx = self.ctx.as_ptr();
        // SAFETY: a live context, which is not shared yet.
        unsafe {
            if !new.is_empty() {
                suites::set_tls13(ctx, &new.join(":"))?;
            }
            match old.is_empty() {
                true => Ok(()),
                false => suites::set_tls12(ctx, &old.join(":")),
            }
        }
    }

    fn tickets(&mut self, count: usize, lifetime: Duration) -> Result<(), SslError> {
        // SAFETY: a live context; the session id context is copied.
        unsafe {
            ffi::SSL_CTX_set_num_tickets(self.ctx.as_ptr(), count);
            ffi::SSL_CTX_set_session_cache_mode(self.ctx.as_ptr(), ffi::SSL_SESS_CACHE_OFF);
            if count == 0 {
                ffi::SSL_CTX_set_options(self.ctx.as_ptr(), ffi::SSL_OP_NO_TICKET);
            }
            let name: [c_uchar; 8] = *b"spinlane";
            if ffi::SSL_CTX_set_session_id_context(
                self.ctx.as_ptr(),
                name.as_ptr(),
                name.len() as _,
            ) != 1
            {
                return Err(SslError::call("SSL_CTX_set_session_id_context"));
            }
        }
        let lifetime = lifetime.min(LONGEST_SESSION).as_secs();
        // SAFETY: a live context.
        unsafe { ticket::limit_sessions(self.ctx.as_ptr(), lifetime as c_long) }
    }

    fn identity(&mut self, chain: &Pem, key: &Pem) -> Result<(), SslError> {
        let certificates = chain.certificates()?;
        let stock = key.private_key(self.library)?;
        if let Some(position) = pem::position_of(&stock, &certificates)
            && position != 0
        {
            return Err(SslError::Order {
                certificate: chain.name().to_owned(),
                key: key.name().to_owned(),
                position: position + 1,
            });
        }
        let mut certificates = certificates.into_iter();
        let ctx = self.ctx.as_ptr();
        if let Some(leaf) = certificates.next() {
            // SAFETY: both live; the context takes a reference of its own.
            if unsafe { ffi::SSL_CTX_use_certificate(ctx, leaf.as_ptr()) } != 1 {
                return Err(SslError::certificate(chain.name()));
            }
        }
        for issuer in certificates {
            // SAFETY: both live; on success the context owns the certificate.
            if unsafe { ffi::SSL_CTX_add_extra_chain_cert(ctx, issuer.as_ptr()) } != 1 {
                return Err(SslError::certificate(chain.name()));
            }
            issuer.into_ptr();
        }
        let used = self.bind(stock);
        if self.key_offload != KeyOffload::Offloaded && !pem::signs(&used) {
            return Err(SslError::Unusable {
                key: key.name().to_owned(),
                detail: ErrorStack::take(),
            });
        }
        // SAFETY: both live; the context takes a reference of its own.
        let accepted = unsafe {
            ffi::SSL_CTX_use_PrivateKey(ctx, used.as_ptr()) == 1
                && ffi::SSL_CTX_check_private_key(ctx) == 1
        };
        if accepted {
            return Ok(());
        }
        drop(ErrorStack::take());
        Err(SslError::Mismatch {
            certificate: chain.name().to_owned(),
            key: key.name().to_owned(),
        })
    }

    /// Binds the key to our provider; otherwise leaves it as it is, and logs that.
    fn bind(&mut self, stock: Owned<EVP_PKEY>) -> Owned<EVP_PKEY> {
        if !self.offload {
            return stock;
        }
        // SAFETY: a live key, in the library context that the provider is loaded in.
        match unsafe { provider::bind(stock.as_ptr(), self.library) } {
            Ok(bound) => {
                self.key_offload = KeyOffload::Offloaded;
                // SAFETY: ours by `bind`'s contract.
                let bound = unsafe { Owned::new(bound, ffi::EVP_PKEY_free) }.unwrap_or(stock);
                self.key_op = pem::op_of(&bound);
                bound
            }
            Err(error) => {
                tracing::warn!(%error, "private key is not offloaded; its operations run in OpenSSL");
                self.key_offload = KeyOffload::Unsupported(error.to_string());
                drop(ErrorStack::take());
                stock
            }
        }
    }

    fn verify_by_system(&mut self) -> Result<(), SslError> {
        // SAFETY: a live context.
        if unsafe { ffi::SSL_CTX_set_default_verify_paths(self.ctx.as_ptr()) } != 1 {
            return Err(SslError::call("SSL_CTX_set_default_verify_paths"));
        }
        // SAFETY: a live context; no callback.
        unsafe { ffi::SSL_CTX_set_verify(self.ctx.as_ptr(), ffi::SSL_VERIFY_PEER, None) };
        self.needs_name = true;
        Ok(())
    }

    fn verify_peer(&mut self, roots: &Pem, mode: c_int) -> Result<(), SslError> {
        for root in roots.certificates()? {
            // SAFETY: a live context's store, which takes a reference of its own.
            let added = unsafe {
                ffi::X509_STORE_add_cert(
                    ffi::SSL_CTX_get_cert_store(self.ctx.as_ptr()),
                    root.as_ptr(),
                )
            };
            if added != 1 {
                return Err(SslError::certificate(roots.name()));
            }
        }
        // SAFETY: a live context; no callback.
        unsafe { ffi::SSL_CTX_set_verify(self.ctx.as_ptr(), mode, None) };
        Ok(())
    }

    fn revocation_lists(&mut self, texts: &[Pem]) -> Result<(), SslError> {
        // SAFETY: a live context; its store lives as long.
        let store = unsafe { ffi::SSL_CTX_get_cert_store(self.ctx.as_ptr()) };
        for text in texts {
            for list in text.revocation_lists()? {
                // SAFETY: both live; the store takes a reference of its own.
                if unsafe { ffi::X509_STORE_add_crl(store, list.as_ptr()) } != 1 {
                    return Err(SslError::call("X509_STORE_add_crl"));
                }
            }
        }
        // SAFETY: a live store.
        let checks = texts.is_empty()
            || unsafe { ffi::X509_STORE_set_flags(store, ffi::X509_V_FLAG_CRL_CHECK) } == 1;
        match checks {
            true => Ok(()),
            false => Err(SslError::call("X509_STORE_set_flags")),
        }
    }

    fn alpn(&mut self, names: &[String]) -> Result<(), SslError> {
        if names.is_empty() {
            return Ok(());
        }
        let mut wire = Vec::new();
        for name in names {
            let len = u8::try_from(name.len())
                .ok()
                .filter(|&len| len != 0)
                .ok_or_else(|| setting("alpn", name))?;
            wire.push(len);
            wire.extend_from_slice(name.as_bytes());
        }
        let wire = Box::new(AlpnNames(wire));
        let arg = ptr::from_ref::<AlpnNames>(&wire).cast_mut().cast();
        // SAFETY: the list is kept as long as the context.
        unsafe {
            ffi::SSL_CTX_set_alpn_select_cb__fixed_rust(self.ctx.as_ptr(), Some(select_alpn), arg)
        };
        self.alpn = Some(wire);
        Ok(())
    }

    fn done(self) -> SslCtx {
        let Self {
            ctx,
            offload,
            key_offload,
            key_op,
            needs_name,
            alpn,
            ..
        } = self;
        SslCtx {
            inner: Arc::new(Inner {
                ctx,
                offloads: offload,
                key_offload,
                key_op,
                needs_name,
                _alpn: alpn,
            }),
        }
    }
}

/// Whether a suite of IANA's list is of version 1.2 or older: later ones name no key exchange.
fn is_of_12(suite: &str) -> bool {
    suite.contains("_WITH_")
}

/// The versions for which there are suites.
fn versions_of(config: &ServerConfig) -> (Protocol, Protocol) {
    let has = |old: bool| {
        config.suites.is_empty() || config.suites.iter().any(|suite| is_of_12(suite) == old)
    };
    let min = if has(true) {
        config.min_protocol
    } else {
        Protocol::Tls13
    };
    let max = if has(false) {
        config.max_protocol
    } else {
        Protocol::Tls12
    };
    (min, max)
}

/// What libssl calls a suite of IANA's list; `None` if it knows none of that name (OPENSSL_cipher_name(3)).
fn own_name(suite: &str) -> Option<String> {
    let suite = CString::new(suite).ok()?;
    // SAFETY: a terminated name; libssl returns a static string.
    let own = unsafe { std::ffi::CStr::from_ptr(ffi::OPENSSL_cipher_name(suite.as_ptr())) };
    own.to_str()
        .ok()
        .filter(|name| *name != "(NONE)")
        .map(str::to_owned)
}

pub(super) fn setting(setting: &'static str, value: &str) -> SslError {
    SslError::Setting {
        setting,
        value: value.to_owned(),
        detail: ErrorStack::take(),
    }
}

/// Selects the first of our names that the client offers; without one there is no ALPN
/// (SSL_CTX_set_alpn_select_cb(3)).
unsafe extern "C" fn select_alpn(
    _: *mut ffi::SSL,
    out: *mut *const c_uchar,
    out_len: *mut c_uchar,
    offered: *const c_uchar,
    offered_len: std::ffi::c_uint,
    names: *mut c_void,
) -> c_int {
    // SAFETY: set by `Setup::alpn`, and kept as long as the context.
    let AlpnNames(names) = unsafe { &*names.cast::<AlpnNames>() };
    // SAFETY: libssl passes the client's list, checked to be well-formed; the selection points
    // into `names`, which outlives the connection.
    let selected = unsafe {
        ffi::SSL_select_next_proto(
            out.cast(),
            out_len,
            names.as_ptr(),
            names.len() as _,
            offered,
            offered_len,
        )
    };
    if selected == ffi::OPENSSL_NPN_NEGOTIATED {
        ffi::SSL_TLSEXT_ERR_OK
    } else {
        ffi::SSL_TLSEXT_ERR_NOACK
    }
}
