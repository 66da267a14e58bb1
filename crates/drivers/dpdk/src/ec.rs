//! ECDSA and ECDH on P-256 and P-384, by a device's signatures and products of points.
//!
//! ```text
//!   sign      digest mod n, key, nonce ─▶ device ─▶ r, s ─▶ verified by the key's point
//!   keygen    scalar · generator       ─▶ device ─▶ x, y ─▶ on the curve: the point
//!   derive    scalar · peer            ─▶ device ─▶ x, y ─▶ on the curve: x
//!   exchange  both
//! ```
//! A peer's point that is not on the curve reaches no device: one that multiplies it gives the scalar away
//! (Biehl, Meyer, Müller 2000). A product is not computed again to compare, which would cost as much as the
//! device spares: one that is on the curve but wrong ends the handshake at the peer, and tells nothing, since
//! its scalar serves once.

use spinlane_cryptodev::curve::{self, Array, Curve, P256, P384};
use spinlane_cryptodev::nonce::NonceMaker;
use spinlane_cryptodev::{Capabilities, EcKey, Key, Op, OpKind, random};
use zeroize::Zeroizing;

use crate::ffi::{
    Back, DeviceId, Group, Multiplying, Point, Products, RawQueuePair, SessionPool, Signature,
    Signing, Work,
};

/// What a device does on curves, or may do: whether is found out by a trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Curves {
    pub(crate) signs: bool,
    pub(crate) multiplies: bool,
}

impl Curves {
    /// What to try: what the device lists, and of a card all, since `crypto_qat` has curves without listing
    /// them before 25.11.
    pub(crate) fn to_try(device: DeviceId) -> Self {
        let card = device.is_hardware() && device.is_asymmetric();
        Self {
            signs: card || device.lists_ecdsa(),
            multiplies: card || device.lists_ecpm(),
        }
    }

    /// What is served by `kinds`.
    pub(crate) fn of(kinds: Capabilities) -> Self {
        let any = |those: [OpKind; 2]| those.into_iter().any(|kind| kinds.has(kind));
        Self {
            signs: any([OpKind::EcdsaP256, OpKind::EcdsaP384]),
            multiplies: any([OpKind::EcdhP256Exchange, OpKind::EcdhP384Exchange]),
        }
    }

    pub(crate) fn any(self) -> bool {
        self.signs || self.multiplies
    }

    /// Those kinds of op, each as what serves with it: who signs one digest signs all, who exchanges keys
    /// makes them and secrets.
    pub(crate) fn kinds(self) -> impl Iterator<Item = &'static [OpKind]> {
        let signs: &[&[OpKind]] = &[&[OpKind::EcdsaP256], &[OpKind::EcdsaP384]];
        let multiplies: &[&[OpKind]] = &[
            &[
                OpKind::EcdhP256Exchange,
                OpKind::EcdhP256Keygen,
                OpKind::EcdhP256Derive,
            ],
            &[
                OpKind::EcdhP384Exchange,
                OpKind::EcdhP384Keygen,
                OpKind::EcdhP384Derive,
            ],
        ];
        let signs = signs.iter().filter(move |_| self.signs);
        let multiplies = multiplies.iter().filter(move |_| self.multiplies);
        signs.chain(multiplies).copied()
    }
}

/// A curve as DPDK calls it.
pub(crate) trait Named: Curve {
    const IN_DPDK: Group;
}

impl Named for P256 {
    const IN_DPDK: Group = Group::P256;
}

impl Named for P384 {
    const IN_DPDK: Group = Group::P384;
}

/// A key that the device signs by.
pub(crate) enum Signer {
    P256(SignerOf<P256>),
    P384(SignerOf<P384>),
}

pub(crate) struct SignerOf<C> {
    session: Signing,
    nonces: NonceMaker<C>,
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
        match (self, op.key().map(|key| &**key)) {
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
        })
    }

    /// Of `digest`: itself modulo n, as which it is signed and no card need take it otherwise; and a nonce.
    fn inputs(&self, key: &EcKey<C>, digest: &[u8]) -> Zeroizing<[C::Scalar; 2]> {
        let mut fresh = Zeroizing::new(C::Scalar::ZERO);
        random::fill(fresh.as_mut());
        let nonce = self
            .nonces
            .derive([key.scalar_limbs()], [digest], [fresh.as_ref()]);
        let mut reduced: C::Limbs = curve::to_limbs(digest);
        curve::reduce::<C>(&mut reduced);
        let mut inputs = Zeroizing::new([C::Scalar::ZERO; 2]);
        curve::write_bytes(reduced.as_ref(), inputs[0].as_mut());
        curve::write_bytes(nonce[0].as_ref(), inputs[1].as_mut());
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

/// Writes r and s to the op. Whether each is no longer than it may be; not whether they are right.
pub(crate) fn take_signature(back: &mut Back<'_>) -> bool {
    let half = back.op.kind().output_len() / 2;
    let mut signature = Zeroizing::new([0; 96]);
    let signature = &mut signature[..2 * half];
    let (r, s) = signature.split_at_mut(half);
    let fit = [r, s]
        .into_iter()
        .zip(back.signature())
        .fold(true, |fit, (to, from)| fit & write_number(from, to));
    back.op.buffers().1.copy_from_slice(signature);
    fit
}

/// The sessions that multiply, one per curve that the device has.
#[derive(Default)]
pub(crate) struct Multipliers {
    p256: Option<Multiplying>,
    p384: Option<Multiplying>,
}

/// The number that ops without key are staged with: no session of a key's has it.
const NO_KEY: u32 = u32::MAX;

/// Why an op is not staged.
pub(crate) enum Unstaged {
    /// There is no room.
    Full(Box<Op>),
    /// Its scalar or its peer's point is none.
    Invalid(Box<Op>),
    /// The device has not its curve.
    Refused(Box<Op>),
}

impl Multipliers {
    /// Those that the device takes sessions for.
    pub(crate) fn new(pool: &SessionPool, device: DeviceId) -> Self {
        fn make<C: Named>(pool: &SessionPool, device: DeviceId) -> Option<Multiplying> {
            let generator = coordinates(C::GENERATOR.as_ref()).map(<[u8]>::to_vec);
            let generator = generator.each_ref().map(Vec::as_slice);
            let made = pool.ecpm(device, C::IN_DPDK, generator);
            made.inspect_err(|error| {
                tracing::debug!(
                    curve = C::NAME,
                    "the DPDK device multiplies no points: {}",
                    crate::ffi::error_text(*error)
                );
            })
            .ok()
        }
        Self {
            p256: make::<P256>(pool, device),
            p384: make::<P384>(pool, device),
        }
    }

    /// Keeps them for ever.
    pub(crate) fn leak(&mut self) {
        std::mem::forget(std::mem::take(self));
    }

    /// Stages a key exchange's op.
    ///
    /// # Errors
    /// The op, which is another's or cannot be.
    pub(crate) fn stage(&self, raw: &mut RawQueuePair, op: Box<Op>) -> Result<(), Unstaged> {
        let (p256, p384) = (&self.p256, &self.p384);
        match op.kind() {
            OpKind::EcdhP256Keygen | OpKind::EcdhP256Derive | OpKind::EcdhP256Exchange => {
                stage_products::<P256>(p256.as_ref(), raw, op)
            }
            OpKind::EcdhP384Keygen | OpKind::EcdhP384Derive | OpKind::EcdhP384Exchange => {
                stage_products::<P384>(p384.as_ref(), raw, op)
            }
            _ => Err(Unstaged::Refused(op)),
        }
    }
}

fn stage_products<C: Curve>(
    session: Option<&Multiplying>,
    raw: &mut RawQueuePair,
    op: Box<Op>,
) -> Result<(), Unstaged> {
    let Some(session) = session else {
        return Err(Unstaged::Refused(op));
    };
    let mut input = Zeroizing::new([0; 48 + 97]);
    let input = &mut input[..op.input().len()];
    input.copy_from_slice(op.input()); // the op goes away before they are read
    let Some((scalar, peer)) = input
        .split_at_checked(size_of::<C::Scalar>())
        .filter(|(scalar, _)| curve::in_range::<C>(&Zeroizing::new(curve::to_limbs(scalar))))
    else {
        return Err(Unstaged::Invalid(op));
    };
    let makes_key = makes_key(op.kind());
    if has_peer(op.kind()) && !curve::is_point::<C>(peer) {
        return Err(Unstaged::Invalid(op));
    }
    let points = match (makes_key, has_peer(op.kind())) {
        (true, false) => (Point::Generator, None),
        (true, true) => (Point::Generator, Some(Point::At(coordinates(peer)))),
        (false, _) => (Point::At(coordinates(peer)), None),
    };
    let work = Work::Products(Products {
        session,
        scalar,
        points,
    });
    raw.stage(op, NO_KEY, &work).map_err(Unstaged::Full)
}

/// Writes the products to a key exchange's op. Whether they are points of the curve.
pub(crate) fn take_products(back: &mut Back<'_>) -> bool {
    match back.op.kind() {
        OpKind::EcdhP256Keygen | OpKind::EcdhP256Derive | OpKind::EcdhP256Exchange => {
            take_points::<P256>(back)
        }
        OpKind::EcdhP384Keygen | OpKind::EcdhP384Derive | OpKind::EcdhP384Exchange => {
            take_points::<P384>(back)
        }
        _ => false,
    }
}

fn take_points<C: Curve>(back: &mut Back<'_>) -> bool {
    let kind = back.op.kind();
    let (makes_key, has_peer) = (makes_key(kind), has_peer(kind));
    let mut output = Zeroizing::new([0; 97 + 48]);
    let output = &mut output[..kind.output_len()];
    let mut rest = &mut *output;
    let mut right = true;
    if makes_key {
        let (point, secret) = rest.split_at_mut(size_of::<C::Point>());
        right &= write_point::<C>(back.product(false), point);
        rest = secret;
    }
    if has_peer {
        let mut point = Zeroizing::new(C::Point::ZERO);
        right &= write_point::<C>(back.product(makes_key), point.as_mut());
        rest.copy_from_slice(coordinates(point.as_ref())[0]);
    }
    back.op.buffers().1.copy_from_slice(output);
    right
}

/// Whether a public key is among the results.
fn makes_key(kind: OpKind) -> bool {
    !matches!(kind, OpKind::EcdhP256Derive | OpKind::EcdhP384Derive)
}

/// Whether a secret shared with a peer is.
fn has_peer(kind: OpKind) -> bool {
    !matches!(kind, OpKind::EcdhP256Keygen | OpKind::EcdhP384Keygen)
}

/// Writes the uncompressed point with these coordinates. Whether it is one.
fn write_point<C: Curve>(from: [&[u8]; 2], point: &mut [u8]) -> bool {
    point[0] = 0x04;
    let (x, y) = point[1..].split_at_mut(size_of::<C::Scalar>());
    write_number(from[0], x) & write_number(from[1], y) && curve::is_point::<C>(point)
}

/// Writes a big-endian number that may lack leading zeros, or have more than `to`. Whether it fits.
fn write_number(from: &[u8], to: &mut [u8]) -> bool {
    let (extra, from) = from.split_at(from.len().saturating_sub(to.len()));
    let (zeros, digits) = to.split_at_mut(to.len() - from.len());
    zeros.fill(0);
    digits.copy_from_slice(from);
    extra.iter().fold(0, |any, byte| any | byte) == 0
}

/// x and y of an uncompressed point.
fn coordinates(point: &[u8]) -> [&[u8]; 2] {
    let (x, y) = point[1..].split_at(point.len() / 2);
    [x, y]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_fits_if_what_is_cut_off_is_zero() {
        let mut to = [0xee; 3];
        for (from, fits, expected) in [
            (&[1, 2, 3][..], true, [1, 2, 3]),
            (&[2, 3], true, [0, 2, 3]),
            (&[], true, [0, 0, 0]),
            (&[0, 0, 1, 2, 3], true, [1, 2, 3]),
            (&[4, 0, 1, 2, 3], false, [1, 2, 3]),
        ] {
            assert_eq!(write_number(from, &mut to), fits);
            assert_eq!(to, expected);
        }
    }

    #[test]
    fn kinds_are_tried_by_what_the_device_may_do() {
        let all = Curves {
            signs: true,
            multiplies: true,
        };
        assert_eq!(all.kinds().flatten().count(), 8);
        for kinds in all.kinds() {
            let of = Curves::of(Capabilities::NONE.with(kinds[0]));
            assert_eq!(of.signs, kinds.len() == 1);
            assert_eq!(of.multiplies, kinds.len() == 3);
        }
        assert_eq!(Curves::default().kinds().count(), 0);
    }
}
