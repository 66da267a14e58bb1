//! Ops of either contract in line for the CPU.

use std::collections::VecDeque;

use spinlane_cryptodev::DeviceStats;

use crate::BUDGET_US;

/// First come, first served: at most `capacity`, and about [`BUDGET_US`] of them per call.
pub(crate) struct Line<O> {
    capacity: usize,
    waiting: VecDeque<Box<O>>,
    stats: DeviceStats,
}

impl<O> Line<O> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            waiting: VecDeque::with_capacity(capacity),
            stats: DeviceStats::default(),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn stats(&self) -> DeviceStats {
        self.stats
    }

    /// Ops that it takes yet.
    pub(crate) fn room(&self) -> usize {
        self.capacity - self.waiting.len()
    }

    /// Takes `ops`, for which there is room; returns how many.
    pub(crate) fn enqueue(&mut self, ops: impl ExactSizeIterator<Item = Box<O>>) -> usize {
        let taken = ops.len();
        self.waiting.extend(ops);
        self.stats.enqueued += taken as u64;
        taken
    }

    /// Computes at most `max` ops by `run`, which returns whether it succeeded, to the back of `done`;
    /// returns how many. `cost_ns` is what an op is known to cost.
    pub(crate) fn dequeue(
        &mut self,
        done: &mut impl Extend<Box<O>>,
        max: usize,
        cost_ns: impl Fn(&O) -> u32,
        run: impl Fn(&mut O) -> bool,
    ) -> usize {
        let (mut given, mut spent_ns) = (0, 0);
        while given < max {
            let Some(next) = self.waiting.front() else {
                break;
            };
            spent_ns += cost_ns(next);
            if given > 0 && spent_ns > BUDGET_US * 1000 {
                break;
            }
            let Some(mut op) = self.waiting.pop_front() else {
                break;
            };
            self.stats.failed += u64::from(!run(&mut op));
            done.extend([op]);
            given += 1;
        }
        self.stats.dequeued += given as u64;
        given
    }
}
