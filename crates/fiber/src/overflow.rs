//! Stack overflow.
/// Installs.
pub fn install_overflow_handler() {}
pub(crate) fn ensure_alternate_stack() {}
