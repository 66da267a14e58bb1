//! ECDH on P-256 and P-384: public keys and shared secrets.

use spinlane_crypto::curve::{self, Array};
use spinlane_cryptodev::{Op, OpKind, OpStatus};
use zeroize::Zeroizing;

use super::{Lanes, Operands, both, succeed};
use crate::ffi::{Cpu, Inputs, LANES, LaneCurve, Outputs};

impl Lanes {
    pub(super) fn ecdh_keygen<C: LaneCurve>(&mut self, kind: OpKind, ops: &mut [Box<Op>]) {
        let mut lanes = Operands::of(ops, &mut self.spare, kind);
        let good = keygen::<C>(self.cpu, &lanes.from, &mut lanes.to);
        succeed(ops, good);
    }

    /// A peer that is not on the curve makes its own lane invalid.
    pub(super) fn ecdh_derive<C: LaneCurve>(&mut self, kind: OpKind, ops: &mut [Box<Op>]) {
        let mut lanes = Operands::of(ops, &mut self.spare, kind);
        let good = derive::<C>(self.cpu, &lanes.from, &mut lanes.to);
        succeed(ops, good);
        find_invalid::<C>(ops);
    }

    /// Both at once.
    pub(super) fn ecdh_exchange<C: LaneCurve>(&mut self, kind: OpKind, ops: &mut [Box<Op>]) {
        let lanes = Operands::of(ops, &mut self.spare, kind);
        let (mut public, mut secret) = Operands::split(lanes.to, size_of::<C::Point>());
        let made = keygen::<C>(self.cpu, &lanes.from, &mut public);
        let good = both(made, derive::<C>(self.cpu, &lanes.from, &mut secret));
        succeed(ops, good);
        find_invalid::<C>(ops);
    }
}

/// Points of the scalars that the inputs begin with. Returns the lanes that are good.
fn keygen<C: LaneCurve>(cpu: Cpu, from: &Inputs<'_>, to: &mut Outputs<'_>) -> [bool; LANES] {
    let len = size_of::<C::Scalar>();
    let private = Zeroizing::new(from.map(|input| curve::to_limbs(&input[..len])));
    let [mut x, mut y] = [[C::Limbs::ZERO; LANES]; 2];
    let status = cpu.ec_public::<C>(&private, &mut x, &mut y);
    for (point, (x, y)) in to.iter_mut().zip(x.iter().zip(&y)) {
        let (form, coordinates) = point.split_at_mut(1);
        form[0] = 0x04;
        curve::write_bytes(x.as_ref(), &mut coordinates[..len]);
        curve::write_bytes(y.as_ref(), &mut coordinates[len..]);
    }
    status.ok_lanes()
}

/// Secrets of the scalars and points in the inputs. Returns the lanes that are good.
fn derive<C: LaneCurve>(cpu: Cpu, from: &Inputs<'_>, to: &mut Outputs<'_>) -> [bool; LANES] {
    let len = size_of::<C::Scalar>();
    let private = Zeroizing::new(from.map(|input| curve::to_limbs(&input[..len])));
    let x = from.map(|input| curve::to_limbs(&input[len + 1..2 * len + 1]));
    let y = from.map(|input| curve::to_limbs(&input[2 * len + 1..]));
    cpu.ec_shared::<C>(&private, (&x, &y), to).ok_lanes()
}

/// Says of ops that failed whether their peers are at fault.
fn find_invalid<C: LaneCurve>(ops: &mut [Box<Op>]) {
    for op in ops.iter_mut().filter(|op| op.status != OpStatus::Success) {
        if !curve::is_point::<C>(&op.input()[size_of::<C::Scalar>()..]) {
            op.status = OpStatus::Invalid;
            op.buffers().1.fill(0); // an exchange's public key
        }
    }
}
