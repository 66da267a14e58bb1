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

/// For those who set more than a device's builder does, or write a driver: the devices' own crates.
pub mod drivers {
    #[cfg(feature = "dpdk")]
    pub use spinlane_driver_dpdk as dpdk;
    pub use spinlane_driver_lookaside as lookaside;
    pub use spinlane_driver_mb as mb;
    pub use spinlane_driver_pkcs11 as pkcs11;
    pub use spinlane_driver_sim as sim;
    pub use spinlane_driver_soft as soft;
}

pub use spinlane_driver_pkcs11 as pkcs11;
pub use spinlane_lcore as lcore;
pub use spinlane_openssl as openssl;
pub use spinlane_rustls as rustls;

/// For those who make keys or requests of their own, and for drivers: cryptography on the CPU.
#[doc(inline)]
pub use spinlane_crypto as crypto;
/// For drivers, and for those who make requests of their own: the contract of devices, queue pairs and ops.
#[doc(inline)]
pub use spinlane_cryptodev as cryptodev;
/// For applications of DPDK's: EAL and Ethernet ports, their own or opened here.
#[cfg(feature = "dpdk")]
#[doc(inline)]
pub use spinlane_dpdk as dpdk;
/// For front-ends: stacks and context switches, on which jobs stand.
#[doc(inline)]
pub use spinlane_fiber as fiber;
/// For front-ends: the jobs that a connection's calls run in.
#[doc(inline)]
pub use spinlane_job as job;
/// For those who have packets in place of sockets: TCP/IP over any port.
#[doc(inline)]
pub use spinlane_net as net;
/// For drivers: rings between threads.
#[doc(inline)]
pub use spinlane_ring as ring;

#[cfg(feature = "dpdk")]
pub use device::Dpdk;
pub use device::{Auto, Lookaside, Mb, Pkcs11, Sim, Soft};

/// ```
/// use spinlane::Device;
///
/// fn describe(device: &dyn Device) -> String {
///     let kinds: Vec<_> = device.capabilities().iter().map(|kind| kind.name()).collect();
///     format!("{}: {}", device.name(), kinds.join(" "))
/// }
/// assert!(describe(&*spinlane::Soft::new().open()?).contains("x25519-derive"));
/// # Ok::<(), spinlane::device::OpenError>(())
/// ```
pub use spinlane_cryptodev::Device;

/// ```
/// use spinlane::{DeviceError, Soft};
///
/// let keeps_keys = Soft::new().open()?.own_key("pkcs11:object=site", None);
/// assert!(matches!(keeps_keys, Err(DeviceError::NoKeys { .. })));
/// # Ok::<(), spinlane::device::OpenError>(())
/// ```
pub use spinlane_cryptodev::DeviceError;

/// ```
/// use spinlane::{HealthConfig, Lcore, Soft};
///
/// let lcore = Lcore::default();
/// let queue_pair = Soft::new().open()?.queue_pair(Default::default())?;
/// let health = HealthConfig { op_deadline_ns: 50_000_000, ..queue_pair.health() };
/// lcore.add_queue_pair_with(queue_pair, health);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use spinlane_cryptodev::HealthConfig;

/// ```
/// use spinlane::KeyHandle;
/// use spinlane::crypto::{EcP256Key, Key};
///
/// let handle = KeyHandle::local(Key::EcP256(EcP256Key::from_scalar(&[7; 32])?));
/// assert!(handle.as_local().is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use spinlane_cryptodev::KeyHandle;

/// ```
/// use spinlane::{QueuePairConfig, Soft};
///
/// let config = QueuePairConfig { capacity: 64, ..QueuePairConfig::default() };
/// assert_eq!(Soft::new().open()?.queue_pair(config)?.capacity(), 64);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use spinlane_cryptodev::QueuePairConfig;

/// ```
/// use spinlane::Request;
///
/// let request = Request::x25519_keygen(&[7; 32]);
/// assert_eq!((request.kind().name(), request.input_len()), ("x25519-keygen", 32));
/// ```
pub use spinlane_cryptodev::Request;

/// ```
/// use spinlane::{Config, Lcore};
///
/// let lcore = Lcore::new(Config { slow_callback_ns: 50_000 });
/// assert_eq!(lcore.stats().slow_callbacks, 0);
/// ```
pub use spinlane_lcore::Config;

/// ```
/// use spinlane::{Conn, Lcore};
///
/// let lcore = Lcore::default();
/// lcore.make_ready(Conn(7)); // the application's own name for a connection
/// lcore.poll()?;
/// assert_eq!(lcore.next_ready(), Some(Conn(7)));
/// # Ok::<(), spinlane::lcore::NoPoll>(())
/// ```
pub use spinlane_lcore::Conn;

/// ```
/// use spinlane::{Conn, Lcore, Request, Soft};
///
/// let lcore = Lcore::default();
/// lcore.add_queue_pair(Soft::new().open()?.queue_pair(Default::default())?);
/// let _ticket = lcore.submit(&Request::x25519_keygen(&[7; 32]), Conn(1))?;
/// while lcore.in_flight() != 0 {
///     lcore.poll()?; // once per turn of the application's own loop
/// }
/// assert_eq!(lcore.next_ready(), Some(Conn(1)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use spinlane_lcore::Lcore;

/// ```no_run
/// use std::task::Waker;
/// use spinlane::{Conn, Connection, Lcore, Notify};
///
/// fn of_a_pipeline(connection: &mut Connection, lcore: &Lcore) {
///     connection.attach(lcore, Conn(7)); // comes out of Lcore::next_ready
/// }
/// fn of_a_task(connection: &mut Connection, lcore: &Lcore, waker: Waker) {
///     connection.attach(lcore, Notify::Waker(waker));
/// }
/// ```
pub use spinlane_lcore::Notify;

/// ```
/// let polled = spinlane::Lcore::default().poll()?;
/// assert_eq!((polled.completed, polled.retried), (0, 0));
/// # Ok::<(), spinlane::lcore::NoPoll>(())
/// ```
pub use spinlane_lcore::Polled;

/// ```
/// use spinlane::Progress;
///
/// /// Whether the application calls again of its own accord.
/// fn waits_for_the_lcore(progress: Progress) -> bool {
///     matches!(progress, Progress::Paused | Progress::Refused)
/// }
/// assert!(!waits_for_the_lcore(Progress::WantInput));
/// ```
pub use spinlane_lcore::Progress;

/// ```
/// use spinlane::{Conn, Lcore, Request, Soft, Submitted};
///
/// let lcore = Lcore::default();
/// lcore.add_queue_pair(Soft::new().open()?.queue_pair(Default::default())?);
/// match lcore.submit(&Request::x25519_keygen(&[7; 32]), Conn(1))? {
///     Submitted::Accepted(ticket) => assert!(!ticket.is_done()),
///     Submitted::Refused(refusal) => drop(refusal), // or kept, for Refusal::retry
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use spinlane_lcore::Submitted;

/// ```
/// use spinlane::{Conn, Lcore, Request, Soft, Submitted};
///
/// let lcore = Lcore::default();
/// lcore.add_queue_pair(Soft::new().open()?.queue_pair(Default::default())?);
/// let submitted = lcore.submit(&Request::x25519_keygen(&[7; 32]), Conn(1))?;
/// let Submitted::Accepted(ticket) = submitted else { return Ok(()) };
/// while !ticket.is_done() {
///     lcore.poll()?;
/// }
/// let mut public = [0; 32];
/// ticket.take(&mut public).expect("it is done")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use spinlane_lcore::Ticket;

/// ```
/// use spinlane::{Config, launch};
///
/// let threads = launch(&[0], Config::default(), |core, lcore| {
///     lcore.poll().map(|_| core)
/// })?;
/// assert_eq!(threads.join()?, [Ok(0)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use spinlane_lcore::launch;

/// ```no_run
/// use spinlane::{Conn, Lcore, Ssl, SslCtx};
///
/// fn accept(ctx: &SslCtx, lcore: &Lcore) -> Result<Ssl, spinlane::openssl::SslError> {
///     let mut ssl = Ssl::server(ctx)?;
///     ssl.attach(lcore, Conn(7));
///     Ok(ssl)
/// }
/// ```
pub use spinlane_openssl::Ssl;

/// ```no_run
/// use std::path::Path;
/// use spinlane::SslCtx;
/// use spinlane::openssl::{Pem, ServerConfig};
///
/// let (chain, key) = (Pem::read(Path::new("server.crt"))?, Pem::read(Path::new("server.key"))?);
/// let ctx = SslCtx::server(&ServerConfig::new(chain, key))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use spinlane_openssl::SslCtx;

/// ```no_run
/// use spinlane::{Connection, Progress};
///
/// fn turn(connection: &mut Connection, from_peer: &[u8]) -> Result<(), spinlane::rustls::Error> {
///     connection.push_input(from_peer);
///     if let Progress::Done(_) = connection.handshake()? {
///         connection.write(b"hello")?;
///     }
///     let _ = connection.write_output(|to_peer| Ok(to_peer.len())); // send it
///     Ok(())
/// }
/// ```
pub use spinlane_rustls::Connection;

/// ```no_run
/// use std::sync::Arc;
/// use spinlane::{Connection, client_config};
///
/// let config = Arc::new(client_config()?);
/// let connection = Connection::client(config, "example.org".try_into()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use spinlane_rustls::client_config;

/// ```
/// use std::sync::Arc;
/// use spinlane::rustls::rustls::ServerConfig;
///
/// let mut provider = spinlane::provider();
/// spinlane::rustls::prefer_aes256(&mut provider);
/// let builder = ServerConfig::builder_with_provider(Arc::new(provider));
/// builder.with_safe_default_protocol_versions()?; // and what else rustls can do
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub use spinlane_rustls::provider;
pub use spinlane_rustls::server_config;

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
