//! RSA private operations, eight at a time.

#![deny(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod kernel;
mod key;
mod line;
#[cfg(target_arch = "x86_64")]
mod rsa;
mod scalar;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
pub use kernel::Cpu;
pub use key::{KeyError, KeyParts, PrivateKey};
pub use line::LANES;
#[cfg(target_arch = "x86_64")]
pub use rsa::RsaLanes;
