//! RSA private operation, checked.

use spinlane_cryptodev::{Key, Op, OpKind};

use super::{Lanes, Operands, succeed};
#[cfg(test)]
use crate::ffi::LANES;

impl Lanes {
    /// A result leaves as a success only if its 65537th power is the block it was made from:
    /// a single fault in one half of the CRT would otherwise give away a prime.
    pub(super) fn rsa_private(&mut self, kind: OpKind, ops: &mut [Box<Op>]) {
        let mut lanes = Operands::of(ops, &mut self.spare, kind);
        let Some(keys) = lanes.keys(|key| match key {
            Key::Rsa(key) => Some(key),
            _ => None,
        }) else {
            return;
        };
        let made = self
            .cpu
            .rsa_private(&keys, &lanes.from, &mut lanes.to, &mut self.work);
        self.work.wipe();
        #[cfg(test)]
        for lane in (0..LANES).filter(|lane| std::mem::take(&mut self.corrupt[*lane])) {
            lanes.to[lane][100] ^= 0x10;
        }

        let results = lanes.to.map(|lane| &*lane);
        let mut opened = self
            .opened
            .each_mut()
            .map(|lane| &mut lane[..kind.output_len()]);
        let checked = self
            .cpu
            .rsa_public(&keys, &results, &mut opened, &mut self.work);
        let (made, checked) = (made.ok_lanes(), checked.ok_lanes());
        let good = std::array::from_fn(|lane| {
            made[lane] && checked[lane] && *opened[lane] == *lanes.from[lane]
        });
        succeed(ops, good);
    }
}
