//! ECDSA, by a device's signatures.

use spinlane_crypto::curve::{self, Array, Curve, P256, P384};
use spinlane_crypto::nonce::NonceMaker;
use spinlane_crypto::{EcKey, Key, random};
use spinlane_cryptodev::Op;
use zeroize::Zeroizing;

use super::{Named, coordinates, write_number};
use crate::ffi::{Back, DeviceId, RawQueuePair, SessionPool, Signature, Signing, Work};
use crate::modulus::{Modulus, from_bytes, zero};

/// A key that the device signs by.
pub(crate) enum Signer {
    P256(SignerOf<P256>),
    P384(SignerOf<P384>),
}

pub(crate) struct SignerOf<C> {
    session: Signing,
    nonces: NonceMaker<C>,
    order: Modulus,
}

impl Signer {
    /// A session for `key`.
    ///
    /// # Errors
    /// As for [`SessionPool::rsa`]; ENOTSUP for a key on no curve.
    pub(crate) fn new(pool: &SessionPool, device: DeviceId, key: &Key) -> Result<Self, i32> {
        Ok(match key {
            Key::EcP256(key) => Self::P256(SignerOf::new(pool, device, key)?),
            Key::EcP384(key) => Self::P384(SignerOf::new(pool, device, key)?),
            _ => return Err(libc::ENOTSUP),
        })
    }

    /// Stages `op`, which has this key, by the session of that number.
    ///
    /// # Errors
    /// The op, if there is no room.
    pub(crate) fn stage(
        &self,
        raw: &mut RawQueuePair,
        op: Box<Op>,
        number: u32,
    ) -> Result<(), Box<Op>> {
        if !raw.has_room() {
            return Err(op); // before a nonce is made
        }
        match (self, op.key().and_then(|key| key.as_local())) {
            (Self::P256(signer), Some(Key::EcP256(key))) => {
                let inputs = signer.inputs(key, op.input());
                signer.stage(raw, op, number, &inputs)
            }
            (Self::P384(signer), Some(Key::EcP384(key))) => {
                let inputs = signer.inputs(key, op.input());
                signer.stage(raw, op, number, &inputs)
            }
            _ => Err(op), // the session was found by the key
        }
    }

    /// Writes r and s to the op, which has this key. Whether they are a signature by its nonce.
    pub(crate) fn take_signature(&self, back: &mut Back<'_>) -> bool {
        let half = back.op.kind().output_len() / 2;
        let mut signature = Zeroizing::new([0; 96]);
        let signature = &mut signature[..2 * half];
        let (r, s) = signature.split_at_mut(half);
        let fit = [&mut *r, &mut *s]
            .into_iter()
            .zip(back.signature())
            .fold(true, |fit, (to, from)| fit & write_number(from, to));
        let inputs = back.signed(half);
        let is_right = match (self, back.op.key().and_then(|key| key.as_local())) {
            (Self::P256(signer), Some(Key::EcP256(key))) => {
                is_right(&signer.order, key, inputs, r, s)
            }
            (Self::P384(signer), Some(Key::EcP384(key))) => {
                is_right(&signer.order, key, inputs, r, s)
            }
            _ => false,
        };
        back.op.buffers().1.copy_from_slice(signature);
        fit && is_right
    }
}

impl<C: Named> SignerOf<C> {
    fn new(pool: &SessionPool, device: DeviceId, key: &EcKey<C>) -> Result<Self, i32> {
        let mut secret = Zeroizing::new(C::Scalar::ZERO);
        curve::write_bytes(key.scalar_limbs().as_ref(), secret.as_mut());
        let public = key.public_key();
        let public = coordinates(public.as_ref());
        Ok(Self {
            session: pool.ecdsa(device, C::IN_DPDK, secret.as_ref(), public)?,
            nonces: NonceMaker::new(),
            order: Modulus::new(C::ORDER.as_ref()),
        })
    }

    /// Of `digest`: itself modulo n, as which it is signed and no card need take it otherwise; and a nonce.
    fn inputs(&self, key: &EcKey<C>, digest: &[u8]) -> Zeroizing<[C::Scalar; 2]> {
        let mut fresh = Zeroizing::new(C::Scalar::ZERO);
        random::fill(fresh.as_mut());
        let nonce = self
            .nonces
            .derive(key.scalar_limbs(), digest, fresh.as_ref());
        let mut reduced: C::Limbs = curve::to_limbs(digest);
        curve::reduce::<C>(&mut reduced);
        let mut inputs = Zeroizing::new([C::Scalar::ZERO; 2]);
        curve::write_bytes(reduced.as_ref(), inputs[0].as_mut());
        curve::write_bytes(nonce.as_ref(), inputs[1].as_mut());
        inputs
    }

    fn stage(
        &self,
        raw: &mut RawQueuePair,
        op: Box<Op>,
        number: u32,
        inputs: &[C::Scalar; 2],
    ) -> Result<(), Box<Op>> {
        let work = Work::Signature(Signature {
            session: &self.session,
            digest: inputs[0].as_ref(),
            nonce: inputs[1].as_ref(),
        });
        raw.stage(op, number, &work)
    }
}

/// Whether s k = e + r d modulo the order n, for nonce k, digest e and key d, and r and s are in 1..n.
fn is_right<C: Curve>(
    n: &Modulus,
    key: &EcKey<C>,
    [digest, nonce]: [&[u8]; 2],
    r: &[u8],
    s: &[u8],
) -> bool {
    let in_range = |number| curve::in_range::<C>(&curve::to_limbs(number));
    if !in_range(r) || !in_range(s) {
        return false;
    }
    let [r, s, e, k] = [r, s, digest, nonce].map(from_bytes);
    let (mut d, mut one) = (zero(), zero());
    d[..n.len].copy_from_slice(key.scalar_limbs().as_ref());
    one[0] = 1;
    // Each product is divided by R, and so is e.
    let left = n.multiply(&s, &k);
    let right = n.add(&n.multiply(&r, &d), &n.multiply(&e, &one));
    let pairs = left.iter().zip(right.iter());
    pairs.fold(0, |bits, (left, right)| bits | (left ^ right)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With key and nonce 1, s is e + r.
    fn is_right_of<C: Curve>() {
        let n = Modulus::new(C::ORDER.as_ref());
        let number = |small: u8| {
            let mut bytes = C::Scalar::ZERO;
            bytes.as_mut()[size_of::<C::Scalar>() - 1] = small;
            bytes
        };
        // The orders end with a byte above 9 and below 256 - 12.
        let order = |plus: i8| {
            let mut bytes = C::Scalar::ZERO;
            curve::write_bytes(C::ORDER.as_ref(), bytes.as_mut());
            let last = &mut bytes.as_mut()[size_of::<C::Scalar>() - 1];
            *last = last.checked_add_signed(plus).expect("no carry");
            bytes
        };
        let key = EcKey::<C>::from_scalar(number(1).as_ref()).expect("in range");
        for (e, r, s, expected) in [
            (number(7), number(5), number(12), true),
            (order(-5), number(7), number(2), true),
            (number(7), number(5), number(13), false),
            (number(7), order(5), number(12), false),
            (number(7), number(5), order(12), false),
            (number(7), number(0), number(7), false),
            (order(-5), number(5), number(0), false),
        ] {
            let (nonce, digest) = (number(1), e.as_ref());
            let inputs = [digest, nonce.as_ref()];
            let right = is_right(&n, &key, inputs, r.as_ref(), s.as_ref());
            let what = [e.as_ref(), r.as_ref(), s.as_ref()];
            assert_eq!(right, expected, "{}: e, r, s = {what:02x?}", C::NAME);
        }
    }

    #[test]
    fn a_signature_satisfies_its_equation_with_numbers_in_range() {
        is_right_of::<P256>();
        is_right_of::<P384>();
    }
}
