//! What may follow the name in a device spec.

use std::str::FromStr;

use spinlane_cryptodev::DeviceError;

use crate::NAME;

/// How the device works where there is a choice. In a device spec: `mb:blinding=on`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// RSA ops run one at a time by aws-lc, which blinds each, instead of in the lanes, which do
    /// not: for whom an attacker near enough to observe power or clock is a threat (see
    /// `spinlane-rsa52`, "Blinding"). It costs the lanes' gain: three to four times the time.
    pub blinding: bool,
}

impl FromStr for Options {
    type Err = DeviceError;

    /// Reads `blinding=on` or `blinding=off`.
    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let blinding = match text {
            "blinding=on" => true,
            "blinding=off" => false,
            _ => {
                return Err(DeviceError::Option {
                    device: NAME,
                    option: text.to_owned(),
                    known: "blinding=on, blinding=off",
                });
            }
        };
        Ok(Self { blinding })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blinding_is_on_or_off() {
        assert_eq!("blinding=on".parse(), Ok(Options { blinding: true }));
        assert_eq!("blinding=off".parse(), Ok(Options::default()));
        for wrong in ["", "blinding", "blinding=yes", "blinding=on,", "window=5"] {
            let said = wrong.parse::<Options>().expect_err("no option").to_string();
            assert_eq!(
                said,
                format!("device mb: {wrong:?} is no option; there is: blinding=on, blinding=off")
            );
        }
    }
}
