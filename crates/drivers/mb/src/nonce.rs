//! ECDSA nonces for P-256: RFC 6979 with fresh randomness as additional input.
//!
//! A predictable or repeated nonce gives the key away. RFC 6979 makes it from key and digest,
//! so that no generator can fail; the additional input of its section 3.6 keeps one signature
//! from looking like another and takes the ground from fault attacks. Either source alone
//! suffices for safety.

use spinlane_cryptodev::digest::{Digest, HmacKey};
use zeroize::{Zeroize, Zeroizing};

/// Order of the group (SEC 2, section 2.4.2), least significant limb first.
const ORDER: [u64; 4] = [
    0xf3b9_cac2_fc63_2551,
    0xbce6_faad_a717_9e84,
    0xffff_ffff_ffff_ffff,
    0xffff_ffff_0000_0000,
];

/// Makes nonces.
pub(crate) struct NonceMaker {
    /// The key of 32 zeros, with which each derivation begins.
    zero_key: HmacKey,
}

impl NonceMaker {
    pub(crate) fn new() -> Self {
        Self {
            zero_key: HmacKey::new(Digest::Sha256, &[0x00; 32]),
        }
    }

    /// Writes the nonce for `key` (in 1..n, limbs) and `digest` to `nonce`. Takes the same time
    /// for all keys and digests, except that one candidate in 2^32 is rejected, which tells
    /// nothing of the one taken.
    pub(crate) fn derive(
        &self,
        key: &[u64; 4],
        digest: &[u8; 32],
        additional: &[u8],
        nonce: &mut [u64; 4],
    ) {
        // RFC 6979, section 3.2, by the letters of its steps.
        let x = Zeroizing::new(to_bytes(key));
        let h = to_bytes(&reduce_once(&from_bytes(digest)));
        let mut v = Zeroizing::new([0x01; 32]); // b
        let mut k = rekey(&self.zero_key, &[&*v, &[0x00], &*x, &h, additional]); // c, d
        step(&k, &mut v); // e
        k = rekey(&k, &[&*v, &[0x01], &*x, &h, additional]); // f
        step(&k, &mut v); // g
        loop {
            step(&k, &mut v); // h
            *nonce = from_bytes(&v);
            if in_range(nonce) {
                return;
            }
            k = rekey(&k, &[&*v, &[0x00]]);
            step(&k, &mut v);
        }
    }
}

/// The key whose bytes are the HMAC of `parts` under `key`.
fn rekey(key: &HmacKey, parts: &[&[u8]]) -> HmacKey {
    let mut bytes = Zeroizing::new([0; 32]);
    key.sign(parts, &mut *bytes);
    HmacKey::new(Digest::Sha256, &*bytes)
}

/// V = HMAC(V).
fn step(key: &HmacKey, v: &mut [u8; 32]) {
    let mut next = [0; 32];
    key.sign(&[v], &mut next);
    *v = next;
    next.zeroize();
}

/// Whether 1 <= `a` < n, without a branch on `a` before the last.
pub(crate) fn in_range(a: &[u64; 4]) -> bool {
    let (_, below) = minus_order(a);
    let any = a.iter().fold(0, |any, limb| any | limb);
    below & (any != 0)
}

/// `a` mod n for any `a` of 256 bits, which is below 2n.
fn reduce_once(a: &[u64; 4]) -> [u64; 4] {
    let (reduced, below) = minus_order(a);
    let keep = u64::from(below).wrapping_neg();
    std::array::from_fn(|i| a[i] & keep | reduced[i] & !keep)
}

/// `a` - n mod 2^256, and whether `a` < n.
fn minus_order(a: &[u64; 4]) -> ([u64; 4], bool) {
    let mut borrow = false;
    let difference = std::array::from_fn(|i| {
        let (limb, first) = a[i].overflowing_sub(ORDER[i]);
        let (limb, second) = limb.overflowing_sub(u64::from(borrow));
        borrow = first | second;
        limb
    });
    (difference, borrow)
}

/// Limbs of a big-endian number.
pub(crate) fn from_bytes(bytes: &[u8; 32]) -> [u64; 4] {
    let (words, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|i| u64::from_be_bytes(words[3 - i]))
}

/// The same the other way.
fn to_bytes(limbs: &[u64; 4]) -> [u8; 32] {
    let mut bytes = [0; 32];
    let (words, _) = bytes.as_chunks_mut::<8>();
    words
        .iter_mut()
        .zip(limbs.iter().rev())
        .for_each(|(word, limb)| *word = limb.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> [u8; 32] {
        std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex"))
    }

    fn nonce(key: &[u64; 4], digest: &[u8; 32], additional: &[u8]) -> [u8; 32] {
        let mut nonce = [0; 4];
        NonceMaker::new().derive(key, digest, additional, &mut nonce);
        to_bytes(&nonce)
    }

    #[test]
    fn without_additional_input_it_is_rfc_6979() {
        // Appendix A.2.5, with SHA-256.
        let key = from_bytes(&hex(
            "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721",
        ));
        for (message, expected) in [
            (
                "sample",
                "A6E3C57DD01ABE90086538398355DD4C3B17AA873382B0F24D6129493D8AAD60",
            ),
            (
                "test",
                "D16B6AE827F17175E040871A1C7EC3500192C4C92677336EC2537ACAEE0008E0",
            ),
        ] {
            let mut digest = [0; 32];
            Digest::Sha256.hash(&[message.as_bytes()], &mut digest);
            assert_eq!(nonce(&key, &digest, b""), hex(expected), "{message}");
        }
    }

    #[test]
    fn every_input_matters() {
        let base = nonce(&[1, 2, 3, 4], &[5; 32], &[6; 32]);
        assert_ne!(nonce(&[1, 2, 3, 5], &[5; 32], &[6; 32]), base);
        assert_ne!(nonce(&[1, 2, 3, 4], &[4; 32], &[6; 32]), base);
        assert_ne!(nonce(&[1, 2, 3, 4], &[5; 32], &[7; 32]), base);
    }

    #[test]
    fn a_digest_above_the_order_is_reduced() {
        let above = to_bytes(&std::array::from_fn(|i| {
            ORDER[i].wrapping_add(u64::from(i == 0) * 7)
        }));
        let mut seven = [0; 32];
        seven[31] = 7;
        assert_eq!(
            nonce(&[1, 2, 3, 4], &above, b""),
            nonce(&[1, 2, 3, 4], &seven, b"")
        );
    }

    #[test]
    fn the_range_is_one_to_n() {
        let plus = |delta: u64| {
            std::array::from_fn(|i| {
                if i == 0 {
                    ORDER[0].wrapping_add(delta)
                } else {
                    ORDER[i]
                }
            })
        };
        assert!(!in_range(&[0; 4]));
        assert!(in_range(&[1, 0, 0, 0]));
        assert!(in_range(&plus(u64::MAX)), "n-1");
        assert!(!in_range(&ORDER));
        assert!(!in_range(&plus(1)));
        assert!(!in_range(&[u64::MAX; 4]));
    }
}
