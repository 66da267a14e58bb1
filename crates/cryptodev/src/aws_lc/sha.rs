//! SHA-256 with its state inline, and SHA-512's compression function.

use aws_lc_sys as sys;

/// A running SHA-256. Wiped on drop.
#[derive(Clone)]
pub(crate) struct Sha256(sys::SHA256_CTX);

const SHA256_ZERO: sys::SHA256_CTX = sys::SHA256_CTX {
    h: [0; 8],
    Nl: 0,
    Nh: 0,
    data: [0; 64],
    num: 0,
    md_len: 0,
};

const SHA512_ZERO: sys::SHA512_CTX = sys::SHA512_CTX {
    h: [0; 8],
    Nl: 0,
    Nh: 0,
    p: [0; 128],
    num: 0,
    md_len: 0,
};

impl Sha256 {
    /// A fresh state.
    pub(crate) fn new() -> Self {
        let mut state = SHA256_ZERO;
        // SAFETY: the context is ours; the function only writes it, and always returns 1.
        unsafe { sys::SHA256_Init(&raw mut state) };
        Self(state)
    }

    /// One that has taken in the one block that led to `state`.
    pub(crate) fn after_block(state: [u32; 8]) -> Self {
        let mut sha = Self::new();
        (sha.0.h, sha.0.Nl) = (state, 8 * 64);
        sha
    }

    /// The state; nothing may have been taken in but whole blocks.
    pub(crate) fn state(&self) -> [u32; 8] {
        self.0.h
    }

    /// Takes in `data`.
    pub(crate) fn update(&mut self, data: &[u8]) {
        // SAFETY: `new` initialised the state; `data` is valid for its length. Always returns 1.
        unsafe { sys::SHA256_Update(&raw mut self.0, data.as_ptr().cast(), data.len()) };
    }

    /// Writes the digest to the first bytes of `out` and ends this state's use.
    ///
    /// # Panics
    /// If `out` is shorter than the digest.
    pub(crate) fn finish(&mut self, out: &mut [u8]) {
        let out = &mut out[..32];
        // SAFETY: `new` initialised the state; the function writes the 32 bytes that `out` was
        // sliced to, and always returns 1.
        unsafe { sys::SHA256_Final(out.as_mut_ptr(), &raw mut self.0) };
    }
}

impl Drop for Sha256 {
    fn drop(&mut self) {
        let state = &mut self.0;
        // SAFETY: the context is plain integers, for which all zeros is a value, and the
        // pointer and length are those of a live one.
        unsafe { sys::OPENSSL_cleanse((&raw mut *state).cast(), size_of_val(state)) };
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
    // SAFETY: as for `Sha256`'s drop.
    unsafe { sys::OPENSSL_cleanse((&raw mut context).cast(), size_of_val(&context)) };
}
