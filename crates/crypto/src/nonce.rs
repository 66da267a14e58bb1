//! ECDSA nonces: RFC 6979 with fresh randomness as additional input.
//!
//! A predictable or repeated nonce gives the key away. RFC 6979 makes it from key and digest,
//! so that no generator can fail; the additional input of its section 3.6 keeps one signature
//! from looking like another and takes the ground from fault attacks. Either source alone
//! suffices for safety. For drivers whose device takes the nonce from its caller.

use std::marker::PhantomData;

use zeroize::Zeroizing;

use crate::Wiped;
use crate::curve::{self, Array, Curve};
use crate::digest::{HmacKey, MAX_DIGEST_LEN};

/// Makes nonces for one curve, by the digest that is as long as its order.
pub struct NonceMaker<C> {
    /// The key of zeros, with which each derivation begins.
    zero_key: HmacKey,
    curve: PhantomData<C>,
}

impl<C: Curve> NonceMaker<C> {
    /// Makes a nonce maker, for any key. Hashes once, so keep it.
    #[allow(clippy::new_without_default)] // one way to make it
    pub fn new() -> Self {
        Self {
            zero_key: HmacKey::new(C::DIGEST, C::Scalar::ZERO.as_ref()),
            curve: PhantomData,
        }
    }

    /// Derives the nonce for `key` (in 1..n) and `digest`. Takes the same time for all keys and digests, with one
    /// exception: one candidate in 2^32 or more is rejected. The rejection tells nothing of the candidate that is taken.
    ///
    /// # Panics
    /// If the digest is not as long as the order, or additional input is longer than 48 bytes.
    pub fn derive(&self, key: &C::Limbs, digest: &[u8], additional: &[u8]) -> Zeroizing<C::Limbs> {
        // RFC 6979, section 3.2, by the letters of its steps.
        let mut message = Message::new::<C>(key, digest, additional); // a
        let mut v = Value::new([0x01; MAX_DIGEST_LEN]); // b, c
        let mut k = rekey::<C>(&self.zero_key, &mut message, &v, 0x00); // d
        v = sign::<C>(&k, &v); // e
        k = rekey::<C>(&k, &mut message, &v, 0x01); // f
        v = sign::<C>(&k, &v); // g
        v = sign::<C>(&k, &v); // h
        let mut nonce = Zeroizing::new(C::Limbs::ZERO);
        first_in_range::<C>(k, v, &mut nonce);
        nonce
    }
}

/// Bytes of a digest, which are as long as the order, and zeros.
type Value = Wiped<MAX_DIGEST_LEN>;
/// Longest of V, a byte, key, digest and additional input.
const MAX_MESSAGE: usize = 4 * 48 + 1;

/// What steps d and f make a key of: V, a byte, int2octets(x), bits2octets(h1), additional input.
struct Message {
    bytes: Wiped<MAX_MESSAGE>,
    len: usize,
}

impl Message {
    /// Makes a message; V and the byte are still to come.
    fn new<C: Curve>(key: &C::Limbs, digest: &[u8], additional: &[u8]) -> Self {
        let len = C::DIGEST.len();
        assert_eq!(digest.len(), len, "a digest as long as the order");
        let mut reduced: C::Limbs = curve::to_limbs(digest);
        curve::reduce::<C>(&mut reduced);
        let mut bytes = Wiped::<MAX_MESSAGE>::ZEROS;
        let rest = &mut bytes[len + 1..];
        curve::write_bytes(key.as_ref(), &mut rest[..len]);
        curve::write_bytes(reduced.as_ref(), &mut rest[len..2 * len]);
        rest[2 * len..][..additional.len()].copy_from_slice(additional);
        Self {
            bytes,
            len: 3 * len + 1 + additional.len(),
        }
    }
}

/// Takes `v`, or what follows it, until the nonce is in 1..n: the loop of step h.
fn first_in_range<C: Curve>(mut k: HmacKey, mut v: Value, nonce: &mut C::Limbs) {
    let len = C::DIGEST.len();
    loop {
        *nonce = curve::to_limbs(&v[..len]);
        if curve::in_range::<C>(nonce) {
            return;
        }
        let mut key = Value::ZEROS;
        k.sign(&[&v[..len], &[0x00]], &mut key[..]);
        k = HmacKey::new(C::DIGEST, &key[..len]);
        v = sign::<C>(&k, &v);
    }
}

/// Returns the key whose bytes are the HMAC of the message with `v` and `byte` in front.
fn rekey<C: Curve>(key: &HmacKey, message: &mut Message, v: &Value, byte: u8) -> HmacKey {
    let len = C::DIGEST.len();
    message.bytes[..len].copy_from_slice(&v[..len]);
    message.bytes[len] = byte;
    let mut next = Value::ZEROS;
    key.sign(&[&message.bytes[..message.len]], &mut next[..]);
    HmacKey::new(C::DIGEST, &next[..len])
}

/// Computes the HMAC of `v`.
fn sign<C: Curve>(key: &HmacKey, v: &Value) -> Value {
    let len = C::DIGEST.len();
    let mut next = Value::ZEROS;
    key.sign(&[&v[..len]], &mut next[..]);
    next
}

#[cfg(test)]
mod tests {
    use crate::curve::{P256, P384};

    use super::*;

    fn hex<S: Array<u8>>(text: &str) -> S {
        let mut bytes = S::ZERO;
        for (i, byte) in bytes.as_mut().iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex");
        }
        bytes
    }

    fn nonce<C: Curve>(key: &C::Limbs, digest: &[u8], additional: &[u8]) -> Vec<u8> {
        let nonce = *NonceMaker::<C>::new().derive(key, digest, additional);
        let mut bytes = vec![0; size_of::<C::Scalar>()];
        curve::write_bytes(nonce.as_ref(), &mut bytes);
        bytes
    }

    fn is_rfc_6979<C: Curve>(key: &str, of: [(&str, &str); 2]) {
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

    fn reduces<C: Curve>(key: &C::Limbs) {
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

    /// What a maker has made changes nothing of what it makes next.
    fn one_after_the_other<C: Curve>(key: C::Limbs) {
        let maker = NonceMaker::<C>::new();
        let mut keys = [key; 4];
        let digests = [[7; 48], [8; 48], [7; 48], [0xff; 48]];
        let additional = [[1; 48], [1; 48], [2; 48], [3; 48]];
        keys[1].as_mut()[0] += 1;
        let len = size_of::<C::Scalar>();
        for ((key, digest), additional) in keys.iter().zip(&digests).zip(&additional) {
            let (digest, additional) = (&digest[..len], &additional[..len]);
            let mut bytes = vec![0; len];
            curve::write_bytes(maker.derive(key, digest, additional).as_ref(), &mut bytes);
            assert_eq!(bytes, nonce::<C>(key, digest, additional));
        }
    }

    #[test]
    fn nonces_of_one_maker_are_those_of_fresh_ones() {
        one_after_the_other::<P256>([1, 2, 3, 4]);
        one_after_the_other::<P384>([1, 2, 3, 4, 5, 6]);
    }

    /// Step h.3, which no test comes by.
    #[test]
    fn a_candidate_out_of_range_is_followed_by_the_next() {
        let k = HmacKey::new(P256::DIGEST, &[5; 32]);
        let mut v = Value::ZEROS;
        v[..32].fill(0xff);
        let (mut key, mut next) = ([0; 32], [0; 32]);
        k.sign(&[&v[..32], &[0x00]], &mut key);
        HmacKey::new(P256::DIGEST, &key).sign(&[&v[..32]], &mut next);
        let mut nonce = [0; 4];
        first_in_range::<P256>(k, v, &mut nonce);
        assert_eq!(nonce, curve::to_limbs::<[u64; 4]>(&next));
    }
}
