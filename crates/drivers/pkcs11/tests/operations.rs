//! Every operation on a real token, checked by OpenSSL, with each set of mechanisms that tokens have.

mod support;

use std::fs::{self, File};
use std::path::Path;
use std::sync::Mutex;

use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Verifier};
use spinlane_crypto::digest::Digest;
use spinlane_crypto::padding;
use spinlane_driver_pkcs11::{Error, Failure, KeyProblem, Operation, TokenKey};
use spinlane_pkcs11_shim::{Control, Counter, Knob};
use support::{in_process, quick, run};

const MESSAGE: &[u8] = b"what a handshake signs";

fn sha(digest: Digest) -> Vec<u8> {
    let mut hash = vec![0; digest.len()];
    digest.hash(&[MESSAGE], &mut hash);
    hash
}

fn check(key: &PKeyRef<Private>, setup: impl FnOnce(&mut Verifier<'_>), signature: &[u8]) -> bool {
    let mut verifier = Verifier::new(MessageDigest::sha256(), key).unwrap();
    setup(&mut verifier);
    verifier.verify_oneshot(signature, MESSAGE).unwrap()
}

fn is_pkcs1(key: &PKeyRef<Private>, signature: &[u8]) -> bool {
    check(key, |_| (), signature)
}

fn is_pss(key: &PKeyRef<Private>, signature: &[u8]) -> bool {
    let pss = |verifier: &mut Verifier<'_>| {
        verifier.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
        verifier
            .set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)
            .unwrap();
    };
    check(key, pss, signature)
}

/// DigestInfo of [`MESSAGE`] under SHA-256, taken out of a block that is padded with it.
fn digest_info() -> Vec<u8> {
    let mut block = [0; 256];
    padding::pkcs1_v15(Digest::Sha256, &sha(Digest::Sha256), &mut block).unwrap();
    padding::pkcs1_v15_message(&block).unwrap().to_vec()
}

const PSS: Operation = Operation::RsaPss {
    digest: Digest::Sha256,
    salt_len: 32,
};

#[test]
fn rsa_on_whole_blocks() {
    in_process("rsa_on_whole_blocks", |bench| {
        let device = bench.device(quick(2));
        let mut queue = device.queue(8).unwrap();
        for (label, len) in [("rsa2048", 256), ("rsa3072", 384)] {
            let (key, own) = (
                device.key(&bench.uri(label), None).unwrap(),
                bench.private(label),
            );
            assert!(key.object::<TokenKey>().unwrap().takes_padded_blocks());
            let mut block = vec![0; len];
            padding::pkcs1_v15(Digest::Sha256, &sha(Digest::Sha256), &mut block).unwrap();
            let signature = run(&mut queue, &key, Operation::Private, &block).unwrap();
            assert!(is_pkcs1(&own, &signature));
            padding::pss(Digest::Sha256, &sha(Digest::Sha256), 32, &mut block).unwrap();
            let signature = run(&mut queue, &key, Operation::Private, &block).unwrap();
            assert!(is_pss(&own, &signature));
            let signature = run(&mut queue, &key, Operation::RsaPkcs1, &digest_info()).unwrap();
            assert!(is_pkcs1(&own, &signature));
            let signature = run(&mut queue, &key, PSS, &sha(Digest::Sha256)).unwrap();
            assert!(is_pss(&own, &signature));
            // A block that is no block of this key.
            let refused = run(&mut queue, &key, Operation::Private, &vec![0xff; len]);
            assert!(refused.is_err(), "not below the modulus");
            let refused = run(&mut queue, &key, Operation::Private, &block[1..]);
            assert!(refused.is_err(), "too short");
            let signature = run(&mut queue, &key, Operation::RsaPkcs1, &digest_info()).unwrap();
            assert!(is_pkcs1(&own, &signature), "what failed has broken nothing");
        }
    });
}

/// A premaster secret, encrypted for the key.
fn encrypt(own: &PKey<Private>, padding: Padding, message: &[u8]) -> Vec<u8> {
    let rsa = own.rsa().unwrap();
    let mut cipher = vec![0; rsa.size() as usize];
    let len = rsa.public_encrypt(message, &mut cipher, padding).unwrap();
    assert_eq!(len, cipher.len());
    cipher
}

#[test]
fn rsa_decryption_gives_the_padded_block_whatever_the_token_takes_off() {
    in_process(
        "rsa_decryption_gives_the_padded_block_whatever_the_token_takes_off",
        |bench| {
            let own = bench.private("rsa2048");
            let secret = [0x42; 48];
            let good = encrypt(&own, Padding::PKCS1, &secret);
            let mut bad = [3; 256];
            (bad[0], bad[1]) = (0, 1);
            let bad = encrypt(&own, Padding::NONE, &bad);
            for hide in [0, Control::HIDE_RSA_RAW] {
                bench.control.set(Knob::Hide, hide);
                let device = bench.device(quick(1));
                let mut queue = device.queue(8).unwrap();
                let key = device.key(&bench.uri("rsa2048"), None).unwrap();
                let block = run(&mut queue, &key, Operation::RsaDecrypt, &good).unwrap();
                assert_eq!((block.len(), &block[..2]), (256, &[0, 2][..]));
                assert!(block.ends_with(&[&[0][..], &secret].concat()), "{hide}");
                assert!(block[2..256 - 49].iter().all(|byte| *byte != 0));
                // No error tells that the padding was wrong.
                let block = run(&mut queue, &key, Operation::RsaDecrypt, &bad).unwrap();
                let is_message = block.starts_with(&[0, 2]) && block[2..].contains(&0);
                assert!(!is_message, "{hide} {block:?}");
            }
        },
    );
}

#[test]
fn rsa_where_the_token_pads() {
    in_process("rsa_where_the_token_pads", |bench| {
        let own = bench.private("rsa2048");
        let device = bench.device(quick(2));
        let mut queue = device.queue(8).unwrap();
        let mut padded = vec![0; 256];
        padding::pkcs1_v15(Digest::Sha256, &sha(Digest::Sha256), &mut padded).unwrap();

        bench.control.set(Knob::Hide, Control::HIDE_RSA_RAW);
        let key = device.key(&bench.uri("rsa2048"), None).unwrap();
        assert!(!key.object::<TokenKey>().unwrap().takes_padded_blocks());
        let signature = run(&mut queue, &key, Operation::Private, &padded).unwrap();
        assert!(
            is_pkcs1(&own, &signature),
            "the padding was taken off and put on again"
        );
        let signature = run(&mut queue, &key, Operation::RsaPkcs1, &digest_info()).unwrap();
        assert!(is_pkcs1(&own, &signature));
        let signature = run(&mut queue, &key, PSS, &sha(Digest::Sha256)).unwrap();
        assert!(is_pss(&own, &signature));
        let mut pss = vec![0; 256];
        padding::pss(Digest::Sha256, &sha(Digest::Sha256), 32, &mut pss).unwrap();
        let refused = run(&mut queue, &key, Operation::Private, &pss);
        assert_eq!(refused, Err(Failure::Unsupported), "its hash is not known");

        let hide = Control::HIDE_RSA_RAW + Control::HIDE_RSA_PKCS;
        bench.control.set(Knob::Hide, hide);
        let key = device.key(&bench.uri("rsa2048"), None).unwrap();
        let signature = run(&mut queue, &key, PSS, &sha(Digest::Sha256)).unwrap();
        assert!(is_pss(&own, &signature));
        let refused = run(&mut queue, &key, Operation::RsaPkcs1, &digest_info());
        assert_eq!(refused, Err(Failure::Unsupported));

        bench.control.set(Knob::Hide, hide + Control::HIDE_RSA_PSS);
        let error = device.key(&bench.uri("rsa2048"), None).unwrap_err();
        let is_named = matches!(
            &error,
            Error::Key {
                problem: KeyProblem::Mechanism(_),
                ..
            }
        );
        assert!(is_named, "{error}");
    });
}

/// What `run` leaves in the log of its thread, by a file.
fn logged(file: &Path, run: impl FnOnce()) -> String {
    let log = Mutex::new(File::create(file).unwrap());
    let subscriber = tracing_subscriber::fmt().with_writer(log).finish();
    tracing::subscriber::with_default(subscriber, run);
    fs::read_to_string(file).unwrap()
}

#[test]
fn a_key_that_signs_by_pkcs1_v15_alone_is_told_of_at_the_start() {
    in_process(
        "a_key_that_signs_by_pkcs1_v15_alone_is_told_of_at_the_start",
        |bench| {
            let device = bench.device(quick(2));
            let pkcs1_alone = Control::HIDE_RSA_RAW | Control::HIDE_RSA_PSS;
            for (hide, is_told) in [
                (0, false),
                (Control::HIDE_RSA_RAW, false),
                (pkcs1_alone, true),
            ] {
                bench.control.set(Knob::Hide, hide);
                let said = logged(&bench.folder.join("log"), || {
                    let key = device.key(&bench.uri("rsa2048"), None).unwrap();
                    assert_eq!(key.object::<TokenKey>().unwrap().signs_pss(), !is_told);
                });
                let told = said.contains("PKCS#1 v1.5 alone") && said.contains("object=rsa2048");
                assert_eq!(told, is_told, "{said:?}");
            }
            // TLS 1.2 by PKCS#1 v1.5 is served, and what TLS 1.3 asks for is refused, not signed wrongly.
            let key = device.key(&bench.uri("rsa2048"), None).unwrap();
            let mut queue = device.queue(8).unwrap();
            let mut block = vec![0; 256];
            padding::pkcs1_v15(Digest::Sha256, &sha(Digest::Sha256), &mut block).unwrap();
            let signature = run(&mut queue, &key, Operation::Private, &block).unwrap();
            assert!(is_pkcs1(&bench.private("rsa2048"), &signature));
            padding::pss(Digest::Sha256, &sha(Digest::Sha256), 32, &mut block).unwrap();
            for (operation, input) in [
                (Operation::Private, &block[..]),
                (PSS, &sha(Digest::Sha256)),
            ] {
                let refused = run(&mut queue, &key, operation, input);
                assert_eq!(refused, Err(Failure::Unsupported));
            }
        },
    );
}

#[test]
fn signatures_on_curves() {
    in_process("signatures_on_curves", |bench| {
        let device = bench.device(quick(2));
        let mut queue = device.queue(8).unwrap();
        let (p256, p384) = (bench.private("p256"), bench.private("p384"));
        for (label, own, digest) in [
            ("p256", p256, Digest::Sha256),
            ("p384", p384, Digest::Sha384),
        ] {
            let key = device.key(&bench.uri(label), None).unwrap();
            let hash = sha(digest);
            let signature = run(&mut queue, &key, Operation::Private, &hash).unwrap();
            let (r, s) = signature.split_at(hash.len());
            let number = |bytes| openssl::bn::BigNum::from_slice(bytes).unwrap();
            let parts = openssl::ecdsa::EcdsaSig::from_private_components(number(r), number(s));
            let own = own.ec_key().unwrap();
            assert!(parts.unwrap().verify(&hash, &own).unwrap(), "{label}");
            let refused = run(&mut queue, &key, Operation::RsaDecrypt, &hash);
            assert_eq!(refused, Err(Failure::Unsupported));
        }
        let key = device.key(&bench.uri("ed25519"), None).unwrap();
        let own = bench.private("ed25519");
        let signature = run(&mut queue, &key, Operation::Private, MESSAGE).unwrap();
        let mut verifier = Verifier::new_without_digest(&own).unwrap();
        assert!(verifier.verify_oneshot(&signature, MESSAGE).unwrap());
        for (hide, label) in [
            (Control::HIDE_ECDSA, "p256"),
            (Control::HIDE_EDDSA, "ed25519"),
        ] {
            bench.control.set(Knob::Hide, hide);
            let error = device.key(&bench.uri(label), None).unwrap_err();
            assert!(error.to_string().contains("CKM_"), "{error}");
        }
    });
}

#[test]
fn a_wrong_result_does_not_leave() {
    in_process("a_wrong_result_does_not_leave", |bench| {
        let device = bench.device(quick(1));
        let mut queue = device.queue(8).unwrap();
        let labels = ["rsa2048", "p256", "p384", "ed25519"];
        let keys = labels.map(|label| device.key(&bench.uri(label), None).unwrap());
        let inputs = [
            {
                let mut block = vec![0; 256];
                padding::pss(Digest::Sha256, &[1; 32], 32, &mut block).unwrap();
                block
            },
            vec![1; 32],
            vec![1; 48],
            vec![1; 100],
        ];
        for (key, input) in keys.iter().zip(&inputs) {
            // Once wrong: computed again. The next call's number is even: the first try is wrong.
            if bench.control.count(Counter::Operations) % 2 == 0 {
                run(&mut queue, key, Operation::Private, input).unwrap();
            }
            let before = device.counts().wrong_results;
            bench.control.set(Knob::WrongEvery, 2);
            let result = run(&mut queue, key, Operation::Private, input).unwrap();
            assert!(
                key.as_remote().unwrap().verify(input, &result),
                "{:?}",
                key.as_remote().unwrap()
            );
            assert_eq!(device.counts().wrong_results, before + 1);
            // Wrong twice: an error.
            bench.control.set(Knob::WrongEvery, 1);
            let result = run(&mut queue, key, Operation::Private, input);
            assert_eq!(result, Err(Failure::Wrong));
            bench.control.set(Knob::WrongEvery, 0);
        }
        // Switched off, it leaves.
        let settings = spinlane_driver_pkcs11::Settings {
            verify: false,
            ..quick(1)
        };
        let device = bench.device(settings);
        let mut queue = device.queue(8).unwrap();
        bench.control.set(Knob::WrongEvery, 1);
        let result = run(&mut queue, &keys[1], Operation::Private, &inputs[1]).unwrap();
        assert!(!keys[1].as_remote().unwrap().verify(&inputs[1], &result));
        bench.control.set(Knob::WrongEvery, 0);
    });
}
