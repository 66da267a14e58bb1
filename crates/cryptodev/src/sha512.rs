//! SHA-512's compression function (FIPS 180-4, section 6.4.2), eight blocks at a time.
//!
//! A key schedule hashes many short messages that do not wait for one another. On a Zen 5 core
//! eight of them take 1.13 times as long in lanes as one takes AWS-LC.
//!
//! The assembly has no address and no jump that depends on data, so that its accesses are the same
//! in every run: the eight rows of states, the sixteen of blocks, and its constants.

#![allow(unsafe_code)]

use crate::aws_lc::cleanse;

/// Blocks that are compressed at once.
pub(crate) const LANES: usize = 8;
/// Bytes of a block.
pub(crate) const BLOCK_LEN: usize = 128;

#[cfg(target_arch = "x86_64")]
mod kernel {
    std::arch::global_asm!(include_str!("sha512/lanes.s"));

    unsafe extern "sysv64" {
        #[link_name = "spinlane_sha512_lanes"]
        pub(super) fn lanes(states: *mut [u64; 8], blocks: *mut [u64; 8]);
    }
}

/// Proof that this CPU has the lanes.
#[derive(Clone, Copy)]
pub(crate) struct Lanes(());

/// Up to [`LANES`] states and a block for each. Wiped on drop.
#[repr(C, align(64))]
pub(crate) struct Batch {
    /// Word by word, a lane per column.
    states: [[u64; LANES]; 8],
    /// All zero but between [`Batch::set`] and [`Batch::run`].
    blocks: [[u64; LANES]; 16],
}

impl Lanes {
    /// Looks at the processor.
    pub(crate) fn detect() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        let has_lanes = is_x86_feature_detected!("avx512f");
        #[cfg(not(target_arch = "x86_64"))]
        let has_lanes = false;
        has_lanes.then_some(Self(()))
    }
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            states: [[0; LANES]; 8],
            blocks: [[0; LANES]; 16],
        }
    }

    /// What lane `lane` is to take in: `block`, from `state` on.
    pub(crate) fn set(&mut self, lane: usize, state: &[u64; 8], block: &[u8; BLOCK_LEN]) {
        for (row, word) in self.states.iter_mut().zip(state) {
            row[lane] = *word;
        }
        for (row, word) in self.blocks.iter_mut().zip(block.as_chunks().0) {
            row[lane] = u64::from_be_bytes(*word);
        }
    }

    /// Compresses every lane's block into its state.
    pub(crate) fn run(&mut self, _cpu: Lanes) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Lanes` exists only where the CPU has AVX512F. The assembly reads and writes
        // eight rows of states and sixteen of blocks, which these are, aligned to 64 bytes as
        // the struct is and a row long; it touches no other memory but its constants.
        unsafe {
            kernel::lanes(self.states.as_mut_ptr(), self.blocks.as_mut_ptr());
        }
    }

    /// The state of lane `lane`.
    pub(crate) fn state(&self, lane: usize) -> [u64; 8] {
        self.states.map(|row| row[lane])
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: an array of integers is as many bytes, and any bytes are such an array.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(
                self.states.as_mut_ptr().cast::<u8>(),
                size_of_val(&self.states),
            )
        };
        // The assembly zeroes the blocks.
        cleanse(bytes);
    }
}
