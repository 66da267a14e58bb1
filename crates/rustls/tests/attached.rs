//! What an lcore that a connection is attached to means, and what it means to be attached to none.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Wake, Waker};

use spinlane_lcore::{Conn, Lcore, ops_without_lcore};
use spinlane_rustls::Progress;
use support::{CLIENT, Ends, SERVER, Wanted, lcore};

/// Both handshakes to their end, without a poll.
fn on_the_spot(ends: &mut Ends) {
    for _ in 0..10 {
        for end in [&mut ends.client, &mut ends.server] {
            let progress = end.handshake().unwrap();
            let is_on_the_spot = matches!(progress, Progress::Done(0) | Progress::WantInput);
            assert!(is_on_the_spot, "{progress:?}");
        }
        ends.carry();
    }
    assert!(ends.client.is_established() && ends.server.is_established());
}

#[test]
fn a_call_runs_under_the_lcore_it_is_attached_to_whatever_is_current() {
    let (ours, other) = (lcore(64), lcore(64));
    assert!(Lcore::current().is_none());
    let mut ends = Wanted::default().ends(&ours);
    assert!(ends.client.is_offloaded() && ends.server.is_offloaded());
    let entered = other.enter();
    ends.establish(&ours).unwrap();
    ends.exchange(b"text");
    assert!(ends.server.is_offloaded(), "established, too");
    let completed = |lcore: &Lcore| lcore.stats().channels[0].counts.completed;
    // Both sides' key exchanges in two ops and one, and a signature.
    assert_eq!((completed(&ours), completed(&other)), (4, 0));
    let current = Lcore::current().unwrap();
    current.make_ready(Conn(7));
    other.poll().unwrap();
    assert_eq!(other.next_ready(), Some(Conn(7)), "it is current again");
    drop(entered);
    assert!(Lcore::current().is_none());
}

#[test]
fn two_lcores_of_one_thread_serve_the_two_ends() {
    let (clients, servers) = (lcore(64), lcore(64));
    let mut ends = Wanted::default().unattached();
    ends.client.attach(&clients, CLIENT);
    ends.server.attach(&servers, SERVER);
    for _ in 0..10_000 {
        ends.carry();
        for end in [&mut ends.client, &mut ends.server] {
            if !end.is_paused() && !end.is_established() {
                end.handshake().unwrap();
            }
        }
        for (lcore, name, end) in [
            (&clients, CLIENT, &mut ends.client),
            (&servers, SERVER, &mut ends.server),
        ] {
            lcore.poll().unwrap();
            while let Some(conn) = lcore.next_ready() {
                assert_eq!(conn, name, "each by its own lcore");
                end.handshake().unwrap();
            }
        }
    }
    ends.exchange(b"text");
    let ops = [&clients, &servers].map(|lcore| lcore.stats().channels[0].counts.completed);
    assert_eq!(ops, [2, 2]);
}

#[test]
fn attached_to_none_it_computes_in_place_and_says_so_and_is_counted() {
    let mut ends = Wanted::default().unattached();
    assert!(!ends.client.is_offloaded() && !ends.server.is_offloaded());
    let before = ops_without_lcore();
    on_the_spot(&mut ends);
    assert_eq!(ops_without_lcore() - before, 4);
    // An lcore that happens to be current is not meant.
    let lcore = lcore(64);
    let _entered = lcore.enter();
    let mut ends = Wanted::default().unattached();
    on_the_spot(&mut ends);
    assert!(!ends.server.is_offloaded());
    let stats = lcore.stats();
    assert_eq!(
        (stats.inline_ops, stats.channels[0].counts.enqueued),
        (4, 0)
    );
    assert_eq!(ops_without_lcore() - before, 4);
}

#[test]
fn an_lcore_without_a_device_offloads_nothing_and_says_so() {
    let lcore = Lcore::new(spinlane_lcore::Config::default());
    let mut ends = Wanted::default().ends(&lcore);
    assert!(!ends.client.is_offloaded());
    on_the_spot(&mut ends);
    assert_eq!(lcore.stats().unrouted_ops, 4);
}

#[test]
fn a_task_is_woken_when_its_connection_can_go_on() {
    #[derive(Default)]
    struct Task(AtomicUsize);
    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    // One slot, so that some attempts are refused.
    let lcore = lcore(1);
    let mut ends = Wanted::default().unattached();
    let tasks = [Arc::new(Task::default()), Arc::new(Task::default())];
    ends.client
        .attach(&lcore, Waker::from(Arc::clone(&tasks[0])));
    ends.server
        .attach(&lcore, Waker::from(Arc::clone(&tasks[1])));
    let mut seen = [0; 2];
    let mut pauses = [0; 2];
    for _ in 0..10_000 {
        ends.carry();
        let both = [&mut ends.client, &mut ends.server];
        for (index, end) in both.into_iter().enumerate() {
            let woken = tasks[index].0.load(Relaxed);
            if end.is_established() || (end.is_paused() && woken == seen[index]) {
                continue;
            }
            seen[index] = woken;
            let progress = end.handshake().unwrap();
            pauses[index] += usize::from(matches!(progress, Progress::Paused | Progress::Refused));
        }
        lcore.poll().unwrap();
    }
    ends.exchange(b"text");
    assert_eq!(
        tasks.map(|task| task.0.load(Relaxed)),
        pauses,
        "one wake per pause"
    );
    assert_eq!(pauses.iter().sum::<usize>() as u64, {
        let counts = lcore.stats().channels[0].counts;
        counts.enqueued + counts.refused
    });
    assert_eq!(lcore.next_ready(), None);
}
