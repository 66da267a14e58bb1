//! An Ethernet port, and its queue pairs.

use std::ffi::CString;
use std::sync::Arc;

use spinlane_net::{Caps, Frame, FrameIo, Mac};
use thiserror::Error;

use crate::eal::Eal;
use crate::ffi::{self, HandedOver, Opened, Plug, RawQueuePair, SetUp};

/// How a port is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Queue pairs: one per core.
    pub queues: u16,
    /// An Ethernet address other than the port's own. A port that cannot take it is set to receive everything.
    pub mac: Option<Mac>,
    /// Descriptors of each ring, as near to it as the port allows.
    pub descriptors: u16,
}

impl Default for PortConfig {
    /// One queue pair, the port's own address, 1024 descriptors.
    fn default() -> Self {
        Self {
            queues: 1,
            mac: None,
            descriptors: 1024,
        }
    }
}

/// A port cannot be had. The text names the culprit and the remedy.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PortError {
    /// The text is no spec.
    #[error(
        "{spec:?} names no port; write a virtual device such as net_af_packet0,iface=eth1 or a PCI address such as 0000:3d:00.0"
    )]
    Spec {
        /// What was given.
        spec: String,
    },
    /// Nobody drives such a device.
    #[error(
        "{name}: DPDK has no driver for it ({reason}); check the name, and that the driver's library is installed"
    )]
    NoDriver {
        /// The device.
        name: String,
        /// What DPDK gave as the reason.
        reason: String,
    },
    /// The driver refuses its arguments, or cannot have what they name.
    #[error(
        "{name}: the driver refuses {arguments:?} ({reason}); check that the interface exists and that this process may use it (CAP_NET_RAW); DPDK's own lines above say more"
    )]
    Arguments {
        /// The device.
        name: String,
        /// Its arguments.
        arguments: String,
        /// What DPDK gave as the reason.
        reason: String,
    },
    /// The name is in use.
    #[error(
        "{name} is in use already; give the second a name of its own, e.g. with another number"
    )]
    InUse {
        /// The device.
        name: String,
    },
    /// The device is there but is no Ethernet port.
    #[error("{name} is no Ethernet port")]
    NoPort {
        /// The device.
        name: String,
    },
    /// Fewer queues than cores.
    #[error(
        "{name} has {has} queue pairs, and {wanted} are wanted, one per core; use fewer cores, or give it more queues (qpairs=… of net_af_packet)"
    )]
    Queues {
        /// The device.
        name: String,
        /// What it has.
        has: u16,
        /// What was asked for.
        wanted: u16,
    },
    /// There is no memory for packets.
    #[error(
        "{name}: no memory for {packets} packets of {bytes} bytes ({reason}); give EAL more by memory_mib (--port-memory of the proxy), or fewer descriptors"
    )]
    Pool {
        /// The device.
        name: String,
        /// Packets of a queue pair's pool.
        packets: u32,
        /// Bytes of each.
        bytes: u32,
        /// What DPDK gave as the reason.
        reason: String,
    },
    /// A step of the set-up failed.
    #[error("{name}: {step} failed: {reason}")]
    SetUp {
        /// The device.
        name: String,
        /// Which call.
        step: &'static str,
        /// What DPDK gave as the reason.
        reason: String,
    },
}

/// A port that is open; it is closed when it and its queue pairs have been dropped.
#[derive(Clone, Debug)]
pub struct Port {
    opened: Arc<Opened>,
    name: String,
    mac: Mac,
    caps: Caps,
    /// The kernel's interface below, if it says so: some drivers do not know of its link.
    interface: Option<String>,
}

/// `name,arguments` of a virtual device, or a PCI address.
fn parse(spec: &str) -> Option<(&'static str, &str, &str)> {
    let (name, arguments) = spec.split_once(',').unwrap_or((spec, ""));
    let is_vdev = name.starts_with("net_") && name.len() > 4;
    let is_pci = name.matches(':').count() == 2 && name.contains('.') && arguments.is_empty();
    match (is_vdev, is_pci) {
        (true, _) => Some(("vdev", name, arguments)),
        (_, true) => Some(("pci", name, arguments)),
        _ => None,
    }
}

/// The kernel's interface that the arguments name.
fn interface(arguments: &str) -> Option<&str> {
    arguments
        .split(',')
        .find_map(|argument| argument.strip_prefix("iface="))
}

impl Port {
    /// Opens `spec`, which is a virtual device with its arguments (`net_af_packet0,iface=veth1`) or a PCI address, with one queue
    /// pair for each core.
    ///
    /// # Errors
    /// See [`PortError`].
    pub fn open(
        eal: &Eal,
        spec: &str,
        config: &PortConfig,
    ) -> Result<(Self, Vec<QueuePair>), PortError> {
        let no_spec = || PortError::Spec {
            spec: spec.to_owned(),
        };
        let (bus, name, arguments) = parse(spec).ok_or_else(no_spec)?;
        let c_string = |text: &str| CString::new(text).map_err(|_| no_spec());
        let (c_bus, c_name, c_arguments) = (c_string(bus)?, c_string(name)?, c_string(arguments)?);
        let running = eal.running();
        let plugged = Opened::plug(running, &c_bus, &c_name, &c_arguments);
        let mut opened = plugged.map_err(|error| not_plugged(name, arguments, error))?;
        let has = opened.most_queues();
        if config.queues == 0 || has < config.queues {
            return Err(PortError::Queues {
                name: name.to_owned(),
                has,
                wanted: config.queues,
            });
        }
        let set_up = opened.set_up(
            config.queues,
            config.descriptors,
            config.mac.map(|mac| mac.0),
        );
        let set_up = set_up.map_err(|error| failed(name, error))?;
        let interface = interface(arguments);
        // Some drivers take 1500 for granted.
        let below = interface.and_then(ffi::mtu).unwrap_or(u16::MAX);
        let caps = Caps {
            mtu: set_up.mtu.min(below),
            tx_checksums: set_up.tx_checksums,
        };
        let opened = Arc::new(opened);
        let pairs = (0..config.queues).map(|queue| QueuePair {
            raw: RawQueuePair::new(&opened, queue),
            caps,
        });
        let pairs = pairs.collect();
        let port = Self {
            interface: interface.map(str::to_owned),
            name: name.to_owned(),
            mac: config.mac.unwrap_or(Mac(set_up.mac)),
            opened,
            caps,
        };
        Ok((port, pairs))
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Ethernet address: the one that was chosen, or the port's own.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// What the port can do.
    pub fn caps(&self) -> Caps {
        self.caps
    }

    /// Whether the link is up, as far as it is known without waiting. Of a port on an interface of the kernel's it is the kernel that
    /// knows. A system call: not for every turn.
    pub fn is_up(&self) -> bool {
        let by_kernel = self.interface.as_deref().map(ffi::is_running);
        by_kernel.unwrap_or_else(|| self.opened.is_up())
    }
}

fn not_plugged(name: &str, arguments: &str, error: Plug) -> PortError {
    let name = name.to_owned();
    match error {
        Plug::InUse => PortError::InUse { name },
        Plug::NoPort => PortError::NoPort { name },
        Plug::Refused(error) => {
            let reason = ffi::error_text(error);
            match -error {
                // What 22.11 gives for a name that no driver's begins with.
                libc::EFAULT | libc::ENODEV | libc::ENOENT => PortError::NoDriver { name, reason },
                _ => PortError::Arguments {
                    name,
                    arguments: arguments.to_owned(),
                    reason,
                },
            }
        }
    }
}

fn failed(name: &str, error: SetUp) -> PortError {
    let name = name.to_owned();
    match error {
        SetUp::Pool {
            packets,
            bytes,
            error,
        } => PortError::Pool {
            name,
            packets,
            bytes,
            reason: ffi::error_text(error),
        },
        SetUp::Step { step, error } => PortError::SetUp {
            name,
            step,
            reason: ffi::error_text(error),
        },
    }
}

/// A receive and a transmit queue of a port, for one thread at a time.
#[derive(Debug)]
pub struct QueuePair {
    raw: RawQueuePair,
    caps: Caps,
}

/// What a queue pair lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Packets in several pieces, which are not put together.
    pub in_pieces: u64,
    /// Frames for which there was no packet in the pool.
    pub no_packet: u64,
    /// Frames that the transmit ring had no room for.
    pub ring_full: u64,
}

impl QueuePair {
    /// Takes a queue pair of a port that the application has set up. Checksums of what is sent are computed here.
    pub fn adopt(handed: HandedOver) -> Self {
        let caps = Caps {
            mtu: handed.mtu(),
            tx_checksums: false,
        };
        let raw = RawQueuePair::adopt(handed);
        Self { raw, caps }
    }

    /// What was lost so far.
    pub fn losses(&self) -> Losses {
        self.raw.losses
    }
}

impl FrameIo for QueuePair {
    fn receive(&mut self, mut take: impl FnMut(Frame<'_>)) -> usize {
        self.raw
            .receive(|bytes, checked| take(Frame { bytes, checked }))
    }

    fn transmit(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        self.raw.transmit(len, self.caps.tx_checksums, fill)
    }

    fn flush(&mut self) {
        self.raw.flush();
    }

    fn caps(&self) -> Caps {
        self.caps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_virtual_devices_or_pci_addresses() {
        let vdev = parse("net_af_packet0,iface=veth1,qpairs=2");
        assert_eq!(
            vdev,
            Some(("vdev", "net_af_packet0", "iface=veth1,qpairs=2"))
        );
        assert_eq!(interface("qpairs=2,iface=veth1"), Some("veth1"));
        assert_eq!(interface("rx_iface=veth1"), None);
        assert_eq!(parse("net_ring0"), Some(("vdev", "net_ring0", "")));
        assert_eq!(parse("0000:3d:00.0"), Some(("pci", "0000:3d:00.0", "")));
        for wrong in [
            "",
            "net_",
            "eth0",
            "crypto_openssl",
            "3d:00.0",
            "0000:3d:00.0,x=1",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
