//! The queue pair for bulk data: our ops on their way into DPDK's and back, where they lie.

mod sessions;

use std::sync::Arc;
use std::time::{Duration, Instant};

use spinlane_crypto::aead::Algorithm;
use spinlane_cryptodev::aead::{MAX_AAD, Op};
use spinlane_cryptodev::{
    Buffer, Burst, Capabilities, DeviceError, DeviceStats, Limits, MAX_BUFFER, OpStatus, QueuePair,
    QueuePairConfig,
};

use self::sessions::Sessions;
use crate::device::Opened;
use crate::ffi::{BURST, DeviceId, DmaMemory, Handover, RawAead, take_all, takes};
use crate::{BUDGET_US, DpdkDevice, NAME};

/// How long a queue pair that is dropped waits for the device to give its ops back.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// Dequeues in a row that may bring nothing, before a driver that computes here counts as having
/// kept an op.
const MAX_EMPTY: usize = 8;

/// So few ops of any length are within [`BUDGET_US`].
const FEW: usize = (BUDGET_US * 1000 / cost_ns(MAX_BUFFER)) as usize;
const _: () = assert!(FEW > 0, "a poll must get on");

/// Nanoseconds that an op on `len` bytes takes a driver which computes here, by the slowest algorithm, rounded up.
const fn cost_ns(len: usize) -> u32 {
    200 + len as u32 / 2
}

/// What a device seals and opens with, and the lengths of associated data that it takes.
pub(crate) fn capabilities(device: DeviceId) -> Capabilities<Algorithm> {
    // Those of TLS 1.3, of 1.2, and of ESP.
    const USEFUL: [usize; 4] = [5, 8, 12, 13];
    let mut capabilities = Capabilities::NONE;
    for algorithm in Algorithm::ALL {
        let lengths = (0..=MAX_AAD).filter(|&len| takes(device, algorithm, len));
        let limits = Limits {
            aad_lens: lengths.fold(0, |bits, len| bits | 1 << len),
            ..Limits::ANY
        };
        if USEFUL.into_iter().all(|len| limits.takes_aad(len)) {
            capabilities = capabilities.with_limits(algorithm, limits);
        }
    }
    capabilities
}

impl DpdkDevice {
    pub(crate) fn open_for_records(
        &self,
        config: QueuePairConfig,
    ) -> Result<Box<dyn QueuePair<Op>>, DeviceError> {
        config.check(NAME)?;
        let device = Arc::clone(self.opened());
        let capacity = config.capacity.min(device.ring()).max(1);
        let ops = u16::try_from(capacity).unwrap_or(u16::MAX);
        let (sessions, raw) = device.open_queue_pair(
            |running| Sessions::new(running, device.id()),
            |running, home| RawAead::new(running, home, ops),
        )?;
        Ok(Box::new(AeadQueuePair {
            capacity,
            is_hardware: device.is_hardware(),
            capabilities: *device.aead(),
            finished: Burst::with_capacity(capacity),
            in_flight: 0,
            stopped: false,
            stats: DeviceStats::default(),
            counts: Counts::default(),
            raw,
            sessions,
            device,
        }))
    }
}

/// ```text
///  enqueue ─┬─▶ staged ─▶ device ─┬─▶ finished ─▶ dequeue
///           ╰── not served ───────╯
/// ```
/// A driver that computes on the caller's core never has an op between two calls: what a dequeue hands it, it
/// takes back. So it loses nothing, and where it is stopped, what is staged goes back as it came.
struct AeadQueuePair {
    capacity: usize,
    is_hardware: bool,
    capabilities: Capabilities<Algorithm>,
    finished: Burst<Op>,
    in_flight: usize,
    /// The device takes nothing and gives nothing until it is started again.
    stopped: bool,
    /// But for what `raw` has counted.
    stats: DeviceStats,
    counts: Counts,
    /// Dropped before the sessions that its ops use.
    raw: RawAead,
    sessions: Sessions,
    /// Dropped last: the device outlives all that is in it.
    device: Arc<Opened>,
}

/// What [`QueuePair::xstats`] tells.
#[derive(Default)]
struct Counts {
    /// Ops given back undone: their associated data is of a length that the device does not take, say.
    not_served: u64,
    /// Ops given back undone because a card cannot reach their buffer.
    not_dma: u64,
    /// Ops that the device refused for good.
    rejected: u64,
    /// Bursts that it took nothing of, for lack of room.
    full: u64,
    /// Times it was found stopped.
    stopped: u64,
}

impl AeadQueuePair {
    /// Stages `op`, or finishes it.
    #[inline]
    fn stage(&mut self, op: Box<Op>) {
        if op.status == OpStatus::NotProcessed
            && let Some(key) = op.key()
            && let Some(session) = self.sessions.find(key, &op)
        {
            if let Err(op) = self.raw.stage(op, session, None) {
                self.finished.push(op);
            }
            return;
        }
        self.stage_first(op);
    }

    /// [`AeadQueuePair::stage`] where there may be no session yet, or the device is a card.
    #[cold]
    fn stage_first(&mut self, mut op: Box<Op>) {
        if op.parts().is_none() {
            op.fail(OpStatus::Error);
            return self.finished.push(op);
        }
        let iova = op.buffer().io_address().filter(|_| self.is_hardware);
        if self.is_hardware && iova.is_none() {
            self.counts.not_dma += 1;
            return self.finished.push(op);
        }
        let takes = self.capabilities.takes(&*op);
        let session = match op.key().filter(|_| takes) {
            Some(key) => self.sessions.find_or_make(key, &op, &self.raw),
            None => None,
        };
        let Some(session) = session else {
            self.counts.not_served += 1;
            return self.finished.push(op);
        };
        if let Err(op) = self.raw.stage(op, session, iova) {
            self.finished.push(op);
        }
    }

    /// Hands at most `max` staged ops to the device, and of a driver that computes here no more than it has time
    /// for in one call.
    #[inline]
    fn submit(&mut self, mut max: usize) {
        let mut budget_ns = BUDGET_US * 1000;
        loop {
            let count = self.affordable(max, &mut budget_ns);
            if count == 0 {
                return;
            }
            match self.raw.submit(count) {
                Handover::Accepted(0) => {
                    self.counts.full += 1;
                    return;
                }
                Handover::Accepted(taken) => max -= taken,
                Handover::Rejected(taken, op) => {
                    self.counts.rejected += 1;
                    self.finished.push(op);
                    max -= taken;
                }
                Handover::Stopped => return self.found_stopped(),
            }
            self.stopped = false;
        }
    }

    /// How many ops of at most `max` are to be given to the device at once.
    fn affordable(&self, max: usize, budget_ns: &mut u32) -> usize {
        let max = max.min(self.raw.staged()).min(BURST);
        if self.is_hardware || max <= FEW {
            return max;
        }
        let cost_ns = self.cost_ns();
        let count = max.min((*budget_ns / cost_ns) as usize);
        *budget_ns -= count as u32 * cost_ns;
        count
    }

    /// Whether a driver that computes here has time for the `count` ops that are staged.
    #[inline]
    fn is_affordable(&self, count: usize) -> bool {
        count <= FEW || count <= BURST && count as u32 * self.cost_ns() <= BUDGET_US * 1000
    }

    /// Nanoseconds that the next op takes. Records of one burst are mostly of one length; that of the first is
    /// taken for all.
    #[inline]
    fn cost_ns(&self) -> u32 {
        cost_ns(self.raw.next_len().unwrap_or(0))
    }

    fn found_stopped(&mut self) {
        self.counts.stopped += u64::from(!self.stopped);
        self.stopped = true;
        self.unstage();
    }

    /// What is staged goes back as it came.
    fn unstage(&mut self) {
        let Self { raw, finished, .. } = self;
        raw.unstage(|op| finished.push(op));
    }

    /// Has a driver that computes here do all that is staged, if it has time for that in one call; returns how many
    /// ops are done and at the back of `done`.
    #[inline(always)]
    fn compute(&mut self, done: &mut Burst<Op>, max: usize) -> usize {
        let count = self.raw.staged();
        let here = !self.is_hardware && !self.stopped;
        if !here || count == 0 || count > max || !self.is_affordable(count) {
            return 0;
        }
        self.raw.compute(done)
    }

    /// Hands ops to the device and takes back what it has finished, at most `max` to the back of `done`; returns how
    /// many.
    #[cold]
    fn exchange(&mut self, done: &mut Burst<Op>, max: usize) -> usize {
        // What a driver that computes here has kept after all comes before more.
        let kept = if self.is_hardware {
            0
        } else {
            self.raw.with_device()
        };
        self.submit(max.saturating_sub(kept));
        let given = self.collect_all(done, max);
        given + self.give_finished(done, max - given)
    }

    /// Takes back what the device has finished, at most `max` ops, to the back of `done`; returns how many.
    fn collect(&mut self, done: &mut Burst<Op>, max: usize) -> usize {
        let collected = self.raw.collect(done, max);
        if collected.is_none() {
            self.found_stopped();
        }
        collected.unwrap_or(0)
    }

    /// [`AeadQueuePair::collect`] until there are `max`, a card has finished nothing more, or a driver that
    /// computes here has nothing left.
    fn collect_all(&mut self, done: &mut Burst<Op>, max: usize) -> usize {
        let (mut given, mut empty) = (0, 0);
        let patience = if self.is_hardware { 1 } else { MAX_EMPTY };
        while given < max && self.raw.with_device() > 0 && !self.stopped && empty < patience {
            let count = self.collect(done, max - given);
            given += count;
            empty = if count == 0 { empty + 1 } else { 0 };
        }
        given
    }

    /// Moves at most `max` ops that never reached the device, or not its core, to `done`; returns how many.
    fn give_finished(&mut self, done: &mut Burst<Op>, max: usize) -> usize {
        let given = self.finished.len().min(max);
        for op in self.finished.drain(..given) {
            self.stats.failed += u64::from(op.status != OpStatus::Success);
            done.push(op);
        }
        given
    }
}

impl QueuePair<Op> for AeadQueuePair {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn capabilities(&self) -> Capabilities<Algorithm> {
        self.capabilities
    }

    /// Of DPDK's heap for a card, where it can reach it; any memory does for a driver that computes here.
    fn buffer(&self, len: usize) -> Result<Buffer, DeviceError> {
        if !self.is_hardware {
            return Ok(Buffer::heap(len)?);
        }
        let memory = DmaMemory::new(self.device.running(), len);
        let memory = memory.ok_or(DeviceError::NoMemory { device: NAME, len })?;
        Ok(Buffer::of_device(Box::new(memory))?)
    }

    fn enqueue_burst(&mut self, ops: &mut Burst<Op>) -> usize {
        let taken = (self.capacity - self.in_flight).min(ops.len());
        if self.is_hardware || taken < ops.len() {
            for op in ops.drain(..taken) {
                self.stage_first(op);
            }
        } else {
            take_all(ops, |op| self.stage(op));
        }
        self.in_flight += taken;
        self.stats.enqueued += taken as u64;
        taken
    }

    fn dequeue_burst(&mut self, done: &mut Burst<Op>, max: usize, _now_ns: u64) -> usize {
        let mut given = self.compute(done, max);
        if given < self.in_flight {
            given += self.exchange(done, max - given);
        }
        self.in_flight -= given;
        self.stats.dequeued += given as u64;
        given
    }

    fn stats(&self) -> DeviceStats {
        let mut stats = self.stats;
        stats.failed += self.raw.failed();
        stats
    }

    /// What it is given it has done by the next dequeue.
    fn batches(&self) -> bool {
        false
    }

    fn is_inline(&self) -> bool {
        !self.is_hardware
    }

    /// What the device has keeps its memory until it comes back.
    fn reset(&mut self) -> bool {
        self.unstage();
        self.in_flight -= self.finished.len();
        self.finished.clear();
        self.raw.with_device() == 0
    }

    fn xstats(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("sessions", u64::from(self.sessions.in_use())),
            ("sessions_created", self.sessions.created()),
            ("not_served", self.counts.not_served),
            ("not_dma", self.counts.not_dma),
            ("rejected", self.counts.rejected),
            ("device_full", self.counts.full),
            ("device_stopped", self.counts.stopped),
        ]
    }
}

impl Drop for AeadQueuePair {
    /// Waits for what the device has. What it keeps all the same stays in memory for ever.
    fn drop(&mut self) {
        self.reset();
        self.stopped = false;
        let until = Instant::now() + LAST_WAIT;
        let mut late = Burst::new();
        while self.raw.with_device() > 0 && !self.stopped && Instant::now() < until {
            self.collect(&mut late, self.capacity);
        }
        if self.raw.with_device() > 0 {
            tracing::error!(
                device = self.device.name(),
                ops = self.raw.with_device(),
                "the device has kept ops; their memory, its sessions and this queue pair are lost"
            );
            self.sessions.leak();
            self.device.keep();
        }
        self.device.closed();
    }
}
