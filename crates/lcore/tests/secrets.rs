//! What a job that offloads leaves on its stack.

mod support;

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;

use spinlane_cryptodev::{Device, QueuePairConfig, Request};
use spinlane_driver_soft::SoftDevice;
use spinlane_job::{self as job, Conn, Job, Progress, WaitCtx};
use spinlane_lcore::{Config, Lcore, offload};

use support::TestClock;

const SECOND_NS: u64 = 1_000_000_000;

/// A private key, and what hides it from the search in all places but the job's stack.
const HIDDEN: [u8; 32] = *b"thirty-two bytes, none as it is!";
const MASK: u8 = 0x5a;

#[inline(never)]
fn keygen() -> [u8; 32] {
    let mut private = [black_box(HIDDEN).map(|byte| byte ^ MASK); 64];
    let mut public = [0; 32];
    let _ = offload(&Request::x25519_keygen(&private[0]), &mut public);
    black_box(&mut private);
    public
}

/// Starts a job that makes a public key; the second value is where its stack is.
fn start() -> (Option<Rc<Job>>, usize) {
    let place = Rc::new(Cell::new(0));
    let noted = Rc::clone(&place);
    let ctx = WaitCtx::new();
    ctx.set_notify(Some(Conn(1).into()));
    let (progress, job) = job::start(Some(&ctx), move || {
        noted.set((&raw const noted).addr());
        i32::from(keygen()[0] != 0)
    })
    .unwrap();
    assert_eq!(job.is_some(), matches!(progress, Progress::Paused));
    (job, place.get())
}

/// Copies of the private key in the mapping that holds `address`.
fn copies(address: usize) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let range = maps.lines().find_map(|line| {
        let (from, to) = line.split_once(' ')?.0.split_once('-')?;
        let from = usize::from_str_radix(from, 16).ok()?;
        let to = usize::from_str_radix(to, 16).ok()?;
        (from..to).contains(&address).then_some(from..to)
    });
    // Of the memory beside it only as much as is surely the stack's.
    let range = range.expect("stacks stay mapped");
    let range = range.start.max(address - 32 * 1024)..range.end.min(address.next_multiple_of(4096));
    // SAFETY: mapped and readable, and no job runs.
    let bytes = unsafe {
        std::slice::from_raw_parts(
            std::ptr::with_exposed_provenance::<u8>(range.start),
            range.len(),
        )
    };
    let is_key = |some: &&[u8]| some.iter().zip(HIDDEN).all(|(a, b)| a ^ b == MASK);
    bytes.windows(HIDDEN.len()).filter(is_key).count()
}

/// An lcore that has not been polled yet, and its clock.
fn with_lcore(test: impl FnOnce(Lcore, &TestClock)) {
    let clock = TestClock::default();
    clock.advance(SECOND_NS);
    let lcore = Lcore::with_clock(Config::default(), Box::new(clock.clone()));
    lcore.add_queue_pair(
        SoftDevice::new()
            .queue_pair(QueuePairConfig::default())
            .unwrap(),
    );
    let _entered = lcore.enter();
    test(lcore, &clock);
}

/// As [`with_lcore`], with an lcore that has been polled for a while by a program with much to do.
fn under_load(test: impl FnOnce(Lcore, &TestClock)) {
    with_lcore(|lcore, clock| {
        for _ in 0..30 {
            turn(&lcore, clock);
        }
        test(lcore, clock);
    });
}

/// A millisecond's work.
fn turn(lcore: &Lcore, clock: &TestClock) {
    clock.advance(1_000_000);
    lcore.note_work();
    lcore.poll().unwrap();
}

/// Runs a job to its end; returns where its stack is.
fn run(lcore: &Lcore) -> usize {
    let (job, stack) = start();
    let job = job.unwrap();
    assert!(copies(stack) > 0, "the search finds it while it is there");
    while !job.is_complete() {
        lcore.poll().unwrap();
    }
    assert!(lcore.next_ready().is_some(), "it is called, once");
    assert!(matches!(job.resume().unwrap(), Progress::Finished(1)));
    stack
}

#[test]
fn nothing_when_it_has_ended() {
    with_lcore(|lcore, _| {
        for _ in 0..3 {
            assert_eq!(copies(run(&lcore)), 0);
        }
    });
}

#[test]
fn nothing_when_it_is_abandoned() {
    with_lcore(|lcore, _| {
        let (job, stack) = start();
        assert!(copies(stack) > 0, "the search finds it while it is there");
        // SAFETY: its frames own nothing, and nothing points to them.
        unsafe { job.unwrap().abandon() };
        assert_eq!(copies(stack), 0);
        lcore.poll().unwrap();
    });
}

#[test]
fn under_load_nothing_for_longer_than_10_ms() {
    under_load(|lcore, clock| {
        let stack = run(&lcore);
        assert!(copies(stack) > 0, "it waits");
        for _ in 0..10 {
            turn(&lcore, clock);
        }
        assert_eq!(copies(stack), 0);
    });
}

#[test]
fn under_load_nothing_as_soon_as_there_is_nothing_to_do() {
    under_load(|lcore, _| {
        let stack = run(&lcore);
        lcore.poll().unwrap();
        assert_eq!(copies(stack), 0);
        assert_eq!(copies(run(&lcore)), 0, "the load is over");
    });
}

#[test]
fn under_load_nothing_when_the_lcore_goes() {
    let mut stack = 0;
    under_load(|lcore, _| stack = run(&lcore));
    assert_eq!(copies(stack), 0);
    let (job, stack) = start();
    assert!(job.is_none(), "computed at once");
    assert_eq!(copies(stack), 0);
}

#[test]
fn nothing_when_it_has_ended_where_polls_were_few() {
    with_lcore(|lcore, clock| {
        for _ in 0..10 {
            clock.advance(SECOND_NS);
            assert_eq!(copies(run(&lcore)), 0);
        }
    });
}

/// As a program has it that knows of no lcore.
#[test]
fn nothing_when_it_has_ended_where_resumes_poll() {
    with_lcore(|_, clock| {
        for _ in 0..30 {
            clock.advance(1_000_000);
            let (job, stack) = start();
            let job = job.unwrap();
            while !matches!(job.resume().unwrap(), Progress::Finished(1)) {}
            assert_eq!(copies(stack), 0);
        }
    });
}
