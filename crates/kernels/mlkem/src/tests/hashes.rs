//! Keccak and the sponges: known answers, and AWS-LC's functions.

use aws_lc_sys as sys;

use super::{Bytes, run, runs};
use crate::keccak::{permute, transpose};
use crate::simd::{LINE, Line, ZERO, bytes, bytes_mut};
use crate::sponge::{
    BLOCK, LANES, SHA3_512, SHA3_END, SHAKE_END, SHAKE128, SHAKE256, absorb_block, pad, restart,
    rows, seed_row, start, start_full,
};

/// Keccak-f[1600] of zeros, once and twice (the Keccak team's KeccakF-1600-IntermediateValues.txt).
#[test]
fn permutation_of_zeros() {
    if !runs() {
        return;
    }
    let mut state = [ZERO; 25];
    for first_word in [0xf125_8f79_40e1_dde7_u64, 0x2d5c_954d_f96e_cb3c] {
        run!(permute(&mut state));
        assert_eq!(
            bytes(&state)[..LINE],
            first_word.to_le_bytes().repeat(LANES)
        );
    }
}

#[test]
fn transposition() {
    if !runs() {
        return;
    }
    let mut lines = [ZERO; 8];
    for (i, byte) in bytes_mut(&mut lines).iter_mut().enumerate() {
        *byte = (i / 8) as u8;
    }
    let columns = run!(transpose(lines));
    for (i, word) in bytes(&columns).chunks_exact(8).enumerate() {
        assert_eq!(word, [(i % 8 * 8 + i / 8) as u8; 8]);
    }
}

/// AWS-LC's hash, or extensible output, of a message.
fn theirs(function: *const sys::EVP_MD, message: &[u8], len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    // SAFETY: the context is ours and freed; lengths are those of the slices.
    unsafe {
        let context = sys::EVP_MD_CTX_new();
        assert_eq!(
            sys::EVP_DigestInit_ex(context, function, std::ptr::null_mut()),
            1
        );
        assert_eq!(
            sys::EVP_DigestUpdate(context, message.as_ptr().cast(), message.len()),
            1
        );
        if sys::EVP_MD_flags(function) & u32::from(sys::EVP_MD_FLAG_XOF as u16) != 0 {
            assert_eq!(sys::EVP_DigestFinalXOF(context, out.as_mut_ptr(), len), 1);
        } else {
            let mut written = 0;
            assert_eq!(
                sys::EVP_DigestFinal_ex(context, out.as_mut_ptr(), &mut written),
                1
            );
            assert_eq!(written as usize, len);
        }
        sys::EVP_MD_CTX_free(context);
    }
    out
}

fn line_of(message: &[u8]) -> Line {
    let mut line = ZERO;
    bytes_mut(std::slice::from_mut(&mut line))[..message.len()].copy_from_slice(message);
    line
}

/// Returns the first 64 bytes of each lane's output.
fn output(state: &crate::keccak::State) -> Vec<Vec<u8>> {
    let rows = run!(rows(state, 0));
    rows.iter()
        .map(|row| bytes(std::slice::from_ref(row)).to_vec())
        .collect()
}

#[test]
fn short_messages_in_eight_lanes() {
    if !runs() {
        return;
    }
    let mut random = Bytes(6);
    let mut state = [ZERO; 25];
    // SAFETY: these return constants.
    let (sha3_512, shake128, shake256) = unsafe {
        (
            sys::EVP_sha3_512(),
            sys::EVP_shake128(),
            sys::EVP_shake256(),
        )
    };
    for (function, rate, end, rest) in [
        (sha3_512, SHA3_512, SHA3_END, 1),
        (shake128, SHAKE128, SHAKE_END, 2),
        (shake256, SHAKE256, SHAKE_END, 1),
    ] {
        let messages: [[u8; 34]; LANES] = std::array::from_fn(|_| random.take());
        let messages = messages.each_ref().map(|message| &message[..32 + rest]);
        let seeds = messages.map(|message| {
            let mut word = [0; 8];
            word[..rest].copy_from_slice(&message[32..]);
            word[rest] = end;
            run!(seed_row(line_of(message), u64::from_le_bytes(word)))
        });
        run!(start(&mut state, seeds, rate));
        for (message, ours) in messages.iter().zip(output(&state)) {
            assert_eq!(ours, theirs(function, message, 64));
        }
    }
    let messages: [[u8; 64]; LANES] = std::array::from_fn(|_| random.take());
    run!(start_full(
        &mut state,
        messages.each_ref().map(|message| line_of(message))
    ));
    for (message, ours) in messages.iter().zip(output(&state)) {
        assert_eq!(ours, theirs(sha3_512, message, 64));
    }
}

#[test]
fn long_messages_in_eight_lanes() {
    if !runs() {
        return;
    }
    let mut random = Bytes(7);
    // SAFETY: these return constants.
    let (sha3_256, shake256) = unsafe { (sys::EVP_sha3_256(), sys::EVP_shake256()) };
    // Encapsulation keys, ciphertexts with z; and ends of blocks.
    for len in [800, 1120, 1184, 1568, 1600, BLOCK - 1, BLOCK, 0, 1] {
        for (function, end, out) in [(sha3_256, SHA3_END, 32), (shake256, SHAKE_END, 64)] {
            let messages: [[u8; 1728]; LANES] = std::array::from_fn(|_| {
                let mut message = random.take();
                pad(&mut message, len, end);
                message
            });
            let mut state = [ZERO; 25];
            let messages_of = messages.each_ref().map(|message| message.as_slice());
            for block in 0..len / BLOCK + 1 {
                run!(absorb_block(&mut state, &messages_of, block * BLOCK));
                run!(permute(&mut state));
            }
            for (message, ours) in messages.iter().zip(output(&state)) {
                assert_eq!(ours[..out], theirs(function, &message[..len], out));
            }
        }
    }
}

/// Some lanes go on with a long message while others begin a short one.
#[test]
fn lanes_are_restarted_beside_others() {
    if !runs() {
        return;
    }
    let mut random = Bytes(8);
    // SAFETY: this returns a constant.
    let shake128 = unsafe { sys::EVP_shake128() };
    for first in 0..=LANES {
        let before: [u8; 1600] = random.take();
        let mut state = [ZERO; 25];
        bytes_mut(&mut state).copy_from_slice(&before);
        let messages: [[u8; 34]; LANES] = std::array::from_fn(|_| random.take());
        let mut seeds = [ZERO; LANES];
        for (seed, message) in seeds[first..].iter_mut().zip(&messages[first..]) {
            let word = u64::from_le_bytes([message[32], message[33], SHAKE_END, 0, 0, 0, 0, 0]);
            *seed = run!(seed_row(line_of(message), word));
        }
        run!(restart(&mut state, seeds, first));
        for (after, before) in bytes(&state).chunks(LINE).zip(before.chunks(LINE)) {
            assert_eq!(after[..8 * first], before[..8 * first]);
        }
        run!(permute(&mut state));
        for (message, ours) in messages.iter().zip(output(&state)).skip(first) {
            assert_eq!(ours, theirs(shake128, message, 64));
        }
    }
}
