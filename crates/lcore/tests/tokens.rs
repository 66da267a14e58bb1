//! Ops that come back late, twice, out of order, or under a name that was never given.

mod support;

use spinlane_cryptodev::{Capabilities, OpKind, Token};
use spinlane_job::Status;
use spinlane_lcore::{Config, Conn, Lcore, OffloadError};
use support::{Bench, Handle, Session, TestClock};

#[test]
fn ops_may_come_back_in_any_order() {
    let bench = Bench::new(8);
    let sessions = bench.sessions(8);
    sessions.iter().for_each(|session| session.start(1));
    bench.device.reverse();
    bench.device.release(8);
    bench.turn(&sessions);
    // `compute` checks that each got its own result.
    assert!(
        sessions
            .iter()
            .all(|session| session.result() == Some(Ok(())))
    );
}

#[test]
fn a_token_of_an_earlier_use_of_the_slot_is_dropped() {
    let bench = Bench::new(1);
    let sessions = bench.sessions(2);
    sessions[0].start(1);
    bench.device.release(1);
    bench.turn(&sessions);
    let late = bench.device.tokens()[0];
    sessions[1].start(1);
    bench.device.forge(late);
    bench.turn(&sessions);
    assert_eq!(sessions[1].callbacks(), []);
    assert_eq!(sessions[1].result(), None);
    bench.device.release(1);
    bench.turn(&sessions);
    assert_eq!(sessions[1].result(), Some(Ok(())));
    assert!(bench.all_slots_are_free());
}

#[test]
fn a_second_completion_before_the_first_was_read_is_dropped() {
    let bench = Bench::new(2);
    let session = bench.in_flight(0);
    bench.device.release(1);
    bench.poll();
    bench.device.forge(bench.device.tokens()[0]);
    bench.poll();
    assert_eq!(session.callbacks(), [Status::OK]);
    session.resume();
    assert_eq!(
        session.result(),
        Some(Ok(())),
        "its own result, not the forged one"
    );
    assert!(bench.all_slots_are_free());
}

#[test]
fn tokens_that_were_never_given_are_dropped() {
    let bench = Bench::new(2);
    let session = bench.in_flight(0);
    for token in [0, 1, u64::MAX, 1 << 32, bench.device.tokens()[0].0 ^ 1] {
        bench.device.forge(Token(token));
        bench.poll();
    }
    assert_eq!(session.callbacks(), []);
    bench.device.release(1);
    bench.poll();
    session.resume();
    assert_eq!(session.result(), Some(Ok(())));
    assert!(bench.all_slots_are_free());
}

#[test]
fn a_late_op_of_one_queue_pair_is_not_taken_for_one_of_another() {
    let clock = TestClock::default();
    let lcore = Lcore::with_clock(Config::default(), Box::new(clock.clone()));
    let none = Capabilities::NONE;
    let keygen = Handle::new(1, none.with(OpKind::X25519Keygen), &clock);
    let derive = Handle::new(1, none.with(OpKind::X25519Derive), &clock);
    lcore.add_queue_pair(keygen.queue_pair());
    lcore.add_queue_pair(derive.queue_pair());
    let _entered = lcore.enter();
    let first = Session::new(&lcore, 0);
    first.start_kind(OpKind::X25519Keygen, 1);
    first.abandon();
    // The job is used again, for an op of the other queue pair.
    let second = Session::new(&lcore, 1);
    second.start_kind(OpKind::X25519Derive, 1);
    keygen.release(1);
    lcore.poll().unwrap();
    assert_eq!(second.callbacks(), []);
    assert_eq!(lcore.stats().channels[0].counts.orphaned, 1);
    derive.release(1);
    lcore.poll().unwrap();
    assert_eq!(lcore.next_ready(), Some(Conn(1)));
    second.resume();
    assert_eq!(second.result(), Some(Ok(())));
}

#[test]
fn a_job_resumed_under_another_lcore_gets_an_error_and_never_another_jobs_result() {
    let home = Bench::new(1);
    let session = home.in_flight(0);
    let away = Bench::new(1);
    let other = away.in_flight(1);
    home.device.release(1);
    away.device.release(1);
    home.poll();
    away.poll();
    session.resume();
    assert_eq!(session.result(), Some(Err(OffloadError::OtherLcore)));
    other.resume();
    assert_eq!(other.result(), Some(Ok(())));
    home.poll();
    assert_eq!(home.orphaned_and_in_flight(), (1, 0));
}
