//! A queue pair under one kind of op and one burst.

use std::cell::OnceCell;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use spinlane::crypto::{EcP256Key, EcP384Key, Ed25519Key, Key, RsaComponents, RsaKey, mlkem};
use spinlane::cryptodev::{
    Burst, Device, DeviceStats, KeyHandle, Op, OpKind, OpStatus, QueuePair, QueuePairConfig,
    Request, Token,
};

use super::Side;
use crate::measure::{Stopwatch, histogram, thread_cpu_ns};

/// Polls of a queue pair that may bring nothing, before the device counts as stuck.
pub const MAX_EMPTY_POLLS: u32 = 10_000_000;

/// A key as the device wants it and as the peer does.
pub struct KeyPair {
    pub ours: Option<Arc<KeyHandle>>,
    /// `None` where OpenSSL is no peer.
    pub theirs: Option<PKey<Private>>,
}

/// One key pair per kind, made when it is needed: RSA keys take their time.
#[derive(Default)]
pub struct Keys([OnceCell<KeyPair>; OpKind::COUNT]);

impl Keys {
    /// The keys of `kind`.
    ///
    /// # Errors
    /// OpenSSL cannot make one.
    pub fn of(&self, kind: OpKind) -> Result<&KeyPair> {
        let cell = &self.0[kind.index()];
        if let Some(pair) = cell.get() {
            return Ok(pair);
        }
        let pair = KeyPair::generate(kind).with_context(|| format!("making a key for {kind}"))?;
        Ok(cell.get_or_init(|| pair))
    }
}

impl KeyPair {
    fn generate(kind: OpKind) -> Result<Self> {
        match kind {
            OpKind::Rsa2048 | OpKind::Rsa3072 | OpKind::Rsa4096 => {
                Self::rsa(kind.input_len() as u32 * 8)
            }
            OpKind::EcdsaP256
            | OpKind::EcdhP256Keygen
            | OpKind::EcdhP256Derive
            | OpKind::EcdhP256Exchange => Self::ec(Nid::X9_62_PRIME256V1, |scalar| {
                Ok(Key::EcP256(EcP256Key::from_scalar(scalar)?))
            }),
            OpKind::EcdsaP384
            | OpKind::EcdhP384Keygen
            | OpKind::EcdhP384Derive
            | OpKind::EcdhP384Exchange => Self::ec(Nid::SECP384R1, |scalar| {
                Ok(Key::EcP384(EcP384Key::from_scalar(scalar)?))
            }),
            OpKind::Ed25519 => {
                let theirs = PKey::generate_ed25519()?;
                let seed = theirs.raw_private_key()?;
                let ours = Ed25519Key::from_seed(seed.first_chunk().context("seed")?);
                Ok(Self {
                    ours: Some(KeyHandle::local(Key::Ed25519(ours))),
                    theirs: Some(theirs),
                })
            }
            OpKind::X25519Keygen | OpKind::X25519Derive | OpKind::X25519Exchange => Ok(Self {
                ours: None,
                theirs: Some(PKey::generate_x25519()?),
            }),
            OpKind::MlKem768Keygen | OpKind::MlKem768Encap | OpKind::MlKem768Decap => Ok(Self {
                ours: None,
                theirs: None,
            }),
        }
    }

    fn ec(curve: Nid, ours: impl Fn(&[u8]) -> Result<Key>) -> Result<Self> {
        let key = EcKey::generate(&*EcGroup::from_curve_name(curve)?)?;
        Ok(Self {
            ours: Some(KeyHandle::local(ours(&key.private_key().to_vec())?)),
            theirs: Some(PKey::from_ec_key(key)?),
        })
    }

    fn rsa(bits: u32) -> Result<Self> {
        let key = Rsa::generate(bits)?;
        let ours = rsa_key(&key)?;
        Ok(Self {
            ours: Some(KeyHandle::local(Key::Rsa(ours))),
            theirs: Some(PKey::from_rsa(key)?),
        })
    }
}

/// OpenSSL's key as ours.
///
/// # Errors
/// It has no CRT parameters, or its numbers are no key.
pub fn rsa_key(key: &Rsa<Private>) -> Result<RsaKey> {
    let missing = "a key without CRT parameters";
    Ok(RsaKey::from_components(&RsaComponents {
        n: &key.n().to_vec(),
        e: &key.e().to_vec(),
        d: &key.d().to_vec(),
        p: &key.p().context(missing)?.to_vec(),
        q: &key.q().context(missing)?.to_vec(),
        dp: &key.dmp1().context(missing)?.to_vec(),
        dq: &key.dmq1().context(missing)?.to_vec(),
        qinv: &key.iqmp().context(missing)?.to_vec(),
    })?)
}

/// ML-KEM-768's encapsulation and decapsulation key of a seed of this byte alone.
///
/// # Errors
/// The computation failed.
pub fn ml_kem_keys(
    seed: u8,
) -> Result<(
    [u8; mlkem::ENCAPSULATION_KEY],
    [u8; mlkem::DECAPSULATION_KEY],
)> {
    let mut public = [0; mlkem::ENCAPSULATION_KEY];
    let mut private = [0; mlkem::DECAPSULATION_KEY];
    let made = mlkem::generate(&[seed; mlkem::SEED], &mut public, &mut private);
    ensure!(made, "no key pair");
    Ok((public, private))
}

/// An input of `kind`: a block below any modulus, a digest or message, a scalar, or a scalar and a point,
/// which is the key's own: an ordinary one, as devices may treat the base point apart. Of ML-KEM a seed, or a key and what
/// goes with it.
///
/// # Errors
/// OpenSSL does not give out the point.
pub fn input(kind: OpKind, key: &KeyPair) -> Result<Vec<u8>> {
    let mut input: Vec<u8> = (0..kind.input_len())
        .map(|index| (index * 7 + 1) as u8)
        .collect();
    match kind {
        OpKind::Rsa2048 | OpKind::Rsa3072 | OpKind::Rsa4096 => input[0] = 0,
        OpKind::X25519Derive | OpKind::X25519Exchange => {
            let theirs = key.theirs.as_ref().context("the op needs a peer")?;
            input[32..].copy_from_slice(&theirs.raw_public_key()?);
        }
        OpKind::EcdhP256Derive
        | OpKind::EcdhP384Derive
        | OpKind::EcdhP256Exchange
        | OpKind::EcdhP384Exchange => {
            let point = match key.ours.as_ref().and_then(|key| key.as_local()) {
                Some(Key::EcP256(key)) => key.public_key().to_vec(),
                Some(Key::EcP384(key)) => key.public_key().to_vec(),
                _ => bail!("{kind} takes the point of an EC key"),
            };
            let private = input.len() - point.len();
            input[private..].copy_from_slice(&point);
        }
        OpKind::MlKem768Encap | OpKind::MlKem768Decap => {
            let (public, private) = ml_kem_keys(7)?;
            if kind == OpKind::MlKem768Encap {
                input[..public.len()].copy_from_slice(&public);
            } else {
                let (key, ciphertext) = input.split_at_mut(private.len());
                key.copy_from_slice(&private);
                let ciphertext = ciphertext.try_into()?;
                let made = mlkem::encapsulate(&public, &[9; 32], ciphertext, &mut [0; 32]);
                ensure!(made, "no ciphertext");
            }
        }
        // Of the length that TLS 1.3 signs (RFC 8446, section 4.4.3).
        OpKind::Ed25519 => input.truncate(64 + 34 + 48),
        OpKind::EcdsaP256
        | OpKind::EcdsaP384
        | OpKind::X25519Keygen
        | OpKind::EcdhP256Keygen
        | OpKind::EcdhP384Keygen
        | OpKind::MlKem768Keygen => {}
    }
    Ok(input)
}

/// What is measured.
pub struct Point<'a> {
    queue_pair: Box<dyn QueuePair>,
    kind: OpKind,
    key: &'a KeyPair,
    input: Vec<u8>,
    burst: usize,
    /// Ops not in use.
    pool: Burst,
    done: Burst,
    watch: Stopwatch,
    /// From before the enqueue until it was given back, of every op.
    latency_ns: Histogram<u64>,
}

impl<'a> Point<'a> {
    /// Opens a queue pair of `device`.
    ///
    /// # Errors
    /// The device cannot be had so.
    pub fn new(device: &dyn Device, kind: OpKind, burst: usize, key: &'a KeyPair) -> Result<Self> {
        let defaults = QueuePairConfig::default();
        let config = QueuePairConfig {
            capacity: defaults.capacity.max(burst),
            ..defaults
        };
        Ok(Self {
            queue_pair: device.queue_pair(config)?,
            kind,
            key,
            input: input(kind, key)?,
            burst,
            pool: std::iter::repeat_with(Op::new).take(burst).collect(),
            done: Burst::with_capacity(burst),
            watch: Stopwatch::new(),
            latency_ns: histogram()?,
        })
    }

    /// One burst that is not measured.
    ///
    /// # Errors
    /// The device failed.
    pub fn warm_up(&mut self) -> Result<()> {
        self.run_burst()?;
        self.latency_ns.reset();
        Ok(())
    }

    /// Enqueues a burst and polls until it is back.
    fn run_burst(&mut self) -> Result<()> {
        let start_ns = self.watch.now_ns();
        for (index, op) in self.pool.iter_mut().enumerate() {
            op.prepare(
                Token(index as u64),
                &request(self.kind, self.key.ours.as_ref(), &self.input)?,
                start_ns,
            );
        }
        let mut empty_polls = 0;
        while self.done.len() < self.burst {
            self.queue_pair.enqueue_burst(&mut self.pool);
            let now_ns = self.watch.now_ns();
            let mut count = self
                .queue_pair
                .dequeue_burst(&mut self.done, self.burst, now_ns);
            if count == 0 && self.pool.is_empty() {
                self.queue_pair.flush();
                count = self
                    .queue_pair
                    .dequeue_burst(&mut self.done, self.burst, now_ns);
            }
            let latency_ns = self.watch.now_ns() - start_ns;
            self.latency_ns
                .saturating_record_n(latency_ns, count as u64);
            empty_polls = if count == 0 { empty_polls + 1 } else { 0 };
            ensure!(
                empty_polls < MAX_EMPTY_POLLS,
                "device {} never gives ops back",
                self.queue_pair.name()
            );
        }
        for op in self.done.drain(..) {
            ensure!(
                op.status == OpStatus::Success,
                "device {} failed {}: {:?}",
                self.queue_pair.name(),
                self.kind,
                op.status
            );
            self.pool.push(op);
        }
        Ok(())
    }

    /// What the queue pair counted, the warm-up included.
    pub fn stats(&self) -> DeviceStats {
        self.queue_pair.stats()
    }
}

impl Side for Point<'_> {
    fn round(&mut self, slice_ns: u64) -> Result<f64> {
        let (start_ns, mut ops) = (thread_cpu_ns()?, 0);
        loop {
            // The CPU clock is a system call: not read more often than every eight ops or so.
            for _ in 0..(8 / self.burst).max(1) {
                self.run_burst()?;
                ops += self.burst;
            }
            let spent_ns = thread_cpu_ns()? - start_ns;
            if spent_ns >= slice_ns {
                return Ok(ops as f64 * 1e9 / spent_ns as f64);
            }
        }
    }

    fn latency_ns(&self) -> &Histogram<u64> {
        &self.latency_ns
    }
}

/// The request of an op of `kind` with this input, as [`input`] has it.
///
/// # Errors
/// The op needs a key, or its input has another length.
pub fn request<'a>(
    kind: OpKind,
    key: Option<&'a Arc<KeyHandle>>,
    input: &'a [u8],
) -> Result<Request<'a>> {
    let key = || key.context("the op needs a key");
    Ok(match kind {
        OpKind::Rsa2048 | OpKind::Rsa3072 | OpKind::Rsa4096 => Request::rsa_private(key()?, input)?,
        OpKind::EcdsaP256 => Request::ecdsa_p256(key()?, input)?,
        OpKind::X25519Keygen => Request::x25519_keygen(input.first_chunk().context("scalar")?),
        OpKind::X25519Derive => Request::x25519_derive(
            input.first_chunk().context("scalar")?,
            input.last_chunk().context("point")?,
        ),
        OpKind::EcdsaP384 => Request::ecdsa_p384(key()?, input)?,
        OpKind::Ed25519 => Request::ed25519(key()?, input)?,
        OpKind::EcdhP256Keygen => Request::ecdh_p256_keygen(input.try_into()?)?,
        OpKind::EcdhP384Keygen => Request::ecdh_p384_keygen(input.try_into()?)?,
        OpKind::EcdhP256Derive => Request::ecdh_p256_derive(
            input.first_chunk().context("scalar")?,
            input.last_chunk().context("point")?,
        )?,
        OpKind::EcdhP384Derive => Request::ecdh_p384_derive(
            input.first_chunk().context("scalar")?,
            input.last_chunk().context("point")?,
        )?,
        OpKind::X25519Exchange => Request::x25519_exchange(
            input.first_chunk().context("scalar")?,
            input.last_chunk().context("point")?,
        ),
        OpKind::EcdhP256Exchange => Request::ecdh_p256_exchange(
            input.first_chunk().context("scalar")?,
            input.last_chunk().context("point")?,
        )?,
        OpKind::EcdhP384Exchange => Request::ecdh_p384_exchange(
            input.first_chunk().context("scalar")?,
            input.last_chunk().context("point")?,
        )?,
        OpKind::MlKem768Keygen => Request::ml_kem_768_keygen(input.try_into()?),
        OpKind::MlKem768Encap => Request::ml_kem_768_encap(
            input.first_chunk().context("key")?,
            input.last_chunk().context("message")?,
        ),
        OpKind::MlKem768Decap => Request::ml_kem_768_decap(
            input.first_chunk().context("key")?,
            input.last_chunk().context("ciphertext")?,
        ),
    })
}
