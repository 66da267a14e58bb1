//! Private-key ops of a device, as many at a time as it has lanes.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::EcGroup;
use openssl::nid::Nid;
use openssl::rsa::Rsa;
use spinlane::crypto::{EcP256Key, Key, RsaKey, mlkem};
use spinlane::cryptodev::{
    Burst, KeyHandle, Op, OpKind, OpStatus, QueuePair, QueuePairConfig, Token,
};
use spinlane::device;

use super::{Kind, Random, Subject, choose};
use crate::speed::point::{MAX_EMPTY_POLLS, ml_kem_keys, request, rsa_key};

/// Vectors of the random class.
const BANK: usize = 16;
/// The fixed RSA key, so that pieces of a search have the same one.
const RSA_KEY: &[u8] = include_bytes!("../../../../crates/crypto/src/test_keys/rsa2048.der");
/// The fixed scalar of a curve.
const SCALAR: [u8; 32] = [0x11; 32];
/// Bytes of ML-KEM-768's secret vector, with which a decapsulation key begins.
const VECTOR: usize = 1152;

/// A queue pair under bursts of one kind of op.
pub struct Ops {
    kind: Kind,
    op: OpKind,
    device: String,
    queue_pair: Box<dyn QueuePair>,
    pool: Burst,
    done: Burst,
    key: Option<Arc<KeyHandle>>,
    /// The fixed input.
    fixed: Vec<u8>,
    /// What the random class has of ML-KEM: other keys' vectors.
    vectors: Vec<Vec<u8>>,
    /// The input that was chosen.
    input: Vec<u8>,
    nonces: Nonces,
}

impl Ops {
    /// Opens a queue pair, and has it compute a few times: first uses are slower.
    ///
    /// # Errors
    /// The device cannot be had, or does not have the operation.
    pub fn new(kind: Kind, spec: &str, burst: usize) -> Result<Self> {
        let op = match kind {
            Kind::RsaMessage => OpKind::Rsa2048,
            Kind::EcdsaKey | Kind::EcdsaNonce => OpKind::EcdsaP256,
            Kind::X25519Keygen => OpKind::X25519Keygen,
            Kind::X25519Derive => OpKind::X25519Derive,
            _ => OpKind::MlKem768Decap,
        };
        let device = device::open(spec).context("--device")?;
        ensure!(
            device.capabilities().iter().any(|has| has == op),
            "device {} does not have {op}",
            device.name()
        );
        let mut ops = Self {
            kind,
            op,
            device: device.name().to_owned(),
            queue_pair: device.queue_pair(QueuePairConfig::default())?,
            pool: std::iter::repeat_with(Op::new).take(burst).collect(),
            done: Burst::with_capacity(burst),
            key: fixed_key(op)?,
            fixed: fixed_input(op)?,
            vectors: Vec::new(),
            input: Vec::new(),
            nonces: Nonces::new()?,
        };
        if kind == Kind::MlKemKey {
            ops.vectors = (0..BANK as u8)
                .map(|seed| Ok(ml_kem_keys(100 + seed)?.1[..VECTOR].to_vec()))
                .collect::<Result<_>>()?;
        }
        ops.input.clone_from(&ops.fixed);
        let mut random = Random::new();
        for _ in 0..10 {
            for mask in [0, 0xff] {
                ops.prepare(&mut random, mask)?;
                ops.run()?;
            }
        }
        Ok(ops)
    }

    /// Makes the input of the next op.
    fn choose_input(&mut self, random: &mut Random, mask: u8) {
        let (to, fixed) = (&mut self.input, &self.fixed);
        match self.kind {
            // The whole block but its first byte, which keeps it below the modulus.
            Kind::RsaMessage => choose(&mut to[1..], random, mask, &fixed[1..]),
            Kind::X25519Keygen | Kind::X25519Derive => {
                choose(&mut to[..32], random, mask, &fixed[..32]);
            }
            Kind::MlKemKey => {
                let other = &self.vectors[random.word() as usize % BANK];
                for ((to, other), fixed) in to.iter_mut().zip(other).zip(fixed) {
                    *to = other & mask | fixed & !mask;
                }
            }
            Kind::MlKemCiphertext => {
                to.copy_from_slice(fixed);
                let bit = random.word() as usize % (8 * mlkem::CIPHERTEXT);
                to[mlkem::DECAPSULATION_KEY + bit / 8] ^= mask & (1 << (bit % 8));
            }
            _ => random.fill(to),
        }
    }
}

impl Subject for Ops {
    fn device(&self) -> &str {
        &self.device
    }

    fn prepare(&mut self, random: &mut Random, mask: u8) -> Result<()> {
        for index in 0..self.pool.len() {
            self.choose_input(random, mask);
            if self.kind == Kind::EcdsaKey {
                // A new one each time, where the last one was: at places of their own, caches tell keys apart.
                let mut scalar = SCALAR;
                choose(&mut scalar[1..], random, mask, &SCALAR[1..]);
                self.key = Some(ec_key(&scalar)?);
            }
            let request = request(self.op, self.key.as_ref(), &self.input)?;
            self.pool[index].prepare(Token(index as u64), &request, 0);
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let burst = self.pool.len();
        let mut empty_polls = 0;
        while self.done.len() < burst {
            self.queue_pair.enqueue_burst(&mut self.pool);
            if self.queue_pair.dequeue_burst(&mut self.done, burst, 0) == 0 {
                self.queue_pair.flush();
                empty_polls += 1;
                ensure!(
                    empty_polls < MAX_EMPTY_POLLS,
                    "device {} never gives ops back",
                    self.device
                );
            }
        }
        for op in self.done.drain(..) {
            ensure!(
                op.status == OpStatus::Success,
                "device {} failed {}: {:?}",
                self.device,
                self.op,
                op.status
            );
            self.pool.push(op);
        }
        Ok(())
    }

    fn class(&mut self) -> Result<Option<bool>> {
        if self.kind != Kind::EcdsaNonce {
            return Ok(None);
        }
        let op = self.pool.iter().find(|op| op.token == Token(0));
        let op = op.context("the first op is gone")?;
        self.nonces.is_short(op.input(), op.output()).map(Some)
    }
}

/// The fixed key, if the op has one.
fn fixed_key(op: OpKind) -> Result<Option<Arc<KeyHandle>>> {
    Ok(match op {
        OpKind::Rsa2048 => Some(KeyHandle::local(Key::Rsa(fixed_rsa_key()?))),
        OpKind::EcdsaP256 => Some(ec_key(&SCALAR)?),
        _ => None,
    })
}

fn ec_key(scalar: &[u8; 32]) -> Result<Arc<KeyHandle>> {
    let key = EcP256Key::from_scalar(scalar)?;
    Ok(KeyHandle::local(Key::EcP256(key)))
}

/// The fixed RSA key.
///
/// # Errors
/// OpenSSL cannot read it.
pub fn fixed_rsa_key() -> Result<RsaKey> {
    rsa_key(&Rsa::private_key_from_der(RSA_KEY)?)
}

fn fixed_input(op: OpKind) -> Result<Vec<u8>> {
    let mut input = vec![0x11; op.input_len()];
    match op {
        OpKind::Rsa2048 => input[0] = 0,
        // Any number is a point's.
        OpKind::X25519Derive => input[32..].fill(9),
        OpKind::MlKem768Decap => {
            let (public, private) = ml_kem_keys(1)?;
            let (key, ciphertext) = input.split_at_mut(private.len());
            key.copy_from_slice(&private);
            let made = mlkem::encapsulate(&public, &[9; 32], ciphertext.try_into()?, &mut [0; 32]);
            ensure!(made, "no ciphertext");
        }
        _ => {}
    }
    Ok(input)
}

/// Finds nonces out from signatures by the fixed key: k = (e + r d) / s.
struct Nonces {
    order: BigNum,
    private: BigNum,
    context: BigNumContext,
}

impl Nonces {
    fn new() -> Result<Self> {
        let mut context = BigNumContext::new()?;
        let mut order = BigNum::new()?;
        EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?.order(&mut order, &mut context)?;
        Ok(Self {
            order,
            private: BigNum::from_slice(&SCALAR)?,
            context,
        })
    }

    /// Whether the nonce has fewer bits than the order.
    fn is_short(&mut self, digest: &[u8], signature: &[u8]) -> Result<bool> {
        let (order, context) = (&self.order, &mut self.context);
        let (r, s) = signature.split_at(32);
        let (r, s) = (BigNum::from_slice(r)?, BigNum::from_slice(s)?);
        let (mut rd, mut sum, mut inverse, mut nonce) = (
            BigNum::new()?,
            BigNum::new()?,
            BigNum::new()?,
            BigNum::new()?,
        );
        rd.mod_mul(&r, &self.private, order, context)?;
        sum.mod_add(&rd, &*BigNum::from_slice(digest)?, order, context)?;
        inverse.mod_inverse(&s, order, context)?;
        nonce.mod_mul(&sum, &inverse, order, context)?;
        Ok(nonce.num_bits() < order.num_bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::ec::EcPoint;

    /// r is the abscissa of the nonce's multiple of the base point: so what was computed is the nonce.
    #[test]
    fn nonces_are_found_out_from_signatures() {
        let mut nonces = Nonces::new().unwrap();
        let key = EcP256Key::from_scalar(&SCALAR).unwrap();
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let mut seen = [false; 2];
        for digest in 1..40 {
            let (digest, mut signature) = ([digest; 32], [0; 64]);
            assert!(key.sign(&digest, &mut signature));
            let short = nonces.is_short(&digest, &signature).unwrap();
            seen[usize::from(short)] = true;
        }
        assert_eq!(seen, [true; 2], "forty nonces, all short or all long");
        // A signature made by hand with the nonce 3, which is short: r = x(3G), s = (e + r d) / 3.
        let mut context = BigNumContext::new().unwrap();
        let three = BigNum::from_u32(3).unwrap();
        let mut point = EcPoint::new(&group).unwrap();
        point.mul_generator2(&group, &three, &mut context).unwrap();
        let (mut r, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
        point
            .affine_coordinates(&group, &mut r, &mut y, &mut context)
            .unwrap();
        let (mut rd, mut sum, mut third, mut s) = (
            BigNum::new().unwrap(),
            BigNum::new().unwrap(),
            BigNum::new().unwrap(),
            BigNum::new().unwrap(),
        );
        rd.mod_mul(&r, &nonces.private, &nonces.order, &mut context)
            .unwrap();
        let digest = BigNum::from_u32(77).unwrap();
        sum.mod_add(&rd, &digest, &nonces.order, &mut context)
            .unwrap();
        third
            .mod_inverse(&three, &nonces.order, &mut context)
            .unwrap();
        s.mod_mul(&sum, &third, &nonces.order, &mut context)
            .unwrap();
        let signature = [r.to_vec_padded(32).unwrap(), s.to_vec_padded(32).unwrap()].concat();
        assert!(
            nonces
                .is_short(&digest.to_vec_padded(32).unwrap(), &signature)
                .unwrap()
        );
    }
}
