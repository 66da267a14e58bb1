//! What a stack is made with.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::address::{Address, Mac};
use crate::frame_io::Caps;

/// Least MTU of IPv4 that is of use here, and of IPv6 (RFC 8200, section 5).
const LEAST_MTU_V4: u16 = 576;
const LEAST_MTU_V6: u16 = 1280;

/// An address of the stack's and its network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface {
    /// The address.
    pub address: IpAddr,
    /// Bits that its network's addresses share.
    pub prefix: u8,
}

/// Local ports of connections that we open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ports {
    /// All of them, whoever owns them.
    pub range: RangeInclusive<u16>,
    /// Cores that share the range: a port belongs to core `port % cores`.
    pub cores: u16,
    /// The core that this stack is on, from 0.
    pub core: u16,
}

/// What a stack is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The Ethernet address.
    pub mac: Mac,
    /// Addresses, at least one.
    pub interfaces: Vec<Interface>,
    /// Where packets for other networks go, one per family at most.
    pub gateways: Vec<IpAddr>,
    /// What connections are made with; its `mss` is computed from the port's MTU, and in place of its `fin_wait` stands
    /// `orphan_timeout`.
    pub tcp: spinlane_tcp::Config,
    /// Bytes that a connection may have queued and unacknowledged.
    pub send_limit: usize,
    /// Connections in any state but TIME-WAIT.
    pub max_flows: u32,
    /// Half-open connections among them; beyond them SYNs are answered by cookies.
    pub max_half_open: u32,
    /// Connections that a listener has and the application has not taken yet. Beyond them SYNs are dropped; those that are half
    /// open by then still come to the queue.
    pub backlog: u32,
    /// Connections in TIME-WAIT, of 64 bytes and a place in a hash table each.
    pub max_time_wait: u32,
    /// How long a client may take for its handshake.
    pub handshake_timeout: Duration,
    /// How long a connection goes on whose application has gone.
    pub orphan_timeout: Duration,
    /// A connection with nothing to do gives its memory back after so long.
    pub rest_after: Duration,
    /// Answers to strangers per second, for each of: echoes, neighbours' questions, resets, TIME-WAIT.
    pub answers_per_second: u32,
    /// Local ports of connections that we open.
    pub ports: Ports,
    /// Random, and kept secret: hashes, initial numbers and cookies are keyed by it.
    pub secret: [u8; 48],
}

impl Config {
    /// A stack with one address and no gateway, and bounds for some 100,000 connections. `secret` must be random.
    pub fn new(mac: Mac, interface: Interface, secret: [u8; 48]) -> Self {
        Self {
            mac,
            interfaces: vec![interface],
            gateways: Vec::new(),
            tcp: spinlane_tcp::Config {
                // As long as Linux keeps a closed connection's key; a quarter of it here, since new SYNs take them over.
                time_wait: Duration::from_secs(15),
                ..spinlane_tcp::Config::default()
            },
            send_limit: 256 * 1024,
            max_flows: 1 << 18,
            max_half_open: 4096,
            backlog: 4096,
            max_time_wait: 1 << 17,
            handshake_timeout: Duration::from_secs(10),
            orphan_timeout: Duration::from_secs(60),
            rest_after: Duration::from_secs(2),
            answers_per_second: 1000,
            ports: Ports {
                range: 32768..=60999,
                cores: 1,
                core: 0,
            },
            secret,
        }
    }

    /// Checks what was given, together with what the port can do.
    pub(crate) fn check(&self, caps: &Caps) -> Result<(), ConfigError> {
        if self.mac.is_multicast() {
            return Err(ConfigError::Mac(self.mac));
        }
        if self.interfaces.is_empty() {
            return Err(ConfigError::NoAddress);
        }
        for (index, interface) in self.interfaces.iter().enumerate() {
            let others = &self.interfaces[..index];
            if others
                .iter()
                .any(|other| other.address == interface.address)
            {
                return Err(ConfigError::Twice(interface.address));
            }
            let (ip, v6) = (interface.address, interface.address.is_ipv6());
            if !Address::from(ip).is_station() {
                return Err(ConfigError::Address(ip));
            }
            let most = if v6 { 128 } else { 32 };
            if interface.prefix > most {
                let prefix = interface.prefix;
                return Err(ConfigError::Prefix { ip, prefix, most });
            }
            let least = if v6 { LEAST_MTU_V6 } else { LEAST_MTU_V4 };
            if caps.mtu < least {
                let mtu = caps.mtu;
                return Err(ConfigError::Mtu { ip, mtu, least });
            }
        }
        for (index, gateway) in self.gateways.iter().enumerate() {
            if !self.is_on_link(*gateway) {
                return Err(ConfigError::GatewayOffLink(*gateway));
            }
            let same = |other: &IpAddr| other.is_ipv4() == gateway.is_ipv4();
            if self.gateways[..index].iter().any(same) {
                return Err(ConfigError::SecondGateway(*gateway));
            }
        }
        let Ports { range, cores, core } = &self.ports;
        if core >= cores || range.start() == &0 || range.clone().count() < usize::from(*cores) {
            return Err(ConfigError::Ports(self.ports.clone()));
        }
        if self.max_flows == 0 {
            return Err(ConfigError::NoFlows);
        }
        Ok(())
    }

    fn is_on_link(&self, ip: IpAddr) -> bool {
        self.interfaces.iter().any(|interface| {
            let ours = Address::from(interface.address);
            ours.shares_prefix(ip.into(), interface.prefix)
        })
    }

    /// Who takes packets for `to`: `to` itself if it is on a network of ours, or the gateway.
    pub(crate) fn next_hop(&self, to: IpAddr) -> Option<IpAddr> {
        if self.is_on_link(to) {
            return Some(to);
        }
        let mut gateways = self.gateways.iter().copied();
        gateways.find(|gateway| gateway.is_ipv4() == to.is_ipv4())
    }

    /// Our address for packets to `to`: of the network that its next hop is on.
    pub(crate) fn source(&self, to: IpAddr) -> Option<IpAddr> {
        let hop = Address::from(self.next_hop(to)?);
        let near = |interface: &&Interface| {
            Address::from(interface.address).shares_prefix(hop, interface.prefix)
        };
        let found = self.interfaces.iter().find(near)?;
        Some(found.address)
    }
}

/// A stack cannot be made with this.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The Ethernet address is a group's.
    #[error(
        "{0} is the address of a group of stations; choose one whose first byte is even, e.g. 02:…"
    )]
    Mac(Mac),
    /// There is no IP address.
    #[error("the stack has no IP address; give it one")]
    NoAddress,
    /// No station can have this address.
    #[error("no station can have the address {0}; give one of the network that the port is on")]
    Address(IpAddr),
    /// An address is there twice.
    #[error("{0} is there twice; give each address once")]
    Twice(IpAddr),
    /// A network's prefix is too long.
    #[error("{ip}/{prefix}: a prefix has at most {most} bits")]
    Prefix {
        /// The address.
        ip: IpAddr,
        /// Its prefix.
        prefix: u8,
        /// What it could be.
        most: u8,
    },
    /// The port's MTU is too small.
    #[error(
        "the port carries packets of {mtu} bytes, and {ip} needs {least}; raise its MTU or leave the address away"
    )]
    Mtu {
        /// The address.
        ip: IpAddr,
        /// The port's.
        mtu: u16,
        /// What the family needs.
        least: u16,
    },
    /// The gateway cannot be reached.
    #[error(
        "the gateway {0} is on no network of the stack's addresses; check the address and its prefix"
    )]
    GatewayOffLink(IpAddr),
    /// There is a gateway for this family already.
    #[error("{0} is a second gateway of its family; give one")]
    SecondGateway(IpAddr),
    /// The ports cannot be shared out.
    #[error(
        "local ports {0:?}: the range must begin above 0 and have a port for each core, and the core be one of them"
    )]
    Ports(Ports),
    /// No connection is allowed.
    #[error("max_flows is 0; allow at least one connection")]
    NoFlows,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let interface = Interface {
            address: "10.0.0.2".parse().unwrap(),
            prefix: 24,
        };
        Config::new(Mac([2, 0, 0, 0, 0, 1]), interface, [7; 48])
    }

    fn error(mtu: u16, change: impl Fn(&mut Config)) -> String {
        let mut config = config();
        change(&mut config);
        let caps = Caps {
            mtu,
            tx_checksums: false,
        };
        let checked = config.check(&caps);
        checked.map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn mistakes_are_named_with_their_remedy() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(error(1500, |_| ()), "");
        let v6 = Interface {
            address: ip("fd00::2"),
            prefix: 64,
        };
        for (mtu, change, words) in [
            (
                1500,
                Box::new(|config: &mut Config| config.mac = Mac([1; 6]))
                    as Box<dyn Fn(&mut Config)>,
                "group",
            ),
            (
                1500,
                Box::new(|config| config.interfaces.clear()),
                "no IP address",
            ),
            (
                1500,
                Box::new(|config| config.interfaces[0].address = ip("224.0.0.1")),
                "224.0.0.1",
            ),
            (
                1500,
                Box::new(|config| config.interfaces.push(config.interfaces[0])),
                "10.0.0.2 is there twice",
            ),
            (
                1500,
                Box::new(|config| config.interfaces[0].prefix = 33),
                "at most 32",
            ),
            (
                1279,
                Box::new(move |config| config.interfaces.push(v6)),
                "needs 1280",
            ),
            (500, Box::new(|_| ()), "needs 576"),
            (
                1500,
                Box::new(|config| config.gateways = vec![ip("10.0.1.1")]),
                "on no network",
            ),
            (
                1500,
                Box::new(|config| config.gateways = vec![ip("10.0.0.1"); 2]),
                "second gateway",
            ),
            (
                1500,
                Box::new(|config| config.ports.core = 1),
                "local ports",
            ),
            (
                1500,
                Box::new(|config| config.max_flows = 0),
                "at least one",
            ),
        ] {
            let error = error(mtu, change);
            assert!(error.contains(words), "{words}: {error:?}");
        }
    }

    #[test]
    fn packets_go_to_the_neighbour_or_the_gateway_of_their_family() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut config = config();
        config.gateways = vec![ip("10.0.0.1")];
        assert_eq!(config.next_hop(ip("10.0.0.9")), Some(ip("10.0.0.9")));
        assert_eq!(config.next_hop(ip("9.9.9.9")), Some(ip("10.0.0.1")));
        assert_eq!(config.next_hop(ip("2001:db8::1")), None);
        assert_eq!(config.source(ip("9.9.9.9")), Some(ip("10.0.0.2")));
    }
}
