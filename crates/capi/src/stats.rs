//! An lcore's counters as C sees them.

use spinlane::lcore;

use crate::error::{Failure, failure, null};

/// `struct spinlane_stats`. Fields are only ever added, at the end.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Stats {
    size: usize,
    iterations: u64,
    empty_polls: u64,
    busy_ns: u64,
    reentrant_polls: u64,
    restart_polls: u64,
    callbacks: u64,
    slow_callbacks: u64,
    inline_ops: u64,
    unrouted_ops: u64,
    enqueued: u64,
    completed: u64,
    failed: u64,
    refused: u64,
    retried: u64,
    orphaned: u64,
    in_flight: u64,
    retry_queue: u64,
    batches: u64,
    batched: u64,
    scalar: u64,
    fallback: u64,
    cancelled: u64,
    timed_out: u64,
}

impl Stats {
    /// The counters, those of queue pairs added up.
    pub(crate) fn of(stats: &lcore::Stats) -> Self {
        let mut sum = Self {
            iterations: stats.iterations,
            empty_polls: stats.empty_polls,
            busy_ns: stats.busy_ns,
            reentrant_polls: stats.reentrant_polls,
            restart_polls: stats.restart_polls,
            callbacks: stats.callbacks,
            slow_callbacks: stats.slow_callbacks,
            inline_ops: stats.inline_ops,
            unrouted_ops: stats.unrouted_ops,
            ..Self::default()
        };
        for channel in &stats.channels {
            sum.enqueued += channel.counts.enqueued;
            sum.completed += channel.counts.completed;
            sum.failed += channel.counts.failed;
            sum.refused += channel.counts.refused;
            sum.retried += channel.counts.retried;
            sum.orphaned += channel.counts.orphaned;
            sum.fallback += channel.counts.fallback;
            sum.cancelled += channel.counts.cancelled;
            sum.timed_out += channel.counts.timed_out;
            sum.in_flight += channel.in_flight as u64;
            sum.retry_queue += channel.retry_queue as u64;
            sum.batches += channel.device_stats.batches;
            sum.batched += channel.device_stats.batched;
            sum.scalar += channel.device_stats.scalar;
        }
        sum
    }
}

/// Writes as much of `from`, a structure whose first field is its size, as the size that `to` begins with says, that
/// size itself excepted. C calls the structure `name`.
///
/// # Safety
/// `T` is a `repr(C)` structure without padding that begins with a `usize`. `to` is NULL or valid for reading one,
/// and for writing as many bytes as that says.
pub(crate) unsafe fn write_sized<T: Copy>(from: T, to: *mut T, name: &str) -> Result<(), Failure> {
    const SIZE: usize = size_of::<usize>();
    if to.is_null() {
        return Err(null("stats"));
    }
    // SAFETY: by the caller's promise.
    let size = unsafe { to.cast::<usize>().read() };
    if size < SIZE + size_of::<u64>() {
        return Err(failure(format!(
            "stats->size is {size}; set it to sizeof(struct {name}) before the call"
        )));
    }
    let len = size.min(size_of::<T>()) - SIZE;
    let from = (&raw const from).cast::<u8>();
    // SAFETY: `len` bytes of ours behind the size, and room for as many by the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(from.add(SIZE), to.cast::<u8>().add(SIZE), len) };
    Ok(())
}
