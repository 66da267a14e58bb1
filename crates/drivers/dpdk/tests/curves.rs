//! ECDSA and ECDH, against a device that stands in for a card (see `stand_in`): what a card itself does is not shown.
//!
//! `SPINLANE_SEED` replays a run.
#![cfg(feature = "dpdk")]

mod stand_in;
mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use allocation_counter::measure;
use spinlane_crypto::curve::{Array, Curve, P256, P384};
use spinlane_crypto::{EcKey, Key, test_keys::der};
use spinlane_cryptodev::test_keys;
use spinlane_cryptodev::{
    Burst, Device, KeyHandle, Op, OpKind, OpStatus, QueuePair, QueuePairConfig, Request, Token, cpu,
};
use spinlane_driver_dpdk::{DpdkDevice, HandedOver, OpenError};
use stand_in::{Answer, Form, Nature, Order, seen};
use support::{capacity, eal, open, rsa_op, run_all};

const SIGNATURES: [OpKind; 2] = [OpKind::EcdsaP256, OpKind::EcdsaP384];
const EXCHANGES: [OpKind; 6] = [
    OpKind::EcdhP256Keygen,
    OpKind::EcdhP256Derive,
    OpKind::EcdhP384Keygen,
    OpKind::EcdhP384Derive,
    OpKind::EcdhP256Exchange,
    OpKind::EcdhP384Exchange,
];
const RSA: [OpKind; 3] = [OpKind::Rsa2048, OpKind::Rsa3072, OpKind::Rsa4096];

/// A device that is `nature`, of that name. It is tried when it is opened; that it has forgotten.
fn open_as(name: &str, nature: Nature) -> DpdkDevice {
    stand_in::be(name, nature);
    let device = open(name);
    stand_in::change(name, nature);
    device
}

/// A generator (splitmix64) whose start is told.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = match std::env::var("SPINLANE_SEED") {
            Ok(seed) => seed.parse().expect("a number"),
            Err(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("a clock")
                .as_nanos() as u64,
        };
        println!("replay with SPINLANE_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn fill<A: Array<u8>>(&mut self) -> A {
        let mut bytes = A::ZERO;
        bytes.as_mut().fill_with(|| self.next() as u8);
        bytes
    }

    /// A private scalar: any, or one at an end of the range.
    fn scalar<C: Curve>(&mut self) -> C::Scalar {
        let mut scalar = match self.next() % 8 {
            0..3 => C::Scalar::ZERO,
            3 => order::<C>(),
            _ => self.fill(),
        };
        let last = scalar.as_mut().last_mut().expect("a byte");
        match self.next() % 3 {
            0 if *last == 0 => *last = 1,
            1 if *last == 0 => *last = 2,
            _ => {
                *last = last.wrapping_sub(1);
                if *last == 0xff {
                    *last = 1
                }
            }
        }
        match EcKey::<C>::from_scalar(scalar.as_ref()) {
            Ok(_) => scalar,
            Err(_) => self.scalar::<C>(), // n or more, once in 2^32
        }
    }
}

fn order<C: Curve>() -> C::Scalar {
    let mut order = C::Scalar::ZERO;
    spinlane_crypto::curve::write_bytes(C::ORDER.as_ref(), order.as_mut());
    order
}

/// An op of this kind on random operands.
fn op(kind: OpKind, random: &mut Random, token: u64) -> Box<Op> {
    let mut op = Op::new();
    let token = Token(token);
    macro_rules! sign {
        ($curve:ty, $key:path, $request:path) => {{
            let key = EcKey::<$curve>::from_scalar(random.scalar::<$curve>().as_ref()).unwrap();
            let mut digest: <$curve as Curve>::Scalar = random.fill();
            if random.next().is_multiple_of(4) {
                digest.fill(0xff); // not below the order
            }
            let key = KeyHandle::local($key(key));
            op.prepare(token, &$request(&key, &digest).unwrap(), 0);
        }};
    }
    macro_rules! exchange {
        ($curve:ty, $request:path $(, $peer:ident)?) => {{
            let private = random.scalar::<$curve>();
            $(let $peer = peer::<$curve>(random);)?
            op.prepare(token, &$request(&private $(, &$peer)?).unwrap(), 0);
        }};
    }
    match kind {
        OpKind::EcdsaP256 => sign!(P256, Key::EcP256, Request::ecdsa_p256),
        OpKind::EcdsaP384 => sign!(P384, Key::EcP384, Request::ecdsa_p384),
        OpKind::EcdhP256Keygen => exchange!(P256, Request::ecdh_p256_keygen),
        OpKind::EcdhP384Keygen => exchange!(P384, Request::ecdh_p384_keygen),
        OpKind::EcdhP256Derive => exchange!(P256, Request::ecdh_p256_derive, peer),
        OpKind::EcdhP384Derive => exchange!(P384, Request::ecdh_p384_derive, peer),
        OpKind::EcdhP256Exchange => exchange!(P256, Request::ecdh_p256_exchange, peer),
        OpKind::EcdhP384Exchange => exchange!(P384, Request::ecdh_p384_exchange, peer),
        _ => panic!("{kind} is on neither curve"),
    }
    op
}

fn peer<C: Curve>(random: &mut Random) -> C::Point {
    EcKey::<C>::from_scalar(random.scalar::<C>().as_ref())
        .unwrap()
        .public_key()
}

/// Every kind of op on curves, `rounds` times each, in a random order.
fn ops(random: &mut Random, rounds: usize) -> Burst {
    let mut ops = Vec::new();
    for _ in 0..rounds {
        for kind in SIGNATURES.into_iter().chain(EXCHANGES) {
            let token = ops.len() as u64;
            ops.push(op(kind, random, token));
        }
    }
    for i in (1..ops.len()).rev() {
        ops.swap(i, random.next() as usize % (i + 1));
    }
    ops
}

/// Runs few of them at once.
fn run(queue_pair: &mut dyn QueuePair, ops: Burst) -> Burst {
    let count = ops.len();
    let done = run_all(queue_pair, ops);
    let mut tokens: Vec<_> = done.iter().map(|op| op.token.0).collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), count, "each op is back once");
    done
}

fn is_zero(op: &Op) -> bool {
    op.output().iter().all(|byte| *byte == 0)
}

#[test]
fn it_offers_the_curves_that_a_trial_shows() {
    let card = Nature::CARD;
    let unlisted = Nature {
        lists: false,
        ..card
    };
    let software = Nature {
        card: false,
        ..card
    };
    let without = |nature| Nature {
        sessions_p384: false,
        ..nature
    };
    let failing = Nature {
        ops_p384: false,
        ..card
    };
    let forgetful = Nature {
        loses_keys: true,
        ..card
    };
    let all: Vec<OpKind> = SIGNATURES.into_iter().chain(EXCHANGES).collect();
    let on = |curve: &str| {
        all.iter()
            .copied()
            .filter(|kind| kind.name().contains(curve))
            .collect()
    };
    for (name, nature, offers) in [
        ("crypto_openssl_trial_card", card, all.clone()),
        ("crypto_openssl_trial_unlisted", unlisted, all.clone()),
        ("crypto_openssl_trial_software", software, all.clone()),
        ("crypto_openssl_trial_p256", without(card), on("p256")),
        ("crypto_openssl_trial_failing", failing, on("p256")),
        (
            "crypto_openssl_trial_forgetful",
            forgetful,
            EXCHANGES.into(),
        ),
        (
            "crypto_openssl_trial_none",
            Nature {
                card: false,
                lists: false,
                ..card
            },
            vec![],
        ),
    ] {
        stand_in::be(name, nature);
        let device = open(name);
        let mut expected: Vec<OpKind> = RSA.into_iter().chain(offers.iter().copied()).collect();
        expected.sort_by_key(|kind| kind.index());
        let kinds: Vec<_> = device.capabilities().iter().collect();
        assert_eq!(kinds, expected, "{name}");
        let seen = seen(name);
        assert_eq!(seen.complaints, [""; 0], "{name}");
        assert_eq!(seen.sessions.is_empty(), offers.is_empty(), "{name}");
        assert_eq!(
            seen.refused.is_empty(),
            nature.sessions_p384,
            "asked for P-384: {name}"
        );
        let config = QueuePairConfig {
            capacity: 4096,
            ..QueuePairConfig::default()
        };
        let queue_pair = device.queue_pair(config).unwrap();
        assert_eq!(queue_pair.capacity(), 1023, "{name}");
    }
}

#[test]
fn a_device_that_never_answers_has_no_curve() {
    let name = "crypto_openssl_trial_silent";
    stand_in::be(name, Nature::CARD);
    stand_in::answer(name, &[Answer::Kept; 8]);
    let device = open(name);
    assert_eq!(device.capabilities().iter().collect::<Vec<_>>(), RSA);
    let opened: Result<_, OpenError> = DpdkDevice::open(&eal(), &"crypto_openssl".parse().unwrap());
    assert!(opened.is_ok(), "others do not suffer");
}

#[test]
fn results_are_aws_lcs_in_any_form_and_order() {
    let mut random = Random::new();
    let name = "crypto_openssl_results";
    let device = open_as(name, Nature::CARD);
    let orders = [Order::First, Order::Last, Order::Any(random.next())];
    for form in [Form::Full, Form::Short, Form::Long] {
        for order in orders {
            stand_in::change(
                name,
                Nature {
                    form,
                    order,
                    ..Nature::CARD
                },
            );
            let size = 2 + random.next() as usize % 20;
            let mut queue_pair = device.queue_pair(capacity(size)).unwrap();
            let rounds = 24;
            let done = run(&mut *queue_pair, ops(&mut random, rounds));
            for op in &done {
                assert_eq!(op.status, OpStatus::Success, "{op:?}, {form:?}, {order:?}");
                assert!(cpu::result_is_right(op), "{op:?}, {form:?}, {order:?}");
            }
            let seen = seen(name);
            assert_eq!(seen.complaints, [""; 0]);
            assert_eq!(seen.signatures, 2 * rounds as u64);
            assert_eq!(seen.products, 8 * rounds as u64, "two per exchange");
            assert!(seen.is_wiped());
            assert_eq!(queue_pair.stats().faults_caught, 0);
        }
    }
}

#[test]
fn numbers_with_zeros_in_front_come_out_whole() {
    // x of 2^k G has a zero in front for some of these k, and so may r and s of some signatures.
    let name = "crypto_openssl_zeros";
    let device = open_as(
        name,
        Nature {
            form: Form::Short,
            ..Nature::CARD
        },
    );
    let mut queue_pair = device.queue_pair(capacity(64)).unwrap();
    let ops = (1..=2000u64).map(|scalar| {
        let mut private = [0; 32];
        private[24..].copy_from_slice(&scalar.to_be_bytes());
        let mut op = Op::new();
        let request = Request::ecdh_p256_keygen(&private).unwrap();
        op.prepare(Token(scalar), &request, 0);
        op
    });
    let done = run(&mut *queue_pair, ops.collect());
    let mut short = [0, 0];
    for op in &done {
        assert_eq!(op.status, OpStatus::Success);
        assert!(cpu::result_is_right(op), "{op:?}");
        short[0] += u32::from(op.output()[1] == 0);
        short[1] += u32::from(op.output()[33] == 0);
    }
    assert!(short.iter().all(|count| *count > 0), "{short:?}");
}

#[test]
fn what_is_wrong_does_not_leave() {
    let mut random = Random::new();
    let name = "crypto_openssl_wrong";
    let device = open_as(name, Nature::CARD);
    let mut queue_pair = device.queue_pair(capacity(16)).unwrap();
    let (mut caught, mut failed) = (0, 0);
    for kind in SIGNATURES.into_iter().chain(EXCHANGES) {
        let parts = match kind {
            OpKind::EcdhP256Exchange | OpKind::EcdhP384Exchange => 2,
            _ => 1,
        };
        for answer in [
            Answer::Flipped(0),
            Answer::Flipped(1),
            Answer::TooLong,
            Answer::Endless,
            Answer::Nothing,
            Answer::Empty,
            Answer::Failed,
        ] {
            for part in 0..parts {
                // A good one, the bad one, a good one.
                let mut answers = vec![Answer::Right; 3 * parts];
                answers[parts + part] = answer;
                stand_in::answer(name, &answers);
                let ops = (0..3).map(|token| op(kind, &mut random, token)).collect();
                for op in run(&mut *queue_pair, ops) {
                    let what = format!("{op:?}, {answer:?} of part {part}");
                    if op.token.0 == 1 {
                        assert_eq!(op.status, OpStatus::Error, "{what}");
                        assert!(is_zero(&op), "{what}");
                    } else {
                        assert_eq!(op.status, OpStatus::Success, "{what}");
                        assert!(cpu::result_is_right(&op), "{what}");
                    }
                }
                failed += 1;
                caught += u64::from(answer != Answer::Failed);
            }
        }
    }
    let stats = queue_pair.stats();
    assert_eq!((stats.failed, stats.faults_caught), (failed, caught));
    assert_eq!(seen(name).complaints, [""; 0]);
    assert!(seen(name).is_wiped());
}

#[test]
fn a_peer_that_is_not_on_the_curve_reaches_no_device() {
    let mut random = Random::new();
    let name = "crypto_openssl_peers";
    let device = open_as(name, Nature::CARD);
    let mut queue_pair = device.queue_pair(capacity(8)).unwrap();
    let private = random.scalar::<P256>();
    let (good, mut twisted) = (peer::<P256>(&mut random), peer::<P256>(&mut random));
    twisted[64] ^= 1;
    let mut compressed = good;
    compressed[0] = 0x02;
    let mut infinity = [0; 65];
    infinity[0] = 0x04;
    let mut too_large = good;
    too_large[1..33].fill(0xff);
    let mut ops = Burst::new();
    for (token, peer) in (0..).zip([
        &good,
        &twisted,
        &good,
        &compressed,
        &infinity,
        &good,
        &too_large,
        &good,
    ]) {
        let mut op = Op::new();
        let request = match token % 2 {
            0 => Request::ecdh_p256_exchange(&private, peer),
            _ => Request::ecdh_p256_derive(&private, peer),
        };
        op.prepare(Token(token), &request.unwrap(), 0);
        ops.push(op);
    }
    let mut unfilled: Burst = EXCHANGES
        .into_iter()
        .map(|kind| Op::without_operands(kind, Token(100 + kind.index() as u64)))
        .collect();
    ops.append(&mut unfilled);
    let done = run(&mut *queue_pair, ops);
    for op in &done {
        let good = [0, 2, 5, 7].contains(&op.token.0);
        let expected = if good {
            OpStatus::Success
        } else {
            OpStatus::Invalid
        };
        assert_eq!(op.status, expected, "{op:?}");
        assert!(good || is_zero(op));
    }
    let seen = seen(name);
    assert_eq!(seen.products, 2 * 2 + 2, "those of the good ones");
    assert_eq!(seen.complaints, [""; 0]);
    assert_eq!(queue_pair.stats().faults_caught, 0);
}

#[test]
fn more_products_than_descriptors_take_turns() {
    let mut random = Random::new();
    for descriptors in [2, 4, 8] {
        let name = format!("crypto_openssl_ring{descriptors}");
        let nature = Nature {
            order: Order::Any(random.next()),
            room: descriptors - 1,
            ..Nature::CARD
        };
        stand_in::be(&name, nature);
        let device = open(&format!("{name},descriptors={descriptors}"));
        let mut queue_pair = device.queue_pair(capacity(64)).unwrap();
        assert_eq!(queue_pair.capacity(), descriptors - 1);
        for op in run(&mut *queue_pair, ops(&mut random, 12)) {
            assert_eq!(op.status, OpStatus::Success, "{op:?}");
            assert!(cpu::result_is_right(&op), "{op:?}");
        }
    }
}

#[test]
fn nonces_differ_where_all_else_is_the_same() {
    let name = "crypto_openssl_nonces";
    let device = open_as(name, Nature::CARD);
    let mut queue_pair = device.queue_pair(capacity(64)).unwrap();
    let (p256, p384) = (test_keys::p256(3), test_keys::p384(3));
    let ops = (0..200).map(|token| {
        let mut op = Op::new();
        let request = match token % 2 {
            0 => Request::ecdsa_p256(&p256, &[5; 32]),
            _ => Request::ecdsa_p384(&p384, &[5; 48]),
        };
        op.prepare(Token(token), &request.unwrap(), 0);
        op
    });
    let done = run(&mut *queue_pair, ops.collect());
    assert!(done.iter().all(|op| op.status == OpStatus::Success));
    let mut nonces = seen(name).nonces;
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 200);
}

#[test]
fn rsa_goes_along_on_the_same_queue_pair() {
    let mut random = Random::new();
    for (name, card) in [
        ("crypto_openssl_mixed_card", true),
        ("crypto_openssl_mixed_software", false),
    ] {
        let nature = Nature {
            card,
            order: Order::Last,
            ..Nature::CARD
        };
        let device = open_as(name, nature);
        let mut queue_pair = device.queue_pair(capacity(7)).unwrap();
        let keys = [test_keys::rsa(der::RSA_2048), test_keys::rsa(der::RSA_4096)];
        let mut mixed = Burst::new();
        for mut op in ops(&mut random, 6) {
            let number = mixed.len() as u64;
            if random.next().is_multiple_of(3) {
                let key = &keys[random.next() as usize % 2];
                mixed.push(rsa_op(key, 1000 + number));
            }
            op.token = Token(number);
            mixed.push(op);
        }
        for op in run(&mut *queue_pair, mixed) {
            assert_eq!(op.status, OpStatus::Success, "{op:?}");
            assert!(cpu::result_is_right(&op), "{op:?}");
        }
        assert!(seen(name).is_wiped());
    }
}

#[test]
fn what_was_given_up_comes_back_to_nobody() {
    let mut random = Random::new();
    let name = "crypto_openssl_given_up";
    let device = open_as(name, Nature::CARD);
    let mut queue_pair = device.queue_pair(capacity(16)).unwrap();
    stand_in::answer(name, &[Answer::Kept; 64]);
    let mut lost = ops(&mut random, 2);
    assert_eq!(queue_pair.enqueue_burst(&mut lost), 16);
    queue_pair.flush();
    queue_pair.reset();
    let seen_before = seen(name);
    assert!(seen_before.products > 0 && seen_before.signatures > 0);
    stand_in::release(name);
    let mut done = Burst::new();
    queue_pair.dequeue_burst(&mut done, 32, 0);
    assert!(done.is_empty(), "{done:?}");
    // What was computed for nobody is wiped, and all the room is there again.
    assert!(seen(name).is_wiped());
    stand_in::change(name, Nature::CARD);
    let done = run(&mut *queue_pair, ops(&mut random, 4));
    assert!(done.iter().all(|op| op.status == OpStatus::Success));
    assert!(queue_pair.xstats().contains(&("late", 16)));
}

#[test]
fn a_stopped_device_fails_what_it_has_not_and_gives_back_what_it_has() {
    let mut random = Random::new();
    let name = "crypto_openssl_stopped";
    let device = open_as(name, Nature::CARD);
    let mut queue_pair = device.queue_pair(capacity(64)).unwrap();
    // A product of each exchange is not there yet when the device is stopped.
    stand_in::answer(name, &[Answer::Right, Answer::Kept].repeat(8));
    let exchanges = (0..8).map(|token| op(OpKind::EcdhP256Exchange, &mut random, token));
    let mut done = Burst::new();
    queue_pair.enqueue_burst(&mut exchanges.collect());
    queue_pair.dequeue_burst(&mut done, 64, 0);
    queue_pair.dequeue_burst(&mut done, 64, 0);
    assert!(done.is_empty(), "{done:?}");

    device.stop().unwrap();
    let late = (8..16).map(|token| op(OpKind::EcdsaP384, &mut random, token));
    queue_pair.enqueue_burst(&mut late.collect());
    queue_pair.dequeue_burst(&mut done, 64, 0);
    queue_pair.dequeue_burst(&mut done, 64, 0);
    assert_eq!(done.len(), 8);
    for op in done.drain(..) {
        assert_eq!((op.status, is_zero(&op)), (OpStatus::Error, true), "{op:?}");
    }

    device.start().unwrap();
    stand_in::release(name);
    let ops = (16..20).map(|token| op(OpKind::EcdhP384Derive, &mut random, token));
    queue_pair.enqueue_burst(&mut ops.collect());
    while done.len() < 12 {
        assert!(queue_pair.dequeue_burst(&mut done, 64, 0) > 0);
    }
    for op in &done {
        assert_eq!(op.status, OpStatus::Success, "{op:?}");
        assert!(cpu::result_is_right(op), "{op:?}");
    }
    assert!(seen(name).is_wiped());
}

#[test]
fn an_applications_device_is_tried_on_a_queue_pair_that_it_hands_over() {
    let mut random = Random::new();
    let name = "crypto_openssl_adopted";
    let _applications = open_as(name, Nature::CARD);
    let id = stand_in::number(name);
    // SAFETY: of its eight queue pairs nobody uses these, while it is open and started.
    let handed_over = unsafe { HandedOver::new(&eal(), id, &[6, 7], 1024) };
    let device = DpdkDevice::adopt(&eal(), handed_over.unwrap()).unwrap();
    assert!(seen(name).signatures > 0 && seen(name).products > 0);
    assert_eq!(device.free_queue_pairs(), 2, "the trial's is free again");
    let mut queue_pair = device.queue_pair(capacity(32)).unwrap();
    for op in run(&mut *queue_pair, ops(&mut random, 4)) {
        assert_eq!(op.status, OpStatus::Success, "{op:?}");
        assert!(cpu::result_is_right(&op), "{op:?}");
    }
}

#[test]
fn nothing_is_allocated_per_op_after_warm_up() {
    let mut random = Random::new();
    let name = "crypto_openssl_allocation";
    let device = open_as(name, Nature::CARD);
    let mut queue_pair = device.queue_pair(capacity(16)).unwrap();
    let mut ops = ops(&mut random, 2);
    let (count, mut done) = (ops.len(), Burst::with_capacity(32));
    let mut round = || {
        while done.len() < count {
            queue_pair.enqueue_burst(&mut ops); // more than it holds in products
            queue_pair.dequeue_burst(&mut done, 32, 0);
        }
        assert!(done.iter().all(|op| op.status == OpStatus::Success));
        ops.append(&mut done);
    };
    round();
    let allocated = measure(|| (0..5).for_each(|_| round()));
    assert_eq!(allocated.count_total, 0);
}
