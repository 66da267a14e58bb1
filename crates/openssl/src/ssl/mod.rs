//! TLS over memory buffers: [`SslCtx`] is an `SSL_CTX`, [`Ssl`] an `SSL` with its buffers.

mod bio;
mod buffer;
mod conn;
mod ctx;
mod fault;
mod pem;
pub mod raw;
mod suites;
mod ticket;

pub use conn::Ssl;
pub use ctx::{ClientConfig, KeyOffload, Protocol, ServerConfig, SslCtx, Trust};
pub use fault::{PemFault, Wanted};
pub use pem::{Pem, read_file};
pub use suites::SuitePreference;
