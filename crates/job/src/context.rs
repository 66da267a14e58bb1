//! What code sees as its thread's but a job and its caller must each keep for themselves.
//!
//! OpenSSL has one such thing, the default library context, and this crate knows nothing of
//! OpenSSL: so it swaps a word by functions that the layer above gives it. Whoever is about to
//! leave a side stores that side's word and sets the other's; after a switch nothing is left to do.

use std::sync::OnceLock;

/// How to read and set the thread's word.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The word in force on this thread.
    pub get: fn() -> usize,
    /// Puts another word in force.
    pub set: fn(usize),
}

static CONTEXT: OnceLock<Context> = OnceLock::new();

/// Makes all jobs of the process keep `context`'s word apart from their callers'. The first call
/// counts; later ones do nothing.
pub fn keep_apart(context: Context) {
    CONTEXT.get_or_init(|| context);
}

/// Returns the word in force; 0 if nothing is kept apart.
#[inline]
pub(crate) fn current() -> usize {
    CONTEXT.get().map_or(0, |context| (context.get)())
}

/// Puts `theirs` in force. Returns the word that was in force before.
#[inline]
pub(crate) fn exchange(theirs: usize) -> usize {
    let Some(context) = CONTEXT.get() else {
        return 0;
    };
    let ours = (context.get)();
    if ours != theirs {
        (context.set)(theirs);
    }
    ours
}
