//! Several queue pairs for one kind: they share its ops, and take over from one that fails.

mod support;

use spinlane_crypto::test_keys::{components, der};
use spinlane_crypto::{PublicKey, RsaPublicKey};
use spinlane_cryptodev::{Capabilities, Device, KeyHandle, OpKind, QueuePairConfig, Request};
use spinlane_driver_soft::SoftDevice;
use spinlane_lcore::{Config, Conn, HealthConfig, Lcore, OffloadError, compute};
use support::{Bench, Handle, Session, TestClock};

const HEALTH: HealthConfig = HealthConfig {
    fallback: true,
    op_deadline_ns: 1_000_000,
    max_errors: 3,
    probe_interval_ns: 400_000,
};

fn soft() -> Box<dyn spinlane_cryptodev::QueuePair> {
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
    let config = Config {
        health: HEALTH,
        ..Config::default()
    };
    let bench = Bench::with(config, dead, clock);
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
