//! The lcore of a thread that made none: for programs that were not written for Spinlane.

use std::cell::RefCell;
use std::ptr;
use std::sync::RwLock;

use spinlane::lcore::OffloadError;

use crate::error::remember;
use crate::lcore::ThreadLcore;

static DEVICE: RwLock<Option<String>> = RwLock::new(None);

thread_local! {
    /// Boxed, so that C may hold a pointer to it. Goes with the thread.
    static MADE: RefCell<Option<Box<ThreadLcore>>> = const { RefCell::new(None) };
}

/// Names the device of lcores made from here on.
pub(crate) fn set_device(spec: String) {
    *DEVICE
        .write()
        .unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(spec);
}

/// Makes the calling thread's lcore.
pub(crate) fn make() -> Result<(), OffloadError> {
    let spec = DEVICE
        .read()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
        .clone()
        .unwrap_or_else(|| "auto".to_owned());
    let made = spinlane::device::open(&spec)
        .map_err(|error| error.to_string())
        .and_then(|device| {
            device
                .queue_pair(Default::default())
                .map_err(|error| error.to_string())
        });
    let queue_pair = made.map_err(|text| {
        tracing::error!(%text, "no lcore can be made on demand");
        remember(&text);
        OffloadError::NoLcore
    })?;
    let made = Box::new(ThreadLcore::new());
    made.lcore.add_queue_pair(queue_pair);
    tracing::info!(device = %spec, "an lcore was made on demand for this thread");
    // At thread exit, when the place is gone, the lcore is left at once and the op computed inline.
    let _ = MADE.try_with(|place| place.replace(Some(made)));
    Ok(())
}

/// The lcore that was made for this thread, or NULL.
pub(crate) fn current() -> *mut ThreadLcore {
    MADE.try_with(|made| {
        made.borrow_mut()
            .as_deref_mut()
            .map_or(ptr::null_mut(), ptr::from_mut)
    })
    .unwrap_or(ptr::null_mut())
}
