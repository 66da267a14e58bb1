//! One type per device: what it needs is what its `new` takes, all else has the driver's defaults.

use std::time::Duration;

use spinlane_cryptodev::Device;
#[cfg(feature = "dpdk")]
use spinlane_driver_dpdk as dpdk;
use spinlane_driver_lookaside::{IdlePolicy, Settings};
use spinlane_driver_mb::Options;
use spinlane_driver_pkcs11::{self as pkcs11, uri::Uri};
use spinlane_driver_sim::SimConfig;

use super::{OpenError, Spec};

/// The fastest device that computes on the CPU: [`Mb`] where the CPU can run it, otherwise [`Soft`], with a
/// line in the log that says why.
///
/// ```
/// let device = spinlane::Auto::new().open()?;
/// assert!(["mb", "soft"].contains(&device.name()));
/// # Ok::<(), spinlane::device::OpenError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Auto {}

/// One op at a time on the CPU, by AWS-LC. Every machine has it.
///
/// ```
/// use spinlane::{Lcore, Soft};
///
/// let device = Soft::new().open()?;
/// let lcore = Lcore::default();
/// lcore.add_queue_pair(device.queue_pair(Default::default())?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Soft {}

/// Eight ops at a time in the lanes of AVX-512 IFMA.
///
/// ```
/// match spinlane::Mb::new().blinding(true).open() {
///     Ok(device) => assert_eq!(device.name(), "mb"),
///     Err(error) => println!("{error}"), // the instruction set that this CPU lacks
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mb {
    pub(super) options: Options,
}

/// Another device on pinned cores of its own, behind rings.
///
/// ```no_run
/// use std::time::Duration;
/// use spinlane::{Lookaside, Mb};
///
/// let device = Lookaside::new(Mb::new(), [2, 3]).sleep(Duration::from_micros(50)).open()?;
/// assert_eq!(device.name(), "lookaside:mb@2+3");
/// # Ok::<(), spinlane::device::OpenError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookaside {
    pub(super) inner: Box<Spec>,
    pub(super) cores: Vec<usize>,
    pub(super) settings: Settings,
}

/// Another device, with seeded faults.
///
/// ```
/// use spinlane::drivers::sim::{Chance, SimConfig};
/// use spinlane::{Sim, Soft};
///
/// let faults = SimConfig { lose: Chance::percent(1), ..SimConfig::new(7) };
/// assert_eq!(Sim::new(faults, Soft::new()).open()?.name(), "sim:soft");
/// # Ok::<(), spinlane::device::OpenError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sim {
    pub(super) faults: SimConfig,
    pub(super) inner: Box<Spec>,
}

/// A PKCS#11 token, on which keys stay.
///
/// ```no_run
/// let uri = "pkcs11:token=web?module-name=softhsm2&pin-source=file:/etc/spinlane/pin".parse()?;
/// let device = spinlane::Pkcs11::new(uri).sessions(8).open()?;
/// let key = device.own_key("pkcs11:object=site", None)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pkcs11 {
    pub(super) spec: Box<pkcs11::Spec>,
}

/// A crypto device of DPDK's. The first one that is opened starts EAL, which the others share.
///
/// ```no_run
/// let device = spinlane::Dpdk::new("crypto_openssl").queue_pairs(2).open()?;
/// assert_eq!(device.name(), "dpdk:crypto_openssl");
/// # Ok::<(), spinlane::device::OpenError>(())
/// ```
#[cfg(feature = "dpdk")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dpdk {
    pub(super) spec: dpdk::Spec,
}

impl Auto {
    /// Whatever this machine has.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Soft {
    /// There is nothing to set.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Mb {
    /// Lanes for all kinds of ops.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether RSA ops are blinded, and run one at a time instead of in the lanes (default: no); see
    /// [`Options::blinding`].
    #[must_use]
    pub fn blinding(mut self, blinding: bool) -> Self {
        self.options.blinding = blinding;
        self
    }
}

impl Lookaside {
    /// `inner` on `cores`, one thread pinned to each.
    pub fn new(inner: impl Into<Spec>, cores: impl Into<Vec<usize>>) -> Self {
        Self {
            inner: Box::new(inner.into()),
            cores: cores.into(),
            settings: Settings::default(),
        }
    }

    /// How long a crypto core sleeps at most that has nothing to do and shares its core with others. By default
    /// it never sleeps.
    #[must_use]
    pub fn sleep(mut self, at_most: Duration) -> Self {
        self.settings.idle = IdlePolicy::shared(at_most);
        self
    }

    /// All that can be set, in place of what was.
    #[must_use]
    pub fn settings(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }
}

impl Sim {
    /// `inner` with `faults`.
    pub fn new(faults: SimConfig, inner: impl Into<Spec>) -> Self {
        let inner = Box::new(inner.into());
        Self { faults, inner }
    }
}

impl Pkcs11 {
    /// The token that `uri` names (RFC 7512); a key's URI names its token as well.
    pub fn new(uri: Uri) -> Self {
        let settings = pkcs11::Settings::default();
        pkcs11::Spec { uri, settings }.into()
    }

    /// Sessions, each on a thread of its own; see [`sessions`](pkcs11::Settings::sessions).
    #[must_use]
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.spec.settings.sessions = sessions;
        self
    }

    /// Whether each result is checked before it leaves; see [`verify`](pkcs11::Settings::verify).
    #[must_use]
    pub fn verify(mut self, verify: bool) -> Self {
        self.spec.settings.verify = verify;
        self
    }

    /// All that can be set, in place of what was.
    #[must_use]
    pub fn settings(mut self, settings: pkcs11::Settings) -> Self {
        self.spec.settings = settings;
        self
    }
}

#[cfg(feature = "dpdk")]
impl Dpdk {
    /// A virtual device, whose name begins with its driver's (`crypto_openssl`), or the PCI address of a card.
    pub fn new(name: &str) -> Self {
        dpdk::Spec::new(name).into()
    }

    /// Queue pairs, at most one per polling thread: 1 to 64; see [`queue_pairs`](dpdk::Spec::queue_pairs).
    #[must_use]
    pub fn queue_pairs(mut self, count: u16) -> Self {
        self.spec.queue_pairs = Some(count);
        self
    }

    /// Descriptors of each queue pair's ring: 2 to 65536; see [`descriptors`](dpdk::Spec::descriptors).
    #[must_use]
    pub fn descriptors(mut self, count: u32) -> Self {
        self.spec.descriptors = count;
        self
    }

    /// NUMA node of a virtual device's memory (default: the caller's).
    #[must_use]
    pub fn socket_id(mut self, id: u8) -> Self {
        self.spec.socket_id = Some(id);
        self
    }
}

impl From<Options> for Mb {
    fn from(options: Options) -> Self {
        Self { options }
    }
}

impl From<pkcs11::Spec> for Pkcs11 {
    fn from(spec: pkcs11::Spec) -> Self {
        let spec = Box::new(spec);
        Self { spec }
    }
}

#[cfg(feature = "dpdk")]
impl From<dpdk::Spec> for Dpdk {
    fn from(spec: dpdk::Spec) -> Self {
        Self { spec }
    }
}

/// What every builder has.
macro_rules! devices {
    ($($(#[$cfg:meta])? $Builder:ident,)*) => {$(
        $(#[$cfg])?
        impl From<$Builder> for Spec {
            fn from(builder: $Builder) -> Self {
                Self::$Builder(builder)
            }
        }

        $(#[$cfg])?
        impl $Builder {
            /// Opens the device.
            ///
            /// # Errors
            /// See [`OpenError`].
            pub fn open(self) -> Result<Box<dyn Device>, OpenError> {
                Spec::from(self).open()
            }
        }
    )*};
}

devices! {
    Auto,
    Soft,
    Mb,
    #[cfg(feature = "dpdk")]
    Dpdk,
    Pkcs11,
    Lookaside,
    Sim,
}
