//! The device contract over a real token.

mod support;

use spinlane_crypto::digest::Digest;
use spinlane_crypto::{PublicKey, padding};
use spinlane_cryptodev::{
    Burst, Device, Op, OpKind, OpStatus, QueuePair, QueuePairConfig, Request, Token, cpu, test_keys,
};
use spinlane_driver_pkcs11::{Failure, NAME, Settings, TokenKey};
use spinlane_pkcs11_shim::{Control, Counter, Knob};
use support::{in_process, quick, wait_for};

const CONFIG: QueuePairConfig = QueuePairConfig {
    capacity: 8,
    max_delay_ns: 0,
};

fn op(token: u64, request: &Request<'_>) -> Box<Op> {
    let mut op = Op::new();
    op.prepare(Token(token), request, 0);
    op
}

/// Sends `op` and waits for it.
fn run(queue_pair: &mut dyn QueuePair, op: Box<Op>) -> Box<Op> {
    let (mut ops, mut done) = (Burst::from([op]), Burst::new());
    assert_eq!(queue_pair.enqueue_burst(&mut ops), 1);
    while queue_pair.dequeue_burst(&mut done, 8, 0) == 0 {
        std::thread::yield_now();
    }
    done.pop().unwrap()
}

fn count(queue_pair: &dyn QueuePair, name: &str) -> u64 {
    let all = queue_pair.xstats();
    let found = all.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("{name} in {all:?}")).1
}

#[test]
fn every_kind_is_signed_by_the_token() {
    in_process("every_kind_is_signed_by_the_token", |bench| {
        let device = bench.device(quick(2));
        let mut queue_pair = device.queue_pair(CONFIG).unwrap();
        assert_eq!((device.name(), queue_pair.name()), (NAME, NAME));
        let kinds: Vec<_> = device.capabilities().iter().collect();
        use OpKind::{EcdsaP256, EcdsaP384, Ed25519, Rsa2048, Rsa3072, Rsa4096};
        assert_eq!(
            kinds,
            [Rsa2048, Rsa3072, Rsa4096, EcdsaP256, EcdsaP384, Ed25519]
        );
        assert!(!queue_pair.is_inline() && !queue_pair.batches());
        // The driver ends what takes too long, before a poll core gives it up.
        let bounds = quick(2).wait_at_most + quick(2).stuck_after;
        assert!(u128::from(queue_pair.health().op_deadline_ns) > bounds.as_nanos());

        let labels = ["rsa2048", "rsa3072", "p256", "p384", "ed25519"];
        let inputs = [256, 384, 32, 48, 130].map(|len| {
            let mut input = vec![7; len];
            if len >= 256 {
                padding::pss(Digest::Sha256, &[7; 32], 32, &mut input).unwrap();
            }
            input
        });
        for (label, input) in labels.into_iter().zip(&inputs) {
            let key = device.key(&bench.uri(label), None).unwrap();
            assert!(queue_pair.holds(&key));
            assert_eq!((key.driver(), key.as_local().is_none()), (Some(NAME), true));
            let request = match label {
                "p256" => Request::ecdsa_p256(&key, input),
                "p384" => Request::ecdsa_p384(&key, input),
                "ed25519" => Request::ed25519(&key, input),
                _ => Request::rsa_private(&key, input),
            };
            let op = run(&mut *queue_pair, op(3, &request.unwrap()));
            assert_eq!(
                (op.token, op.status),
                (Token(3), OpStatus::Success),
                "{label}"
            );
            let public = key.as_remote().unwrap();
            assert!(public.verify(input, op.output()), "{label}");
        }
        let stats = queue_pair.stats();
        assert_eq!((stats.enqueued, stats.dequeued, stats.failed), (5, 5, 0));
    });
}

#[test]
fn what_the_token_cannot_serve_is_given_back_as_it_came() {
    in_process(
        "what_the_token_cannot_serve_is_given_back_as_it_came",
        |bench| {
            let (device, other) = (bench.device(quick(1)), bench.device(quick(1)));
            let mut queue_pair = device.queue_pair(CONFIG).unwrap();
            let local = test_keys::p256(1);
            let foreign = other.key(&bench.uri("p256"), None).unwrap();
            assert!(!queue_pair.holds(&local));
            assert!(!queue_pair.holds(&foreign), "a key is its own device's");
            for key in [&local, &foreign] {
                let request = Request::ecdsa_p256(key, &[1; 32]).unwrap();
                let op = run(&mut *queue_pair, op(1, &request));
                assert_eq!(
                    (op.status, op.input()),
                    (OpStatus::NotProcessed, &[1; 32][..])
                );
            }
            let exchange = run(&mut *queue_pair, op(2, &Request::x25519_keygen(&[7; 32])));
            assert_eq!(exchange.status, OpStatus::NotProcessed);
            let never_prepared = run(&mut *queue_pair, Op::new());
            assert_ne!(never_prepared.status, OpStatus::Success);

            // A block whose digest would have to be known.
            bench.control.set(Knob::Hide, Control::HIDE_RSA_RAW);
            let key = device.key(&bench.uri("rsa2048"), None).unwrap();
            let mut block = vec![0; 256];
            padding::pss(Digest::Sha256, &[7; 32], 32, &mut block).unwrap();
            let request = Request::rsa_private(&key, &block).unwrap();
            assert_eq!(
                run(&mut *queue_pair, op(3, &request)).status,
                OpStatus::NotProcessed
            );
            padding::pkcs1_v15(Digest::Sha256, &[7; 32], &mut block).unwrap();
            let request = Request::rsa_private(&key, &block).unwrap();
            assert_eq!(
                run(&mut *queue_pair, op(3, &request)).status,
                OpStatus::Success
            );
        },
    );
}

#[test]
fn failures_are_errors_with_a_counted_reason() {
    in_process("failures_are_errors_with_a_counted_reason", |bench| {
        let settings = Settings {
            stuck_after: std::time::Duration::from_millis(100),
            ..quick(1)
        };
        let device = bench.device(settings);
        let key = device.key(&bench.uri("p256"), None).unwrap();
        let mut queue_pair = device.queue_pair(CONFIG).unwrap();
        let request = Request::ecdsa_p256(&key, &[1; 32]).unwrap();
        let cases = [
            (Knob::LoseEvery, "failed_session_lost"),
            (Knob::Absent, "failed_token_away"),
            (Knob::WrongEvery, "failed_wrong_result"),
            (Knob::ErrorEvery, "failed_module"),
            (Knob::Hang, "failed_stuck"),
        ];
        for (knob, name) in cases {
            bench.control.set(knob, 1);
            let op = run(&mut *queue_pair, op(1, &request));
            assert_eq!(op.status, OpStatus::Error, "{name}");
            assert!(op.output().iter().all(|byte| *byte == 0), "{name}");
            assert_eq!(count(&*queue_pair, name), 1, "{name}");
            bench.control.set(knob, 0);
            wait_for("service", || {
                run(&mut *queue_pair, self::op(1, &request)).status == OpStatus::Success
            });
        }
        bench.control.set(Knob::Release, 1);
        let stats = queue_pair.stats();
        assert_eq!(stats.enqueued, stats.dequeued);
        assert!(stats.failed >= 5);
    });
}

#[test]
fn a_full_queue_pair_refuses_and_a_reset_one_starts_afresh() {
    in_process(
        "a_full_queue_pair_refuses_and_a_reset_one_starts_afresh",
        |bench| {
            let device = bench.device(Settings {
                stuck_after: std::time::Duration::from_secs(1000),
                ..quick(1)
            });
            let key = device.key(&bench.uri("p256"), None).unwrap();
            let mut queue_pair = device.queue_pair(CONFIG).unwrap();
            let request = Request::ecdsa_p256(&key, &[1; 32]).unwrap();
            bench.control.set(Knob::Hang, 1);
            let mut ops: Burst = (0..20).map(|token| op(token, &request)).collect();
            assert_eq!(queue_pair.enqueue_burst(&mut ops), 8);
            assert_eq!(
                (ops.len(), ops[0].token),
                (12, Token(8)),
                "the others were refused"
            );
            wait_for("the first", || bench.control.count(Counter::Hanging) == 1);
            queue_pair.reset();
            assert_eq!(queue_pair.enqueue_burst(&mut ops), 8);
            bench.control.set(Knob::Release, 1);
            let mut done = Burst::new();
            wait_for("those after the reset", || {
                queue_pair.dequeue_burst(&mut done, 64, 0);
                done.len() == 8
            });
            let tokens: Vec<_> = done.iter().map(|op| op.token.0).collect();
            assert_eq!(tokens, [8, 9, 10, 11, 12, 13, 14, 15]);
            assert!(done.iter().all(|op| op.status == OpStatus::Success));
            device.close();
            let failed = run(&mut *queue_pair, op(1, &request));
            assert_eq!(failed.status, OpStatus::Error, "{}", Failure::Stopped);
        },
    );
}

#[test]
fn a_token_that_pads_for_itself_signs_the_hash_of_a_pss_block() {
    in_process(
        "a_token_that_pads_for_itself_signs_the_hash_of_a_pss_block",
        |bench| {
            let hidden = Control::HIDE_RSA_RAW | Control::HIDE_RSA_PKCS;
            bench.control.set(Knob::Hide, hidden);
            let device = bench.device(quick(2));
            assert!(device.capabilities().has(OpKind::Rsa2048));
            let key = device.key(&bench.uri("rsa2048"), None).unwrap();
            assert!(key.object::<TokenKey>().unwrap().signs_pss());
            let mut queue_pair = device.queue_pair(CONFIG).unwrap();
            for digest in [Digest::Sha256, Digest::Sha384, Digest::Sha512] {
                let hash = vec![7; digest.len()];
                let mut block = vec![0; 256];
                padding::pss(digest, &hash, digest.len(), &mut block).unwrap();
                let request = Request::rsa_private(&key, &block).unwrap();
                let op = run(&mut *queue_pair, op_of(&request.of_pss(digest, &hash)));
                assert_eq!(op.status, OpStatus::Success, "{digest:?}");
                // The salt is another, so that the block is too.
                assert!(!key.as_remote().unwrap().verify(&block, op.output()));
                assert!(cpu::result_is_right(&op));
                // Another hash is not what was signed.
                let other = request.of_pss(digest, &vec![8; digest.len()]);
                let PublicKey::Rsa(public) = key.as_remote().unwrap() else {
                    panic!("an RSA key");
                };
                let mut wrong = Op::new();
                wrong.prepare(Token(4), &other, 0);
                assert!(!wrong.pss().unwrap().is_signed(public, op.output()));

                // A block alone does not tell.
                let op = run(&mut *queue_pair, op_of(&request));
                assert_eq!(op.status, OpStatus::NotProcessed, "{digest:?}");
            }
            assert_eq!(count(&*queue_pair, "failed_other"), 3);
        },
    );
}

fn op_of(request: &Request<'_>) -> Box<Op> {
    op(5, request)
}

#[test]
fn a_key_is_found_by_name_and_a_device_in_front_knows_it_too() {
    in_process(
        "a_key_is_found_by_name_and_a_device_in_front_knows_it_too",
        |bench| {
            let device: Box<dyn Device> = Box::new(bench.device(quick(2)));
            let key = device
                .own_key(&bench.uri("p256").to_string(), None)
                .unwrap();
            assert_eq!(key.driver(), Some(NAME));
            let refused = |name: &str| device.own_key(name, None).unwrap_err().to_string();
            assert!(refused("file:key").contains("pkcs11:"));
            assert!(refused("pkcs11:object=nothing").contains("no private key"));
        },
    );
}
