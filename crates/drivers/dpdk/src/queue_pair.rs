//! The queue pair: our ops on their way into DPDK's and back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spinlane_cryptodev::{
    Capabilities, DeviceStats, Op, OpBurst, OpStatus, QueuePair, QueuePairConfig, cpu,
};

use crate::device::Opened;
use crate::ffi::{BURST, Finished, RawQueuePair, Submitted};
use crate::sessions::{KeySession, SessionIndex, Sessions};

#[cfg(test)]
mod tests;

/// Computing time that one call gives a driver that computes on the caller's core, in microseconds, by
/// what each kind is known to cost; or one op, if that takes longer. As for the device `soft`.
pub const BUDGET_US: u32 = 200;

/// How long a queue pair that is dropped waits for the device to give its ops back.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// An op that the device has, or part of it.
#[derive(Default)]
struct Slot {
    /// `None` if nobody wants it any more.
    op: Option<Box<Op>>,
    session: SessionIndex,
    /// DPDK's ops that are not back.
    pending: u32,
    failed: bool,
}

/// ```text
///  enqueue ─▶ waiting ─▶ slots, staged ─▶ device ─▶ copied, checked ─▶ done
///                │             │ refused for good                      ▲
///                └─ no session ┴─▶ finished ───────────────────────────┘
/// ```
/// Slot i has DPDK's op i, or 2i and 2i + 1 where RSA takes two exponentiations. What fails at the
/// device's door is in `finished` until the next dequeue.
pub(crate) struct DpdkQueuePair {
    capacity: usize,
    /// Slot i has DPDK's ops from i << shift on.
    shift: u32,
    /// Whether to bound a call's work: the driver computes here.
    computes_here: bool,
    capabilities: Capabilities,
    waiting: VecDeque<Box<Op>>,
    /// Failed before they reached the device, or at its door.
    finished: VecDeque<Box<Op>>,
    slots: Box<[Slot]>,
    free: Vec<u32>,
    in_flight: usize,
    /// The device takes nothing and gives nothing until it is started again.
    stopped: bool,
    stats: DeviceStats,
    counts: Counts,
    sessions: Sessions,
    raw: RawQueuePair,
    /// Dropped last: the device outlives all that is in it.
    device: Arc<Opened>,
}

/// What [`QueuePair::xstats`] tells.
#[derive(Default)]
struct Counts {
    /// Ops that the device refused for good.
    rejected: u64,
    /// Bursts that it took nothing of, for lack of room.
    full: u64,
    /// Times it was found stopped.
    stopped: u64,
    /// Ops that came back after they had been given up.
    late: u64,
}

impl DpdkQueuePair {
    pub(crate) fn new(
        device: Arc<Opened>,
        raw: RawQueuePair,
        sessions: Sessions,
        config: QueuePairConfig,
    ) -> Self {
        let capacity = device.capacity(config);
        Self {
            capacity,
            shift: device.by().parts().trailing_zeros(),
            computes_here: !device.is_hardware(),
            capabilities: device.capabilities(),
            waiting: VecDeque::with_capacity(capacity),
            finished: VecDeque::with_capacity(capacity),
            slots: std::iter::repeat_with(Slot::default)
                .take(capacity)
                .collect(),
            // The lowest on top: few ops keep to little memory.
            free: (0..capacity as u32).rev().collect(),
            in_flight: 0,
            stopped: false,
            stats: DeviceStats::default(),
            counts: Counts::default(),
            sessions,
            raw,
            device,
        }
    }

    /// Stages what waits, and hands it to the device; returns how many of DPDK's ops it took.
    fn submit(&mut self) -> usize {
        let mut taken = 0;
        let mut budget_us = BUDGET_US;
        loop {
            self.stage(&mut budget_us);
            if self.raw.staged() == 0 {
                return taken;
            }
            match self.raw.submit(BURST) {
                Submitted::Accepted(count) => {
                    taken += count;
                    if count == 0 {
                        self.counts.full += 1;
                        return taken;
                    }
                    self.stopped = false;
                }
                Submitted::Rejected(count, index) => {
                    taken += count;
                    self.stopped = false;
                    self.counts.rejected += 1;
                    let ended = self.part_back(index, false);
                    self.finished.extend(ended);
                }
                Submitted::Stopped => {
                    self.found_stopped();
                    self.fail_all();
                    return taken;
                }
            }
        }
    }

    /// Fills DPDK's ops from those that wait: a burst, or what `budget_us` allows of a driver that
    /// computes here.
    fn stage(&mut self, budget_us: &mut u32) {
        while self.raw.staged() < BURST {
            let (Some(next), Some(&slot)) = (self.waiting.front(), self.free.last()) else {
                return;
            };
            if self.computes_here {
                let cost_us = cpu::cost_us(next.kind());
                if *budget_us < cost_us && *budget_us < BUDGET_US {
                    return;
                }
                *budget_us = budget_us.saturating_sub(cost_us.max(1));
            }
            let Some(op) = self.waiting.pop_front() else {
                return;
            };
            match self.fill(slot, &op) {
                Some(session) => {
                    self.free.pop();
                    self.slots[slot as usize] = Slot {
                        op: Some(op),
                        session,
                        pending: 1 << self.shift,
                        failed: false,
                    };
                }
                None => self.fail(op),
            }
        }
    }

    /// Stages the parts of `op` for `slot`; `None` if the device does not serve it.
    fn fill(&mut self, slot: u32, op: &Op) -> Option<SessionIndex> {
        if !self.capabilities.has(op.kind()) {
            return None;
        }
        let index = self.sessions.take(op.key()?)?;
        match self.sessions.get(index)? {
            KeySession::Rsa(session) => {
                self.raw.stage_rsa(slot, session, op.input());
                #[cfg(test)]
                if let Some(how) = tests::spoil(op, session) {
                    self.raw.spoil(how);
                }
            }
            #[cfg(feature = "null")]
            KeySession::Null(session) => self.raw.stage_null(slot, session, op.input()),
            KeySession::Crt(crt) => {
                let (base_p, base_q) = crt.bases(op.input());
                self.raw.stage_modexp(2 * slot, &crt.p.session, &base_p);
                self.raw.stage_modexp(2 * slot + 1, &crt.q.session, &base_q);
            }
        }
        Some(index)
    }

    /// `op` ends here, with an error of the device.
    fn fail(&mut self, mut op: Box<Op>) {
        op.status = OpStatus::Error;
        self.finished.push_back(op);
    }

    fn found_stopped(&mut self) {
        self.counts.stopped += u64::from(!self.stopped);
        self.stopped = true;
    }

    /// What has not reached the device fails.
    fn fail_all(&mut self) {
        let mut back = Vec::new();
        self.raw.unstage(|index| back.push(index));
        for index in back {
            let ended = self.part_back(index, false);
            self.finished.extend(ended);
        }
        while let Some(op) = self.waiting.pop_front() {
            self.fail(op);
        }
    }

    /// DPDK's op `index` is back. The last of its slot ends our op, if anybody wants it still.
    fn part_back(&mut self, index: u32, success: bool) -> Option<Box<Op>> {
        let slot = index >> self.shift;
        let entry = &mut self.slots[slot as usize];
        entry.pending -= 1;
        entry.failed |= !success;
        if entry.pending > 0 {
            return None;
        }
        let Slot {
            op,
            session,
            failed,
            ..
        } = std::mem::take(entry);
        let mut len = crate::ffi::AREA_LEN;
        let mut op = op;
        match &mut op {
            Some(op) => {
                op.status = OpStatus::Error;
                if !failed {
                    self.read_result(slot, session, op);
                }
                len = op.input().len().max(op.output().len());
            }
            None => {
                self.counts.late += 1;
                self.in_flight -= 1;
            }
        }
        for index in slot << self.shift..(slot + 1) << self.shift {
            self.raw.wipe(index, len);
        }
        self.sessions.give_back(session);
        self.free.push(slot);
        op
    }

    /// Copies the result to `op` and lets it out if it is right.
    fn read_result(&mut self, slot: u32, session: SessionIndex, op: &mut Op) {
        let len = op.output().len();
        match self.sessions.get(session) {
            Some(KeySession::Rsa(_)) => {
                op.buffers().1.copy_from_slice(self.raw.output(slot, len));
            }
            #[cfg(feature = "null")]
            Some(KeySession::Null(_)) => {
                op.buffers().1.copy_from_slice(self.raw.output(slot, len));
                op.status = OpStatus::Success; // there is nothing to check
                return;
            }
            Some(KeySession::Crt(crt)) => {
                let half = |index| {
                    let written = self.raw.modexp_written(index).min(len / 2);
                    self.raw.output(index, written)
                };
                crt.combine(half(2 * slot), half(2 * slot + 1), op.buffers().1);
            }
            None => return,
        }
        #[cfg(test)]
        tests::corrupt(op);
        if cpu::result_is_right(op) {
            op.status = OpStatus::Success;
        } else {
            op.buffers().1.fill(0); // a faulty RSA result gives the key away
            self.stats.faults_caught += 1;
        }
    }

    /// Adds to `done` what the device has finished, `max` ops of ours at most; returns how many.
    fn collect(&mut self, done: &mut OpBurst, max: usize) -> usize {
        let mut parts = [Finished::default(); BURST];
        let mut given = 0;
        while !self.stopped && self.raw.with_device() > 0 && given < max {
            let room = (max - given).min(BURST);
            let Some(count) = self.raw.collect(room, &mut parts) else {
                self.found_stopped();
                break;
            };
            for part in &parts[..count] {
                if let Some(op) = self.part_back(part.index, part.success) {
                    self.stats.failed += u64::from(op.status != OpStatus::Success);
                    done.push_back(op);
                    given += 1;
                }
            }
            if count < room {
                break;
            }
        }
        given
    }
}

impl QueuePair for DpdkQueuePair {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn enqueue_burst(&mut self, ops: &mut OpBurst) -> usize {
        let taken = ops.len().min(self.capacity - self.in_flight);
        for mut op in ops.drain(..taken) {
            op.status = OpStatus::NotProcessed;
            self.waiting.push_back(op);
        }
        self.in_flight += taken;
        self.stats.enqueued += taken as u64;
        taken
    }

    fn dequeue_burst(&mut self, done: &mut OpBurst, max: usize, _now_ns: u64) -> usize {
        let mut given = self.finished.len().min(max);
        for op in self.finished.drain(..given) {
            self.stats.failed += u64::from(op.status != OpStatus::Success);
            done.push_back(op);
        }
        given += self.collect(done, max - given);
        // What a driver computes as it is given ops is there at once.
        if self.submit() > 0 && given < max {
            given += self.collect(done, max - given);
        }
        self.in_flight -= given;
        self.stats.dequeued += given as u64;
        given
    }

    fn flush(&mut self) {
        self.submit();
    }

    fn stats(&self) -> DeviceStats {
        self.stats
    }

    /// Ops that the device has kept their slots until they come back.
    fn reset(&mut self) {
        self.fail_all();
        self.in_flight -= self.finished.len();
        self.finished.clear();
        for slot in &mut self.slots {
            slot.op = None;
        }
    }

    fn xstats(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("sessions", u64::from(self.sessions.in_use())),
            ("sessions_created", self.sessions.created()),
            ("rejected", self.counts.rejected),
            ("device_full", self.counts.full),
            ("device_stopped", self.counts.stopped),
            ("late", self.counts.late),
        ]
    }
}

impl Drop for DpdkQueuePair {
    /// Waits for what the device has. What it keeps all the same stays in memory for ever.
    fn drop(&mut self) {
        self.reset();
        let until = Instant::now() + LAST_WAIT;
        while self.raw.with_device() > 0 && !self.stopped && Instant::now() < until {
            self.collect(&mut OpBurst::new(), self.capacity);
        }
        if self.raw.with_device() > 0 {
            tracing::error!(
                device = self.device.name(),
                ops = self.raw.with_device(),
                "the device has kept ops; their memory, its session and this queue pair are lost"
            );
            self.sessions.leak();
            self.device.keep();
        }
        self.device.closed();
    }
}
