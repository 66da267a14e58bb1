//! Ops that cannot pause, or have nowhere to go, are computed here and now.

mod support;

use spinlane_cryptodev::{Capabilities, OpKind, Request};
use spinlane_job::{self as job, Progress, Status, WaitCtx};
use spinlane_lcore::{Config, Lcore, OffloadError, offload};
use support::{Bench, Handle, TestClock};

const PRIVATE: [u8; 32] = [7; 32];

/// The public key of `PRIVATE`, computed for real.
fn keygen() -> Result<[u8; 32], OffloadError> {
    let mut public = [0; 32];
    offload(&Request::x25519_keygen(&PRIVATE), &mut public).map(|()| public)
}

/// Both sides of a key agreement come to the same secret.
fn agrees(public: [u8; 32]) -> bool {
    let (other, mut secrets) = ([9; 32], [[0; 32], [1; 32]]);
    let mut other_public = [0; 32];
    offload(&Request::x25519_keygen(&other), &mut other_public).unwrap();
    offload(&Request::x25519_derive(&other, &public), &mut secrets[0]).unwrap();
    offload(
        &Request::x25519_derive(&PRIVATE, &other_public),
        &mut secrets[1],
    )
    .unwrap();
    secrets[0] == secrets[1]
}

#[test]
fn without_an_lcore_and_outside_a_job() {
    assert!(agrees(keygen().unwrap()));
}

#[test]
fn outside_a_job_though_there_is_an_lcore() {
    let bench = Bench::new(4);
    assert!(agrees(keygen().unwrap()));
    assert_eq!(bench.device.enqueue_calls(), 0);
    assert_eq!(bench.lcore.stats().inline_ops, 4);
}

#[test]
fn in_a_job_without_an_lcore() {
    let ctx = WaitCtx::new();
    let (progress, _) = job::start(Some(&ctx), || i32::from(agrees(keygen().unwrap()))).unwrap();
    assert!(matches!(progress, Progress::Finished(1)));
    assert_eq!(ctx.status(), Status::UNSUPPORTED, "nothing was submitted");
}

#[test]
fn in_a_job_whose_pauses_are_blocked() {
    let bench = Bench::new(4);
    let ctx = WaitCtx::new();
    let (progress, _) = job::start(Some(&ctx), || {
        job::block_pause();
        let agreed = agrees(keygen().unwrap());
        job::unblock_pause();
        i32::from(agreed)
    })
    .unwrap();
    assert!(matches!(progress, Progress::Finished(1)));
    assert_eq!(bench.device.enqueue_calls(), 0);
    assert_eq!(bench.lcore.stats().inline_ops, 4);
    assert_eq!(ctx.status(), Status::UNSUPPORTED);
}

#[test]
fn a_kind_that_no_queue_pair_offers_is_computed_inline_and_counted() {
    let clock = TestClock::default();
    let lcore = Lcore::with_clock(Config::default(), Box::new(clock.clone()));
    let capabilities = Capabilities::NONE.with(OpKind::X25519Derive);
    let device = Handle::new(4, capabilities, &clock);
    lcore.add_queue_pair(device.queue_pair());
    let _entered = lcore.enter();
    let (progress, _) = job::start(None, || i32::from(keygen().is_ok())).unwrap();
    assert!(matches!(progress, Progress::Finished(1)));
    let stats = lcore.stats();
    assert_eq!((stats.unrouted_ops, stats.inline_ops), (1, 0));
    assert_eq!(device.enqueue_calls(), 0);
}

#[test]
fn a_kind_goes_to_the_first_queue_pair_added_that_offers_it() {
    let clock = TestClock::default();
    let lcore = Lcore::with_clock(Config::default(), Box::new(clock.clone()));
    let derive = Capabilities::NONE.with(OpKind::X25519Derive);
    let devices = [derive, Capabilities::ALL, Capabilities::ALL]
        .map(|capabilities| Handle::new(4, capabilities, &clock));
    for device in &devices {
        lcore.add_queue_pair(device.queue_pair());
    }
    let _entered = lcore.enter();
    for (id, kind) in [OpKind::X25519Keygen, OpKind::X25519Derive]
        .into_iter()
        .enumerate()
    {
        support::Session::new(&lcore, id as u64).start_kind(kind, 1);
    }
    assert_eq!(devices.each_ref().map(Handle::held), [1, 1, 0]);
}

#[test]
fn an_invalid_input_is_an_error_inline_too() {
    let mut secret = [0; 32];
    let low_order = Request::x25519_derive(&PRIVATE, &[0; 32]);
    assert_eq!(offload(&low_order, &mut secret), Err(OffloadError::Invalid));
    assert_eq!(secret, [0; 32]);
}

#[test]
#[should_panic(expected = "output length of x25519-keygen")]
fn an_output_of_another_length_panics() {
    let _ = offload(&Request::x25519_keygen(&PRIVATE), &mut [0; 31]);
}
