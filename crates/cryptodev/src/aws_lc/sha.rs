//! SHA-2 with its state inline.

use std::ptr;

use aws_lc_sys as sys;

use crate::digest::{Digest, MidState};

/// A running SHA-256, SHA-384 or SHA-512. Wiped on drop.
#[derive(Clone)]
pub(crate) enum Sha {
    /// SHA-256.
    Sha256(sys::SHA256_CTX),
    /// SHA-384, which is a SHA-512 with other constants and a shorter result.
    Sha384(sys::SHA512_CTX),
    /// SHA-512.
    Sha512(sys::SHA512_CTX),
}

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

impl Sha {
    /// A fresh state.
    pub(crate) fn new(digest: Digest) -> Self {
        // SAFETY, for all three: the context is ours; the Init functions only write it and
        // always return 1.
        match digest {
            Digest::Sha256 => {
                let mut state = SHA256_ZERO;
                // SAFETY: see above.
                unsafe { sys::SHA256_Init(&raw mut state) };
                Self::Sha256(state)
            }
            Digest::Sha384 => {
                let mut state = SHA512_ZERO;
                // SAFETY: see above.
                unsafe { sys::SHA384_Init(&raw mut state) };
                Self::Sha384(state)
            }
            Digest::Sha512 => {
                let mut state = SHA512_ZERO;
                // SAFETY: see above.
                unsafe { sys::SHA512_Init(&raw mut state) };
                Self::Sha512(state)
            }
        }
    }

    /// A state that has taken in the one block that led to `mid`, a state of `digest`.
    ///
    /// # Panics
    /// If `mid` is another digest's.
    pub(crate) fn after(digest: Digest, mid: &MidState) -> Self {
        let mut sha = Self::new(digest);
        match (&mut sha, mid) {
            (Self::Sha256(state), MidState::Sha256(mid)) => (state.h, state.Nl) = (*mid, 8 * 64),
            (Self::Sha384(state) | Self::Sha512(state), MidState::Sha512(mid)) => {
                (state.h, state.Nl) = (*mid, 8 * 128);
            }
            _ => unreachable!("a digest's own state"),
        }
        sha
    }

    /// The state between two blocks; nothing may have been taken in but whole blocks.
    pub(crate) fn mid_state(&self) -> MidState {
        match self {
            Self::Sha256(state) => MidState::Sha256(state.h),
            Self::Sha384(state) | Self::Sha512(state) => MidState::Sha512(state.h),
        }
    }

    /// Takes in `data`.
    pub(crate) fn update(&mut self, data: &[u8]) {
        let (start, len) = (data.as_ptr().cast(), data.len());
        // SAFETY: the state was initialised by `new` for the function that is called here;
        // `data` is valid for its length. These functions always return 1.
        unsafe {
            match self {
                Self::Sha256(state) => sys::SHA256_Update(state, start, len),
                Self::Sha384(state) => sys::SHA384_Update(state, start, len),
                Self::Sha512(state) => sys::SHA512_Update(state, start, len),
            }
        };
    }

    /// Writes the digest to the first bytes of `out` and ends this state's use.
    ///
    /// # Panics
    /// If `out` is shorter than the digest.
    pub(crate) fn finish(&mut self, out: &mut [u8]) {
        // SAFETY: the state was initialised by `new` for the function that is called here;
        // `out` was sliced to the digest's length, which is what the function writes.
        unsafe {
            match self {
                Self::Sha256(state) => sys::SHA256_Final(out[..32].as_mut_ptr(), state),
                Self::Sha384(state) => sys::SHA384_Final(out[..48].as_mut_ptr(), state),
                Self::Sha512(state) => sys::SHA512_Final(out[..64].as_mut_ptr(), state),
            }
        };
    }
}

impl Drop for Sha {
    fn drop(&mut self) {
        // SAFETY: the contexts are plain integers, for which all zeros is a value, and the
        // pointer and length are those of a live one.
        unsafe {
            match self {
                Self::Sha256(state) => {
                    sys::OPENSSL_cleanse(ptr::from_mut(state).cast(), size_of_val(state))
                }
                Self::Sha384(state) | Self::Sha512(state) => {
                    sys::OPENSSL_cleanse(ptr::from_mut(state).cast(), size_of_val(state));
                }
            }
        }
    }
}
