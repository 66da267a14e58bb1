//! ECDSA and ECDH on P-256 and P-384, by a device's signatures and products of points.
//!
//! ```text
//!   sign      digest e, key d, nonce k ─▶ device ─▶ r, s ─▶ s k = e + r d mod n: the signature
//!   keygen    scalar · generator       ─▶ device ─▶ x, y ─▶ on the curve: the point
//!   derive    scalar · peer            ─▶ device ─▶ x, y ─▶ on the curve: x
//!   exchange  both
//! ```
//! A peer's point that is not on the curve reaches no device: one that multiplies it gives the scalar away
//! (Biehl, Meyer, Müller 2000). A product is not computed again to compare, which would cost as much as the
//! device spares: one that is on the curve but wrong ends the handshake at the peer, and tells nothing, since
//! its scalar serves once. Nor is it computed again, for the same reason, that r is the nonce's: by the equation
//! everything else is right, and no fault in the key or in what follows r comes out (Bao and others 1997).

mod exchange;
mod sign;

use spinlane_crypto::curve::{Curve, P256, P384};
use spinlane_cryptodev::{Capabilities, OpKind};

use crate::ffi::{DeviceId, Group};

pub(crate) use exchange::{Multipliers, Unstaged, take_products};
pub(crate) use sign::Signer;

/// What a device does on curves, or may do: whether is found out by a trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Curves {
    pub(crate) signs: bool,
    pub(crate) multiplies: bool,
}

impl Curves {
    /// What to try: what the device lists, and of a card all, since `crypto_qat` has curves without listing
    /// them before 25.11.
    pub(crate) fn to_try(device: DeviceId) -> Self {
        let card = device.is_hardware() && device.is_asymmetric();
        Self {
            signs: card || device.lists_ecdsa(),
            multiplies: card || device.lists_ecpm(),
        }
    }

    /// What is served by `kinds`.
    pub(crate) fn of(kinds: Capabilities) -> Self {
        let any = |those: [OpKind; 2]| those.into_iter().any(|kind| kinds.has(kind));
        Self {
            signs: any([OpKind::EcdsaP256, OpKind::EcdsaP384]),
            multiplies: any([OpKind::EcdhP256Exchange, OpKind::EcdhP384Exchange]),
        }
    }

    pub(crate) fn any(self) -> bool {
        self.signs || self.multiplies
    }

    /// Those kinds of op, each as what serves with it: who signs one digest signs all, who exchanges keys
    /// makes them and secrets.
    pub(crate) fn kinds(self) -> impl Iterator<Item = &'static [OpKind]> {
        let signs: &[&[OpKind]] = &[&[OpKind::EcdsaP256], &[OpKind::EcdsaP384]];
        let multiplies: &[&[OpKind]] = &[
            &[
                OpKind::EcdhP256Exchange,
                OpKind::EcdhP256Keygen,
                OpKind::EcdhP256Derive,
            ],
            &[
                OpKind::EcdhP384Exchange,
                OpKind::EcdhP384Keygen,
                OpKind::EcdhP384Derive,
            ],
        ];
        let signs = signs.iter().filter(move |_| self.signs);
        let multiplies = multiplies.iter().filter(move |_| self.multiplies);
        signs.chain(multiplies).copied()
    }
}

/// A curve as DPDK calls it.
pub(crate) trait Named: Curve {
    const IN_DPDK: Group;
}

impl Named for P256 {
    const IN_DPDK: Group = Group::P256;
}

impl Named for P384 {
    const IN_DPDK: Group = Group::P384;
}

/// Writes a big-endian number that may lack leading zeros, or have more than `to`. Whether it fits.
fn write_number(from: &[u8], to: &mut [u8]) -> bool {
    let (extra, from) = from.split_at(from.len().saturating_sub(to.len()));
    let (zeros, digits) = to.split_at_mut(to.len() - from.len());
    zeros.fill(0);
    digits.copy_from_slice(from);
    extra.iter().fold(0, |any, byte| any | byte) == 0
}

/// x and y of an uncompressed point.
fn coordinates(point: &[u8]) -> [&[u8]; 2] {
    let (x, y) = point[1..].split_at(point.len() / 2);
    [x, y]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_fits_if_what_is_cut_off_is_zero() {
        let mut to = [0xee; 3];
        for (from, fits, expected) in [
            (&[1, 2, 3][..], true, [1, 2, 3]),
            (&[2, 3], true, [0, 2, 3]),
            (&[], true, [0, 0, 0]),
            (&[0, 0, 1, 2, 3], true, [1, 2, 3]),
            (&[4, 0, 1, 2, 3], false, [1, 2, 3]),
        ] {
            assert_eq!(write_number(from, &mut to), fits);
            assert_eq!(to, expected);
        }
    }

    #[test]
    fn kinds_are_tried_by_what_the_device_may_do() {
        let all = Curves {
            signs: true,
            multiplies: true,
        };
        assert_eq!(all.kinds().flatten().count(), 8);
        for kinds in all.kinds() {
            let of = Curves::of(Capabilities::NONE.with(kinds[0]));
            assert_eq!(of.signs, kinds.len() == 1);
            assert_eq!(of.multiplies, kinds.len() == 3);
        }
        assert_eq!(Curves::default().kinds().count(), 0);
    }
}
