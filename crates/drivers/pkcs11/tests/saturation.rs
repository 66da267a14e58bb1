//! What a pool of sessions reaches beside as many threads that call C_Sign in a loop. Prints figures, and asserts
//! none: `cargo test --release --package spinlane-driver-pkcs11 --test saturation -- --ignored --nocapture`.
//!
//! Like is compared with like. Where the pool checks each signature with the public key, so do the threads, by the same
//! function: the check is a decision of the caller's, not a cost of the pool. Beside stands the pool that checks beside
//! threads that do not, which is what the check costs with a token that computes on this very core.

mod support;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use spinlane_crypto::PublicKey;
use spinlane_driver_pkcs11::{Operation, Settings, TokenDevice, TokenOp};
use support::{Bench, PIN, in_process};

const ROUND: Duration = Duration::from_millis(300);
const ROUNDS: usize = 5;

/// Runs the calling thread, and those that it starts, on one CPU alone.
fn pin(cpu: usize) {
    // SAFETY: a set of all zeros is an empty one, and `set` is valid for the call.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &set), 0);
    }
}

fn session(pkcs11: &Pkcs11) -> Session {
    let slots = pkcs11.get_slots_with_initialized_token().unwrap();
    let session = pkcs11.open_ro_session(slots[0]).unwrap();
    let pin: AuthPin = PIN.to_owned().into();
    // Another thread may have.
    let _ = session.login(UserType::User, Some(&pin));
    session
}

/// Signatures per second of `threads` threads that do nothing else, but for checking each if there is a public key.
fn direct(
    pkcs11: &Pkcs11,
    threads: usize,
    label: &str,
    mechanism: fn() -> Mechanism<'static>,
    input: &[u8],
    public: Option<&PublicKey>,
) -> f64 {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let ready = std::sync::Barrier::new(threads + 1);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                pin(1);
                let session = session(pkcs11);
                let wanted = [
                    Attribute::Class(cryptoki::object::ObjectClass::PRIVATE_KEY),
                    Attribute::Label(label.as_bytes().to_vec()),
                ];
                let key = session.find_objects(&wanted).unwrap()[0];
                let mechanism = mechanism();
                ready.wait();
                while !stop.load(Ordering::Relaxed) {
                    let signature = session.sign(&mechanism, key, input).unwrap();
                    assert!(public.is_none_or(|public| public.verify(input, &signature)));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        ready.wait();
        thread::sleep(ROUND);
        stop.store(true, Ordering::Relaxed);
        count.load(Ordering::Relaxed) as f64 / ROUND.as_secs_f64()
    })
}

/// The same by a pool of so many sessions, with a queue that is always full.
fn pooled(
    device: &TokenDevice,
    sessions: usize,
    uri: &spinlane_driver_pkcs11::uri::Uri,
    input: &[u8],
) -> f64 {
    let key = device.key(uri, None).unwrap();
    let window = 4 * sessions;
    let mut queue = device.queue(window).unwrap();
    let mut ops: VecDeque<_> = (0..window as u64)
        .map(|token| {
            let mut op = TokenOp::new();
            assert!(op.prepare(token, &key, Operation::Private, input));
            op
        })
        .collect();
    let (mut done, mut count) = (VecDeque::new(), 0);
    let warm_up = 2 * window;
    let mut start = Instant::now();
    while start.elapsed() < ROUND || count < warm_up {
        queue.enqueue_burst(&mut ops, 0);
        let before = count;
        count += queue.dequeue_burst(&mut done, 64, 0);
        if before < warm_up && count >= warm_up {
            start = Instant::now();
        }
        for mut op in done.drain(..) {
            assert!(op.result().is_ok());
            assert!(op.prepare(op.token, &key, Operation::Private, input));
            ops.push_back(op);
        }
    }
    (count - warm_up) as f64 / start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn compare(bench: &Bench, sessions: usize, verify: bool) {
    let module = std::env::var("PKCS11_SHIM_MODULE").unwrap();
    let pkcs11 = Pkcs11::new(&module).unwrap();
    let block = {
        let mut block = vec![0; 256];
        spinlane_crypto::padding::pkcs1_v15(
            spinlane_crypto::digest::Digest::Sha256,
            &[5; 32],
            &mut block,
        )
        .unwrap();
        block
    };
    let uri = |label: &str| {
        let uri = bench.uri(label).to_string();
        let shim = support::shim();
        uri.replace(shim.to_str().unwrap(), &module)
            .parse()
            .unwrap()
    };
    let settings = Settings {
        sessions,
        verify,
        ..Settings::default()
    };
    // The workers' CPU is that of the threads beside them; this one polls on its own.
    pin(1);
    let device = TokenDevice::open(&uri("p256"), settings).unwrap();
    pin(0);
    for (label, mechanism, input) in [
        ("p256", (|| Mechanism::Ecdsa) as fn() -> _, &[5; 32][..]),
        ("rsa2048", || Mechanism::RsaX509, &block),
    ] {
        let key = device.key(&uri(label), None).unwrap();
        let public = key.as_remote().filter(|_| verify);
        let (mut rates, mut same, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let direct = |public| direct(&pkcs11, sessions, label, mechanism, input, public);
            let (alone, checked) = (direct(None), public.map(|public| direct(Some(public))));
            let pool = pooled(&device, sessions, &uri(label), input);
            rates.push(pool);
            same.push(pool / checked.unwrap_or(alone));
            bare.push(pool / alone);
        }
        let (rate, same) = (median(rates), median(same));
        print!("{label}, {sessions} sessions: {rate:.0}/s, {same:.2} of threads that call C_Sign");
        match verify {
            true => println!(
                " and check, {:.2} of threads that do not check",
                median(bare)
            ),
            false => println!(", nobody checks"),
        }
    }
}

#[test]
#[ignore = "prints figures"]
fn beside_threads_that_call_c_sign() {
    in_process("beside_threads_that_call_c_sign", |bench| {
        for sessions in [16, 4, 1] {
            compare(bench, sessions, false);
        }
    });
}

#[test]
#[ignore = "prints figures"]
fn beside_threads_that_check_what_they_sign() {
    in_process("beside_threads_that_check_what_they_sign", |bench| {
        compare(bench, 16, true);
    });
}
