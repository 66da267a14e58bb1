//! The curves P-256 and P-384 (SP 800-186, section 3.2.1): their sizes, and what is a scalar and
//! a point of them.

use zeroize::{Zeroize, Zeroizing};

use crate::aws_lc::{self, Group};
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

/// One of the two curves. They have a prime order, so that every point but infinity generates
/// them: there are no points of low order.
pub trait Curve: sealed::Sealed + 'static {
    /// Its name in FIPS 186-5.
    const NAME: &'static str;
    /// The order of the group, least significant limb first.
    const ORDER: Self::Limbs;
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
    type Limbs = [u64; 6];
    type Scalar = [u8; 48];
    type Point = [u8; 97];
    type Signature = [u8; 96];
}

/// The limbs of a big-endian number, which must fit. Takes the same time for all numbers.
pub fn to_limbs<L: Array<u64>>(bytes: &[u8]) -> L {
    let mut limbs = L::ZERO;
    write_limbs(bytes, limbs.as_mut());
    limbs
}

/// The same into the caller's memory; limbs that `bytes` does not reach keep their value.
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

/// Whether 1 <= `scalar` < n, without a branch on it before the last.
pub fn in_range<C: Curve>(scalar: &C::Limbs) -> bool {
    let mut difference = *scalar;
    let below = subtract_order::<C>(&mut difference);
    difference.zeroize();
    let any = scalar.as_ref().iter().fold(0, |any, limb| any | limb);
    below & (any != 0)
}

/// `number` mod n, for any number of as many bits, which is below 2n. In constant time.
pub fn reduce<C: Curve>(number: &mut C::Limbs) {
    let mut reduced = Zeroizing::new(*number);
    let below = subtract_order::<C>(&mut reduced);
    let keep = u64::from(below).wrapping_neg();
    for (limb, reduced) in number.as_mut().iter_mut().zip(reduced.as_ref()) {
        *limb = *limb & keep | reduced & !keep;
    }
}

/// Takes n away from `number`, modulo a power of two; whether the number was below n.
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

/// Whether `point` is an uncompressed point of the curve: what must be asked of a peer's public
/// key (SP 800-56A, section 5.6.2.3.3; the order being prime, partial validation is full).
pub fn is_point<C: Curve>(point: &[u8]) -> bool {
    aws_lc::is_point(&C::GROUP, point)
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
