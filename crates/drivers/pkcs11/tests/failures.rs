//! What tokens do wrong, and what becomes of ops, sessions, threads and descriptors.

mod support;

use std::collections::VecDeque;
use std::time::Duration;
use std::{fs, thread};

use spinlane_driver_pkcs11::{Failure, Operation, Settings, TokenDevice, TokenOp};
use spinlane_pkcs11_shim::{Control, Counter, Knob};
use support::{
    PIN, descriptors, impatient, in_process, load, quick, remake, run, threads_and_descriptors,
    wait_for,
};

const DIGEST: &[u8] = &[5; 32];

#[test]
fn ten_thousand_lost_sessions_leave_nothing_behind() {
    in_process("ten_thousand_lost_sessions_leave_nothing_behind", |bench| {
        let device = bench.device(quick(4));
        let key = device.key(&bench.uri("p256"), None).unwrap();
        let mut queue = device.queue(64).unwrap();
        assert_eq!(load(&mut queue, &key, DIGEST, 100), (100, 0));
        let before = threads_and_descriptors();

        bench.control.set(Knob::LoseEvery, 2);
        let (mut good, mut bad) = (0, 0);
        while bench.control.count(Counter::Lost) < 10_000 {
            let (more, failed) = load(&mut queue, &key, DIGEST, 500);
            (good, bad) = (good + more, bad + failed);
        }
        bench.control.set(Knob::LoseEvery, 0);
        assert!(
            good > bad,
            "{good} good, {bad} bad: most are signed in another session"
        );
        assert_eq!(load(&mut queue, &key, DIGEST, 100), (100, 0));

        let counts = device.counts();
        assert_eq!(counts.sessions_lost, bench.control.count(Counter::Lost));
        let open = bench.control.count(Counter::Opened) - bench.control.count(Counter::Closed);
        assert!(open <= 4, "{open} sessions are open");
        assert_eq!(threads_and_descriptors(), before);
        assert_eq!(counts.threads_stuck, 0);
        assert_eq!(counts.pins_refused, 0);
    });
}

#[test]
fn a_token_that_fails_now_and_then_is_asked_again() {
    in_process("a_token_that_fails_now_and_then_is_asked_again", |bench| {
        let device = bench.device(quick(1));
        let key = device.key(&bench.uri("p256"), None).unwrap();
        let mut queue = device.queue(64).unwrap();
        bench.control.set(Knob::ErrorEvery, 3);
        // With one session no op meets two errors in a row.
        assert_eq!(load(&mut queue, &key, DIGEST, 200), (200, 0));
        assert!(device.counts().retries >= 50);
        bench.control.set(Knob::ErrorEvery, 1);
        let failed = run(&mut queue, &key, Operation::Private, DIGEST);
        let is_named =
            matches!(failed, Err(Failure::Module(value)) if format!("{value:?}") == "DeviceError");
        assert!(is_named, "{failed:?}");
    });
}

#[test]
fn a_token_that_is_pulled_out_and_put_back_serves_again() {
    in_process(
        "a_token_that_is_pulled_out_and_put_back_serves_again",
        |bench| {
            let device = bench.device(quick(4));
            let key = device.key(&bench.uri("p256"), None).unwrap();
            let mut queue = device.queue(64).unwrap();
            let logins = device.counts().logins;
            let before = threads_and_descriptors();
            for round in 1..=20 {
                bench.control.set(Knob::Absent, 1);
                let failed = run(&mut queue, &key, Operation::Private, DIGEST);
                assert_eq!(failed, Err(Failure::Token), "{round}");
                let (good, bad) = load(&mut queue, &key, DIGEST, 50);
                assert_eq!((good, bad), (0, 50), "nothing is computed elsewhere");
                bench.control.set(Knob::Absent, 0);
                wait_for("the token", || {
                    run(&mut queue, &key, Operation::Private, DIGEST).is_ok()
                });
                assert_eq!(load(&mut queue, &key, DIGEST, 50), (50, 0));
            }
            let counts = device.counts();
            assert_eq!(counts.token_away, 20, "once each, not for each op");
            assert_eq!(counts.logins, logins + 20, "the sessions share a login");
            assert_eq!(threads_and_descriptors(), before);
        },
    );
}

#[test]
fn a_module_that_has_lost_its_token_is_initialised_again() {
    in_process(
        "a_module_that_has_lost_its_token_is_initialised_again",
        |bench| {
            let settings = Settings {
                restart_module_after: std::time::Duration::from_millis(50),
                ..quick(4)
            };
            let device = bench.device(settings);
            let key = device.key(&bench.uri("p256"), None).unwrap();
            let mut queue = device.queue(64).unwrap();
            assert_eq!(load(&mut queue, &key, DIGEST, 50), (50, 0));
            bench.control.set(Knob::Deaf, 1);
            wait_for("the token", || {
                run(&mut queue, &key, Operation::Private, DIGEST).is_ok()
            });
            assert_eq!(load(&mut queue, &key, DIGEST, 50), (50, 0));
            assert_eq!(device.counts().module_restarts, 1);
            assert_eq!(bench.control.count(Counter::Initialised), 2);
        },
    );
}

#[test]
fn a_call_that_does_not_return_costs_its_op_alone() {
    in_process("a_call_that_does_not_return_costs_its_op_alone", |bench| {
        let device = bench.device(impatient(2));
        let key = device.key(&bench.uri("p256"), None).unwrap();
        let mut queue = device.queue(64).unwrap();
        assert_eq!(load(&mut queue, &key, DIGEST, 50), (50, 0));
        let before = threads_and_descriptors();

        bench.control.set(Knob::Hang, 1);
        assert_eq!(load(&mut queue, &key, DIGEST, 50), (49, 1));
        assert_eq!(device.counts().threads_stuck, 1);
        assert_eq!(
            threads_and_descriptors().0,
            before.0 + 1,
            "another took its place"
        );
        assert_eq!(load(&mut queue, &key, DIGEST, 50), (50, 0));

        bench.control.set(Knob::Release, 1);
        wait_for("the thread", || device.counts().threads_returned == 1);
        wait_for("its end", || threads_and_descriptors() == before);
        assert_eq!(load(&mut queue, &key, DIGEST, 50), (50, 0));
    });
}

#[test]
fn when_all_are_stuck_ops_fail_and_service_returns_with_them() {
    in_process(
        "when_all_are_stuck_ops_fail_and_service_returns_with_them",
        |bench| {
            let settings = Settings {
                stuck_threads: 1,
                ..impatient(2)
            };
            let device = bench.device(settings);
            let key = device.key(&bench.uri("p256"), None).unwrap();
            let mut queue = device.queue(64).unwrap();
            assert_eq!(load(&mut queue, &key, DIGEST, 50), (50, 0));
            let before = threads_and_descriptors();

            bench.control.set(Knob::Hang, 1000);
            assert_eq!(load(&mut queue, &key, DIGEST, 50), (0, 50));
            wait_for("the last thread", || device.counts().threads_stuck == 3);
            assert_eq!(
                threads_and_descriptors().0,
                before.0 + 1,
                "no more than may be"
            );
            // At once, without anybody to wait for.
            let failed = run(&mut queue, &key, Operation::Private, DIGEST);
            assert_eq!(failed, Err(Failure::Stuck));

            bench.control.set(Knob::Hang, 0);
            bench.control.set(Knob::Release, 1);
            wait_for("service", || {
                run(&mut queue, &key, Operation::Private, DIGEST).is_ok()
            });
            wait_for("both", || device.counts().threads_returned == 3);
            wait_for("as before", || threads_and_descriptors() == before);
            assert_eq!(load(&mut queue, &key, DIGEST, 50), (50, 0));
        },
    );
}

#[test]
fn a_wrong_pin_is_tried_once() {
    in_process("a_wrong_pin_is_tried_once", |bench| {
        let pin = bench.folder.join("pin");
        let device = bench.device(quick(4));
        let key = device.key(&bench.uri("p256"), None).unwrap();
        let mut queue = device.queue(64).unwrap();
        let again = |queue: &mut _| {
            // All sessions go, and the login with them.
            bench.control.set(Knob::Absent, 1);
            let failed = run(queue, &key, Operation::Private, DIGEST);
            assert_eq!(failed, Err(Failure::Token));
            bench.control.set(Knob::Absent, 0);
        };

        fs::write(&pin, "wrong\n").unwrap();
        again(&mut queue);
        let logins = bench.control.count(Counter::Logins);
        wait_for("the refusal", || {
            run(&mut queue, &key, Operation::Private, DIGEST) == Err(Failure::Pin)
        });
        for _ in 0..20 {
            let (good, _) = load(&mut queue, &key, DIGEST, 20);
            assert_eq!(good, 0);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert_eq!(bench.control.count(Counter::Logins), logins + 1);
        assert_eq!(device.counts().pins_refused, 1);

        // Somebody says that it may be tried: once again.
        device.retry_pin();
        wait_for("the refusal", || {
            run(&mut queue, &key, Operation::Private, DIGEST) == Err(Failure::Pin)
        });
        assert_eq!(bench.control.count(Counter::Logins), logins + 2);

        // It has been mended: no need to say so.
        fs::write(&pin, PIN).unwrap();
        wait_for("service", || {
            run(&mut queue, &key, Operation::Private, DIGEST).is_ok()
        });
        assert_eq!(bench.control.count(Counter::Logins), logins + 3);

        // At the start, too, it is tried once; and the last try is not taken.
        drop((queue, key, device));
        fs::write(&pin, "wrong\n").unwrap();
        let error = TokenDevice::open(&bench.uri("any"), quick(4))
            .err()
            .unwrap();
        assert!(error.to_string().contains("refuses the PIN"), "{error}");
        assert!(!error.to_string().contains("wrong\""), "{error}");
        assert_eq!(bench.control.count(Counter::Logins), logins + 4);
        const USER_PIN_FINAL_TRY: u64 = 0x0002_0000;
        const USER_PIN_LOCKED: u64 = 0x0004_0000;
        for (flag, reason) in [
            (USER_PIN_FINAL_TRY, "one try left"),
            (USER_PIN_LOCKED, "locked"),
        ] {
            bench.control.set(Knob::TokenFlags, flag);
            let error = TokenDevice::open(&bench.uri("any"), quick(4))
                .err()
                .unwrap();
            assert!(error.to_string().contains(reason), "{error}");
        }
        assert_eq!(bench.control.count(Counter::Logins), logins + 4);
    });
}

#[test]
fn what_waits_too_long_fails() {
    in_process("what_waits_too_long_fails", |bench| {
        let settings = Settings {
            stuck_after: std::time::Duration::from_secs(1000),
            close_within: std::time::Duration::ZERO,
            ..quick(1)
        };
        let wait_at_most = settings.wait_at_most.as_nanos() as u64;
        let device = bench.device(settings);
        let key = device.key(&bench.uri("p256"), None).unwrap();
        let mut queue = device.queue(64).unwrap();
        bench.control.set(Knob::Hang, 1);
        let (mut ops, mut done) = (VecDeque::new(), VecDeque::new());
        for token in 0..5 {
            let mut op = TokenOp::new();
            assert!(op.prepare(token, &key, Operation::Private, DIGEST));
            ops.push_back(op);
        }
        assert_eq!(queue.enqueue_burst(&mut ops, 100), 5);
        wait_for("the first", || bench.control.count(Counter::Hanging) == 1);
        assert_eq!(queue.dequeue_burst(&mut done, 64, 100 + wait_at_most), 0);
        // One is with the worker, one is next; three have waited.
        assert_eq!(queue.dequeue_burst(&mut done, 64, 101 + wait_at_most), 3);
        let ended: Vec<_> = done
            .drain(..)
            .map(|op| (op.token, op.result().err()))
            .collect();
        assert_eq!(ended, [2, 3, 4].map(|token| (token, Some(Failure::Waited))));

        // Closed meanwhile: what is next fails, what is begun ends as it ends.
        device.close();
        wait_for("the next", || queue.dequeue_burst(&mut done, 64, 0) == 1);
        assert_eq!(done[0].result(), Err(Failure::Stopped));
        let failed = run(&mut queue, &key, Operation::Private, DIGEST);
        assert_eq!(failed, Err(Failure::Stopped));
        done.clear();
        bench.control.set(Knob::Release, 1);
        wait_for("the first", || queue.dequeue_burst(&mut done, 64, 0) == 1);
        assert!(done[0].result().is_ok());
    });
}

#[test]
fn queues_share_the_sessions_fairly() {
    in_process("queues_share_the_sessions_fairly", |bench| {
        let device = bench.device(quick(2));
        let key = device.key(&bench.uri("p256"), None).unwrap();
        bench.control.set(Knob::LatencyUs, 2000);
        let mut queues = [device.queue(256).unwrap(), device.queue(256).unwrap()];
        let mut done = [VecDeque::new(), VecDeque::new()];
        for (queue, count) in queues.iter_mut().zip([200, 20]) {
            let mut ops = VecDeque::new();
            for token in 0..count {
                let mut op = TokenOp::new();
                assert!(op.prepare(token, &key, Operation::Private, DIGEST));
                ops.push_back(op);
            }
            assert_eq!(queue.enqueue_burst(&mut ops, 0), count as usize);
        }
        while done[1].len() < 20 {
            for (queue, done) in queues.iter_mut().zip(&mut done) {
                queue.dequeue_burst(done, 64, 0);
            }
        }
        // Turn and turn about: as many of the other's, and those that were on their way before.
        let others = done[0].len();
        assert!(others < 50, "{others} of the queue that came first");
        while done[0].len() < 200 {
            queues[0].dequeue_burst(&mut done[0], 64, 0);
        }
        let all = done.iter().flatten();
        assert!(all.map(|op| op.result()).all(|result| result.is_ok()));
    });
}

#[test]
fn a_queue_dropped_with_ops_in_flight_takes_nothing_along() {
    in_process(
        "a_queue_dropped_with_ops_in_flight_takes_nothing_along",
        |bench| {
            let device = bench.device(quick(2));
            let key = device.key(&bench.uri("p256"), None).unwrap();
            let mut stays = device.queue(64).unwrap();
            let before = threads_and_descriptors();
            for _ in 0..200 {
                let mut queue = device.queue(64).unwrap();
                let mut ops = VecDeque::new();
                for token in 0..8 {
                    let mut op = TokenOp::new();
                    assert!(op.prepare(token, &key, Operation::Private, DIGEST));
                    ops.push_back(op);
                }
                queue.enqueue_burst(&mut ops, 0);
                drop(queue);
                assert_eq!(load(&mut stays, &key, DIGEST, 2), (2, 0));
            }
            assert_eq!(threads_and_descriptors(), before);
            drop((stays, device));
            wait_for("the threads' end", || {
                threads_and_descriptors().0 == before.0 - 3 // two workers and the supervisor
            });
            assert_eq!(
                bench.control.count(Counter::Opened),
                bench.control.count(Counter::Closed)
            );
        },
    );
}

#[test]
fn a_forked_child_leaves_the_parents_token_alone_and_may_open_its_own() {
    in_process(
        "a_forked_child_leaves_the_parents_token_alone_and_may_open_its_own",
        |bench| {
            let device = bench.device(quick(2));
            let key = device.key(&bench.uri("p256"), None).unwrap();
            let mut queue = device.queue(64).unwrap();
            assert_eq!(load(&mut queue, &key, DIGEST, 20), (20, 0));
            // SAFETY: the child runs on what it has copied; glibc's allocator survives a fork, and the module's
            // threads hold no lock while they sleep.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    let operations = bench.control.count(Counter::Operations);
                    let failed = run(&mut queue, &key, Operation::Private, DIGEST);
                    assert_eq!(failed, Err(Failure::Forked));
                    assert_eq!(bench.control.count(Counter::Operations), operations);
                    drop((queue, key, device));
                    let own = bench.device(quick(2));
                    let key = own.key(&bench.uri("p256"), None).unwrap();
                    let mut queue = own.queue(8).unwrap();
                    assert_eq!(load(&mut queue, &key, DIGEST, 20), (20, 0));
                }));
                // SAFETY: ends the child without the parent's exit handlers.
                unsafe { libc::_exit(if code.is_ok() { 0 } else { 1 }) };
            }
            let mut status = 0;
            // SAFETY: `status` is valid for a write.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0, "the child's end");
            assert_eq!(load(&mut queue, &key, DIGEST, 20), (20, 0));
        },
    );
}

#[test]
fn sessions_that_serve_no_longer_are_closed_when_they_have_nothing_to_do() {
    in_process(
        "sessions_that_serve_no_longer_are_closed_when_they_have_nothing_to_do",
        |bench| {
            let open =
                || bench.control.count(Counter::Opened) - bench.control.count(Counter::Closed);
            let device = bench.device(quick(4));
            let key = device.key(&bench.uri("p256"), None).unwrap();
            let mut queue = device.queue(64).unwrap();
            bench.control.set(Knob::LatencyUs, 2000);
            assert_eq!(load(&mut queue, &key, DIGEST, 50), (50, 0));
            assert_eq!(open(), 4);
            assert!(!device.rest(true));
            wait_for("the end of the sessions", || open() == 0);
            // A handshake that has been under way still gets its signature.
            assert_eq!(load(&mut queue, &key, DIGEST, 50), (50, 0));
            wait_for("the end of the sessions", || open() == 0);
            assert!(device.rest(false));
            assert_eq!(load(&mut queue, &key, DIGEST, 50), (50, 0));
            assert_eq!(open(), 4, "they stay open again");
        },
    );
}

#[test]
fn a_token_made_anew_in_the_middle_of_load_serves_again() {
    in_process(
        "a_token_made_anew_in_the_middle_of_load_serves_again",
        |bench| {
            let settings = Settings {
                restart_module_after: Duration::from_millis(50),
                ..quick(4)
            };
            let device = bench.device(settings);
            let key = device.key(&bench.uri("p256"), None).unwrap();
            let mut queue = device.queue(64).unwrap();
            assert_eq!(load(&mut queue, &key, DIGEST, 50), (50, 0));
            let before = threads_and_descriptors();
            let (mut good, mut bad) = (0, 0);
            for round in 0..3 {
                bench.control.set(Knob::LatencyUs, 1000);
                let maker = {
                    let (folder, private) = (bench.folder.clone(), bench.private("p256"));
                    let control = Control::open(&folder.join("control")).unwrap();
                    thread::spawn(move || remake(&folder, &private, &control))
                };
                let (mut served, bad_before) = (0, bad);
                // Bounded by the time after which the test gives up.
                let start = std::time::Instant::now();
                while served < 50 {
                    assert!(
                        start.elapsed() < Duration::from_secs(60),
                        "{:?}",
                        device.counts()
                    );
                    // What was served before says nothing of the new token.
                    let is_new = maker.is_finished();
                    let (more, failed) = load(&mut queue, &key, DIGEST, 50);
                    (good, bad) = (good + more, bad + failed);
                    let serves = is_new && failed == 0;
                    served = if serves { served + more } else { 0 };
                    thread::sleep(Duration::from_millis(1));
                }
                maker.join().unwrap();
                assert!(bad > bad_before, "round {round}: the token was away");
            }
            let counts = device.counts();
            assert!(counts.module_restarts >= 3, "{counts:?}");
            assert_eq!((counts.pins_refused, counts.threads_stuck), (0, 0));
            assert_eq!(queue.in_flight(), 0, "{good} good, {bad} bad");
            assert_eq!(threads_and_descriptors(), before, "{:?}", descriptors());
        },
    );
}
