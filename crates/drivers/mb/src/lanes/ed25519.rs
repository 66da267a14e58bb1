//! Ed25519 signatures.

use spinlane_cryptodev::{Key, Op, OpKind};

use super::{Lanes, Operands, succeed};

impl Lanes {
    pub(super) fn ed25519(&mut self, ops: &mut [Box<Op>]) {
        let mut lanes = Operands::of(ops, &mut self.spare, OpKind::Ed25519);
        let Some(keys) = lanes.keys(|key| match key {
            Key::Ed25519(key) => Some(key),
            _ => None,
        }) else {
            return;
        };
        let status = self.cpu.ed25519(&keys, &lanes.from, &mut lanes.to);
        succeed(ops, status.ok_lanes());
    }
}
