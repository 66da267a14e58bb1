//! Programs that were not written for Spinlane: no callback, no lcore, a fork. One test, since
//! what is set is set for the process.

use std::cell::RefCell;
use std::rc::Rc;

use spinlane_cryptodev::{Device, QueuePairConfig, Request};
use spinlane_driver_soft::SoftDevice;
use spinlane_job::{self as job, Progress, WaitCtx};
use spinlane_lcore::{
    Config, Conn, Entered, Lcore, OffloadError, OnDemand, offload, set_on_demand,
    set_pause_without_callback,
};

thread_local! {
    static MADE: RefCell<Option<(Lcore, Entered)>> = const { RefCell::new(None) };
}

fn lcore() -> Lcore {
    let lcore = Lcore::new(Config::default());
    let queue_pair = SoftDevice::new().queue_pair(QueuePairConfig::default());
    lcore.add_queue_pair(queue_pair.unwrap());
    lcore
}

/// Opens a device that takes more stack than a job has.
fn make() -> Result<(), OffloadError> {
    std::hint::black_box(&mut [1u8; 512 * 1024]);
    assert!(!job::can_pause(), "to open a device is no part of the job");
    let lcore = lcore();
    let entered = lcore.enter();
    MADE.set(Some((lcore, entered)));
    Ok(())
}

/// 0 = the op succeeded, else which error it failed with.
fn one_op() -> i32 {
    let mut output = [0; 32];
    match offload(&Request::x25519_derive(&[7; 32], &[9; 32]), &mut output) {
        Ok(()) => 0,
        Err(OffloadError::NoLcore) => 1,
        Err(OffloadError::Forked) => 2,
        Err(_) => 3,
    }
}

fn start(wait_ctx: &Rc<WaitCtx>) -> Progress {
    job::start(Some(wait_ctx), one_op).unwrap().0
}

fn with_callback() -> Rc<WaitCtx> {
    let wait_ctx = WaitCtx::new();
    wait_ctx.set_notify(Some(Conn(1).into()));
    wait_ctx
}

#[test]
fn what_is_set_for_programs_that_know_no_callback_and_no_lcore() {
    let lcore = lcore();
    let entered = lcore.enter();
    let silent = WaitCtx::new();
    set_pause_without_callback(false);
    assert!(matches!(start(&silent), Progress::Finished(0)));
    assert_eq!((lcore.in_flight(), lcore.stats().inline_ops), (0, 1));
    assert!(
        matches!(start(&with_callback()), Progress::Paused),
        "a job with a callback pauses"
    );
    set_pause_without_callback(true);
    assert!(matches!(start(&silent), Progress::Paused));
    assert_eq!(lcore.in_flight(), 2);

    // SAFETY: the child makes no call but those of the test and _exit.
    match unsafe { libc::fork() } {
        0 => {
            let forked = lcore.is_of_parent() && matches!(start(&silent), Progress::Finished(2));
            // SAFETY: ends the child without running what belongs to the parent.
            unsafe { libc::_exit(i32::from(!forked)) }
        }
        child => {
            let mut status = -1;
            // SAFETY: our child, and a place for its status.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(status, 0, "an op after a fork fails and says so");
        }
    }
    while lcore.in_flight() != 0 {
        lcore.poll().unwrap();
    }
    drop(entered);

    assert!(matches!(start(&WaitCtx::new()), Progress::Finished(0)));
    set_on_demand(OnDemand::Fail);
    assert!(matches!(start(&WaitCtx::new()), Progress::Finished(1)));
    set_on_demand(OnDemand::Make(make));
    assert!(matches!(start(&WaitCtx::new()), Progress::Paused));
    MADE.with_borrow(|made| assert_eq!(made.as_ref().unwrap().0.in_flight(), 1));
    MADE.set(None);
}
