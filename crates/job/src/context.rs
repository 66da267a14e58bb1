//! What code sees as its thread's but a job and its caller must each keep for themselves.
//!
//! OpenSSL has one such thing, the default library context, and this crate knows nothing of
//! OpenSSL: to it the context is a word, which the layer above tells and puts in force. It is
//! swapped before a switch to a job and after the switch back.

use std::sync::OnceLock;

use crate::local::local;

/// How the thread's word is known and put in force.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Asks for the word in force on this thread, which is not 0. `None` if [`note_context`] is told of every
    /// change.
    pub ask: Option<fn() -> usize>,
    /// Puts another word in force.
    pub set: fn(usize),
}

static CONTEXT: OnceLock<Context> = OnceLock::new();

impl Context {
    fn in_force(&self) -> usize {
        match self.ask {
            None => local(|local| local.context.get()),
            Some(ask) => {
                // A note from before anything was kept apart is no answer.
                local(|local| local.context.set(0));
                ask()
            }
        }
    }
}

/// Makes all jobs of the process keep `context`'s word apart from their callers'. The first call
/// counts; later ones do nothing.
pub fn keep_apart(context: Context) {
    CONTEXT.get_or_init(|| context);
}

/// Notes that `word` is now in force on this thread. It is 0 on a thread that was told nothing. Does nothing where
/// the word is asked for: a note that others do not keep up would be taken for an answer.
pub fn note_context(word: usize) {
    if CONTEXT.get().is_none_or(|context| context.ask.is_none()) {
        local(|local| local.context.set(word));
    }
}

/// Returns the word in force; 0 if nothing is kept apart.
#[inline]
pub(crate) fn current() -> usize {
    CONTEXT.get().map_or(0, Context::in_force)
}

/// Puts `theirs` in force. Returns the word that was in force before.
#[inline(always)]
pub(crate) fn exchange(theirs: usize) -> usize {
    // Where it is to be asked for, nothing is noted, and no word is 0.
    match local(|local| local.context.get()) == theirs {
        true => theirs,
        false => set(theirs),
    }
}

#[cold]
fn set(theirs: usize) -> usize {
    let Some(context) = CONTEXT.get() else {
        return 0;
    };
    let ours = context.in_force();
    if ours != theirs {
        (context.set)(theirs);
    }
    ours
}
