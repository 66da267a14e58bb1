//! ECDH, by a device's products of points.

use spinlane_crypto::curve::{self, Array, Curve, P256, P384};
use spinlane_cryptodev::{Op, OpKind};
use zeroize::Zeroizing;

use super::{Named, coordinates, write_number};
use crate::ffi::{Back, DeviceId, Multiplying, Point, Products, RawQueuePair, SessionPool, Work};

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
            let generator = C::GENERATOR;
            let made = pool.ecpm(device, C::IN_DPDK, coordinates(generator.as_ref()));
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
    let (makes_key, has_peer) = (makes_key(op.kind()), has_peer(op.kind()));
    if has_peer && !curve::is_point::<C>(peer) {
        return Err(Unstaged::Invalid(op));
    }
    let points = match (makes_key, has_peer) {
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
