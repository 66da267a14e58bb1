//! Ed25519 signatures, computed twice.
//!
//! The nonce comes from key and message alone. So two signatures of one message that differ, the right one
//! and one with a fault in R, give the key away: S - S' = (h - h') a. Verifying eight of them takes longer than
//! signing them one by one, so they are signed again, each in the next lane: what differs does not leave. A fault
//! that a whole lane repeats does not hide, nor does one of a moment; one that crypto_mb itself made, in both lanes
//! alike, would.

use spinlane_crypto::Key;
use spinlane_cryptodev::{Op, OpKind};
use zeroize::Zeroizing;

use super::{Lanes, Operands, succeed};
use crate::ffi::LANES;

impl Lanes {
    pub(super) fn ed25519(&mut self, ops: &mut [Box<Op>]) {
        let mut lanes = Operands::of(ops, &mut self.spare, OpKind::Ed25519);
        let Some(keys) = lanes.keys(|key| match key.as_local() {
            Some(Key::Ed25519(key)) => Some(key),
            _ => None,
        }) else {
            return;
        };
        let status = self.cpu.ed25519(&keys, &lanes.from, &mut lanes.to);
        #[cfg(test)]
        for (lane, corrupt) in self.corrupt.iter_mut().enumerate() {
            lanes.to[lane][7] ^= u8::from(std::mem::take(corrupt));
        }
        let mut again = Zeroizing::new([[0; 64]; LANES]);
        let (mut keys, mut from) = (keys, lanes.from);
        keys.rotate_right(1);
        from.rotate_right(1);
        let mut to = again.each_mut().map(|signature| &mut signature[..]);
        let status_again = self.cpu.ed25519(&keys, &from, &mut to);
        let (ok, ok_again) = (status.ok_lanes(), status_again.ok_lanes());
        let good = std::array::from_fn(|lane| {
            let next = (lane + 1) % LANES;
            ok[lane] && ok_again[next] && *lanes.to[lane] == again[next]
        });
        succeed(ops, good);
    }
}
