//! What follows `dpdk:` in a device spec.

use std::str::FromStr;

use spinlane_cryptodev::DeviceError;

use crate::NAME;

/// Descriptors of a queue pair, unless told otherwise.
pub(crate) const DEFAULT_DESCRIPTORS: u32 = 1024;

/// A device and how to open it: `NAME[,queue_pairs=N][,descriptors=N][,socket_id=N][,rsa=modexp]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// A virtual device, whose name begins with its driver's (`crypto_openssl`), or the PCI address of a
    /// card (`0000:3d:01.0`).
    pub name: String,
    /// Queue pairs, at most one per polling thread; by default as many as the device has (a virtual one 8).
    pub queue_pairs: Option<u16>,
    /// Descriptors of each queue pair's ring; default 1024. It holds one op less.
    pub descriptors: u32,
    /// RSA by two modular exponentiations even where the device has RSA.
    pub modexp: bool,
    /// NUMA node of a virtual device's memory; by default the caller's.
    pub socket_id: Option<u8>,
}

impl Spec {
    /// The device `name` with the defaults.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            queue_pairs: None,
            descriptors: DEFAULT_DESCRIPTORS,
            modexp: false,
            socket_id: None,
        }
    }

    /// Whether the device is a card rather than a driver in software.
    pub fn is_pci(&self) -> bool {
        self.name.contains(':')
    }
}

impl FromStr for Spec {
    type Err = DeviceError;

    /// Reads what follows `dpdk:`.
    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        let wrong = |option: &str| DeviceError::Option {
            device: NAME,
            option: option.to_owned(),
            known: "a device's name, e.g. crypto_openssl or 0000:3d:01.0; then queue_pairs=1 to 64, \
                    descriptors=2 to 65536, socket_id=N, rsa=modexp",
        };
        if name.is_empty() || name.contains('=') {
            return Err(wrong(name));
        }
        let mut spec = Self::new(name);
        for part in parts {
            match part.split_once('=') {
                Some(("queue_pairs", count)) => {
                    let count = count.parse().ok().filter(|count| (1..=64).contains(count));
                    spec.queue_pairs = Some(count.ok_or_else(|| wrong(part))?);
                }
                Some(("descriptors", count)) => {
                    let count = count.parse().ok();
                    let count = count.filter(|count| (2..=65_536).contains(count));
                    spec.descriptors = count.ok_or_else(|| wrong(part))?;
                }
                Some(("rsa", "modexp")) => spec.modexp = true,
                Some(("socket_id", id)) => {
                    spec.socket_id = Some(id.parse().map_err(|_| wrong(part))?);
                }
                _ => return Err(wrong(part)),
            }
        }
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_names_a_device_and_its_options() {
        let spec: Spec = "crypto_openssl".parse().unwrap();
        assert_eq!(spec, Spec::new("crypto_openssl"));
        let spec: Spec = "crypto_openssl7,queue_pairs=2,descriptors=64,rsa=modexp,socket_id=0"
            .parse()
            .unwrap();
        assert_eq!((spec.queue_pairs, spec.descriptors), (Some(2), 64));
        assert!(spec.modexp && !spec.is_pci());
        assert_eq!(spec.socket_id, Some(0));
        assert!("0000:3d:01.0".parse::<Spec>().unwrap().is_pci());
    }

    #[test]
    fn a_spec_that_means_nothing_is_explained() {
        for wrong in [
            "",
            "queue_pairs=2",
            "crypto_openssl,",
            "crypto_openssl,queue_pairs=0",
            "crypto_openssl,descriptors=1",
            "crypto_openssl,descriptors=x",
            "crypto_openssl,rsa=fast",
            "crypto_openssl,fast",
            "crypto_openssl,max_nb_queue_pairs=2",
            "crypto_openssl,socket_id=x",
        ] {
            let said = wrong.parse::<Spec>().expect_err(wrong).to_string();
            assert!(
                said.starts_with("device dpdk: ") && said.contains("descriptors=2 to"),
                "{said}"
            );
        }
    }
}
