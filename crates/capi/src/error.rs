//! The boundary to C: panics stop here, and the text of the last failure is kept.

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// A failure: what `spinlane_last_error` will say.
pub(crate) struct Failure(String);

impl<E: Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl Failure {
    /// What it says.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// The failure of an argument that is NULL.
pub(crate) fn null(argument: &str) -> Failure {
    Failure(format!("{argument} is NULL"))
}

/// The failure that `text` describes.
pub(crate) fn failure(text: impl Into<String>) -> Failure {
    Failure(text.into())
}

/// Keeps `text` for `spinlane_last_error`.
pub(crate) fn remember(text: &str) {
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    // At thread exit, when the place is gone, nobody can ask any more.
    let _ = LAST.try_with(|last| last.replace(text));
}

/// Runs the body of an entry. A failure or a panic is remembered and becomes `value`.
pub(crate) fn guard<T>(value: T, body: impl FnOnce() -> Result<T, Failure>) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(result)) => result,
        Ok(Err(Failure(text))) => {
            remember(&text);
            value
        }
        Err(_) => {
            remember("internal error (a panic, printed on stderr); please report it");
            value
        }
    }
}

/// [`guard`] for entries that answer 1 or 0.
pub(crate) fn check(body: impl FnOnce() -> Result<(), Failure>) -> c_int {
    guard(0, || body().map(|()| 1))
}

/// Text of this thread's last failure; empty before the first. Valid until its next.
#[unsafe(no_mangle)]
pub extern "C" fn spinlane_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr())
        .unwrap_or(c"".as_ptr())
}
