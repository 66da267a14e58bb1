//! Devices by their specs: `soft`, `mb`, `auto` for the fastest that this machine has, and
//! devices around others: `lookaside:mb@1`, `sim:7,lose=0.01:mb`.
//!
//! ```text
//! SPEC = auto | mb | mb:blinding=on | soft
//!      | dpdk:NAME[,queue_pairs=N][,descriptors=N][,socket_id=N]    (feature `dpdk`)
//!      | pkcs11:MODULE[,token=LABEL][,serial=TEXT][,slot-id=N][,sessions=N][,pin-file=PATH|,pin-env=NAME][,verify=off]
//!      | pkcs11:URI                                                  (RFC 7512: a key's, or its token's)
//!      | lookaside:SPEC@CORE[+CORE…][,sleep_us=N]
//!      | sim:SEED[,FAULT=VALUE…]:SPEC
//! ```

use std::time::Duration;

use spinlane_cryptodev::{Device, DeviceError, QueuePairConfig};
use spinlane_driver_lookaside::{IdlePolicy, LookasideDevice, Settings, StartError};
use spinlane_driver_mb::{MbDevice, Options};
use spinlane_driver_pkcs11::TokenDevice;
use spinlane_driver_sim::{SimConfig, SimConfigError, SimDevice};
use spinlane_driver_soft::SoftDevice;
use thiserror::Error;

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

/// Opens the device that `spec` names. `auto` is `mb` where the CPU can run it and otherwise
/// `soft`, with a line in the log that says why.
///
/// # Errors
/// See [`OpenError`].
pub fn open(spec: &str) -> Result<Box<dyn Device>, OpenError> {
    let parsed = Parsed::new(spec)?;
    // A job's is too small for some, DPDK's EAL among them.
    spinlane_fiber::on_thread_stack(|| parsed.open())
}

/// Checks that `spec` names a device that this machine and this build have, as far as that shows
/// without opening a device. Starts no thread and does not ask DPDK.
///
/// # Errors
/// See [`OpenError`].
pub fn check(spec: &str) -> Result<(), OpenError> {
    Parsed::new(spec)?.check()
}

/// Computes what a device needs once per process and forked children inherit: the tables of its
/// lanes. Starts no thread and does not ask DPDK.
///
/// # Errors
/// See [`OpenError`].
pub fn warm_up(spec: &str) -> Result<(), OpenError> {
    let mut parsed = Parsed::new(spec)?;
    while let Parsed::Lookaside(inner, ..) | Parsed::Sim(inner, _) = parsed {
        parsed = *inner;
    }
    match parsed {
        Parsed::Auto | Parsed::Soft | Parsed::Mb(_) => {
            parsed.open()?.queue_pair(QueuePairConfig::default())?;
        }
        _ => {}
    }
    Ok(())
}

/// A spec, understood.
enum Parsed {
    Auto,
    Soft,
    Mb(Options),
    #[cfg(feature = "dpdk")]
    Dpdk(spinlane_driver_dpdk::Spec),
    Pkcs11(Box<spinlane_driver_pkcs11::Spec>),
    Lookaside(Box<Self>, Vec<usize>, Settings),
    Sim(Box<Self>, SimConfig),
}

impl Parsed {
    fn new(spec: &str) -> Result<Self, OpenError> {
        match spec.split_once(':') {
            Some(("lookaside", inner)) => Self::lookaside(spec, inner),
            Some(("sim", rest)) => Self::sim(spec, rest),
            Some(("dpdk", rest)) => Self::dpdk(rest),
            Some(("pkcs11", rest)) => Ok(Self::Pkcs11(Box::new(pkcs11(spec, rest)?))),
            Some(("mb", options)) => Ok(Self::Mb(options.parse()?)),
            Some(_) => Err(unknown(spec)),
            None => match spec {
                "soft" => Ok(Self::Soft),
                "mb" => Ok(Self::Mb(Options::default())),
                "auto" => Ok(Self::Auto),
                _ => Err(unknown(spec)),
            },
        }
    }

    /// Reads `rest`, which follows `dpdk:`.
    #[cfg(feature = "dpdk")]
    fn dpdk(rest: &str) -> Result<Self, OpenError> {
        Ok(Self::Dpdk(rest.parse()?))
    }

    #[cfg(not(feature = "dpdk"))]
    fn dpdk(_rest: &str) -> Result<Self, OpenError> {
        Err(OpenError::Device(DeviceError::Unavailable {
            device: "dpdk",
            missing: "DPDK in this build",
            remedy: "install libdpdk-dev and libclang-dev, and build with the feature `dpdk`",
        }))
    }

    /// Reads `rest`, which follows `lookaside:`. The last `@` belongs to this spec, an earlier one
    /// to the inner device's.
    fn lookaside(spec: &str, rest: &str) -> Result<Self, OpenError> {
        let wrong = |problem: String| OpenError::Spec {
            spec: spec.to_owned(),
            problem,
            example: "lookaside:mb@1 or lookaside:mb@1+2,sleep_us=50",
        };
        let Some((inner, place)) = rest.rsplit_once('@') else {
            return Err(wrong("@CORE is missing".to_owned()));
        };
        let mut options = place.split(',');
        let cores = options.next().unwrap_or_default().split('+').map(|core| {
            core.parse::<usize>()
                .map_err(|_| wrong(format!("{core:?} is no core number")))
        });
        let cores = cores.collect::<Result<Vec<_>, _>>()?;
        let mut settings = Settings::default();
        for option in options {
            let sleep_us = option.strip_prefix("sleep_us=");
            let sleep_us = sleep_us.and_then(|sleep_us| sleep_us.parse().ok());
            let Some(sleep_us) = sleep_us.filter(|sleep_us| *sleep_us > 0) else {
                return Err(wrong(format!(
                    "{option:?} is no option; there is: sleep_us=MICROSECONDS, at least 1"
                )));
            };
            settings.idle = IdlePolicy::shared(Duration::from_micros(sleep_us));
        }
        Ok(Self::Lookaside(
            Box::new(Self::new(inner)?),
            cores,
            settings,
        ))
    }

    /// Reads `rest`, which follows `sim:`.
    fn sim(spec: &str, rest: &str) -> Result<Self, OpenError> {
        let Some((faults, inner)) = SimConfig::split_spec(rest) else {
            return Err(OpenError::Spec {
                spec: spec.to_owned(),
                problem: "the device that is to have the faults is missing".to_owned(),
                example: "sim:7,lose=0.01:soft",
            });
        };
        let config = faults.parse()?;
        Ok(Self::Sim(Box::new(Self::new(inner)?), config))
    }

    fn check(&self) -> Result<(), OpenError> {
        match self {
            Self::Auto | Self::Soft => Ok(()),
            Self::Mb(_) => Ok(MbDevice::new().map(drop)?),
            #[cfg(feature = "dpdk")]
            Self::Dpdk(_) => Ok(()),
            // Only the module knows what is there.
            Self::Pkcs11(_) => Ok(()),
            Self::Lookaside(inner, cores, settings) => {
                inner.check()?;
                Ok(spinlane_driver_lookaside::check(cores, settings)?)
            }
            Self::Sim(inner, _) => inner.check(),
        }
    }

    fn open(self) -> Result<Box<dyn Device>, OpenError> {
        Ok(match self {
            Self::Soft => Box::new(SoftDevice::new()),
            Self::Mb(options) => Box::new(MbDevice::new()?.with_options(options)),
            Self::Auto => match MbDevice::new() {
                Ok(device) => Box::new(device),
                Err(error) => {
                    tracing::info!(%error, "device soft serves in place of mb");
                    Box::new(SoftDevice::new())
                }
            },
            #[cfg(feature = "dpdk")]
            Self::Dpdk(spec) => open_dpdk(&spec)?,
            Self::Pkcs11(spec) => Box::new(TokenDevice::open(&spec.uri, spec.settings)?),
            Self::Lookaside(inner, cores, settings) => {
                Box::new(LookasideDevice::new(inner.open()?, &cores, settings)?)
            }
            Self::Sim(inner, config) => Box::new(SimDevice::new(inner.open()?, config)),
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

/// Reads a token's spec: the driver's own, or a key's URI (RFC 7512), which names its token as well.
fn pkcs11(spec: &str, rest: &str) -> Result<spinlane_driver_pkcs11::Spec, OpenError> {
    if !rest.contains(['?', ';']) {
        return Ok(rest.parse()?);
    }
    let uri = spec.parse();
    Ok(spinlane_driver_pkcs11::Spec {
        uri: uri.map_err(spinlane_driver_pkcs11::SpecError::from)?,
        settings: spinlane_driver_pkcs11::Settings::default(),
    })
}

fn unknown(spec: &str) -> OpenError {
    OpenError::Unknown {
        spec: spec.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
