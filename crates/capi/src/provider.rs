//! The provider's entry point: the library as an OpenSSL provider module.

use std::ffi::{c_int, c_void};
use std::fmt::Display;
use std::time::Instant;

use spinlane::crypto::random;
use spinlane::lcore::{OnDemand, set_on_demand, set_pause_without_callback};
use spinlane::openssl::provider::{self, OSSL_CORE_HANDLE, OSSL_DISPATCH, Settings};

use crate::error::{Failure, guard};
use crate::{on_demand, start, warn_of_binding};

/// OSSL_provider_init(7): reads the provider's section in openssl.cnf and starts the provider.
///
/// # Safety
/// Called by libcrypto: `out` and `provctx` are NULL or places for the results.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn OSSL_provider_init(
    handle: *const OSSL_CORE_HANDLE,
    upcalls: *const OSSL_DISPATCH,
    out: *mut *const OSSL_DISPATCH,
    provctx: *mut *mut c_void,
) -> c_int {
    // libcrypto loads it when it is needed first, which may be within a job.
    spinlane::job::on_thread_stack(|| {
        // SAFETY: the same contract.
        unsafe { init(handle, upcalls, out, provctx) }
    })
}

/// # Safety
/// As for [`OSSL_provider_init`].
unsafe fn init(
    handle: *const OSSL_CORE_HANDLE,
    upcalls: *const OSSL_DISPATCH,
    out: *mut *const OSSL_DISPATCH,
    provctx: *mut *mut c_void,
) -> c_int {
    guard(0, || {
        start();
        // SAFETY: as they came from libcrypto.
        let settings = unsafe { Settings::read(handle, upcalls) }.inspect_err(refuse)?;
        // Looked at now, opened by the first thread that needs one: programs fork in between.
        spinlane::device::check(&settings.device).inspect_err(|error| {
            provider::raise(error);
            refuse(error);
        })?;
        set_pause_without_callback(settings.pause_without_callback);
        set_on_demand(if settings.lcore_on_demand {
            OnDemand::Make(on_demand::make)
        } else {
            OnDemand::Fail
        });
        warm_up(&settings.device).inspect_err(|failure| refuse(&failure.text()))?;
        on_demand::set_device(settings.device);
        warn_of_binding();
        // SAFETY: as they came from libcrypto.
        Ok(unsafe { provider::init(handle, upcalls, out, provctx) })
    })
}

/// Does now what the first handshake would wait for, so that the workers that a program forks inherit it: the
/// tables of lanes, and the first half of what aws-lc's generator needs, which is 30 ms on a fast machine. The
/// other half, fresh entropy, is each process's own ([`random`]).
fn warm_up(spec: &str) -> Result<(), Failure> {
    let start = Instant::now();
    random::warm_up();
    spinlane::device::warm_up(spec)?;
    let spent = start.elapsed();
    tracing::info!(
        device = spec,
        ?spent,
        "warmed up before the first handshake"
    );
    Ok(())
}

/// libcrypto goes on without a provider that did not start, and says nothing.
fn refuse(error: &impl Display) {
    eprintln!("spinlane: the provider is not loaded: {error}");
}
