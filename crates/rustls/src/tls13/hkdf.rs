//! HKDF (RFC 5869) by [`HmacKey`], which hashes its key once.
//!
//! A handshake without a pre-shared key starts from constants (RFC 8446, section 7.1), which are
//! computed once per process:
//! ```text
//!   early   = Extract(0, 0)                      its expander
//!   derived = Derive-Secret(early, "derived", "")  the salt of the next Extract
//! ```

use std::sync::OnceLock;

use rustls::crypto::hmac::Tag;
use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock, OutputLengthError};
use spinlane_cryptodev::digest::{Digest, HmacKey, MAX_DIGEST_LEN};
use zeroize::Zeroizing;

pub(super) static HKDF_SHA256: MidStateHkdf = MidStateHkdf::new(Digest::Sha256);
pub(super) static HKDF_SHA384: MidStateHkdf = MidStateHkdf::new(Digest::Sha384);

const ZEROS: [u8; MAX_DIGEST_LEN] = [0; MAX_DIGEST_LEN];
/// Parts of an info that are hashed where they lie; rustls' labels have six.
const MAX_PARTS: usize = 8;

/// HKDF over one digest.
pub(super) struct MidStateHkdf {
    digest: Digest,
    constants: OnceLock<Constants>,
}

/// What every handshake without a pre-shared key derives first.
struct Constants {
    early: HmacKey,
    /// HkdfLabel of "derived" over the hash of nothing.
    info: Vec<u8>,
    derived: [u8; MAX_DIGEST_LEN],
    /// With `derived` for its key.
    salt: HmacKey,
}

/// A pseudo-random key.
struct Expander {
    key: HmacKey,
    /// Set if the key is that of [`Constants::early`].
    constants: Option<&'static Constants>,
}

impl Constants {
    fn new(digest: Digest) -> Self {
        let len = digest.len();
        let (mut early, mut empty, mut derived) = (
            [0; MAX_DIGEST_LEN],
            [0; MAX_DIGEST_LEN],
            [0; MAX_DIGEST_LEN],
        );
        HmacKey::new(digest, &ZEROS[..len]).sign(&[&ZEROS[..len]], &mut early);
        let early = HmacKey::new(digest, &early[..len]);
        digest.hash(&[], &mut empty);
        // Digests are at most 64 bytes long.
        let len_byte = len as u8;
        let info = [
            &[0, len_byte, 13][..],
            b"tls13 derived",
            &[len_byte],
            &empty[..len],
        ]
        .concat();
        early.sign(&[&info, &[1]], &mut derived);
        Self {
            salt: HmacKey::new(digest, &derived[..len]),
            early,
            info,
            derived,
        }
    }
}

impl MidStateHkdf {
    const fn new(digest: Digest) -> Self {
        Self {
            digest,
            constants: OnceLock::new(),
        }
    }

    fn constants(&'static self) -> &'static Constants {
        self.constants.get_or_init(|| Constants::new(self.digest))
    }

    /// The static that `self` is, as rustls lends it for a shorter time only.
    fn lasting(&self) -> &'static Self {
        match self.digest {
            Digest::Sha384 => &HKDF_SHA384,
            Digest::Sha256 | Digest::Sha512 => &HKDF_SHA256,
        }
    }

    fn extract(&self, salt: Option<&[u8]>, secret: &[u8]) -> HmacKey {
        let len = self.digest.len();
        let mut prk = Zeroizing::new([0; MAX_DIGEST_LEN]);
        let constants = self.lasting().constants();
        match salt {
            Some(salt) if same(salt, &constants.derived[..len]) => {
                constants.salt.sign(&[secret], &mut *prk);
            }
            salt => {
                HmacKey::new(self.digest, salt.unwrap_or(&ZEROS[..len])).sign(&[secret], &mut *prk)
            }
        }
        HmacKey::new(self.digest, &prk[..len])
    }
}

impl Hkdf for MidStateHkdf {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        if salt.is_none() {
            let constants = self.lasting().constants();
            return Box::new(Expander {
                key: constants.early.clone(),
                constants: Some(constants),
            });
        }
        self.extract_from_secret(salt, &ZEROS[..self.digest.len()])
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        Box::new(Expander {
            key: self.extract(salt, secret),
            constants: None,
        })
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        Box::new(Expander {
            key: HmacKey::new(self.digest, okm.as_ref()),
            constants: None,
        })
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> Tag {
        let mut tag = Zeroizing::new([0; MAX_DIGEST_LEN]);
        HmacKey::new(self.digest, key.as_ref()).sign(&[message], &mut *tag);
        Tag::new(&tag[..self.digest.len()])
    }
}

impl HkdfExpander for Expander {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        let len = self.hash_len();
        if output.len() > 255 * len {
            return Err(OutputLengthError);
        }
        let mut block = Zeroizing::new([0; MAX_DIGEST_LEN]);
        for (number, chunk) in (1..=255u8).zip(output.chunks_mut(len)) {
            let previous = if number == 1 { 0 } else { len };
            let before = *block;
            self.sign(&before[..previous], info, number, &mut block);
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(())
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        if let Some(constants) = self.constants
            && is_concat(info, &constants.info)
        {
            return OkmBlock::new(&constants.derived[..self.hash_len()]);
        }
        let mut block = Zeroizing::new([0; MAX_DIGEST_LEN]);
        self.sign(&[], info, 1, &mut block);
        OkmBlock::new(&block[..self.hash_len()])
    }

    fn hash_len(&self) -> usize {
        self.key.digest().len()
    }
}

impl Expander {
    /// T(number) of RFC 5869, section 2.3.
    fn sign(&self, previous: &[u8], info: &[&[u8]], number: u8, out: &mut [u8; MAX_DIGEST_LEN]) {
        let number = [number];
        if info.len() > MAX_PARTS {
            let info = Zeroizing::new(info.concat());
            return self.key.sign(&[previous, &info, &number], out);
        }
        let mut parts: [&[u8]; MAX_PARTS + 2] = [&[]; MAX_PARTS + 2];
        parts[0] = previous;
        parts[1..=info.len()].copy_from_slice(info);
        parts[info.len() + 1] = &number;
        self.key.sign(&parts[..info.len() + 2], out);
    }
}

/// Whether both are the same; takes as long whatever they hold, as one may be secret.
fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |seen, (a, b)| seen | (a ^ b));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

/// Whether `parts` in a row are `whole`. Neither is secret.
fn is_concat(parts: &[&[u8]], mut whole: &[u8]) -> bool {
    let all = parts.iter().all(|part| {
        whole.strip_prefix(*part).is_some_and(|rest| {
            whole = rest;
            true
        })
    });
    all && whole.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hkdf(digest: Digest) -> &'static MidStateHkdf {
        match digest {
            Digest::Sha384 => &HKDF_SHA384,
            Digest::Sha256 | Digest::Sha512 => &HKDF_SHA256,
        }
    }

    /// RFC 5869, appendix A.1 and A.2, which ask for one block and for several.
    #[test]
    fn rfc_5869() {
        let hex = |text: &str| -> Vec<u8> {
            let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
            (0..text.len()).step_by(2).map(byte).collect()
        };
        let range = |from: u8, to: u8| (from..=to).collect::<Vec<_>>();
        for (ikm, salt, info, okm) in [
            (
                vec![0x0b; 22],
                range(0x00, 0x0c),
                range(0xf0, 0xf9),
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
            ),
            (
                range(0x00, 0x4f),
                range(0x60, 0xaf),
                range(0xb0, 0xff),
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c\
                 59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71\
                 cc30c58179ec3e87c14c01d5c1f3434f1d87",
            ),
        ] {
            let okm = hex(&okm.replace(' ', ""));
            let expander = hkdf(Digest::Sha256).extract_from_secret(Some(&salt), &ikm);
            // In few parts, in as many as fit, and in more.
            for size in [info.len(), info.len().div_ceil(MAX_PARTS), 1] {
                let parts: Vec<&[u8]> = info.chunks(size).collect();
                let mut out = vec![0; okm.len()];
                expander.expand_slice(&parts, &mut out).unwrap();
                assert_eq!(out, okm);
                assert_eq!(expander.expand_block(&parts).as_ref(), &okm[..32]);
            }
        }
    }

    #[test]
    fn constants_are_what_they_stand_for() {
        for digest in [Digest::Sha256, Digest::Sha384] {
            let len = digest.len();
            let hkdf = hkdf(digest);
            let constants = hkdf.constants();
            let shortcut = hkdf.extract_from_zero_ikm(None);
            let long_way = hkdf.extract_from_secret(Some(&ZEROS[..len]), &ZEROS[..len]);
            for info in [&constants.info[..], &constants.info[1..], b"other", b""] {
                let (head, tail) = info.split_at(info.len() / 2);
                let info = [head, &[], tail];
                assert_eq!(
                    shortcut.expand_block(&info).as_ref(),
                    long_way.expand_block(&info).as_ref()
                );
            }
            let salt = &constants.derived[..len];
            let secret = hkdf.extract_from_secret(Some(salt), b"secret");
            let mut prk = [0; MAX_DIGEST_LEN];
            HmacKey::new(digest, salt).sign(&[b"secret"], &mut prk);
            let okm = hkdf.expander_for_okm(&OkmBlock::new(&prk[..len]));
            assert_eq!(
                secret.expand_block(&[b"x"]).as_ref(),
                okm.expand_block(&[b"x"]).as_ref()
            );
        }
    }

    #[test]
    fn too_long_an_output_is_refused() {
        let expander = hkdf(Digest::Sha256).expander_for_okm(&OkmBlock::new(&[7; 32]));
        assert!(expander.expand_slice(&[], &mut [0; 255 * 32]).is_ok());
        assert!(expander.expand_slice(&[], &mut [0; 255 * 32 + 1]).is_err());
    }
}
