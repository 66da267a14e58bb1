//! The device by its public face: settings, threads, allocations.

use std::thread;

use allocation_counter::measure;
use spinlane_crypto::Key;
use spinlane_crypto::test_keys::der;
use spinlane_cryptodev::test_keys::{p256, rsa};
use spinlane_cryptodev::{
    Buffer, Burst, Capabilities, Device, DeviceError, Op, OpStatus, QueuePair, QueuePairConfig,
    Request, Token,
};
use spinlane_driver_mb::{MbDevice, Options};

/// The device, or `None` where the machine has no lanes: the test says so and ends.
fn device() -> Option<MbDevice> {
    MbDevice::new()
        .inspect_err(|error| eprintln!("skipped: {error}"))
        .ok()
}

fn open(device: MbDevice, capacity: usize) -> Result<Box<dyn QueuePair>, DeviceError> {
    device.queue_pair(QueuePairConfig {
        capacity,
        ..QueuePairConfig::default()
    })
}

#[test]
fn offers_every_kind_and_names_a_capacity_out_of_range() {
    let Some(device) = device() else { return };
    assert_eq!(
        (device.name(), device.capabilities()),
        ("mb", Capabilities::ALL)
    );
    for capacity in [0, 1 << 17, usize::MAX] {
        let error = open(device, capacity).err().expect("out of range");
        assert!(
            matches!(error, DeviceError::Setting { setting: "capacity", value, .. } if value == capacity)
        );
    }
    let queue = open(device, 5).expect("in range");
    assert_eq!((queue.name(), queue.capacity()), ("mb", 5));
    assert_eq!(queue.capabilities(), Capabilities::ALL);
}

#[test]
fn threads_share_a_key() {
    let Some(device) = device() else { return };
    let (key, ec) = (rsa(der::RSA_2048), p256(1));
    thread::scope(|scope| {
        for seed in 0..4 {
            let (key, ec) = (&key, &ec);
            scope.spawn(move || {
                let mut queue = open(device, 16).expect("in range");
                let block = [seed + 1; 256];
                let (mut ops, mut done) = (Burst::new(), Burst::new());
                for token in 0..16 {
                    let request = match token % 2 {
                        0 => Request::rsa_private(key, &block).expect("below the modulus"),
                        _ => Request::ecdsa_p256(ec, &block[..32]).expect("32 bytes"),
                    };
                    let mut op = Op::new();
                    op.prepare(Token(token), &request, 0);
                    ops.push(op);
                }
                queue.enqueue_burst(&mut ops);
                while done.len() < 16 {
                    queue.flush();
                    queue.dequeue_burst(&mut done, 16, 0);
                }
                for op in done {
                    assert_eq!(op.status, OpStatus::Success);
                    match op.key().and_then(|key| key.as_local()) {
                        Some(Key::Rsa(key)) => assert!(key.verify_raw(op.output(), op.input())),
                        Some(Key::EcP256(key)) => {
                            let (digest, signature) =
                                (op.input().try_into(), op.output().try_into());
                            assert!(
                                key.verify(digest.expect("32 bytes"), signature.expect("64 bytes"))
                            );
                        }
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
    });
}

#[test]
fn blinding_keeps_rsa_out_of_the_lanes() {
    let Some(device) = device() else { return };
    let key = rsa(der::RSA_2048);
    for (blinding, batches) in [(true, 0), (false, 1)] {
        let device = device.with_options(Options { blinding });
        let mut queue = open(device, 8).expect("in range");
        let request = Request::rsa_private(&key, &[0x21; 256]).expect("below the modulus");
        let mut ops: Burst = (0..8).map(|_| Op::new()).collect();
        ops.iter_mut()
            .for_each(|op| op.prepare(Token(0), &request, 0));
        queue.enqueue_burst(&mut ops);
        let mut done = Burst::new();
        while done.len() < 8 {
            queue.dequeue_burst(&mut done, 8, 0);
        }
        assert!(done.iter().all(|op| op.status == OpStatus::Success));
        assert_eq!(queue.stats().batches, batches, "blinding: {blinding}");
    }
}

#[test]
fn bursts_allocate_nothing_once_warm() {
    let Some(device) = device() else { return };
    let (key, ec) = (rsa(der::RSA_2048), p256(1));
    let mut queue = open(device, 32).expect("in range");
    // They come back in another order, and each may be asked any of these next.
    let roomy = |_| Op::in_memory(Buffer::heap(512).expect("short"));
    let mut ops: Burst = (0..32).map(roomy).collect();
    let mut done = Burst::with_capacity(32);
    let mut round = || {
        for (token, op) in (0..).zip(ops.iter_mut()) {
            let request = match token % 4 {
                0 => Request::rsa_private(&key, &[0x21; 256]).expect("below the modulus"),
                1 => Request::ecdsa_p256(&ec, &[0x21; 32]).expect("32 bytes"),
                2 => Request::x25519_keygen(&[0x21; 32]),
                _ => Request::x25519_derive(&[0x21; 32], &[9; 32]),
            };
            op.recycle();
            op.prepare(Token(token), &request, 0);
        }
        assert_eq!(queue.enqueue_burst(&mut ops), 32);
        while done.len() < 32 {
            queue.dequeue_burst(&mut done, 32, 0);
        }
        std::mem::swap(&mut ops, &mut done);
    };
    round();
    let allocated = measure(|| (0..2).for_each(|_| round()));
    assert_eq!(allocated.count_total, 0);
}
