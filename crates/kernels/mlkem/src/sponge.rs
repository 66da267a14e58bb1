//! SHA-3 and SHAKE (FIPS 202) over eight messages of one length.
//!
//! ML-KEM hashes two sorts of messages: short ones, of 33, 34 or 64 bytes, which are built in
//! registers ([`start`]), and long ones of 3 K blocks of 136 bytes, padded in memory
//! ([`absorb_block`]).

use std::arch::x86_64::*;

use crate::keccak::{State, permute, transpose};
use crate::simd::{Line, ZERO, load};

/// Lanes of a batch.
pub const LANES: usize = 8;

/// Words per block of SHAKE128, which makes the matrix.
pub(crate) const SHAKE128: usize = 21;
/// Words per block of SHAKE256 and SHA3-256.
pub(crate) const SHAKE256: usize = 17;
/// Words per block of SHA3-512.
pub(crate) const SHA3_512: usize = 9;

/// Bytes per block of a long message.
pub(crate) const BLOCK: usize = 8 * SHAKE256;

/// The byte after a message: the function's suffix and the first bit of its padding.
pub(crate) const SHAKE_END: u8 = 0x1f;
pub(crate) const SHA3_END: u8 = 0x06;

/// The last bit of a block, with which the padding ends.
const LAST_BIT: u64 = 1 << 63;

/// Absorbs a message of at most 64 bytes in each lane, its end included but where the message
/// fills its row, and permutes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn start(state: &mut State, rows: [Line; LANES], rate: usize) {
    *state = [ZERO; 25];
    state[..8].copy_from_slice(&transpose(rows));
    state[rate - 1] = _mm512_set1_epi64(LAST_BIT as i64);
    permute(state);
}

/// Absorbs a message of 64 bytes in each lane into SHA3-512 and permutes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn start_full(state: &mut State, rows: [Line; LANES]) {
    *state = [ZERO; 25];
    state[..8].copy_from_slice(&transpose(rows));
    state[SHA3_512 - 1] = _mm512_set1_epi64((LAST_BIT | u64::from(SHA3_END)) as i64);
    permute(state);
}

/// Ends a long message in memory: `end` after it, and the last bit of its last block.
pub(crate) fn pad(message: &mut [u8], len: usize, end: u8) {
    let padded = len / BLOCK * BLOCK + BLOCK;
    message[len..padded].fill(0);
    message[len] = end;
    message[padded - 1] |= 0x80;
}

/// Adds the block of SHAKE256 or SHA3-256 that begins at byte `at` to the states of the first
/// lanes, one per message. 56 bytes more are read.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn absorb_block(state: &mut State, messages: &[&[u8]], at: usize) {
    for part in 0..3 {
        let mut rows = [ZERO; LANES];
        for (row, message) in rows.iter_mut().zip(messages) {
            *row = load(message, at + part * 64);
        }
        let words = transpose(rows);
        for (word, line) in words.into_iter().zip(&mut state[8 * part..SHAKE256]) {
            *line = _mm512_xor_si512(*line, word);
        }
    }
}

/// Begins SHAKE128 of a message of less than 64 bytes in every lane from `first` on, whatever its
/// state was. The lanes before stay as they are; their rows are zero.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn restart(state: &mut State, rows: [Line; LANES], first: usize) {
    let others = 0xff_u8.checked_shl(first as u32).unwrap_or(0);
    for line in state.iter_mut() {
        *line = _mm512_maskz_mov_epi64(!others, *line);
    }
    for (word, line) in transpose(rows).into_iter().zip(state.iter_mut()) {
        *line = _mm512_or_si512(*line, word);
    }
    let last = &mut state[SHAKE128 - 1];
    *last = _mm512_mask_set1_epi64(*last, others, LAST_BIT as i64);
}

/// Returns output words `first` to `first + 7`, as 64 bytes per lane. Words beyond the state are
/// zero.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn rows(state: &State, first: usize) -> [Line; LANES] {
    let mut words = [ZERO; 8];
    for (word, line) in words.iter_mut().zip(&state[first..]) {
        *word = *line;
    }
    transpose(words)
}

/// Makes a row that begins with `seed`'s first 32 bytes and goes on with one word.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn seed_row(seed: Line, word: u64) -> Line {
    let seed = _mm512_maskz_mov_epi64(0x0f, seed);
    _mm512_mask_set1_epi64(seed, 0x10, word as i64)
}
