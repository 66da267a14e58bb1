//! Records that devices seal, in virtual time: whatever the devices do, the peer reads what was written, in order,
//! or the connection ends.

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use allocation_counter::measure;
use proptest::prelude::*;
use spinlane_crypto::aead::Algorithm;
use spinlane_cryptodev::aead::Op;
use spinlane_cryptodev::{
    Burst, Capabilities, Device, DeviceStats, OpStatus, QueuePair, QueuePairConfig, cpu,
};
use spinlane_driver_sim::{SimConfig, SimDevice};
use spinlane_driver_soft::SoftDevice;
use spinlane_lcore::{Clock, Config, Conn, HealthConfig, Lcore};
use spinlane_rustls::{Connection, Error, Progress};

use support::stock::{Ours, Stock, give, pair, suites, text, version};

const DEADLINE_NS: u64 = 1_000_000;

#[derive(Clone, Default)]
struct TestClock(Rc<Cell<u64>>);

impl Clock for TestClock {
    fn now_ns(&self) -> u64 {
        self.0.get()
    }
}

struct Core {
    lcore: Lcore,
    clock: TestClock,
}

impl Core {
    fn new(queue_pair: Box<dyn QueuePair<Op>>, fallback: bool) -> Self {
        let clock = TestClock::default();
        let health = HealthConfig {
            fallback,
            op_deadline_ns: DEADLINE_NS,
            ..HealthConfig::default()
        };
        let lcore = Lcore::with_clock(Config::default(), Box::new(clock.clone()));
        lcore.add_record_queue_pair_with(queue_pair, health);
        Self { lcore, clock }
    }

    /// A simulated device.
    fn simulated(seed: usize, faults: &str, capacity: usize) -> Self {
        let config: SimConfig = format!("{seed}{faults}").parse().unwrap();
        let device = SimDevice::new(Box::new(SoftDevice::new()), config);
        let settings = QueuePairConfig {
            capacity,
            ..QueuePairConfig::default()
        };
        Self::new(device.record_queue_pair(settings).unwrap(), true)
    }

    fn poll(&self) {
        self.clock.0.set(self.clock.0.get() + DEADLINE_NS / 16);
        self.lcore.poll().unwrap();
    }

    /// Everything that was enqueued has ended somehow.
    fn check_counts(&self) {
        let stats = self.lcore.stats().records.remove(0);
        let counts = stats.counts;
        let ended = counts.completed + counts.fallback + counts.cancelled;
        assert_eq!(counts.enqueued, ended + stats.in_flight as u64);
    }
}

/// Carries to `stock` what can leave now; returns the text in it.
fn carry(conn: &mut Connection, stock: &mut Stock) -> Vec<u8> {
    let mut got = Vec::new();
    while conn.has_output() {
        let taken = conn.write_output(|output| {
            // A record's worth: stock rustls holds no more.
            let part = &output[..output.len().min(4000)];
            stock.feed(part).unwrap();
            Ok(part.len())
        });
        taken.unwrap();
        got.extend(stock.text().0);
    }
    got
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| (index * 7 + index / 251) as u8)
        .collect()
}

/// An established connection of `core`'s, and its peer.
fn on(core: &Core, name: u64, side: Ours, suite: usize) -> (Connection, Stock) {
    let (suite, key) = suites()[suite];
    let (mut ours, stock) = pair(side, suite, key);
    ours.attach(&core.lcore, Conn(name));
    assert!(ours.offloads_records());
    (ours, stock)
}

/// Writes `sent` and reads it on the other side.
fn write_all(core: &Core, ours: &mut Connection, stock: &mut Stock, sent: &[u8]) -> Vec<u8> {
    let (mut rest, mut got) = (sent, Vec::new());
    for _ in 0..10_000 {
        while !rest.is_empty() {
            match ours.write(rest).unwrap() {
                Progress::Done(count) => rest = &rest[count..],
                other => {
                    assert_eq!(other, Progress::WantOutput);
                    break;
                }
            }
        }
        core.poll();
        got.extend(carry(ours, stock));
        if rest.is_empty() && ours.output_len() == 0 {
            return got;
        }
    }
    panic!("records are stuck");
}

#[derive(Clone, Debug)]
enum Event {
    Write(usize),
    Refresh,
    StockRefreshes,
    StockWrites(usize),
    Poll,
    Send,
}

fn event() -> impl Strategy<Value = Event> {
    let len = prop_oneof![
        1_usize..40,
        0_usize..3000,
        16_380_usize..16_390,
        0_usize..40_000
    ];
    prop_oneof![
        6 => len.prop_map(Event::Write),
        1 => Just(Event::Refresh),
        1 => Just(Event::StockRefreshes),
        1 => (1_usize..3000).prop_map(Event::StockWrites),
        3 => Just(Event::Poll),
        2 => Just(Event::Send),
    ]
}

/// Lets `events` happen on a connection whose records a device with `faults` seals, then closes it.
/// Returns how many records software sealed in the device's place.
fn run(suite: usize, side: Ours, faults: &str, capacity: usize, events: &[Event]) -> u64 {
    let core = Core::simulated(suite, faults, capacity);
    let (mut ours, mut stock) = on(&core, 1, side, suite);
    let tls13 = version(suites()[suite].0) == &rustls::version::TLS13;
    let (mut sent, mut got) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::Write(len) => {
                // As much as there is room for: the rest is never written.
                let all = pattern(*len);
                let mut rest = &all[..];
                while let (false, Ok(Progress::Done(count))) = (rest.is_empty(), ours.write(rest)) {
                    sent.extend_from_slice(&rest[..count]);
                    rest = &rest[count..];
                }
            }
            Event::Refresh if tls13 => {
                assert_eq!(ours.refresh_traffic_keys(), Ok(Progress::Done(0)));
            }
            Event::StockRefreshes if tls13 => {
                // Ours answers by a KeyUpdate of its own, behind what devices have.
                stock.0.refresh_traffic_keys().unwrap();
                give(&mut ours, &stock.output());
                assert_eq!(text(&mut ours).0, b"");
            }
            Event::StockWrites(len) => {
                stock.write(&pattern(*len));
                give(&mut ours, &stock.output());
                assert!(text(&mut ours).0 == pattern(*len));
            }
            Event::Poll => core.poll(),
            Event::Send => got.extend(carry(&mut ours, &mut stock)),
            Event::Refresh | Event::StockRefreshes => {}
        }
    }
    ours.shutdown();
    for _ in 0..10_000 {
        core.poll();
        got.extend(carry(&mut ours, &mut stock));
        if ours.output_len() == 0 {
            break;
        }
    }
    assert_eq!(ours.output_len(), 0, "records are stuck");
    assert!(got == sent, "{} bytes came of {}", got.len(), sent.len());
    assert!(stock.text().1, "close_notify comes last");
    core.check_counts();
    core.lcore.stats().records.remove(0).counts.fallback
}

const FAULTS: [&str; 6] = [
    "",
    ",latency=uniform:1us-2ms,reorder=0.5",
    ",lose=0.1,dup=0.1",
    ",wrong-status=0.3,refuse=0.2",
    ",late=0.2,late-by=3ms,reset=0.05",
    ",die=100us,revive=5ms",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_device_does_the_peer_reads_what_was_written(
        suite in 0..suites().len(),
        side in prop_oneof![Just(Ours::Client), Just(Ours::Server)],
        faults in prop::sample::select(FAULTS.to_vec()),
        capacity in prop_oneof![Just(1_usize), Just(3), Just(64)],
        events in prop::collection::vec(event(), 1..30),
    ) {
        run(suite, side, faults, capacity, &events);
    }
}

#[test]
fn every_suite_on_either_side_under_every_fault() {
    let writes = |len| {
        [
            Event::Write(len),
            Event::Poll,
            Event::Send,
            Event::Write(100),
        ]
    };
    let events: Vec<Event> = [1, 16_384, 40_000]
        .into_iter()
        .flat_map(writes)
        .chain([Event::Refresh, Event::Write(5000), Event::StockRefreshes])
        .chain([Event::Write(1), Event::Write(16_384)])
        .collect();
    for faults in FAULTS {
        let mut fallback = 0;
        for suite in 0..suites().len() {
            fallback += run(suite, Ours::Server, faults, 2, &events);
            fallback += run(suite, Ours::Client, faults, 2, &events);
        }
        assert_eq!(fallback != 0, faults != FAULTS[0], "{faults}: {fallback}");
    }
}

/// A queue pair that tells how many ops came at once, and does with them as the test says.
#[derive(Clone, Default)]
struct Told(Rc<Inside>);

#[derive(Default)]
struct Inside {
    bursts: RefCell<Vec<usize>>,
    held: RefCell<Burst<Op>>,
    keeps: Cell<bool>,
    fails: Cell<bool>,
}

impl QueuePair<Op> for Told {
    fn name(&self) -> &str {
        "told"
    }

    fn capacity(&self) -> usize {
        64
    }

    fn capabilities(&self) -> Capabilities<Algorithm> {
        Capabilities::ALL
    }

    fn enqueue_burst(&mut self, ops: &mut Burst<Op>) -> usize {
        let count = ops.len();
        let mut bursts = self.0.bursts.borrow_mut();
        // The test's own memory does not count as the connection's.
        if bursts.len() == bursts.capacity() {
            bursts.clear();
        }
        bursts.push(count);
        self.0.held.borrow_mut().append(ops);
        count
    }

    fn dequeue_burst(&mut self, done: &mut Burst<Op>, _max: usize, _now_ns: u64) -> usize {
        if self.0.keeps.get() {
            return 0;
        }
        let before = done.len();
        for mut op in self.0.held.borrow_mut().drain(..) {
            match self.0.fails.get() {
                true => op.fail(OpStatus::Error),
                false => cpu::run_aead(&mut op),
            }
            done.push(op);
        }
        done.len() - before
    }

    fn stats(&self) -> DeviceStats {
        DeviceStats::default()
    }
}

#[test]
fn the_records_of_all_connections_of_a_turn_are_one_burst_and_each_is_told_once() {
    let device = Told::default();
    let core = Core::new(Box::new(device.clone()), true);
    let mut all: Vec<_> = (0..10)
        .map(|name| on(&core, name, Ours::Server, 0))
        .collect();
    for (ours, _) in &mut all {
        for _ in 0..3 {
            assert_eq!(ours.write(b"text"), Ok(Progress::Done(4)));
        }
        assert!(!ours.has_output() && ours.output_len() > 12);
    }
    assert_eq!(core.lcore.next_ready(), None);
    core.poll();
    assert_eq!(*device.0.bursts.borrow(), [30]);
    for (name, (ours, stock)) in (0..).zip(&mut all) {
        assert_eq!(core.lcore.next_ready(), Some(Conn(name)));
        assert_eq!(carry(ours, stock), b"texttexttext");
    }
    assert_eq!(core.lcore.next_ready(), None);
}

#[test]
fn a_connection_that_goes_leaves_nothing_and_is_not_told() {
    let device = Told::default();
    let core = Core::new(Box::new(device.clone()), true);
    device.0.keeps.set(true);
    let (mut with_device, _) = on(&core, 1, Ours::Server, 0);
    with_device.write(b"with the device").unwrap();
    core.poll();
    let (mut stays, mut stock) = on(&core, 3, Ours::Server, 0);
    let (mut waits, _) = on(&core, 2, Ours::Server, 0);
    waits.write(b"waits for a poll").unwrap();
    stays.write(b"stays").unwrap();
    drop((with_device, waits));
    assert_eq!(core.lcore.in_flight(), 2);
    device.0.keeps.set(false);
    core.poll();
    assert_eq!(core.lcore.next_ready(), Some(Conn(3)));
    assert_eq!(core.lcore.next_ready(), None);
    let counts = core.lcore.stats().records.remove(0).counts;
    assert_eq!(
        (counts.enqueued, counts.cancelled, counts.completed),
        (2, 1, 1)
    );
    assert_eq!(carry(&mut stays, &mut stock), b"stays");
    // One that the device has had beyond the deadline, and gives back late.
    device.0.keeps.set(true);
    stays.write(b"late").unwrap();
    core.poll();
    drop(stays);
    (0..40).for_each(|_| core.poll());
    device.0.keeps.set(false);
    (0..40).for_each(|_| core.poll());
    assert_eq!((core.lcore.in_flight(), core.lcore.next_ready()), (0, None));
    core.check_counts();
}

#[test]
fn a_record_that_nobody_may_seal_ends_the_connection_behind_those_before_it() {
    let device = Told::default();
    let core = Core::new(Box::new(device.clone()), false);
    let (mut ours, mut stock) = on(&core, 1, Ours::Server, 0);
    ours.write(b"first").unwrap();
    core.poll();
    device.0.fails.set(true);
    ours.shutdown();
    assert_eq!(ours.write(b"second"), Ok(Progress::Closed));
    let (mut other, mut its_stock) = on(&core, 2, Ours::Server, 0);
    other.write(b"second").unwrap();
    core.poll();
    assert!(other.has_output());
    let error = other
        .write_output(|_| panic!("nothing of it leaves"))
        .unwrap_err();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    assert_eq!(inner, Some(&Error::Unsealed));
    assert_eq!((other.output_len(), other.has_output()), (0, false));
    assert_eq!(other.write(b"third"), Err(Error::Unsealed));
    assert_eq!(other.read(&mut [0]), Err(Error::Unsealed));
    other.shutdown();
    assert_eq!(other.output_len(), 0, "no close_notify behind the gap");
    assert_eq!(its_stock.text().0, b"");
    assert_eq!(carry(&mut ours, &mut stock), b"first");
    assert!(stock.text().1);
}

#[test]
fn nothing_is_allocated_per_record_after_warm_up() {
    // As one that may keep an op, for which copies are made.
    let device = Told::default();
    device.0.bursts.borrow_mut().reserve(64);
    let core = Core::new(Box::new(device), true);
    for suite in 0..suites().len() {
        let (mut ours, mut stock) = on(&core, 1, Ours::Server, suite);
        let message = vec![7; 40_000];
        assert!(write_all(&core, &mut ours, &mut stock, &message) == message);
        let mut turn = || {
            let mut rest = &message[..];
            while let Ok(Progress::Done(count)) = ours.write(rest) {
                rest = &rest[count..];
                if rest.is_empty() {
                    break;
                }
            }
            core.poll();
            while ours.has_output() {
                ours.write_output(|output| Ok(output.len())).unwrap();
            }
            while core.lcore.next_ready().is_some() {}
            assert_eq!((rest.len(), ours.output_len()), (0, 0));
        };
        turn();
        let before = core.lcore.stats().records.remove(0).counts.enqueued;
        let allocated = measure(|| (0..20).for_each(|_| turn()));
        assert!(core.lcore.stats().records.remove(0).counts.enqueued >= before + 60);
        assert_eq!(allocated.count_total, 0, "{:?}", suites()[suite].0.suite());
    }
}

#[test]
fn a_core_without_such_a_queue_pair_has_connections_seal_at_once() {
    let lcore = Lcore::new(Config::default());
    let (suite, key) = suites()[0];
    let (mut ours, mut stock) = pair(Ours::Server, suite, key);
    ours.attach(&lcore, Conn(1));
    assert!(!ours.offloads_records());
    ours.write(b"text").unwrap();
    assert_eq!(carry(&mut ours, &mut stock), b"text");
}
