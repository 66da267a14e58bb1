//! What crosses crates: flow, conformance, faults, interop.
//!
//! This library holds what the tests share: the program under test, certificates, a TLS client
//! in memory, backends.

#![forbid(unsafe_code)]

pub mod backend;
pub mod client;
pub mod identity;
pub mod noise;
pub mod program;
pub mod proxy;
pub mod stock;
