//! Crypto device that runs one op at a time on the CPU, by aws-lc.
//!
//! It needs nothing of the machine, so it serves wherever no other device does.
//!
//! ```
//! use spinlane_cryptodev::{Device, Op, Burst, OpStatus, QueuePairConfig, Request, Token};
//! use spinlane_driver_soft::SoftDevice;
//!
//! let mut queue_pair = SoftDevice::new().queue_pair(QueuePairConfig::default())?;
//! let mut op = Op::new();
//! op.prepare(Token(1), &Request::x25519_keygen(&[7; 32]), 0);
//! let (mut ops, mut done) = (Burst::from([op]), Burst::new());
//! assert_eq!(queue_pair.enqueue_burst(&mut ops), 1);
//! assert_eq!(queue_pair.dequeue_burst(&mut done, 32, 0), 1);
//! assert_eq!(done[0].status, OpStatus::Success);
//! # Ok::<(), spinlane_cryptodev::DeviceError>(())
//! ```
//!
//! # Invariants
//! - Computes in `dequeue_burst` alone, never in `enqueue_burst`: that runs on a fiber's stack.
//! - One call computes for about [`BUDGET_US`] at most, or one op if that takes longer.
//!   There is no clock here, so the bound is by what each kind was measured to cost.
//! - Batches nothing, delays nothing: `max_delay_ns` and `flush` mean nothing to it.
//! - Allocates nothing after it is opened, except what aws-lc does (see
//!   [`spinlane_cryptodev::cpu`]), which for RSA also takes the key's lock.

#![forbid(unsafe_code)]

mod queue_pair;

use spinlane_crypto::aead::Algorithm;
use spinlane_cryptodev::{Capabilities, Device, DeviceError, QueuePair, QueuePairConfig, aead};

use crate::queue_pair::SoftQueuePair;

/// Its name in a device spec.
pub const NAME: &str = "soft";

/// Computing time that one `dequeue_burst` may take, in microseconds. About that of one
/// RSA-2048 signature, below which no bound could be: ten P-256 signatures share a call, RSA
/// ops have one each. A poll core's other work waits no longer than that.
pub const BUDGET_US: u32 = 200;

/// The device. All threads may open queue pairs on one, and each opens its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoftDevice(());

impl SoftDevice {
    /// It is always there.
    pub fn new() -> Self {
        Self(())
    }
}

impl Device for SoftDevice {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn queue_pair(&self, config: QueuePairConfig) -> Result<Box<dyn QueuePair>, DeviceError> {
        config.check(NAME)?;
        Ok(Box::new(SoftQueuePair::new(config.capacity)))
    }

    fn record_capabilities(&self) -> Capabilities<Algorithm> {
        Capabilities::ALL
    }

    fn record_queue_pair(
        &self,
        config: QueuePairConfig,
    ) -> Result<Box<dyn QueuePair<aead::Op>>, DeviceError> {
        config.check(NAME)?;
        Ok(Box::new(SoftQueuePair::new(config.capacity)))
    }
}
