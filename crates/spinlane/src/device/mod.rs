//! Devices: one type each ([`Soft`], [`Mb`], [`Auto`] for the fastest that this machine has, [`Lookaside`] and [`Sim`]
//! around others), and specs, which are the same written as one word, for command lines and files.
//!
//! ```
//! use spinlane::device::{self, Mb, Sim, Spec};
//! use spinlane::drivers::sim::{Chance, SimConfig};
//!
//! let faults = SimConfig { lose: Chance::percent(1), ..SimConfig::new(7) };
//! assert_eq!(Spec::from(Sim::new(faults, Mb::new())), "sim:7,lose=0.01:mb".parse()?);
//! assert_eq!(device::open("soft")?.name(), "soft");
//! # Ok::<(), device::OpenError>(())
//! ```
//! ```text
//! SPEC = auto | mb | mb:blinding=on | soft
//!      | dpdk:NAME[,queue_pairs=N][,descriptors=N][,socket_id=N]    (feature `dpdk`)
//!      | pkcs11:MODULE[,token=LABEL][,serial=TEXT][,slot-id=N][,sessions=N][,pin-file=PATH|,pin-env=NAME][,verify=off]
//!      | pkcs11:URI                                                  (RFC 7512: a key's, or its token's)
//!      | lookaside:SPEC@CORE[+CORE…][,sleep_us=N]
//!      | sim:SEED[,FAULT=VALUE…]:SPEC
//! ```

mod builders;
mod parse;

use spinlane_cryptodev::{Device, DeviceError, QueuePairConfig};
use spinlane_driver_lookaside::{LookasideDevice, StartError};
use spinlane_driver_mb::MbDevice;
use spinlane_driver_pkcs11::TokenDevice;
use spinlane_driver_sim::{SimConfigError, SimDevice};
use spinlane_driver_soft::SoftDevice;
use thiserror::Error;

#[cfg(feature = "dpdk")]
pub use builders::Dpdk;
pub use builders::{Auto, Lookaside, Mb, Pkcs11, Sim, Soft};

/// The devices that [`open`] understands by their name alone.
pub const SPECS: [&str; 3] = ["auto", "mb", "soft"];
/// The form of a spec for a device of DPDK's, such as `dpdk:crypto_openssl`.
pub const DPDK: &str = "dpdk:NAME[,queue_pairs=N][,descriptors=N][,socket_id=N]";
/// The form of a spec for a PKCS#11 token, on which keys stay.
pub const PKCS11: &str = "pkcs11:MODULE[,token=LABEL][,sessions=N][,pin-file=PATH]";
/// The forms of specs for devices around others.
pub const WRAPPERS: [&str; 2] = [
    "lookaside:SPEC@CORE[+CORE...][,sleep_us=N]",
    "sim:SEED[,FAULT=VALUE...]:SPEC",
];

/// A device that cannot be opened. The text names the spec and the remedy.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The spec names no device.
    #[error(
        "unknown device {spec:?}; there are: {}, {DPDK}, {PKCS11}, {}",
        SPECS.join(", "),
        WRAPPERS.join(", ")
    )]
    Unknown {
        /// The spec given.
        spec: String,
    },
    /// A part of the spec means nothing.
    #[error("device {spec:?}: {problem}; write e.g. {example}")]
    Spec {
        /// The spec given.
        spec: String,
        /// What is wrong with which part.
        problem: String,
        /// A spec that is right.
        example: &'static str,
    },
    /// The machine lacks what the device needs.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// DPDK could not be started.
    #[cfg(feature = "dpdk")]
    #[error("device dpdk: {0}")]
    Eal(#[from] spinlane_driver_dpdk::EalError),
    /// DPDK does not have the device.
    #[cfg(feature = "dpdk")]
    #[error(transparent)]
    Dpdk(#[from] spinlane_driver_dpdk::OpenError),
    /// The token's spec means nothing.
    #[error(transparent)]
    Pkcs11Spec(#[from] spinlane_driver_pkcs11::SpecError),
    /// The token cannot be opened.
    #[error("device pkcs11: {0}")]
    Pkcs11(#[from] spinlane_driver_pkcs11::Error),
    /// The list of faults means nothing.
    #[error(transparent)]
    Sim(#[from] SimConfigError),
    /// The crypto cores could not be started.
    #[error(transparent)]
    Lookaside(#[from] StartError),
}

/// Opens the device that `spec` names.
///
/// # Errors
/// See [`OpenError`].
pub fn open(spec: &str) -> Result<Box<dyn Device>, OpenError> {
    spec.parse::<Spec>()?.open()
}

/// Checks that `spec` names a device that this machine and this build have, as far as that shows
/// without opening a device. Starts no thread and does not ask DPDK.
///
/// # Errors
/// See [`OpenError`].
pub fn check(spec: &str) -> Result<(), OpenError> {
    spec.parse::<Spec>()?.check()
}

/// Computes what a device needs once per process and forked children inherit: the tables of its
/// lanes. Starts no thread and does not ask DPDK.
///
/// # Errors
/// See [`OpenError`].
pub fn warm_up(spec: &str) -> Result<(), OpenError> {
    spec.parse::<Spec>()?.warm_up()
}

/// Any device that can be opened: one of the types above, or what a spec names ([`str::parse`]).
///
/// ```
/// use spinlane::device::{Lookaside, Mb, Soft, Spec};
///
/// let devices: [Spec; 2] = [Soft::new().into(), "lookaside:mb@1".parse()?];
/// assert_eq!(devices[1], Lookaside::new(Mb::new(), [1]).into());
/// # Ok::<(), spinlane::device::OpenError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // the types say what they are
pub enum Spec {
    Auto(Auto),
    Soft(Soft),
    Mb(Mb),
    #[cfg(feature = "dpdk")]
    Dpdk(Dpdk),
    Pkcs11(Pkcs11),
    Lookaside(Lookaside),
    Sim(Sim),
}

impl Spec {
    /// Opens the device.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(self) -> Result<Box<dyn Device>, OpenError> {
        // A job's stack is too small for some, DPDK's EAL among them.
        spinlane_fiber::on_thread_stack(|| self.open_here())
    }

    fn check(&self) -> Result<(), OpenError> {
        match self {
            Self::Auto(_) | Self::Soft(_) => Ok(()),
            Self::Mb(_) => Ok(MbDevice::new().map(drop)?),
            #[cfg(feature = "dpdk")]
            Self::Dpdk(_) => Ok(()),
            // Only the module knows what is there.
            Self::Pkcs11(_) => Ok(()),
            Self::Lookaside(lookaside) => {
                lookaside.inner.check()?;
                Ok(spinlane_driver_lookaside::check(
                    &lookaside.cores,
                    &lookaside.settings,
                )?)
            }
            Self::Sim(sim) => sim.inner.check(),
        }
    }

    fn warm_up(self) -> Result<(), OpenError> {
        match self {
            Self::Lookaside(Lookaside { inner, .. }) | Self::Sim(Sim { inner, .. }) => {
                inner.warm_up()
            }
            Self::Auto(_) | Self::Soft(_) | Self::Mb(_) => {
                self.open()?.queue_pair(QueuePairConfig::default())?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn open_here(self) -> Result<Box<dyn Device>, OpenError> {
        Ok(match self {
            Self::Soft(_) => Box::new(SoftDevice::new()),
            Self::Mb(mb) => Box::new(MbDevice::new()?.with_options(mb.options)),
            Self::Auto(_) => match MbDevice::new() {
                Ok(device) => Box::new(device),
                Err(error) => {
                    tracing::info!(%error, "device soft serves in place of mb");
                    Box::new(SoftDevice::new())
                }
            },
            #[cfg(feature = "dpdk")]
            Self::Dpdk(dpdk) => open_dpdk(&dpdk.spec)?,
            Self::Pkcs11(Pkcs11 { spec }) => Box::new(TokenDevice::open(&spec.uri, spec.settings)?),
            Self::Lookaside(Lookaside {
                inner,
                cores,
                settings,
            }) => Box::new(LookasideDevice::new(inner.open_here()?, &cores, settings)?),
            Self::Sim(Sim { faults, inner }) => {
                Box::new(SimDevice::new(inner.open_here()?, faults))
            }
        })
    }
}

/// Opens a device of DPDK's. The first one starts EAL, which the others share.
#[cfg(feature = "dpdk")]
fn open_dpdk(spec: &spinlane_driver_dpdk::Spec) -> Result<Box<dyn Device>, OpenError> {
    use spinlane_driver_dpdk::{DpdkDevice, Eal, EalConfig};

    let mut config = EalConfig::default();
    if spec.is_pci() {
        config.pci.push(spec.name.clone());
    }
    Ok(Box::new(DpdkDevice::open(&Eal::init(&config)?, spec)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_a_type_written_as_a_word() {
        use spinlane_driver_sim::{Chance, SimConfig};
        use std::time::Duration;

        let uri = "pkcs11:token=a?module-path=/m.so";
        let faults = SimConfig {
            dup: Chance::ALWAYS,
            ..SimConfig::new(3)
        };
        let pairs: [(&str, Spec); 8] = [
            ("auto", Auto::new().into()),
            ("soft", Soft::new().into()),
            ("mb", Mb::new().into()),
            ("mb:blinding=on", Mb::new().blinding(true).into()),
            (
                "pkcs11:/m.so,token=a,sessions=3,verify=off",
                Pkcs11::new(uri.parse().unwrap())
                    .sessions(3)
                    .verify(false)
                    .into(),
            ),
            (uri, Pkcs11::new(uri.parse().unwrap()).into()),
            (
                "lookaside:mb@1+2,sleep_us=50",
                Lookaside::new(Mb::new(), [1, 2])
                    .sleep(Duration::from_micros(50))
                    .into(),
            ),
            (
                "sim:3,dup=1:lookaside:soft@0",
                Sim::new(faults, Lookaside::new(Soft::new(), [0])).into(),
            ),
        ];
        for (text, device) in pairs {
            assert_eq!(text.parse::<Spec>().unwrap(), device);
        }
        #[cfg(feature = "dpdk")]
        assert_eq!(
            "dpdk:crypto_openssl,queue_pairs=2,descriptors=64,socket_id=0"
                .parse::<Spec>()
                .unwrap(),
            Dpdk::new("crypto_openssl")
                .queue_pairs(2)
                .descriptors(64)
                .socket_id(0)
                .into()
        );
    }

    #[test]
    fn a_device_is_named_as_it_was_asked_for() {
        let core = core_affinity::get_core_ids().unwrap()[0].id;
        for spec in [
            "soft".to_owned(),
            format!("lookaside:soft@{core}"),
            format!("lookaside:lookaside:soft@{core}@{core}"),
        ] {
            assert_eq!(open(&spec).unwrap().name(), spec);
        }
        let device = open(&format!("lookaside:soft@{core},sleep_us=50")).unwrap();
        assert_eq!(device.name(), format!("lookaside:soft@{core}"));
    }

    #[test]
    fn a_device_with_faults_is_named_without_them() {
        for (spec, name) in [
            ("sim:7,latency=uniform:50us-2ms,lose=0.01:soft", "sim:soft"),
            ("sim:7:sim:8,dup=1:soft", "sim:sim:soft"),
        ] {
            assert_eq!(open(spec).unwrap().name(), name);
        }
    }

    #[test]
    fn a_device_of_dpdks_is_opened_or_says_what_is_missing() {
        match open("dpdk:crypto_openssl,queue_pairs=1") {
            Ok(device) => assert_eq!(device.name(), "dpdk:crypto_openssl"),
            Err(error) => {
                let said = error.to_string();
                let expected = said.contains("libdpdk-dev") && cfg!(not(feature = "dpdk"));
                assert!(expected, "{said}");
            }
        }
    }

    #[cfg(feature = "dpdk")]
    #[test]
    fn a_device_of_dpdks_that_is_none_is_explained() {
        for (spec, says) in [
            ("dpdk:", "\"\" is no option"),
            (
                "dpdk:crypto_openssl,descriptors=0",
                "\"descriptors=0\" is no option",
            ),
            ("dpdk:crypto_warp", "device dpdk:crypto_warp: "),
            ("dpdk:crypto_openssl,warp=9", "\"warp=9\" is no option"),
        ] {
            let said = open(spec).err().unwrap().to_string();
            assert!(said.contains(says), "{spec}: {said}");
        }
    }

    #[test]
    fn a_spec_that_means_nothing_is_explained() {
        for (spec, says) in [
            ("sim", "unknown device \"sim\""),
            (
                "sim:7",
                "the device that is to have the faults is missing; write e.g. sim:7,lose=0.01:soft",
            ),
            ("sim:7:hard", "unknown device \"hard\""),
            ("sim:x:soft", "\"x\" is no seed"),
            ("sim:7,lose=2:soft", "give 0 to 1"),
            (
                "warp",
                "unknown device \"warp\"; there are: auto, mb, soft, dpdk:NAME",
            ),
            ("warp:mb@1", "unknown device \"warp:mb@1\""),
            ("soft@1", "unknown device \"soft@1\""),
            (
                "mb:blinding",
                "device mb: \"blinding\" is no option; there is: blinding=on, blinding=off",
            ),
            ("lookaside", "unknown device \"lookaside\""),
            (
                "lookaside:soft",
                "@CORE is missing; write e.g. lookaside:mb@1",
            ),
            ("lookaside:soft@", "\"\" is no core number"),
            ("lookaside:soft@1+x", "\"x\" is no core number"),
            ("lookaside:soft@0+0", "crypto core 0 is named twice"),
            ("lookaside:soft@4095", "crypto core 4095 does not exist"),
            ("lookaside:warp@0", "unknown device \"warp\""),
            (
                "lookaside:soft@0,nap=1",
                "\"nap=1\" is no option; there is: sleep_us=",
            ),
            ("lookaside:soft@0,sleep_us=0", "\"sleep_us=0\" is no option"),
            ("lookaside:soft@0,sleep_us=9000000", "would pass for stuck"),
        ] {
            let said = open(spec).err().unwrap().to_string();
            assert!(said.contains(says), "{spec}: {said}");
            assert_eq!(check(spec).err().unwrap().to_string(), said);
        }
    }

    #[test]
    fn a_spec_that_means_something_is_checked_without_a_thread() {
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let core = core_affinity::get_core_ids().unwrap()[0].id;
        for spec in ["soft", "auto", "sim:7,lose=0.01:soft"] {
            check(spec).unwrap();
            warm_up(spec).unwrap();
        }
        // Other tests start threads too: what counts is that some check started none.
        let quiet = (0..1000).any(|_| {
            let before = threads();
            check(&format!("lookaside:soft@{core}")).unwrap();
            warm_up(&format!("lookaside:soft@{core}")).unwrap();
            threads() <= before
        });
        assert!(quiet);
    }
}
