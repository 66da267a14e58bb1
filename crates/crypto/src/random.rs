//! Random bytes from a buffer per thread.
//!
//! aws-lc's generator costs about as much for one byte as for hundreds, and a handshake asks
//! half a dozen times for 32. So each thread draws 1 KiB at once and serves from
//! those; what it has given out it wipes.
//!
//! # Copies of a process
//! A copy never gives out what the original may, whichever way it was made (fork(3), `_Fork`(3),
//! clone(2)): the buffer is a page that the kernel wipes in it, and aws-lc, which draws, notices by
//! itself. Where the kernel cannot wipe (before Linux 4.14; old versions of qemu-user) there is no
//! buffer: each request goes to aws-lc, which then takes fresh entropy for each.
//!
//! A **snapshot of a machine** that is started more than once, or again, is another matter: no
//! kernel tells a program of it. Each start gives out the rest of the buffer, at most 1 KiB per
//! thread: X25519 keys, TLS randoms, tickets' nonces. Beyond that it is up to aws-lc: with each
//! draw it mixes in random bytes of the CPU (RDRAND, RNDR), if the CPU has them, and where
//! `/dev/sysgenid` exists it heeds that. ECDSA's nonces come from key and digest as well and give
//! no key away ([`nonce`](crate::nonce)). So take snapshots before the program starts, or start it
//! anew after one.

//! # The first draw of a process
//! aws-lc takes its seed from the jitter of the CPU's clock, which takes 22 ms in a process that
//! was started, and 15 ms in each that was forked. A server draws before it listens ([`warm_up`];
//! threads that Spinlane launches do, and an lcore that a C program creates). Only a program that
//! forks and knows nothing of lcores, such as nginx under the preload, has it in the first
//! handshake of each worker. pthread_atfork(3) would be no remedy: children that run another
//! program at once would gather as well.
//!
//! Other seeds than that cost more than they bring: a generator of our own in front of aws-lc's
//! would leave those draws that aws-lc makes by itself, an RSA key's blinding and ECDSA's nonces,
//! which the first handshake needs. Built with `AWS_LC_SYS_NO_JITTER_ENTROPY=1` in the environment,
//! aws-lc seeds itself from the kernel in 0.2 ms, and mixes no bytes of the CPU into each draw any
//! more, which is what protects restored snapshots. Those who take none may build so.

use std::cell::RefCell;

use std::sync::atomic::Ordering;

use crate::aws_lc::{self, WipedPage};

/// Bytes drawn at once.
const BUFFER_LEN: usize = 1024;
/// Requests above this length pass the buffer by.
const LONGEST_BUFFERED: usize = BUFFER_LEN / 4;

/// Fills `out` with random bytes. No system call, except when aws-lc reseeds.
pub fn fill(out: &mut [u8]) {
    if out.len() > LONGEST_BUFFERED {
        return aws_lc::random(out);
    }
    // The buffer is gone while the thread's locals are being destroyed, and in use where a signal's
    // handler has come between.
    let taken = BUFFER.try_with(|buffer| {
        let buffer = buffer.try_borrow_mut();
        buffer.is_ok_and(|mut buffer| buffer.take(out))
    });
    if taken != Ok(true) {
        aws_lc::random(out);
    }
}

/// Draws once, so that the first handshake need not: the first draw of a process gathers
/// entropy for milliseconds, see [the module](self). To be called by every polling thread
/// before it serves.
pub fn warm_up() {
    fill(&mut [0; 1]);
}

thread_local! {
    static BUFFER: RefCell<Buffer> = const { RefCell::new(Buffer::Unused) };
}

enum Buffer {
    /// Nothing has been asked of it.
    Unused,
    /// A page. The word says how many of the first [`BUFFER_LEN`] bytes behind are left.
    Page(WipedPage),
    /// The kernel wipes no pages.
    Absent,
}

impl Buffer {
    /// Moves the next bytes to `out`, which is at most [`LONGEST_BUFFERED`] long. Returns `false`
    /// if there is no buffer.
    fn take(&mut self, out: &mut [u8]) -> bool {
        if let Self::Unused = self {
            *self = WipedPage::new().map_or(Self::Absent, Self::Page);
        }
        let Self::Page(page) = self else {
            return false;
        };
        loop {
            let left = page.word().load(Ordering::Acquire);
            let Some(rest) = left.checked_sub(out.len() as u64) else {
                refill(page);
                continue;
            };
            let at = BUFFER_LEN - left as usize;
            let next = &mut page.rest()[at..at + out.len()];
            out.copy_from_slice(next);
            aws_lc::cleanse(next);
            // Fails if this has become a copy of the process meanwhile, by a fork in a signal's
            // handler: then what was taken is zeros.
            let word = page.word();
            if word
                .compare_exchange(left, rest, Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
            {
                return true;
            }
        }
    }
}

fn refill(page: &mut WipedPage) {
    // First, so that what is wiped while it is filled counts as empty.
    page.word().store(BUFFER_LEN as u64, Ordering::Release);
    aws_lc::random(&mut page.rest()[..BUFFER_LEN]);
}
