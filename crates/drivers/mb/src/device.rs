//! The device.

use spinlane_cryptodev::{Capabilities, Device, DeviceError, QueuePair, QueuePairConfig};

use crate::ffi::Cpu;
use crate::queue_pair::MbQueuePair;
use crate::{NAME, REMEDY};

/// The device. All threads may open queue pairs on one, and each opens its own.
#[derive(Clone, Copy, Debug)]
pub struct MbDevice(Cpu);

impl MbDevice {
    /// Looks whether this machine's CPU can.
    ///
    /// # Errors
    /// [`DeviceError::Unavailable`] names the instruction set it lacks.
    pub fn new() -> Result<Self, DeviceError> {
        Cpu::detect()
            .map(Self)
            .map_err(|missing| DeviceError::Unavailable {
                device: NAME,
                missing,
                remedy: REMEDY,
            })
    }
}

impl Device for MbDevice {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn queue_pair(&self, config: QueuePairConfig) -> Result<Box<dyn QueuePair>, DeviceError> {
        config.check(NAME)?;
        Ok(Box::new(MbQueuePair::new(self.0, config)))
    }
}
