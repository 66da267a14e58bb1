//! Secrets that are wiped when they go.

use std::fmt;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::{Deref, DerefMut};
use std::ptr;

use crate::aws_lc::{cleanse, cleanse_memory};

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
    /// Prints no bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wiped").finish_non_exhaustive()
    }
}

/// A value whose memory is wiped as a whole when it goes, behind its own drop: also what no field
/// of it has. Where a value is moved to, the bytes between its fields come along, and of an `enum`
/// those of the longest variant; on a stack that has seen secrets, secrets.
///
/// Where it is moved from, the value stays: keep it in a box.
///
/// ```
/// use spinlane_crypto::Erased;
///
/// let either: Box<Erased<Result<[u8; 64], u8>>> = Box::new(Erased::new(Err(7)));
/// assert_eq!(**either, Err(7));
/// ```
pub struct Erased<T>(ManuallyDrop<T>);

impl<T> Erased<T> {
    /// Takes over `value`.
    pub const fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }
}

impl<T> Deref for Erased<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Erased<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Default> Default for Erased<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Drop for Erased<T> {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the value is dropped once, here, and nobody comes to it any more.
        unsafe { ManuallyDrop::drop(&mut self.0) };
        let memory = ptr::from_mut(&mut self.0).cast::<MaybeUninit<T>>();
        // SAFETY: as large and as aligned as the value, whose memory is ours alone and holds none
        // any more; a `MaybeUninit` may hold anything.
        cleanse_memory(unsafe { &mut *memory });
    }
}

impl<T> fmt::Debug for Erased<T> {
    /// Prints no value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Erased").finish_non_exhaustive()
    }
}

/// Runs `action` and wipes the part of the stack that it used, down to `DEPTH` bytes. For what is
/// done on a thread's own stack: a job's is wiped when the job has ended.
pub fn wiping_stack<T>(action: impl FnOnce() -> T) -> T {
    /// More than deriving a secret and a key of it takes, with room to spare.
    const DEPTH: usize = 4 * 1024;

    #[inline(never)]
    fn call<T>(action: impl FnOnce() -> T) -> T {
        action()
    }

    /// Wipes a frame of its own, which lies where the frame of `call` did.
    #[inline(never)]
    fn wipe() {
        std::hint::black_box(&mut [0u8; DEPTH]);
    }

    let value = call(action);
    wipe();
    value
}
