//! HKDF (RFC 5869) by [`HmacKey`], which hashes its key once.
//!
//! A handshake without a pre-shared key starts from constants (RFC 8446, section 7.1), which are
//! computed once per process:
//! ```text
//!   early   = Extract(0, 0)                      its expander
//!   derived = Derive-Secret(early, "derived", "")  the salt of the next Extract
//! ```
//! With SHA-384 values are derived side by side before they are asked for (see [`ahead`]).

use std::sync::OnceLock;

use rustls::crypto::hmac::Tag;
use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock, OutputLengthError};
use spinlane_cryptodev::Wiped;
use spinlane_cryptodev::digest::{Digest, HmacKey, MAX_DIGEST_LEN};

use super::ahead::{self, Group};
use super::label::{Info, Label};
use super::store::{self, Known, Traffic, same};

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
    /// With zeros for its key.
    zeros: HmacKey,
    early: HmacKey,
    /// The hash of nothing.
    empty: [u8; MAX_DIGEST_LEN],
    derived: [u8; MAX_DIGEST_LEN],
    /// With `derived` for its key.
    salt: HmacKey,
}

/// A pseudo-random key.
enum Expander {
    Key(HmacKey),
    /// That of [`Constants::early`].
    Early(&'static Constants),
    /// One of SHA-384's, which derives a group of values at once.
    Group(HmacKey, OnceLock<Box<Group>>),
    /// One whose values are known.
    Traffic(Wiped<{ ahead::LEN }>, Traffic),
}

impl Constants {
    fn new(digest: Digest) -> Self {
        let len = digest.len();
        let (mut early, mut empty, mut derived) = (
            [0; MAX_DIGEST_LEN],
            [0; MAX_DIGEST_LEN],
            [0; MAX_DIGEST_LEN],
        );
        let zeros = HmacKey::new(digest, &ZEROS[..len]);
        zeros.sign(&[&ZEROS[..len]], &mut early);
        let early = HmacKey::new(digest, &early[..len]);
        digest.hash(&[], &mut empty);
        let info = Info::new(len, b"derived", &empty[..len]);
        early.sign(&[&info], &mut derived);
        Self {
            salt: HmacKey::new(digest, &derived[..len]),
            zeros,
            early,
            empty,
            derived,
        }
    }

    /// The value that `label` asks for, if it is here; digests are `len` bytes long.
    fn find(&self, label: &Label<'_>, len: usize) -> Option<&[u8]> {
        let is_derived = label.label == b"derived" && label.context == &self.empty[..len];
        (is_derived && label.len == len).then_some(&self.derived[..len])
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
        let mut prk = Wiped::<MAX_DIGEST_LEN>::ZEROS;
        let constants = self.lasting().constants();
        match salt {
            None => constants.zeros.sign(&[secret], &mut *prk),
            Some(salt) if same(salt, &constants.derived[..len]) => {
                constants.salt.sign(&[secret], &mut *prk);
            }
            Some(salt) => {
                self.hmac_key(salt).sign(&[secret], &mut *prk);
            }
        }
        HmacKey::new(self.digest, &prk[..len])
    }

    /// What was derived from `secret` ahead.
    fn known(&self, secret: &[u8]) -> Option<Known> {
        match self.digest {
            Digest::Sha384 => store::get(secret.try_into().ok()?),
            Digest::Sha256 | Digest::Sha512 => None,
        }
    }

    fn hmac_key(&self, key: &[u8]) -> HmacKey {
        match self.known(key) {
            Some(Known::Key(key)) => key,
            _ => HmacKey::new(self.digest, key),
        }
    }

    fn extracted(&self, key: HmacKey) -> Box<dyn HkdfExpander> {
        Box::new(match self.digest {
            Digest::Sha384 => Expander::Group(key, OnceLock::new()),
            Digest::Sha256 | Digest::Sha512 => Expander::Key(key),
        })
    }
}

impl Hkdf for MidStateHkdf {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        let Some(salt) = salt else {
            return Box::new(Expander::Early(self.lasting().constants()));
        };
        match self.known(salt) {
            Some(Known::Extracted(key)) => self.extracted(key),
            _ => self.extract_from_secret(Some(salt), &ZEROS[..self.digest.len()]),
        }
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        self.extracted(self.extract(salt, secret))
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        let secret = okm.as_ref();
        Box::new(match (self.known(secret), secret.try_into()) {
            (Some(Known::Traffic(traffic)), Ok(secret)) => {
                Expander::Traffic(Wiped::new(secret), traffic)
            }
            (Some(Known::Key(key)), _) => Expander::Key(key),
            _ => Expander::Key(HmacKey::new(self.digest, secret)),
        })
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> Tag {
        let mut tag = Wiped::<MAX_DIGEST_LEN>::ZEROS;
        self.hmac_key(key.as_ref()).sign(&[message], &mut *tag);
        Tag::new(&tag[..self.digest.len()])
    }
}

impl HkdfExpander for Expander {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        let len = self.hash_len();
        if output.len() > 255 * len {
            return Err(OutputLengthError);
        }
        if let Some(value) = self.known(info)
            && value.len() == output.len()
        {
            output.copy_from_slice(value);
            return Ok(());
        }
        let mut block = Wiped::<MAX_DIGEST_LEN>::ZEROS;
        for (number, chunk) in (1..=255u8).zip(output.chunks_mut(len)) {
            let previous = if number == 1 { 0 } else { len };
            let before = block.clone();
            self.sign(&before[..previous], info, number, &mut block);
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(())
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        if let Some(value) = self.known(info) {
            return OkmBlock::new(value);
        }
        let mut block = Wiped::<MAX_DIGEST_LEN>::ZEROS;
        self.sign(&[], info, 1, &mut block);
        OkmBlock::new(&block[..self.hash_len()])
    }

    fn hash_len(&self) -> usize {
        match self {
            Self::Key(key) | Self::Group(key, _) => key.digest().len(),
            Self::Early(constants) => constants.early.digest().len(),
            Self::Traffic(..) => ahead::LEN,
        }
    }
}

impl Expander {
    /// What `info` asks for, if it need not be computed, or is the first of a group.
    fn known(&self, info: &[&[u8]]) -> Option<&[u8]> {
        let label = Label::parse(info)?;
        match self {
            Self::Key(_) => None,
            Self::Early(constants) => constants.find(&label, self.hash_len()),
            Self::Traffic(_, traffic) => traffic.find(&label),
            Self::Group(key, group) => {
                if group.get().is_none() {
                    let empty = HKDF_SHA384.constants().empty.first_chunk()?;
                    // Set by now: another thread was faster, with the same values.
                    let _ = group.set(Box::new(ahead::derive(key, &label, empty)?));
                }
                group.get()?.find(&label)
            }
        }
    }

    /// T(number) of RFC 5869, section 2.3.
    fn sign(&self, previous: &[u8], info: &[&[u8]], number: u8, out: &mut [u8; MAX_DIGEST_LEN]) {
        let key = match self {
            Self::Key(key) | Self::Group(key, _) => key,
            Self::Early(constants) => &constants.early,
            Self::Traffic(secret, _) => &HmacKey::new(Digest::Sha384, &secret[..]),
        };
        let number = [number];
        if info.len() > MAX_PARTS {
            let mut all = vec![previous];
            all.extend(info);
            all.push(&number);
            return key.sign(&all, out);
        }
        let mut parts: [&[u8]; MAX_PARTS + 2] = [&[]; MAX_PARTS + 2];
        parts[0] = previous;
        parts[1..=info.len()].copy_from_slice(info);
        parts[info.len() + 1] = &number;
        key.sign(&parts[..info.len() + 2], out);
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384,
    };

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
            let empty = &constants.empty[..len];
            for (label, context) in [("derived", empty), ("derived", b""), ("other", empty)] {
                assert_eq!(
                    expand(&*shortcut, label, context, len),
                    expand(&*long_way, label, context, len)
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

    /// HKDF-Expand-Label as rustls calls it.
    fn expand(expander: &dyn HkdfExpander, label: &str, context: &[u8], len: usize) -> Vec<u8> {
        let label_len = [6 + label.len() as u8];
        let info = [
            &(len as u16).to_be_bytes()[..],
            &label_len,
            b"tls13 ",
            label.as_bytes(),
            &[context.len() as u8],
            context,
        ];
        if len == expander.hash_len() {
            return expander.expand_block(&info).as_ref().to_vec();
        }
        let mut out = vec![0; len];
        expander.expand_slice(&info, &mut out).unwrap();
        out
    }

    /// What a handshake derives, in rustls' order.
    fn key_schedule(hkdf: &dyn Hkdf, psk: Option<&[u8]>, key_len: usize) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        let mut early = hkdf.extract_from_zero_ikm(None);
        let len = early.hash_len();
        let empty = match len {
            32 => Digest::Sha256,
            _ => Digest::Sha384,
        };
        let mut hash = [0; MAX_DIGEST_LEN];
        empty.hash(&[], &mut hash);
        let empty = &hash[..len];
        let traffic = |secret: &[u8], seen: &mut Vec<Vec<u8>>| {
            let expander = hkdf.expander_for_okm(&OkmBlock::new(secret));
            seen.push(expand(&*expander, "key", b"", key_len));
            seen.push(expand(&*expander, "iv", b"", 12));
        };
        let finished = |secret: &[u8], seen: &mut Vec<Vec<u8>>| {
            let expander = hkdf.expander_for_okm(&OkmBlock::new(secret));
            let key = expand(&*expander, "finished", b"", len);
            let tag = hkdf.hmac_sign(&OkmBlock::new(&key), &[5; 48][..len]);
            seen.push(tag.as_ref().to_vec());
        };
        if let Some(psk) = psk {
            early = hkdf.extract_from_secret(None, psk);
            finished(&expand(&*early, "res binder", empty, len), &mut seen);
        }
        let salt = expand(&*early, "derived", empty, len);
        let handshake = hkdf.extract_from_secret(Some(&salt), &[9; 32]);
        let client = expand(&*handshake, "c hs traffic", &[1; 48][..len], len);
        let server = expand(&*handshake, "s hs traffic", &[1; 48][..len], len);
        traffic(&server, &mut seen);
        finished(&server, &mut seen);
        let salt = expand(&*handshake, "derived", empty, len);
        let master = hkdf.extract_from_zero_ikm(Some(&salt));
        let context = &[2; 48][..len];
        let [c, s, exporter] = ["c ap traffic", "s ap traffic", "exp master"]
            .map(|label| expand(&*master, label, context, len));
        traffic(&s, &mut seen);
        traffic(&client, &mut seen);
        finished(&client, &mut seen);
        traffic(&c, &mut seen);
        // Once more than it is in store, and what is in no group.
        traffic(&c, &mut seen);
        seen.push(expand(&*master, "res master", &[3; 48][..len], len));
        seen.push(expand(&*master, "s ap traffic", &[3; 48][..len], len));
        seen.extend([salt, client, server, c, s, exporter]);
        seen
    }

    #[test]
    fn the_key_schedule_is_the_stock_one_and_leaves_nothing_behind() {
        let stock = |suite: rustls::SupportedCipherSuite| suite.tls13().unwrap().hkdf_provider;
        for (digest, suite, key_len) in [
            (Digest::Sha256, stock(TLS13_AES_128_GCM_SHA256), 16),
            (Digest::Sha384, stock(TLS13_AES_256_GCM_SHA384), 32),
        ] {
            for psk in [None, Some(&[8; 48][..digest.len()])] {
                assert_eq!(
                    key_schedule(hkdf(digest), psk, key_len),
                    key_schedule(suite, psk, key_len)
                );
                assert_eq!(store::len(), 0);
            }
        }
    }

    #[test]
    fn too_long_an_output_is_refused() {
        let expander = hkdf(Digest::Sha256).expander_for_okm(&OkmBlock::new(&[7; 32]));
        assert!(expander.expand_slice(&[], &mut [0; 255 * 32]).is_ok());
        assert!(expander.expand_slice(&[], &mut [0; 255 * 32 + 1]).is_err());
    }
}
