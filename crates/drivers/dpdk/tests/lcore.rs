//! Jobs of an lcore on DPDK's crypto_openssl: more of them than the ring holds, and a device that stops
//! under them.
#![cfg(feature = "dpdk")]

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use spinlane_crypto::{Key, test_keys::der};
use spinlane_cryptodev::test_keys;
use spinlane_cryptodev::{Device, KeyHandle, QueuePairConfig, Request};
use spinlane_driver_dpdk::DpdkDevice;
use spinlane_job::{self as job, Job, Progress, WaitCtx};
use spinlane_lcore::{Config, Conn, HealthConfig, Lcore, offload};
use support::{block, open};

const JOBS: usize = 256;

/// Signs twice; counts the results that are right.
fn sign(key: &Arc<KeyHandle>, seed: u64, right: &Cell<usize>) {
    let Some(Key::Rsa(rsa)) = key.as_local() else {
        panic!("an RSA key")
    };
    for round in 0..2 {
        let block = block(2 * seed + round, rsa.modulus_len());
        let mut signature = vec![0; block.len()];
        offload(&Request::rsa_private(key, &block).unwrap(), &mut signature).unwrap();
        right.set(right.get() + usize::from(rsa.verify_raw(&signature, &block)));
    }
}

/// Starts all jobs and polls until they have ended; `each` is asked before every poll.
fn run(device: &DpdkDevice, health: HealthConfig, mut each: impl FnMut(&Lcore)) -> Lcore {
    let key = test_keys::rsa(der::RSA_2048);
    let lcore = Lcore::new(Config::default());
    let queue_pair = device.queue_pair(QueuePairConfig::default()).unwrap();
    lcore.add_queue_pair_with(queue_pair, health);
    let entered = lcore.enter();
    let right = Rc::new(Cell::new(0));
    let mut jobs: Vec<(Rc<WaitCtx>, Option<Rc<Job>>)> = Vec::new();
    for id in 0..JOBS {
        let ctx = WaitCtx::new();
        ctx.set_notify(Some(Conn(id as u64).into()));
        let (key, right) = (Arc::clone(&key), Rc::clone(&right));
        let body = move || {
            sign(&key, id as u64, &right);
            0
        };
        let (_, job) = job::start(Some(&ctx), body).unwrap();
        jobs.push((ctx, job));
    }
    let mut polls = 0;
    while jobs.iter().any(|(_, job)| job.is_some()) {
        polls += 1;
        assert!(
            polls < 10_000_000,
            "{} of {} results",
            right.get(),
            2 * JOBS
        );
        each(&lcore);
        lcore.poll().unwrap();
        while let Some(Conn(id)) = lcore.next_ready() {
            let job = &mut jobs[id as usize].1;
            let waits = |job: &Rc<Job>| job.awaited() != 0 && !job.is_complete();
            if job.as_ref().is_none_or(waits) {
                continue;
            }
            if let Some(Ok(Progress::Finished(_))) = job.as_ref().map(|job| job.resume()) {
                *job = None;
            }
        }
    }
    assert_eq!(
        right.get(),
        2 * JOBS,
        "nothing is lost and nothing is wrong"
    );
    drop(entered);
    lcore
}

#[test]
fn a_ring_of_64_serves_256_jobs_through_the_retry_queue() {
    let device = open("crypto_openssl,descriptors=64");
    let lcore = run(&device, HealthConfig::default(), |_| {});
    let channel = &lcore.stats().channels[0];
    assert_eq!(channel.device, "dpdk:crypto_openssl");
    assert_eq!(channel.counts.completed, 2 * JOBS as u64);
    assert_eq!((channel.in_flight, channel.free_slots), (0, 63));
    assert_eq!(channel.in_flight_peak, 63);
    assert!(channel.counts.refused > 0 && channel.counts.fallback == 0);
    let stat = |name| {
        channel
            .xstats
            .iter()
            .find(|(other, _)| *other == name)
            .unwrap()
            .1
    };
    assert_eq!((stat("device_full"), stat("rejected")), (0, 0));
}

#[test]
fn a_device_that_stops_under_load_loses_nothing_and_serves_again() {
    let device = open("crypto_openssl,descriptors=64");
    let health = HealthConfig {
        probe_interval_ns: 1_000_000,
        ..HealthConfig::default()
    };
    let (mut stopped, mut recovered) = (false, false);
    let lcore = run(&device, health, |lcore| {
        let channel = &lcore.stats().channels[0];
        if !stopped && channel.counts.completed >= 50 {
            device.stop().unwrap();
            stopped = true;
        } else if stopped && !recovered && channel.counts.fallback >= 100 {
            assert!(!channel.health.healthy);
            device.start().unwrap();
            recovered = true;
        }
    });
    let channel = &lcore.stats().channels[0];
    let counts = channel.counts;
    assert!(stopped && recovered);
    assert_eq!(counts.completed + counts.fallback, 2 * JOBS as u64);
    assert!(counts.fallback >= 100 && channel.health.failures >= 1);
    assert_eq!(
        channel.health.recoveries, channel.health.failures,
        "serves again"
    );
    assert_eq!((channel.in_flight, channel.free_slots), (0, 63));
}
