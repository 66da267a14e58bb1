//! ECDSA on P-256.

use spinlane_cryptodev::{Key, Op, OpKind, random};
use zeroize::{Zeroize, Zeroizing};

use super::{Lanes, Operands, succeed};
use crate::nonce;

/// Whether crypto_mb signs this digest: it refuses 0 and what is not below the group's order,
/// together one digest in 2^32.
pub(super) fn takes(digest: &[u8]) -> bool {
    digest
        .try_into()
        .is_ok_and(|digest| nonce::in_range(&nonce::from_bytes(digest)))
}

impl Lanes {
    pub(super) fn ecdsa_p256(&mut self, ops: &mut [Box<Op>]) {
        let fill = ops.len();
        let mut lanes = Operands::of(ops, &mut self.spare, OpKind::EcdsaP256);
        let Some(keys) = lanes.keys(|key| match key {
            Key::EcP256(key) => Some(key.scalar_limbs()),
            Key::Rsa(_) => None,
        }) else {
            return;
        };

        let mut fresh = Zeroizing::new([0; 32]);
        for (nonce, (key, digest)) in self.nonces[..fill]
            .iter_mut()
            .zip(keys.iter().zip(lanes.from))
        {
            let Ok(digest) = digest.try_into() else {
                return;
            };
            random::fill(&mut *fresh);
            self.nonce_maker.derive(key, digest, &*fresh, nonce);
        }
        // The lanes left over sign lane 0's digest with lane 0's nonce: the same signature.
        let first = Zeroizing::new(self.nonces[0]);
        self.nonces[fill..].fill(*first);

        let status = self
            .cpu
            .p256_sign(&keys, &self.nonces, &lanes.from, &mut lanes.to);
        self.nonces.zeroize();
        succeed(ops, status.ok_lanes());
    }
}
