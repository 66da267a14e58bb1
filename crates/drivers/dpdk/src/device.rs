//! Devices: plugged in, configured, started; or an application's own.

use std::ffi::CString;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::{self, ThreadId};

use spinlane_crypto::aead::Algorithm;
use spinlane_cryptodev::{
    Capabilities, Device, DeviceError, OpKind, QueuePair, QueuePairConfig, aead::Op as Record,
};
use thiserror::Error;

use crate::aead;
use crate::ec::Curves;
use crate::ffi::{self, DeviceId, QueuePairs, RawQueuePair, Running};
use crate::queue_pair::DpdkQueuePair;
use crate::sessions::Sessions;
use crate::spec::DEFAULT_DESCRIPTORS;
use crate::{Eal, NAME, Spec, trial};

/// Devices that DPDK numbers (RTE_CRYPTO_MAX_DEVS), and so instances of one driver.
const MAX_DEVICES: usize = 64;

/// Queue pairs of a virtual device that is not asked for more, DPDK's own default.
const DEFAULT_QUEUE_PAIRS: u16 = 8;

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
    /// It cannot be brought up with memory of the NUMA node that was asked for.
    #[error(
        "device dpdk:{name} cannot be brought up with socket_id={socket_id}: {reason}; leave socket_id away, or name a \
         NUMA node on which DPDK has memory (0 where there is one)"
    )]
    Socket {
        /// The device's name.
        name: String,
        /// The node.
        socket_id: u8,
        /// What DPDK said.
        reason: String,
    },
    /// It does not take queue pairs of that size.
    #[error(
        "device dpdk:{name} cannot be configured with descriptors={descriptors}: {reason}; most drivers want a power of \
         two, such as 64 or the 1024 that are usual, and memory for it"
    )]
    Descriptors {
        /// The device's name.
        name: String,
        /// How many were asked for.
        descriptors: u32,
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
    #[error(
        "device dpdk:{name} offers no RSA by CRT keys, no modular exponentiation, no curve and no AEAD"
    )]
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
    /// Not at all.
    #[cfg(feature = "null")]
    Null,
}

impl RsaBy {
    /// DPDK's ops per op of ours.
    pub(crate) fn parts(self) -> usize {
        match self {
            Self::Rsa => 1,
            Self::Modexp => 2,
            #[cfg(feature = "null")]
            Self::Null => 1,
        }
    }

    /// Whether that takes any time.
    fn computes(self) -> bool {
        match self {
            Self::Rsa | Self::Modexp => true,
            #[cfg(feature = "null")]
            Self::Null => false,
        }
    }
}

/// A crypto device of DPDK's. All threads may open queue pairs on one, as many as it has.
///
/// Dropped after its queue pairs, it is stopped, and waits for the next that wants such a device: it is
/// closed in [`Eal::cleanup`]. (Unplugged, crypto_openssl would leave rings behind, in the next one's way.)
#[derive(Clone)]
pub struct DpdkDevice(Arc<Opened>);

/// What a device and its queue pairs share.
pub(crate) struct Opened {
    /// As in a device spec.
    name: String,
    id: DeviceId,
    by: RsaBy,
    curves: Curves,
    capabilities: Capabilities,
    aead: Capabilities<Algorithm>,
    is_hardware: bool,
    descriptors: u32,
    queue_pairs: Arc<QueuePairs>,
    /// Who opened those that are in use.
    users: Mutex<Vec<ThreadId>>,
    /// Memory that the device may write to was given up: it stays open.
    keep: AtomicBool,
    /// Ours to stop; `None` if it is an application's.
    plugged: Option<Plugged>,
    eal: Eal,
}

impl DpdkDevice {
    /// Plugs in the virtual device (or finds the card) that `spec` names, configures and starts it.
    /// Virtual devices of the same name get a number each. One that was dropped is used again. One that may have
    /// curves is tried, by a queue pair that the calling thread opens for a moment.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(eal: &Eal, spec: &Spec) -> Result<Self, OpenError> {
        let opened = {
            let mut parked = parked();
            let plugged = Plugged::find(eal, spec, &mut parked)?;
            let opened = Self::configure(eal, spec, plugged.clone());
            if opened.is_err() {
                parked.push(plugged);
            }
            opened
        };
        opened?.tried()
    }

    /// Leaves it the curves of those it was opened for that it has, as a trial on a queue pair shows.
    fn tried(mut self) -> Result<Self, OpenError> {
        let to_try = self.0.curves;
        if !to_try.any() {
            return Ok(self);
        }
        let served = trial::served(&self, to_try);
        let name = self.0.name.trim_start_matches("dpdk:").to_owned();
        let useless = OpenError::Useless { name };
        // The trial's queue pair is gone, and nobody else has the device yet.
        let opened = Arc::get_mut(&mut self.0).ok_or(useless.clone())?;
        opened.curves = Curves::of(served);
        let was_tried = |kind| to_try.kinds().flatten().any(|tried| *tried == kind);
        opened.capabilities = opened
            .capabilities
            .iter()
            .filter(|kind| !was_tried(*kind))
            .fold(served, Capabilities::with);
        match opened.is_useless() {
            true => Err(useless),
            false => Ok(self),
        }
    }

    fn configure(eal: &Eal, spec: &Spec, plugged: Plugged) -> Result<Self, OpenError> {
        let refused = |step| {
            move |error| OpenError::Refused {
                name: spec.name.clone(),
                step,
                reason: ffi::error_text(error),
            }
        };
        let id = plugged.id;
        let most = id.max_queue_pairs();
        let usual = if spec.is_pci() {
            most
        } else {
            DEFAULT_QUEUE_PAIRS
        };
        let count = spec.queue_pairs.unwrap_or(usual);
        if count > most {
            return Err(OpenError::QueuePairs {
                name: spec.name.clone(),
                most,
            });
        }
        let (by, curves, capabilities, aead) =
            abilities(id, spec.modexp).ok_or_else(|| OpenError::Useless {
                name: spec.name.clone(),
            })?;
        let socket = id.socket(eal.running());
        let free = id
            .configure(count, spec.descriptors, socket)
            .map_err(|error| spec.refused_memory(ffi::error_text(error)))?;
        id.start().map_err(refused("started"))?;
        Ok(Self(Arc::new(Opened {
            name: format!("{NAME}:{}", spec.name),
            id,
            by,
            curves,
            capabilities,
            aead,
            is_hardware: id.is_hardware(),
            descriptors: spec.descriptors,
            queue_pairs: Arc::new(QueuePairs::new(id, free)),
            users: Mutex::new(Vec::new()),
            keep: AtomicBool::new(false),
            plugged: Some(plugged),
            eal: eal.clone(),
        })))
    }

    /// A device of an application's, which configures, starts, stops and closes it, with those of its
    /// queue pairs that `queue_pairs` hands over. See [`crate::HandedOver`]. To find out its curves, it must have
    /// been started.
    ///
    /// # Errors
    /// [`OpenError::Useless`].
    pub fn adopt(eal: &Eal, queue_pairs: crate::HandedOver) -> Result<Self, OpenError> {
        let (id, descriptors, free) = queue_pairs.into_parts();
        let name = id.name();
        let (by, curves, capabilities, aead) =
            abilities(id, false).ok_or_else(|| OpenError::Useless { name: name.clone() })?;
        let opened = Self(Arc::new(Opened {
            name: format!("{NAME}:{name}"),
            id,
            by,
            curves,
            capabilities,
            aead,
            is_hardware: id.is_hardware(),
            descriptors,
            queue_pairs: Arc::new(QueuePairs::new(id, free)),
            users: Mutex::new(Vec::new()),
            keep: AtomicBool::new(false),
            plugged: None,
            eal: eal.clone(),
        }));
        opened.tried()
    }

    /// Stops it: queue pairs fail what they are given, and take back nothing, until
    /// [`DpdkDevice::start`].
    ///
    /// # Errors
    /// [`OpenError::Refused`] if other threads have queue pairs of it, which DPDK would pull away
    /// under them, or if the device is not ours.
    pub fn stop(&self) -> Result<(), OpenError> {
        let _turn = parked();
        let users = self.0.users();
        let here = thread::current().id();
        if self.0.plugged.is_none() || users.iter().any(|user| *user != here) {
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
        let _turn = parked();
        let started = self.0.id.start();
        started.map_err(|error| self.0.refused("started", ffi::error_text(error)))
    }

    pub(crate) fn opened(&self) -> &Arc<Opened> {
        &self.0
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
        if self.0.capabilities == Capabilities::NONE {
            return Err(unavailable("RSA", "use the device for AEAD alone"));
        }
        let (by, curves) = (self.0.by, self.0.curves);
        let sessions = |running: &Running| Sessions::new(running, self.0.id, by, curves);
        let (objects, whole) = self.0.objects(self.0.capacity(config));
        let (sessions, raw) = self.0.open_queue_pair(sessions, |running, home| {
            RawQueuePair::new(running, home, objects, whole)
        })?;
        let device = Arc::clone(&self.0);
        Ok(Box::new(DpdkQueuePair::new(device, raw, sessions, config)))
    }

    fn record_capabilities(&self) -> Capabilities<Algorithm> {
        self.0.aead
    }

    fn record_queue_pair(
        &self,
        config: QueuePairConfig,
    ) -> Result<Box<dyn QueuePair<Record>>, DeviceError> {
        if self.0.aead.is_empty() {
            return Err(unavailable(
                "AEAD",
                "use the device for RSA and curves alone",
            ));
        }
        self.open_for_records(config)
    }
}

fn unavailable(missing: &'static str, remedy: &'static str) -> DeviceError {
    DeviceError::Unavailable {
        device: NAME,
        missing,
        remedy,
    }
}

impl Opened {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    #[cfg(test)]
    pub(crate) fn curves(&self) -> Curves {
        self.curves
    }

    fn is_useless(&self) -> bool {
        self.capabilities == Capabilities::NONE && self.aead.is_empty()
    }

    /// DPDK's ops for `ops` of ours, and whether each of those is one of them. With curves there may be fewer than
    /// two each: what finds none waits for some to come back.
    fn objects(&self, ops: usize) -> (usize, bool) {
        match self.curves.any() {
            true => ((2 * ops).min(self.ring()).max(2), false),
            false => (ops * self.by.parts(), self.by.parts() == 1),
        }
    }

    pub(crate) fn is_hardware(&self) -> bool {
        self.is_hardware
    }

    /// Whether private-key ops cost the calling core time.
    pub(crate) fn computes_here(&self) -> bool {
        !self.is_hardware && self.by.computes()
    }

    pub(crate) fn aead(&self) -> &Capabilities<Algorithm> {
        &self.aead
    }

    pub(crate) fn id(&self) -> DeviceId {
        self.id
    }

    pub(crate) fn running(&self) -> &Running {
        self.eal.running()
    }

    /// Makes the sessions of a queue pair and the queue pair, for the calling thread, which becomes an
    /// lcore of DPDK's.
    pub(crate) fn open_queue_pair<S, Q>(
        &self,
        sessions: impl FnOnce(&Running) -> Result<S, i32>,
        queue_pair: impl FnOnce(&Running, &Arc<QueuePairs>) -> Result<Q, Option<i32>>,
    ) -> Result<(S, Q), DeviceError> {
        let _turn = parked();
        let running = self.eal.running();
        running
            .register_thread()
            .map_err(|_| unavailable("a free lcore", "use fewer threads"))?;
        let has_chosen = |plugged: &Plugged| plugged.socket_id.is_some();
        let memory = || match self.plugged.as_ref().is_some_and(has_chosen) {
            true => unavailable(
                "memory on the NUMA node that socket_id names",
                "leave socket_id away, name a node that has memory, or give EAL memory there",
            ),
            false => unavailable("memory", "give EAL more, by hugepages or memory_mib"),
        };
        let sessions = sessions(running).map_err(|_| memory())?;
        let queue_pair = queue_pair(running, &self.queue_pairs).map_err(|error| {
            error.map_or(
                unavailable(
                    "a free queue pair",
                    "use fewer threads, or give the device more by queue_pairs=N",
                ),
                |_| memory(),
            )
        })?;
        self.users().push(thread::current().id());
        Ok((sessions, queue_pair))
    }

    /// Ops in flight at most on a queue pair opened so.
    pub(crate) fn capacity(&self, config: QueuePairConfig) -> usize {
        let ring = self.ring() / self.by.parts();
        config.capacity.min(ring).max(1)
    }

    /// DPDK's ops that a ring holds.
    pub(crate) fn ring(&self) -> usize {
        self.descriptors as usize - 1
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
        if let (Some(plugged), false) = (self.plugged.take(), self.keep.load(Ordering::Relaxed)) {
            let mut parked = parked();
            self.id.stop();
            parked.push(plugged);
        }
    }
}

/// Devices of ours that nobody uses, stopped. Also whose turn it is: one thread at a time brings
/// devices, configures and stops them, since DPDK's lists of them have no lock.
fn parked() -> MutexGuard<'static, Vec<Plugged>> {
    static PARKED: Mutex<Vec<Plugged>> = Mutex::new(Vec::new());
    static CLOSES: Once = Once::new();
    CLOSES.call_once(|| Eal::at_cleanup(close_parked));
    // A push or a removal that panics leaves the list whole.
    PARKED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes and unplugs what nobody uses, before EAL goes.
fn close_parked(running: &Running) {
    for Plugged { id, vdev, name, .. } in parked().drain(..) {
        let closed = id.close();
        let unplugged = vdev.map_or(Ok(()), |vdev| running.unplug(c"vdev", &vdev));
        if let Err(error) = closed.and(unplugged) {
            tracing::warn!(
                device = name,
                "cannot be closed: {}",
                ffi::error_text(error)
            );
        }
    }
}

/// What the device offers, or may offer on curves, and by which of its ops it computes RSA; `None` if that is
/// nothing.
fn abilities(
    id: DeviceId,
    modexp: bool,
) -> Option<(RsaBy, Curves, Capabilities, Capabilities<Algorithm>)> {
    let aead = aead::capabilities(id);
    let curves = Curves::to_try(id);
    let and_curves = |kinds| {
        let on_curves = curves.kinds().flatten().copied();
        on_curves.fold(kinds, Capabilities::with)
    };
    let those = |has: &dyn Fn(u16) -> bool| {
        let kinds = RSA_KINDS.into_iter();
        kinds
            .filter(|kind| has(kind.input_len() as u16))
            .fold(Capabilities::NONE, Capabilities::with)
    };
    let rsa = those(&|bytes| id.takes_quintuples() && id.has_rsa(bytes));
    if rsa != Capabilities::NONE && !modexp {
        return Some((RsaBy::Rsa, curves, and_curves(rsa), aead));
    }
    #[cfg(feature = "null")]
    if id.name().starts_with("crypto_null") {
        return Some((RsaBy::Null, Curves::default(), Capabilities::ALL, aead));
    }
    let kinds = and_curves(those(&|bytes| id.has_modexp(bytes / 2)));
    let useful = kinds != Capabilities::NONE || !aead.is_empty();
    useful.then_some((RsaBy::Modexp, curves, kinds, aead))
}

impl Spec {
    /// DPDK did not take what the options say of memory, for `reason`.
    fn refused_memory(&self, reason: String) -> OpenError {
        let name = self.name.clone();
        match (self.socket_id, self.descriptors) {
            (Some(socket_id), _) => OpenError::Socket {
                name,
                socket_id,
                reason,
            },
            (None, DEFAULT_DESCRIPTORS) => OpenError::Refused {
                name,
                step: "configured",
                reason,
            },
            (None, descriptors) => OpenError::Descriptors {
                name,
                descriptors,
                reason,
            },
        }
    }
}

/// A device that we brought, or found on the bus.
#[derive(Clone)]
struct Plugged {
    /// As in its spec.
    name: String,
    socket_id: Option<u8>,
    id: DeviceId,
    /// What DPDK calls it, if it is virtual.
    vdev: Option<CString>,
}

impl Plugged {
    fn find(eal: &Eal, spec: &Spec, parked: &mut Vec<Self>) -> Result<Self, OpenError> {
        let queue_pairs = spec.queue_pairs.unwrap_or(DEFAULT_QUEUE_PAIRS);
        let fits = |other: &Self| {
            other.name == spec.name
                && other.socket_id == spec.socket_id
                && (spec.is_pci() || other.id.max_queue_pairs() >= queue_pairs)
        };
        if let Some(index) = parked.iter().position(fits) {
            return Ok(parked.swap_remove(index));
        }
        let found = match spec.is_pci() {
            true => card(eal, spec).map(|id| (id, None)),
            false => plug(eal, spec, queue_pairs).map(|(id, name)| (id, Some(name))),
        };
        let (id, vdev) = found.map_err(|reason| match spec.socket_id {
            Some(_) => spec.refused_memory(reason),
            None => OpenError::NotFound {
                name: spec.name.clone(),
                reason,
            },
        })?;
        Ok(Self {
            name: spec.name.clone(),
            socket_id: spec.socket_id,
            id,
            vdev,
        })
    }
}

/// The asymmetric device of the card at a PCI address.
fn card(eal: &Eal, spec: &Spec) -> Result<DeviceId, String> {
    let running = eal.running();
    let found = || {
        ["", "_qat_asym", "_asym"].iter().find_map(|suffix| {
            let name = CString::new(format!("{}{suffix}", spec.name)).ok()?;
            DeviceId::find(running, &name)
        })
    };
    if found().is_none() {
        let plugged = running.plug(c"pci", &c_string(&spec.name)?, c"");
        plugged.map_err(ffi::error_text)?;
    }
    found().ok_or_else(|| "it brings no crypto device".to_owned())
}

/// A new virtual device, and what DPDK calls it.
fn plug(eal: &Eal, spec: &Spec, queue_pairs: u16) -> Result<(DeviceId, CString), String> {
    let running = eal.running();
    // A driver may ignore what it does not know, or all of it: `Spec` lets nothing else through.
    let mut args = format!(
        "max_nb_queue_pairs={}",
        queue_pairs.max(DEFAULT_QUEUE_PAIRS)
    );
    if let Some(id) = spec.socket_id {
        args += &format!(",socket_id={id}");
    }
    let numbered = (1..MAX_DEVICES).map(|number| format!("{}_{number}", spec.name));
    for name in std::iter::once(spec.name.clone()).chain(numbered) {
        let name = c_string(&name)?;
        if DeviceId::find(running, &name).is_some() {
            continue;
        }
        let plugged = running.plug(c"vdev", &name, &c_string(&args)?);
        plugged.map_err(ffi::error_text)?;
        let id = DeviceId::find(running, &name);
        let id = id.ok_or_else(|| "it brings no crypto device".to_owned())?;
        return Ok((id, name));
    }
    Err("there are too many of them".to_owned())
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| "a zero byte in its name".to_owned())
}
