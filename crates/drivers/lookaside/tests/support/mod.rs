//! An inner device on strings, clients of it, and waiting.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use spinlane_cryptodev::{
    Burst, Capabilities, Device, DeviceError, DeviceStats, Op, OpStatus, QueuePair,
    QueuePairConfig, Request, Token,
};
use spinlane_driver_lookaside::{IdlePolicy, LookasideDevice, Settings};

/// What a test waits for at most. Only reached when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the inner device misbehaves.
#[derive(Default)]
pub struct Strings {
    /// Gives nothing back.
    pub hold: AtomicBool,
    /// Gets stuck in `dequeue_burst`.
    pub block: AtomicBool,
    /// So many ops to come are never given back.
    pub lose: AtomicU64,
    /// So many ops to come are given back twice.
    pub double: AtomicU64,
    /// Refuses all.
    pub refuse: AtomicBool,
    /// So many panics to come, in `dequeue_burst`.
    pub panics: AtomicU64,
    /// Ops that reached it.
    pub reached: AtomicU64,
    /// Set when the queue pair is dropped.
    pub closed: AtomicBool,
}

/// A device on strings around another.
pub struct OnStrings(pub Box<dyn Device>, pub Arc<Strings>);

impl Device for OnStrings {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn queue_pair(&self, config: QueuePairConfig) -> Result<Box<dyn QueuePair>, DeviceError> {
        Ok(Box::new(PairOnStrings {
            inner: self.0.queue_pair(config)?,
            strings: Arc::clone(&self.1),
            lost: Burst::new(),
        }))
    }
}

struct PairOnStrings {
    inner: Box<dyn QueuePair>,
    strings: Arc<Strings>,
    lost: Burst,
}

impl QueuePair for PairOnStrings {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capacity(&self) -> usize {
        self.inner.capacity()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn enqueue_burst(&mut self, ops: &mut Burst) -> usize {
        let strings = &*self.strings;
        if strings.refuse.load(SeqCst) {
            return 0;
        }
        strings.reached.fetch_add(ops.len() as u64, SeqCst);
        let mut lost = 0;
        while !ops.is_empty() && take_one(&strings.lose) {
            self.lost.push(ops.remove(0));
            lost += 1;
        }
        lost + self.inner.enqueue_burst(ops)
    }

    fn dequeue_burst(&mut self, done: &mut Burst, max: usize, now_ns: u64) -> usize {
        let strings = &*self.strings;
        while strings.block.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!take_one(&strings.panics), "told to by the test");
        if strings.hold.load(SeqCst) {
            return 0;
        }
        let mut given = self.inner.dequeue_burst(done, max, now_ns);
        if given > 0 && take_one(&strings.double) {
            let op = &done[done.len() - 1];
            let mut twin = Op::without_operands(op.kind(), op.token);
            twin.status = OpStatus::Success;
            done.push(twin);
            given += 1;
        }
        given
    }

    fn flush(&mut self) {
        if !self.strings.hold.load(SeqCst) {
            self.inner.flush();
        }
    }

    fn stats(&self) -> DeviceStats {
        self.inner.stats()
    }
}

impl Drop for PairOnStrings {
    fn drop(&mut self) {
        self.strings.closed.store(true, SeqCst);
    }
}

fn take_one(from: &AtomicU64) -> bool {
    from.fetch_update(SeqCst, SeqCst, |count| count.checked_sub(1))
        .is_ok()
}

/// Settings for crypto cores that share theirs with the tests.
pub fn settings() -> Settings {
    Settings {
        idle: IdlePolicy::shared(Duration::from_micros(50)),
        stop_within_ns: PATIENCE.as_nanos() as u64,
        ..Settings::default()
    }
}

/// The cores of this machine.
pub fn cores() -> Vec<usize> {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    ids.iter().map(|id| id.id).collect()
}

/// A lookaside device on one core around `inner` on strings.
pub fn on_strings(
    inner: impl Device + 'static,
    settings: Settings,
) -> (LookasideDevice, Arc<Strings>) {
    let strings = Arc::new(Strings::default());
    let inner = OnStrings(Box::new(inner), Arc::clone(&strings));
    let device = LookasideDevice::new(Box::new(inner), &cores()[..1], settings);
    (device.expect("the first core there is"), strings)
}

/// A queue pair of this capacity.
pub fn open(device: &LookasideDevice, capacity: usize) -> Box<dyn QueuePair> {
    let config = QueuePairConfig {
        capacity,
        ..QueuePairConfig::default()
    };
    device.queue_pair(config).expect("a crypto core runs")
}

/// A cheap op.
pub fn op(token: u64) -> Box<Op> {
    let mut op = Op::new();
    op.prepare(Token(token), &Request::x25519_keygen(&[7; 32]), token * 3);
    op
}

/// Cheap ops with these tokens.
pub fn ops(tokens: std::ops::Range<u64>) -> Burst {
    tokens.map(op).collect()
}

/// Waits until `holds`.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// The clock of a client. It stands still: a crypto core counts as stuck by it, however long a busy
/// machine lets it wait, only where a test moves it.
pub const NOW_NS: u64 = 0;

/// Waits for `count` ops.
#[track_caller]
pub fn collect(queue_pair: &mut dyn QueuePair, count: usize) -> Burst {
    let mut done = Burst::new();
    wait_until("ops", || {
        queue_pair.dequeue_burst(&mut done, count, NOW_NS);
        done.len() >= count
    });
    assert_eq!(done.len(), count);
    done
}

/// Tokens and statuses.
pub fn outcome(done: &Burst) -> Vec<(u64, OpStatus)> {
    done.iter().map(|op| (op.token.0, op.status)).collect()
}
