//! RSA private operation, checked.

use spinlane_crypto::Key;
use spinlane_cryptodev::{KeyHandle, Op, OpKind};
use spinlane_rsa52::{KeyParts, PrivateKey};

use super::{Lanes, Operands, succeed};

impl Lanes {
    /// A result leaves as a success only if its 65537th power is the block it was made from:
    /// a single fault in one half of the CRT would otherwise give away a prime.
    pub(super) fn rsa_private(&mut self, kind: OpKind, ops: &mut [Box<Op>]) {
        let mut lanes = Operands::of(ops, &mut self.spare, kind);
        let Some(keys) = lanes.keys(private_key) else {
            return;
        };
        #[cfg(test)]
        for (lane, corrupt) in self.corrupt.iter_mut().enumerate() {
            if std::mem::take(corrupt) {
                self.rsa.inject_fault(lane, 100);
            }
        }
        let good = self.rsa.private(&keys, &lanes.from, &mut lanes.to);
        succeed(ops, good);
    }
}

/// The key as the lanes want it, made in the key's first batch. `None` for one that they do not
/// take, whose ops are then run one at a time.
fn private_key(key: &KeyHandle) -> Option<&PrivateKey> {
    let made: &Option<PrivateKey> = key.driver_data(|key| {
        let Some(Key::Rsa(key)) = key.as_local() else {
            return None;
        };
        let parts = KeyParts {
            n: key.n_limbs(),
            p: key.p_limbs(),
            q: key.q_limbs(),
            dp: key.dp_limbs(),
            dq: key.dq_limbs(),
            qinv: key.qinv_limbs(),
        };
        PrivateKey::new(&parts).ok()
    });
    made.as_ref()
}
