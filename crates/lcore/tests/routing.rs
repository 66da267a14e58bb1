//! Several queue pairs for one kind: they share its ops, and take over from one that fails.

mod support;

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use spinlane_crypto::test_keys::{components, der};
use spinlane_crypto::{PublicKey, RsaPublicKey};
use spinlane_cryptodev::test_keys::rsa;
use spinlane_cryptodev::{
    Burst, Capabilities, Device, DeviceStats, KeyHandle, Op, OpKind, OpStatus, QueuePair,
    QueuePairConfig, Request, Token, cpu,
};
use spinlane_driver_soft::SoftDevice;
use spinlane_lcore::{
    ChannelStats, Config, Conn, HealthConfig, Lcore, OffloadError, Submitted, compute,
};
use support::{Bench, Handle, Session, TestClock};

const HEALTH: HealthConfig = HealthConfig {
    fallback: true,
    op_deadline_ns: 1_000_000,
    max_errors: 3,
    probe_interval_ns: 400_000,
};

fn soft() -> Box<dyn QueuePair> {
    let queue_pair = SoftDevice::new().queue_pair(QueuePairConfig::default());
    queue_pair.expect("the default")
}

/// Starts an op of each session and turns until all have ended.
fn run(lcore: &Lcore, count: u64) {
    let sessions: Vec<_> = (0..count).map(|id| Session::new(lcore, id)).collect();
    for session in &sessions {
        session.start_true(OpKind::X25519Keygen, [0; 32]);
    }
    while lcore.in_flight() > 0 {
        lcore.poll().expect("not in a callback");
    }
    while lcore.next_ready().is_some() {}
    for session in &sessions {
        session.resume();
        assert_eq!(session.result(), Some(Ok(())));
    }
}

fn enqueued(lcore: &Lcore) -> Vec<u64> {
    let channels = lcore.stats().channels;
    channels
        .iter()
        .map(|channel| channel.counts.enqueued)
        .collect()
}

#[test]
fn two_soft_queue_pairs_each_get_half() {
    let lcore = Lcore::new(Config::default());
    lcore.add_queue_pair(soft());
    lcore.add_queue_pair(soft());
    let _entered = lcore.enter();
    run(&lcore, 100);
    assert_eq!(enqueued(&lcore), [50, 50]);
}

#[test]
fn with_one_dead_the_other_gets_all_and_nothing_fails() {
    let clock = TestClock::default();
    let dead = Handle::new(256, Capabilities::ALL, &clock);
    let bench = Bench::with(HEALTH, dead, clock);
    bench.lcore.add_queue_pair(soft());
    // Half of them go to the dead one, whose deadline passes.
    let sessions = bench.sessions(20);
    for session in &sessions {
        session.start_true(OpKind::X25519Keygen, [0; 32]);
    }
    bench.clock.advance(HEALTH.op_deadline_ns);
    for _ in 0..9 {
        bench.turn(&sessions);
    }
    assert!(
        sessions
            .iter()
            .all(|session| session.result() == Some(Ok(())))
    );
    assert_eq!(enqueued(&bench.lcore), [10, 10]);
    // From then on the other gets all but what makes probes.
    run(&bench.lcore, 100);
    assert_eq!(enqueued(&bench.lcore), [10, 110]);
    bench.clock.advance(HEALTH.probe_interval_ns);
    run(&bench.lcore, 100);
    assert_eq!(enqueued(&bench.lcore), [11, 209]);
    let health = bench.lcore.stats().channels[0].health;
    assert_eq!((health.healthy, health.probes), (false, 1));
}

#[test]
fn each_queue_pair_has_the_health_of_its_driver_or_the_one_it_is_added_with() {
    let clock = TestClock::default();
    let slow = HealthConfig {
        op_deadline_ns: 10 * HEALTH.op_deadline_ns,
        max_errors: 1,
        ..HEALTH
    };
    let [keygen, derive] = [OpKind::X25519Keygen, OpKind::X25519Derive]
        .map(|kind| Handle::new(4, Capabilities::NONE.with(kind), &clock));
    let bench = Bench::with(slow, keygen, clock);
    // The driver says one thing, whoever adds it another.
    derive.set_health(slow);
    bench.lcore.add_queue_pair_with(derive.queue_pair(), HEALTH);
    let sessions = bench.sessions(2);
    sessions[0].start_true(OpKind::X25519Keygen, [0; 32]);
    sessions[1].start_true(OpKind::X25519Derive, [9; 32]);
    let turn = |passed_ns| {
        bench.clock.advance(passed_ns);
        bench.turn(&sessions);
        let channels = bench.lcore.stats().channels;
        let each = |channel: &ChannelStats| (channel.counts.timed_out, channel.health.healthy);
        [each(&channels[0]), each(&channels[1])]
    };
    // Who has answered nothing for its own deadline is unhealthy, which is noticed a quarter later at most.
    assert_eq!(turn(9 * HEALTH.op_deadline_ns), [(0, true), (1, false)]);
    assert_eq!(turn(4 * HEALTH.op_deadline_ns), [(1, false), (1, false)]);
}

/// An RSA-2048 key whose secret a device of the driver "hsm" is said to have.
fn remote() -> std::sync::Arc<KeyHandle> {
    let parts = components(der::RSA_2048);
    let public = RsaPublicKey::from_components(parts.n, parts.e).expect("a key");
    KeyHandle::remote(PublicKey::Rsa(public), "hsm", ())
}

#[test]
fn a_key_that_no_queue_pair_has_is_named_with_its_driver() {
    let bench = Bench::new(4);
    let key = remote();
    let request = Request::rsa_private(&key, &[0x11; 256]).expect("below the modulus");
    let error = OffloadError::KeyElsewhere {
        kind: OpKind::Rsa2048,
        driver: "hsm",
    };
    assert_eq!(compute(&request, &mut [0; 256]), Err(error));
    let submitted = bench.lcore.submit(&request, Conn(1));
    assert_eq!(submitted.err(), Some(error));
    assert!(error.to_string().contains("hsm's own"), "{error}");
    assert_eq!(bench.lcore.in_flight(), 0);
}

/// A device that has the secret of [`remote`], and does with it what the test says.
struct Vault {
    inner: Box<dyn QueuePair>,
    fails: Rc<Cell<bool>>,
    /// Ops with the remote key; `inner` has twins of them with the numbers.
    originals: VecDeque<Box<Op>>,
}

impl Vault {
    fn open(fails: &Rc<Cell<bool>>) -> Box<dyn QueuePair> {
        Box::new(Self {
            inner: soft(),
            fails: Rc::clone(fails),
            originals: VecDeque::new(),
        })
    }
}

impl QueuePair for Vault {
    fn name(&self) -> &str {
        "hsm"
    }

    fn capacity(&self) -> usize {
        self.inner.capacity()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE.with(OpKind::Rsa2048)
    }

    fn holds(&self, key: &KeyHandle) -> bool {
        key.driver() == Some("hsm")
    }

    fn enqueue_burst(&mut self, ops: &mut Burst) -> usize {
        let local = rsa(der::RSA_2048);
        for op in ops.drain(..) {
            let mut twin = Op::new();
            let request = Request::rsa_private(&local, op.input()).expect("a residue");
            twin.prepare(op.token, &request, op.enqueued_at_ns);
            assert_eq!(self.inner.enqueue_burst(&mut vec![twin]), 1);
            self.originals.push_back(op);
        }
        self.originals.len()
    }

    fn dequeue_burst(&mut self, done: &mut Burst, max: usize, now_ns: u64) -> usize {
        let mut twins = Burst::new();
        let count = self.inner.dequeue_burst(&mut twins, max, now_ns);
        for twin in twins {
            let mut op = self
                .originals
                .pop_front()
                .expect("first come, first served");
            op.buffers().1.copy_from_slice(twin.output());
            op.status = twin.status;
            if self.fails.get() {
                op.fail(OpStatus::Error);
            }
            done.push(op);
        }
        count
    }

    fn stats(&self) -> DeviceStats {
        self.inner.stats()
    }
}

/// Two vaults, the first of which fails what it is told to, and three signatures by the remote key; the results.
fn sign_by(fails: [bool; 2]) -> (Vec<Result<(), OffloadError>>, Lcore) {
    let lcore = Lcore::new(Config::default());
    let fails = fails.map(|fails| Rc::new(Cell::new(fails)));
    fails
        .iter()
        .for_each(|fails| lcore.add_queue_pair(Vault::open(fails)));
    let key = remote();
    let blocks = [[0x11; 256], [0x12; 256], [0x13; 256]];
    let mut tickets = Vec::new();
    for block in &blocks {
        let request = Request::rsa_private(&key, block).expect("below the modulus");
        match lcore.submit(&request, Conn(1)) {
            Ok(Submitted::Accepted(ticket)) => tickets.push(ticket),
            other => panic!("{other:?}"),
        }
    }
    while lcore.in_flight() > 0 {
        lcore.poll().expect("not in a callback");
    }
    let results = tickets.into_iter().zip(blocks).map(|(ticket, block)| {
        let mut output = [0; 256];
        let result = ticket.take(&mut output).expect("it has ended");
        let is_right = || {
            let request = Request::rsa_private(&key, &block).expect("below the modulus");
            let mut op = Op::new();
            op.prepare(Token(0), &request, 0);
            op.buffers().1.copy_from_slice(&output);
            cpu::result_is_right(&op)
        };
        assert!(result.is_err() || is_right());
        result
    });
    (results.collect(), lcore)
}

#[test]
fn another_queue_pair_that_has_the_key_takes_over_what_one_fails() {
    let (results, lcore) = sign_by([true, false]);
    assert_eq!(results, [Ok(()); 3]);
    let channels = lcore.stats().channels;
    let counts = [channels[0].counts, channels[1].counts];
    assert_eq!((counts[0].moved, counts[0].enqueued), (2, 0));
    assert_eq!((counts[1].enqueued, counts[1].completed), (3, 3));
    assert_eq!(
        counts[0].fallback + counts[1].fallback,
        0,
        "no software has the key"
    );
    assert!(
        channels
            .iter()
            .all(|channel| channel.free_slots == channel.capacity)
    );
}

#[test]
fn what_every_queue_pair_with_the_key_fails_is_an_error() {
    let (results, lcore) = sign_by([true, true]);
    assert_eq!(results, [Err(OffloadError::Device); 3]);
    let channels = lcore.stats().channels;
    assert!(
        channels
            .iter()
            .all(|channel| channel.free_slots == channel.capacity)
    );
}
