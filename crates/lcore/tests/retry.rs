//! A full queue pair: first come first served, by free slots, without spinning.

mod support;

use std::rc::Rc;

use spinlane_cryptodev::OpKind;
use spinlane_job::Status;
use spinlane_lcore::Conn;
use support::{Bench, Session};

/// Ids of the sessions in the order in which the device got their ops.
fn order_of_submission(bench: &Bench, sessions: &[Rc<Session>], release: usize) -> Vec<u64> {
    let mut order = Vec::new();
    let mut seen = vec![0; sessions.len()];
    for _ in 0..10_000 {
        if sessions.iter().all(|session| session.result().is_some()) {
            return order;
        }
        bench.device.release(release);
        bench.turn(sessions);
        for (session, seen) in sessions.iter().zip(&mut seen) {
            let done = session
                .callbacks()
                .iter()
                .filter(|status| **status == Status::OK)
                .count();
            order.extend(std::iter::repeat_n(session.id, done - *seen));
            *seen = done;
        }
    }
    panic!("starved: {} of {} finished", order.len(), sessions.len());
}

#[test]
fn two_slots_serve_256_jobs_in_their_order() {
    let bench = Bench::new(2);
    let sessions = bench.sessions(256);
    sessions.iter().for_each(|session| session.start(1));
    assert_eq!(bench.lcore.stats().channels[0].retry_queue, 254);
    let order = order_of_submission(&bench, &sessions, 1);
    assert!(order.into_iter().eq(0..256), "first come first served");
    assert!(
        sessions
            .iter()
            .all(|session| session.result() == Some(Ok(())))
    );
    assert_eq!(bench.device.peak(), 2);
    let channel = &bench.lcore.stats().channels[0];
    assert_eq!((channel.in_flight_peak, channel.in_flight), (2, 0));
    assert_eq!(
        (channel.counts.refused, channel.counts.retried),
        (254, 254),
        "refused once, retried once"
    );
    assert_eq!(
        bench.device.enqueue_calls(),
        256,
        "no attempt that could not succeed"
    );
}

#[test]
fn several_ops_per_job_take_turns() {
    let bench = Bench::new(2);
    let sessions = bench.sessions(256);
    sessions.iter().for_each(|session| session.start(3));
    order_of_submission(&bench, &sessions, 2);
    assert!(
        sessions
            .iter()
            .all(|session| session.result() == Some(Ok(())))
    );
    assert_eq!(bench.device.peak(), 2);
    assert_eq!(bench.lcore.stats().channels[0].counts.completed, 3 * 256);
}

#[test]
fn a_poll_resumes_no_more_than_there_are_free_slots() {
    let bench = Bench::new(3);
    let sessions = bench.sessions(20);
    sessions.iter().for_each(|session| session.start(1));
    for free in [0, 1, 2, 3] {
        bench.device.release(free);
        let polled = bench.poll();
        // The finished ones keep their slots until their jobs have read the results.
        assert_eq!((polled.completed, polled.retried), (free, 0));
        while let Some(Conn(id)) = bench.lcore.next_ready() {
            sessions[id as usize].resume();
        }
        let attempts = bench.device.enqueue_calls();
        let polled = bench.turn(&sessions);
        assert_eq!(polled.retried, free);
        assert_eq!(bench.device.enqueue_calls() - attempts, free);
    }
}

#[test]
fn on_a_full_queue_pair_polls_make_no_attempts() {
    let bench = Bench::new(2);
    let sessions = bench.sessions(50);
    sessions.iter().for_each(|session| session.start(1));
    let (attempts, refused) = (
        bench.device.enqueue_calls(),
        bench.lcore.stats().channels[0].counts.refused,
    );
    for _ in 0..100 {
        assert_eq!(bench.turn(&sessions).retried, 0);
    }
    assert_eq!(bench.device.enqueue_calls(), attempts);
    assert_eq!(bench.lcore.stats().channels[0].counts.refused, refused);
}

#[test]
fn a_first_attempt_does_not_overtake_the_retry_queue() {
    let bench = Bench::new(1);
    let sessions = bench.sessions(3);
    sessions[0].start(1);
    sessions[1].start(1);
    bench.device.release(1);
    bench.turn(&sessions);
    assert_eq!(sessions[0].result(), Some(Ok(())));
    // The slot is free, but session 1 was there first.
    sessions[2].start(1);
    assert_eq!(sessions[2].callbacks(), [Status::EAGAIN]);
    bench.turn(&sessions);
    assert_eq!(sessions[1].ctx.status(), Status::OK);
    assert_eq!(sessions[2].ctx.status(), Status::EAGAIN);
    bench.device.release(2);
    for _ in 0..5 {
        bench.turn(&sessions);
    }
    assert_eq!(sessions[2].result(), Some(Ok(())));
}

#[test]
fn a_first_attempt_takes_a_slot_that_nobody_waits_for() {
    let bench = Bench::new(4);
    let sessions = bench.sessions(8);
    sessions[..5].iter().for_each(|session| session.start(1));
    bench.device.release(3);
    bench.turn(&sessions);
    // Three slots are free and one connection waits.
    sessions[5].start(1);
    sessions[6].start(1);
    sessions[7].start(1);
    let status = |id: usize| sessions[id].ctx.status();
    assert_eq!(
        [status(5), status(6), status(7)],
        [Status::OK, Status::OK, Status::EAGAIN]
    );
}

#[test]
fn a_closed_connection_in_the_retry_queue_costs_one_grant_and_blocks_nobody() {
    let bench = Bench::new(1);
    let sessions = bench.sessions(3);
    sessions.iter().for_each(|session| session.start(1));
    sessions[1].close();
    bench.device.release(2);
    for _ in 0..6 {
        bench.turn(&sessions);
    }
    assert_eq!(sessions[2].result(), Some(Ok(())));
}

#[test]
fn a_device_fuller_than_it_says_refuses_and_all_finish() {
    let bench = Bench::new(8);
    bench.device.take_at_most(3);
    let sessions = bench.sessions(40);
    sessions.iter().for_each(|session| session.start(2));
    let before = bench.device.enqueue_calls();
    bench.turn(&sessions);
    assert!(
        bench.device.enqueue_calls() - before <= 8,
        "bounded by the free slots"
    );
    order_of_submission(&bench, &sessions, 2);
    assert!(
        sessions
            .iter()
            .all(|session| session.result() == Some(Ok(())))
    );
    assert_eq!(bench.device.peak(), 3);
}

#[test]
fn each_queue_pair_has_its_own_retry_queue() {
    let clock = support::TestClock::default();
    let lcore = spinlane_lcore::Lcore::with_clock(
        spinlane_lcore::Config::default(),
        Box::new(clock.clone()),
    );
    let none = spinlane_cryptodev::Capabilities::NONE;
    let keygen = support::Handle::new(1, none.with(OpKind::X25519Keygen), &clock);
    let derive = support::Handle::new(1, none.with(OpKind::X25519Derive), &clock);
    lcore.add_queue_pair(keygen.queue_pair());
    lcore.add_queue_pair(derive.queue_pair());
    let _entered = lcore.enter();
    let sessions: Vec<_> = (0..4).map(|id| Session::new(&lcore, id)).collect();
    for (id, session) in sessions.iter().enumerate() {
        let kind = [OpKind::X25519Keygen, OpKind::X25519Derive][id % 2];
        session.start_kind(kind, 1);
    }
    let queued = lcore
        .stats()
        .channels
        .iter()
        .map(|channel| channel.retry_queue)
        .collect::<Vec<_>>();
    assert_eq!(queued, [1, 1]);
    // Only the second device moves.
    derive.release(2);
    for _ in 0..4 {
        lcore.poll().unwrap();
        while let Some(Conn(id)) = lcore.next_ready() {
            sessions[id as usize].resume();
        }
    }
    let done = sessions
        .iter()
        .map(|session| session.result().is_some())
        .collect::<Vec<_>>();
    assert_eq!(done, [false, true, false, true]);
}

/// Names that come out of the ready queue in one turn, in their order.
fn ready(bench: &Bench) -> Vec<u64> {
    bench.poll();
    std::iter::from_fn(|| bench.lcore.next_ready().map(|Conn(id)| id)).collect()
}

/// Sessions of which the first has its op with the device and all others are refused, and not queued.
fn refused(bench: &Bench, count: u64) -> Vec<Rc<Session>> {
    let sessions = bench.sessions(count);
    sessions.iter().for_each(|session| {
        session.queues.set(false);
        session.start(1);
    });
    sessions
}

#[test]
fn a_retry_may_come_at_any_time_and_has_the_turn_of_its_refusal() {
    let bench = Bench::new(1);
    let sessions = refused(&bench, 5);
    // All others were refused meanwhile; two of them are late, and one says so three times.
    for id in [3, 1, 1, 1, 2] {
        bench
            .lcore
            .retry(Conn(id), &sessions[id as usize].the_job());
    }
    assert_eq!(bench.lcore.stats().channels[0].retry_queue, 3);
    let mut order = Vec::new();
    for turn in 0..12 {
        bench.device.release(1);
        for id in ready(&bench) {
            order.push(id);
            sessions[id as usize].resume();
        }
        if turn == 1 {
            bench.lcore.retry(Conn(4), &sessions[4].the_job());
        }
    }
    // Each is called when there is room, and when its op is done.
    order.dedup();
    assert_eq!(order, [0, 1, 2, 3, 4]);
    assert!(
        sessions
            .iter()
            .all(|session| session.result() == Some(Ok(())))
    );
}

#[test]
fn a_retry_goes_to_the_queue_pair_that_refused_whoever_was_refused_since() {
    let clock = support::TestClock::default();
    let lcore = spinlane_lcore::Lcore::with_clock(
        spinlane_lcore::Config::default(),
        Box::new(clock.clone()),
    );
    let none = spinlane_cryptodev::Capabilities::NONE;
    let kinds = [OpKind::X25519Keygen, OpKind::X25519Derive];
    let devices = kinds.map(|kind| support::Handle::new(1, none.with(kind), &clock));
    for device in &devices {
        lcore.add_queue_pair_with(device.queue_pair(), support::without_fallback());
    }
    let _entered = lcore.enter();
    let sessions: Vec<_> = (0..4).map(|id| Session::new(&lcore, id)).collect();
    for (id, session) in sessions.iter().enumerate() {
        session.queues.set(false);
        session.start_kind(kinds[id % 2], 1);
    }
    // The last refusal was the second device's; the first one's comes now.
    lcore.retry(Conn(2), &sessions[2].the_job());
    lcore.retry(Conn(3), &sessions[3].the_job());
    let queued = |lcore: &spinlane_lcore::Lcore| {
        let stats = lcore.stats();
        [stats.channels[0].retry_queue, stats.channels[1].retry_queue]
    };
    assert_eq!(queued(&lcore), [1, 1]);
    devices[0].release(1);
    for _ in 0..2 {
        lcore.poll().unwrap();
        while let Some(Conn(id)) = lcore.next_ready() {
            sessions[id as usize].resume();
        }
    }
    assert_eq!(sessions[2].ctx.status(), Status::OK, "accepted");
    assert_eq!(queued(&lcore), [0, 1]);
}

#[test]
fn an_early_resume_leaves_no_second_entry_and_loses_no_place() {
    let bench = Bench::new(1);
    let sessions = bench.sessions(4);
    sessions.iter().for_each(|session| session.start(1));
    for _ in 0..5 {
        // Refused again, and queued again by the front-end.
        sessions[1].resume();
    }
    assert_eq!(sessions[1].callbacks(), [Status::EAGAIN; 6]);
    assert_eq!(bench.lcore.stats().channels[0].retry_queue, 3);
    let order = order_of_submission(&bench, &sessions, 1);
    assert_eq!(order, [0, 1, 2, 3]);
}

#[test]
fn whoever_is_accepted_early_or_closed_is_called_no_more() {
    let bench = Bench::new(3);
    let sessions = bench.sessions(7);
    sessions.iter().for_each(|session| session.start(1));
    sessions[3].close();
    assert_eq!(ready(&bench), []);
    bench.device.release(3);
    bench.poll();
    // All three slots are free, as their sessions have read their results; nobody was called yet.
    sessions[..3].iter().for_each(|session| session.resume());
    sessions[4].resume();
    assert_eq!(
        sessions[4].ctx.status(),
        Status::OK,
        "there is room for it and those before"
    );
    while bench.lcore.next_ready().is_some() {}
    assert_eq!(ready(&bench), [5, 6]);
    sessions[5].resume();
    sessions[6].resume();
    assert_eq!(
        ready(&bench),
        [],
        "neither the closed one nor that which went early"
    );
    assert_eq!(bench.device.held(), 3);
}

#[test]
fn a_job_that_was_not_refused_goes_on_at_once() {
    let bench = Bench::new(2);
    let session = bench.in_flight(0);
    bench.lcore.retry(Conn(0), &session.the_job());
    assert_eq!(bench.lcore.stats().channels[0].retry_queue, 0);
    assert_eq!(ready(&bench), [0]);
}

#[test]
fn a_name_needs_no_retry_and_is_called_once_per_attempt() {
    let bench = Bench::new(1);
    let sessions = bench.sessions(3);
    for session in &sessions {
        session.ctx.set_notify(Some(Conn(session.id).into()));
        session.queues.set(false);
        session.start(2);
    }
    let mut called = [0; 3];
    for _ in 0..40 {
        bench.device.release(1);
        for id in ready(&bench) {
            called[id as usize] += 1;
            sessions[id as usize].resume();
        }
    }
    assert!(
        sessions
            .iter()
            .all(|session| session.result() == Some(Ok(())))
    );
    let counts = bench.lcore.stats().channels[0].counts;
    let attempts = counts.enqueued + counts.refused;
    assert_eq!(called.iter().sum::<u64>(), attempts);
}
