//! The device: crypto cores, and queue pairs to them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use spinlane_crypto::aead::Algorithm;
use spinlane_cryptodev::{Capabilities, Device, DeviceError, QueuePair, QueuePairConfig, aead};

use crate::NAME;
use crate::crypto_core::Served;
use crate::handle::Handle;
use crate::queue_pair::LookasideQueuePair;
use crate::settings::{Settings, StartError};

/// Another device, served by crypto cores. The cores run as long as the device or a queue pair
/// of it is there.
pub struct LookasideDevice {
    name: Arc<str>,
    capabilities: Capabilities,
    record_capabilities: Capabilities<Algorithm>,
    cores: Vec<Arc<Handle>>,
    settings: Settings,
    /// Queue pairs opened so far.
    opened: AtomicUsize,
}

impl LookasideDevice {
    /// Starts a crypto core on each of `cores`, pinned, with a queue pair of `inner` of its own.
    ///
    /// # Errors
    /// See [`StartError`]; no crypto core runs then.
    pub fn new(
        inner: Box<dyn Device>,
        cores: &[usize],
        settings: Settings,
    ) -> Result<Self, StartError> {
        check(cores, &settings)?;
        let inner: Arc<dyn Device> = inner.into();
        let list: Vec<String> = cores.iter().map(usize::to_string).collect();
        let start = |core: &usize| Handle::start(Arc::clone(&inner), *core, settings).map(Arc::new);
        Ok(Self {
            name: format!("{NAME}:{}@{}", inner.name(), list.join("+")).into(),
            capabilities: inner.capabilities(),
            record_capabilities: inner.record_capabilities(),
            cores: cores.iter().map(start).collect::<Result<_, _>>()?,
            settings,
            opened: AtomicUsize::new(0),
        })
    }

    /// Ends the crypto cores and waits for them. What the inner device has begun is finished; all
    /// other ops come back with [`OpStatus::Error`](spinlane_cryptodev::OpStatus::Error), as does
    /// whatever a queue pair is given from then on. Dropping the device and its queue pairs
    /// stops, too.
    pub fn stop(&self) {
        for core in &self.cores {
            core.stop();
        }
    }
}

impl Device for LookasideDevice {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn cores(&self) -> Vec<usize> {
        self.cores.iter().map(|core| core.core).collect()
    }

    /// `max_delay_ns` means nothing here: a crypto core runs partial batches when it has
    /// nothing else to do, and at the latest after that of [`Settings::inner`].
    fn queue_pair(&self, config: QueuePairConfig) -> Result<Box<dyn QueuePair>, DeviceError> {
        Ok(Box::new(self.open(self.capabilities, config)?))
    }

    fn record_capabilities(&self) -> Capabilities<Algorithm> {
        self.record_capabilities
    }

    fn record_queue_pair(
        &self,
        config: QueuePairConfig,
    ) -> Result<Box<dyn QueuePair<aead::Op>>, DeviceError> {
        if self.record_capabilities.is_empty() {
            return Err(DeviceError::NoClass {
                device: self.name().to_owned(),
                class: "records",
            });
        }
        Ok(Box::new(self.open(self.record_capabilities, config)?))
    }
}

impl LookasideDevice {
    fn open<O: Served>(
        &self,
        capabilities: Capabilities<O::Kind>,
        config: QueuePairConfig,
    ) -> Result<LookasideQueuePair<O>, DeviceError> {
        config.check(NAME)?;
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let queue_pair = LookasideQueuePair::attach(
            Arc::clone(&self.name),
            capabilities,
            config.capacity,
            &self.cores,
            number,
            self.settings.stuck_after_ns,
        );
        queue_pair.ok_or(DeviceError::Unavailable {
            device: NAME,
            missing: "a running crypto core",
            remedy: "open the device again; its crypto cores were stopped, or its inner device panicked",
        })
    }
}

/// Whether crypto cores could be started on `cores`, as far as that is seen without starting any.
///
/// # Errors
/// See [`StartError`].
pub fn check(cores: &[usize], settings: &Settings) -> Result<(), StartError> {
    if cores.is_empty() {
        return Err(StartError::NoCore);
    }
    for (position, &core) in cores.iter().enumerate() {
        if cores[..position].contains(&core) {
            return Err(StartError::Twice { core });
        }
    }
    let usable = usable_cores();
    if let Some(&core) = cores.iter().find(|core| !usable.contains(core)) {
        return Err(StartError::NoSuchCore { core, usable });
    }
    let max_us = settings.stuck_after_ns / 2000;
    let sleep_us = settings.idle.sleep.map_or(0, |sleep| sleep.as_micros());
    if sleep_us > u128::from(max_us) {
        return Err(StartError::Sleep { sleep_us, max_us });
    }
    Ok(())
}

/// The CPUs of the calling thread, of the main thread, and those that the first thread to ask had: a thread that
/// has since pinned itself, or was made by one that had, still finds those of the process.
pub(crate) fn usable_cores() -> Vec<usize> {
    static AT_FIRST: OnceLock<Vec<usize>> = OnceLock::new();
    let now = || -> Vec<usize> {
        let ids = core_affinity::get_core_ids().unwrap_or_default();
        let mut all: Vec<_> = ids.iter().map(|id| id.id).collect();
        all.extend(cores_of_main_thread());
        all
    };
    let mut usable = AT_FIRST.get_or_init(now).clone();
    usable.extend(now());
    usable.sort_unstable();
    usable.dedup();
    usable
}

/// As proc(5) lists them, for example `0-3,8`; empty where it does not.
fn cores_of_main_thread() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let ranges = list.unwrap_or_default().trim().split(',');
    let cores = ranges.filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
    });
    cores.flatten().collect()
}
