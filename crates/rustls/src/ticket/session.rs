//! What rustls' serialised session says: for which name it is, and until when the client's
//! certificates are valid.
//!
//! rustls offers no other way to learn either while it makes a ticket. The layout is that of rustls
//! 0.23's `ServerSessionValue`:
//! ```text
//!   name?  [length, name]  version  suite  length, secret  ems  chain?  [length, (length, certificate)…]  …
//!   1      1               2        2      1               1    1       3        3
//! ```
//! A session of any other layout gets no ticket, which the tests of resumption notice.

use pkcs8::der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use pkcs8::der::{Decode, Reader as _, SliceReader, Tag, TagNumber, Tagged};

/// A serialised session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Session<'a> {
    /// The name that the client asked for.
    pub(super) server_name: Option<&'a str>,
    /// When the first of the client's certificates ends, in seconds since 1970; `u64::MAX` without any.
    pub(super) client_until: u64,
}

impl<'a> Session<'a> {
    /// Returns `None` if `bytes` are no session, or a certificate's end cannot be read.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let server_name = match fields.number(1)? {
            0 => None,
            _ => Some(std::str::from_utf8(fields.counted(1)?).ok()?),
        };
        fields.take(4)?;
        fields.counted(1)?;
        fields.take(1)?;
        let mut client_until = u64::MAX;
        if fields.number(1)? != 0 {
            let mut chain = Fields(fields.counted(3)?);
            while !chain.0.is_empty() {
                client_until = client_until.min(not_after(chain.counted(3)?)?);
            }
        }
        Some(Self {
            server_name,
            client_until,
        })
    }
}

/// Bytes not read yet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A big-endian number of `size` bytes.
    fn number(&mut self, size: usize) -> Option<usize> {
        let bytes = self.take(size)?;
        Some(
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        )
    }

    /// As many bytes as a number of `size` bytes in front says.
    fn counted(&mut self, size: usize) -> Option<&'a [u8]> {
        let count = self.number(size)?;
        self.take(count)
    }
}

/// A certificate's notAfter (RFC 5280, section 4.1.2.5), in seconds since 1970.
fn not_after(certificate: &[u8]) -> Option<u64> {
    const VERSION: Tag = Tag::ContextSpecific {
        constructed: true,
        number: TagNumber::N0,
    };
    let certificate = AnyRef::from_der(certificate).ok()?;
    let to_be_signed = elements(certificate)?.next()?;
    let mut fields = elements(to_be_signed)?.skip_while(|field| field.tag() == VERSION);
    // Behind serial number, algorithm and issuer.
    let validity = fields.nth(3)?;
    let until = elements(validity)?.nth(1)?;
    let until = match until.tag() {
        Tag::UtcTime => until.decode_as::<UtcTime>().ok()?.to_unix_duration(),
        _ => until
            .decode_as::<GeneralizedTime>()
            .ok()?
            .to_unix_duration(),
    };
    Some(until.as_secs())
}

/// The elements of a SEQUENCE.
fn elements<'a>(sequence: AnyRef<'a>) -> Option<impl Iterator<Item = AnyRef<'a>>> {
    let mut rest = SliceReader::new(sequence.value()).ok()?;
    (sequence.tag() == Tag::Sequence).then(|| std::iter::from_fn(move || rest.decode().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(["client".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn session(name: Option<&str>, chain: Option<&[Vec<u8>]>) -> Vec<u8> {
        let mut bytes = Vec::new();
        match name {
            None => bytes.push(0),
            Some(name) => {
                bytes.extend([1, u8::try_from(name.len()).unwrap()]);
                bytes.extend(name.as_bytes());
            }
        }
        bytes.extend([3, 4, 0x13, 2, 3, 7, 7, 7, 1]);
        match chain {
            None => bytes.push(0),
            Some(chain) => {
                let with_length = |bytes: &[u8]| {
                    let len = u32::try_from(bytes.len()).unwrap().to_be_bytes();
                    [&len[1..], bytes].concat()
                };
                let chain: Vec<u8> = chain.iter().flat_map(|der| with_length(der)).collect();
                bytes.push(1);
                bytes.extend(with_length(&chain));
            }
        }
        bytes.extend([0, 0, 0, 9, 9, 9]);
        bytes
    }

    #[test]
    fn the_name_and_the_earliest_end_of_the_clients_certificates_are_read() {
        // `date -u -d 2049-02-03 +%s`: UTCTime; from 2050 on it is GeneralizedTime.
        let ends = [
            (2049, 2_495_923_200),
            (2050, 2_527_459_200),
            (2031, 1_927_843_200),
        ];
        for (year, end) in ends {
            let chain = [certificate(year)];
            let bytes = session(Some("a.example"), Some(&chain));
            let wanted = Session {
                server_name: Some("a.example"),
                client_until: end,
            };
            assert_eq!(Session::read(&bytes), Some(wanted));
        }
        let chain = [2049, 2031, 2050].map(certificate);
        let read = session(None, Some(&chain));
        let wanted = Session {
            server_name: None,
            client_until: 1_927_843_200,
        };
        assert_eq!(Session::read(&read), Some(wanted));
        let none = session(None, None);
        let wanted = Session {
            server_name: None,
            client_until: u64::MAX,
        };
        assert_eq!(Session::read(&none), Some(wanted));
    }

    #[test]
    fn what_is_cut_short_or_no_certificate_is_no_session() {
        let chain = [certificate(2049)];
        let bytes = session(Some("a.example"), Some(&chain));
        for len in 0..bytes.len() - 6 {
            assert_eq!(Session::read(&bytes[..len]), None, "{len} bytes");
        }
        assert_eq!(Session::read(&session(None, Some(&[vec![0x30, 0]]))), None);
        assert_eq!(Session::read(&session(None, Some(&[vec![]]))), None);
    }
}
