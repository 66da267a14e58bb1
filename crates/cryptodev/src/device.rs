//! Devices and their queue pairs: what a driver implements.

use std::marker::PhantomData;
use std::sync::Arc;

use spinlane_crypto::PublicKey;
use spinlane_crypto::aead::Algorithm;
use thiserror::Error;

use crate::aead;
use crate::buffer::Buffer;
use crate::class::Operation;
use crate::key::KeyHandle;
use crate::kind::{Kind, MAX_KINDS, OpKind};
use crate::op::Op;

/// Ops in submission (or completion) order. Enqueue takes from the front, and what it leaves moves up; dequeue
/// adds at the back. After warm-up neither allocates. (Bursts are mostly handed over whole, for which a queue
/// would cost a quarter of what a small record may.)
pub type Burst<O = Op> = Vec<Box<O>>;

/// How much of a kind a device takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of input, of a record's data, at most.
    pub max_len: usize,
    /// Lengths of a record's associated data, a bit each.
    pub aad_lens: u128,
}

impl Limits {
    /// Whatever an op may have.
    pub const ANY: Self = Self {
        max_len: usize::MAX,
        aad_lens: u128::MAX,
    };

    /// Whether associated data of `len` bytes is taken.
    pub const fn takes_aad(&self, len: usize) -> bool {
        len < 128 && self.aad_lens & (1 << len) != 0
    }
}

/// Which kinds of a class a device offers, and how much of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities<K: Kind = OpKind> {
    limits: [Option<Limits>; MAX_KINDS],
    class: PhantomData<K>,
}

impl<K: Kind> Capabilities<K> {
    /// Empty.
    pub const NONE: Self = Self {
        limits: [None; MAX_KINDS],
        class: PhantomData,
    };

    /// All kinds, whatever their ops have.
    pub const ALL: Self = {
        let mut limits = [None; MAX_KINDS];
        let mut index = 0;
        while index < K::ALL.len() {
            limits[index] = Some(Limits::ANY);
            index += 1;
        }
        Self {
            limits,
            class: PhantomData,
        }
    };

    /// These and `kind`, whatever its ops have.
    #[must_use]
    pub fn with(self, kind: K) -> Self {
        self.with_limits(kind, Limits::ANY)
    }

    /// These and `kind` within `limits`.
    #[must_use]
    pub fn with_limits(mut self, kind: K, limits: Limits) -> Self {
        self.limits[kind.index()] = Some(limits);
        self
    }

    /// Whether `kind` is among them.
    #[inline]
    pub fn has(&self, kind: K) -> bool {
        self.limits[kind.index()].is_some()
    }

    /// How much of `kind` there may be; `None` if it is not among them.
    #[inline]
    pub fn limits(&self, kind: K) -> Option<&Limits> {
        self.limits[kind.index()].as_ref()
    }

    /// Whether `op` is of a kind among them and within its limits.
    pub fn takes(&self, op: &impl Operation<Kind = K>) -> bool {
        let limits = self.limits(op.kind());
        limits.is_some_and(|limits| op.is_within(limits))
    }

    /// The kinds, in the order of [`Kind::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = K> {
        K::ALL.iter().copied().filter(|kind| self.has(*kind))
    }

    /// Whether there is no kind among them.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// How a queue pair is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePairConfig {
    /// Ops in flight at most, 1 to 65536. An enqueue beyond that is refused.
    pub capacity: usize,
    /// Longest wait of an op in a partial batch, in nanoseconds. Only batching devices look at it.
    pub max_delay_ns: u64,
}

impl Default for QueuePairConfig {
    /// 256 ops in flight, partial batches wait at most 1 ms. A shorter wait empties the lanes
    /// at high load: a batch of RSA-2048 itself takes most of a millisecond.
    fn default() -> Self {
        Self {
            capacity: 256,
            max_delay_ns: 1_000_000,
        }
    }
}

impl QueuePairConfig {
    /// Most ops in flight that may be asked for.
    pub const MAX_CAPACITY: usize = 1 << 16;

    /// Whether a queue pair of `device` can be opened so: what every driver asks first.
    ///
    /// # Errors
    /// [`DeviceError::Setting`] if the capacity is 0 or above [`QueuePairConfig::MAX_CAPACITY`].
    pub fn check(&self, device: &'static str) -> Result<(), DeviceError> {
        if (1..=Self::MAX_CAPACITY).contains(&self.capacity) {
            return Ok(());
        }
        Err(DeviceError::Setting {
            device,
            setting: "capacity",
            value: self.capacity,
            wanted: "1 to 65536 ops",
        })
    }
}

/// When a queue pair counts as failed, and what is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// Whether ops that the device fails or does not answer are computed in software, and new
    /// ones while it is unhealthy; default true. Otherwise they end with status ERR and the
    /// device is asked again and again. Ops whose keys are a device's own never are.
    pub fallback: bool,
    /// An op that is not back by then is given up; a device that gives nothing back for so long
    /// while it has ops, or takes none, is unhealthy. Noticed at most a quarter later.
    /// Nanoseconds; default 1 s, several times what a full queue pair of RSA-4096 takes.
    pub op_deadline_ns: u64,
    /// Errors in a row that make a device unhealthy; an op past its deadline is one. Default 8.
    pub max_errors: u32,
    /// Time between two probes of an unhealthy device, in nanoseconds; default 100 ms.
    pub probe_interval_ns: u64,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            fallback: true,
            op_deadline_ns: 1_000_000_000,
            max_errors: 8,
            probe_interval_ns: 100_000_000,
        }
    }
}

/// A crypto device. Any thread may open queue pairs on it.
pub trait Device: Send + Sync {
    /// Name as in a device spec, e.g. `mb`.
    fn name(&self) -> &str;
    /// Which private-key ops it offers.
    fn capabilities(&self) -> Capabilities;
    /// Cores that it keeps busy itself; empty by default.
    fn cores(&self) -> Vec<usize> {
        Vec::new()
    }
    /// What it found out about this machine, a line each, for people; empty by default.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
    /// Opens a queue pair, to be used by the calling thread alone.
    ///
    /// # Errors
    /// The configuration is out of the device's range, or the device cannot be had.
    fn queue_pair(&self, config: QueuePairConfig) -> Result<Box<dyn QueuePair>, DeviceError>;

    /// Finds a private key that stays in the device, by the name that its driver knows keys by, such as the URI of a
    /// PKCS#11 object. Its public half is `public`, as from a certificate, or what the device says.
    ///
    /// # Errors
    /// [`DeviceError::NoKeys`] if it keeps none, as by default; [`DeviceError::Key`] if not this one.
    fn own_key(
        &self,
        _name: &str,
        _public: Option<PublicKey>,
    ) -> Result<Arc<KeyHandle>, DeviceError> {
        Err(DeviceError::NoKeys {
            device: self.name().to_owned(),
        })
    }

    /// Which algorithms it seals and opens records with, both ways each; none by default.
    fn record_capabilities(&self) -> Capabilities<Algorithm> {
        Capabilities::NONE
    }

    /// Opens a queue pair for records, to be used by the calling thread alone.
    ///
    /// # Errors
    /// As [`Device::queue_pair`]; [`DeviceError::NoClass`] if it serves no records.
    fn record_queue_pair(
        &self,
        _config: QueuePairConfig,
    ) -> Result<Box<dyn QueuePair<aead::Op>>, DeviceError> {
        Err(DeviceError::NoClass {
            device: self.name().to_owned(),
            class: "records",
        })
    }
}

/// One submission and one completion queue of a device for ops of one class, owned by one thread.
pub trait QueuePair<O: Operation = Op> {
    /// Name of its device.
    fn name(&self) -> &str;

    /// Ops in flight at most.
    fn capacity(&self) -> usize;

    /// What it serves.
    fn capabilities(&self) -> Capabilities<O::Kind>;

    /// Whether it serves ops of this key, beyond their kind. By default those whose secret is in memory.
    fn holds(&self, key: &KeyHandle) -> bool {
        key.as_local().is_some()
    }

    /// Zeroed memory for an op, which this device can reach and no op need be copied from. Allocates: once per
    /// op of a pool, never per use.
    ///
    /// # Errors
    /// `len` is above [`MAX_BUFFER`](crate::MAX_BUFFER), or there is no memory.
    fn buffer(&self, len: usize) -> Result<Buffer, DeviceError> {
        Ok(Buffer::heap(len)?)
    }

    /// Takes ops from the front of `ops` until it is full; returns how many it took. What
    /// stays in `ops` was refused and is unchanged. Only queues: the work is done in
    /// `dequeue_burst` or `flush`, on the poll core's own stack, since a fiber's is too small.
    ///
    /// An op that the device cannot serve is taken, holds up nobody behind it, and is given back by
    /// `dequeue_burst` as it came ([`OpStatus::NotProcessed`](crate::OpStatus::NotProcessed)), or with an error
    /// if it was not prepared.
    fn enqueue_burst(&mut self, ops: &mut Burst<O>) -> usize;

    /// Adds at most `max` finished ops to the back of `done`; returns how many. Runs full
    /// batches, and partial ones whose oldest op has waited `max_delay_ns` at `now_ns` (the
    /// clock of [`Head::enqueued_at_ns`](crate::Head)). A device that computes on the caller's core does so
    /// for a bounded time: 0 does not mean that nothing is due, nor that nothing is in flight.
    fn dequeue_burst(&mut self, done: &mut Burst<O>, max: usize, now_ns: u64) -> usize;

    /// Runs what waits for company now: the poll core has nothing else to do. The results come
    /// out of the next `dequeue_burst`. Bounded likewise: with enough kinds waiting it takes
    /// several flushes to run them all, with a dequeue between them. Does nothing by default.
    fn flush(&mut self) {}

    /// Whether ops may wait in it for company until a [`flush`](Self::flush); otherwise there is no
    /// need to call that.
    fn batches(&self) -> bool {
        true
    }

    /// What it counted so far.
    fn stats(&self) -> DeviceStats;

    /// Whether it computes on the poll core's own stack, in `dequeue_burst` and `flush`. Such a
    /// device cannot stall or lose an op while it is polled, so that nobody needs to keep a copy
    /// of what it was given, nor to look at deadlines.
    fn is_inline(&self) -> bool {
        false
    }

    /// When it counts as failed, unless whoever adds it to a poll core says otherwise. For drivers whose devices
    /// take far longer than others, or less.
    fn health(&self) -> HealthConfig {
        HealthConfig::default()
    }

    /// The poll core has given up on every op in flight: the queue pair lets go of them, as far
    /// as it can, and starts afresh. What comes back later all the same is dropped by its token.
    /// Returns whether it has let go: gives none of those ops back any more, and nobody writes into them. If not, their
    /// slots are not used again before they have come back. Not on the data path: may allocate and make system
    /// calls.
    fn reset(&mut self) -> bool {
        false
    }

    /// Counters of this driver alone, by name; what DPDK calls extended statistics. Allocates.
    fn xstats(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// What a queue pair counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceStats {
    /// Ops accepted.
    pub enqueued: u64,
    /// Ops given back, whatever their status.
    pub dequeued: u64,
    /// Ops given back with a status other than success.
    pub failed: u64,
    /// Batches run in parallel lanes; 0 for a device without lanes.
    pub batches: u64,
    /// Ops run in those batches: `batched / batches` is the mean lane fill.
    pub batched: u64,
    /// Ops a batching device ran one at a time, too few of them being there.
    pub scalar: u64,
    /// Results that lanes got wrong, as the check by the public exponent or the library itself
    /// found, and that were computed again.
    pub faults_caught: u64,
}

impl std::ops::AddAssign for DeviceStats {
    fn add_assign(&mut self, other: Self) {
        self.enqueued += other.enqueued;
        self.dequeued += other.dequeued;
        self.failed += other.failed;
        self.batches += other.batches;
        self.batched += other.batched;
        self.scalar += other.scalar;
        self.faults_caught += other.faults_caught;
    }
}

/// A device that cannot be had, or not so. The text names the culprit and the remedy.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DeviceError {
    /// The machine lacks what the device needs.
    #[error("device {device}: {missing} is missing; {remedy}")]
    Unavailable {
        /// Name of the device.
        device: &'static str,
        /// What it needs.
        missing: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A setting is out of range.
    #[error("device {device}: {setting} is {value}, must be {wanted}")]
    Setting {
        /// Name of the device.
        device: &'static str,
        /// Which setting.
        setting: &'static str,
        /// The value given.
        value: usize,
        /// The range.
        wanted: &'static str,
    },
    /// An option that the device does not have.
    #[error("device {device}: {option:?} is no option; there is: {known}")]
    Option {
        /// Name of the device.
        device: &'static str,
        /// What was given.
        option: String,
        /// What may be given.
        known: &'static str,
    },
    /// It does not serve the class.
    #[error("device {device} serves no {class}; `spinlane devices` lists those that do")]
    NoClass {
        /// Name of the device.
        device: String,
        /// The class.
        class: &'static str,
    },
    /// It has no keys of its own.
    #[error("device {device} keeps no keys; a token does: pkcs11:MODULE,token=LABEL")]
    NoKeys {
        /// Name of the device.
        device: String,
    },
    /// It does not have this key.
    #[error("{reason}")]
    Key {
        /// The driver's own words, with the key's name in them.
        reason: String,
    },
    /// A buffer that cannot be had.
    #[error(transparent)]
    Aead(#[from] aead::Error),
    /// There is no memory of the kind that the device needs.
    #[error(
        "device {device}: no memory for a buffer of {len} bytes; give it more, or ask for fewer"
    )]
    NoMemory {
        /// Name of the device.
        device: &'static str,
        /// Bytes asked for.
        len: usize,
    },
}
