//! The status of the last submission under a wait context.

/// Status of the last submission, with the values of `<openssl/async.h>`.
///
/// A newtype rather than an enum: ASYNC_WAIT_CTX_set_status(3) lets an engine store any
/// number, and what was stored is what is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(pub i32);

impl Status {
    /// The engine does not support callbacks. The default.
    pub const UNSUPPORTED: Self = Self(0);
    /// The request failed; the session should be closed.
    pub const ERR: Self = Self(1);
    /// The request was submitted; a callback follows when it is done.
    pub const OK: Self = Self(2);
    /// The queue was full; resume the job to try again.
    pub const EAGAIN: Self = Self(3);
}
