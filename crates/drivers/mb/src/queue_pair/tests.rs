//! What the queue pair promises, with a clock that the tests move.

use std::sync::Arc;

use spinlane_crypto::curve::{self, P256, P384};
use spinlane_crypto::test_keys::der;
use spinlane_crypto::{EcP256Key, EcP384Key, Key, mlkem};
use spinlane_cryptodev::test_keys::{ed25519, p256, p384, rsa};
use spinlane_cryptodev::{KeyHandle, Request, Token};

use super::*;
use crate::fill::Fill;

/// As of a machine on which lanes pay from `from` ops on, and RSA and P-384 are dear.
fn fills(from: usize) -> Fills {
    OpKind::ALL.map(|kind| {
        let one_ns = match kind {
            kind if is_rsa(kind) => 200_000,
            OpKind::EcdsaP384 | OpKind::EcdhP384Derive | OpKind::EcdhP384Exchange => 100_000,
            _ => 10_000,
        };
        let batch_ns = one_ns * from as u64 - 1;
        Fill { one_ns, batch_ns }
    })
}

/// A queue pair, or `None` on a machine that has no lanes: the test says so and ends.
fn open(capacity: usize, max_delay_ns: u64) -> Option<MbQueuePair> {
    open_with(capacity, max_delay_ns, Options::default(), &fills(3))
}

fn open_with(
    capacity: usize,
    max_delay_ns: u64,
    options: Options,
    fills: &Fills,
) -> Option<MbQueuePair> {
    let config = QueuePairConfig {
        capacity,
        max_delay_ns,
    };
    match Cpu::detect() {
        Ok(cpu) => Some(MbQueuePair::new(cpu, config, options, fills)),
        Err(missing) => {
            eprintln!("skipped: this machine lacks {missing}, so the device mb cannot run");
            None
        }
    }
}

macro_rules! open {
    ($capacity:expr, $max_delay_ns:expr) => {
        match open($capacity, $max_delay_ns) {
            Some(queue) => queue,
            None => return,
        }
    };
}

fn op(token: u64, now_ns: u64, request: &Request<'_>) -> Box<Op> {
    let mut op = Op::new();
    op.prepare(Token(token), request, now_ns);
    op
}

fn rsa_op(token: u64, key: &Arc<KeyHandle>) -> Box<Op> {
    let Some(Key::Rsa(rsa)) = key.as_local() else {
        panic!("an RSA key")
    };
    let mut block = vec![0x33; rsa.modulus_len()];
    block[9] = token as u8;
    op(
        token,
        0,
        &Request::rsa_private(key, &block).expect("below the modulus"),
    )
}

fn ecdsa_op(token: u64, key: &Arc<KeyHandle>) -> Box<Op> {
    op(
        token,
        0,
        &Request::ecdsa_p256(key, &[token as u8 + 1; 32]).expect("32 bytes"),
    )
}

fn keygen_op(token: u64) -> Box<Op> {
    op(token, 0, &Request::x25519_keygen(&[token as u8; 32]))
}

fn derive_op(token: u64) -> Box<Op> {
    op(
        token,
        0,
        &Request::x25519_derive(&[token as u8; 32], &[9; 32]),
    )
}

fn ecdh_p256_op(kind: OpKind, token: u64, private: &[u8; 32]) -> Box<Op> {
    let key = EcP256Key::from_scalar(&[token as u8 + 7; 32]).expect("in range");
    let peer = key.public_key();
    let request = match kind {
        OpKind::EcdhP256Keygen => Request::ecdh_p256_keygen(private),
        OpKind::EcdhP256Exchange => Request::ecdh_p256_exchange(private, &peer),
        _ => Request::ecdh_p256_derive(private, &peer),
    };
    op(token, 0, &request.expect("in range"))
}

fn ecdh_p384_op(kind: OpKind, token: u64, private: &[u8; 48]) -> Box<Op> {
    let key = EcP384Key::from_scalar(&[token as u8 + 7; 48]).expect("in range");
    let peer = key.public_key();
    let request = match kind {
        OpKind::EcdhP384Keygen => Request::ecdh_p384_keygen(private),
        OpKind::EcdhP384Exchange => Request::ecdh_p384_exchange(private, &peer),
        _ => Request::ecdh_p384_derive(private, &peer),
    };
    op(token, 0, &request.expect("in range"))
}

/// With a key pair and a message of its own. Odd tokens decapsulate what no encapsulation made.
fn mlkem_op(kind: OpKind, token: u64) -> Box<Op> {
    let (seed, message) = ([token as u8 + 1; 64], [token as u8 + 3; 32]);
    let (mut public, mut private) = ([0; 1184], [0; 2400]);
    assert!(mlkem::generate(&seed, &mut public, &mut private));
    let mut ciphertext = [token as u8; 1088];
    if token.is_multiple_of(2) {
        assert!(mlkem::encapsulate(
            &public,
            &message,
            &mut ciphertext,
            &mut [0; 32]
        ));
    }
    let request = match kind {
        OpKind::MlKem768Keygen => Request::ml_kem_768_keygen(&seed),
        OpKind::MlKem768Encap => Request::ml_kem_768_encap(&public, &message),
        _ => Request::ml_kem_768_decap(&private, &ciphertext),
    };
    op(token, 0, &request)
}

/// Ops of `kind` with the tokens 0 to `count`, alternating between two keys where there are.
fn ops_of(kind: OpKind, count: u64) -> Burst {
    let rsa_keys = |one: &[u8], other: &[u8]| [rsa(one), rsa(other)];
    let keys = match kind {
        OpKind::Rsa2048 => rsa_keys(der::RSA_2048, der::RSA_2048_P_BELOW_Q),
        OpKind::Rsa3072 => rsa_keys(der::RSA_3072, der::RSA_3072),
        OpKind::Rsa4096 => rsa_keys(der::RSA_4096, der::RSA_4096),
        OpKind::EcdsaP384 => [p384(1), p384(2)],
        OpKind::Ed25519 => [ed25519(1), ed25519(2)],
        _ => [p256(1), p256(2)],
    };
    let scalar = |token: u64| [token as u8 + 1; 48];
    let make = |token: u64| match kind {
        OpKind::EcdsaP256 => ecdsa_op(token, &keys[token as usize % 2]),
        OpKind::X25519Keygen => keygen_op(token),
        OpKind::X25519Derive => derive_op(token),
        OpKind::X25519Exchange => {
            let private = [token as u8; 32];
            op(token, 0, &Request::x25519_exchange(&private, &[9; 32]))
        }
        OpKind::EcdsaP384 => {
            let digest = [token as u8 + 1; 48];
            let request = Request::ecdsa_p384(&keys[token as usize % 2], &digest);
            op(token, 0, &request.expect("48 bytes"))
        }
        OpKind::Ed25519 => {
            // Lengths around the blocks of SHA-512, and the longest.
            let len =
                [0, 1, 111, 112, 128, 239, 240, OpKind::Ed25519.input_len()][token as usize % 8];
            let message = vec![token as u8; len];
            let request = Request::ed25519(&keys[token as usize % 2], &message);
            op(token, 0, &request.expect("fits"))
        }
        OpKind::EcdhP256Keygen | OpKind::EcdhP256Derive | OpKind::EcdhP256Exchange => {
            ecdh_p256_op(kind, token, scalar(token).first_chunk().expect("48 bytes"))
        }
        OpKind::EcdhP384Keygen | OpKind::EcdhP384Derive | OpKind::EcdhP384Exchange => {
            ecdh_p384_op(kind, token, &scalar(token))
        }
        OpKind::Rsa2048 | OpKind::Rsa3072 | OpKind::Rsa4096 => {
            rsa_op(token, &keys[token as usize % 2])
        }
        OpKind::MlKem768Keygen | OpKind::MlKem768Encap | OpKind::MlKem768Decap => {
            mlkem_op(kind, token)
        }
    };
    (0..count).map(make).collect()
}

/// The result is right: verified where it is a signature, the same as the CPU's otherwise.
fn assert_right(done: &Op) {
    assert_eq!(done.status, OpStatus::Success, "{done:?}");
    assert!(cpu::result_is_right(done), "{done:?}");
}

fn tokens(done: &Burst) -> Vec<u64> {
    done.iter().map(|op| op.token.0).collect()
}

/// Dequeues at time 0, which is never overdue.
fn dequeue(queue: &mut MbQueuePair) -> Burst {
    let mut done = Burst::new();
    queue.dequeue_burst(&mut done, usize::MAX, 0);
    done
}

/// All that is in flight.
fn drain(queue: &mut MbQueuePair) -> Burst {
    let mut done = Burst::new();
    while queue.in_flight > 0 {
        queue.flush();
        queue.dequeue_burst(&mut done, usize::MAX, 0);
    }
    done
}

#[test]
fn every_fill_of_every_kind_is_right() {
    let mut queue = open!(8, 1_000);
    queue.min_fill = [1; OpKind::COUNT];
    for kind in OpKind::ALL {
        for fill in 1..=8 {
            queue.stats = DeviceStats::default();
            assert_eq!(queue.enqueue_burst(&mut ops_of(kind, fill)), fill as usize);
            queue.flush();
            let done = dequeue(&mut queue);
            assert_eq!(
                tokens(&done),
                Vec::from_iter(0..fill),
                "{kind}: in the order of submission"
            );
            done.iter().for_each(|op| assert_right(op));
            let stats = queue.stats();
            assert_eq!((stats.batches, stats.batched), (1, fill), "{kind}");
            assert_eq!(
                (stats.scalar, stats.failed, stats.faults_caught),
                (0, 0, 0),
                "{kind}"
            );
        }
    }
}

#[test]
fn a_full_batch_runs_at_once() {
    for kind in OpKind::ALL {
        let mut queue = open!(16, u64::MAX);
        queue.enqueue_burst(&mut ops_of(kind, 8));
        let done = dequeue(&mut queue);
        assert_eq!(done.len(), 8, "{kind}");
        done.iter().for_each(|op| assert_right(op));
    }
}

/// No machine is imagined on which an op waits for ever: eight or more run without a flush and without a clock, any
/// number at their time or by flushes, and in lanes only where those pay.
#[test]
fn whatever_lanes_pay_from_every_op_runs() {
    for from in [1, 2, 8, NEVER] {
        let Some(mut queue) = open_with(32, 500, Options::default(), &fills(from)) else {
            return;
        };
        for kind in OpKind::ALL {
            for (count, now_ns, flushes) in [(16, 0, 0), (7, 500, 0), (7, 0, 7)] {
                queue.stats = DeviceStats::default();
                queue.enqueue_burst(&mut ops_of(kind, count));
                let mut done = Burst::new();
                (0..flushes).for_each(|_| queue.flush());
                for _ in 0..count {
                    queue.dequeue_burst(&mut done, usize::MAX, now_ns);
                }
                assert_eq!(done.len() as u64, count, "{kind} from {from}, at {now_ns}");
                done.iter().for_each(|op| assert_right(op));
                let pays = from as u64 <= count.min(8);
                assert_eq!(
                    queue.stats.scalar,
                    if pays { 0 } else { count },
                    "{kind} from {from}"
                );
            }
        }
    }
}

#[test]
fn one_call_runs_one_batch_and_no_kind_starves() {
    let mut queue = open!(64, u64::MAX);
    queue.enqueue_burst(&mut ops_of(OpKind::X25519Derive, 24));
    queue.enqueue_burst(&mut ops_of(OpKind::EcdsaP256, 16));
    let kinds: Vec<_> = (0..5)
        .map(|_| {
            let done = dequeue(&mut queue);
            assert_eq!(done.len(), 8);
            done[0].kind()
        })
        .collect();
    use OpKind::{EcdsaP256 as E, X25519Derive as X};
    assert_eq!(kinds, [E, X, E, X, X], "by turns");
}

#[test]
fn a_partial_batch_waits_for_its_time() {
    let mut queue = open!(16, 500);
    let at = |now_ns| op(now_ns, now_ns, &Request::x25519_derive(&[1; 32], &[9; 32]));
    queue.enqueue_burst(&mut Burst::from([at(1000), at(1300), at(1600)]));
    let mut done = Burst::new();
    assert_eq!(
        queue.dequeue_burst(&mut done, 16, 900),
        0,
        "a clock behind is no reason"
    );
    assert_eq!(queue.dequeue_burst(&mut done, 16, 1499), 0);
    assert_eq!(
        queue.dequeue_burst(&mut done, 16, 1500),
        3,
        "the oldest takes the others along"
    );
    assert_eq!(queue.stats().batches, 1);
}

#[test]
fn flush_runs_a_partial_batch_the_cheapest_first() {
    let mut queue = open!(32, u64::MAX);
    queue.enqueue_burst(&mut ops_of(OpKind::Rsa2048, 3));
    queue.enqueue_burst(&mut ops_of(OpKind::X25519Derive, 3));
    assert!(dequeue(&mut queue).is_empty());
    queue.flush();
    let done = dequeue(&mut queue);
    assert_eq!((done.len(), done[0].kind()), (3, OpKind::X25519Derive));
    assert!(dequeue(&mut queue).is_empty(), "one flush, one batch");
    queue.flush();
    assert_eq!(dequeue(&mut queue)[0].kind(), OpKind::Rsa2048);
    queue.flush();
    assert!(dequeue(&mut queue).is_empty());
}

#[test]
fn too_few_for_lanes_run_one_at_a_time() {
    let mut queue = open!(8, u64::MAX);
    queue.enqueue_burst(&mut ops_of(OpKind::Rsa2048, 2));
    for token in 0..2 {
        queue.flush();
        let done = dequeue(&mut queue);
        assert_eq!(tokens(&done), [token], "the other may still find company");
        assert_right(&done[0]);
    }
    queue.enqueue_burst(&mut ops_of(OpKind::EcdhP256Keygen, 2));
    queue.flush();
    assert_eq!(dequeue(&mut queue).len(), 2, "cheap ops wait for nobody");
    let stats = queue.stats();
    assert_eq!((stats.batches, stats.scalar), (0, 4));
}

#[test]
fn a_key_that_lanes_cannot_check_runs_alone() {
    let mut queue = open!(16, u64::MAX);
    let key = rsa(der::RSA_2048_E3);
    let mut ops: Burst = (0..9).map(|token| rsa_op(token, &key)).collect();
    queue.enqueue_burst(&mut ops);
    for token in 0..9 {
        let done = dequeue(&mut queue);
        assert_eq!(tokens(&done), [token], "waits for nobody");
        assert_right(&done[0]);
    }
    assert_eq!((queue.stats().batches, queue.stats().scalar), (0, 9));
}

#[test]
fn with_blinding_rsa_never_runs_in_lanes() {
    let options = Options { blinding: true };
    let Some(mut queue) = open_with(16, u64::MAX, options, &fills(3)) else {
        return;
    };
    for kind in OpKind::ALL {
        queue.stats = DeviceStats::default();
        queue.enqueue_burst(&mut ops_of(kind, 8));
        let done = drain(&mut queue);
        assert_eq!(tokens(&done), Vec::from_iter(0..8), "{kind}");
        done.iter().for_each(|op| assert_right(op));
        let stats = queue.stats();
        let wanted = if is_rsa(kind) { (0, 8) } else { (1, 0) };
        assert_eq!((stats.batches, stats.scalar), wanted, "{kind}");
    }
}

#[test]
fn refuses_what_exceeds_its_capacity_unchanged() {
    let mut queue = open!(3, 1_000);
    let mut ops: Burst = (0..5).map(derive_op).collect();
    assert_eq!(queue.enqueue_burst(&mut ops), 3);
    assert_eq!(tokens(&ops), [3, 4]);
    assert!(
        ops.iter()
            .all(|op| op.status == OpStatus::NotProcessed && op.input()[0] == op.token.0 as u8)
    );
    assert_eq!(queue.enqueue_burst(&mut ops), 0, "still full");
    queue.flush();
    assert_eq!(
        queue.enqueue_burst(&mut ops),
        0,
        "finished ops are in flight until given back"
    );

    let mut done = Burst::new();
    assert_eq!(queue.dequeue_burst(&mut done, 0, 0), 0);
    assert_eq!(
        queue.dequeue_burst(&mut done, 2, 0),
        2,
        "no more than asked for"
    );
    assert_eq!(queue.enqueue_burst(&mut ops), 2);
    assert_eq!(queue.dequeue_burst(&mut done, 9, 0), 1);
    assert_eq!(tokens(&done), [0, 1, 2]);
    assert_eq!((queue.stats().enqueued, queue.stats().dequeued), (5, 3));
}

#[test]
fn a_wrong_result_that_gives_the_key_away_is_caught_and_made_again() {
    let mut queue = open!(8, u64::MAX);
    let rsa = [OpKind::Rsa2048, OpKind::Rsa3072, OpKind::Rsa4096];
    for kind in rsa.into_iter().chain([OpKind::Ed25519]) {
        queue.stats = DeviceStats::default();
        queue.lanes.corrupt = std::array::from_fn(|lane| lane == 0 || lane == 5);
        queue.enqueue_burst(&mut ops_of(kind, 8));
        let done = dequeue(&mut queue);
        assert_eq!(done.len(), 8);
        done.iter().for_each(|op| assert_right(op));
        assert_eq!(
            (queue.stats().faults_caught, queue.stats().failed),
            (2, 0),
            "{kind}"
        );
    }
}

#[test]
fn a_result_that_stays_wrong_is_an_error_and_leaves_nothing() {
    for kind in [OpKind::Rsa2048, OpKind::Ed25519] {
        let mut queue = open!(8, u64::MAX);
        queue.lanes.corrupt[3] = true;
        queue.run_one = |op| op.status = OpStatus::Error;
        queue.enqueue_burst(&mut ops_of(kind, 8));
        for op in dequeue(&mut queue) {
            if op.token == Token(3) {
                assert_eq!(op.status, OpStatus::Error);
                assert!(op.output().iter().all(|byte| *byte == 0), "{kind}");
            } else {
                assert_right(&op);
            }
        }
        assert_eq!((queue.stats().faults_caught, queue.stats().failed), (1, 1));
    }
}

/// A point of X25519's with this order, which lanes serve.
const ORDER_8: [u8; 32] = [
    0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
    0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
];

/// The points of order 1, 2, 4 and 8, and what else reduces to them (cr.yp.to/ecdh.html).
#[test]
fn low_order_points_spoil_no_neighbour() {
    let mut queue = open!(8, u64::MAX);
    queue.min_fill = [1; OpKind::COUNT];
    let p_plus = |low: u8| {
        let mut point = [0xff; 32];
        (point[0], point[31]) = (low, 0x7f);
        point
    };
    let with_top_bit = |mut point: [u8; 32]| {
        point[31] |= 0x80;
        point
    };
    let one = std::array::from_fn(|i| u8::from(i == 0));
    let low = [
        [0; 32],
        one,
        ORDER_8,
        p_plus(0xec),
        p_plus(0xed),
        p_plus(0xee),
        with_top_bit(one),
    ];
    for point in low {
        // Once where the spare lanes copy it, once among seven others.
        for (place, fill) in [(0, 2), (4, 8)] {
            let peer = |lane| {
                if lane == place {
                    point
                } else {
                    [9 + lane as u8; 32]
                }
            };
            let mut ops: Burst = (0..fill)
                .map(|lane| op(lane, 0, &Request::x25519_derive(&[7; 32], &peer(lane))))
                .collect();
            queue.enqueue_burst(&mut ops);
            for op in drain(&mut queue) {
                if op.token == Token(place) {
                    assert_eq!(
                        (op.status, op.output()),
                        (OpStatus::Invalid, &[0; 32][..]),
                        "{point:x?}"
                    );
                } else {
                    assert_right(&op);
                }
            }
        }
    }
    assert_eq!(queue.stats().faults_caught, 0, "nothing was run again");
}

/// The CPU's answers are RFC 7748's, by cryptodev's own tests.
#[test]
fn x25519_agrees_with_the_cpu_on_any_bytes() {
    let mut queue = open!(8, u64::MAX);
    for round in 0..200 {
        let mut ops: Burst = (0..8)
            .map(|lane| {
                let mut bytes = [0; 64];
                spinlane_crypto::random::fill(&mut bytes);
                if lane == 7 {
                    bytes[32..].fill(0xff); // above p, top bit set
                }
                let (private, peer) = (bytes[..32].try_into(), bytes[32..].try_into());
                let (private, peer) = (private.expect("32 bytes"), peer.expect("32 bytes"));
                if round % 2 == 0 {
                    op(lane, 0, &Request::x25519_derive(private, peer))
                } else {
                    op(lane, 0, &Request::x25519_keygen(private))
                }
            })
            .collect();
        queue.enqueue_burst(&mut ops);
        dequeue(&mut queue).iter().for_each(|op| assert_right(op));
    }
}

/// Wycheproof's vectors are asked of the device in tests/tests/known_answers.rs; these are many.
#[test]
fn ecdh_agrees_with_the_cpu_on_any_scalars_and_points() {
    let mut queue = open!(8, u64::MAX);
    let (mut short, mut long) = ([0; 32], [0; 48]);
    for round in 0..100 {
        let mut ops: Burst = (0..8)
            .map(|lane| {
                curve::random_scalar::<P256>(&mut short);
                curve::random_scalar::<P384>(&mut long);
                let peer = EcP256Key::from_scalar(&short)
                    .expect("in range")
                    .public_key();
                let peer_long = EcP384Key::from_scalar(&long)
                    .expect("in range")
                    .public_key();
                curve::random_scalar::<P256>(&mut short);
                curve::random_scalar::<P384>(&mut long);
                let request = match round % 4 {
                    0 => Request::ecdh_p256_keygen(&short),
                    1 => Request::ecdh_p256_derive(&short, &peer),
                    2 => Request::ecdh_p384_keygen(&long),
                    _ => Request::ecdh_p384_derive(&long, &peer_long),
                };
                op(lane, 0, &request.expect("in range"))
            })
            .collect();
        queue.enqueue_burst(&mut ops);
        dequeue(&mut queue).iter().for_each(|op| assert_right(op));
    }
    assert_eq!((queue.stats().batches, queue.stats().scalar), (100, 0));
}

#[test]
fn a_bad_peer_spoils_no_neighbour() {
    let mut queue = open!(8, u64::MAX);
    for kind in [
        OpKind::EcdhP256Derive,
        OpKind::EcdhP384Derive,
        OpKind::EcdhP256Exchange,
        OpKind::EcdhP384Exchange,
        OpKind::X25519Exchange,
        OpKind::MlKem768Encap,
        OpKind::MlKem768Decap,
    ] {
        for place in [0, 5] {
            let mut ops = ops_of(kind, 8);
            let (off256, off384) = ([4; 65], [4; 97]);
            let request = match kind {
                OpKind::EcdhP256Derive => Request::ecdh_p256_derive(&[9; 32], &off256),
                OpKind::EcdhP256Exchange => Request::ecdh_p256_exchange(&[9; 32], &off256),
                OpKind::EcdhP384Exchange => Request::ecdh_p384_exchange(&[9; 48], &off384),
                OpKind::X25519Exchange => Ok(Request::x25519_exchange(&[9; 32], &ORDER_8)),
                // Coefficients of 4095, and a key without its hash.
                OpKind::MlKem768Encap => Ok(Request::ml_kem_768_encap(&[0xff; 1184], &[9; 32])),
                OpKind::MlKem768Decap => Ok(Request::ml_kem_768_decap(&[9; 2400], &[9; 1088])),
                _ => Request::ecdh_p384_derive(&[9; 48], &off384),
            };
            ops[place] = op(place as u64, 0, &request.expect("in range"));
            queue.enqueue_burst(&mut ops);
            for (lane, done) in dequeue(&mut queue).iter().enumerate() {
                if lane == place {
                    assert_eq!(done.status, OpStatus::Invalid);
                    assert!(done.output().iter().all(|byte| *byte == 0));
                } else {
                    assert_right(done);
                }
            }
        }
    }
    assert_eq!(queue.stats().faults_caught, 0);
}

#[test]
fn the_same_digest_is_never_signed_alike() {
    let mut queue = open!(8, u64::MAX);
    let key = p256(1);
    let mut ops: Burst = (0..8)
        .map(|lane| {
            op(
                lane,
                0,
                &Request::ecdsa_p256(&key, &[4; 32]).expect("32 bytes"),
            )
        })
        .collect();
    queue.enqueue_burst(&mut ops);
    let done = dequeue(&mut queue);
    done.iter().for_each(|op| assert_right(op));
    let mut halves: Vec<_> = done.iter().map(|op| op.output()[..32].to_vec()).collect();
    halves.sort();
    halves.dedup();
    assert_eq!(halves.len(), 8, "eight nonces");
}

#[test]
fn digests_that_lanes_refuse_are_signed_too() {
    let mut queue = open!(8, u64::MAX);
    let key = p256(1);
    let digests = [[0; 32], [0xff; 32], [0x80; 32]];
    let mut ops: Burst = digests
        .iter()
        .map(|digest| op(0, 0, &Request::ecdsa_p256(&key, digest).expect("32 bytes")))
        .collect();
    queue.enqueue_burst(&mut ops);
    drain(&mut queue).iter().for_each(|op| assert_right(op));
    assert_eq!(queue.stats().faults_caught, 0);
}

/// Values at which crypto_mb's X25519 was found to be wrong.
#[test]
fn peers_that_lanes_get_wrong_are_right() {
    let mut queue = open!(8, u64::MAX);
    let near_p = |low: u8, top: u8, (at, byte): (usize, u8)| {
        let mut peer = [0xff; 32];
        (peer[0], peer[31]) = (low, top);
        peer[at] &= byte;
        peer
    };
    let ones = |bits: usize| {
        std::array::from_fn(|i| (((1u32 << bits.saturating_sub(8 * i).min(8)) - 1) & 0xff) as u8)
    };
    let peers = [
        near_p(0xeb, 0x7f, (0, 0xff)),
        near_p(0xdc, 0xff, (0, 0xff)),
        near_p(0xe9, 0x3f, (0, 0xff)),
        near_p(0xec, 0xff, (20, 0xf7)),
        near_p(0xea, 0xff, (15, 0xfe)),
        ones(85),
        ones(93),
    ];
    for private in 1..20 {
        let mut ops: Burst = peers
            .iter()
            .map(|peer| op(0, 0, &Request::x25519_derive(&[private; 32], peer)))
            .collect();
        queue.enqueue_burst(&mut ops);
        drain(&mut queue).iter().for_each(|op| assert_right(op));
    }
}

#[test]
fn an_op_that_nobody_prepared_is_invalid() {
    let mut queue = open!(8, u64::MAX);
    queue.enqueue_burst(&mut Burst::from([Op::new()]));
    assert_eq!(dequeue(&mut queue)[0].status, OpStatus::Invalid);
    assert_eq!(queue.stats().failed, 1);
}

#[test]
fn nothing_secret_stays_in_the_lanes() {
    let mut queue = open!(8, u64::MAX);
    queue.min_fill = [1; OpKind::COUNT];
    for kind in OpKind::ALL {
        queue.enqueue_burst(&mut ops_of(kind, 3));
        queue.flush();
        dequeue(&mut queue);
        assert!(queue.lanes.holds_no_secret(), "{kind}");
    }
}
