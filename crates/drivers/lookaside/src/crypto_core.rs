//! A crypto core: its thread, and the loop that feeds the inner device and carries results home.
//!
//! ```text
//!   client 0 ──submissions──▶ ┐                            ┌ ──completions──▶ client 0
//!   client 1 ──submissions──▶ ┴ admit ▶ inner queue pair ▶ settle ┴ ──completions──▶ client 1
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use spinlane_cryptodev::{DeviceStats, Op, OpBurst, OpStatus, QueuePair};
use spinlane_ring::{Consumer, Producer};

use crate::idle::Idle;
use crate::mailbox::Mailbox;
use crate::settings::Settings;
use crate::table::{Lost, Table};

/// Ops taken from one client per turn at most, so that none starves the others.
const GATHER_BURST: usize = 32;
/// Ops taken from the inner device per turn at most.
const COLLECT_BURST: usize = 64;

/// What a crypto core's thread shares with the rest.
pub(crate) struct Shared {
    /// Clients that attach.
    pub(crate) inbox: Mailbox<Attach>,
    /// Asks the thread to end.
    pub(crate) stop: AtomicBool,
    /// Turns made: whether the thread is alive.
    pub(crate) beat: CachePadded<AtomicU64>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            inbox: Mailbox::new(),
            stop: AtomicBool::new(false),
            beat: CachePadded::new(AtomicU64::new(0)),
        }
    }
}

/// The crypto core's ends of a client's rings.
pub(crate) struct Port {
    pub(crate) submissions: Consumer<Box<Op>>,
    pub(crate) completions: Producer<Box<Op>>,
}

/// A client on its way to a crypto core.
pub(crate) struct Attach {
    pub(crate) port: Port,
    /// Where the port goes when the thread ends.
    pub(crate) home: Arc<Mailbox<Port>>,
    pub(crate) tally: Arc<Tally>,
}

/// What the inner device counted on a client's behalf. A batch is counted for the client whose
/// op came out first, so that the clients' sums are the device's. Only the thread stores.
#[derive(Default)]
pub(crate) struct Tally {
    batches: AtomicU64,
    batched: AtomicU64,
    scalar: AtomicU64,
    faults_caught: AtomicU64,
    lost: AtomicU64,
}

impl Tally {
    fn add(&self, before: &DeviceStats, after: &DeviceStats) {
        // Relaxed, here and below: figures, each for itself; nothing is read by their leave.
        let add = |to: &AtomicU64, before: u64, after: u64| {
            if before != after {
                to.store(
                    to.load(Ordering::Relaxed) + (after - before),
                    Ordering::Relaxed,
                );
            }
        };
        add(&self.batches, before.batches, after.batches);
        add(&self.batched, before.batched, after.batched);
        add(&self.scalar, before.scalar, after.scalar);
        add(
            &self.faults_caught,
            before.faults_caught,
            after.faults_caught,
        );
    }

    fn add_lost(&self) {
        let lost = self.lost.load(Ordering::Relaxed) + 1;
        self.lost.store(lost, Ordering::Relaxed);
    }

    /// Ops that the inner device did not give back.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn read(&self) -> DeviceStats {
        DeviceStats {
            batches: self.batches.load(Ordering::Relaxed),
            batched: self.batched.load(Ordering::Relaxed),
            scalar: self.scalar.load(Ordering::Relaxed),
            faults_caught: self.faults_caught.load(Ordering::Relaxed),
            ..DeviceStats::default()
        }
    }
}

/// A client as the thread sees it.
struct Client {
    port: Port,
    home: Arc<Mailbox<Port>>,
    tally: Arc<Tally>,
    /// Its ops in the table.
    in_flight: usize,
    /// Its finished ops, until the end of the turn.
    outgoing: OpBurst,
}

/// The thread's state, apart from the inner queue pair, which may panic.
pub(crate) struct CryptoCore {
    shared: Arc<Shared>,
    settings: Settings,
    clock: quanta::Clock,
    epoch: u64,
    table: Table,
    /// By port number; a place is used again when its client has gone.
    clients: Vec<Option<Client>>,
    /// The client that is asked first, so that none starves.
    turn: usize,
    attaching: Vec<Attach>,
    /// Admitted, not yet taken by the inner device.
    pending: OpBurst,
    done: OpBurst,
    counted: DeviceStats,
    stray: u64,
}

impl CryptoCore {
    /// The state of a thread that feeds an inner queue pair of this capacity.
    pub(crate) fn new(shared: Arc<Shared>, settings: Settings, capacity: usize) -> Self {
        let clock = quanta::Clock::new();
        Self {
            shared,
            settings,
            epoch: clock.raw(),
            clock,
            table: Table::new(capacity),
            clients: Vec::new(),
            turn: 0,
            attaching: Vec::new(),
            pending: OpBurst::with_capacity(capacity),
            done: OpBurst::with_capacity(COLLECT_BURST),
            counted: DeviceStats::default(),
            stray: 0,
        }
    }

    /// The thread's work, until it is asked to stop or `inner` panics. Then every op that is
    /// not done comes back failed, and the ports go home.
    pub(crate) fn work(mut self, mut inner: Box<dyn QueuePair>) {
        let panicked = catch_unwind(AssertUnwindSafe(|| self.turns(&mut *inner))).is_err();
        if panicked {
            tracing::error!(
                device = inner.name(),
                "the device panicked on its crypto core; its ops fail from here on"
            );
        }
        // What it still holds is lost to it; a panic of its drop must not keep the rest.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(inner)));
        if dropped.is_err() {
            tracing::error!("the device panicked while its queue pair was closed");
        }
        self.close();
    }

    fn turns(&mut self, inner: &mut dyn QueuePair) {
        let mut idle = Idle::new(self.settings.idle);
        let mut beat = 0_u64;
        loop {
            beat += 1;
            // Relaxed, as is the flag: nothing is read by their leave.
            self.shared.beat.store(beat, Ordering::Relaxed);
            let stopping = self.shared.stop.load(Ordering::Relaxed);
            self.attach();
            let now_ns = self.clock.delta_as_nanos(self.epoch, self.clock.raw());
            let gathered = if stopping { 0 } else { self.gather(now_ns) };
            let submitted = match self.pending.is_empty() {
                true => 0,
                false => inner.enqueue_burst(&mut self.pending),
            };
            let collected = self.collect(inner, now_ns);
            let lost = self.give_up_lost(now_ns);
            self.deliver();
            if gathered + submitted + collected + lost != 0 {
                idle.reset();
            } else if !self.table.is_empty() {
                // Nothing else to do: a partial batch runs.
                inner.flush();
                std::hint::spin_loop();
            } else if stopping {
                return;
            } else {
                self.detach();
                idle.wait();
            }
        }
    }

    /// Takes in new clients.
    fn attach(&mut self) {
        self.shared.inbox.take(&mut self.attaching);
        while let Some(attach) = self.attaching.pop() {
            self.admit(attach);
        }
    }

    fn admit(&mut self, Attach { port, home, tally }: Attach) {
        let client = Client {
            outgoing: OpBurst::with_capacity(port.completions.capacity()),
            port,
            home,
            tally,
            in_flight: 0,
        };
        match self.clients.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(client),
            None => self.clients.push(Some(client)),
        }
    }

    /// Forgets the clients that have gone and have nothing in flight.
    fn detach(&mut self) {
        for place in &mut self.clients {
            // In this order: what a client submits it submits before it goes.
            if place.as_ref().is_some_and(|client| {
                client.port.submissions.is_abandoned()
                    && client.in_flight == 0
                    && client.port.submissions.is_empty()
            }) {
                *place = None;
            }
        }
    }

    /// Takes new ops from the clients in turn, as many as the inner device has room for; none
    /// while it refuses some.
    fn gather(&mut self, now_ns: u64) -> usize {
        if !self.pending.is_empty() {
            return 0;
        }
        let mut gathered = 0;
        let count = self.clients.len();
        for step in 0..count {
            let number = (self.turn + step) % count;
            let Some(client) = &mut self.clients[number] else {
                continue;
            };
            let room = self.table.room().min(GATHER_BURST);
            let before = client.in_flight;
            for mut op in client.port.submissions.pop_burst(room) {
                self.table.admit(number, &mut op, now_ns);
                client.in_flight += 1;
                self.pending.push_back(op);
            }
            gathered += client.in_flight - before;
        }
        self.turn = (self.turn + 1) % count.max(1);
        gathered
    }

    /// Takes finished ops from the inner device and sorts them by client.
    fn collect(&mut self, inner: &mut dyn QueuePair, now_ns: u64) -> usize {
        let collected = inner.dequeue_burst(&mut self.done, COLLECT_BURST, now_ns);
        if collected == 0 {
            return 0;
        }
        let mut first = None;
        while let Some(mut op) = self.done.pop_front() {
            match self.table.settle(&mut op) {
                Some(port) => {
                    first.get_or_insert(port);
                    self.sort(port, op);
                }
                None => self.note_stray(),
            }
        }
        if let Some(client) = first.and_then(|port| self.clients[port].as_ref()) {
            let counted = inner.stats();
            client.tally.add(&self.counted, &counted);
            self.counted = counted;
        }
        collected
    }

    /// Puts a finished op with those that go to the same client.
    fn sort(&mut self, port: usize, op: Box<Op>) {
        // A client with ops in flight is not forgotten.
        if let Some(client) = &mut self.clients[port] {
            client.in_flight -= 1;
            client.outgoing.push_back(op);
        }
    }

    fn lose(&mut self, Lost { port, failed, .. }: Lost) {
        if let Some(client) = &self.clients[port] {
            client.tally.add_lost();
        }
        self.sort(port, failed);
    }

    /// An op came back twice, or after it had been given up. Said once per power of two.
    fn note_stray(&mut self) {
        self.stray += 1;
        if self.stray.is_power_of_two() {
            tracing::warn!(
                count = self.stray,
                "the device gave back an op that is not awaited; dropped"
            );
        }
    }

    /// Fails ops that the inner device seems to have lost.
    fn give_up_lost(&mut self, now_ns: u64) -> usize {
        let Some(before_ns) = now_ns.checked_sub(self.settings.lost_after_ns) else {
            return 0;
        };
        let Some(lost) = self.table.give_up(before_ns) else {
            return 0;
        };
        // It may never have reached the device.
        self.pending.retain(|pending| pending.token != lost.own);
        self.lose(lost);
        1
    }

    /// Sends finished ops home. A client's ring has room for all that it may have in flight.
    fn deliver(&mut self) {
        for client in self.clients.iter_mut().flatten() {
            if !client.outgoing.is_empty() {
                client.port.completions.push_burst(&mut client.outgoing);
            }
        }
    }

    /// The end: what is not done fails, and the ports go home with what was never taken.
    fn close(mut self) {
        self.shared.inbox.close(&mut self.attaching);
        while let Some(attach) = self.attaching.pop() {
            self.admit(attach);
        }
        while let Some(mut op) = self.done.pop_front() {
            if let Some(port) = self.table.settle(&mut op) {
                self.sort(port, op);
            }
        }
        while let Some(mut op) = self.pending.pop_front() {
            op.status = OpStatus::Error;
            if let Some(port) = self.table.settle(&mut op) {
                self.sort(port, op);
            }
        }
        while let Some(lost) = self.table.give_up_any() {
            self.lose(lost);
        }
        self.deliver();
        for Client { port, home, .. } in self.clients.into_iter().flatten() {
            // Nobody closes a home.
            let _ = home.post(port);
        }
    }
}
