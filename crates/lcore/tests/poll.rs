//! What one iteration does and counts: flushes, refusals, clocks, guards.

mod support;

use std::cell::Cell;
use std::rc::Rc;

use spinlane_cryptodev::{Capabilities, OpKind};
use spinlane_job::{self as job, Progress, Status};
use spinlane_lcore::{Config, Conn, Lcore, NoPoll, Polled};
use support::{Bench, Handle, Session, TestClock, without_fallback};

#[test]
fn an_empty_lcore_polls_in_vain() {
    let lcore = Lcore::new(Config::default());
    assert_eq!(lcore.poll(), Ok(Polled::default()));
    assert_eq!(lcore.next_ready(), None);
    let stats = lcore.stats();
    assert_eq!(
        (stats.iterations, stats.empty_polls, stats.busy_ns),
        (1, 1, 0)
    );
}

#[test]
fn partial_batches_start_when_nothing_else_is_to_be_done() {
    let bench = Bench::new(8);
    bench.device.hold_until_flush();
    let session = bench.in_flight(0);
    // The submission itself was work: more may follow.
    assert!(!bench.poll().flushed);
    let polled = bench.poll();
    assert_eq!((polled.flushed, polled.completed), (true, 1));
    assert_eq!(session.callbacks(), [Status::OK], "in the same poll");
    assert_eq!(bench.device.flushes(), 1);
    assert_eq!(bench.lcore.stats().channels[0].idle_flushes, 1);
}

#[test]
fn no_flush_while_there_is_other_work() {
    let bench = Bench::new(8);
    bench.device.hold_until_flush();
    let _session = bench.in_flight(0);
    bench.poll();
    bench.lcore.note_work();
    assert!(!bench.poll().flushed, "the application had work");
    bench.lcore.make_ready(Conn(5));
    assert!(!bench.poll().flushed, "a connection is ready");
    assert_eq!(bench.lcore.next_ready(), Some(Conn(5)));
    let _another = bench.in_flight(1);
    assert!(!bench.poll().flushed, "a submission");
    assert!(bench.poll().flushed);
}

#[test]
fn no_flush_of_a_device_that_does_not_batch() {
    let clock = TestClock::default();
    let device = Handle::new(8, Capabilities::ALL, &clock);
    device.never_batch();
    let bench = Bench::with(without_fallback(), device, clock);
    let session = bench.in_flight(0);
    for _ in 0..3 {
        assert_eq!(bench.poll(), Polled::default());
    }
    let stats = bench.lcore.stats();
    assert_eq!((stats.empty_polls, stats.channels[0].idle_flushes), (3, 0));
    assert_eq!(bench.device.flushes(), 0);
    bench.device.release(1);
    assert_eq!(bench.poll().completed, 1);
    assert_eq!(session.callbacks(), [Status::OK]);
}

#[test]
fn no_flush_when_nothing_is_in_flight() {
    let bench = Bench::new(8);
    for _ in 0..3 {
        assert!(!bench.poll().flushed);
    }
    assert_eq!(bench.device.flushes(), 0);
    assert_eq!(bench.lcore.stats().empty_polls, 3);
}

#[test]
fn a_poll_from_within_a_callback_is_refused_and_counted() {
    let bench = Bench::new(2);
    let session = bench.in_flight(0);
    let (lcore, refused) = (bench.lcore.clone(), Rc::new(Cell::new(false)));
    let seen = Rc::clone(&refused);
    *session.on_callback.borrow_mut() = Some(Box::new(move || {
        seen.set(lcore.poll() == Err(NoPoll));
    }));
    bench.device.release(1);
    bench.poll();
    assert!(refused.get());
    assert_eq!(bench.lcore.stats().reentrant_polls, 1);
    assert!(NoPoll.to_string().contains("callback"));
    assert_eq!(bench.poll(), Polled::default(), "and the next poll is fine");
}

#[test]
fn a_poll_from_within_a_job_is_refused_and_counted() {
    let bench = Bench::new(2);
    bench.device.release(1);
    let _session = bench.in_flight(0);
    let lcore = bench.lcore.clone();
    let (progress, _) = job::start(None, move || i32::from(lcore.poll() == Err(NoPoll))).unwrap();
    assert!(matches!(progress, Progress::Finished(1)));
    assert_eq!(bench.lcore.stats().reentrant_polls, 1);
}

#[test]
fn a_resume_that_comes_too_early_polls_instead() {
    let bench = Bench::new(2);
    let session = bench.in_flight(0);
    assert!(matches!(session.the_job().resume(), Ok(Progress::Paused)));
    assert_eq!(bench.lcore.stats().restart_polls, 1);
    assert_eq!(session.result(), None);
    bench.device.release(1);
    // This time the poll finds the op done, calls back, and the job goes on.
    assert!(matches!(
        session.the_job().resume(),
        Ok(Progress::Finished(_))
    ));
    assert_eq!(session.callbacks(), [Status::OK]);
    assert_eq!(session.result(), Some(Ok(())));
}

#[test]
fn restarting_alone_drives_a_partial_batch_to_its_end() {
    let bench = Bench::new(8);
    bench.device.hold_until_flush();
    let session = bench.in_flight(0);
    for _ in 0..3 {
        session.resume();
    }
    assert_eq!(session.result(), Some(Ok(())));
}

#[test]
fn what_becomes_ready_during_a_drain_waits_for_the_next_poll() {
    let bench = Bench::new(1);
    bench.lcore.make_ready(Conn(0));
    assert_eq!(bench.lcore.next_ready(), None, "there was no poll yet");
    for _ in 0..3 {
        bench.poll();
        let mut drained = 0;
        // A front-end whose callback makes ready whatever was refused.
        while let Some(conn) = bench.lcore.next_ready() {
            bench.lcore.make_ready(conn);
            drained += 1;
            assert!(drained < 10, "endless");
        }
        assert_eq!(drained, 1);
    }
}

#[test]
fn a_slow_callback_is_counted_and_a_slow_device_is_not_taken_for_one() {
    let bench = Bench::new(4);
    let sessions = [bench.in_flight(0), bench.in_flight(1), bench.in_flight(2)];
    let limit_ns = Config::default().slow_callback_ns;
    for (session, took_ns) in sessions.iter().zip([limit_ns, limit_ns + 1, 0]) {
        let clock = bench.clock.clone();
        *session.on_callback.borrow_mut() = Some(Box::new(move || clock.advance(took_ns)));
    }
    bench.device.dequeue_takes_ns(1_000_000);
    bench.device.release(3);
    bench.poll();
    let stats = bench.lcore.stats();
    assert_eq!((stats.callbacks, stats.slow_callbacks), (3, 1));
    assert_eq!(stats.busy_ns, 1_000_000 + 2 * limit_ns + 1);
}

#[test]
fn latency_is_that_from_submission_to_completion_device_time_included() {
    let bench = Bench::new(4);
    bench.clock.advance(1_000_000);
    let _session = bench.in_flight(0);
    bench.clock.advance(30_000);
    bench.device.dequeue_takes_ns(70_000);
    bench.device.release(1);
    bench.poll();
    let channel = &bench.lcore.stats().channels[0];
    assert_eq!(channel.kinds.len(), 1, "only kinds that were used");
    let kind = &channel.kinds[0];
    assert_eq!(
        (kind.kind, kind.latency_ns.len()),
        (OpKind::X25519Keygen, 1)
    );
    assert!(kind.latency_ns.equivalent(kind.latency_ns.max(), 100_000));
}

#[test]
fn ops_of_closed_connections_have_no_latency() {
    let bench = Bench::new(4);
    bench.in_flight(0).close();
    bench.device.release(1);
    bench.poll();
    assert!(
        bench.lcore.stats().channels[0].kinds[0]
            .latency_ns
            .is_empty()
    );
}

#[test]
fn guards_nest_and_the_inner_lcore_gets_the_ops() {
    let outer = Bench::new(4);
    {
        let inner = Bench::new(4);
        let session = Session::new(&inner.lcore, 0);
        session.start(1);
        assert_eq!((outer.device.held(), inner.device.held()), (0, 1));
        inner.device.release(1);
        session.resume();
        assert_eq!(inner.lcore.stats().restart_polls, 1);
    }
    let session = outer.in_flight(0);
    assert_eq!(outer.device.held(), 1);
    session.resume();
    assert_eq!(outer.lcore.stats().restart_polls, 1);
}

#[test]
fn after_the_last_guard_there_is_no_current_lcore_and_no_restart_poll() {
    let bench = Bench::new(4);
    let session = bench.in_flight(0);
    assert!(Lcore::current().is_some());
    let lcore = bench.lcore.clone();
    drop(bench);
    assert!(Lcore::current().is_none());
    session.resume();
    assert_eq!(lcore.stats().restart_polls, 0);
    assert_eq!(lcore.in_flight(), 1, "the op is still there");
}

#[test]
fn a_poll_takes_one_burst_and_the_next_poll_the_rest() {
    let bench = Bench::new(200);
    let sessions = bench.sessions(200);
    sessions.iter().for_each(|session| session.start(1));
    bench.device.release(200);
    let counts: Vec<usize> = (0..5).map(|_| bench.turn(&sessions).completed).collect();
    assert_eq!(counts, [64, 64, 64, 8, 0]);
}

#[test]
fn polls_give_the_stacks_of_a_burst_back() {
    let bench = Bench::new(4);
    let jobs: Vec<_> = (0..100)
        .filter_map(|_| job::start(None, || i32::from(job::pause())).unwrap().1)
        .collect();
    for job in jobs {
        let _ = job.resume().unwrap();
    }
    bench.poll();
    assert_eq!(job::pool_stats().idle_stacks, 100);
    for _ in 0..4_000 {
        bench.clock.advance(10_000_000);
        bench.poll();
    }
    let left = job::pool_stats().idle_stacks;
    assert!((1..50).contains(&left), "{left}");
}
