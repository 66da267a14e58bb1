//! An lcore's counters by device and by kind of op, and their latencies, as C sees them.

use std::ffi::{c_char, c_int, c_uint};

use spinlane::lcore::{ChannelStats, KindStats, OpCounts};

use crate::error::{Failure, check, failure, guard, null};
use crate::lcore::{ThreadLcore, of};
use crate::stats::write_sized;

/// Bytes of a name, with its zero.
const NAME: usize = 32;

/// What became of ops: the part that devices and kinds have in common.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Counts {
    enqueued: u64,
    completed: u64,
    fallback: u64,
    cancelled: u64,
    failed: u64,
    orphaned: u64,
    refused: u64,
    retried: u64,
    errors: u64,
    timed_out: u64,
    moved: u64,
}

/// `struct spinlane_device_stats`. Fields are only ever added, at the end.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct DeviceStats {
    size: usize,
    name: [c_char; NAME],
    counts: Counts,
    in_flight: u64,
    in_flight_peak: u64,
    capacity: u64,
    quarantined: u64,
    retry_queue: u64,
    batches: u64,
    batched: u64,
    scalar: u64,
    healthy: u64,
    failures: u64,
    recoveries: u64,
    kinds: u64,
}

/// `struct spinlane_op_stats`. Fields are only ever added, at the end.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct OpStats {
    size: usize,
    name: [c_char; NAME],
    counts: Counts,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    max_ns: u64,
}

/// `struct spinlane_latency`.
#[repr(C)]
pub struct Latency {
    up_to_ns: u64,
    count: u64,
}

impl From<&OpCounts> for Counts {
    fn from(counts: &OpCounts) -> Self {
        Self {
            enqueued: counts.enqueued,
            completed: counts.completed,
            fallback: counts.fallback,
            cancelled: counts.cancelled,
            failed: counts.failed,
            orphaned: counts.orphaned,
            refused: counts.refused,
            retried: counts.retried,
            errors: counts.errors,
            timed_out: counts.timed_out,
            moved: counts.moved,
        }
    }
}

impl From<&ChannelStats<&str>> for DeviceStats {
    fn from(stats: &ChannelStats<&str>) -> Self {
        Self {
            size: size_of::<Self>(),
            name: name(&stats.device),
            counts: (&stats.counts).into(),
            in_flight: stats.in_flight as u64,
            in_flight_peak: stats.in_flight_peak as u64,
            capacity: stats.capacity as u64,
            quarantined: stats.quarantined as u64,
            retry_queue: stats.retry_queue as u64,
            batches: stats.device_stats.batches,
            batched: stats.device_stats.batched,
            scalar: stats.device_stats.scalar,
            healthy: stats.health.healthy.into(),
            failures: stats.health.failures,
            recoveries: stats.health.recoveries,
            kinds: stats.kinds.len() as u64,
        }
    }
}

impl From<&KindStats<&str>> for OpStats {
    fn from(stats: &KindStats<&str>) -> Self {
        let at = |quantile| stats.latency_ns.value_at_quantile(quantile);
        Self {
            size: size_of::<Self>(),
            name: name(stats.kind),
            counts: (&stats.counts).into(),
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            max_ns: stats.latency_ns.max(),
        }
    }
}

/// As much of `name` as fits, with a zero behind it.
fn name(name: &str) -> [c_char; NAME] {
    let mut to = [0; NAME];
    for (to, from) in to[..NAME - 1].iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    to
}

/// # Safety
/// `lcore` is NULL or live.
unsafe fn device(
    lcore: *const ThreadLcore,
    index: c_uint,
) -> Result<ChannelStats<&'static str>, Failure> {
    // SAFETY: by the caller's promise.
    let stats = unsafe { of(lcore) }?.stats();
    let mut channels: Vec<_> = stats.queue_pairs().collect();
    let count = channels.len();
    match index as usize {
        index if index < count => Ok(channels.swap_remove(index)),
        index => Err(failure(format!(
            "device {index}: the lcore has {count}, the first is 0"
        ))),
    }
}

/// # Safety
/// `lcore` is NULL or live.
unsafe fn kind(
    lcore: *const ThreadLcore,
    at: c_uint,
    index: c_uint,
) -> Result<KindStats<&'static str>, Failure> {
    // SAFETY: by the caller's promise.
    let mut kinds = unsafe { device(lcore, at) }?.kinds;
    let count = kinds.len();
    match index as usize {
        index if index < count => Ok(kinds.swap_remove(index)),
        index => Err(failure(format!(
            "op kind {index}: device {at} was asked for {count}, the first is 0"
        ))),
    }
}

/// Fills `*stats` with the counters of one of the lcore's devices.
///
/// # Safety
/// `lcore` is NULL or live; `stats` is NULL or valid for reading its `size` and writing as much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_lcore_device_stats(
    lcore: *const ThreadLcore,
    index: c_uint,
    stats: *mut DeviceStats,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        let found = DeviceStats::from(&unsafe { device(lcore, index) }?);
        // SAFETY: by the contract.
        unsafe { write_sized(found, stats, "spinlane_device_stats") }
    })
}

/// Fills `*stats` with the counters of one kind of op on one of the lcore's devices.
///
/// # Safety
/// `lcore` is NULL or live; `stats` is NULL or valid for reading its `size` and writing as much.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_lcore_op_stats(
    lcore: *const ThreadLcore,
    device: c_uint,
    index: c_uint,
    stats: *mut OpStats,
) -> c_int {
    check(|| {
        // SAFETY: by the contract.
        let found = OpStats::from(&unsafe { kind(lcore, device, index) }?);
        // SAFETY: by the contract.
        unsafe { write_sized(found, stats, "spinlane_op_stats") }
    })
}

/// Copies the latencies of one kind of op on one of the lcore's devices; how many there are.
///
/// # Safety
/// `lcore` is NULL or live; `to` is NULL or writable for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spinlane_lcore_op_latencies(
    lcore: *const ThreadLcore,
    device: c_uint,
    index: c_uint,
    to: *mut Latency,
    room: usize,
) -> usize {
    guard(0, || {
        // SAFETY: by the contract.
        let found = unsafe { kind(lcore, device, index) }?;
        if to.is_null() && room != 0 {
            return Err(null("to"));
        }
        let mut count = 0;
        for bucket in found.latency_ns.iter_recorded() {
            if count < room {
                let latency = Latency {
                    up_to_ns: bucket.value_iterated_to(),
                    count: bucket.count_since_last_iteration(),
                };
                // SAFETY: within `room`, which is writable by the contract.
                unsafe { to.add(count).write(latency) };
            }
            count += 1;
        }
        Ok(count)
    })
}
