//! SHA-384 and SHA-512 (FIPS 180-4).

use crate::aws_lc;
use crate::sha2::{self, Sha2, Word};

/// Bytes of a block.
pub(crate) const BLOCK_LEN: usize = 128;
/// A state between two blocks.
pub(crate) type State = sha2::State<u64>;

/// Where SHA-384 starts (section 5.3.4).
pub(crate) const SHA384_START: State = [
    0xcbbb_9d5d_c105_9ed8,
    0x629a_292a_367c_d507,
    0x9159_015a_3070_dd17,
    0x152f_ecd8_f70e_5939,
    0x6733_2667_ffc0_0b31,
    0x8eb4_4a87_6858_1511,
    0xdb0c_2e0d_64f9_8fa7,
    0x47b5_481d_befa_4fa4,
];

/// Where SHA-512 starts (section 5.3.5).
pub(crate) const SHA512_START: State = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// SHA-512, and SHA-384 by its start.
pub(crate) type Sha512 = Sha2<u64, BLOCK_LEN>;

impl Word<BLOCK_LEN> for u64 {
    fn compress(state: &mut State, blocks: &[[u8; BLOCK_LEN]]) {
        aws_lc::sha512_compress(state, blocks);
    }

    fn write(self, out: &mut [u8]) {
        out.copy_from_slice(&self.to_be_bytes()[..out.len()]);
    }
}
