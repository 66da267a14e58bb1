//! Ops without a job: a notification, and a ticket for the result.

mod support;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use spinlane_cryptodev::test_keys::ed25519;
use spinlane_cryptodev::{Capabilities, Limits, OpKind, OpStatus, Request};
use spinlane_lcore::{Conn, HealthConfig, Lcore, OffloadError, Refusal, Submitted, Ticket};
use support::{Bench, Handle, TestClock, answer, without_fallback};

fn submit(lcore: &Lcore, seed: u8) -> Result<Submitted, OffloadError> {
    lcore.submit(&Request::x25519_keygen(&[seed; 32]), Conn(seed.into()))
}

fn accepted(bench: &Bench, seed: u8) -> Ticket {
    match submit(&bench.lcore, seed) {
        Ok(Submitted::Accepted(ticket)) => ticket,
        other => panic!("{other:?}"),
    }
}

fn refused(bench: &Bench, seed: u8) -> Refusal {
    match submit(&bench.lcore, seed) {
        Ok(Submitted::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn ready(bench: &Bench) -> Vec<u64> {
    bench.poll();
    std::iter::from_fn(|| bench.lcore.next_ready().map(|Conn(id)| id)).collect()
}

fn result(ticket: Ticket) -> (Result<(), OffloadError>, [u8; 32]) {
    let mut output = [0; 32];
    (ticket.take(&mut output).unwrap(), output)
}

#[test]
fn one_notification_when_it_has_ended_and_then_the_result() {
    let bench = Bench::new(4);
    let ticket = accepted(&bench, 7);
    assert_eq!((bench.device.held(), ready(&bench)), (1, vec![]));
    assert!(!ticket.is_done());
    let ticket = ticket.take(&mut [0; 32]).unwrap_err();
    bench.device.release(1);
    assert_eq!(ready(&bench), [7]);
    assert_eq!(ready(&bench), []);
    assert!(ticket.is_done());
    assert_eq!(result(ticket), (Ok(()), answer(&[7; 32])));
    assert_eq!(bench.lcore.stats().callbacks, 1);
    assert!(bench.all_slots_are_free());
}

#[test]
fn a_failed_op_says_so() {
    for (status, error) in [
        (OpStatus::Error, OffloadError::Device),
        (OpStatus::Invalid, OffloadError::Invalid),
    ] {
        let bench = Bench::new(4);
        let ticket = accepted(&bench, 1);
        bench.device.answer_with(status);
        bench.device.release(1);
        assert_eq!(ready(&bench), [1]);
        assert_eq!(result(ticket).0, Err(error));
    }
}

#[test]
fn refused_it_has_a_place_in_the_queue_among_jobs() {
    let bench = Bench::new(1);
    let first = bench.in_flight(0);
    let refusal = refused(&bench, 1);
    let second = support::Session::new(&bench.lcore, 2);
    second.start(1);
    // Too early: the same place.
    let request = Request::x25519_keygen(&[1; 32]);
    let Ok(Submitted::Refused(refusal)) = refusal.retry(&request, Conn(11)) else {
        panic!("there is no room");
    };
    assert_eq!(bench.lcore.stats().channels[0].retry_queue, 2);
    bench.device.release(1);
    assert_eq!(ready(&bench), [0]);
    first.resume();
    assert_eq!(ready(&bench), [11], "by the name it gave last");
    let Ok(Submitted::Accepted(ticket)) = refusal.retry(&request, Conn(11)) else {
        panic!("there is room");
    };
    bench.device.release(1);
    assert_eq!(ready(&bench), [11]);
    assert_eq!(result(ticket), (Ok(()), answer(&[1; 32])));
    assert_eq!(ready(&bench), [2]);
}

#[test]
fn dropped_nobody_is_told_and_nothing_is_lost() {
    let bench = Bench::new(1);
    let ticket = accepted(&bench, 1);
    drop(refused(&bench, 2));
    assert_eq!(bench.lcore.stats().channels[0].retry_queue, 0);
    drop(ticket);
    bench.device.release(1);
    assert_eq!(ready(&bench), []);
    assert_eq!(bench.orphaned_and_in_flight(), (1, 0));
    // With its result there already.
    let ticket = accepted(&bench, 3);
    bench.device.release(1);
    assert_eq!(ready(&bench), [3]);
    drop(ticket);
    bench.poll();
    assert_eq!(bench.orphaned_and_in_flight(), (2, 0));
    assert!(bench.all_slots_are_free());
}

#[test]
fn refused_again_it_waits_at_one_queue_pair() {
    let clock = TestClock::default();
    let first = Handle::new(1, Capabilities::ALL, &clock);
    let bench = Bench::with(without_fallback(), first, clock.clone());
    let second = Handle::new(1, Capabilities::ALL, &clock);
    bench.lcore.add_queue_pair(second.queue_pair());
    let sessions = [bench.in_flight(0), bench.in_flight(1)];
    let mut refusal = refused(&bench, 7);
    let waiting = || {
        let channels = bench.lcore.stats().channels;
        channels
            .iter()
            .map(|channel| channel.retry_queue)
            .sum::<usize>()
    };
    let request = Request::x25519_keygen(&[7; 32]);
    for device in [&bench.device, &second] {
        // The slot is taken until its job has read the result.
        device.release(1);
        bench.poll();
        let again = refusal.retry(&request, Conn(7)).unwrap();
        let Submitted::Refused(again) = again else {
            panic!("there is no room");
        };
        refusal = again;
        assert_eq!(waiting(), 1);
    }
    drop(refusal);
    assert_eq!(waiting(), 0);
    sessions.iter().for_each(|session| session.resume());
}

#[test]
fn whoever_waited_for_a_queue_pair_gets_the_slot_that_it_kept() {
    let clock = TestClock::default();
    let first = Handle::new(1, Capabilities::ALL, &clock);
    let bench = Bench::with(without_fallback(), first, clock.clone());
    let second = Handle::new(1, Capabilities::ALL, &clock);
    bench.lcore.add_queue_pair(second.queue_pair());
    let sessions = [bench.in_flight(0), bench.in_flight(1)];
    let [at_first, at_second] = [refused(&bench, 7), refused(&bench, 8)];
    for device in [&bench.device, &second] {
        device.release(1);
    }
    bench.poll();
    sessions.iter().for_each(|session| session.resume());
    bench.poll();
    // Both are free, and each slot is promised.
    let request = Request::x25519_keygen(&[7; 32]);
    for refusal in [at_second, at_first] {
        let again = refusal.retry(&request, Conn(9)).unwrap();
        assert!(matches!(again, Submitted::Accepted(_)), "{again:?}");
    }
}

#[test]
fn past_its_deadline_software_answers() {
    let health = HealthConfig::default();
    let bench = Bench::with_fallback(4, health);
    let ticket = accepted(&bench, 5);
    bench.clock.advance(3 * health.op_deadline_ns);
    assert_eq!(ready(&bench), [5]);
    let (result, output) = result(ticket);
    let mut right = [0; 32];
    spinlane_lcore::compute(&Request::x25519_keygen(&[5; 32]), &mut right).unwrap();
    assert_eq!((result, output), (Ok(()), right));
    assert_eq!(bench.lcore.stats().channels[0].counts.fallback, 1);
}

#[test]
fn a_kind_that_no_queue_pair_serves_is_an_error_that_names_it() {
    let clock = TestClock::default();
    let device = Handle::new(1, Capabilities::NONE.with(OpKind::X25519Derive), &clock);
    let bench = Bench::with(without_fallback(), device, clock);
    let error = submit(&bench.lcore, 1).unwrap_err();
    let kind = OpKind::X25519Keygen;
    assert_eq!(error, OffloadError::NotServed { kind });
    assert!(error.to_string().contains(&kind.to_string()), "{error}");
}

#[test]
fn operands_too_long_for_every_queue_pair_are_an_error_that_says_how_long_they_may_be() {
    let clock = TestClock::default();
    let up_to = |max_len| {
        let aad_lens = 0;
        let limits = Limits { max_len, aad_lens };
        let capabilities = Capabilities::NONE.with_limits(OpKind::Ed25519, limits);
        Handle::new(1, capabilities, &clock)
    };
    let bench = Bench::with(without_fallback(), up_to(32), clock.clone());
    bench.lcore.add_queue_pair(up_to(64).queue_pair());
    let key = ed25519(1);
    let submit = |len| {
        let message = vec![7; len];
        let request = Request::ed25519(&key, &message).expect("short enough for some device");
        bench.lcore.submit(&request, Conn(1))
    };
    let error = submit(65).unwrap_err();
    let (kind, len, most) = (OpKind::Ed25519, 65, 64);
    assert_eq!(error, OffloadError::TooLong { kind, len, most });
    let said = error.to_string();
    assert!(
        said.contains("65 bytes") && said.contains("than 64; shorten"),
        "{said}"
    );
    // What fits one goes there, and nothing is lost.
    let fits = submit(64).expect("the second takes it");
    assert!(matches!(fits, Submitted::Accepted(_)));
    let enqueued = |index: usize| bench.lcore.stats().channels[index].counts.enqueued;
    assert_eq!((enqueued(0), enqueued(1)), (0, 1));
}

/// An op as an asynchronous Rust program has it.
struct Keygen {
    lcore: Lcore,
    private: [u8; 32],
    state: Option<Submitted>,
}

impl Future for Keygen {
    type Output = Result<[u8; 32], OffloadError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let private = self.private;
        let (request, waker) = (Request::x25519_keygen(&private), context.waker().clone());
        let submitted = match self.state.take() {
            None => self.lcore.submit(&request, waker)?,
            Some(Submitted::Refused(refusal)) => refusal.retry(&request, waker)?,
            Some(Submitted::Accepted(ticket)) => {
                let mut public = [0; 32];
                match ticket.take(&mut public) {
                    Ok(result) => return Poll::Ready(result.map(|()| public)),
                    Err(ticket) => Submitted::Accepted(ticket),
                }
            }
        };
        self.state = Some(submitted);
        Poll::Pending
    }
}

/// Set by its waker.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        let was = self.0.swap(true, Relaxed);
        assert!(!was, "woken twice");
    }
}

#[test]
fn an_asynchronous_program_awaits_its_ops_on_a_full_queue_pair() {
    const TASKS: u8 = 20;
    let bench = Bench::new(3);
    let done = Rc::new(RefCell::new(Vec::new()));
    let task = |seed: u8| {
        let (lcore, done) = (bench.lcore.clone(), Rc::clone(&done));
        async move {
            for round in 0..3 {
                let private = [seed, round].repeat(16).try_into().unwrap();
                let keygen = Keygen {
                    lcore: lcore.clone(),
                    private,
                    state: None,
                };
                assert_eq!(keygen.await, Ok(answer(&private)));
            }
            done.borrow_mut().push(seed);
        }
    };
    // The smallest executor there is: whoever was woken is polled.
    let mut tasks: VecDeque<_> = (0..TASKS)
        .map(|seed| (Box::pin(task(seed)), Arc::new(Woken(AtomicBool::new(true)))))
        .collect();
    let mut polls = 0;
    for _ in 0..1000 {
        bench.device.release(1);
        bench.poll();
        tasks.retain_mut(|(task, woken)| {
            if !woken.0.swap(false, Relaxed) {
                return true;
            }
            polls += 1;
            let waker = Waker::from(Arc::clone(woken));
            task.as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        });
    }
    assert!(tasks.is_empty() && done.borrow().len() == usize::from(TASKS));
    let counts = bench.lcore.stats().channels[0].counts;
    assert_eq!(counts.completed, 3 * u64::from(TASKS));
    assert!(counts.refused > 0 && bench.device.peak() == 3);
    assert_eq!(
        polls,
        u64::from(TASKS) + counts.enqueued + counts.refused,
        "one wake per attempt"
    );
}
