//! ECDH on P-256 and P-384: public keys and shared secrets.

use spinlane_cryptodev::curve::{self, Array};
use spinlane_cryptodev::{Op, OpKind, OpStatus};
use zeroize::Zeroizing;

use super::{Lanes, Operands, succeed};
use crate::ffi::{LANES, LaneCurve};

impl Lanes {
    pub(super) fn ecdh_keygen<C: LaneCurve>(&mut self, kind: OpKind, ops: &mut [Box<Op>]) {
        let mut lanes = Operands::of(ops, &mut self.spare, kind);
        let private = Zeroizing::new(lanes.from.map(curve::to_limbs));
        let [mut x, mut y] = [[C::Limbs::ZERO; LANES]; 2];
        let status = self.cpu.ec_public::<C>(&private, &mut x, &mut y);
        let len = size_of::<C::Scalar>();
        for (point, (x, y)) in lanes.to.iter_mut().zip(x.iter().zip(&y)) {
            let (form, coordinates) = point.split_at_mut(1);
            form[0] = 0x04;
            curve::write_bytes(x.as_ref(), &mut coordinates[..len]);
            curve::write_bytes(y.as_ref(), &mut coordinates[len..]);
        }
        succeed(ops, status.ok_lanes());
    }

    /// A peer that is not on the curve makes its own lane invalid.
    pub(super) fn ecdh_derive<C: LaneCurve>(&mut self, kind: OpKind, ops: &mut [Box<Op>]) {
        let len = size_of::<C::Scalar>();
        let mut lanes = Operands::of(ops, &mut self.spare, kind);
        let private = Zeroizing::new(lanes.from.map(|input| curve::to_limbs(&input[..len])));
        let x = lanes
            .from
            .map(|input| curve::to_limbs(&input[len + 1..2 * len + 1]));
        let y = lanes
            .from
            .map(|input| curve::to_limbs(&input[2 * len + 1..]));
        let status = self.cpu.ec_shared::<C>(&private, (&x, &y), &mut lanes.to);
        let good = status.ok_lanes();
        succeed(ops, good);
        for op in ops.iter_mut().filter(|op| op.status != OpStatus::Success) {
            if !curve::is_point::<C>(&op.input()[len..]) {
                op.status = OpStatus::Invalid;
            }
        }
    }
}
