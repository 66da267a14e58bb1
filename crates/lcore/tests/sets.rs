//! Several ops in one pause: together or not at all.

mod support;

use std::cell::Cell;
use std::rc::Rc;

use spinlane_cryptodev::{Capabilities, OpKind, OpStatus, Request};
use spinlane_job::{self as job, Progress, Status};
use spinlane_lcore::{Config, Conn, HealthConfig, Lcore, MAX_SET, OffloadError, offload_all};
use support::{Bench, Handle, Session, TestClock, answer, without_fallback};

/// How a session's set ended, and whether each output is right.
type Outcome = Rc<Cell<Option<(Result<(), OffloadError>, [bool; MAX_SET + 1])>>>;

/// Starts a job of one set of `ops` key generations; with `derive`, the last one is a derivation.
fn start(session: &Session, ops: usize, derive: bool) -> Outcome {
    let outcome = Outcome::default();
    let told = Rc::clone(&outcome);
    let id = session.id as u8;
    let (_, job) = job::start(Some(&session.ctx), move || {
        told.set(Some(run(id, ops, derive)));
        0
    })
    .unwrap();
    *session.job.borrow_mut() = job;
    outcome
}

fn run(id: u8, ops: usize, derive: bool) -> (Result<(), OffloadError>, [bool; MAX_SET + 1]) {
    const ALL: usize = MAX_SET + 1;
    let privates: [[u8; 32]; ALL] =
        std::array::from_fn(|op| [id, op as u8].repeat(16).try_into().unwrap());
    let requests: [Request<'_>; ALL] = std::array::from_fn(|op| match derive && op + 1 == ops {
        true => Request::x25519_derive(&privates[op], &[9; 32]),
        false => Request::x25519_keygen(&privates[op]),
    });
    let mut outputs = [[0; 32]; ALL];
    let mut items = requests
        .iter()
        .zip(&mut outputs)
        .map(|(request, output)| (request, &mut output[..]));
    let mut set: [_; ALL] = std::array::from_fn(|_| items.next().unwrap());
    let result = offload_all(&mut set[..ops]);
    let right = std::array::from_fn(|op| {
        let peer = u8::from(derive && op + 1 == ops) * 9;
        outputs[op] == answer(&privates[op]).map(|byte| byte ^ peer)
    });
    (result, right)
}

fn all_right(outcome: &Outcome, ops: usize) -> bool {
    let (result, right) = outcome.get().unwrap();
    result == Ok(()) && right[..ops].iter().all(|right| *right)
}

#[test]
fn a_set_pauses_once_until_all_have_ended_in_any_order() {
    let bench = Bench::new(8);
    let session = Session::new(&bench.lcore, 3);
    let outcome = start(&session, 5, true);
    assert_eq!(session.ctx.status(), Status::OK);
    assert_eq!((bench.device.held(), bench.lcore.in_flight()), (5, 5));
    bench.device.reverse();
    for _ in 0..4 {
        bench.device.release(1);
        assert_eq!(bench.poll().completed, 1);
        session.ctx.set_status(Status::UNSUPPORTED);
        assert!(matches!(session.the_job().resume(), Ok(Progress::Paused)));
    }
    assert_eq!(session.callbacks(), [], "none before the last one");
    bench.device.release(1);
    bench.poll();
    assert_eq!(session.callbacks(), [Status::OK]);
    session.resume();
    assert!(all_right(&outcome, 5));
    assert_eq!(bench.lcore.stats().callbacks, 1);
    assert!(bench.all_slots_are_free());
}

#[test]
fn a_set_is_refused_as_a_whole_and_waits_for_as_much_room() {
    let bench = Bench::new(4);
    let first = [bench.in_flight(0), bench.in_flight(1)];
    let session = Session::new(&bench.lcore, 2);
    let outcome = start(&session, 3, false);
    assert_eq!(
        (session.callbacks(), bench.device.held()),
        (vec![Status::EAGAIN], 2)
    );
    assert_eq!(session.the_job().awaited(), 0);
    bench.lcore.retry(Conn(2), &session.the_job());
    // One slot would do for a newcomer, but the set stands before it.
    let newcomer = Session::new(&bench.lcore, 3);
    newcomer.start(1);
    assert_eq!(newcomer.callbacks(), [Status::EAGAIN]);
    let polled = bench.poll();
    assert_eq!((polled.retried, bench.lcore.next_ready()), (0, None));
    bench.device.release(1);
    bench.poll();
    assert_eq!(bench.lcore.next_ready(), Some(Conn(0)));
    first[0].resume();
    assert_eq!(bench.poll().retried, 1, "three slots are free");
    assert_eq!(bench.lcore.next_ready(), Some(Conn(2)));
    session.resume();
    assert_eq!((session.ctx.status(), bench.device.held()), (Status::OK, 4));
    bench.device.release(4);
    bench.poll();
    session.resume();
    assert!(all_right(&outcome, 3));
    assert_eq!(session.callbacks(), [Status::EAGAIN, Status::OK]);
}

#[test]
fn a_set_of_two_queue_pairs_is_refused_by_either_and_enters_neither() {
    let clock = TestClock::default();
    let lcore = Lcore::with_clock(Config::default(), Box::new(clock.clone()));
    let kinds = [OpKind::X25519Keygen, OpKind::X25519Derive];
    let devices = kinds.map(|kind| Handle::new(2, Capabilities::NONE.with(kind), &clock));
    for device in &devices {
        lcore.add_queue_pair_with(device.queue_pair(), without_fallback());
    }
    let _entered = lcore.enter();
    let other = Session::new(&lcore, 0);
    other.start_kind(OpKind::X25519Derive, 1);
    let another = Session::new(&lcore, 1);
    another.start_kind(OpKind::X25519Derive, 1);
    let session = Session::new(&lcore, 2);
    let outcome = start(&session, 3, true);
    assert_eq!(session.callbacks(), [Status::EAGAIN]);
    assert_eq!((devices[0].held(), devices[1].held()), (0, 2));
    lcore.retry(Conn(2), &session.the_job());
    devices[1].release(1);
    let turn = || {
        lcore.poll().unwrap();
        while let Some(Conn(id)) = lcore.next_ready() {
            [&other, &another, &session][id as usize].resume();
        }
    };
    turn();
    turn();
    assert_eq!((devices[0].held(), devices[1].held()), (2, 2));
    devices.iter().for_each(|device| device.release(2));
    turn();
    assert!(all_right(&outcome, 3));
    let free = lcore
        .stats()
        .channels
        .into_iter()
        .map(|channel| channel.free_slots);
    assert!(free.eq([2, 2]));
}

#[test]
fn a_set_that_could_never_be_submitted_is_an_error_with_the_remedy() {
    let bench = Bench::new(4);
    for (ops, most) in [(5, 4), (MAX_SET + 1, MAX_SET)] {
        let session = Session::new(&bench.lcore, 0);
        let outcome = start(&session, ops, false);
        let error = OffloadError::SetTooLarge { ops, most };
        assert_eq!(outcome.get().unwrap().0, Err(error));
        assert_eq!(bench.device.held(), 0);
        assert!(error.to_string().contains(&format!("a set of {ops} ops")));
        assert!(error.to_string().contains("in smaller sets"));
    }
    assert!(bench.all_slots_are_free());
}

#[test]
fn one_that_is_too_large_for_a_queue_pair_is_not_refused_by_another_before() {
    let clock = TestClock::default();
    let lcore = Lcore::with_clock(Config::default(), Box::new(clock.clone()));
    let none = Capabilities::NONE;
    let derive = Handle::new(1, none.with(OpKind::X25519Derive), &clock);
    let keygen = Handle::new(2, none.with(OpKind::X25519Keygen), &clock);
    lcore.add_queue_pair_with(derive.queue_pair(), without_fallback());
    lcore.add_queue_pair_with(keygen.queue_pair(), without_fallback());
    let _entered = lcore.enter();
    let other = Session::new(&lcore, 0);
    other.start_kind(OpKind::X25519Derive, 1);
    let session = Session::new(&lcore, 1);
    let outcome = start(&session, 4, true);
    let error = OffloadError::SetTooLarge { ops: 3, most: 2 };
    assert_eq!(outcome.get().unwrap().0, Err(error));
    assert_eq!(session.callbacks(), []);
}

#[test]
fn one_that_fails_fails_the_set_and_the_others_are_read_all_the_same() {
    let bench = Bench::new(4);
    let session = Session::new(&bench.lcore, 0);
    let outcome = start(&session, 3, false);
    bench.device.release(1);
    bench.poll();
    bench.device.answer_with(OpStatus::Error);
    bench.device.release(1);
    bench.poll();
    bench.device.answer_with(OpStatus::Success);
    bench.device.release(1);
    bench.poll();
    assert_eq!(session.callbacks(), [Status::ERR]);
    session.resume();
    let (result, right) = outcome.get().unwrap();
    assert_eq!(result, Err(OffloadError::Device));
    assert_eq!(right[..3], [true, false, true]);
    assert!(bench.all_slots_are_free());
}

#[test]
fn closed_or_abandoned_in_flight_no_op_of_it_is_anybodys() {
    for abandon in [false, true] {
        let bench = Bench::new(4);
        let session = Session::new(&bench.lcore, 0);
        let outcome = start(&session, 3, false);
        bench.device.release(1);
        bench.poll();
        if abandon {
            session.abandon();
            assert_eq!(outcome.get(), None);
        } else {
            session.close();
            assert_eq!(outcome.get().unwrap().0, Err(OffloadError::Cancelled));
        }
        bench.device.release(2);
        bench.poll();
        bench.poll();
        assert_eq!(session.callbacks(), []);
        assert_eq!(bench.orphaned_and_in_flight(), (3, 0));
        assert!(bench.all_slots_are_free());
    }
}

#[test]
fn what_no_queue_pair_serves_is_computed_here_and_counted() {
    let clock = TestClock::default();
    let keygen = Capabilities::NONE.with(OpKind::X25519Keygen);
    let device = Handle::new(4, keygen, &clock);
    let bench = Bench::with(without_fallback(), device, clock);
    let session = Session::new(&bench.lcore, 0);
    let outcome = start(&session, 3, true);
    assert_eq!(
        (bench.device.held(), bench.lcore.stats().unrouted_ops),
        (2, 1)
    );
    bench.device.release(2);
    bench.poll();
    session.resume();
    let (result, right) = outcome.get().unwrap();
    // The last one is X25519's, which the test's device would not have computed.
    assert_eq!(
        (result, right[..3].to_vec()),
        (Ok(()), vec![true, true, false])
    );
}

#[test]
fn a_device_fuller_than_it_says_gets_the_rest_when_it_has_room() {
    let bench = Bench::new(8);
    bench.device.take_at_most(2);
    let session = Session::new(&bench.lcore, 0);
    let outcome = start(&session, 5, false);
    assert_eq!((session.ctx.status(), bench.device.held()), (Status::OK, 2));
    let newcomer = Session::new(&bench.lcore, 1);
    newcomer.start(1);
    assert_eq!(
        newcomer.callbacks(),
        [Status::EAGAIN],
        "nobody goes before them"
    );
    for held in [2, 2, 1] {
        assert_eq!(bench.device.held(), held);
        bench.device.release(2);
        bench.poll();
    }
    session.resume();
    assert!(all_right(&outcome, 5));
    bench.device.release(1);
    let sessions = [session, newcomer];
    for _ in 0..4 {
        bench.turn(&sessions);
    }
    assert_eq!(sessions[1].result(), Some(Ok(())));
    assert!(bench.lcore.stats().channels[0].counts.fallback == 0);
}

#[test]
fn what_a_device_keeps_of_a_set_or_has_no_room_for_is_computed_past_the_deadline() {
    let health = HealthConfig::default();
    let bench = Bench::with_fallback(8, health);
    bench.device.take_at_most(2);
    let session = Session::new(&bench.lcore, 0);
    let (_, job) = job::start(Some(&session.ctx), || {
        let mut outputs = [[0; 32]; 4];
        let request = Request::x25519_keygen(&[1; 32]);
        let [a, b, c, d] = &mut outputs;
        let result = offload_all(&mut [(&request, a), (&request, b), (&request, c), (&request, d)]);
        i32::from(result.is_ok() && outputs.iter().all(|output| *output == outputs[0]))
    })
    .unwrap();
    bench.clock.advance(3 * health.op_deadline_ns);
    for _ in 0..8 {
        bench.poll();
        bench.clock.advance(health.op_deadline_ns);
    }
    assert_eq!(session.callbacks(), [Status::OK]);
    assert!(matches!(job.unwrap().resume(), Ok(Progress::Finished(1))));
    let counts = bench.lcore.stats().channels[0].counts;
    assert_eq!((counts.enqueued, counts.fallback), (4, 4));
}

#[test]
fn a_set_of_nothing_and_one_outside_a_job_need_no_device() {
    let bench = Bench::new(4);
    assert_eq!(offload_all(&mut []), Ok(()));
    let mut output = [0; 32];
    let request = Request::x25519_keygen(&[1; 32]);
    assert_eq!(offload_all(&mut [(&request, &mut output)]), Ok(()));
    assert_ne!(output, [0; 32]);
    assert_eq!(bench.lcore.stats().inline_ops, 1);
}

#[test]
fn a_device_that_keeps_an_op_is_reset_for_a_set_that_would_wait_for_ever() {
    let health = HealthConfig::default();
    let bench = Bench::with_fallback(4, health);
    let [kept, other] = [0, 2].map(|id| {
        let session = Session::new(&bench.lcore, id);
        session.start_true(OpKind::X25519Keygen, [0; 32]);
        session
    });
    // It answers one and keeps one. Past the deadline software answers that, but its slot is the device's.
    bench.device.reverse();
    bench.device.release(1);
    bench.clock.advance(3 * health.op_deadline_ns);
    bench.poll();
    kept.resume();
    other.resume();
    let session = Session::new(&bench.lcore, 1);
    let (_, job) = job::start(Some(&session.ctx), || {
        let request = Request::x25519_keygen(&[1; 32]);
        let mut outputs = [[0; 32]; 4];
        let mut set = outputs.each_mut().map(|output| (&request, &mut output[..]));
        i32::from(offload_all(&mut set).is_ok())
    })
    .unwrap();
    assert_eq!(
        (session.callbacks(), bench.device.resets()),
        (vec![Status::EAGAIN], 0)
    );
    let job = job.unwrap();
    bench.lcore.retry(Conn(1), &job);
    for _ in 0..8 {
        bench.clock.advance(health.op_deadline_ns);
        bench.poll();
        if bench.lcore.next_ready() == Some(Conn(1)) && job.is_paused() {
            let _ = job.resume();
        }
    }
    assert!(bench.device.resets() > 0);
    assert!(!job.is_paused(), "it had its turn");
}
