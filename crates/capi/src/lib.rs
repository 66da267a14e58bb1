//! libspinlane.so: Spinlane for C programs, on OpenSSL or on rustls.
//!
//! One file, three faces:
//! - the `ASYNC_*` functions of `<openssl/async.h>` (they come with `spinlane-openssl`): linked or
//!   preloaded ahead of libcrypto, libssl binds to them;
//! - `OSSL_provider_init`: the same file as an OpenSSL provider module;
//! - `spinlane_*`, declared in `include/spinlane.h`, which documents them for their callers.
//!
//! # Invariants
//! - Every entry catches panics and answers a NULL with its failure value and a text
//!   (`spinlane_last_error`).
//! - A handle is used on the thread that made it only; another thread gets an error.
//! - Exports nothing else.

mod conn;
mod device;
mod device_stats;
mod error;
mod lcore;
mod log;
mod on_demand;
mod provider;
mod set_log;
mod settings;
mod ssl;
mod stats;

use std::ffi::c_char;
use std::sync::Once;

use spinlane::lcore::{OnDemand, set_on_demand, set_pause_without_callback};

/// Version of the library, e.g. `0.1.0`.
#[unsafe(no_mangle)]
pub extern "C" fn spinlane_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// What is done once per process, before anything is made: rules for programs that know nothing of
/// Spinlane, and the log, if `SPINLANE_LOG` asks for one (`warn`, `info`, `debug`).
fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        set_pause_without_callback(false);
        set_on_demand(OnDemand::Make(on_demand::make));
        if let Ok(filter) = std::env::var("SPINLANE_LOG") {
            log::start(&filter);
        }
    });
}

/// Says, once, if libssl pauses on OpenSSL's own jobs: the library was loaded after libcrypto. All works then, but
/// nothing is offloaded.
fn warn_of_binding() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Err(error) = spinlane::openssl::abi::verify_binding() {
            tracing::warn!(%error, "operations are computed in place");
        }
    });
}
