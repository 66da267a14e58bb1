//! What the driver costs above DPDK itself, on crypto_null, which computes nothing.
//!
//! Rounds of the two take turns on one pinned core; figures are medians over the rounds. "raw" fills,
//! enqueues and dequeues a burst by DPDK's own functions (an application does no less). "driver" does so by
//! `enqueue_burst` and `dequeue_burst`: with the session's look-up, taking the ops and giving them back, and the
//! counters. There is no result to check, and, as for every driver that computes on the caller's core, nothing to
//! copy: the device works on the ops themselves. Since crypto_null computes nothing, it is given all at once. Ops
//! are prepared outside the time that is measured. Run:
//! `cargo bench -p spinlane-driver-dpdk --features null`, on a core of its own by `taskset -c`.

use std::hint::black_box;
use std::time::Instant;

use spinlane_crypto::test_keys::der;
use spinlane_cryptodev::test_keys;
use spinlane_cryptodev::{Burst, Device, Op, QueuePairConfig, Request, Token};
use spinlane_driver_dpdk::{DpdkDevice, Eal, EalConfig, RawLoop};

const ROUNDS: usize = 201;
const OPS_PER_ROUND: usize = 20_000;

fn main() {
    let eal = Eal::init(&EalConfig::default()).expect("EAL");
    let device =
        DpdkDevice::open(&eal, &"crypto_null".parse().expect("a spec")).expect("crypto_null");
    println!("ns per op            raw   driver   above");
    for (name, bytes) in [("32 + 64 bytes", 32), ("256 + 256 bytes", 256)] {
        for burst in [1, 8, 32] {
            let (raw, driver) = measure(&eal, &device, bytes, burst);
            println!(
                "{name:<16} x{burst:<3} {raw:>6.1} {driver:>8.1} {:>7.1}",
                driver - raw
            );
        }
    }
}

/// Nanoseconds per op of the raw loop and of the driver.
fn measure(eal: &Eal, device: &DpdkDevice, bytes: usize, burst: usize) -> (f64, f64) {
    let mut raw = RawLoop::new(eal, burst as u16).expect("a raw loop");
    let mut queue_pair = device
        .queue_pair(QueuePairConfig::default())
        .expect("a queue pair");
    let key = match bytes {
        32 => test_keys::p256(1),
        _ => test_keys::rsa(der::RSA_2048),
    };
    let input = vec![0x11; bytes];
    let request = match bytes {
        32 => Request::ecdsa_p256(&key, &input),
        _ => Request::rsa_private(&key, &input),
    };
    let request = request.expect("a good request");
    let mut ops: Burst = (0..burst).map(|_| Op::new()).collect();
    for op in &mut ops {
        op.prepare(Token(1), &request, 0);
    }
    let mut done = Burst::with_capacity(burst);
    let mut through_driver = || {
        queue_pair.enqueue_burst(&mut ops);
        while done.len() < burst {
            queue_pair.dequeue_burst(&mut done, burst, 0);
        }
        std::mem::swap(&mut ops, &mut done);
        black_box(&ops);
    };
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        times[0].push(time(burst, || raw.run()));
        times[1].push(time(burst, &mut through_driver));
    }
    let [raw, driver] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    });
    (raw, driver)
}

fn time(burst: usize, mut run: impl FnMut()) -> f64 {
    let bursts = OPS_PER_ROUND / burst;
    let start = Instant::now();
    for _ in 0..bursts {
        run();
    }
    start.elapsed().as_nanos() as f64 / (bursts * burst) as f64
}
