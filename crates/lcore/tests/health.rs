//! A device that errs, stalls, forgets or refuses: nothing is lost, and nothing comes twice.

mod support;

use std::rc::Rc;

use spinlane_cryptodev::{Capabilities, OpKind, OpStatus, Token};
use spinlane_job::Status;
use spinlane_lcore::{ChannelStats, HealthConfig, OffloadError};
use support::{Bench, Handle, Session, TestClock};

const DEADLINE_NS: u64 = 1_000_000;
const PROBE_NS: u64 = 400_000;
const CONFIG: HealthConfig = HealthConfig {
    fallback: true,
    op_deadline_ns: DEADLINE_NS,
    max_errors: 3,
    probe_interval_ns: PROBE_NS,
};

fn channel(bench: &Bench) -> ChannelStats {
    let channel = bench.lcore.stats().channels.remove(0);
    let counts = channel.counts;
    assert_eq!(
        counts.enqueued,
        counts.completed + counts.fallback + counts.cancelled + channel.in_flight as u64,
        "{channel:?}"
    );
    channel
}

/// Sessions 0 to `count` - 1, their ops with the device.
fn in_flight(bench: &Bench, count: u64) -> Vec<Rc<Session>> {
    let sessions = bench.sessions(count);
    for session in &sessions {
        session.start_true(OpKind::X25519Keygen, [0; 32]);
    }
    sessions
}

/// Every session has its result, after one callback with status OK.
fn all_well(sessions: &[Rc<Session>]) {
    for session in sessions {
        assert_eq!(session.callbacks(), [Status::OK], "session {}", session.id);
        assert_eq!(session.result(), Some(Ok(())), "session {}", session.id);
    }
}

/// A device that gives nothing back until it is unhealthy, and the sessions whose ops it had.
fn stalled(count: u64) -> (Bench, Vec<Rc<Session>>) {
    let bench = Bench::with_fallback(8, CONFIG);
    let sessions = in_flight(&bench, count);
    bench.turn(&sessions);
    bench.clock.advance(DEADLINE_NS);
    for _ in 0..count {
        bench.turn(&sessions);
    }
    assert!(!channel(&bench).health.healthy);
    (bench, sessions)
}

#[test]
fn what_the_device_fails_software_computes_and_nobody_notices() {
    for status in [OpStatus::Error, OpStatus::NotProcessed] {
        let bench = Bench::with_fallback(8, CONFIG);
        let sessions = in_flight(&bench, 1);
        bench.device.answer_with(status);
        bench.device.release(1);
        bench.turn(&sessions);
        all_well(&sessions);
        let channel = channel(&bench);
        let counts = channel.counts;
        assert_eq!(
            (
                counts.errors,
                counts.fallback,
                counts.completed,
                counts.failed
            ),
            (1, 1, 0, 0)
        );
        assert!(channel.health.healthy, "one error is forgiven");
        assert_eq!(channel.free_slots, 8);
    }
}

#[test]
fn errors_in_a_row_make_it_unhealthy_and_a_success_between_them_does_not() {
    for (answers, healthy) in [([1, 1, 0, 1, 1], true), ([1, 1, 1, 1, 1], false)] {
        let bench = Bench::with_fallback(8, CONFIG);
        let sessions = in_flight(&bench, 5);
        for error in answers {
            let status = [OpStatus::Success, OpStatus::Error][error];
            bench.device.answer_with(status);
            bench.device.release(1);
            bench.turn(&sessions);
        }
        bench.turn(&sessions);
        all_well(&sessions);
        assert_eq!(channel(&bench).health.healthy, healthy, "{answers:?}");
    }
}

#[test]
fn an_op_that_is_lost_is_redone_at_its_deadline_and_not_before() {
    let bench = Bench::with_fallback(8, CONFIG);
    let sessions = in_flight(&bench, 2);
    let lost = bench.device.steal().pop_front();
    bench.clock.advance(DEADLINE_NS - 1);
    // The device lives: something else comes back meanwhile.
    let other = Session::new(&bench.lcore, 2);
    other.start_true(OpKind::X25519Keygen, [0; 32]);
    let sessions = [sessions, vec![other]].concat();
    bench.device.release(1);
    bench.turn(&sessions);
    assert_eq!(sessions[0].callbacks(), []);
    bench.clock.advance(DEADLINE_NS / 4);
    bench.turn(&sessions);
    all_well(&sessions);
    let channel = channel(&bench);
    assert_eq!((channel.counts.timed_out, channel.counts.fallback), (2, 2));
    assert!(channel.health.healthy, "it answers");
    drop(lost);
}

#[test]
fn what_comes_back_late_is_dropped_whatever_became_of_its_slot() {
    let health = HealthConfig {
        max_errors: u32::MAX,
        ..CONFIG
    };
    for read_first in [false, true] {
        // Of two slots, one for an op whose predecessor the device still has.
        let bench = Bench::with_fallback(2, health);
        let sessions = bench.sessions(2);
        sessions[0].start_true(OpKind::X25519Keygen, [0; 32]);
        bench.clock.advance(DEADLINE_NS / 2);
        // It gives signs of life.
        bench.device.forge(Token(1));
        bench.poll();
        let late = bench.device.steal();
        bench.clock.advance(DEADLINE_NS / 2);
        bench.poll();
        assert_eq!(sessions[0].callbacks(), [Status::OK], "from software");
        if read_first {
            sessions[0].resume();
            sessions[1].start_true(OpKind::X25519Keygen, [0; 32]);
            assert_eq!(sessions[1].ctx.status(), Status::OK, "with the device");
        }
        let held = bench.device.steal();
        bench.device.give_back(late);
        bench.poll();
        assert_eq!(sessions[0].callbacks(), [Status::OK]);
        assert_eq!(sessions[1].callbacks(), []);
        assert_eq!(channel(&bench).stray, 2);
        bench.device.give_back(held);
        bench.turn(&sessions);
        bench.turn(&sessions);
        all_well(&sessions[..=usize::from(read_first)]);
    }
}

#[test]
fn a_late_op_does_not_complete_what_software_is_about_to_compute() {
    let bench = Bench::with_fallback(16, CONFIG);
    // More than software computes in one poll.
    let sessions = bench.sessions(16);
    for session in &sessions {
        session.start_true(OpKind::X25519Derive, [9; 32]);
    }
    let late = bench.device.steal();
    bench.clock.advance(DEADLINE_NS);
    let first = bench.turn(&sessions).completed;
    assert!((1..16).contains(&first), "bounded: {first}");
    bench.device.give_back(late);
    for _ in 0..16 {
        bench.turn(&sessions);
    }
    all_well(&sessions);
    let channel = channel(&bench);
    assert_eq!((channel.stray, channel.counts.fallback), (16, 16));
    assert_eq!(channel.free_slots, 16);
}

#[test]
fn a_stalled_device_is_reset_and_gets_no_more_ops() {
    let (bench, sessions) = stalled(8);
    all_well(&sessions);
    assert_eq!(bench.device.resets(), 1);
    let calls = bench.device.enqueue_calls();
    let more = in_flight(&bench, 3);
    bench.turn(&more);
    all_well(&more);
    assert_eq!(bench.device.enqueue_calls(), calls);
    let channel = channel(&bench);
    assert_eq!((channel.counts.timed_out, channel.counts.fallback), (8, 11));
    assert_eq!((channel.health.failures, channel.health.probes), (1, 0));
}

#[test]
fn a_probe_rides_on_an_op_and_brings_the_device_back() {
    let (bench, _) = stalled(2);
    bench.device.steal();
    bench.clock.advance(PROBE_NS);
    let riders = in_flight(&bench, 2);
    assert_eq!(bench.device.held(), 1, "one probe at a time");
    bench.turn(&riders);
    all_well(&riders);
    assert!(!channel(&bench).health.healthy, "it has not answered yet");
    bench.device.release(1);
    bench.poll();
    let health = channel(&bench).health;
    assert!(health.healthy);
    assert_eq!((health.failures, health.recoveries), (1, 1));
    assert_eq!((health.probes, health.probes_failed), (1, 0));
    let after = in_flight(&bench, 2);
    assert_eq!(bench.device.held(), 2, "it serves again");
    bench.device.release(2);
    bench.turn(&after);
    all_well(&after);
    assert_eq!(channel(&bench).stray, 0, "a probe is none");
}

#[test]
fn a_probe_that_is_wrong_refused_or_late_leaves_it_unhealthy_and_another_follows() {
    type Spoil = fn(&Bench);
    let spoils: [Spoil; 3] = [
        |bench| {
            bench.device.answer_with(OpStatus::Invalid);
            bench.device.release(1);
            bench.poll();
            bench.device.answer_with(OpStatus::Success);
        },
        |bench| {
            // A result, but not of this input.
            let mut probe = bench.device.steal();
            let token = probe[0].token;
            probe.clear();
            bench.device.forge(token);
            bench.device.answer_with(OpStatus::Error);
            bench.poll();
            bench.device.answer_with(OpStatus::Success);
        },
        |bench| {
            bench.device.steal();
            bench.clock.advance(2 * DEADLINE_NS);
            bench.poll();
        },
    ];
    for spoil in spoils {
        let (bench, _) = stalled(2);
        bench.device.steal();
        bench.clock.advance(PROBE_NS);
        let riders = in_flight(&bench, 1);
        spoil(&bench);
        bench.turn(&riders);
        let health = channel(&bench).health;
        assert_eq!((health.healthy, health.probes_failed), (false, 1));
        bench.clock.advance(PROBE_NS);
        let riders = in_flight(&bench, 1);
        bench.device.release(1);
        bench.turn(&riders);
        all_well(&riders);
        assert!(channel(&bench).health.healthy);
    }
}

#[test]
fn invalid_input_is_no_fault_of_the_device_and_a_false_alarm_is() {
    let bench = Bench::with_fallback(4, CONFIG);
    let low_order = bench.sessions(1);
    low_order[0].start_true(OpKind::X25519Derive, [0; 32]);
    bench.device.release(1);
    bench.turn(&low_order);
    assert_eq!(low_order[0].callbacks(), [Status::ERR]);
    assert_eq!(low_order[0].result(), Some(Err(OffloadError::Invalid)));
    assert_eq!(channel(&bench).counts.errors, 0);

    let accused = in_flight(&bench, 1);
    bench.device.answer_with(OpStatus::Invalid);
    bench.device.release(1);
    bench.turn(&accused);
    all_well(&accused);
    let counts = channel(&bench).counts;
    assert_eq!((counts.errors, counts.fallback, counts.failed), (1, 2, 1));
}

#[test]
fn a_device_that_accepts_nothing_is_unhealthy_after_a_deadline() {
    let bench = Bench::with_fallback(4, CONFIG);
    bench.device.take_at_most(0);
    let sessions = bench.sessions(1);
    sessions[0].start_true(OpKind::X25519Keygen, [0; 32]);
    assert_eq!(sessions[0].callbacks(), [Status::EAGAIN]);
    for _ in 0..8 {
        bench.turn(&sessions);
        bench.clock.advance(DEADLINE_NS / 4);
    }
    assert_eq!(sessions[0].result(), Some(Ok(())));
    let channel = channel(&bench);
    assert_eq!(
        (channel.health.healthy, channel.counts.fallback),
        (false, 1)
    );
}

#[test]
fn the_slot_of_a_closed_connection_whose_op_is_lost_is_free_at_the_deadline() {
    let bench = Bench::with_fallback(1, CONFIG);
    let closed = in_flight(&bench, 1);
    closed[0].close();
    bench.device.steal();
    bench.clock.advance(DEADLINE_NS);
    bench.poll();
    assert_eq!(closed[0].callbacks(), []);
    let channel = channel(&bench);
    assert_eq!((channel.counts.cancelled, channel.counts.fallback), (1, 0));
    assert_eq!((channel.free_slots, channel.in_flight), (1, 0));
}

#[test]
fn an_op_cancelled_while_it_waits_for_software_is_not_computed() {
    let (bench, _) = stalled(1);
    let closed = in_flight(&bench, 1);
    closed[0].close();
    bench.poll();
    let channel = channel(&bench);
    assert_eq!((channel.counts.cancelled, channel.counts.fallback), (1, 1));
    assert_eq!((channel.free_slots, channel.in_flight), (8, 0));
}

#[test]
fn without_fallback_an_op_past_its_deadline_ends_with_an_error() {
    let health = HealthConfig {
        fallback: false,
        ..CONFIG
    };
    let bench = Bench::with_fallback(2, health);
    let sessions = in_flight(&bench, 1);
    let late = bench.device.steal();
    bench.clock.advance(DEADLINE_NS);
    bench.turn(&sessions);
    assert_eq!(sessions[0].callbacks(), [Status::ERR]);
    assert_eq!(sessions[0].result(), Some(Err(OffloadError::Device)));
    bench.device.give_back(late);
    bench.poll();
    let channel = channel(&bench);
    assert_eq!((channel.stray, channel.counts.failed), (1, 1));
    assert!(channel.health.healthy, "it is asked again and again");
    assert_eq!(channel.free_slots, 2);
}

#[test]
fn an_inline_device_has_no_deadlines_but_errors_count() {
    let clock = TestClock::default();
    let device = Handle::new(4, Capabilities::ALL, &clock);
    device.compute();
    device.be_inline();
    let bench = Bench::with(CONFIG, device, clock);
    let sessions = in_flight(&bench, 4);
    bench.clock.advance(10 * DEADLINE_NS);
    bench.turn(&sessions);
    assert_eq!(channel(&bench).counts.timed_out, 0);
    bench.device.answer_with(OpStatus::Error);
    bench.device.release(4);
    bench.turn(&sessions);
    all_well(&sessions);
    assert!(!channel(&bench).health.healthy);
    assert_eq!(bench.device.resets(), 0, "there is nothing to forget");
}

#[test]
fn a_slot_is_not_used_again_before_the_device_has_given_its_op_back() {
    let bench = Bench::with_fallback(4, CONFIG);
    bench.device.cling();
    let sessions = in_flight(&bench, 1);
    let late = bench.device.steal();
    // It lives, so that it is not reset.
    bench.clock.advance(DEADLINE_NS / 2);
    bench.device.forge(Token(1));
    bench.poll();
    bench.clock.advance(DEADLINE_NS / 2);
    bench.turn(&sessions);
    bench.turn(&sessions);
    all_well(&sessions);
    let quarantine = |bench| {
        let channel: ChannelStats = channel(bench);
        (channel.free_slots, channel.quarantined)
    };
    assert_eq!(quarantine(&bench), (3, 1), "ended, but with the device");
    let others = in_flight(&bench, 4);
    assert_eq!(
        others[3].ctx.status(),
        Status::EAGAIN,
        "as if it were in use"
    );
    bench.device.give_back(late);
    bench.turn(&others);
    assert_eq!(channel(&bench).quarantined, 0);
}

#[test]
fn a_device_that_keeps_more_than_half_is_reset_and_closed_if_it_does_not_let_go() {
    for clings in [false, true] {
        let bench = Bench::with_fallback(4, CONFIG);
        if clings {
            bench.device.cling();
        }
        let sessions = in_flight(&bench, 3);
        let late = bench.device.steal();
        bench.clock.advance(DEADLINE_NS);
        for _ in 0..3 {
            bench.turn(&sessions);
        }
        all_well(&sessions);
        let stats = channel(&bench);
        assert_eq!((stats.health.healthy, stats.health.closed), (false, clings));
        assert_eq!(
            (stats.free_slots, stats.quarantined),
            (4, 0),
            "for software"
        );
        // Closed, it is never asked again.
        bench.clock.advance(2 * PROBE_NS);
        let calls = bench.device.enqueue_calls();
        let more = in_flight(&bench, 2);
        bench.turn(&more);
        all_well(&more);
        assert_eq!(bench.device.enqueue_calls() > calls, !clings);
        bench.device.give_back(late);
        bench.poll();
    }
}
