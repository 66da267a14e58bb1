//! The device.

use spinlane_cryptodev::{Capabilities, Device, DeviceError, QueuePair, QueuePairConfig};

use crate::ffi::Cpu;
use crate::fill::{self, Fills};
use crate::queue_pair::MbQueuePair;
use crate::{NAME, Options, REMEDY};

/// The device. All threads may open queue pairs on one, and each opens its own.
#[derive(Clone, Copy, Debug)]
pub struct MbDevice {
    cpu: Cpu,
    options: Options,
    fills: &'static Fills,
}

impl MbDevice {
    /// Looks whether this machine's CPU can and, once per process, from how many ops on its lanes pay.
    ///
    /// # Errors
    /// [`DeviceError::Unavailable`] names the instruction set it lacks.
    pub fn new() -> Result<Self, DeviceError> {
        Cpu::detect()
            .map(|cpu| Self {
                cpu,
                options: Options::default(),
                fills: fill::measured(cpu),
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

    /// From how many ops on lanes pay, kind by kind.
    fn notes(&self) -> Vec<String> {
        fill::notes(self.fills)
    }

    fn queue_pair(&self, config: QueuePairConfig) -> Result<Box<dyn QueuePair>, DeviceError> {
        config.check(NAME)?;
        let Self {
            cpu,
            options,
            fills,
        } = *self;
        Ok(Box::new(MbQueuePair::new(cpu, config, options, fills)))
    }
}
