//! Addresses as the tables hold them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    pub(crate) const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it is for several stations.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Where a station listens that has the IPv6 address `address` (RFC 2464, section 7, RFC 4291, section 2.7.1).
    pub(crate) fn solicited(address: Address) -> Self {
        let [.., a, b, c] = address.0;
        Self([0x33, 0x33, 0xff, a, b, c])
    }

    /// Where every IPv6 station listens.
    pub(crate) const ALL_NODES: Self = Self([0x33, 0x33, 0, 0, 0, 1]);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A text is no Ethernet address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no Ethernet address; write e.g. 02:00:00:00:00:01")]
pub struct MacError(String);

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let wrong = || MacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            *byte = part
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(wrong)?;
        }
        parts.next().map_or(Ok(Self(bytes)), |_| Err(wrong()))
    }
}

/// An IP address in 16 bytes; IPv4 as IPv6 maps it (::ffff:a.b.c.d). No IPv6 packet may name such an address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Address(pub(crate) [u8; 16]);

const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

impl Address {
    pub(crate) fn v4(bytes: [u8; 4]) -> Self {
        let mut address = [0; 16];
        address[..12].copy_from_slice(&MAPPED);
        address[12..].copy_from_slice(&bytes);
        Self(address)
    }

    pub(crate) fn is_v4(self) -> bool {
        self.0[..12] == MAPPED
    }

    /// As it stands in a packet: 4 or 16 bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.is_v4() { &self.0[12..] } else { &self.0 }
    }

    /// Bytes of an IP header for this family.
    pub(crate) fn header_len(self) -> usize {
        if self.is_v4() { 20 } else { 40 }
    }

    pub(crate) fn ip(self) -> IpAddr {
        let [.., a, b, c, d] = self.0;
        if self.is_v4() {
            Ipv4Addr::new(a, b, c, d).into()
        } else {
            Ipv6Addr::from(self.0).into()
        }
    }

    /// Whether one station can have it: what may send, and be sent to.
    pub(crate) fn is_station(self) -> bool {
        match self.ip() {
            IpAddr::V4(ip) => {
                let reserved = ip.octets()[0] >= 240 || ip.octets()[0] == 0;
                !(reserved || ip.is_multicast() || ip.is_loopback())
            }
            IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback()),
        }
    }

    /// Whether both have the same first `len` bits, counted in their own family.
    pub(crate) fn shares_prefix(self, other: Self, len: u8) -> bool {
        if self.is_v4() != other.is_v4() {
            return false;
        }
        let bits = |address: Self| u128::from_be_bytes(address.0);
        let len = u32::from(len) + if self.is_v4() { 96 } else { 0 };
        len == 0 || (bits(self) ^ bits(other)) >> (128 - len.min(128)) == 0
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::v4(ip.octets()),
            IpAddr::V6(ip) => Self(ip.octets()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ip())
    }
}

/// A connection's addresses and ports, seen from here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tuple {
    pub(crate) local: Address,
    pub(crate) remote: Address,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
}

impl Tuple {
    /// What is hashed.
    pub(crate) fn bytes(&self) -> [u8; 36] {
        let mut bytes = [0; 36];
        bytes[..16].copy_from_slice(&self.local.0);
        bytes[16..32].copy_from_slice(&self.remote.0);
        bytes[32..34].copy_from_slice(&self.local_port.to_be_bytes());
        bytes[34..].copy_from_slice(&self.remote_port.to_be_bytes());
        bytes
    }

    pub(crate) fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local.ip(), self.local_port)
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote.ip(), self.remote_port)
    }
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.local(), self.remote())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn texts_are_ethernet_addresses_or_refused() {
        let mac: Mac = "02:00:5e:10:00:ff".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:10:00:ff");
        for wrong in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:ff:01",
            "2:0:5e:10:0:ff",
            "02-00",
        ] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn stations_are_told_from_groups_and_nobody() {
        for good in ["10.0.0.1", "8.8.8.8", "fe80::1", "2001:db8::5"] {
            assert!(address(good).is_station(), "{good}");
        }
        for bad in [
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "127.0.0.1",
            "::",
            "::1",
            "ff02::1",
        ] {
            assert!(!address(bad).is_station(), "{bad}");
        }
    }

    #[test]
    fn prefixes_are_compared_within_their_family() {
        let shares = |one, two, len| address(one).shares_prefix(address(two), len);
        assert!(shares("10.0.0.1", "10.0.0.254", 24));
        assert!(!shares("10.0.0.1", "10.0.1.1", 24));
        assert!(shares("10.0.0.1", "99.0.1.1", 0));
        assert!(shares("fd00::1", "fd00::2", 64));
        assert!(!shares("fd00::1", "fd00::2", 128));
        assert!(!shares("fd00::1", "10.0.0.1", 0));
        assert_eq!(address("10.0.0.1").bytes(), [10, 0, 0, 1]);
        assert!(address("10.0.0.1").is_v4() && !address("::10.0.0.1").is_v4());
    }
}
