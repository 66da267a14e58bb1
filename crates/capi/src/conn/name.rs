//! The name that a client asks for (SNI): rustls tells it to whoever chooses the certificate, and to nobody else.

use std::cell::RefCell;
use std::sync::Arc;

use spinlane::rustls::CertificatesByName;
use spinlane::rustls::rustls::server::{ClientHello, ResolvesServerCert};
use spinlane::rustls::rustls::sign::CertifiedKey;

thread_local! {
    /// Of the call that runs.
    static ASKED_FOR: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// Takes note of the name while it chooses.
#[derive(Debug)]
pub(super) struct NotesName(pub(super) Arc<CertificatesByName>);

impl ResolvesServerCert for NotesName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(Box::from);
        // At thread exit, when the place is gone, the connection goes without.
        let _ = ASKED_FOR.try_with(|place| place.replace(name));
        self.0.resolve(hello)
    }
}

/// The name that a client asked for since the last call of this. No call on a connection runs within another, so
/// that it is the one of the call that has just returned.
pub(super) fn asked_for() -> Option<Box<str>> {
    ASKED_FOR.try_with(RefCell::take).ok().flatten()
}
