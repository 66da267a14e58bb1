//! The assembly behind safe functions, and what serves where the CPU does not run it.

#![allow(unsafe_code)]

use super::{BLOCK_LEN, Batch, State};
use crate::aws_lc;

/// Proof that this CPU has the lanes of `lanes.s`.
#[derive(Clone, Copy)]
pub(crate) struct Lanes(());

#[cfg(target_arch = "x86_64")]
mod assembly {
    use super::State;

    std::arch::global_asm!(
        include_str!("constants.s"),
        include_str!("blocks.s"),
        include_str!("lanes.s")
    );

    unsafe extern "sysv64" {
        /// Needs BMI1, BMI2 and AVX512VL.
        pub(super) fn spinlane_sha512_blocks(state: *mut State, data: *const u8, blocks: usize);
        /// Needs AVX512F.
        pub(super) fn spinlane_sha512_eight(states: *mut u64, blocks: *const u64);
        /// Needs AVX512VL.
        pub(super) fn spinlane_sha512_four(states: *mut u64, blocks: *const u64);
    }
}

impl Lanes {
    /// Looks at the processor.
    pub(crate) fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        // Detection includes that the operating system keeps the registers.
        let has_lanes = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
        #[cfg(not(target_arch = "x86_64"))]
        let has_lanes = false;
        has_lanes.then_some(Self(()))
    }
}

/// Takes `blocks`, one after another, into `state`.
pub(super) fn compress(state: &mut State, blocks: &[[u8; BLOCK_LEN]]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
    {
        // The assembly's loop ends after a block, not before.
        if !blocks.is_empty() {
            // SAFETY: the CPU has what the function needs. It reads and writes the eight words of
            // `state`, reads as many blocks as there are from `blocks` on, at any alignment, and
            // otherwise uses its own constants and stack.
            unsafe {
                assembly::spinlane_sha512_blocks(state, blocks.as_ptr().cast(), blocks.len());
            }
        }
        return;
    }
    aws_lc::sha512_compress(state, blocks);
}

/// Compresses every lane's block into its state.
pub(super) fn compress_lanes<const N: usize>(_cpu: Lanes, batch: &mut Batch<N>) {
    const { assert!(N == 4 || N == 8) };
    #[cfg(target_arch = "x86_64")]
    {
        let function = match N {
            4 => assembly::spinlane_sha512_four,
            _ => assembly::spinlane_sha512_eight,
        };
        let states = batch.states.as_flattened_mut().as_mut_ptr();
        let blocks = batch.blocks.as_flattened().as_ptr();
        // SAFETY: a `Lanes` exists only where the CPU has AVX512F and AVX512VL. The function for N lanes
        // reads and writes eight rows of N states and reads sixteen rows of N words of blocks, as many as a
        // batch has. It wants both aligned to a row, which has 8 * N bytes, 32 or 64: a batch is aligned to
        // 64, and its blocks begin behind 64 * N bytes of states. Otherwise it reads its own constants.
        unsafe { function(states, blocks) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    unreachable!(
        "there is no `Lanes` without lanes, which {:p} would need",
        batch
    );
}

/// Zeroes `words`, also where nobody reads them again.
pub(super) fn cleanse_words(words: &mut [u64]) {
    // SAFETY: integers are as many bytes, and any bytes are integers.
    let bytes = unsafe {
        std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), size_of_val(words))
    };
    aws_lc::cleanse(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha512::SHA384_START;

    /// Bytes without a pattern.
    fn bytes(seed: u64) -> impl Iterator<Item = u8> {
        std::iter::successors(Some(seed), |x| {
            Some(x.wrapping_mul(0x5851_f42d_4c95_7f2d) + 1)
        })
        .map(|x| (x >> 56) as u8)
    }

    fn blocks<const N: usize>(seed: u64) -> [[u8; BLOCK_LEN]; N] {
        let mut bytes = bytes(seed);
        std::array::from_fn(|_| std::array::from_fn(|_| bytes.next().unwrap()))
    }

    #[test]
    fn any_number_of_blocks_at_any_alignment_is_aws_lcs() {
        let bytes: Vec<u8> = bytes(7).take(5 * BLOCK_LEN + 64).collect();
        for at in 0..64 {
            let (blocks, _) = bytes[at..].as_chunks();
            for count in 0..=blocks.len() {
                let (mut ours, mut theirs) = (SHA384_START, SHA384_START);
                compress(&mut ours, &blocks[..count]);
                aws_lc::sha512_compress(&mut theirs, &blocks[..count]);
                assert_eq!(ours, theirs, "{count} blocks at {at}");
            }
        }
    }

    #[test]
    fn every_lane_is_aws_lcs_and_alters_no_other() {
        let Some(lanes) = Lanes::detect() else {
            println!("skipped: this CPU has no AVX512VL");
            return;
        };
        lanes_are_aws_lcs::<4>(lanes);
        lanes_are_aws_lcs::<8>(lanes);
    }

    fn lanes_are_aws_lcs<const N: usize>(lanes: Lanes) {
        let mut states = [SHA384_START; N];
        let mut batch = Batch::<N>::new();
        for round in 0..200 {
            let blocks = blocks::<N>(round);
            for (lane, (state, block)) in states.iter_mut().zip(&blocks).enumerate() {
                batch.set(lane, state, block);
                aws_lc::sha512_compress(state, &[*block]);
            }
            batch.run(lanes);
            assert_eq!(std::array::from_fn(|lane| batch.state(lane)), states);
        }
    }
}
