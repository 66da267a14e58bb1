//! ECDSA nonces: RFC 6979 with fresh randomness as additional input.
//!
//! A predictable or repeated nonce gives the key away. RFC 6979 makes it from key and digest,
//! so that no generator can fail; the additional input of its section 3.6 keeps one signature
//! from looking like another and takes the ground from fault attacks. Either source alone
//! suffices for safety.

use std::marker::PhantomData;

use spinlane_cryptodev::curve::{self, Array};
use spinlane_cryptodev::digest::HmacKey;
use zeroize::{Zeroize, Zeroizing};

use crate::ffi::LaneCurve;

/// Makes nonces for one curve, by the digest that is as long as its order.
pub(crate) struct NonceMaker<C> {
    /// The key of zeros, with which each derivation begins.
    zero_key: HmacKey,
    curve: PhantomData<C>,
}

impl<C: LaneCurve> NonceMaker<C> {
    pub(crate) fn new() -> Self {
        Self {
            zero_key: HmacKey::new(C::DIGEST, C::Scalar::ZERO.as_ref()),
            curve: PhantomData,
        }
    }

    /// Writes the nonce for `key` (in 1..n) and `digest` to `nonce`. Takes the same time
    /// for all keys and digests, except that one candidate in 2^32 or more is rejected, which
    /// tells nothing of the one taken.
    ///
    /// # Panics
    /// If `digest` is not as long as the order.
    pub(crate) fn derive(
        &self,
        key: &C::Limbs,
        digest: &[u8],
        additional: &[u8],
        nonce: &mut C::Limbs,
    ) {
        // RFC 6979, section 3.2, by the letters of its steps.
        let mut x = Zeroizing::new(C::Scalar::ZERO);
        curve::write_bytes(key.as_ref(), x.as_mut());
        let mut h = C::Scalar::ZERO;
        let mut reduced = curve::to_limbs(digest);
        curve::reduce::<C>(&mut reduced);
        curve::write_bytes(reduced.as_ref(), h.as_mut());
        let (x, h) = (x.as_ref(), h.as_ref());

        let mut v = Zeroizing::new(C::Scalar::ZERO); // b
        v.as_mut().fill(0x01);
        let mut k = rekey::<C>(&self.zero_key, &[v.as_ref(), &[0x00], x, h, additional]); // c, d
        step::<C>(&k, &mut v); // e
        k = rekey::<C>(&k, &[v.as_ref(), &[0x01], x, h, additional]); // f
        step::<C>(&k, &mut v); // g
        loop {
            step::<C>(&k, &mut v); // h
            *nonce = curve::to_limbs(v.as_ref());
            if curve::in_range::<C>(nonce) {
                return;
            }
            k = rekey::<C>(&k, &[v.as_ref(), &[0x00]]);
            step::<C>(&k, &mut v);
        }
    }
}

/// The key whose bytes are the HMAC of `parts` under `key`.
fn rekey<C: LaneCurve>(key: &HmacKey, parts: &[&[u8]]) -> HmacKey {
    let mut bytes = Zeroizing::new(C::Scalar::ZERO);
    key.sign(parts, bytes.as_mut());
    HmacKey::new(C::DIGEST, bytes.as_ref())
}

/// V = HMAC(V).
fn step<C: LaneCurve>(key: &HmacKey, v: &mut C::Scalar) {
    let mut next = C::Scalar::ZERO;
    key.sign(&[v.as_ref()], next.as_mut());
    *v = next;
    next.zeroize();
}

#[cfg(test)]
mod tests {
    use spinlane_cryptodev::curve::{P256, P384};

    use super::*;

    fn hex<S: Array<u8>>(text: &str) -> S {
        let mut bytes = S::ZERO;
        for (i, byte) in bytes.as_mut().iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex");
        }
        bytes
    }

    fn nonce<C: LaneCurve>(key: &C::Limbs, digest: &[u8], additional: &[u8]) -> Vec<u8> {
        let mut nonce = C::Limbs::ZERO;
        NonceMaker::<C>::new().derive(key, digest, additional, &mut nonce);
        let mut bytes = vec![0; size_of::<C::Scalar>()];
        curve::write_bytes(nonce.as_ref(), &mut bytes);
        bytes
    }

    fn is_rfc_6979<C: LaneCurve>(key: &str, of: [(&str, &str); 2]) {
        let key = curve::to_limbs(hex::<C::Scalar>(key).as_ref());
        for (message, expected) in of {
            let mut digest = C::Scalar::ZERO;
            C::DIGEST.hash(&[message.as_bytes()], digest.as_mut());
            assert_eq!(
                nonce::<C>(&key, digest.as_ref(), b""),
                hex::<C::Scalar>(expected).as_ref(),
                "{message}"
            );
        }
    }

    /// Appendices A.2.5 with SHA-256 and A.2.6 with SHA-384.
    #[test]
    fn without_additional_input_it_is_rfc_6979() {
        is_rfc_6979::<P256>(
            "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721",
            [
                (
                    "sample",
                    "A6E3C57DD01ABE90086538398355DD4C3B17AA873382B0F24D6129493D8AAD60",
                ),
                (
                    "test",
                    "D16B6AE827F17175E040871A1C7EC3500192C4C92677336EC2537ACAEE0008E0",
                ),
            ],
        );
        is_rfc_6979::<P384>(
            "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D8\
             96D5724E4C70A825F872C9EA60D2EDF5",
            [
                (
                    "sample",
                    "94ED910D1A099DAD3254E9242AE85ABDE4BA15168EAF0CA87A555FD56D10FBCA\
                     2907E3E83BA95368623B8C4686915CF9",
                ),
                (
                    "test",
                    "015EE46A5BF88773ED9123A5AB0807962D193719503C527B031B4C2D225092AD\
                     A71F4A459BC0DA98ADB95837DB8312EA",
                ),
            ],
        );
    }

    #[test]
    fn every_input_matters() {
        let base = nonce::<P256>(&[1, 2, 3, 4], &[5; 32], &[6; 32]);
        assert_ne!(nonce::<P256>(&[1, 2, 3, 5], &[5; 32], &[6; 32]), base);
        assert_ne!(nonce::<P256>(&[1, 2, 3, 4], &[4; 32], &[6; 32]), base);
        assert_ne!(nonce::<P256>(&[1, 2, 3, 4], &[5; 32], &[7; 32]), base);
    }

    fn reduces<C: LaneCurve>(key: &C::Limbs) {
        let mut seven = C::Scalar::ZERO;
        let mut above = C::ORDER;
        above.as_mut()[0] += 7;
        if let Some(last) = seven.as_mut().last_mut() {
            *last = 7;
        }
        let mut digest = C::Scalar::ZERO;
        curve::write_bytes(above.as_ref(), digest.as_mut());
        assert_eq!(
            nonce::<C>(key, digest.as_ref(), b""),
            nonce::<C>(key, seven.as_ref(), b"")
        );
    }

    #[test]
    fn a_digest_above_the_order_is_reduced() {
        reduces::<P256>(&[1, 2, 3, 4]);
        reduces::<P384>(&[1, 2, 3, 4, 5, 6]);
    }
}
