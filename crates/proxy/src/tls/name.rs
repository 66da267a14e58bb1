//! The name that a client asks for (SNI), which an unbuffered connection of rustls does not tell.
//!
//! rustls hands it to whoever chooses the certificate, in the handshake call that reads the hello, whether or not a session is
//! resumed. So the choice leaves it with the thread, and whoever made the call takes it.

use std::cell::Cell;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use spinlane::rustls::CertificatesByName;

thread_local! {
    static ASKED_FOR: Cell<Option<Box<str>>> = const { Cell::new(None) };
}

/// Chooses certificates as what is in it does, and notes the names.
#[derive(Debug)]
pub struct Naming(pub Arc<CertificatesByName>);

impl ResolvesServerCert for Naming {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Where the thread ends, nobody asks any more.
        let _ = ASKED_FOR.try_with(|name| name.set(hello.server_name().map(Box::from)));
        self.0.resolve(hello)
    }
}

/// The name that the handshake call just made has read, if any.
pub fn take_name() -> Option<Box<str>> {
    ASKED_FOR.take()
}
