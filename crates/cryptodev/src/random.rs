//! Random bytes from a buffer per thread.
//!
//! aws-lc's generator costs about as much for one byte as for hundreds, and a handshake asks
//! half a dozen times for 32. So each thread draws 1 KiB at once and serves from
//! those; what it has given out it wipes.
//!
//! A forked child never gives out what its parent may: the buffer is thrown away when
//! the process has forked (seen by `pthread_atfork`).

use std::cell::RefCell;

use crate::aws_lc;

/// Bytes drawn at once.
const BUFFER_LEN: usize = 1024;
/// Requests above this length pass the buffer by.
const LONGEST_BUFFERED: usize = BUFFER_LEN / 4;

/// Fills `out` with random bytes. No system call, except when aws-lc reseeds.
pub fn fill(out: &mut [u8]) {
    if out.len() > LONGEST_BUFFERED {
        return aws_lc::random(out);
    }
    // The buffer is gone while the thread's locals are being destroyed.
    if BUFFER
        .try_with(|buffer| buffer.borrow_mut().take(out))
        .is_err()
    {
        aws_lc::random(out);
    }
}

/// Draws once, so that the first handshake need not: the first draw of a process gathers
/// entropy, which took 22 ms where it was measured. To be called by every polling thread
/// before it serves.
pub fn warm_up() {
    fill(&mut [0; 1]);
}

thread_local! {
    static BUFFER: RefCell<Buffer> = const { RefCell::new(Buffer::EMPTY) };
}

/// Random bytes `used..`, drawn in the process with this fork generation.
struct Buffer {
    bytes: [u8; BUFFER_LEN],
    used: usize,
    generation: u64,
}

impl Buffer {
    const EMPTY: Self = Self {
        bytes: [0; BUFFER_LEN],
        used: BUFFER_LEN,
        generation: 0,
    };

    /// Moves the next bytes to `out`, which is at most [`LONGEST_BUFFERED`] long.
    fn take(&mut self, out: &mut [u8]) {
        if self.bytes.len() - self.used < out.len() || self.generation != aws_lc::fork_generation()
        {
            self.refill();
        }
        let next = &mut self.bytes[self.used..self.used + out.len()];
        out.copy_from_slice(next);
        aws_lc::cleanse(next);
        self.used += out.len();
    }

    fn refill(&mut self) {
        aws_lc::watch_forks();
        self.generation = aws_lc::fork_generation();
        aws_lc::random(&mut self.bytes);
        self.used = 0;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        aws_lc::cleanse(&mut self.bytes);
    }
}
