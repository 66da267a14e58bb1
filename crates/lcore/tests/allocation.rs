//! After warm-up nothing is allocated.

mod support;

use std::rc::Rc;

use allocation_counter::measure;
use spinlane_cryptodev::OpStatus;
use support::{Bench, Session};

/// Runs every session's job of two ops to its end; every fifth is closed in flight, every
/// seventh abandoned.
fn round(bench: &Bench, sessions: &[Rc<Session>]) {
    for session in sessions {
        session.start(2);
    }
    bench.poll();
    for session in sessions {
        let job = session.the_job();
        if session.id % 5 == 0 {
            job.cancel();
            let _ = job.resume().unwrap();
        } else if session.id % 7 == 0 {
            // SAFETY: the job's frames are those of `compute`, which own nothing.
            unsafe { job.abandon() };
        }
    }
    // Enough for all of them, and for the device's last ops, which nobody waits for.
    for _ in 0..40 {
        bench.turn(sessions);
    }
    assert!(
        sessions
            .iter()
            .all(|session| !session.the_job().is_paused())
    );
}

#[test]
fn nothing_is_allocated_per_op_after_warm_up() {
    let bench = Bench::new(8);
    bench.device.release(1 << 40);
    let sessions = bench.sessions(40);
    for session in &sessions {
        session.records.set(false);
    }
    let turns = |count| {
        for turn in 0..count {
            let status = [OpStatus::Success, OpStatus::Error][turn % 2];
            bench.device.answer_with(status);
            round(&bench, &sessions);
        }
    };
    turns(10);
    let allocated = measure(|| turns(1000));
    assert_eq!(allocated.count_total, 0, "allocations after warm-up");
    let channel = bench.lcore.stats().channels.remove(0);
    let counts = channel.counts;
    assert!(counts.completed > 0 && counts.refused > 0);
    assert!(counts.orphaned > 0 && counts.failed > 0);
}
