//! Devices by their specs: `soft`, `mb`, and `auto` for the fastest that this machine has.

use spinlane_cryptodev::{Device, DeviceError};
use spinlane_driver_mb::MbDevice;
use spinlane_driver_soft::SoftDevice;
use thiserror::Error;

/// The specs that [`open`] understands.
pub const SPECS: [&str; 3] = ["auto", "mb", "soft"];

/// A device that cannot be opened. The text names the spec and the remedy.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    /// The spec names no device.
    #[error("unknown device {spec:?}; there are: {}", SPECS.join(", "))]
    Unknown {
        /// The spec given.
        spec: String,
    },
    /// The machine lacks what the device needs.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Opens the device that `spec` names. `auto` is `mb` where the CPU can run it and otherwise
/// `soft`, with a line in the log that says why.
///
/// # Errors
/// See [`OpenError`].
pub fn open(spec: &str) -> Result<Box<dyn Device>, OpenError> {
    match spec {
        "soft" => Ok(Box::new(SoftDevice::new())),
        "mb" => Ok(Box::new(MbDevice::new()?)),
        "auto" => Ok(match MbDevice::new() {
            Ok(device) => Box::new(device),
            Err(error) => {
                tracing::info!(%error, "device soft serves in place of mb");
                Box::new(SoftDevice::new())
            }
        }),
        _ => Err(OpenError::Unknown {
            spec: spec.to_owned(),
        }),
    }
}
