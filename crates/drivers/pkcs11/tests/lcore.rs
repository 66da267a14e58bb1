//! A token under a poll core: behind `sim`, and killed, restarted and made anew under load. What ends is counted, nothing is
//! lost, and software computes nothing.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use spinlane_cryptodev::{Device, KeyHandle, OpKind, QueuePairConfig, Request};
use spinlane_driver_pkcs11::Settings;
use spinlane_driver_sim::{SimConfig, SimDevice};
use spinlane_lcore::{Clock, Config, Conn, Lcore, OffloadError, OpCounts, Submitted, Ticket};
use spinlane_pkcs11_shim::{Counter, Knob};
use support::{Bench, descriptors, in_process, quick, remake, threads_and_descriptors, wait_for};

const DIGEST: [u8; 32] = [5; 32];
const MS: u64 = 1_000_000;

/// Time as the test sets it.
#[derive(Clone, Default)]
struct VirtualClock(Rc<Cell<u64>>);

impl Clock for VirtualClock {
    fn now_ns(&self) -> u64 {
        self.0.get()
    }
}

/// An lcore with one queue pair of `device`, and what is in flight on it.
struct Load {
    lcore: Lcore,
    key: Arc<KeyHandle>,
    tickets: Vec<Ticket>,
    right: u64,
    failed: u64,
}

impl Load {
    fn new(lcore: Lcore, device: &dyn Device, bench: &Bench) -> Self {
        let config = QueuePairConfig {
            capacity: 64,
            ..QueuePairConfig::default()
        };
        lcore.add_queue_pair(device.queue_pair(config).unwrap());
        let key = device.own_key(&bench.uri("p256").to_string(), None);
        Self {
            lcore,
            key: key.unwrap(),
            tickets: Vec::new(),
            right: 0,
            failed: 0,
        }
    }

    /// Submits signatures until the queue pair is full; returns how many it took.
    fn fill(&mut self) -> usize {
        let before = self.tickets.len();
        let request = Request::ecdsa_p256(&self.key, &DIGEST).unwrap();
        while let Submitted::Accepted(ticket) = self.lcore.submit(&request, Conn(1)).unwrap() {
            self.tickets.push(ticket);
        }
        self.tickets.len() - before
    }

    /// Polls, and takes what has ended; returns how many ops that were. Whatever the token does, the counters add up.
    fn turn(&mut self) -> usize {
        self.lcore.poll().unwrap();
        let public = self.key.as_remote().unwrap();
        let (right, failed) = (&mut self.right, &mut self.failed);
        let before = self.tickets.len();
        self.tickets = std::mem::take(&mut self.tickets)
            .into_iter()
            .filter_map(|ticket| {
                let mut signature = [0; 64];
                match ticket.take(&mut signature) {
                    Ok(Ok(())) => {
                        assert!(public.verify(&DIGEST, &signature));
                        *right += 1;
                    }
                    Ok(Err(error)) => {
                        // Invalid: a wrong status, as `sim` gives it.
                        let expected = [OffloadError::Device, OffloadError::Invalid];
                        assert!(expected.contains(&error), "{error}");
                        *failed += 1;
                    }
                    Err(ticket) => return Some(ticket),
                }
                None
            })
            .collect();
        let (counts, in_flight) = self.counts();
        let ended = counts.completed + counts.fallback + counts.cancelled;
        assert_eq!(counts.enqueued, ended + in_flight, "{counts:?}");
        assert_eq!(counts.fallback, 0, "software has no key: {counts:?}");
        before - self.tickets.len()
    }

    fn counts(&self) -> (OpCounts, u64) {
        let channel = &self.lcore.stats().channels[0];
        (channel.counts, channel.in_flight as u64)
    }

    /// Keeps the queue pair full until `is_so`.
    fn run_until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        wait_for(what, || {
            self.fill();
            self.turn();
            is_so(self)
        });
    }

    /// Lets all end that is in flight.
    fn drain(&mut self) {
        wait_for("the last op", || {
            self.turn();
            self.tickets.is_empty()
        });
        let (counts, in_flight) = self.counts();
        assert_eq!((in_flight, counts.cancelled), (0, 0));
        assert_eq!(counts.completed, self.right + self.failed, "{counts:?}");
        assert_eq!(counts.failed, self.failed, "{counts:?}");
    }
}

fn simulated(bench: &Bench, settings: Settings, faults: &str) -> SimDevice {
    let faults: SimConfig = faults.parse().unwrap();
    SimDevice::new(Box::new(bench.device(settings)), faults)
}

#[test]
fn a_device_in_front_of_the_token_adds_its_time_alone() {
    in_process(
        "a_device_in_front_of_the_token_adds_its_time_alone",
        |bench| {
            let device = simulated(bench, quick(4), "7,latency=constant:5ms");
            let clock = VirtualClock::default();
            let lcore = Lcore::with_clock(Config::default(), Box::new(clock.clone()));
            let mut load = Load::new(lcore, &device, bench);
            let before = bench.control.count(Counter::Succeeded);
            assert_eq!(load.fill(), 64);
            // The token signs them all, and no time passes.
            wait_for("the token", || {
                assert_eq!(load.turn(), 0);
                bench.control.count(Counter::Succeeded) - before == 64
            });
            clock.0.set(5 * MS - 1);
            assert_eq!(load.turn(), 0);
            // Those that the poll core heard of at the last turn are the last.
            clock.0.set(10 * MS);
            wait_for("the last op", || {
                clock.0.set(clock.0.get() + MS);
                load.turn();
                load.tickets.is_empty()
            });
            load.drain();
            assert_eq!((load.right, load.failed), (64, 0));
            let stats = load.lcore.stats();
            assert_eq!(stats.channels[0].device, "sim:pkcs11");
        },
    );
}

#[test]
fn what_the_device_in_front_of_the_token_does_wrong_is_an_error_and_counted() {
    in_process(
        "what_the_device_in_front_of_the_token_does_wrong_is_an_error_and_counted",
        |bench| {
            // What is lost ends soon: the deadline follows from these two.
            let settings = Settings {
                wait_at_most: Duration::from_millis(200),
                stuck_after: Duration::from_millis(300),
                ..quick(4)
            };
            let faults = "7,latency=constant:5ms,lose=0.02,dup=0.05,wrong-status=0.05,reorder=0.2,refuse=0.05";
            let device = simulated(bench, settings, faults);
            let mut load = Load::new(Lcore::new(Config::default()), &device, bench);
            load.run_until("signatures", |load| load.right >= 1000);
            load.drain();
            let (counts, _) = load.counts();
            assert!(counts.timed_out > 0, "{counts:?}");
            assert!(load.failed > counts.timed_out, "{counts:?}");
        },
    );
}

#[test]
fn a_token_killed_restarted_and_made_anew_under_load_loses_no_op() {
    in_process(
        "a_token_killed_restarted_and_made_anew_under_load_loses_no_op",
        |bench| {
            let settings = Settings {
                restart_module_after: Duration::from_millis(50),
                ..quick(4)
            };
            let device = bench.device(settings);
            let mut load = Load::new(Lcore::new(Config::default()), &device, bench);
            load.run_until("service", |load| load.right >= 200);
            let before = threads_and_descriptors();
            for round in 0..3 {
                let failed = load.failed;
                bench.control.set(Knob::Absent, 1);
                load.run_until("its absence", |load| load.failed >= failed + 100);
                bench.control.set(Knob::Absent, 0);
                let right = load.right;
                load.run_until("its return", |load| load.right >= right + 200);

                // Its sessions go one by one: each op is run once more in another.
                bench.control.set(Knob::LoseEvery, 3);
                let right = load.right;
                load.run_until("signatures", |load| load.right >= right + 200);
                bench.control.set(Knob::LoseEvery, 0);

                let (failed, restarts) = (load.failed, device.counts().module_restarts);
                remake(&bench.folder, &bench.private("p256"), &bench.control);
                load.run_until("its restart", |load| {
                    load.failed > failed && device.counts().module_restarts > restarts
                });
                let right = load.right;
                load.run_until("its return", |load| load.right >= right + 200);
                assert!(load.failed >= 100 * (round + 1));
            }
            load.drain();
            assert_eq!(threads_and_descriptors(), before, "{:?}", descriptors());
            let counts = device.counts();
            assert_eq!((counts.pins_refused, counts.threads_stuck), (0, 0));
            // Each kind by itself.
            let stats = load.lcore.stats();
            let kinds = &stats.channels[0].kinds;
            assert!(kinds.iter().any(|of| of.kind == OpKind::EcdsaP256));
            for of in kinds {
                assert_eq!(of.counts.enqueued, of.counts.completed, "{:?}", of.kind);
            }
        },
    );
}
