//! The PROXY protocol (haproxy's proxy-protocol.txt, 2026): who the client is, said in front of a TCP stream.
//!
//! ```text
//!   balancer ── header, TLS ──▶ proxy ── header, plain text ──▶ backend
//! ```
//! [`write()`] makes headers, [`read`] takes them, by the crate `ppp`.

use std::net::{IpAddr, SocketAddr};

use ppp::{HeaderResult, PartialResult as _, v1, v2};
use serde::Deserialize;

/// Which header a backend gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SendProxy {
    /// None.
    Off,
    /// A line of text with addresses.
    V1,
    /// A binary one with addresses and what is known of the TLS connection.
    V2,
}

/// The longest header that is taken, in bytes.
pub const LONGEST: usize = 4096;
/// The longest of v1.
const LONGEST_V1: usize = 107;
/// The longest that [`write()`] makes: each value is cut to [`MOST_VALUE`].
pub const MOST: usize = 2048;
const MOST_VALUE: usize = 255;

/// What is said of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About<'a> {
    /// Its address, and ours that it came to.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// Protocol chosen by ALPN.
    pub alpn: Option<&'a [u8]>,
    /// Name that it asked for.
    pub authority: Option<&'a str>,
    /// Name of this connection.
    pub unique_id: &'a str,
    /// `TLSv1.3`.
    pub version: &'a str,
    /// Cipher suite.
    pub suite: &'a str,
    /// Group of the key exchange.
    pub group: Option<&'a str>,
    /// Whether it has shown a certificate, which was good, in this handshake or in the one that it resumed.
    pub has_certificate: bool,
    /// Whether this handshake resumed a session.
    pub resumed: bool,
    /// The certificate's common name.
    pub common_name: Option<&'a str>,
}

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;
const SSL_GROUP: u8 = 0x26;
/// Bits of the client's field of [`SSL`].
const BY_SSL: u8 = 1;
const CERTIFICATE_NOW: u8 = 2;
const CERTIFICATE_EVER: u8 = 4;

/// A header being written: what does not fit is left out, which [`MOST`] does not let happen.
struct Writer<'a> {
    room: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(place) = self.room.get_mut(self.len..self.len + bytes.len()) {
            place.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// Writes the length of what came since `start` in front of it, where two bytes were left for that.
    fn close(&mut self, start: usize) {
        let len = u16::try_from(self.len - start - 2).unwrap_or(u16::MAX);
        if let Some(place) = self.room.get_mut(start..start + 2) {
            place.copy_from_slice(&len.to_be_bytes());
        }
    }

    /// A type, a length and a value.
    fn tlv(&mut self, kind: u8, value: &[u8]) {
        let value = &value[..value.len().min(MOST_VALUE)];
        self.put(&[kind]);
        let start = self.len;
        self.put(&[0; 2]);
        self.put(value);
        self.close(start);
    }
}

/// Writes a header of `version` into `room`, of at least [`MOST`] bytes; returns how many it has.
pub fn write(version: SendProxy, about: &About<'_>, room: &mut [u8]) -> usize {
    let mut writer = Writer { room, len: 0 };
    match version {
        SendProxy::Off => {}
        SendProxy::V1 => write_v1(about, &mut writer),
        SendProxy::V2 => write_v2(about, &mut writer),
    }
    writer.len
}

/// Both addresses in one family.
fn in_one_family((source, destination): (SocketAddr, SocketAddr)) -> (IpAddr, IpAddr) {
    let mapped = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    // An IPv4 client at a listener of both families is one of IPv4.
    match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (source @ IpAddr::V4(_), destination @ IpAddr::V4(_)) => (source, destination),
        (source, destination) => (mapped(source).into(), mapped(destination).into()),
    }
}

fn write_v1(about: &About<'_>, writer: &mut Writer<'_>) {
    use std::io::Write as _;
    let Some(addresses) = about.addresses else {
        return writer.put(b"PROXY UNKNOWN\r\n");
    };
    let (source, destination) = in_one_family(addresses);
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let mut line = [0; 128];
    let mut rest = &mut line[..];
    // The longest has 107 bytes.
    let _ = write!(
        rest,
        "PROXY {family} {source} {destination} {} {}\r\n",
        addresses.0.port(),
        addresses.1.port()
    );
    let len = 128 - rest.len();
    writer.put(&line[..len]);
}

fn write_v2(about: &About<'_>, writer: &mut Writer<'_>) {
    writer.put(SIGNATURE);
    let start = 14;
    match about.addresses {
        // LOCAL.
        None => writer.put(&[0x20, 0, 0, 0]),
        Some(addresses) => {
            match in_one_family(addresses) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => {
                    writer.put(&[0x21, 0x11, 0, 0]);
                    writer.put(&source.octets());
                    writer.put(&destination.octets());
                }
                (source, destination) => {
                    writer.put(&[0x21, 0x21, 0, 0]);
                    for ip in [source, destination] {
                        let ip = match ip {
                            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                            IpAddr::V6(ip) => ip,
                        };
                        writer.put(&ip.octets());
                    }
                }
            }
            writer.put(&addresses.0.port().to_be_bytes());
            writer.put(&addresses.1.port().to_be_bytes());
        }
    }
    if let Some(alpn) = about.alpn {
        writer.tlv(ALPN, alpn);
    }
    if let Some(name) = about.authority {
        writer.tlv(AUTHORITY, name.as_bytes());
    }
    writer.tlv(UNIQUE_ID, about.unique_id.as_bytes());
    write_ssl(about, writer);
    writer.close(start);
}

fn write_ssl(about: &About<'_>, writer: &mut Writer<'_>) {
    writer.put(&[SSL]);
    let start = writer.len;
    let certificate = match (about.has_certificate, about.resumed) {
        (false, _) => 0,
        (true, true) => CERTIFICATE_EVER,
        (true, false) => CERTIFICATE_NOW | CERTIFICATE_EVER,
    };
    // 0: a certificate was shown, and is good.
    let verify = u32::from(!about.has_certificate);
    writer.put(&[0, 0, BY_SSL | certificate]);
    writer.put(&verify.to_be_bytes());
    writer.tlv(SSL_VERSION, about.version.as_bytes());
    if let Some(name) = about.common_name {
        writer.tlv(SSL_CN, name.as_bytes());
    }
    writer.tlv(SSL_CIPHER, about.suite.as_bytes());
    if let Some(group) = about.group {
        writer.tlv(SSL_GROUP, group.as_bytes());
    }
    writer.close(start);
}

/// The common name of a certificate's subject; `None` if it has none that can be read.
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str();
    name.ok().map(str::to_owned)
}

/// What came of the begin of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// More has to come.
    Partial,
    /// No header, or a bad one.
    Bad,
    /// So many bytes of it, with the client's address and the one that it came to, if the header has them: one that
    /// speaks for itself, such as a health check, has none.
    Header(usize, Option<(SocketAddr, SocketAddr)>),
}

/// Reads a header of either version from the begin of `bytes`.
pub fn read(bytes: &[u8]) -> Read {
    let is_v2 = bytes.iter().zip(SIGNATURE).all(|(byte, of)| byte == of);
    let is_v1 = bytes.iter().zip(b"PROXY ").all(|(byte, of)| byte == of);
    if !is_v1 && !is_v2 {
        return Read::Bad;
    }
    // ppp takes the begin of some lines for bad ones.
    let has_line = bytes.iter().take(LONGEST_V1).any(|byte| *byte == b'\n');
    if is_v1 && !has_line {
        return match bytes.len() < LONGEST_V1 {
            true => Read::Partial,
            false => Read::Bad,
        };
    }
    let parsed = HeaderResult::parse(bytes);
    if parsed.is_incomplete() && bytes.len() < LONGEST {
        return Read::Partial;
    }
    match parsed {
        HeaderResult::V1(Ok(header)) => Read::Header(header.header.len(), of_v1(header.addresses)),
        HeaderResult::V2(Ok(header)) => {
            let is_proxied = header.command == v2::Command::Proxy;
            let addresses = is_proxied.then(|| of_v2(header.addresses)).flatten();
            Read::Header(header.len(), addresses)
        }
        _ => Read::Bad,
    }
}

fn of_v1(addresses: v1::Addresses) -> Option<(SocketAddr, SocketAddr)> {
    match addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(of) => Some((
            (of.source_address, of.source_port).into(),
            (of.destination_address, of.destination_port).into(),
        )),
        v1::Addresses::Tcp6(of) => Some((
            (of.source_address, of.source_port).into(),
            (of.destination_address, of.destination_port).into(),
        )),
    }
}

fn of_v2(addresses: v2::Addresses) -> Option<(SocketAddr, SocketAddr)> {
    match addresses {
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => None,
        v2::Addresses::IPv4(of) => Some((
            (of.source_address, of.source_port).into(),
            (of.destination_address, of.destination_port).into(),
        )),
        v2::Addresses::IPv6(of) => Some((
            (of.source_address, of.source_port).into(),
            (of.destination_address, of.destination_port).into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About<'static> {
        About {
            addresses: Some((
                "10.0.0.1:1234".parse().unwrap(),
                "10.0.0.2:443".parse().unwrap(),
            )),
            alpn: Some(b"h2"),
            authority: Some("a.example"),
            unique_id: "id",
            version: "TLSv1.3",
            suite: "TLS_AES_128_GCM_SHA256",
            group: Some("X25519"),
            has_certificate: true,
            resumed: false,
            common_name: Some("client"),
        }
    }

    fn written(version: SendProxy, about: &About<'_>) -> Vec<u8> {
        let mut room = [0; MOST];
        let len = write(version, about, &mut room);
        room[..len].to_vec()
    }

    #[test]
    fn what_is_written_is_read_however_it_comes_in_pieces() {
        let v6 = (
            "[fd00::1]:1".parse().unwrap(),
            "[fd00::2]:2".parse().unwrap(),
        );
        let mixed = (
            "[::ffff:10.0.0.1]:1".parse().unwrap(),
            "[fd00::2]:2".parse().unwrap(),
        );
        for addresses in [about().addresses, Some(v6), Some(mixed), None] {
            for version in [SendProxy::V1, SendProxy::V2] {
                let about = About {
                    addresses,
                    ..about()
                };
                let mut bytes = written(version, &about);
                let len = bytes.len();
                bytes.extend_from_slice(b"\x16\x03\x01");
                assert_eq!(read(&bytes), Read::Header(len, addresses), "{version:?}");
                for cut in 0..len {
                    assert_eq!(read(&bytes[..cut]), Read::Partial, "{version:?} {cut}");
                }
            }
        }
    }

    #[test]
    fn a_mapped_client_at_a_mapped_address_is_one_of_ipv4() {
        let mapped = (
            "[::ffff:10.0.0.1]:1".parse().unwrap(),
            "[::ffff:10.0.0.2]:2".parse().unwrap(),
        );
        let about = About {
            addresses: Some(mapped),
            ..about()
        };
        assert_eq!(
            written(SendProxy::V1, &about),
            b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"
        );
    }

    #[test]
    fn values_have_their_places() {
        let bytes = written(SendProxy::V2, &about());
        let header = v2::Header::try_from(&bytes[..]).unwrap();
        let tlvs: Vec<(u8, Vec<u8>)> = header
            .tlvs()
            .map(|tlv| {
                let tlv = tlv.unwrap();
                (tlv.kind, tlv.value.to_vec())
            })
            .collect();
        let kinds: Vec<u8> = tlvs.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [ALPN, AUTHORITY, UNIQUE_ID, SSL]);
        assert_eq!(
            (&tlvs[0].1[..], &tlvs[1].1[..], &tlvs[2].1[..]),
            (&b"h2"[..], &b"a.example"[..], &b"id"[..])
        );
        let (fields, mut rest) = tlvs[3].1.split_at(5);
        assert_eq!(fields, [7, 0, 0, 0, 0]);
        let mut inner = Vec::new();
        while let [kind, high, low, more @ ..] = rest {
            let (value, after) = more.split_at(usize::from(*high) << 8 | usize::from(*low));
            inner.push((*kind, std::str::from_utf8(value).unwrap()));
            rest = after;
        }
        let wanted = [
            (SSL_VERSION, "TLSv1.3"),
            (SSL_CN, "client"),
            (SSL_CIPHER, "TLS_AES_128_GCM_SHA256"),
            (SSL_GROUP, "X25519"),
        ];
        assert_eq!(inner, wanted);
    }

    #[test]
    fn a_client_without_certificate_is_told_so_and_long_values_are_cut() {
        let long = "x".repeat(4000);
        let about = About {
            has_certificate: false,
            common_name: None,
            authority: Some(&long),
            unique_id: &long,
            alpn: Some(long.as_bytes()),
            version: &long,
            suite: &long,
            group: Some(&long),
            ..about()
        };
        let bytes = written(SendProxy::V2, &about);
        let Read::Header(len, _) = read(&bytes) else {
            panic!("no header")
        };
        assert_eq!(len, bytes.len());
        let header = v2::Header::try_from(&bytes[..]).unwrap();
        let ssl = header
            .tlvs()
            .map(Result::unwrap)
            .find(|tlv| tlv.kind == SSL);
        assert_eq!(ssl.unwrap().value[..5], [1, 0, 0, 0, 1]);
    }

    #[test]
    fn what_is_no_header_is_bad_at_its_first_byte() {
        for bytes in [
            &b"\x16\x03\x01"[..],
            b"GET / HTTP/1.1",
            b"PROXY TCP4 x y 1 2\r\n",
            b"PROXIED",
        ] {
            assert_eq!(read(bytes), Read::Bad, "{bytes:?}");
        }
        let endless = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; LONGEST]].concat();
        assert_eq!(read(&endless), Read::Bad);
    }
}
