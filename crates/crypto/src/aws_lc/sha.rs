//! The compression functions of SHA-256 and SHA-512.

use aws_lc_sys as sys;

const SHA512_ZERO: sys::SHA512_CTX = sys::SHA512_CTX {
    h: [0; 8],
    Nl: 0,
    Nh: 0,
    p: [0; 128],
    num: 0,
    md_len: 0,
};

/// Takes `blocks` into a state of SHA-256.
pub(crate) fn sha256_compress(state: &mut [u32; 8], blocks: &[[u8; 64]]) {
    // Its assembly's loops end after a block, not before.
    if !blocks.is_empty() {
        // SAFETY: the function reads as many blocks as it is told that there are, at any alignment,
        // and changes the state alone.
        unsafe {
            sys::SHA256_TransformBlocks(state.as_mut_ptr(), blocks.as_ptr().cast(), blocks.len());
        }
    }
}

/// Takes `blocks` into a state of SHA-512.
pub(crate) fn sha512_compress(state: &mut [u64; 8], blocks: &[[u8; 128]]) {
    let mut context = SHA512_ZERO;
    context.h = *state;
    for block in blocks {
        // SAFETY: the function reads a block and changes the context's state alone.
        unsafe { sys::SHA512_Transform(&raw mut context, block.as_ptr()) };
    }
    *state = context.h;
    // SAFETY: the context is plain integers, for which all zeros is a value, and the pointer and
    // length are those of a live one.
    unsafe { sys::OPENSSL_cleanse((&raw mut context).cast(), size_of_val(&context)) };
}
