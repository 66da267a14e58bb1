//! Spinlane: poll-mode TLS crypto offload. What an embedding application depends on.
//!
//! A whole HTTPS server; in `examples/` are others, which serve many connections, by rustls and by libssl, and one
//! that signs without TLS:
//! ```no_run
#![doc = include_str!("../examples/hello.rs")]
//! ```
//! What a program needs is here at the top: a device ([`Mb`], [`Soft`], ... or, from a word of a command line,
//! [`device::open`]), a poll core ([`Lcore`], or [`launch`], which makes the threads as well), and connections:
//! [`Connection`] by rustls, [`Ssl`] by libssl. The modules have the rest.
//!
//! # Invariants
//! - Only gathers: every item belongs to the crate it comes from, but for the devices' builders and specs.

#![forbid(unsafe_code)]

pub mod device;

/// The drivers, for those who make a device by its type rather than by its spec.
pub mod drivers {
    #[cfg(feature = "dpdk")]
    pub use spinlane_driver_dpdk as dpdk;
    pub use spinlane_driver_lookaside as lookaside;
    pub use spinlane_driver_mb as mb;
    pub use spinlane_driver_pkcs11 as pkcs11;
    pub use spinlane_driver_sim as sim;
    pub use spinlane_driver_soft as soft;
}

pub use spinlane_crypto as crypto;
pub use spinlane_cryptodev as cryptodev;
pub use spinlane_driver_pkcs11 as pkcs11;
pub use spinlane_fiber as fiber;
pub use spinlane_job as job;
pub use spinlane_lcore as lcore;
pub use spinlane_openssl as openssl;
pub use spinlane_ring as ring;
pub use spinlane_rustls as rustls;

pub use spinlane_lcore::{Config, Conn, Lcore, Notify, Polled, Progress, launch};
pub use spinlane_openssl::{Ssl, SslCtx};

/// Compiles the examples of README and guides.
#[cfg(doctest)]
mod examples {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/rust-pipeline.md")]
    struct Pipeline;
    #[doc = include_str!("../../../docs/rust-application.md")]
    struct Application;
}
