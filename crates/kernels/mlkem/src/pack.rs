//! Words to bits and back (FIPS 203, 4.2.1): ByteEncode, ByteDecode, Compress, Decompress.
//!
//! ```text
//!  d = 10:    word 0    word 1     word 2    word 3          four words to a 64-bit word
//!  vpmaddwd   [ word 0 + 2^10 word 1 ][ word 2 + 2^10 word 3 ]
//!  shifts     [ 40 bits                     | 0              ]
//!  vpermb     5 bytes of every 8, together at the start of the line
//! ```
//! The way back is vpermb, vpmultishiftqb (sixteen bits from any bit on) and a mask.
//! An odd d makes four words end within a byte, which then comes from two 64-bit words.

use std::arch::x86_64::*;

use crate::field::{Q, Q_LINE};
use crate::simd::{Line, ZERO, bytes8, load, store, words16, words64};

/// Tables for words of D bits.
struct Bits<const D: usize>;

impl<const D: usize> Bits<D> {
    /// Bytes of 32 words.
    const BYTES: usize = 4 * D;
    const IS_ODD: bool = D % 2 == 1;

    const MASK: Line = words16([(1 << D) - 1; 32]);
    /// The 64-bit word of four words: its bytes.
    const SPREAD: Line = {
        let mut table = [0; 64];
        let mut i = 0;
        while i < 64 {
            table[i] = ((i / 8 * 4 * D) / 8 + i % 8) as u8;
            i += 1;
        }
        bytes8(table)
    };
    /// The bit from which on each byte of four words is taken.
    const SHIFTS: Line = {
        let mut table = [0; 64];
        let mut i = 0;
        while i < 64 {
            let within = (i / 8 * 4 * D) % 8;
            table[i] = ((within + D * (i % 8 / 2) + 8 * (i % 2)) % 64) as u8;
            i += 1;
        }
        bytes8(table)
    };
    /// 1 and 2^D by turns.
    const JOIN: Line = {
        let mut table = [1; 32];
        let mut i = 1;
        while i < 32 {
            table[i] = 1 << D;
            i += 2;
        }
        words16(table)
    };
    /// Moves a lower half up against the upper.
    const CLOSE_UP: Line = words64([32 - 2 * D as u64; 8]);
    /// Half a byte for odd 64-bit words if D is odd.
    const ODD: Line = words64(if Self::IS_ODD {
        [0, 4, 0, 4, 0, 4, 0, 4]
    } else {
        [0; 8]
    });
    /// Where a packed byte comes from, and, if D is odd, where its other half, and which these are.
    const GATHER: Line = Self::sources(false);
    const OTHER: Line = Self::sources(true);
    const SHARED: u64 = {
        let mut mask = 0;
        let mut i = 0;
        while i < Self::BYTES {
            if Self::IS_ODD && i % D == D / 2 {
                mask |= 1 << i;
            }
            i += 1;
        }
        mask
    };

    /// D packed bytes are those of two 64-bit words.
    const fn sources(other: bool) -> Line {
        let mut table = [0; 64];
        let mut i = 0;
        while i < Self::BYTES {
            let (pair, byte) = (i / D, i % D);
            let second = byte > D / 2 || (byte == D / 2 && (other || !Self::IS_ODD));
            table[i] = (16 * pair + if second { 8 + byte - D / 2 } else { byte }) as u8;
            i += 1;
        }
        bytes8(table)
    }
}

/// Reads 32 words of D bits from the first 4 D bytes of a line.
#[inline]
#[target_feature(enable = "avx512f,avx512vbmi")]
pub(crate) fn spread<const D: usize>(packed: Line) -> Line {
    let quads = _mm512_permutexvar_epi8(Bits::<D>::SPREAD, packed);
    let words = _mm512_multishift_epi64_epi8(Bits::<D>::SHIFTS, quads);
    _mm512_and_si512(words, Bits::<D>::MASK)
}

/// Packs 32 words of D bits into the first 4 D bytes of a line.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn gather<const D: usize>(words: Line) -> Line {
    let pairs = _mm512_madd_epi16(words, Bits::<D>::JOIN);
    // Left in the lower half, then right over both: four words are together.
    let quads = _mm512_sllv_epi32(pairs, _mm512_maskz_mov_epi32(0x5555, Bits::<D>::CLOSE_UP));
    let quads = _mm512_srlv_epi64(quads, Bits::<D>::CLOSE_UP);
    let quads = _mm512_sllv_epi64(quads, Bits::<D>::ODD);
    let packed = _mm512_permutexvar_epi8(Bits::<D>::GATHER, quads);
    if !Bits::<D>::IS_ODD {
        return packed;
    }
    let other = _mm512_maskz_permutexvar_epi8(Bits::<D>::SHARED, Bits::<D>::OTHER, quads);
    _mm512_or_si512(packed, other)
}

/// Computes ByteDecode of 256 words of D bits. Reads up to 64 - 4 D bytes more than their 32 D.
#[inline]
#[target_feature(enable = "avx512f,avx512vbmi")]
pub(crate) fn decode<const D: usize>(packed: &[u8]) -> [Line; 8] {
    let mut p = [ZERO; 8];
    for (i, words) in p.iter_mut().enumerate() {
        *words = spread::<D>(load(packed, i * Bits::<D>::BYTES));
    }
    p
}

/// Computes ByteEncode of 256 words of D bits. Writes up to 64 - 4 D bytes more than their 32 D.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(crate) fn encode<const D: usize>(p: &[Line; 8], packed: &mut [u8]) {
    for (i, words) in p.iter().enumerate() {
        store(packed, i * Bits::<D>::BYTES, gather::<D>(*words));
    }
}

/// Returns `true` if all words are below q.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn is_canonical(p: &[Line; 8]) -> bool {
    let mut largest = ZERO;
    for words in p {
        largest = _mm512_max_epu16(largest, *words);
    }
    _mm512_cmpge_epu16_mask(largest, Q_LINE) == 0
}

/// Computes round(2^D x / q) mod 2^D of words below q.
///
/// The quotient of 2^D x + q/2 by a multiplication that may be one too low, but not for D = 1:
/// the remainder tells (all x tried).
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn compress<const D: usize>(x: Line) -> Line {
    // 2^(12+D) / q, rounded up.
    let factor = _mm512_set1_epi16(((1 << (12 + D)) / Q + 1) as i16);
    let low = _mm512_mulhi_epu16(_mm512_slli_epi16::<4>(x), factor);
    let doubled = _mm512_sllv_epi16(x, _mm512_set1_epi16(D as i16));
    let value = _mm512_add_epi16(doubled, _mm512_set1_epi16((Q / 2) as i16));
    let rest = _mm512_sub_epi16(value, _mm512_mullo_epi16(low, Q_LINE));
    let more = _mm512_cmpge_epi16_mask(rest, Q_LINE);
    let rounded = _mm512_mask_add_epi16(low, more, low, _mm512_set1_epi16(1));
    _mm512_and_si512(rounded, Bits::<D>::MASK)
}

/// Computes round(q x / 2^D) of words of D bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn decompress<const D: usize>(x: Line) -> Line {
    // vpmulhrsw rounds a b / 2^15.
    let shifted = _mm512_sllv_epi16(x, _mm512_set1_epi16(15 - D as i16));
    _mm512_mulhrs_epi16(shifted, Q_LINE)
}

/// Computes ByteEncode of Compress, of words below q.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(crate) fn encode_compressed<const D: usize>(p: &[Line; 8], packed: &mut [u8]) {
    let mut compressed = [ZERO; 8];
    for (to, words) in compressed.iter_mut().zip(p) {
        *to = compress::<D>(*words);
    }
    encode::<D>(&compressed, packed);
}

/// Decompress of ByteDecode.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(crate) fn decode_compressed<const D: usize>(packed: &[u8]) -> [Line; 8] {
    let mut p = decode::<D>(packed);
    for words in &mut p {
        *words = decompress::<D>(*words);
    }
    p
}

/// Returns the polynomial of a message: q/2, rounded up, where a bit is set.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn from_message(message: &[u8]) -> [Line; 8] {
    let mut p = [ZERO; 8];
    for (words, bits) in p.iter_mut().zip(message.chunks_exact(4)) {
        let bits = u32::from_le_bytes([bits[0], bits[1], bits[2], bits[3]]);
        *words = _mm512_maskz_set1_epi16(bits, (Q / 2 + 1) as i16);
    }
    p
}

/// Writes the message of a polynomial: a bit is set where a word below q is nearer to q/2 than to
/// 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn to_message(p: &[Line; 8], message: &mut [u8]) {
    for (words, bits) in p.iter().zip(message.chunks_exact_mut(4)) {
        // From 833 to 2496.
        let above = _mm512_sub_epi16(*words, _mm512_set1_epi16(833));
        let set = _mm512_cmplt_epu16_mask(above, _mm512_set1_epi16(1664));
        bits.copy_from_slice(&set.to_le_bytes());
    }
}
