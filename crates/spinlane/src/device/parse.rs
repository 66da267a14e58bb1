//! Specs, read into the devices' types. What may follow a name is the driver's own affair.

use std::str::FromStr;
use std::time::Duration;

use spinlane_driver_sim::SimConfig;

use super::{Auto, Lookaside, Mb, OpenError, Pkcs11, Sim, Soft, Spec};

impl FromStr for Spec {
    type Err = OpenError;

    fn from_str(spec: &str) -> Result<Self, OpenError> {
        Ok(match spec.split_once(':') {
            Some(("lookaside", rest)) => lookaside(spec, rest)?.into(),
            Some(("sim", rest)) => sim(spec, rest)?.into(),
            Some(("dpdk", rest)) => dpdk(rest)?,
            Some(("pkcs11", rest)) => pkcs11(spec, rest)?.into(),
            Some(("mb", options)) => {
                Mb::from(options.parse::<spinlane_driver_mb::Options>()?).into()
            }
            None if spec == "soft" => Soft::new().into(),
            None if spec == "mb" => Mb::new().into(),
            None if spec == "auto" => Auto::new().into(),
            _ => {
                let spec = spec.to_owned();
                return Err(OpenError::Unknown { spec });
            }
        })
    }
}

/// Reads `rest`, which follows `dpdk:`.
#[cfg(feature = "dpdk")]
fn dpdk(rest: &str) -> Result<Spec, OpenError> {
    Ok(super::Dpdk::from(rest.parse::<spinlane_driver_dpdk::Spec>()?).into())
}

#[cfg(not(feature = "dpdk"))]
fn dpdk(_rest: &str) -> Result<Spec, OpenError> {
    Err(OpenError::Device(
        spinlane_cryptodev::DeviceError::Unavailable {
            device: "dpdk",
            missing: "DPDK in this build",
            remedy: "install libdpdk-dev and libclang-dev, and build with the feature `dpdk`",
        },
    ))
}

/// Reads `rest`, which follows `lookaside:`. The last `@` belongs to this spec, an earlier one
/// to the inner device's.
fn lookaside(spec: &str, rest: &str) -> Result<Lookaside, OpenError> {
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
    let mut lookaside = Lookaside::new(inner.parse::<Spec>()?, cores);
    for option in options {
        let sleep_us = option.strip_prefix("sleep_us=");
        let sleep_us = sleep_us.and_then(|sleep_us| sleep_us.parse().ok());
        let Some(sleep_us) = sleep_us.filter(|sleep_us| *sleep_us > 0) else {
            return Err(wrong(format!(
                "{option:?} is no option; there is: sleep_us=MICROSECONDS, at least 1"
            )));
        };
        lookaside = lookaside.sleep(Duration::from_micros(sleep_us));
    }
    Ok(lookaside)
}

/// Reads `rest`, which follows `sim:`.
fn sim(spec: &str, rest: &str) -> Result<Sim, OpenError> {
    let Some((faults, inner)) = SimConfig::split_spec(rest) else {
        return Err(OpenError::Spec {
            spec: spec.to_owned(),
            problem: "the device that is to have the faults is missing".to_owned(),
            example: "sim:7,lose=0.01:soft",
        });
    };
    let faults = faults.parse()?;
    Ok(Sim::new(faults, inner.parse::<Spec>()?))
}

/// Reads a token's spec: the driver's own, or a key's URI (RFC 7512), which names its token as well.
fn pkcs11(spec: &str, rest: &str) -> Result<Pkcs11, OpenError> {
    if !rest.contains(['?', ';']) {
        return Ok(rest.parse::<spinlane_driver_pkcs11::Spec>()?.into());
    }
    let uri = spec.parse();
    Ok(Pkcs11::new(
        uri.map_err(spinlane_driver_pkcs11::SpecError::from)?,
    ))
}
