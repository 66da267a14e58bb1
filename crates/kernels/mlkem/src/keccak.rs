//! Keccak-f[1600] (FIPS 202) of eight states side by side.
//!
//! ```text
//!              lane 0   lane 1        lane 7
//!  line 0:   [ A0[0,0]  A1[0,0]  ...  A7[0,0] ]     a line is one word of all eight states,
//!  line 1:   [ A0[1,0]  A1[1,0]  ...  A7[1,0] ]     a state is a column of 25 words
//!   ...
//!  line 24:  [ A0[4,4]  A1[4,4]  ...  A7[4,4] ]
//! ```
//!
//! Messages and output lie in memory lane by lane. [`transpose`] turns eight 64-byte rows, one
//! per lane, into eight lines of a word each, and back.
//!
//! A round is 95 instructions and some copies: theta takes 15 for the parities of columns and what
//! two of them add to the column between (vpternlogq adds three words), 5 rotations (vprolq), and
//! 25 additions; rho and pi are 24 rotations and names; chi is 25 (vpternlogq), iota 1. Zen 4 takes
//! 60 cycles, two instructions per cycle being its limit. Theta by vpternlogq, without the five
//! sums, is 90 instructions and 64 cycles: three operands each are more than the register file
//! delivers, and five more parities are more than it holds. In assembly, 1,000 orders tried, the
//! best took 57.

use std::arch::x86_64::*;

use crate::simd::{Line, ZERO};

/// Round constants (FIPS 202, 3.2.5).
const ROUNDS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

/// Eight states. Word (x, y) is line x + 5 y.
pub(crate) type State = [Line; 25];

/// a ^ b ^ c.
#[inline]
#[target_feature(enable = "avx512f")]
fn xor3(a: Line, b: Line, c: Line) -> Line {
    _mm512_ternarylogic_epi64::<0x96>(a, b, c)
}

/// a ^ (!b & c).
#[inline]
#[target_feature(enable = "avx512f")]
fn chi(a: Line, b: Line, c: Line) -> Line {
    _mm512_ternarylogic_epi64::<0xd2>(a, b, c)
}

/// Permutes all eight states.
#[inline(never)]
#[target_feature(enable = "avx512f")]
pub(crate) fn permute(state: &mut State) {
    let mut a = *state;
    for constant in ROUNDS {
        // theta: the parity of each column; those of its neighbours, the right one rotated.
        let mut parity = [ZERO; 5];
        let mut added = [ZERO; 5];
        for x in 0..5 {
            parity[x] = xor3(xor3(a[x], a[x + 5], a[x + 10]), a[x + 15], a[x + 20]);
        }
        for x in 0..5 {
            added[x] = _mm512_xor_si512(
                parity[(x + 4) % 5],
                _mm512_rol_epi64::<1>(parity[(x + 1) % 5]),
            );
        }
        // theta's end, rho and pi, row by row of what they make; then chi on that row.
        macro_rules! row {
            ($($from:literal << $by:literal),+) => {{
                let [b0, b1, b2, b3, b4] = [$({
                    let x = $from % 5;
                    let word = _mm512_xor_si512(a[$from], added[x]);
                    _mm512_rol_epi64::<$by>(word)
                }),+];
                [chi(b0, b1, b2), chi(b1, b2, b3), chi(b2, b3, b4), chi(b3, b4, b0), chi(b4, b0, b1)]
            }};
        }
        let rows = [
            row!(0 << 0, 6 << 44, 12 << 43, 18 << 21, 24 << 14),
            row!(3 << 28, 9 << 20, 10 << 3, 16 << 45, 22 << 61),
            row!(1 << 1, 7 << 6, 13 << 25, 19 << 8, 20 << 18),
            row!(4 << 27, 5 << 36, 11 << 10, 17 << 15, 23 << 56),
            row!(2 << 62, 8 << 55, 14 << 39, 15 << 41, 21 << 2),
        ];
        for y in 0..5 {
            for x in 0..5 {
                a[x + 5 * y] = rows[y][x];
            }
        }
        a[0] = _mm512_xor_si512(a[0], _mm512_set1_epi64(constant as i64));
    }
    *state = a;
}

/// Turns eight rows of eight 64-bit words into columns.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn transpose(rows: [Line; 8]) -> [Line; 8] {
    // Words 2k of rows 2i and 2i + 1, then words 2k + 1: pairs, four to a line.
    let mut even = [ZERO; 4];
    let mut odd = [ZERO; 4];
    for i in 0..4 {
        even[i] = _mm512_unpacklo_epi64(rows[2 * i], rows[2 * i + 1]);
        odd[i] = _mm512_unpackhi_epi64(rows[2 * i], rows[2 * i + 1]);
    }
    let [w0, w2, w4, w6] = transpose_pairs(even);
    let [w1, w3, w5, w7] = transpose_pairs(odd);
    [w0, w1, w2, w3, w4, w5, w6, w7]
}

/// Turns four rows of four 128-bit words into columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose_pairs(rows: [Line; 4]) -> [Line; 4] {
    // Words 0 and 2 of two rows, 0x88, or words 1 and 3, 0xdd.
    let even_01 = _mm512_shuffle_i64x2::<0x88>(rows[0], rows[1]);
    let even_23 = _mm512_shuffle_i64x2::<0x88>(rows[2], rows[3]);
    let odd_01 = _mm512_shuffle_i64x2::<0xdd>(rows[0], rows[1]);
    let odd_23 = _mm512_shuffle_i64x2::<0xdd>(rows[2], rows[3]);
    [
        _mm512_shuffle_i64x2::<0x88>(even_01, even_23),
        _mm512_shuffle_i64x2::<0x88>(odd_01, odd_23),
        _mm512_shuffle_i64x2::<0xdd>(even_01, even_23),
        _mm512_shuffle_i64x2::<0xdd>(odd_01, odd_23),
    ]
}
