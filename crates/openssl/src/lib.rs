//! libssl on Spinlane's jobs.
//!
//! - [`abi`]: the C ABI of `<openssl/async.h>`. The program that links this crate defines the
//!   `ASYNC_*` symbols, so an unmodified libssl binds to them instead of libcrypto's.
//! - [`provider`]: an OpenSSL provider whose private-key operations go to the current lcore.
//! - [`SslCtx`] and [`Ssl`]: TLS over memory buffers with the asynchronous calls of
//!   SSL_set_async_callback(3). [`raw`] is for those who hold libssl's own objects.
//!
//! # Invariants
//! - Knows no socket and no device; ops go through `spinlane_lcore::offload`.
//! - A panic never crosses a C boundary.
//! - A connection that is dropped while its op is in flight unwinds by libssl's own error
//!   path; nobody is called for it afterwards.

pub mod abi;
mod error;
mod ffi;
pub mod provider;
mod ssl;

pub use error::{ErrorStack, SslError};
pub use spinlane_lcore::Progress;
pub use ssl::raw;
pub use ssl::{
    ClientConfig, KeyOffload, Pem, PemFault, Protocol, ServerConfig, Ssl, SslCtx, SuitePreference,
    Trust, Wanted, read_file,
};
