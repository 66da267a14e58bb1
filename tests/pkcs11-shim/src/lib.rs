//! A PKCS#11 module for tests. It loads another module, forwards every function of version 2.40 to it,
//! and on the way does what hardware does: takes its time, loses sessions, computes wrong signatures,
//! is pulled out of its slot, never answers.
//!
//! ```text
//! PKCS11_SHIM_MODULE=/usr/lib/softhsm/libsofthsm2.so   the module behind it
//! PKCS11_SHIM_FAULTS=latency_us=5000,lose_every=100    what it does from the start (names: Knob)
//! PKCS11_SHIM_CONTROL=/tmp/control                     a file by which it is steered (Control)
//! PKCS11_SHIM_CARD=/tmp/keys                           computes in lanes with these keys (card)
//! ```
//!
//! # Invariants
//! - What is not faulted is the inner module's own: its function pointers are handed out as they are.
//! - A panic never leaves an entry point: it becomes CKR_GENERAL_ERROR.
//! - The inner module's sessions are never closed by one thread while another one uses them: modules need
//!   not survive that.
//!
//! Source of names and behaviour: PKCS #11 Cryptographic Token Interface Base Specification, version 2.40.

mod card;
mod control;
mod entry;
mod faults;
mod inner;

pub use control::{Control, Counter, Knob};
pub use entry::C_GetFunctionList;
