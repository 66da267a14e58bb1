//! ECDSA on P-256 and P-384.
//!
//! Results are not checked. No nonce serves twice, not even for the same digest, so that a faulty signature has
//! no right one beside it with the same nonce. A fault that flips a bit of the key or of the nonce while it is used
//! still tells that one bit: so it does with libcrypto and AWS-LC, which do not check either. The equation
//! that would show it, s k = e + r d, takes a tenth of the time that signing takes here.

use spinlane_crypto::curve::{self, Array, Curve};
use spinlane_crypto::nonce::NonceMaker;
use spinlane_crypto::{EcKey, Key, random};
use spinlane_cryptodev::{Op, OpKind};
use zeroize::Zeroizing;

use super::{Operands, Rooms, succeed};
use crate::ffi::{Cpu, LANES, LaneCurve};

/// Whether crypto_mb signs this digest: it refuses 0 and what is not below the group's order,
/// together one digest in 2^32 or more.
pub(super) fn takes<C: Curve>(digest: &[u8]) -> bool {
    curve::in_range::<C>(&curve::to_limbs(digest))
}

/// Signs by nonces of `maker`; `key` finds the curve's key in an op's.
pub(super) fn sign<C: LaneCurve>(
    cpu: Cpu,
    spare: &mut Rooms,
    maker: &NonceMaker<C>,
    ops: &mut [Box<Op>],
    kind: OpKind,
    key: impl Fn(&Key) -> Option<&EcKey<C>>,
) {
    let fill = ops.len();
    let mut lanes = Operands::of(ops, spare, kind);
    let Some(keys) = lanes.keys(|of_op| of_op.as_local().and_then(&key).map(EcKey::scalar_limbs))
    else {
        return;
    };

    let mut nonces = Zeroizing::new([C::Limbs::ZERO; LANES]);
    for (lane, nonce) in nonces[..fill].iter_mut().enumerate() {
        let mut fresh = Zeroizing::new(C::Scalar::ZERO);
        random::fill(fresh.as_mut());
        *nonce = *maker.derive(keys[lane], lanes.from[lane], fresh.as_ref());
    }
    // The lanes left over sign lane 0's digest with lane 0's nonce: the same signature.
    let first = Zeroizing::new(nonces[0]);
    nonces[fill..].fill(*first);

    let status = cpu.ecdsa::<C>(&keys, &nonces, &lanes.from, &mut lanes.to);
    succeed(ops, status.ok_lanes());
}
