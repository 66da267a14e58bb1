//! The device on a machine of another architecture: there is none.

use std::convert::Infallible;

use spinlane_cryptodev::{Capabilities, Device, DeviceError, QueuePair, QueuePairConfig};

use crate::{NAME, Options, REMEDY};

/// The device, which no value of this type ever is.
#[derive(Clone, Copy, Debug)]
pub struct MbDevice(Infallible);

impl MbDevice {
    /// Says what is missing.
    ///
    /// # Errors
    /// Always [`DeviceError::Unavailable`].
    pub fn new() -> Result<Self, DeviceError> {
        Err(DeviceError::Unavailable {
            device: NAME,
            missing: "an x86-64 CPU",
            remedy: REMEDY,
        })
    }

    /// The same with `options`.
    #[must_use]
    pub fn with_options(self, _options: Options) -> Self {
        match self.0 {}
    }
}

impl Device for MbDevice {
    fn name(&self) -> &str {
        match self.0 {}
    }

    fn capabilities(&self) -> Capabilities {
        match self.0 {}
    }

    fn queue_pair(&self, _config: QueuePairConfig) -> Result<Box<dyn QueuePair>, DeviceError> {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_missing() {
        let device = MbDevice::new().map(|device| device.with_options(Options::default()));
        let text = device.expect_err("never").to_string();
        assert!(
            text.contains("mb") && text.contains("x86-64") && text.contains("soft"),
            "{text}"
        );
    }
}
