//! The device.

use spinlane_cryptodev::{Capabilities, Device, DeviceError, QueuePair, QueuePairConfig};

use crate::ffi::Cpu;
use crate::queue_pair::MbQueuePair;
use crate::{NAME, Options, REMEDY};

/// The device. All threads may open queue pairs on one, and each opens its own.
#[derive(Clone, Copy, Debug)]
pub struct MbDevice {
    cpu: Cpu,
    options: Options,
}

impl MbDevice {
    /// Looks whether this machine's CPU can.
    ///
    /// # Errors
    /// [`DeviceError::Unavailable`] names the instruction set it lacks.
    pub fn new() -> Result<Self, DeviceError> {
        Cpu::detect()
            .map(|cpu| Self {
                cpu,
                options: Options::default(),
            })
            .map_err(|missing| DeviceError::Unavailable {
                device: NAME,
                missing,
                remedy: REMEDY,
            })
    }

    /// The same with `options`.
    #[must_use]
    pub fn with_options(self, options: Options) -> Self {
        Self { options, ..self }
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
        Ok(Box::new(MbQueuePair::new(self.cpu, config, self.options)))
    }
}
