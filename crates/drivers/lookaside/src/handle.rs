//! Starting a crypto core's thread and ending it.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use spinlane_cryptodev::{Device, DeviceError, Op, Operation, aead};

use crate::crypto_core::{Attach, Served, Service, Shared, work};
use crate::device::usable_cores;
use crate::settings::{Settings, StartError};

/// A crypto core. Dropped, its thread ends.
pub(crate) struct Handle {
    pub(crate) core: usize,
    inner: Arc<dyn Device>,
    settings: Settings,
    running: Mutex<Running>,
}

/// The thread, or the last one.
struct Running {
    shared: Arc<Shared>,
    /// `None` once it has ended or was asked to.
    thread: Option<JoinHandle<()>>,
}

/// How the start of a thread went wrong.
enum Failed {
    Pin,
    Open(DeviceError),
}

impl Handle {
    /// Starts the thread, pins it and lets it open a queue pair of `inner`.
    pub(crate) fn start(
        inner: Arc<dyn Device>,
        core: usize,
        settings: Settings,
    ) -> Result<Self, StartError> {
        let running = Mutex::new(start(&inner, core, settings)?);
        Ok(Self {
            core,
            inner,
            settings,
            running,
        })
    }

    /// Sends a client to the thread, and returns what is shared with it; `None` if it has ended.
    pub(crate) fn attach<O: Served>(&self, attach: Attach<O>) -> Option<Arc<Shared>> {
        let shared = Arc::clone(&self.lock().shared);
        O::inbox(&shared).post(attach).ok()?;
        Some(shared)
    }

    /// Starts another thread if a panic of the inner device has ended this one.
    pub(crate) fn revive(&self) {
        let mut running = self.lock();
        if running.shared.stop.load(Ordering::Relaxed) || !Op::inbox(&running.shared).is_closed() {
            return;
        }
        // It closes its inbox when all it has left to do is to send everything home.
        if let Some(thread) = running.thread.take() {
            let _ = thread.join();
        }
        match start(&self.inner, self.core, self.settings) {
            Ok(another) => {
                tracing::info!(core = self.core, "crypto core is started again");
                *running = another;
            }
            Err(error) => tracing::warn!("crypto core is not started again: {error}"),
        }
    }

    /// Ends the thread for good and waits for it: it finishes what the inner device has begun, and
    /// sends everything home. A stuck one is left behind.
    pub(crate) fn stop(&self) {
        let mut running = self.lock();
        running.shared.stop.store(true, Ordering::Relaxed);
        let Some(thread) = running.thread.take() else {
            return;
        };
        let deadline = Instant::now() + Duration::from_nanos(self.settings.stop_within_ns);
        while !thread.is_finished() {
            if Instant::now() > deadline {
                tracing::error!(
                    core = self.core,
                    "crypto core is stuck; its thread is left behind with the ops it holds"
                );
                return;
            }
            thread::sleep(Duration::from_micros(100));
        }
        // It has caught every panic.
        let _ = thread.join();
    }

    /// What is under the lock is whole at all times, so poison means nothing.
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start(inner: &Arc<dyn Device>, core: usize, settings: Settings) -> Result<Running, StartError> {
    let shared = Arc::new(Shared::new());
    let (report, started) = channel();
    let (state, inner) = (Arc::clone(&shared), Arc::clone(inner));
    let thread = thread::Builder::new()
        .name(format!("crypto-{core}"))
        .spawn(move || run(&*inner, core, settings, state, &report))
        .map_err(|source| StartError::Thread { core, source })?;
    match started.recv() {
        Ok(Ok(())) => Ok(Running {
            shared,
            thread: Some(thread),
        }),
        Ok(Err(Failed::Pin)) => Err(StartError::NoSuchCore {
            core,
            usable: usable_cores(),
        }),
        Ok(Err(Failed::Open(source))) => Err(StartError::Inner { core, source }),
        Err(_) => Err(StartError::Panicked { core }),
    }
}

/// The thread's life.
fn run(
    inner: &dyn Device,
    core: usize,
    settings: Settings,
    shared: Arc<Shared>,
    report: &Sender<Result<(), Failed>>,
) {
    // Nobody listens any more only when the starting thread has died.
    match open(inner, core, &settings) {
        Err(failed) => drop(report.send(Err(failed))),
        Ok((ops, records)) => {
            let _ = report.send(Ok(()));
            work(&shared, &settings, ops, records);
        }
    }
}

/// What the thread has for each class.
type Services = (Service<Op>, Option<Service<aead::Op>>);

fn open(inner: &dyn Device, core: usize, settings: &Settings) -> Result<Services, Failed> {
    if !core_affinity::set_for_current(CoreId { id: core }) {
        return Err(Failed::Pin);
    }
    let ops = Op::open(inner, settings.inner).map_err(Failed::Open)?;
    let records = match inner.record_capabilities().is_empty() {
        true => None,
        false => Some(aead::Op::open(inner, settings.inner).map_err(Failed::Open)?),
    };
    let records = records.map(|records| Service::new(records, settings));
    Ok((Service::new(ops, settings), records))
}
