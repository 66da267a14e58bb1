//! What a client gets when its crypto core stops, panics, is stuck, or loses ops: every op back.

#![forbid(unsafe_code)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use spinlane_cryptodev::{Burst, Device, DeviceError, OpStatus, QueuePairConfig, Token};
use spinlane_driver_lookaside::{LookasideDevice, Settings};
use spinlane_driver_soft::SoftDevice;
use support::{
    NOW_NS, OnStrings, Strings, collect, cores, on_strings, op, open, ops, outcome, settings,
    wait_until,
};

#[test]
fn a_stop_finishes_what_is_begun_and_returns_the_rest() {
    let two_at_a_time = Settings {
        inner: QueuePairConfig {
            capacity: 2,
            ..QueuePairConfig::default()
        },
        ..settings()
    };
    let (device, strings) = on_strings(SoftDevice::new(), two_at_a_time);
    strings.hold.store(true, SeqCst);
    let mut queue_pair = open(&device, 8);
    assert_eq!(queue_pair.enqueue_burst(&mut ops(0..6)), 6);
    wait_until("two", || strings.reached.load(SeqCst) == 2);
    thread::scope(|scope| {
        let stop = scope.spawn(|| device.stop());
        // As long as ops are in flight the crypto core works on.
        assert!(!stop.is_finished());
        strings.hold.store(false, SeqCst);
    });
    assert!(
        strings.closed.load(SeqCst),
        "the inner queue pair is closed"
    );

    let mut done = outcome(&collect(&mut *queue_pair, 6));
    done.sort_unstable_by_key(|(token, _)| *token);
    // The hold and the stop race with the thread's turns: some more may have been begun.
    assert!(done.iter().map(|(token, _)| *token).eq(0..6));
    assert_eq!(done[0].1, OpStatus::Success);
    assert_eq!(done[1].1, OpStatus::Success);
    assert!(
        done.iter()
            .skip_while(|(_, status)| *status == OpStatus::Success)
            .all(|(_, status)| *status == OpStatus::Error),
        "{done:?}"
    );

    // Whoever still comes is told, by the op or by the device.
    assert_eq!(queue_pair.enqueue_burst(&mut ops(9..10)), 1);
    assert_eq!(
        outcome(&collect(&mut *queue_pair, 1)),
        [(9, OpStatus::Error)]
    );
    let error = device.queue_pair(QueuePairConfig::default()).err();
    assert!(matches!(
        error,
        Some(DeviceError::Unavailable {
            device: "lookaside",
            ..
        })
    ));
    device.stop();
}

#[test]
fn dropping_the_device_and_its_queue_pairs_ends_the_thread() {
    let (device, strings) = on_strings(SoftDevice::new(), settings());
    let mut queue_pair = open(&device, 8);
    drop(device);
    assert_eq!(queue_pair.enqueue_burst(&mut ops(0..1)), 1);
    assert_eq!(
        outcome(&collect(&mut *queue_pair, 1)),
        [(0, OpStatus::Success)]
    );
    assert!(!strings.closed.load(SeqCst));
    drop(queue_pair);
    assert!(strings.closed.load(SeqCst));
}

/// Clients submit as fast as they can while the cores stop: each op comes back once.
#[test]
fn a_stop_under_load_loses_nothing() {
    for _ in 0..20 {
        let (device, _) = on_strings(SoftDevice::new(), settings());
        let attached = AtomicUsize::new(0);
        thread::scope(|scope| {
            let submit_until_failed = || {
                let mut queue_pair = open(&device, 256);
                attached.fetch_add(1, SeqCst);
                let (mut sent, mut done) = (0, Burst::new());
                let mut failed = false;
                // Goes on for a while after the stop.
                while !failed || sent % 64 != 0 {
                    sent += queue_pair.enqueue_burst(&mut ops(sent..sent + 1)) as u64;
                    queue_pair.dequeue_burst(&mut done, 64, NOW_NS);
                    failed = done.last().is_some_and(|op| op.status == OpStatus::Error);
                }
                let rest = sent as usize - done.len();
                done.extend(collect(&mut *queue_pair, rest));
                let mut tokens: Vec<u64> = done.iter().map(|op| op.token.0).collect();
                tokens.sort_unstable();
                assert!(tokens.into_iter().eq(0..sent));
                assert_eq!(queue_pair.dequeue_burst(&mut done, 64, NOW_NS), 0);
            };
            let clients = [(); 2].map(|()| scope.spawn(submit_until_failed));
            wait_until("clients", || attached.load(SeqCst) == 2);
            device.stop();
            assert!(clients.into_iter().all(|client| client.join().is_ok()));
        });
    }
}

#[test]
fn after_a_panic_every_op_comes_back_failed() {
    let (device, strings) = on_strings(SoftDevice::new(), settings());
    strings.hold.store(true, SeqCst);
    let (mut one, mut two) = (open(&device, 8), open(&device, 8));
    assert_eq!(one.enqueue_burst(&mut ops(0..5)), 5);
    wait_until("ops in the inner device", || {
        strings.reached.load(SeqCst) == 5
    });
    strings.panics.store(1, SeqCst);
    let mut done = outcome(&collect(&mut *one, 5));
    done.sort_unstable_by_key(|(token, _)| *token);
    assert_eq!(done, [0, 1, 2, 3, 4].map(|token| (token, OpStatus::Error)));
    // The other client learns it by its next ops.
    assert_eq!(two.enqueue_burst(&mut ops(0..3)), 3);
    assert!(
        collect(&mut *two, 3)
            .iter()
            .all(|op| op.status == OpStatus::Error)
    );
    assert_eq!(two.stats().failed, 3);
    assert!(device.queue_pair(QueuePairConfig::default()).is_err());
}

#[test]
fn a_reset_starts_a_crypto_core_again() {
    let (device, strings) = on_strings(SoftDevice::new(), settings());
    let mut queue_pair = open(&device, 8);
    for round in 0..3 {
        strings.hold.store(true, SeqCst);
        assert_eq!(queue_pair.enqueue_burst(&mut ops(0..4)), 4);
        strings.panics.store(1, SeqCst);
        let done = collect(&mut *queue_pair, 4);
        assert!(done.iter().all(|op| op.status == OpStatus::Error));
        assert!(device.queue_pair(QueuePairConfig::default()).is_err());

        strings.hold.store(false, SeqCst);
        queue_pair.reset();
        assert_eq!(queue_pair.xstats()[0], ("crypto_cores_usable", 1));
        assert_eq!(queue_pair.enqueue_burst(&mut ops(4..8)), 4);
        let done = collect(&mut *queue_pair, 4);
        assert!(
            done.iter().all(|op| op.status == OpStatus::Success),
            "{round}"
        );
        assert!(device.queue_pair(QueuePairConfig::default()).is_ok());
    }
    device.stop();
    queue_pair.reset();
    assert_eq!(queue_pair.enqueue_burst(&mut ops(0..1)), 1);
    let done = outcome(&collect(&mut *queue_pair, 1));
    assert_eq!(done, [(0, OpStatus::Error)], "a stop is for good");
}

#[test]
fn after_a_reset_nothing_is_in_flight() {
    let (device, strings) = on_strings(SoftDevice::new(), settings());
    let mut queue_pair = open(&device, 4);
    strings.hold.store(true, SeqCst);
    assert_eq!(queue_pair.enqueue_burst(&mut ops(0..4)), 4);
    wait_until("ops in the inner device", || {
        strings.reached.load(SeqCst) == 4
    });
    queue_pair.reset();
    assert_eq!(queue_pair.enqueue_burst(&mut ops(4..8)), 4);
    strings.hold.store(false, SeqCst);
    let done = outcome(&collect(&mut *queue_pair, 4));
    assert_eq!(done, [4, 5, 6, 7].map(|token| (token, OpStatus::Success)));
    assert_eq!(queue_pair.dequeue_burst(&mut Burst::new(), 8, NOW_NS), 0);
}

#[test]
fn the_other_crypto_core_takes_over() {
    let cores = cores();
    if cores.len() < 2 {
        eprintln!("SKIPPED the_other_crypto_core_takes_over: it wants two cores");
        return;
    }
    let strings = Arc::new(Strings::default());
    let inner = OnStrings(Box::new(SoftDevice::new()), Arc::clone(&strings));
    let device = LookasideDevice::new(Box::new(inner), &cores[..2], settings()).expect("two cores");
    let mut queue_pair = open(&device, 8);
    strings.panics.store(1, SeqCst);
    wait_until("the panic", || {
        queue_pair.dequeue_burst(&mut Burst::new(), 8, NOW_NS);
        queue_pair.xstats()[0] == ("crypto_cores_usable", 1)
    });
    for token in 0..20 {
        let mut burst = Burst::from([op(token)]);
        assert_eq!(queue_pair.enqueue_burst(&mut burst), 1);
        assert_eq!(collect(&mut *queue_pair, 1)[0].status, OpStatus::Success);
    }
    let mut another = open(&device, 8);
    assert_eq!(another.enqueue_burst(&mut ops(0..2)), 2);
    assert!(
        collect(&mut *another, 2)
            .iter()
            .all(|op| op.status == OpStatus::Success)
    );
}

#[test]
fn a_stuck_crypto_core_gets_no_ops_until_it_goes_on() {
    let settings = Settings {
        stuck_after_ns: 20_000_000,
        ..settings()
    };
    let (device, strings) = on_strings(SoftDevice::new(), settings);
    let mut queue_pair = open(&device, 4);
    strings.block.store(true, SeqCst);
    assert_eq!(queue_pair.enqueue_burst(&mut ops(0..4)), 4);
    // Four are in flight, so that only once the core counts as stuck another is taken.
    let mut more = ops(4..5);
    let (mut done, mut now_ns) = (Burst::new(), NOW_NS);
    wait_until("it counts as stuck", || {
        now_ns += settings.stuck_after_ns;
        queue_pair.dequeue_burst(&mut done, 8, now_ns);
        queue_pair.enqueue_burst(&mut more) == 1
    });
    assert_eq!(
        outcome(&collect(&mut *queue_pair, 1)),
        [(4, OpStatus::Error)]
    );

    strings.block.store(false, SeqCst);
    let done = collect(&mut *queue_pair, 4);
    assert!(done.iter().all(|op| op.status == OpStatus::Success));
    wait_until("it is used again", || {
        now_ns += settings.stuck_after_ns;
        queue_pair.dequeue_burst(&mut Burst::new(), 8, now_ns);
        queue_pair.enqueue_burst(&mut ops(6..7));
        collect(&mut *queue_pair, 1)[0].status == OpStatus::Success
    });
}

#[test]
fn a_lost_op_comes_back_failed_and_leaves_its_place() {
    let settings = Settings {
        lost_after_ns: 5_000_000,
        inner: QueuePairConfig {
            capacity: 2,
            ..QueuePairConfig::default()
        },
        ..settings()
    };
    let (device, strings) = on_strings(SoftDevice::new(), settings);
    let mut queue_pair = open(&device, 8);
    for _ in 0..3 {
        strings.lose.store(2, SeqCst);
        assert_eq!(queue_pair.enqueue_burst(&mut ops(1..5)), 4);
        let mut done = collect(&mut *queue_pair, 4);
        done.sort_by_key(|op| op.token.0);
        let (lost, found) = (OpStatus::Error, OpStatus::Success);
        assert_eq!(
            outcome(&done),
            [(1, lost), (2, lost), (3, found), (4, found)]
        );
        assert_eq!(done[0].enqueued_at_ns, 3, "the client's time");
        assert!(done[0].input().iter().all(|byte| *byte == 0), "no operands");
    }
}

#[test]
fn an_op_that_comes_back_twice_is_dropped() {
    let (device, strings) = on_strings(SoftDevice::new(), settings());
    let mut queue_pair = open(&device, 8);
    for token in 0..5 {
        strings.double.store(1, SeqCst);
        assert_eq!(queue_pair.enqueue_burst(&mut ops(token..token + 1)), 1);
        let done = collect(&mut *queue_pair, 1);
        assert_eq!(
            (done[0].token, done[0].status),
            (Token(token), OpStatus::Success)
        );
        wait_until("the twin", || strings.double.load(SeqCst) == 0);
    }
    device.stop();
    assert_eq!(queue_pair.dequeue_burst(&mut Burst::new(), 8, NOW_NS), 0);
}

#[test]
fn ops_that_the_inner_device_refuses_for_ever_come_back_failed() {
    let settings = Settings {
        lost_after_ns: 5_000_000,
        ..settings()
    };
    let (device, strings) = on_strings(SoftDevice::new(), settings);
    strings.refuse.store(true, SeqCst);
    let mut queue_pair = open(&device, 8);
    for round in 0..3 {
        assert_eq!(queue_pair.enqueue_burst(&mut ops(round..round + 8)), 8);
        let done = collect(&mut *queue_pair, 8);
        assert!(done.iter().all(|op| op.status == OpStatus::Error));
    }
    strings.refuse.store(false, SeqCst);
    assert_eq!(queue_pair.enqueue_burst(&mut ops(0..8)), 8);
    assert!(
        collect(&mut *queue_pair, 8)
            .iter()
            .all(|op| op.status == OpStatus::Success)
    );
    assert_eq!(
        strings.reached.load(SeqCst),
        8,
        "those given up never reach it"
    );
}
