//! Bindings to an installed DPDK's cryptodev, EAL and ethdev, linked dynamically.
//!
//! bindgen reads the installed headers at every build, as pkg-config says where they are. What they
//! have as static inlines (the bursts, ops from a pool, `rte_errno`) and what moved between releases
//! is a function of `shim.c`, named `shim_…`. Drivers (PMDs) are not linked: EAL loads them from its
//! own directory.
//!
//! # Invariants
//! - Declares, and does nothing else: safety is up to the caller.
//! - Without the feature `link` it is empty, needs no DPDK and links nothing; with it, a build
//!   without DPDK or libclang stops and says which package to install.
//!
//! # Releases
//! | | status | what differs |
//! |---|---|---|
//! | 22.11 | in use, tested | RSA padding and ECDSA's private key stand in the op |
//! | 23.11 | compiles against its headers, not run | ECDSA's keys stand in the session's transform |
//! | 24.11 | the driver's tests pass, on Debian 13 | so does RSA padding, with `d` and `qt` side by side |
//!
//! `shim.c` takes the right one by `RTE_VERSION`; nothing in Rust sees these structures. Those that Rust does see,
//! since a call per op would cost as much as all else (`shim_aead_object`, `shim_op_head`), stay as they are:
//! that every field lies where DPDK has it is checked when the shim is compiled, which fails
//! otherwise and names the field. An older release than 22.11 is refused at build time, a newer one than 24.11
//! warned of.

#![cfg(feature = "link")]

/// What bindgen made. Documented where it comes from: DPDK's API reference.
#[allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unsafe_op_in_unsafe_fn,
    unused,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;

impl rte_cryptodev_qp_conf {
    /// Describes a queue pair with a ring of `descriptors`. All other fields are zero: no pool of sessions, and the
    /// highest priority, a field that 22.11 does not have. (A literal compiles against one release alone.)
    pub fn of(descriptors: u32) -> Self {
        Self {
            nb_descriptors: descriptors,
            ..Self::default()
        }
    }
}
