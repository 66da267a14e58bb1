//! Keys for tests and speed measurements (feature `test-keys`). Their private parts are public:
//! protect nothing with them.

use crate::key::{EcP256Key, EcP384Key, Ed25519Key, Key, RsaComponents, RsaKey};

/// PKCS#1 encodings, all with e = 65537 unless named otherwise.
pub mod der {
    /// 2048 bits.
    pub const RSA_2048: &[u8] = include_bytes!("test_keys/rsa2048.der");
    /// Another of 2048 bits.
    pub const RSA_2048_OTHER: &[u8] = include_bytes!("test_keys/rsa2048-other.der");
    /// The other with its primes exchanged, so that p is the smaller one.
    pub const RSA_2048_P_BELOW_Q: &[u8] = include_bytes!("test_keys/rsa2048-p-below-q.der");
    /// 2048 bits, e = 3.
    pub const RSA_2048_E3: &[u8] = include_bytes!("test_keys/rsa2048-e3.der");
    /// 3072 bits.
    pub const RSA_3072: &[u8] = include_bytes!("test_keys/rsa3072.der");
    /// 4096 bits.
    pub const RSA_4096: &[u8] = include_bytes!("test_keys/rsa4096.der");
}

/// Returns the key encoded in `der`, one of [`der`].
///
/// # Panics
/// If it is not.
pub fn rsa(der: &[u8]) -> Key {
    let key = RsaKey::from_components(&components(der)).expect("a test key is a key");
    Key::Rsa(key)
}

/// Returns a P-256 key, another for each `seed`.
pub fn p256(seed: u8) -> Key {
    let mut scalar = [0x5c; 32];
    scalar[31] = seed;
    Key::EcP256(EcP256Key::from_scalar(&scalar).expect("far below the order"))
}

/// Returns a P-384 key, another for each `seed`.
pub fn p384(seed: u8) -> Key {
    let mut scalar = [0x5c; 48];
    scalar[47] = seed;
    Key::EcP384(EcP384Key::from_scalar(&scalar).expect("far below the order"))
}

/// Returns an Ed25519 key, another for each `seed`.
pub fn ed25519(seed: u8) -> Key {
    Key::Ed25519(Ed25519Key::from_seed(&[seed; 32]))
}

/// Returns the numbers of an RSAPrivateKey (RFC 8017, appendix A.1.2).
///
/// # Panics
/// If `der` is not one.
pub fn components(der: &[u8]) -> RsaComponents<'_> {
    let (mut body, rest) = element(der, 0x30);
    assert!(rest.is_empty(), "something follows the key");
    let mut integer = || {
        let value;
        (value, body) = element(body, 0x02);
        value
    };
    assert_eq!(integer(), [0], "version");
    RsaComponents {
        n: integer(),
        e: integer(),
        d: integer(),
        p: integer(),
        q: integer(),
        dp: integer(),
        dq: integer(),
        qinv: integer(),
    }
}

/// Returns the content of the DER element with this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> (&[u8], &[u8]) {
    assert_eq!(der[0], tag, "tag");
    let (len, content) = match der[1] {
        0x81 => (usize::from(der[2]), &der[3..]),
        0x82 => (usize::from(der[2]) << 8 | usize::from(der[3]), &der[4..]),
        short => (usize::from(short), &der[2..]),
    };
    content.split_at(len)
}
