//! Exactly one callback for each attempt: accepted, refused, failed, closed.

mod support;

use spinlane_cryptodev::OpStatus;
use spinlane_job::{Progress, Status};
use spinlane_lcore::{Conn, OffloadError};
use std::rc::Rc;
use support::Bench;

#[test]
fn accepted_means_status_ok_before_the_pause_and_one_callback_in_poll() {
    let bench = Bench::new(4);
    let session = bench.in_flight(0);
    assert!(session.the_job().is_paused());
    assert_eq!(session.callbacks(), [], "none before it is done");
    bench.poll();
    assert_eq!(session.callbacks(), [], "nor by a poll that finds nothing");
    bench.device.release(1);
    assert_eq!(bench.poll().completed, 1);
    assert_eq!(session.callbacks(), [Status::OK]);
    assert_eq!(bench.lcore.next_ready(), Some(Conn(0)));
    session.resume();
    assert_eq!(session.result(), Some(Ok(())));
    bench.poll();
    assert_eq!(session.callbacks(), [Status::OK]);
    assert_eq!(bench.lcore.stats().callbacks, 1);
}

#[test]
fn the_callback_runs_inline_in_poll_and_the_job_only_when_resumed() {
    let bench = Bench::new(4);
    let session = bench.in_flight(0);
    bench.device.release(1);
    bench.poll();
    assert_eq!(session.callbacks().len(), 1);
    assert_eq!(session.result(), None);
    assert!(session.the_job().is_complete());
}

#[test]
fn each_op_of_a_job_has_its_own_callback() {
    let bench = Bench::new(4);
    let sessions = bench.sessions(1);
    sessions[0].start(3);
    for done in 1..=3 {
        bench.device.release(1);
        bench.turn(&sessions);
        assert_eq!(sessions[0].callbacks(), vec![Status::OK; done]);
    }
    assert_eq!(sessions[0].result(), Some(Ok(())));
}

#[test]
fn refused_means_status_eagain_and_one_callback_before_the_pause() {
    let bench = Bench::new(1);
    let first = bench.in_flight(0);
    let second = support::Session::new(&bench.lcore, 1);
    let during = Rc::new(std::cell::Cell::new(false));
    let on_job = Rc::clone(&during);
    *second.on_callback.borrow_mut() = Some(Box::new(move || on_job.set(spinlane_job::on_job())));
    second.start(1);
    assert_eq!(second.callbacks(), [Status::EAGAIN]);
    assert!(during.get(), "the job had not paused yet");
    assert_eq!(second.ctx.status(), Status::EAGAIN);
    assert!(second.the_job().is_paused());
    assert_eq!(second.the_job().awaited(), 0, "it awaits nothing");
    bench.poll();
    assert_eq!(second.callbacks(), [Status::EAGAIN]);

    // Its second attempt is accepted, and has its own callback.
    bench.device.release(2);
    let sessions = [first, second];
    for _ in 0..4 {
        bench.turn(&sessions);
    }
    assert_eq!(sessions[0].callbacks(), [Status::OK]);
    assert_eq!(sessions[1].callbacks(), [Status::EAGAIN, Status::OK]);
    assert!(
        sessions
            .iter()
            .all(|session| session.result() == Some(Ok(())))
    );
    let channel = &bench.lcore.stats().channels[0];
    assert_eq!((channel.counts.refused, channel.counts.retried), (1, 1));
}

#[test]
fn a_resume_out_of_turn_is_another_attempt_with_its_own_callback() {
    let bench = Bench::new(1);
    let _first = bench.in_flight(0);
    let second = support::Session::new(&bench.lcore, 1);
    second.start(1);
    assert!(matches!(second.the_job().resume(), Ok(Progress::Paused)));
    assert_eq!(second.callbacks(), [Status::EAGAIN; 2]);
    assert_eq!(bench.lcore.stats().channels[0].counts.refused, 2);
    assert_eq!(
        bench.device.enqueue_calls(),
        1,
        "a full queue pair is not asked"
    );
}

#[test]
fn failed_means_status_err_then_one_callback() {
    for (status, error) in [
        (OpStatus::Error, OffloadError::Device),
        (OpStatus::NotProcessed, OffloadError::Device),
        (OpStatus::Invalid, OffloadError::Invalid),
    ] {
        let bench = Bench::new(4);
        let session = bench.in_flight(0);
        bench.device.answer_with(status);
        bench.device.release(1);
        bench.turn(&[Rc::clone(&session)]);
        assert_eq!(session.callbacks(), [Status::ERR]);
        assert_eq!(session.result(), Some(Err(error)));
        let channel = &bench.lcore.stats().channels[0];
        assert_eq!((channel.counts.completed, channel.counts.failed), (1, 1));
    }
}

#[test]
fn no_callback_is_made_once_the_wait_context_is_freed() {
    let bench = Bench::new(2);
    let session = bench.in_flight(0);
    let job = session.ctx.free().unwrap();
    bench.device.release(1);
    bench.poll();
    assert_eq!(session.callbacks(), []);
    // The job itself may still run to its end.
    assert!(matches!(job.resume(), Ok(Progress::Finished(_))));
    assert_eq!(session.result(), Some(Ok(())));
}

#[test]
fn a_connection_closed_in_flight_ends_by_its_own_error_path_without_a_callback() {
    let bench = Bench::new(2);
    let session = bench.in_flight(0);
    session.close();
    assert_eq!(session.result(), Some(Err(OffloadError::Cancelled)));
    assert_eq!(
        bench.orphaned_and_in_flight(),
        (0, 1),
        "the device still has the op"
    );
    bench.device.release(1);
    bench.poll();
    assert_eq!(session.callbacks(), []);
    assert_eq!(bench.orphaned_and_in_flight(), (1, 0));
    assert!(bench.all_slots_are_free());
}

#[test]
fn a_connection_closed_with_its_result_unread_has_no_further_callback() {
    let bench = Bench::new(2);
    let session = bench.in_flight(0);
    bench.device.release(1);
    bench.poll();
    session.close();
    assert_eq!(session.result(), Some(Err(OffloadError::Cancelled)));
    bench.poll();
    assert_eq!(session.callbacks(), [Status::OK]);
    assert_eq!(bench.orphaned_and_in_flight(), (1, 0));
    assert!(bench.all_slots_are_free());
}

#[test]
fn a_connection_closed_while_refused_makes_no_further_attempt() {
    let bench = Bench::new(1);
    let _first = bench.in_flight(0);
    let second = support::Session::new(&bench.lcore, 1);
    second.start(1);
    second.close();
    assert_eq!(second.result(), Some(Err(OffloadError::Cancelled)));
    assert_eq!(second.callbacks(), [Status::EAGAIN]);
    assert_eq!(bench.lcore.stats().channels[0].counts.refused, 1);
}

#[test]
fn a_cancelled_job_submits_nothing_more() {
    let bench = Bench::new(4);
    let lcore = bench.lcore.clone();
    let session = support::Session::new(&lcore, 0);
    let (_, job) = spinlane_job::start(Some(&session.ctx), || {
        let mut output = [0; 32];
        let mut op = || {
            let request = spinlane_cryptodev::Request::x25519_keygen(&[1; 32]);
            spinlane_lcore::offload(&request, &mut output)
        };
        // A library that goes on after an error, as some do for an alert.
        assert_eq!(op(), Err(OffloadError::Cancelled));
        assert_eq!(op(), Err(OffloadError::Cancelled));
        1
    })
    .unwrap();
    let job = job.unwrap();
    job.cancel();
    assert!(matches!(job.resume(), Ok(Progress::Finished(1))));
    assert_eq!(bench.device.held(), 1, "the first op alone");
}

#[test]
fn abandoned_in_flight_leaves_no_trace() {
    let bench = Bench::new(2);
    let session = bench.in_flight(0);
    session.abandon();
    assert_eq!(spinlane_job::pool_stats().stacks_in_use, 0);
    bench.device.release(1);
    bench.poll();
    assert_eq!(session.callbacks(), []);
    assert_eq!(session.result(), None);
    assert_eq!(bench.orphaned_and_in_flight(), (1, 0));
    assert!(bench.all_slots_are_free());
}

#[test]
fn abandoned_with_the_result_unread_gives_the_slot_back() {
    let bench = Bench::new(2);
    let session = bench.in_flight(0);
    bench.device.release(1);
    bench.poll();
    session.abandon();
    bench.poll();
    assert_eq!(session.callbacks(), [Status::OK]);
    assert_eq!(bench.orphaned_and_in_flight(), (1, 0));
    assert!(bench.all_slots_are_free());
}

#[test]
fn a_callback_that_closes_another_connection_of_the_same_poll_spares_it_the_callback() {
    let bench = Bench::new(2);
    let sessions = [bench.in_flight(0), bench.in_flight(1)];
    let victim = Rc::clone(&sessions[1]);
    *sessions[0].on_callback.borrow_mut() = Some(Box::new(move || victim.close()));
    bench.device.release(2);
    assert_eq!(bench.poll().completed, 2);
    assert_eq!(sessions[0].callbacks(), [Status::OK]);
    assert_eq!(sessions[1].callbacks(), []);
    assert_eq!(sessions[1].result(), Some(Err(OffloadError::Cancelled)));
    sessions[0].resume();
    bench.poll();
    assert_eq!(bench.orphaned_and_in_flight(), (1, 0));
    assert!(bench.all_slots_are_free());
}

#[test]
fn a_job_cancelled_in_the_same_poll_has_no_callback_though_its_wait_context_lives() {
    let bench = Bench::new(2);
    let sessions = [bench.in_flight(0), bench.in_flight(1)];
    let victim = sessions[1].the_job();
    *sessions[0].on_callback.borrow_mut() = Some(Box::new(move || victim.cancel()));
    bench.device.release(2);
    bench.poll();
    assert_eq!(sessions[1].callbacks(), []);
    sessions[1].resume();
    assert_eq!(sessions[1].result(), Some(Err(OffloadError::Cancelled)));
}

#[test]
fn who_is_resumed_before_its_callback_has_none_for_what_it_has_read() {
    let bench = Bench::new(2);
    let first = bench.in_flight(0);
    let second = support::Session::new(&bench.lcore, 1);
    second.start(2);
    let resumed = Rc::clone(&second);
    *first.on_callback.borrow_mut() = Some(Box::new(move || resumed.resume()));
    bench.device.release(2);
    bench.poll();
    assert_eq!(second.callbacks(), [], "its second op is not done");
    bench.device.release(1);
    bench.poll();
    assert_eq!(second.callbacks(), [Status::OK]);
    second.resume();
    assert_eq!(second.result(), Some(Ok(())));
}

#[test]
fn a_callback_may_abandon_another_connection_of_the_same_poll() {
    let bench = Bench::new(2);
    let sessions = [bench.in_flight(0), bench.in_flight(1)];
    let victim = Rc::clone(&sessions[1]);
    *sessions[0].on_callback.borrow_mut() = Some(Box::new(move || victim.abandon()));
    bench.device.release(2);
    bench.poll();
    assert_eq!(sessions[1].callbacks(), []);
    sessions[0].resume();
    bench.poll();
    assert!(bench.all_slots_are_free());
}
