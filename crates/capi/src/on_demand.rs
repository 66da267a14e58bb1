//! The lcore of a thread that made none: for programs that were not written for Spinlane.

use std::cell::RefCell;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use spinlane::cryptodev::{Device, QueuePair};
use spinlane::lcore::{Lcore, OffloadError};

use crate::error::{Failure, failure, remember};
use crate::lcore::ThreadLcore;

static DEVICE: RwLock<Option<String>> = RwLock::new(None);

thread_local! {
    /// Boxed, so that C may hold a pointer to it. Goes with the thread.
    static MADE: RefCell<Option<Box<ThreadLcore>>> = const { RefCell::new(None) };
}

/// Names the device of lcores made from here on.
pub(crate) fn set_device(spec: String) {
    *DEVICE.write().unwrap_or_else(PoisonError::into_inner) = Some(spec);
}

/// The devices of a process's lcores. Some have threads: one such device for each spec and process, which serves
/// all threads.
struct Opened {
    process: u32,
    /// By spec.
    devices: Mutex<Vec<(String, Box<dyn Device>)>>,
}

impl Opened {
    /// That of this process. A forked child leaves its parent's alone: the device's threads are not in
    /// the child, and the lock may have been held when the process was forked.
    fn current() -> &'static Self {
        static CURRENT: AtomicPtr<Opened> = AtomicPtr::new(ptr::null_mut());
        let process = std::process::id();
        loop {
            let found = CURRENT.load(Ordering::Acquire);
            // SAFETY: null or leaked below, before the Release of the exchange.
            match unsafe { found.as_ref() } {
                Some(opened) if opened.process == process => return opened,
                _ => {}
            }
            let own = Box::into_raw(Box::new(Self {
                process,
                devices: Mutex::default(),
            }));
            let swapped = CURRENT.compare_exchange(found, own, Ordering::AcqRel, Ordering::Relaxed);
            if swapped.is_err() {
                // SAFETY: made above, and nobody has seen it.
                drop(unsafe { Box::from_raw(own) });
            }
        }
    }

    /// A queue pair of the device that `spec` names, which the first call opens.
    fn queue_pair(&self, spec: &str) -> Result<Box<dyn QueuePair>, Failure> {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        if devices.iter().all(|(other, _)| other != spec) {
            devices.push((spec.to_owned(), spinlane::device::open(spec)?));
        }
        let found = devices.iter().find(|(other, _)| other == spec);
        let (_, device) = found.ok_or_else(|| failure("the device is not there"))?;
        Ok(device.queue_pair(Default::default())?)
    }
}

/// Makes the calling thread's lcore; again in a forked child.
pub(crate) fn make() -> Result<(), OffloadError> {
    // At thread exit, when the place is gone, the op is computed inline.
    if MADE.try_with(|_| ()).is_err() {
        return Ok(());
    }
    let is_of_parent = Lcore::current().is_some_and(|lcore| lcore.is_of_parent());
    if is_of_parent && made_for_thread().is_null() {
        return Err(OffloadError::Forked);
    }
    let spec = DEVICE
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
        .unwrap_or_else(|| "auto".to_owned());
    let queue_pair = Opened::current().queue_pair(&spec).map_err(|failure| {
        tracing::error!(text = failure.text(), "no lcore can be made on demand");
        remember(failure.text());
        OffloadError::NoLcore
    })?;
    let made = Box::new(ThreadLcore::new(Default::default()));
    made.lcore.add_queue_pair(queue_pair);
    tracing::info!(device = %spec, "an lcore was made on demand for this thread");
    // A parent's is left alone: its queue pairs would wait for threads that are not in this process.
    let _ = MADE.try_with(|place| std::mem::forget(place.replace(Some(made))));
    Ok(())
}

/// The lcore that was made for this thread in this process, or NULL.
pub(crate) fn current() -> *mut ThreadLcore {
    let made = made_for_thread();
    // SAFETY: NULL or in the thread's place.
    match unsafe { made.as_ref() } {
        Some(entry) if !entry.lcore.is_of_parent() => made,
        _ => ptr::null_mut(),
    }
}

/// The lcore that was made for this thread, here or in a parent process, or NULL.
pub(crate) fn made_for_thread() -> *mut ThreadLcore {
    MADE.try_with(|made| {
        made.borrow_mut()
            .as_deref_mut()
            .map_or(ptr::null_mut(), ptr::from_mut)
    })
    .unwrap_or(ptr::null_mut())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spec_has_one_device() {
        let opened = Opened {
            process: 0,
            devices: Mutex::default(),
        };
        for (spec, name) in [
            ("soft", "soft"),
            ("sim:7:soft", "sim:soft"),
            ("soft", "soft"),
        ] {
            let queue_pair = opened.queue_pair(spec).ok();
            assert_eq!(
                queue_pair.map(|pair| pair.name().to_owned()).as_deref(),
                Some(name)
            );
        }
        assert_eq!(opened.devices.lock().unwrap().len(), 2);
    }
}
