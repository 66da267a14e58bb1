//! The curves P-256 and P-384 (SP 800-186, section 3.2.1): their sizes, and what is a scalar and
//! a point of them.

use zeroize::{Zeroize, Zeroizing};

use crate::aws_lc::{self, Group};
use crate::digest::Digest;
use crate::random;

/// A fixed number of bytes or limbs.
pub trait Array<T>: AsRef<[T]> + AsMut<[T]> + Copy + Zeroize {
    /// All zero.
    const ZERO: Self;
}

impl<const N: usize> Array<u8> for [u8; N] {
    const ZERO: Self = [0; N];
}

impl<const N: usize> Array<u64> for [u64; N] {
    const ZERO: Self = [0; N];
}

/// One of the two curves. Both have a prime order: every point but infinity generates the curve,
/// and there are no points of low order.
pub trait Curve: sealed::Sealed + 'static {
    /// The curve's name in FIPS 186-5.
    const NAME: &'static str;
    /// The order of the group, least significant limb first.
    const ORDER: Self::Limbs;
    /// The point that scalars are multiplied with for public keys.
    const GENERATOR: Self::Point;
    /// The digest as long as the order.
    const DIGEST: Digest;
    /// A number below the order, least significant limb first.
    type Limbs: Array<u64>;
    /// The same in big-endian bytes; also a digest to sign, and a shared secret.
    type Scalar: Array<u8>;
    /// A point, uncompressed: 0x04, x, y (SEC 1, section 2.3.3).
    type Point: Array<u8>;
    /// An ECDSA signature: r, s.
    type Signature: Array<u8>;
}

mod sealed {
    use super::Group;

    pub trait Sealed {
        const GROUP: Group;
    }
}

/// P-256, also called secp256r1 and prime256v1.
#[derive(Clone, Copy, Debug)]
pub enum P256 {}

/// P-384, also called secp384r1.
#[derive(Clone, Copy, Debug)]
pub enum P384 {}

impl sealed::Sealed for P256 {
    const GROUP: Group = Group::P256;
}

impl Curve for P256 {
    const NAME: &'static str = "P-256";
    const ORDER: [u64; 4] = [
        0xf3b9_cac2_fc63_2551,
        0xbce6_faad_a717_9e84,
        0xffff_ffff_ffff_ffff,
        0xffff_ffff_0000_0000,
    ];
    const GENERATOR: [u8; 65] = [
        0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4,
        0x40, 0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8,
        0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a,
        0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40,
        0x68, 0x37, 0xbf, 0x51, 0xf5,
    ];
    const DIGEST: Digest = Digest::Sha256;
    type Limbs = [u64; 4];
    type Scalar = [u8; 32];
    type Point = [u8; 65];
    type Signature = [u8; 64];
}

impl sealed::Sealed for P384 {
    const GROUP: Group = Group::P384;
}

impl Curve for P384 {
    const NAME: &'static str = "P-384";
    const ORDER: [u64; 6] = [
        0xecec_196a_ccc5_2973,
        0x581a_0db2_48b0_a77a,
        0xc763_4d81_f437_2ddf,
        0xffff_ffff_ffff_ffff,
        0xffff_ffff_ffff_ffff,
        0xffff_ffff_ffff_ffff,
    ];
    const GENERATOR: [u8; 97] = [
        0x04, 0xaa, 0x87, 0xca, 0x22, 0xbe, 0x8b, 0x05, 0x37, 0x8e, 0xb1, 0xc7, 0x1e, 0xf3, 0x20,
        0xad, 0x74, 0x6e, 0x1d, 0x3b, 0x62, 0x8b, 0xa7, 0x9b, 0x98, 0x59, 0xf7, 0x41, 0xe0, 0x82,
        0x54, 0x2a, 0x38, 0x55, 0x02, 0xf2, 0x5d, 0xbf, 0x55, 0x29, 0x6c, 0x3a, 0x54, 0x5e, 0x38,
        0x72, 0x76, 0x0a, 0xb7, 0x36, 0x17, 0xde, 0x4a, 0x96, 0x26, 0x2c, 0x6f, 0x5d, 0x9e, 0x98,
        0xbf, 0x92, 0x92, 0xdc, 0x29, 0xf8, 0xf4, 0x1d, 0xbd, 0x28, 0x9a, 0x14, 0x7c, 0xe9, 0xda,
        0x31, 0x13, 0xb5, 0xf0, 0xb8, 0xc0, 0x0a, 0x60, 0xb1, 0xce, 0x1d, 0x7e, 0x81, 0x9d, 0x7a,
        0x43, 0x1d, 0x7c, 0x90, 0xea, 0x0e, 0x5f,
    ];
    const DIGEST: Digest = Digest::Sha384;
    type Limbs = [u64; 6];
    type Scalar = [u8; 48];
    type Point = [u8; 97];
    type Signature = [u8; 96];
}

/// Reads a big-endian number, which must fit, into limbs. Takes the same time for all numbers.
pub fn to_limbs<L: Array<u64>>(bytes: &[u8]) -> L {
    let mut limbs = L::ZERO;
    write_limbs(bytes, limbs.as_mut());
    limbs
}

/// Reads a big-endian number into the caller's limbs. Limbs that `bytes` does not reach keep their
/// value.
pub(crate) fn write_limbs(bytes: &[u8], limbs: &mut [u64]) {
    for (limb, chunk) in limbs.iter_mut().zip(bytes.rchunks(8)) {
        *limb = chunk
            .iter()
            .fold(0, |limb, byte| limb << 8 | u64::from(*byte));
    }
}

/// Writes the number in `limbs` to `bytes`, big-endian.
///
/// # Panics
/// If `bytes` is not eight times as long.
pub fn write_bytes(limbs: &[u64], bytes: &mut [u8]) {
    assert_eq!(bytes.len(), 8 * limbs.len(), "bytes of the limbs");
    for (chunk, limb) in bytes.rchunks_mut(8).zip(limbs) {
        chunk.copy_from_slice(&limb.to_be_bytes());
    }
}

/// Returns `true` if 1 <= `scalar` < n. Branches on the result alone.
pub fn in_range<C: Curve>(scalar: &C::Limbs) -> bool {
    let mut difference = *scalar;
    let below = subtract_order::<C>(&mut difference);
    difference.zeroize();
    let any = scalar.as_ref().iter().fold(0, |any, limb| any | limb);
    below & (any != 0)
}

/// Reduces `number` modulo n, in constant time. A number of as many bits as n is below 2n.
pub fn reduce<C: Curve>(number: &mut C::Limbs) {
    let mut reduced = Zeroizing::new(*number);
    let below = subtract_order::<C>(&mut reduced);
    let keep = u64::from(below).wrapping_neg();
    for (limb, reduced) in number.as_mut().iter_mut().zip(reduced.as_ref()) {
        *limb = *limb & keep | reduced & !keep;
    }
}

/// Takes n away from `number`, modulo a power of two. Tells whether the number was below n.
fn subtract_order<C: Curve>(number: &mut C::Limbs) -> bool {
    let mut borrow = false;
    for (limb, order) in number.as_mut().iter_mut().zip(C::ORDER.as_ref()) {
        let (difference, first) = limb.overflowing_sub(*order);
        let (difference, second) = difference.overflowing_sub(u64::from(borrow));
        *limb = difference;
        borrow = first | second;
    }
    borrow
}

/// Fills `scalar` with a private key, uniform in 1..n: random bytes, drawn again when they are
/// out of range (FIPS 186-5, appendix A.2.2), which happens once in 2^32 draws on P-256.
pub fn random_scalar<C: Curve>(scalar: &mut C::Scalar) {
    loop {
        random::fill(scalar.as_mut());
        if in_range::<C>(&Zeroizing::new(to_limbs(scalar.as_ref()))) {
            return;
        }
    }
}

/// Returns `true` if `point` is an uncompressed point of the curve, as a peer's public key must be
/// (SP 800-56A, section 5.6.2.3.3; since the order is prime, partial validation is full).
pub fn is_point<C: Curve>(point: &[u8]) -> bool {
    aws_lc::is_point(&C::GROUP, point)
}

/// Writes the public key of the scalar `private`, in bytes of [`Curve::Scalar`] and
/// [`Curve::Point`]. Returns `false` if memory is out or a length is wrong.
#[must_use]
pub fn public<C: Curve>(private: &[u8], public: &mut [u8]) -> bool {
    aws_lc::ec_public(&C::GROUP, private, public)
}

/// Writes the secret that `private` shares with the point `peer`: the x coordinate of their
/// product. Returns `false` if `peer` is no point of the curve, memory is out or a length is wrong.
#[must_use]
pub fn shared<C: Curve>(private: &[u8], peer: &[u8], secret: &mut [u8]) -> bool {
    aws_lc::ec_shared(&C::GROUP, private, peer, secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plus<C: Curve>(delta: u64) -> C::Limbs {
        let mut number = C::ORDER;
        number.as_mut()[0] = number.as_ref()[0].wrapping_add(delta);
        number
    }

    fn range<C: Curve>() {
        let mut one = C::Limbs::ZERO;
        one.as_mut()[0] = 1;
        assert!(!in_range::<C>(&C::Limbs::ZERO));
        assert!(in_range::<C>(&one));
        assert!(in_range::<C>(&plus::<C>(u64::MAX)), "n-1");
        assert!(!in_range::<C>(&C::ORDER));
        assert!(!in_range::<C>(&plus::<C>(1)));
        let mut most = C::Limbs::ZERO;
        most.as_mut().fill(u64::MAX);
        assert!(!in_range::<C>(&most));

        let mut number = plus::<C>(7);
        reduce::<C>(&mut number);
        assert_eq!(number.as_ref()[0], 7);
        assert!(number.as_ref()[1..].iter().all(|limb| *limb == 0));
        reduce::<C>(&mut number);
        assert_eq!(number.as_ref()[0], 7);
    }

    fn generator<C: Curve>() {
        let mut one = C::Scalar::ZERO;
        if let Some(last) = one.as_mut().last_mut() {
            *last = 1;
        }
        let key = crate::EcKey::<C>::from_scalar(one.as_ref()).expect("1 is in range");
        assert_eq!(key.public_key().as_ref(), C::GENERATOR.as_ref());
    }

    #[test]
    fn the_generator_is_the_public_key_of_one() {
        generator::<P256>();
        generator::<P384>();
    }

    #[test]
    fn the_range_is_one_to_n() {
        range::<P256>();
        range::<P384>();
    }

    #[test]
    fn limbs_and_bytes_are_the_same_number() {
        let limbs: [u64; 2] = to_limbs(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(limbs, [0x0304_0506_0708_090a, 0x0102]);
        let mut bytes = [0xff; 16];
        write_bytes(&limbs, &mut bytes);
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }
}
