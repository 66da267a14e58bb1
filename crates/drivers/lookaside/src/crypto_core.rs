//! A crypto core: its thread, and the loop that feeds the inner device and carries results home.
//!
//! ```text
//!   client 0 ──submissions──▶ ┐                            ┌ ──completions──▶ client 0
//!   client 1 ──submissions──▶ ┴ admit ▶ inner queue pair ▶ settle ┴ ──completions──▶ client 1
//! ```

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use spinlane_cryptodev::{Burst, DeviceStats, Op, OpStatus, Operation, QueuePair, aead};
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
    /// Clients that attach, for private-key ops.
    ops: Mailbox<Attach<Op>>,
    /// Clients that attach, for records.
    records: Mailbox<Attach<aead::Op>>,
    /// Asks the thread to end.
    pub(crate) stop: AtomicBool,
    /// Turns made: whether the thread is alive.
    pub(crate) beat: CachePadded<AtomicU64>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            ops: Mailbox::new(),
            records: Mailbox::new(),
            stop: AtomicBool::new(false),
            beat: CachePadded::new(AtomicU64::new(0)),
        }
    }
}

/// A class of ops that crypto cores serve.
pub(crate) trait Served: Operation {
    /// Where its clients attach.
    fn inbox(shared: &Shared) -> &Mailbox<Attach<Self>>;
}

impl Served for Op {
    fn inbox(shared: &Shared) -> &Mailbox<Attach<Self>> {
        &shared.ops
    }
}

impl Served for aead::Op {
    fn inbox(shared: &Shared) -> &Mailbox<Attach<Self>> {
        &shared.records
    }
}

/// The crypto core's ends of a client's rings.
pub(crate) struct Port<O> {
    pub(crate) submissions: Consumer<Box<O>>,
    pub(crate) completions: Producer<Box<O>>,
}

/// A client on its way to a crypto core.
pub(crate) struct Attach<O> {
    pub(crate) port: Port<O>,
    /// Where the port goes when the thread ends.
    pub(crate) home: Arc<Mailbox<Port<O>>>,
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
struct Client<O> {
    port: Port<O>,
    home: Arc<Mailbox<Port<O>>>,
    tally: Arc<Tally>,
    /// Its ops in the table.
    in_flight: usize,
    /// Its finished ops, until the end of the turn.
    outgoing: VecDeque<Box<O>>,
}

/// The thread's work, until it is asked to stop or an inner queue pair panics. Then every op that is
/// not done comes back failed, and the ports go home.
pub(crate) fn work(
    shared: &Shared,
    settings: &Settings,
    mut ops: Service<Op>,
    mut records: Option<Service<aead::Op>>,
) {
    let all_turns = || turns(shared, settings, &mut ops, records.as_mut());
    if catch_unwind(AssertUnwindSafe(all_turns)).is_err() {
        tracing::error!("a device panicked on its crypto core; its ops fail from here on");
    }
    ops.close(shared);
    if let Some(records) = records {
        records.close(shared);
    }
}

fn turns(
    shared: &Shared,
    settings: &Settings,
    ops: &mut Service<Op>,
    mut records: Option<&mut Service<aead::Op>>,
) {
    let clock = quanta::Clock::new();
    let epoch = clock.raw();
    let mut idle = Idle::new(settings.idle);
    let mut beat = 0_u64;
    loop {
        beat += 1;
        // Relaxed, as is the flag: nothing is read by their leave.
        shared.beat.store(beat, Ordering::Relaxed);
        let stopping = shared.stop.load(Ordering::Relaxed);
        let now_ns = clock.delta_as_nanos(epoch, clock.raw());
        let mut worked = ops.turn(shared, now_ns, stopping);
        let mut rests = worked || ops.rest();
        if let Some(records) = &mut records {
            worked |= records.turn(shared, now_ns, stopping);
            rests = worked || records.rest() | rests;
        }
        if worked {
            idle.reset();
        } else if rests {
            std::hint::spin_loop();
        } else if stopping {
            return;
        } else {
            ops.detach();
            if let Some(records) = &mut records {
                records.detach();
            }
            idle.wait();
        }
    }
}

/// What the thread has for one class of ops.
pub(crate) struct Service<O: Operation> {
    inner: Box<dyn QueuePair<O>>,
    lost_after_ns: u64,
    table: Table<O>,
    /// By port number; a place is used again when its client has gone.
    clients: Vec<Option<Client<O>>>,
    /// The client that is asked first, so that none starves.
    turn: usize,
    attaching: Vec<Attach<O>>,
    /// Admitted, not yet taken by the inner device.
    pending: Burst<O>,
    done: Burst<O>,
    counted: DeviceStats,
    stray: u64,
}

impl<O: Served> Service<O> {
    pub(crate) fn new(inner: Box<dyn QueuePair<O>>, settings: &Settings) -> Self {
        let capacity = inner.capacity();
        Self {
            inner,
            lost_after_ns: settings.lost_after_ns,
            table: Table::new(capacity),
            clients: Vec::new(),
            turn: 0,
            attaching: Vec::new(),
            pending: Burst::with_capacity(capacity),
            done: Burst::with_capacity(COLLECT_BURST),
            counted: DeviceStats::default(),
            stray: 0,
        }
    }

    /// One turn of the thread's loop. Returns whether there was something to do.
    fn turn(&mut self, shared: &Shared, now_ns: u64, stopping: bool) -> bool {
        self.attach(shared);
        let gathered = if stopping { 0 } else { self.gather(now_ns) };
        let submitted = match self.pending.is_empty() {
            true => 0,
            false => self.inner.enqueue_burst(&mut self.pending),
        };
        let collected = self.collect(now_ns);
        let lost = self.give_up_lost(now_ns);
        self.deliver();
        gathered + submitted + collected + lost != 0
    }

    /// There is nothing else to do: a partial batch runs. Returns whether anything is in flight.
    fn rest(&mut self) -> bool {
        let waits = !self.table.is_empty();
        if waits {
            self.inner.flush();
        }
        waits
    }

    /// Takes in new clients.
    fn attach(&mut self, shared: &Shared) {
        O::inbox(shared).take(&mut self.attaching);
        while let Some(attach) = self.attaching.pop() {
            self.admit(attach);
        }
    }

    fn admit(&mut self, Attach { port, home, tally }: Attach<O>) {
        let client = Client {
            outgoing: VecDeque::with_capacity(port.completions.capacity()),
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
                self.pending.push(op);
            }
            gathered += client.in_flight - before;
        }
        self.turn = (self.turn + 1) % count.max(1);
        gathered
    }

    /// Takes finished ops from the inner device and sorts them by client.
    fn collect(&mut self, now_ns: u64) -> usize {
        let collected = self
            .inner
            .dequeue_burst(&mut self.done, COLLECT_BURST, now_ns);
        if collected == 0 {
            return 0;
        }
        let mut first = None;
        let mut done = std::mem::take(&mut self.done);
        for mut op in done.drain(..) {
            match self.table.settle(&mut op) {
                Some(port) => {
                    first.get_or_insert(port);
                    self.sort(port, op);
                }
                None => self.note_stray(),
            }
        }
        self.done = done;
        if let Some(client) = first.and_then(|port| self.clients[port].as_ref()) {
            let counted = self.inner.stats();
            client.tally.add(&self.counted, &counted);
            self.counted = counted;
        }
        collected
    }

    /// Puts a finished op with those that go to the same client.
    fn sort(&mut self, port: usize, op: Box<O>) {
        // A client with ops in flight is not forgotten.
        if let Some(client) = &mut self.clients[port] {
            client.in_flight -= 1;
            client.outgoing.push_back(op);
        }
    }

    fn lose(&mut self, Lost { port, failed, .. }: Lost<O>) {
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
        let Some(before_ns) = now_ns.checked_sub(self.lost_after_ns) else {
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
    fn close(mut self, shared: &Shared) {
        O::inbox(shared).close(&mut self.attaching);
        while let Some(attach) = self.attaching.pop() {
            self.admit(attach);
        }
        for mut op in std::mem::take(&mut self.done) {
            if let Some(port) = self.table.settle(&mut op) {
                self.sort(port, op);
            }
        }
        for mut op in std::mem::take(&mut self.pending) {
            op.status = OpStatus::Error;
            if let Some(port) = self.table.settle(&mut op) {
                self.sort(port, op);
            }
        }
        while let Some(lost) = self.table.give_up_any() {
            self.lose(lost);
        }
        self.deliver();
        let Self { inner, clients, .. } = self;
        // What it still holds is lost to it; a panic of its drop must not keep the rest.
        if catch_unwind(AssertUnwindSafe(|| drop(inner))).is_err() {
            tracing::error!("the device panicked while its queue pair was closed");
        }
        for Client { port, home, .. } in clients.into_iter().flatten() {
            // Nobody closes a home.
            let _ = home.post(port);
        }
    }
}
