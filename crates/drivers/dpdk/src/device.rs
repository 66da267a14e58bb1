//! Devices: plugged in, configured, started; or an application's own.

use std::ffi::CString;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use spinlane_cryptodev::{Capabilities, Device, DeviceError, OpKind, QueuePair, QueuePairConfig};
use thiserror::Error;

use crate::ffi::{self, DeviceId, QueuePairs, RawQueuePair};
use crate::queue_pair::DpdkQueuePair;
use crate::sessions::Sessions;
use crate::{Eal, NAME, Spec};

/// Devices that DPDK numbers (RTE_CRYPTO_MAX_DEVS), and so instances of one driver.
const MAX_DEVICES: usize = 64;

const RSA_KINDS: [OpKind; 3] = [OpKind::Rsa2048, OpKind::Rsa3072, OpKind::Rsa4096];

/// A device that cannot be opened. The text names the culprit and the remedy.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    /// There is none of that name.
    #[error(
        "device dpdk:{name}: {reason}; a name begins with that of a driver (crypto_openssl) or is the PCI \
         address of a card bound to vfio-pci, and the driver's package (librte-crypto-…) must be there"
    )]
    NotFound {
        /// The name.
        name: String,
        /// What DPDK said.
        reason: String,
    },
    /// DPDK refused a step.
    #[error("device dpdk:{name} cannot be {step}: {reason}")]
    Refused {
        /// The device's name.
        name: String,
        /// What it could not be.
        step: &'static str,
        /// What DPDK said.
        reason: String,
    },
    /// It has fewer queue pairs than asked for.
    #[error("device dpdk:{name} has {most} queue pairs; ask for queue_pairs={most} at most")]
    QueuePairs {
        /// The device's name.
        name: String,
        /// How many it has.
        most: u16,
    },
    /// It serves nothing that there are ops for.
    #[error("device dpdk:{name} offers no RSA by CRT keys and no modular exponentiation")]
    Useless {
        /// The device's name.
        name: String,
    },
}

/// How a device computes RSA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RsaBy {
    /// As one op.
    Rsa,
    /// As an exponentiation for each prime.
    Modexp,
}

impl RsaBy {
    /// DPDK's ops per op of ours.
    pub(crate) fn parts(self) -> usize {
        match self {
            Self::Rsa => 1,
            Self::Modexp => 2,
        }
    }
}

/// A crypto device of DPDK's. All threads may open queue pairs on one, as many as it has.
///
/// Dropped after its queue pairs, it is stopped, closed, and unplugged if it was plugged in.
#[derive(Clone)]
pub struct DpdkDevice(Arc<Opened>);

/// What a device and its queue pairs share.
pub(crate) struct Opened {
    /// As in a device spec.
    name: String,
    id: DeviceId,
    by: RsaBy,
    capabilities: Capabilities,
    is_hardware: bool,
    descriptors: u32,
    queue_pairs: Arc<QueuePairs>,
    /// Who opened those that are in use.
    users: Mutex<Vec<ThreadId>>,
    /// Memory that the device may write to was given up: it stays open.
    keep: AtomicBool,
    /// Plugged in by us, and to be unplugged.
    vdev: Option<CString>,
    /// Ours to stop and close.
    owned: bool,
    eal: Eal,
}

impl DpdkDevice {
    /// Plugs in the virtual device (or finds the card) that `spec` names, configures and starts it.
    /// Virtual devices of the same name get a number each.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(eal: &Eal, spec: &Spec) -> Result<Self, OpenError> {
        let _turn = turn();
        let plugged = Plugged::new(eal, spec)?;
        let refused = |step| {
            move |error| OpenError::Refused {
                name: spec.name.clone(),
                step,
                reason: ffi::error_text(error),
            }
        };
        let id = plugged.id;
        let most = id.max_queue_pairs();
        let count = spec.queue_pairs.unwrap_or(most);
        if count > most {
            return Err(OpenError::QueuePairs {
                name: spec.name.clone(),
                most,
            });
        }
        let (by, capabilities) = abilities(id, spec.modexp).ok_or(OpenError::Useless {
            name: spec.name.clone(),
        })?;
        let socket = id.socket(eal.running());
        let free = id
            .configure(count, spec.descriptors, socket)
            .map_err(refused("configured"))?;
        id.start().map_err(refused("started"))?;
        Ok(Self(Arc::new(Opened {
            name: format!("{NAME}:{}", spec.name),
            id,
            by,
            capabilities,
            is_hardware: id.is_hardware(),
            descriptors: spec.descriptors,
            queue_pairs: Arc::new(QueuePairs::new(id, free)),
            users: Mutex::new(Vec::new()),
            keep: AtomicBool::new(false),
            vdev: plugged.into_vdev(),
            owned: true,
            eal: eal.clone(),
        })))
    }

    /// A device of an application's, which configures, starts, stops and closes it, with those of its
    /// queue pairs that `queue_pairs` hands over. See [`crate::HandedOver`].
    ///
    /// # Errors
    /// [`OpenError::Useless`].
    pub fn adopt(eal: &Eal, queue_pairs: crate::HandedOver) -> Result<Self, OpenError> {
        let (id, descriptors, free) = queue_pairs.into_parts();
        let name = id.name();
        let (by, capabilities) =
            abilities(id, false).ok_or_else(|| OpenError::Useless { name: name.clone() })?;
        Ok(Self(Arc::new(Opened {
            name: format!("{NAME}:{name}"),
            id,
            by,
            capabilities,
            is_hardware: id.is_hardware(),
            descriptors,
            queue_pairs: Arc::new(QueuePairs::new(id, free)),
            users: Mutex::new(Vec::new()),
            keep: AtomicBool::new(false),
            vdev: None,
            owned: false,
            eal: eal.clone(),
        })))
    }

    /// Stops it: queue pairs fail what they are given, and take back nothing, until
    /// [`DpdkDevice::start`].
    ///
    /// # Errors
    /// [`OpenError::Refused`] if other threads have queue pairs of it, which DPDK would pull away
    /// under them, or if the device is not ours.
    pub fn stop(&self) -> Result<(), OpenError> {
        let _turn = turn();
        let users = self.0.users();
        let here = thread::current().id();
        if !self.0.owned || users.iter().any(|user| *user != here) {
            return Err(self.0.refused("stopped", "others use it".to_owned()));
        }
        self.0.id.stop();
        Ok(())
    }

    /// Starts it again.
    ///
    /// # Errors
    /// [`OpenError::Refused`].
    pub fn start(&self) -> Result<(), OpenError> {
        let _turn = turn();
        let started = self.0.id.start();
        started.map_err(|error| self.0.refused("started", ffi::error_text(error)))
    }

    /// Queue pairs that can still be opened.
    pub fn free_queue_pairs(&self) -> usize {
        self.0.queue_pairs.free()
    }
}

impl fmt::Debug for DpdkDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DpdkDevice")
            .field("name", &self.0.name)
            .field("rsa_by", &self.0.by)
            .finish_non_exhaustive()
    }
}

impl Device for DpdkDevice {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities
    }

    /// At most as many ops in flight as the ring holds, which is one less than it has descriptors
    /// (half of that where RSA takes two exponentiations): [`QueuePair::capacity`] tells.
    fn queue_pair(&self, config: QueuePairConfig) -> Result<Box<dyn QueuePair>, DeviceError> {
        config.check(NAME)?;
        let _turn = turn();
        let unavailable = |missing, remedy| DeviceError::Unavailable {
            device: NAME,
            missing,
            remedy,
        };
        let running = self.0.eal.running();
        running
            .register_thread()
            .map_err(|_| unavailable("a free lcore", "use fewer threads"))?;
        let memory = || unavailable("memory", "give EAL more, by hugepages or memory_mib");
        let sessions = Sessions::new(running, self.0.id, self.0.by).map_err(|_| memory())?;
        let ops = self.0.capacity(config) * self.0.by.parts();
        let ops = u16::try_from(ops).unwrap_or(u16::MAX);
        let raw = RawQueuePair::new(running, &self.0.queue_pairs, ops).map_err(|error| {
            error.map_or(
                unavailable(
                    "a free queue pair",
                    "use fewer threads, or give the device more by queue_pairs=N",
                ),
                |_| memory(),
            )
        })?;
        self.0.users().push(thread::current().id());
        let device = Arc::clone(&self.0);
        Ok(Box::new(DpdkQueuePair::new(device, raw, sessions, config)))
    }
}

impl Opened {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    pub(crate) fn by(&self) -> RsaBy {
        self.by
    }

    pub(crate) fn is_hardware(&self) -> bool {
        self.is_hardware
    }

    /// Ops in flight at most on a queue pair opened so.
    pub(crate) fn capacity(&self, config: QueuePairConfig) -> usize {
        let ring = (self.descriptors as usize - 1) / self.by.parts();
        config.capacity.min(ring).max(1)
    }

    /// It must stay open for ever.
    pub(crate) fn keep(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }

    /// The calling thread closes a queue pair.
    pub(crate) fn closed(&self) {
        let mut users = self.users();
        let here = thread::current().id();
        if let Some(index) = users.iter().position(|user| *user == here) {
            users.swap_remove(index);
        }
    }

    fn users(&self) -> MutexGuard<'_, Vec<ThreadId>> {
        // A push or a removal that panics leaves the list whole.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self, step: &'static str, reason: String) -> OpenError {
        OpenError::Refused {
            name: self.name.trim_start_matches("dpdk:").to_owned(),
            step,
            reason,
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if !self.owned || self.keep.load(Ordering::Relaxed) {
            return;
        }
        let _turn = turn();
        self.id.stop();
        let closed = self.id.close();
        let unplugged = match &self.vdev {
            Some(name) => self.eal.running().unplug(c"vdev", name),
            None => Ok(()),
        };
        if let Err(error) = closed.and(unplugged) {
            let error = ffi::error_text(error);
            tracing::error!(device = self.name, "cannot be closed: {error}");
        }
    }
}

/// One thread at a time brings devices and takes them away: DPDK's lists of them have no lock.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the device offers, and by which of its ops.
fn abilities(id: DeviceId, modexp: bool) -> Option<(RsaBy, Capabilities)> {
    let those = |has: &dyn Fn(u16) -> bool| {
        let kinds = RSA_KINDS.into_iter();
        kinds
            .filter(|kind| has(kind.input_len() as u16))
            .fold(Capabilities::NONE, Capabilities::with)
    };
    let rsa = those(&|bytes| id.takes_quintuples() && id.has_rsa(bytes));
    if rsa != Capabilities::NONE && !modexp {
        return Some((RsaBy::Rsa, rsa));
    }
    let halves = those(&|bytes| id.has_modexp(bytes / 2));
    (halves != Capabilities::NONE).then_some((RsaBy::Modexp, halves))
}

/// A device that was found, and is unplugged again unless it is kept.
struct Plugged {
    id: DeviceId,
    vdev: Option<CString>,
    eal: Eal,
}

impl Plugged {
    fn new(eal: &Eal, spec: &Spec) -> Result<Self, OpenError> {
        let not_found = |reason: String| OpenError::NotFound {
            name: spec.name.clone(),
            reason,
        };
        let c_string =
            |text: String| CString::new(text).map_err(|_| not_found("a zero byte".to_owned()));
        let running = eal.running();
        if spec.is_pci() {
            let name = c_string(spec.name.clone())?;
            let found = || {
                ["", "_qat_asym", "_asym"].iter().find_map(|suffix| {
                    let name = CString::new(format!("{}{suffix}", spec.name)).ok()?;
                    DeviceId::find(running, &name)
                })
            };
            if found().is_none() {
                let plugged = running.plug(c"pci", &name, c"");
                plugged.map_err(|error| not_found(ffi::error_text(error)))?;
            }
            let id = found().ok_or_else(|| not_found("it brings no crypto device".to_owned()))?;
            let (vdev, eal) = (None, eal.clone());
            return Ok(Self { id, vdev, eal });
        }
        // A driver may ignore what it does not know, or all of it: `Spec` has let nothing else through.
        let queue_pairs = spec
            .queue_pairs
            .map(|count| format!("max_nb_queue_pairs={count}"));
        let socket = spec.socket_id.map(|id| format!("socket_id={id}"));
        let args: Vec<_> = queue_pairs.into_iter().chain(socket).collect();
        let args = c_string(args.join(","))?;
        for number in 0..MAX_DEVICES {
            let name = match number {
                0 => spec.name.clone(),
                number => format!("{}_{number}", spec.name),
            };
            let name = c_string(name)?;
            if DeviceId::find(running, &name).is_some() {
                continue;
            }
            let plugged = running.plug(c"vdev", &name, &args);
            plugged.map_err(|error| not_found(ffi::error_text(error)))?;
            let id = DeviceId::find(running, &name);
            let id = id.ok_or_else(|| not_found("it brings no crypto device".to_owned()))?;
            let (vdev, eal) = (Some(name), eal.clone());
            return Ok(Self { id, vdev, eal });
        }
        Err(not_found("there are too many of them".to_owned()))
    }

    /// It stays; its name, if it is to be unplugged.
    fn into_vdev(mut self) -> Option<CString> {
        self.vdev.take()
    }
}

impl Drop for Plugged {
    fn drop(&mut self) {
        if let Some(name) = &self.vdev {
            // Nothing better can be done about a device that cannot go either.
            let _ = self.id.close();
            let _ = self.eal.running().unplug(c"vdev", name);
        }
    }
}
