//! What a client gets from a crypto core that is well.

#![forbid(unsafe_code)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;

use spinlane_crypto::aead::{Algorithm, TAG_LEN};
use spinlane_crypto::test_keys::der;
use spinlane_cryptodev::aead::{self, Direction, Key, Op as Record};
use spinlane_cryptodev::test_keys::rsa;
use spinlane_cryptodev::{
    Buffer, Burst, Device, DeviceError, Op, OpKind, OpStatus, QueuePairConfig, Request, Token, cpu,
};
use spinlane_driver_lookaside::{LookasideDevice, Settings, StartError};
use spinlane_driver_mb::MbDevice;
use spinlane_driver_soft::SoftDevice;
use support::{collect, cores, on_strings, op, open, ops, outcome, settings, wait_until};

#[test]
fn results_are_the_inner_devices() {
    let (device, _) = on_strings(SoftDevice::new(), settings());
    let core = cores()[0];
    assert_eq!(device.name(), format!("lookaside:soft@{core}"));
    assert_eq!(device.capabilities(), SoftDevice::new().capabilities());
    let mut queue_pair = open(&device, 8);

    let rsa = rsa(der::RSA_2048);
    let (private, peer, block) = ([7; 32], [9; 32], [0x21; 256]);
    let requests = [
        Request::x25519_derive(&private, &peer),
        Request::x25519_keygen(&private),
        Request::rsa_private(&rsa, &block).expect("below the modulus"),
        Request::x25519_derive(&private, &[0; 32]),
    ];
    let prepared = |token: usize| {
        let mut op = Op::new();
        op.prepare(Token(token as u64), &requests[token], 1000 + token as u64);
        op
    };
    let mut ops: Burst = (0..requests.len()).map(prepared).collect();
    assert_eq!(queue_pair.enqueue_burst(&mut ops), requests.len());
    for op in collect(&mut *queue_pair, requests.len()) {
        let token = op.token.0 as usize;
        let mut expected = prepared(token);
        cpu::run(&mut expected);
        assert_eq!(op.status, expected.status);
        assert_eq!(op.output(), expected.output());
        assert_eq!(op.enqueued_at_ns, 1000 + op.token.0, "the client's time");
    }
    let stats = queue_pair.stats();
    assert_eq!((stats.enqueued, stats.dequeued, stats.failed), (4, 4, 1));
}

#[test]
fn beyond_the_capacity_ops_are_refused_unchanged() {
    let (device, strings) = on_strings(SoftDevice::new(), settings());
    strings.hold.store(true, SeqCst);
    let mut queue_pair = open(&device, 3);
    let mut more = ops(0..5);
    assert_eq!(queue_pair.enqueue_burst(&mut more), 3);
    assert_eq!(queue_pair.enqueue_burst(&mut more), 0);
    let left: Vec<u64> = more.iter().map(|op| op.token.0).collect();
    assert_eq!(left, [3, 4]);

    strings.hold.store(false, SeqCst);
    assert_eq!(collect(&mut *queue_pair, 3).len(), 3);
    assert_eq!(queue_pair.enqueue_burst(&mut more), 2);
    assert_eq!(collect(&mut *queue_pair, 2).len(), 2);
}

#[test]
fn what_the_inner_device_has_no_room_for_waits_in_order() {
    let settings = Settings {
        inner: QueuePairConfig {
            capacity: 2,
            ..QueuePairConfig::default()
        },
        ..settings()
    };
    let (device, strings) = on_strings(SoftDevice::new(), settings);
    let mut queue_pair = open(&device, 16);
    // Refused for a while: nothing is lost by that either.
    strings.refuse.store(true, SeqCst);
    assert_eq!(queue_pair.enqueue_burst(&mut ops(0..16)), 16);
    strings.refuse.store(false, SeqCst);
    let tokens: Vec<u64> = collect(&mut *queue_pair, 16)
        .iter()
        .map(|op| op.token.0)
        .collect();
    assert_eq!(tokens, (0..16).collect::<Vec<_>>());
}

#[test]
fn clients_get_their_own_ops_back() {
    let (device, _) = on_strings(SoftDevice::new(), settings());
    thread::scope(|scope| {
        for client in 0..3_u64 {
            let device = &device;
            scope.spawn(move || {
                let mut queue_pair = open(device, 8);
                for round in 0..200 {
                    // The same tokens as the other clients'.
                    let mut burst = ops(round..round + 5);
                    burst.iter_mut().for_each(|op| op.enqueued_at_ns += client);
                    assert_eq!(queue_pair.enqueue_burst(&mut burst), 5);
                    for op in collect(&mut *queue_pair, 5) {
                        assert_eq!(op.status, OpStatus::Success);
                        assert_eq!(op.enqueued_at_ns, op.token.0 * 3 + client);
                    }
                }
            });
        }
    });
}

#[test]
fn a_batch_is_filled_across_clients() {
    let mb = match MbDevice::new() {
        Ok(mb) => mb,
        Err(error) => {
            eprintln!("SKIPPED a_batch_is_filled_across_clients: {error}");
            return;
        }
    };
    let (device, strings) = on_strings(mb, settings());
    strings.hold.store(true, SeqCst);
    let (mut one, mut two) = (open(&device, 8), open(&device, 8));
    assert_eq!(one.enqueue_burst(&mut ops(0..4)), 4);
    assert_eq!(two.enqueue_burst(&mut ops(0..4)), 4);
    wait_until("both", || strings.reached.load(SeqCst) == 8);
    strings.hold.store(false, SeqCst);
    for client in [&mut one, &mut two] {
        let done = collect(&mut **client, 4);
        assert!(done.iter().all(|op| op.status == OpStatus::Success));
    }
    let mut sum = one.stats();
    sum += two.stats();
    assert_eq!(
        (sum.batches, sum.batched, sum.scalar),
        (1, 8, 0),
        "in one batch"
    );
    assert_eq!((sum.enqueued, sum.dequeued, sum.failed), (8, 8, 0));
}

#[test]
fn a_client_uses_several_crypto_cores() {
    let cores = cores();
    if cores.len() < 2 {
        eprintln!("SKIPPED a_client_uses_several_crypto_cores: it wants two cores");
        return;
    }
    let inner = Box::new(SoftDevice::new());
    let device = LookasideDevice::new(inner, &cores[..2], settings()).expect("two cores");
    assert_eq!(
        device.name(),
        format!("lookaside:soft@{}+{}", cores[0], cores[1])
    );
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut queue_pair = open(&device, 64);
                for round in 0..100 {
                    for token in round..round + 20 {
                        assert_eq!(queue_pair.enqueue_burst(&mut Burst::from([op(token)])), 1);
                    }
                    let mut tokens: Vec<u64> = collect(&mut *queue_pair, 20)
                        .iter()
                        .map(|op| op.token.0)
                        .collect();
                    tokens.sort_unstable();
                    assert_eq!(tokens, (round..round + 20).collect::<Vec<_>>());
                }
            });
        }
    });
}

#[test]
fn a_client_that_leaves_with_ops_in_flight_disturbs_nobody() {
    let (device, strings) = on_strings(SoftDevice::new(), settings());
    let mut stays = open(&device, 8);
    for round in 0..10 {
        strings.hold.store(true, SeqCst);
        let mut leaves = open(&device, 8);
        assert_eq!(leaves.enqueue_burst(&mut ops(0..8)), 8);
        drop(leaves);
        strings.hold.store(false, SeqCst);
        assert_eq!(stays.enqueue_burst(&mut ops(round..round + 2)), 2);
        let done = outcome(&collect(&mut *stays, 2));
        assert_eq!(
            done,
            [(round, OpStatus::Success), (round + 1, OpStatus::Success)]
        );
    }
}

#[test]
fn what_cannot_start_is_named() {
    let start = |cores: &[usize], settings| {
        let started = LookasideDevice::new(Box::new(SoftDevice::new()), cores, settings);
        started.err().expect("it cannot")
    };
    assert!(matches!(start(&[], settings()), StartError::NoCore));
    let first = cores()[0];
    for core in [4095, usize::MAX, 1023] {
        let error = start(&[first, core], settings());
        assert!(matches!(error, StartError::NoSuchCore { core: named, .. } if named == core));
        assert!(error.to_string().contains(&core.to_string()));
    }
    let twice = start(&[first, first], settings());
    assert!(matches!(twice, StartError::Twice { core } if core == first));
    let sleepy = Settings {
        stuck_after_ns: 1_000_000,
        idle: spinlane_driver_lookaside::IdlePolicy::shared(std::time::Duration::from_millis(1)),
        ..settings()
    };
    let sleepy = start(&[first], sleepy).to_string();
    assert!(
        sleepy.contains("1000 us") && sleepy.contains("500 us"),
        "{sleepy}"
    );
    let no_room = Settings {
        inner: QueuePairConfig {
            capacity: 0,
            ..QueuePairConfig::default()
        },
        ..settings()
    };
    let refused = start(&[first], no_room);
    assert!(matches!(
        refused,
        StartError::Inner {
            source: DeviceError::Setting { .. },
            ..
        }
    ));
}

#[test]
fn a_capacity_out_of_range_is_named() {
    let (device, _) = on_strings(SoftDevice::new(), settings());
    for capacity in [0, 1 << 17, usize::MAX] {
        let config = QueuePairConfig {
            capacity,
            ..QueuePairConfig::default()
        };
        let error = device.queue_pair(config).err().expect("out of range");
        assert!(matches!(error, DeviceError::Setting { value, .. } if value == capacity));
    }
    assert!(
        OpKind::ALL
            .into_iter()
            .all(|kind| device.capabilities().has(kind))
    );
}

#[test]
fn records_are_sealed_by_crypto_cores_too() {
    let inner = Box::new(SoftDevice::new());
    let device = LookasideDevice::new(inner, &cores()[..1], settings()).expect("a core");
    let mut queue_pair = device
        .record_queue_pair(QueuePairConfig::default())
        .expect("soft seals");
    let key = Arc::new(Key::new(Algorithm::Aes128Gcm, &[7; 16]).expect("16 bytes"));
    let record = |token: u64| {
        let mut record = Record::new(Buffer::heap(100 + TAG_LEN).expect("short"));
        record.buffer_mut()[..100].fill(token as u8);
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&token.to_be_bytes());
        let request = aead::Request {
            direction: Direction::Seal,
            key: &key,
            nonce: &nonce,
            aad: b"header",
            data: 0..100,
        };
        record.prepare(Token(token), &request).expect("it fits");
        record
    };
    let mut ops: Burst<Record> = (0..20).map(record).collect();
    let mut done = Burst::new();
    assert_eq!(queue_pair.enqueue_burst(&mut ops), 20);
    wait_until("records", || {
        queue_pair.dequeue_burst(&mut done, 64, 0);
        done.len() == 20
    });
    for (token, sealed) in (0..).zip(&done) {
        let mut wanted = record(token);
        cpu::run_aead(&mut wanted);
        assert_eq!(
            (sealed.token, sealed.status),
            (Token(token), OpStatus::Success)
        );
        assert_eq!(sealed.buffer()[..], wanted.buffer()[..]);
    }
}

#[test]
fn a_device_that_seals_nothing_says_so() {
    let (device, _) = on_strings(SoftDevice::new(), settings());
    assert!(device.record_capabilities().is_empty());
    let error = device.record_queue_pair(QueuePairConfig::default()).err();
    let said = error.expect("none").to_string();
    assert!(said.contains("serves no records"), "{said}");
}
