//! A real device, resumed by callbacks, many jobs on few slots.

use std::cell::Cell;
use std::rc::Rc;

use spinlane_cryptodev::{Device, QueuePairConfig, Request};
use spinlane_driver_soft::SoftDevice;
use spinlane_job::{self as job, Progress, Status, WaitCtx};
use spinlane_lcore::{Config, Conn, HealthConfig, Lcore, offload};

const JOBS: usize = 64;

fn keygen(private: [u8; 32]) -> [u8; 32] {
    let mut public = [0; 32];
    offload(&Request::x25519_keygen(&private), &mut public).unwrap();
    public
}

/// Both sides of a key agreement, four ops.
fn agreement(seed: u8) -> bool {
    let (ours, theirs) = ([seed; 32], [seed + 1; 32]);
    let (our_public, their_public) = (keygen(ours), keygen(theirs));
    let mut secrets = [[0; 32], [1; 32]];
    offload(
        &Request::x25519_derive(&ours, &their_public),
        &mut secrets[0],
    )
    .unwrap();
    offload(
        &Request::x25519_derive(&theirs, &our_public),
        &mut secrets[1],
    )
    .unwrap();
    secrets[0] == secrets[1]
}

#[test]
fn key_agreements_of_many_jobs_on_few_slots() {
    // No op of a busy machine is too late.
    let health = HealthConfig {
        op_deadline_ns: 3_600_000_000_000,
        ..HealthConfig::default()
    };
    let lcore = Lcore::new(Config::default());
    let config = QueuePairConfig {
        capacity: 3,
        ..QueuePairConfig::default()
    };
    lcore.add_queue_pair_with(SoftDevice::new().queue_pair(config).unwrap(), health);
    let _entered = lcore.enter();
    let agreed = Rc::new(Cell::new(0));
    let mut jobs: Vec<_> = (0..JOBS)
        .map(|id| {
            let ctx = WaitCtx::new();
            ctx.set_notify(Some(Conn(id as u64).into()));
            let agreed = Rc::clone(&agreed);
            let body = move || {
                // Others count while this one is paused: ask first, then add.
                let agree = agreement(id as u8);
                agreed.set(agreed.get() + usize::from(agree));
                0
            };
            let (_, job) = job::start(Some(&ctx), body).unwrap();
            // A name waits for its turn by itself, so nothing else is to be done.
            (ctx, job)
        })
        .collect();
    for _ in 0..100_000 {
        if agreed.get() == JOBS {
            break;
        }
        lcore.poll().unwrap();
        while let Some(Conn(id)) = lcore.next_ready() {
            let (ctx, job) = &mut jobs[id as usize];
            if job
                .as_ref()
                .is_some_and(|job| job.awaited() != 0 && !job.is_complete())
            {
                continue;
            }
            if let Some(Ok(Progress::Finished(_))) = job.as_ref().map(|job| job.resume()) {
                *job = None;
                assert_eq!(ctx.status(), Status::OK);
            }
        }
    }
    assert_eq!(agreed.get(), JOBS);
    let channel = &lcore.stats().channels[0];
    assert_eq!(channel.device, "soft");
    assert_eq!(
        (channel.counts.completed, channel.in_flight),
        (4 * JOBS as u64, 0)
    );
    assert!(channel.in_flight_peak <= 3 && channel.counts.refused > 0);
}
