//! The connection's contract: pauses, refusals, closes at every step, buffers and their bounds.

mod support;

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use rustls::server::ProducesTickets;
use rustls::version::{TLS12, TLS13};
use spinlane_cryptodev::{OpKind, Request};
use spinlane_job::{Foreign, Notify, Status, pool_stats};
use spinlane_lcore::{Conn, Lcore};
use spinlane_rustls::{ChainTicketer, Connection, DEFAULT_MAX_INPUT, Error, Progress, TicketSeed};

use support::{CLIENT, Ends, SERVER, Wanted, carry, lcore, rustls};

thread_local! {
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

fn count(_: *const (), argument: *mut ()) {
    assert_eq!(argument.addr(), 0x5eed);
    CALLS.set(CALLS.get() + 1);
}

/// Who counts.
fn counter() -> Notify {
    let argument = std::ptr::without_provenance_mut(0x5eed);
    Foreign::new(count, std::ptr::null(), argument).into()
}

/// A server whose ClientHello has come.
fn greeted(lcore: &Lcore, wanted: &Wanted) -> Ends {
    let mut ends = wanted.ends(lcore);
    while ends.client.output_len() == 0 {
        ends.client.handshake().unwrap();
    }
    carry(&mut ends.client, &mut ends.server);
    ends
}

#[test]
fn every_pause_has_one_callback_and_a_status() {
    let lcore = lcore(64);
    let mut ends = greeted(&lcore, &Wanted::default());
    CALLS.set(0);
    ends.server.attach(&lcore, counter());
    let mut pauses = 0;
    while ends.server.handshake().unwrap() == Progress::Paused {
        assert!(ends.server.is_paused());
        assert_eq!(ends.server.async_status(), Status::OK);
        pauses += 1;
        while CALLS.get() < pauses {
            lcore.poll().unwrap();
        }
        assert_eq!(CALLS.get(), pauses);
    }
    // Key pair and secret, signature.
    assert_eq!(pauses, 2);
    assert!(!ends.server.is_paused() && ends.server.output_len() != 0);
}

#[test]
fn a_restart_before_the_op_is_done_polls_and_goes_on() {
    let lcore = lcore(64);
    let mut ends = greeted(&lcore, &Wanted::default());
    let mut calls = 0;
    while matches!(ends.server.handshake().unwrap(), Progress::Paused) {
        calls += 1;
        assert!(calls < 1000);
    }
    assert!(ends.server.output_len() != 0);
}

#[test]
fn a_refused_connection_gets_its_turn() {
    let lcore = lcore(1);
    let mut ends: Vec<Ends> = (0..5)
        .map(|_| greeted(&lcore, &Wanted::default()))
        .collect();
    for (index, ends) in ends.iter_mut().enumerate() {
        ends.server.attach(&lcore, Conn(100 + index as u64));
    }
    let mut refused = 0;
    for ends in &mut ends {
        match ends.server.handshake().unwrap() {
            Progress::Refused => {
                assert_eq!(ends.server.async_status(), Status::EAGAIN);
                refused += 1;
            }
            other => assert_eq!(other, Progress::Paused),
        }
    }
    assert_eq!(refused, 4);
    let mut waiting = 5;
    for _ in 0..10_000 {
        lcore.poll().unwrap();
        while let Some(Conn(name)) = lcore.next_ready() {
            // The clients have been ready for long.
            let Some(index) = name.checked_sub(100) else {
                continue;
            };
            let progress = ends[index as usize].server.handshake().unwrap();
            waiting -= usize::from(progress == Progress::WantInput);
        }
        if waiting == 0 {
            break;
        }
    }
    assert_eq!(waiting, 0);
    assert_eq!(lcore.stats().channels[0].retry_queue, 0);
}

#[test]
fn a_connection_may_be_dropped_at_every_step() {
    let lcore = lcore(64);
    for version in [&TLS12, &TLS13] {
        for key in ["rsa2048", "p256"] {
            let wanted = Wanted {
                key,
                version,
                client_key: Some("p256"),
                ..Wanted::default()
            };
            // Step by step, one more each time, until the handshake is through.
            for steps in 0..1000 {
                let mut ends = wanted.ends(&lcore);
                for end in [&mut ends.client, &mut ends.server] {
                    end.attach(&lcore, counter());
                }
                let mut done = 0;
                'run: for _ in 0..10_000 {
                    for conn in [CLIENT, SERVER] {
                        if done == steps
                            || (ends.client.is_established() && ends.server.is_established())
                        {
                            break 'run;
                        }
                        let end = if conn == CLIENT {
                            &mut ends.client
                        } else {
                            &mut ends.server
                        };
                        end.handshake().unwrap();
                        done += 1;
                        ends.carry();
                    }
                }
                let through = done < steps;
                let Ends { client, server } = ends;
                let (first, second) = match steps % 2 {
                    0 => (server, client),
                    _ => (client, server),
                };
                drop(first);
                lcore.poll().unwrap();
                drop(second);
                let calls = CALLS.get();
                while lcore.in_flight() != 0 {
                    lcore.poll().unwrap();
                }
                // Results that nobody reads are swept up, some slots per poll.
                for _ in 0..8 {
                    lcore.poll().unwrap();
                }
                assert_eq!(CALLS.get(), calls, "nobody is called after a drop");
                assert_eq!(pool_stats().stacks_in_use, 0);
                let stats = &lcore.stats().channels[0];
                assert_eq!(stats.free_slots, stats.capacity);
                if through {
                    assert!(steps > 8, "{steps} steps");
                    break;
                }
            }
        }
    }
}

#[test]
fn input_that_comes_while_paused_is_queued_up_to_the_bound() {
    let lcore = lcore(64);
    let mut ends = greeted(&lcore, &Wanted::default());
    assert_eq!(ends.server.handshake().unwrap(), Progress::Paused);
    assert_eq!(ends.server.push_input(&[0; 100]), 100);
    assert_eq!(ends.server.input_len(), 100);
    ends.server.set_max_input(0);
    let room = 20 * 1024 - 100;
    assert!(ends.server.has_input_room());
    assert_eq!(ends.server.push_input(&vec![0; 1 << 20]), room);
    assert!(!ends.server.has_input_room());
    // It was no TLS: the handshake goes on, to its end.
    let mut failed = false;
    for _ in 0..1000 {
        failed = ends.server.handshake().is_err();
        if failed {
            break;
        }
        lcore.poll().unwrap();
    }
    assert!(failed);
    assert!(ends.server.output_len() != 0, "an alert");
}

#[test]
fn one_byte_at_a_time_does_in_every_version() {
    let lcore = lcore(64);
    for version in [&TLS12, &TLS13] {
        let wanted = Wanted {
            version,
            client_key: Some("rsa2048"),
            ..Wanted::default()
        };
        let mut ends = wanted.ends(&lcore);
        let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
        for _ in 0..1_000_000 {
            if ends.client.is_established() && ends.server.is_established() && to_client.is_empty()
            {
                break;
            }
            for (from, bytes) in [
                (&mut ends.client, &mut to_server),
                (&mut ends.server, &mut to_client),
            ] {
                let taken = from.write_output(|output| {
                    bytes.extend_from_slice(output);
                    Ok(output.len())
                });
                taken.unwrap();
            }
            for (to, bytes) in [
                (&mut ends.client, &mut to_client),
                (&mut ends.server, &mut to_server),
            ] {
                if !bytes.is_empty() && to.push_input(&bytes[..1]) == 1 {
                    bytes.remove(0);
                }
                if !to.is_established() {
                    to.handshake().unwrap();
                }
            }
            lcore.poll().unwrap();
        }
        ends.carry();
        ends.exchange(b"text");
    }
}

#[test]
fn text_of_all_lengths_goes_both_ways() {
    let lcore = lcore(64);
    for version in [&TLS12, &TLS13] {
        let mut ends = Wanted {
            version,
            ..Wanted::default()
        }
        .ends(&lcore);
        ends.establish(&lcore).unwrap();
        for len in [1, 2, 1000, 16_383, 16_384, 16_385, 100_000] {
            let text: Vec<u8> = (0..len).map(|index: usize| index as u8).collect();
            ends.exchange(&text);
        }
        // Into the caller's memory, which may be short.
        let mut to = vec![0; 2000];
        let mut sent = Vec::new();
        let text: Vec<u8> = (0..5000).map(|index: usize| index as u8).collect();
        while sent.len() < text.len() {
            let (progress, filled) = ends
                .server
                .write_into(&text[sent.len()..], &mut to)
                .unwrap();
            let Progress::Done(count) = progress else {
                panic!("{progress:?}")
            };
            assert_eq!(ends.client.push_input(&to[..filled]), filled);
            let mut part = [0; 4000];
            assert_eq!(ends.client.read(&mut part).unwrap(), Progress::Done(count));
            sent.extend_from_slice(&part[..count]);
        }
        assert_eq!(sent, text);
        let (progress, filled) = ends.server.write_into(b"x", &mut [0; 10]).unwrap();
        assert_eq!((progress, filled), (Progress::WantOutput, 0));
    }
}

#[test]
fn a_full_output_takes_no_more_until_it_has_left() {
    let lcore = lcore(64);
    let mut ends = Wanted::default().ends(&lcore);
    ends.establish(&lcore).unwrap();
    let text = [7; 16 * 1024];
    assert_eq!(
        ends.server.write(&text).unwrap(),
        Progress::Done(text.len())
    );
    assert_eq!(ends.server.write(&text).unwrap(), Progress::WantOutput);
    let (progress, _) = ends.server.write_into(&text, &mut vec![0; 20_000]).unwrap();
    assert_eq!(
        progress,
        Progress::WantOutput,
        "what came first leaves first"
    );
    carry(&mut ends.server, &mut ends.client);
    assert_eq!(
        ends.server.write(&text).unwrap(),
        Progress::Done(text.len())
    );
}

#[test]
fn closing_is_seen_on_the_other_side() {
    let lcore = lcore(64);
    for version in [&TLS12, &TLS13] {
        let mut ends = Wanted {
            version,
            ..Wanted::default()
        }
        .ends(&lcore);
        ends.server.shutdown();
        assert_eq!(ends.server.output_len(), 0, "not before the handshake");
        ends.establish(&lcore).unwrap();
        ends.client.write(b"last words").unwrap();
        ends.client.shutdown();
        ends.carry();
        let mut text = [0; 100];
        assert_eq!(ends.server.read(&mut text).unwrap(), Progress::Done(10));
        assert_eq!(ends.server.read(&mut text).unwrap(), Progress::Closed);
        assert_eq!(ends.server.read(&mut text).unwrap(), Progress::Closed);
        ends.server.write(b"answer").unwrap();
        ends.server.shutdown();
        ends.carry();
        assert_eq!(ends.client.read(&mut text).unwrap(), Progress::Done(6));
        assert_eq!(ends.client.read(&mut text).unwrap(), Progress::Closed);
    }
}

#[test]
fn sessions_are_resumed_by_tickets_of_another_core() {
    let lcore = lcore(64);
    let seed = TicketSeed::new(std::time::Duration::from_secs(3600));
    for version in [&TLS12, &TLS13] {
        let wanted = Wanted {
            version,
            ..Wanted::default()
        };
        let client = Arc::new(wanted.client());
        for round in 0..3 {
            let mut server = wanted.server();
            server.ticketer = seed.ticketer(|_| [0; 32]);
            server.send_tls13_tickets = 2;
            let mut ends = Ends::new(&lcore, Arc::new(server), Arc::clone(&client));
            ends.establish(&lcore).unwrap();
            ends.exchange(b"text");
            assert_eq!(ends.server.session_reused(), round != 0, "{version:?}");
            assert_eq!(ends.client.session_reused(), round != 0, "{version:?}");
        }
    }
}

/// Says how long each ticket is good for when it is made, in seconds.
#[derive(Debug)]
struct Observed {
    inner: Arc<ChainTicketer>,
    lifetimes: Mutex<Vec<u32>>,
}

impl ProducesTickets for Observed {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.inner.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let ticket = self.inner.encrypt(plain)?;
        self.lifetimes.lock().unwrap().push(self.inner.lifetime());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.inner.decrypt(ticket)
    }
}

/// The ticket that a resumed handshake makes has the end of the one that it opened, whatever other handshakes
/// do between the two on the same thread.
#[test]
fn a_renewed_ticket_ends_with_its_session_though_other_handshakes_come_between() {
    let lcore = lcore(64);
    let seed = TicketSeed::new(std::time::Duration::from_secs(3600));
    for version in [&TLS12, &TLS13] {
        let wanted = Wanted {
            version,
            ..Wanted::default()
        };
        let ticketer = Arc::new(Observed {
            inner: seed.ticketer(|_| [0; 32]),
            lifetimes: Mutex::default(),
        });
        let mut server = wanted.server();
        server.ticketer = Arc::<Observed>::clone(&ticketer);
        server.send_tls13_tickets = 1;
        let (server, client) = (Arc::new(server), Arc::new(wanted.client()));
        let run = |ends: &mut Ends| {
            ends.establish(&lcore).unwrap();
            ends.exchange(b"text");
            let made = std::mem::take(&mut *ticketer.lifetimes.lock().unwrap());
            (ends.server.session_reused(), made)
        };
        let ends = || Ends::new(&lcore, Arc::clone(&server), Arc::clone(&client));
        assert_eq!(run(&mut ends()), (false, vec![3600]));
        std::thread::sleep(std::time::Duration::from_millis(1100));

        let mut resumed = ends();
        while resumed.client.output_len() == 0 {
            resumed.client.handshake().unwrap();
        }
        carry(&mut resumed.client, &mut resumed.server);
        // In TLS 1.3 it has opened its ticket, and waits for its key exchange.
        let waits = resumed.server.handshake().unwrap() == Progress::Paused;
        assert_eq!(waits, version == &TLS13);
        let made = std::mem::take(&mut *ticketer.lifetimes.lock().unwrap());

        let stranger = Arc::new(wanted.client());
        let mut other = Ends::new(&lcore, Arc::clone(&server), stranger);
        assert_eq!(run(&mut other), (false, vec![3600]), "{version:?}");

        let _ = resumed.server.handshake().unwrap();
        let (reused, made_later) = run(&mut resumed);
        assert!(reused, "{version:?}");
        let made = [made, made_later].concat();
        assert!(matches!(*made, [3000..3600]), "{version:?}: {made:?}");
    }
}

#[test]
fn garbage_and_truncation_are_errors_with_an_alert() {
    let lcore = lcore(64);
    let hello = |version| {
        let mut client = Wanted {
            version,
            ..Wanted::default()
        }
        .ends(&lcore)
        .client;
        let mut bytes = Vec::new();
        while bytes.is_empty() {
            client.handshake().unwrap();
            let taken = client.write_output(|output| {
                bytes.extend_from_slice(output);
                Ok(output.len())
            });
            taken.unwrap();
        }
        bytes
    };
    let config = Arc::new(Wanted::default().server());
    let run = |bytes: &[u8]| {
        let mut server = Connection::server(Arc::clone(&config)).unwrap();
        server.push_input(bytes);
        loop {
            match server.handshake() {
                Ok(Progress::Paused) => {
                    lcore.poll().unwrap();
                }
                Ok(progress) => return (Ok(progress), server.output_len()),
                Err(error) => {
                    assert_eq!(server.handshake(), Err(error.clone()), "it stays so");
                    return (Err(error), server.output_len());
                }
            }
        }
    };
    let good = hello(&TLS13);
    for len in 0..good.len() {
        assert_eq!(
            run(&good[..len]),
            (Ok(Progress::WantInput), 0),
            "{len} bytes"
        );
    }
    // Whatever byte is wrong: an alert, or a handshake that the peer will not follow.
    let mut failures = 0;
    for index in 0..good.len() {
        let mut bad = good.clone();
        bad[index] ^= 0xff;
        let (result, output) = run(&bad);
        failures += usize::from(result.is_err());
        assert!(
            result == Ok(Progress::WantInput) || output != 0,
            "byte {index}: {result:?}"
        );
    }
    assert!(failures > 20, "{failures} of {}", good.len());
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 50],
        &[0xff; 50],
        &[22, 3, 1, 0xff, 0xff, 1],
    ] {
        let (result, output) = run(garbage);
        assert!(result.is_err() && output != 0, "{garbage:?}: {result:?}");
    }
    let (result, _) = run(&hello(&TLS12));
    assert!(
        matches!(result, Err(Error::Tls(rustls::Error::PeerIncompatible(_)))),
        "{result:?}"
    );
}

#[test]
fn a_hello_that_never_ends_is_bounded() {
    let config = Arc::new(Wanted::default().server());
    for limit in [20 * 1024, DEFAULT_MAX_INPUT] {
        let mut server = Connection::server(Arc::clone(&config)).unwrap();
        server.set_max_input(limit);
        // A handshake message of 65 000 bytes in records of a hundred.
        let mut record = vec![22, 3, 1, 0, 100, 1, 0, 0xfd, 0xe8];
        record.resize(105, 0);
        let mut sent = 0;
        let error = loop {
            let pushed = server.push_input(&record);
            sent += pushed;
            match server.handshake() {
                Ok(progress) => assert_eq!(progress, Progress::WantInput),
                Err(error) => break error,
            }
            record[5..].fill(0);
        };
        assert_eq!(error, Error::InputTooLong { limit });
        assert_eq!(sent, limit);
    }
}

#[test]
fn a_bound_that_is_set_while_paused_counts() {
    let lcore = lcore(64);
    let wanted = Wanted {
        version: &TLS12,
        ..Wanted::default()
    };
    let mut server = greeted(&lcore, &wanted).server;
    assert_eq!(server.handshake().unwrap(), Progress::Paused);
    server.set_max_input(0);
    // A key exchange message of 60 000 bytes in records of a hundred.
    let mut record = vec![22, 3, 3, 0, 100, 16, 0, 0xea, 0x60];
    record.resize(105, 0);
    while server.push_input(&record) == record.len() {
        record[5..].fill(0);
    }
    let error = loop {
        lcore.poll().unwrap();
        match server.handshake() {
            Ok(progress) => assert_eq!(progress, Progress::Paused),
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::InputTooLong { limit: 20 * 1024 });
}

#[test]
fn a_record_longer_than_tls_allows_is_refused() {
    let lcore = lcore(64);
    let mut ends = Wanted::default().ends(&lcore);
    ends.establish(&lcore).unwrap();
    ends.server.push_input(&[23, 3, 3, 0x50, 0]);
    let error = ends.server.read(&mut [0; 10]).unwrap_err();
    assert!(matches!(error, Error::Tls(_)), "{error:?}");
    carry(&mut ends.server, &mut ends.client);
    let error = ends.client.read(&mut [0; 10]).unwrap_err();
    assert!(error.to_string().contains("alert"), "{error}");
}

#[test]
fn a_record_that_was_tampered_with_is_refused() {
    let lcore = lcore(64);
    for version in [&TLS12, &TLS13] {
        let mut ends = Wanted {
            version,
            ..Wanted::default()
        }
        .ends(&lcore);
        ends.establish(&lcore).unwrap();
        let mut to = [0; 200];
        let (_, filled) = ends.client.write_into(b"text", &mut to).unwrap();
        to[filled - 1] ^= 1;
        ends.server.push_input(&to[..filled]);
        assert_eq!(
            ends.server.read(&mut [0; 10]),
            Err(Error::Tls(rustls::Error::DecryptError))
        );
        assert!(ends.server.output_len() != 0, "an alert");
    }
}

#[test]
fn without_jobs_a_handshake_waits() {
    let lcore = lcore(64);
    spinlane_job::init_thread(1, 1).unwrap();
    let (mut one, mut two) = (greeted_without_jobs(&lcore), greeted_without_jobs(&lcore));
    assert_eq!(one.handshake().unwrap(), Progress::Paused);
    assert_eq!(two.handshake().unwrap(), Progress::NoJobs);
    drop(one);
    assert_eq!(two.handshake().unwrap(), Progress::Paused);
    drop(two);
    while lcore.in_flight() != 0 {
        lcore.poll().unwrap();
    }
    spinlane_job::cleanup_thread();
}

fn greeted_without_jobs(lcore: &Lcore) -> Connection {
    greeted(lcore, &Wanted::default()).server
}

#[test]
fn a_connection_called_from_a_job_says_so() {
    let lcore = lcore(64);
    let config = Arc::new(Wanted::default().server());
    let job = spinlane_job::start(None, move || {
        let mut server = Connection::server(config).unwrap();
        assert_eq!(server.handshake(), Err(Error::Nested));
        0
    });
    assert!(job.is_ok());
    // The device is none the worse for it.
    let mut output = [0; 32];
    let request = Request::x25519_keygen(&[7; 32]);
    spinlane_lcore::offload(&request, &mut output).unwrap();
    assert_eq!(request.kind(), OpKind::X25519Keygen);
    assert_eq!(lcore.in_flight(), 0);
}
