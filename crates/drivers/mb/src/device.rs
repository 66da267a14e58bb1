//! The device.

use spinlane_cryptodev::{Capabilities, Device, DeviceError, QueuePair, QueuePairConfig};

use crate::ffi::Cpu;
use crate::queue_pair::MbQueuePair;
use crate::{NAME, REMEDY};

/// Most ops of one queue pair.
const MAX_CAPACITY: usize = 1 << 16;

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
        if !(1..=MAX_CAPACITY).contains(&config.capacity) {
            return Err(DeviceError::Setting {
                device: NAME,
                setting: "capacity",
                value: config.capacity,
                wanted: "1 to 65536 ops",
            });
        }
        Ok(Box::new(MbQueuePair::new(self.0, config)))
    }
}
