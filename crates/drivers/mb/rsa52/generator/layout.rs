//! Where the kernels find things: shared by the generator and by what calls its kernels.
//! Everything is counted in lines: 64 bytes, one limb in each of the eight lanes.

/// Limbs of a block: 20 columns of a block product and one factor fit the 32 registers.
pub const BLOCK: usize = 10;

/// A modulus: some constants, then its limbs.
pub mod modulus {
    /// -1/n mod 2^52.
    pub const K0: usize = 0;
    /// 2^52 - 1.
    pub const LOW_52: usize = 1;
    /// 2^52.
    pub const BIT_52: usize = 2;
    /// The words 0 to 7.
    pub const COUNT: usize = 3;
    /// The first limb.
    pub const LIMBS: usize = 4;

    /// For each block of ten limbs, the sum of its halves: five limbs, of which the last may
    /// have 53 bits.
    pub const fn sums(limbs: usize) -> usize {
        LIMBS + limbs
    }

    /// All of it.
    pub const fn lines(limbs: usize) -> usize {
        sums(limbs) + limbs / 2
    }
}

/// Work memory.
pub mod scratch {
    use super::BLOCK;

    /// Numbers of the table entries that the lanes want: the low halves, then the high ones.
    pub const NUMBERS: usize = 0;
    /// Columns set aside.
    pub const ASIDE: usize = NUMBERS + 2;
    /// Montgomery's quotient digits, as many as limbs.
    pub const QUOTIENT: usize = ASIDE + BLOCK;

    /// All of it.
    pub const fn lines(limbs: usize) -> usize {
        QUOTIENT + limbs
    }
}

/// Bits of a window: so many squarings, then one multiplication by a table entry.
pub const WINDOW: usize = 4;
/// Entries of the table.
pub const ENTRIES: usize = 1 << WINDOW;
/// An entry's number is `DIGIT` times one half of it plus the other.
pub const DIGIT: usize = 4;

/// How many limbs each of a window's squarings picks.
pub const fn limbs_per_pass(limbs: usize) -> usize {
    limbs.div_ceil(WINDOW)
}
