//! Wraps any crypto device and makes it behave like hardware on a bad day: slow, out of order,
//! full, forgetful, wrong, dead and alive again. What goes wrong follows from a seed alone.
//!
//! ```text
//!  enqueue ─▶ refusals, descriptors ─▶ inner device ─▶ faults ─▶ pending, by time ─▶ dequeue
//! ```
//!
//! ```
//! use spinlane_cryptodev::{Device, Op, Burst, QueuePairConfig, Request, Token};
//! use spinlane_driver_sim::{SimConfig, SimDevice};
//! use spinlane_driver_soft::SoftDevice;
//!
//! let config: SimConfig = "7,latency=uniform:50us-2ms,dup=1".parse()?;
//! let device = SimDevice::new(Box::new(SoftDevice::new()), config);
//! let mut queue_pair = device.queue_pair(QueuePairConfig::default())?;
//! let mut op = Op::new();
//! op.prepare(Token(1), &Request::x25519_keygen(&[7; 32]), 0);
//! let (mut ops, mut done) = (Burst::from([op]), Burst::new());
//! queue_pair.enqueue_burst(&mut ops);
//! assert_eq!(queue_pair.dequeue_burst(&mut done, 32, 0), 0, "not yet");
//! assert_eq!(queue_pair.dequeue_burst(&mut done, 32, 5_000_000), 2, "and then twice");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//! - The same seed and the same calls give the same faults: no clock, no randomness but its own.
//! - Every fault is counted ([`QueuePair::xstats`]).
//! - No RSA result leaves that the public exponent does not confirm, as in every driver.
//! - It computes nothing itself, and a result is never right by accident: what is called done was
//!   done by the inner device.

#![forbid(unsafe_code)]

mod config;
mod faults;
mod queue_pair;
mod rng;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use spinlane_crypto::PublicKey;
use spinlane_crypto::aead::Algorithm;
use spinlane_cryptodev::{
    Capabilities, Device, DeviceError, KeyHandle, Operation, QueuePair, QueuePairConfig, aead,
};

pub use config::{Chance, Latency, SimConfig, SimConfigError};
pub use rng::Rng;

use queue_pair::SimQueuePair;

/// Its name in a device spec.
pub const NAME: &str = "sim";

/// A device with faults. Every queue pair has a stream of faults of its own, by its number.
pub struct SimDevice {
    inner: Arc<dyn Device>,
    name: String,
    config: SimConfig,
    /// Queue pairs opened so far.
    opened: AtomicU64,
}

impl SimDevice {
    /// `inner` with the faults of `config`.
    pub fn new(inner: Box<dyn Device>, config: SimConfig) -> Self {
        Self {
            name: format!("{NAME}:{}", inner.name()),
            inner: inner.into(),
            config,
            opened: AtomicU64::new(0),
        }
    }
}

impl Device for SimDevice {
    /// `sim:` and the inner device's name.
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn cores(&self) -> Vec<usize> {
        self.inner.cores()
    }

    fn queue_pair(&self, config: QueuePairConfig) -> Result<Box<dyn QueuePair>, DeviceError> {
        Ok(Box::new(self.open(config)?))
    }

    fn own_key(
        &self,
        name: &str,
        public: Option<PublicKey>,
    ) -> Result<Arc<KeyHandle>, DeviceError> {
        self.inner.own_key(name, public)
    }

    fn record_capabilities(&self) -> Capabilities<Algorithm> {
        self.inner.record_capabilities()
    }

    fn record_queue_pair(
        &self,
        config: QueuePairConfig,
    ) -> Result<Box<dyn QueuePair<aead::Op>>, DeviceError> {
        Ok(Box::new(self.open(config)?))
    }
}

impl SimDevice {
    fn open<O: Operation>(&self, config: QueuePairConfig) -> Result<SimQueuePair<O>, DeviceError> {
        config.check(NAME)?;
        let inner = O::open(&*self.inner, config)?;
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let rng = Rng::new(self.config.seed).fork(number);
        Ok(SimQueuePair::new(
            Arc::clone(&self.inner),
            inner,
            self.name.clone(),
            (self.config, config),
            rng,
        ))
    }
}
