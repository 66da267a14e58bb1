//! Secret bytes that are wiped when they go.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::aws_lc::cleanse;

/// `N` secret bytes, wiped on drop as fast as memory is filled: byte by byte, as `Zeroizing` does,
/// takes ten times as long, and a key schedule makes dozens of them.
#[derive(Clone)]
pub struct Wiped<const N: usize>([u8; N]);

impl<const N: usize> Wiped<N> {
    /// Zeros.
    pub const ZEROS: Self = Self([0; N]);

    /// Takes over `bytes`, of which the caller's copy remains.
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }
}

impl<const N: usize> Deref for Wiped<N> {
    type Target = [u8; N];

    fn deref(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> DerefMut for Wiped<N> {
    fn deref_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> Drop for Wiped<N> {
    fn drop(&mut self) {
        cleanse(&mut self.0);
    }
}

impl<const N: usize> fmt::Debug for Wiped<N> {
    /// The bytes stay out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wiped").finish_non_exhaustive()
    }
}
