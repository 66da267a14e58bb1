//! The one place where an operation may pause the fiber it runs on.

use spinlane_cryptodev::Request;
use spinlane_lcore::OffloadError;

use super::counters::{count_failed, count_offloaded};
use super::error::raise;
use super::ffi;

/// Runs `request` on a device and writes its result to `output`. On failure an error is queued.
///
/// The caller holds no lock, no borrow of a cell and no [`super::error::Quiet`]: other fibers of
/// this thread run meanwhile.
pub(super) fn offload(request: &Request<'_>, output: &mut [u8]) -> bool {
    clear_queue_before_pause();
    count_offloaded(request.kind());
    succeeded(request, spinlane_lcore::offload(request, output))
}

/// Runs `request` in software, without a pause, and writes its result to `output`. On failure an
/// error is queued.
pub(super) fn compute(request: &Request<'_>, output: &mut [u8]) -> bool {
    succeeded(request, spinlane_lcore::compute(request, output))
}

fn succeeded(request: &Request<'_>, result: Result<(), OffloadError>) -> bool {
    match result {
        Ok(()) => true,
        Err(error) => {
            count_failed();
            raise(format_args!("{} failed: {error}", request.kind()));
            false
        }
    }
}

/// The error queue belongs to the thread, so an error left on it at a pause shows in whatever
/// the thread does next, and OpenSSL 3.0's SSL_get_error takes it for the cause of the pause:
/// SSL_ERROR_SSL instead of SSL_ERROR_WANT_ASYNC. Such errors are leftovers of attempts that
/// libssl itself shrugged off (it clears the queue when it starts a handshake step).
fn clear_queue_before_pause() {
    // SAFETY: the thread's own queue.
    if unsafe { ffi::ERR_peek_error() } != 0 && spinlane_job::on_job() {
        // SAFETY: as above.
        unsafe { openssl_sys::ERR_clear_error() };
    }
}
