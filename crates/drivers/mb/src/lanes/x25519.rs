//! X25519 (RFC 7748): public keys and shared secrets.

use std::hint::black_box;

use spinlane_cryptodev::{Op, OpKind, OpStatus};

use super::{Lanes, Operands, succeed};
use crate::ffi::LANES;

/// Whether crypto_mb computes rightly with this peer.
///
/// Its field subtraction takes both operands for reduced, which products of its own are not
/// quite: where the first is nearly 0 and the second nearly p, the result is wrong (crypto_mb
/// 2.3, fe52mb8_sub_mod25519). At random that happens less than once in 2^50 ops, but for
/// peers like p-1, p-2 or 2^85-1 nearly always, and then p-1 even passes as a point of high order.
/// All peers found so far have a word of zeros or of ones, as an honest one has once in 2^60.
/// A peer that finds another spoils its own handshake and learns nothing that it can use,
/// because the scalar serves once: one that lives longer is not for devices
/// ([`Request::x25519_derive`](spinlane_cryptodev::Request::x25519_derive)).
pub(super) fn takes(input: &[u8]) -> bool {
    let (words, _) = input[32..].as_chunks::<8>();
    words
        .iter()
        .all(|word| *word != [0x00; 8] && *word != [0xff; 8])
}

impl Lanes {
    pub(super) fn x25519_keygen(&mut self, ops: &mut [Box<Op>]) {
        let mut lanes = Operands::of(ops, &mut self.spare, OpKind::X25519Keygen);
        self.x25519_base.public(&lanes.from, &mut lanes.to);
        succeed(ops, [true; LANES]);
    }

    /// A peer's point of low order makes the secret zero; that lane alone is invalid (RFC 7748,
    /// section 6.1).
    pub(super) fn x25519_derive(&mut self, ops: &mut [Box<Op>]) {
        let mut lanes = Operands::of(ops, &mut self.spare, OpKind::X25519Derive);
        let private = lanes.from.map(|input| &input[..32]);
        let peer = lanes.from.map(|input| &input[32..]);
        let status = self.cpu.x25519(&private, &peer, &mut lanes.to);
        let zero = lanes.to.map(|secret| is_zero(secret));
        succeed(ops, status.ok_lanes());
        for (op, _) in ops.iter_mut().zip(zero).filter(|(_, zero)| *zero) {
            op.status = OpStatus::Invalid;
        }
    }

    /// Both at once.
    pub(super) fn x25519_exchange(&mut self, ops: &mut [Box<Op>]) {
        let lanes = Operands::of(ops, &mut self.spare, OpKind::X25519Exchange);
        let private = lanes.from.map(|input| &input[..32]);
        let peer = lanes.from.map(|input| &input[32..]);
        let (mut public, mut secret) = Operands::split(lanes.to, 32);
        self.x25519_base.public(&private, &mut public);
        let status = self.cpu.x25519(&private, &peer, &mut secret);
        let zero = secret.map(|secret| is_zero(secret));
        succeed(ops, status.ok_lanes());
        for (op, _) in ops.iter_mut().zip(zero).filter(|(_, zero)| *zero) {
            op.status = OpStatus::Invalid;
            op.buffers().1.fill(0); // the public key
        }
    }
}

/// Whether all bytes are zero; looks at each of them. The outcome is public: it ends the
/// handshake.
fn is_zero(secret: &[u8]) -> bool {
    black_box(secret.iter().fold(0, |any, byte| any | byte)) == 0
}
