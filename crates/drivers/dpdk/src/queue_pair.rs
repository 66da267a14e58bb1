//! The queue pair: our ops on their way into DPDK's and back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spinlane_cryptodev::{
    Burst, Capabilities, DeviceStats, Op, OpKind, OpStatus, QueuePair, QueuePairConfig, cpu,
};

use crate::device::Opened;
use crate::ec::{self, Unstaged};
use crate::ffi::{BURST, Back, RawQueuePair, Submitted, Work};
use crate::sessions::{KeySession, Sessions};
use crate::table::NoSession;

#[cfg(test)]
mod tests;

/// Computing time that one call gives a driver that computes on the caller's core, in microseconds, by
/// what each kind is known to cost; or one op, if that takes longer. As for the device `soft`.
pub const BUDGET_US: u32 = 200;

/// Microseconds that an op takes a driver which computes here. Those have RSA alone.
const fn cost_us(kind: OpKind) -> u32 {
    match kind {
        OpKind::Rsa2048 => 250,
        OpKind::Rsa3072 => 700,
        _ => 1500,
    }
}

/// How long a queue pair that is dropped waits for the device to give its ops back.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// ```text
///  enqueue ─┬──────────────▶ staged ─▶ device ─▶ checked ─▶ done
///           │                 ▲ │ refused for good           ▲
///           ╰─▶ waiting ──────╯ ╰────────▶ finished ─────────┤
///                  ╰── no session ───────────╯───────────────╯
/// ```
/// Who finds its key's session is staged at once; who does not waits for the next call that may ask DPDK for one,
/// and all behind it do. What fails at the device's door is in `finished` until the next dequeue.
pub(crate) struct DpdkQueuePair {
    capacity: usize,
    /// Whether to bound a call's work: the driver computes here.
    computes_here: bool,
    capabilities: Capabilities,
    waiting: VecDeque<Box<Op>>,
    /// Failed before they reached the device, or at its door.
    finished: Burst,
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
            computes_here: device.computes_here(),
            capabilities: device.capabilities(),
            waiting: VecDeque::with_capacity(capacity),
            finished: Burst::with_capacity(capacity),
            in_flight: 0,
            stopped: false,
            stats: DeviceStats::default(),
            counts: Counts::default(),
            sessions,
            raw,
            device,
        }
    }

    /// Hands what waits to the device; returns how many objects of DPDK's it took.
    fn submit(&mut self) -> usize {
        let mut taken = 0;
        let mut budget_us = BUDGET_US;
        loop {
            self.stage_waiting();
            let count = self.affordable(&mut budget_us);
            if count == 0 {
                return taken;
            }
            let finished = &mut self.finished;
            let ended = &mut self.counts;
            let (sessions, in_flight) = (&mut self.sessions, &mut self.in_flight);
            let submitted = self.raw.submit(count, |back| {
                sessions.give_back(back.session);
                finished.extend(failed(back.op, back.given_up, ended, in_flight));
            });
            match submitted {
                Submitted::Accepted(count) => {
                    taken += count;
                    if count == 0 {
                        self.counts.full += 1;
                        return taken;
                    }
                    self.stopped = false;
                    if self.raw.staged() == 0 && self.waiting.is_empty() {
                        return taken;
                    }
                }
                Submitted::Rejected(count) => {
                    taken += count;
                    self.stopped = false;
                    self.counts.rejected += 1;
                }
                Submitted::Stopped => {
                    self.found_stopped();
                    self.fail_all();
                    return taken;
                }
            }
        }
    }

    /// How many objects to give to the device at once: all, or what `budget_us` allows of a driver that
    /// computes here.
    fn affordable(&self, budget_us: &mut u32) -> usize {
        if !self.computes_here {
            return self.raw.staged().min(BURST);
        }
        let mut count = 0;
        for kind in self.raw.staged_kinds().take(BURST) {
            let cost_us = kind.map_or(0, cost_us);
            if *budget_us < cost_us && *budget_us < BUDGET_US {
                break;
            }
            *budget_us = budget_us.saturating_sub(cost_us);
            count += 1;
        }
        count
    }

    /// Stages `op`, if its key's session is there; else it waits.
    #[inline]
    fn stage_or_wait(&mut self, op: Box<Op>) {
        if self.waiting.is_empty()
            && let Some((number, session)) = op.key().and_then(|key| self.sessions.take(key))
        {
            match stage(&mut self.raw, op, number, session) {
                Ok(()) => return,
                Err(op) => {
                    self.sessions.give_back(number);
                    return self.waiting.push_back(op);
                }
            }
        }
        self.waiting.push_back(op);
    }

    /// Stages a burst of those that wait, and makes sessions for them. Who needs one for which there is no
    /// room waits on.
    fn stage_waiting(&mut self) {
        while self.raw.staged() < BURST
            && let Some(op) = self.waiting.pop_front()
        {
            let serves = self.capabilities.has(op.kind());
            let Some(key) = op.key().filter(|_| serves) else {
                match self.stage_without_key(op) {
                    Ok(()) => continue,
                    Err(op) => return self.waiting.push_front(op),
                }
            };
            let (number, session) = match self.sessions.take_or_make(key) {
                Ok(taken) => taken,
                Err(NoSession::Refused(_)) => {
                    self.fail(op);
                    continue;
                }
                Err(NoSession::Busy) => return self.waiting.push_front(op),
            };
            if let Err(op) = stage(&mut self.raw, op, number, session) {
                self.sessions.give_back(number);
                return self.waiting.push_front(op);
            }
        }
    }

    /// Stages an op that has no key, or ends it.
    ///
    /// # Errors
    /// The op, if there is no room.
    #[cold]
    fn stage_without_key(&mut self, op: Box<Op>) -> Result<(), Box<Op>> {
        let Self { raw, sessions, .. } = self;
        let staged = match self.capabilities.has(op.kind()) {
            true => sessions.multipliers().stage(raw, op),
            false => Err(Unstaged::Refused(op)),
        };
        match staged {
            Ok(()) => {}
            Err(Unstaged::Full(op)) => return Err(op),
            Err(Unstaged::Invalid(op)) => self.end(op, OpStatus::Invalid),
            Err(Unstaged::Refused(op)) => self.fail(op),
        }
        Ok(())
    }

    /// `op` ends here, with an error of the device.
    fn fail(&mut self, op: Box<Op>) {
        self.end(op, OpStatus::Error);
    }

    fn end(&mut self, mut op: Box<Op>, status: OpStatus) {
        op.fail(status);
        self.finished.push(op);
    }

    fn found_stopped(&mut self) {
        self.counts.stopped += u64::from(!self.stopped);
        self.stopped = true;
    }

    /// What has not reached the device fails.
    fn fail_all(&mut self) {
        let Self {
            raw,
            sessions,
            finished,
            counts,
            in_flight,
            ..
        } = self;
        raw.unstage(|back| {
            sessions.give_back(back.session);
            finished.extend(failed(back.op, back.given_up, counts, in_flight));
        });
        while let Some(op) = self.waiting.pop_front() {
            self.fail(op);
        }
    }

    /// Adds to `done` what the device has finished, `max` ops of ours at most; returns how many.
    fn collect(&mut self, done: &mut Burst, max: usize) -> usize {
        let Self {
            raw,
            sessions,
            stats,
            counts,
            in_flight,
            stopped,
            ..
        } = self;
        let mut given = 0;
        while !*stopped && raw.with_device() > 0 && given < max {
            let room = (max - given).min(BURST);
            let collected = raw.collect(room, |mut back| {
                let session = sessions.give_back(back.session);
                if !back.success || back.given_up {
                    match failed(back.op, back.given_up, counts, in_flight) {
                        Some(op) => back.op = op,
                        None => return,
                    }
                } else {
                    read_result(&mut back, session, stats);
                }
                stats.failed += u64::from(back.op.status != OpStatus::Success);
                done.push(back.op);
                given += 1;
            });
            match collected {
                Some(count) if count == room => {}
                Some(_) => break,
                None => {
                    counts.stopped += 1;
                    *stopped = true;
                }
            }
        }
        given
    }
}

/// Stages the parts of `op`.
#[inline(always)] // see `RawQueuePair::stage`
fn stage(
    raw: &mut RawQueuePair,
    op: Box<Op>,
    number: u32,
    session: &KeySession,
) -> Result<(), Box<Op>> {
    match session {
        KeySession::Rsa(session) => {
            #[cfg(test)]
            let how = tests::spoil(&op, session);
            raw.stage(op, number, &Work::Rsa(session))?;
            #[cfg(test)]
            if let Some(how) = how {
                raw.spoil(how);
            }
            Ok(())
        }
        #[cfg(feature = "null")]
        KeySession::Null(session) => raw.stage(op, number, &Work::Null(session)),
        KeySession::Crt(_) | KeySession::Ecdsa(_) => stage_made_up(raw, op, number, session),
    }
}

/// Stages `op`, whose operands are to be made first.
#[cold]
fn stage_made_up(
    raw: &mut RawQueuePair,
    op: Box<Op>,
    number: u32,
    session: &KeySession,
) -> Result<(), Box<Op>> {
    let crt = match session {
        KeySession::Crt(crt) => crt,
        KeySession::Ecdsa(signer) => return signer.stage(raw, op, number),
        _ => return Err(op),
    };
    let (base_p, base_q) = crt.bases(op.input());
    let halves = [(&crt.p.session, &base_p[..]), (&crt.q.session, &base_q[..])];
    raw.stage(op, number, &Work::Halves(halves))
}

/// The op of one that the device did not compute, with an error, or `None` if nobody wants it any more.
#[cold]
fn failed(
    mut op: Box<Op>,
    given_up: bool,
    counts: &mut Counts,
    in_flight: &mut usize,
) -> Option<Box<Op>> {
    if given_up {
        counts.late += 1;
        *in_flight -= 1;
        return None;
    }
    op.fail(OpStatus::Error); // with whatever the device has written there
    Some(op)
}

/// Puts the result into the op, and lets it out if it is right.
#[inline]
fn read_result(back: &mut Back<'_>, session: Option<&KeySession>, stats: &mut DeviceStats) {
    #[cfg(feature = "null")]
    if let Some(KeySession::Null(_)) = session {
        back.op.status = OpStatus::Success; // there is nothing to check
        return;
    }
    check_result(back, session, stats);
}

#[cold] // costs far more than a call
fn check_result(back: &mut Back<'_>, session: Option<&KeySession>, stats: &mut DeviceStats) {
    if let Some(KeySession::Crt(crt)) = session {
        back.combine(|p, q, output| crt.combine(p, q, output));
    }
    #[cfg(test)]
    tests::corrupt(&mut back.op);
    let is_right = match session {
        Some(KeySession::Ecdsa(signer)) => signer.take_signature(back),
        Some(_) => cpu::result_is_right(&back.op),
        None => ec::take_products(back),
    };
    let op = &mut *back.op;
    if is_right {
        op.status = OpStatus::Success;
    } else {
        op.fail(OpStatus::Error); // a faulty result may give the key away
        stats.faults_caught += 1;
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

    fn enqueue_burst(&mut self, ops: &mut Burst) -> usize {
        let taken = ops.len().min(self.capacity - self.in_flight);
        for mut op in ops.drain(..taken) {
            op.status = OpStatus::NotProcessed;
            self.stage_or_wait(op);
        }
        self.in_flight += taken;
        self.stats.enqueued += taken as u64;
        taken
    }

    fn dequeue_burst(&mut self, done: &mut Burst, max: usize, _now_ns: u64) -> usize {
        let mut given = 0;
        if !self.finished.is_empty() {
            given = self.finished.len().min(max);
            self.stats.failed += given as u64;
            done.extend(self.finished.drain(..given));
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

    /// Ops that the device has keep their memory until they come back, and are dropped then.
    fn reset(&mut self) -> bool {
        self.fail_all();
        self.in_flight -= self.finished.len();
        self.finished.clear();
        self.raw.give_up();
        true
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
            self.collect(&mut Burst::new(), self.capacity);
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
