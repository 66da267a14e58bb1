//! Values as flags and the configuration file give them: each kind has one parser, [`FromStr`], for both.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use spinlane::openssl::Protocol;
use spinlane::pkcs11::uri::{Uri, UriError};

use crate::cores::Cores;

/// A time, in seconds from 0.001 to 1000000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub Duration);

impl Seconds {
    /// In nanoseconds, as the cores count.
    pub fn ns(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Seconds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seconds = text
            .parse::<f64>()
            .ok()
            .filter(|seconds| (0.001..=1e6).contains(seconds));
        let seconds = seconds.ok_or("not a time; give seconds from 0.001 to 1000000, e.g. 10")?;
        Ok(Self(Duration::from_secs_f64(seconds)))
    }
}

/// A time of at least a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation(pub Duration);

impl FromStr for Rotation {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Seconds(time) = text.parse()?;
        match time < Duration::from_secs(1) {
            true => Err("too often; give at least 1 second"),
            false => Ok(Self(time)),
        }
    }
}

/// A number from `LEAST` to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number<const LEAST: u64, const MOST: u64>(u64);

impl<const LEAST: u64, const MOST: u64> Number<LEAST, MOST> {
    /// As a count.
    pub fn get(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const LEAST: u64, const MOST: u64> FromStr for Number<LEAST, MOST> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.parse().ok();
        let number = number.filter(|number| (LEAST..=MOST).contains(number));
        let number = number.ok_or_else(|| format!("not a number in {LEAST}..={MOST}"))?;
        Ok(Self(number))
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub Protocol);

impl FromStr for Version {
    type Err = &'static str;

    fn from_str(version: &str) -> Result<Self, Self::Err> {
        match version {
            "1.2" => Ok(Self(Protocol::Tls12)),
            "1.3" => Ok(Self(Protocol::Tls13)),
            _ => Err("not a version served here; there are: 1.2, 1.3"),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Protocol::Tls12 => "1.2",
            Protocol::Tls13 => "1.3",
        })
    }
}

/// Where a private key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In a file.
    File(PathBuf),
    /// On a token.
    Token(Uri),
}

impl FromStr for KeySource {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        match text.starts_with("pkcs11:") {
            true => text.parse().map(Self::Token),
            false => Ok(Self::File(text.into())),
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Token(uri) => uri.fmt(f),
        }
    }
}

/// A network of addresses, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net(IpNet);

impl Net {
    /// Whether `address` is in it; one of IPv4 also as it is seen at a socket of both families.
    pub fn has(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Net {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let alone = || text.parse::<IpAddr>().map(IpNet::from);
        let net = text.parse::<IpNet>().or_else(|_| alone());
        net.map(Self)
            .map_err(|_| "not a network; write e.g. 10.0.0.0/8, fd00::/8 or 10.0.0.1")
    }
}

/// Reads what a file gives as a text or a number by the parser of its type.
struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Text<T> {
    fn parse<E: Error>(text: &str) -> Result<T, E> {
        text.parse()
            .map_err(|error| E::custom(format!("{text}: {error:#}")))
    }
}

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Self::parse(text)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        Self::parse(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        Self::parse(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        Self::parse(&number.to_string())
    }
}

/// For `deserialize_with` where the type is not ours.
///
/// # Errors
/// What the type's parser says.
pub fn text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    from: D,
) -> Result<T, D::Error> {
    from.deserialize_any(Text(PhantomData))
}

/// A list of such texts.
struct Texts<T>(PhantomData<T>);

/// One item of a list.
struct Item<T>(T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text(from).map(Item)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for Texts<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or a list of them")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Vec<T>, E> {
        Text::parse(text).map(|one| vec![one])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(Item(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(all)
    }
}

/// For `deserialize_with`: a list, or one item in its place, as a flag may be given once or several times.
///
/// # Errors
/// What the type's parser says.
pub fn texts<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    from.deserialize_any(Texts(PhantomData))
}

macro_rules! from_text {
    ($($type:ty),*) => {
        $(impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                text(from)
            }
        })*
    };
}

from_text!(Seconds, Rotation, Version, KeySource, Cores);

impl<'de, const LEAST: u64, const MOST: u64> Deserialize<'de> for Number<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        text(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds() {
        let seconds = |text: &str| text.parse::<Seconds>().map(|Seconds(time)| time);
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        for text in ["0", "-1", "x", "1e9", "nan"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!("0.5".parse::<Rotation>().is_err());
    }

    #[test]
    fn networks_have_addresses() {
        let has = |net: &str, ip: &str| net.parse::<Net>().unwrap().has(ip.parse().unwrap());
        assert!(has("10.0.0.0/8", "10.1.2.3") && has("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(has("::1", "::1") && !has("::1", "::2") && !has("10.0.0.0/8", "11.0.0.1"));
        assert!("10.0.0/8".parse::<Net>().is_err());
    }

    #[test]
    fn numbers_have_bounds() {
        type Few = Number<1, 16>;
        assert_eq!("16".parse::<Few>().unwrap().get(), 16);
        for text in ["0", "17", "-1", "x", "1.5"] {
            let error = text.parse::<Few>().unwrap_err();
            assert!(error.contains("1..=16"), "{text}: {error}");
        }
    }
}
