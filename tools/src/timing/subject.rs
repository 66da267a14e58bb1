//! What is searched: how an input of a class is made, and what is timed.
//!
//! An input is made by the same steps for both classes, with a mask: two ways of writing an input leave different traces in
//! store buffers and caches, and the search would find these. For the same reason no key lies at a place of its own. So RSA
//! keys are not searched here, whose numbers are prepared once per key, but beside the lanes (`rsa52/src/timing.rs`).

mod ops;
mod padding;
mod record;

use std::hint::black_box;

use anyhow::Result;
use spinlane::crypto::aead::Algorithm;

/// Something that is timed.
pub trait Subject {
    /// Name of what computes.
    fn device(&self) -> &str;
    /// Makes an input: of the random class if `mask` is all ones, of the fixed one if it is 0.
    fn prepare(&mut self, random: &mut Random, mask: u8) -> Result<()>;
    /// Computes. The part that is timed.
    fn run(&mut self) -> Result<()>;
    /// The class that the last measurement turned out to be of, where an input cannot be chosen.
    fn class(&mut self) -> Result<Option<bool>> {
        Ok(None)
    }
}

/// What can be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RSA-2048: one message against others.
    RsaMessage,
    /// ECDSA on P-256: one key against others.
    EcdsaKey,
    /// ECDSA on P-256: nonces of 256 bits against shorter ones.
    EcdsaNonce,
    /// X25519 public keys: one scalar against others.
    X25519Keygen,
    /// X25519 secrets: one scalar against others.
    X25519Derive,
    /// ML-KEM-768 decapsulation: one secret vector against others, which reject.
    MlKemKey,
    /// ML-KEM-768 decapsulation: a right ciphertext against false ones.
    MlKemCiphertext,
    /// PKCS#1 v1.5: right padding against wrong, messages of the same length.
    Pkcs1,
    /// A premaster secret's padding and version: right against wrong.
    Premaster,
    /// Opening a record: a tag that is wrong at its end against wrong ones.
    Tag(Algorithm),
    /// A comparison that ends at the first difference: what a leak looks like.
    NaiveComparison,
}

impl Kind {
    /// All, in the order of the report.
    pub const ALL: [Self; 13] = [
        Self::RsaMessage,
        Self::EcdsaKey,
        Self::EcdsaNonce,
        Self::X25519Keygen,
        Self::X25519Derive,
        Self::MlKemKey,
        Self::MlKemCiphertext,
        Self::Pkcs1,
        Self::Premaster,
        Self::Tag(Algorithm::Aes128Gcm),
        Self::Tag(Algorithm::Aes256Gcm),
        Self::Tag(Algorithm::ChaCha20Poly1305),
        Self::NaiveComparison,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::RsaMessage => "rsa2048-message",
            Self::EcdsaKey => "ecdsa-p256-key",
            Self::EcdsaNonce => "ecdsa-p256-nonce",
            Self::X25519Keygen => "x25519-keygen-scalar",
            Self::X25519Derive => "x25519-derive-scalar",
            Self::MlKemKey => "ml-kem-768-key",
            Self::MlKemCiphertext => "ml-kem-768-ciphertext",
            Self::Pkcs1 => "pkcs1-v1.5-padding",
            Self::Premaster => "premaster-padding",
            Self::Tag(Algorithm::Aes128Gcm) => "aes-128-gcm-tag",
            Self::Tag(Algorithm::Aes256Gcm) => "aes-256-gcm-tag",
            Self::Tag(Algorithm::ChaCha20Poly1305) => "chacha20-poly1305-tag",
            Self::NaiveComparison => "naive-comparison",
        }
    }

    /// Opens `device`, where a device takes part, for `burst` operations at a time.
    ///
    /// # Errors
    /// The device cannot be had, or does not have the operation.
    pub fn open(self, device: &str, burst: usize) -> Result<Box<dyn Subject>> {
        Ok(match self {
            Self::Pkcs1 => Box::new(padding::Pkcs1::new()?),
            Self::Premaster => Box::new(padding::Premaster::new()),
            Self::Tag(algorithm) => Box::new(record::Opening::new(algorithm)?),
            Self::NaiveComparison => Box::new(Naive::default()),
            of_device => Box::new(ops::Ops::new(of_device, device, burst)?),
        })
    }
}

/// xorshift64*: the classes must not be told apart by their order.
pub struct Random(u64);

impl Random {
    /// Numbers of their own for every piece of a search.
    pub fn new() -> Self {
        let mut seed = [0; 8];
        spinlane::crypto::random::fill(&mut seed);
        Self(u64::from_le_bytes(seed) | 1)
    }

    /// The next number.
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    /// Fills `to`.
    pub fn fill(&mut self, to: &mut [u8]) {
        for chunk in to.chunks_mut(7) {
            let word = self.word().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

/// Makes `to` random where the mask is all ones, else `fixed`; does both.
fn choose(to: &mut [u8], random: &mut Random, mask: u8, fixed: &[u8]) {
    random.fill(to);
    for (to, fixed) in to.iter_mut().zip(fixed) {
        *to = *to & mask | fixed & !mask;
    }
}

/// What `Kind::NaiveComparison` compares.
struct Naive {
    ours: [u8; 256],
    theirs: [u8; 256],
}

impl Default for Naive {
    fn default() -> Self {
        Self {
            ours: [7; 256],
            theirs: [7; 256],
        }
    }
}

impl Subject for Naive {
    fn device(&self) -> &str {
        "none"
    }

    fn prepare(&mut self, random: &mut Random, mask: u8) -> Result<()> {
        choose(&mut self.theirs, random, mask, &self.ours);
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let mut pairs = self.ours.iter().zip(&self.theirs);
        black_box(pairs.all(|(a, b)| black_box(a) == black_box(b)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_fixed_or_random() {
        let (mut random, fixed) = (Random::new(), [5; 32]);
        let mut to = [0; 32];
        choose(&mut to, &mut random, 0, &fixed);
        assert_eq!(to, fixed);
        choose(&mut to, &mut random, 0xff, &fixed);
        assert_ne!(to, fixed);
    }

    /// Each does in both classes what it is to do: subjects check their results.
    #[test]
    fn every_subject_runs_in_both_classes() {
        for kind in Kind::ALL {
            let mut subject = kind.open("soft", 2).unwrap();
            let mut random = Random::new();
            for mask in [0, 0xff, 0, 0xff] {
                subject.prepare(&mut random, mask).unwrap();
                subject
                    .run()
                    .unwrap_or_else(|error| panic!("{}: {error:#}", kind.name()));
                let known = subject.class().unwrap();
                assert_eq!(known.is_some(), kind == Kind::EcdsaNonce);
            }
        }
    }
}
