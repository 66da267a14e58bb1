//! Requests, ops, and what the CPU makes of them.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use proptest::prelude::*;
use spinlane_crypto::digest::Digest;
use spinlane_crypto::test_keys::der;
use spinlane_crypto::{Key, mlkem};
use spinlane_cryptodev::test_keys::{ed25519, p256, p384, rsa};
use spinlane_cryptodev::{KeyHandle, Op, OpKind, OpStatus, Request, RequestError, Token, cpu};

fn bytes(hex: &str) -> [u8; 32] {
    std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex"))
}

fn run(request: &Request<'_>) -> Box<Op> {
    let mut op = Op::new();
    op.prepare(Token(7), request, 11);
    cpu::run(&mut op);
    op
}

/// Section 5.2. The second point has its unused top bit set.
#[test]
fn x25519_of_rfc_7748() {
    for (private, peer, expected) in [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ] {
        let op = run(&Request::x25519_derive(&bytes(private), &bytes(peer)));
        assert_eq!(op.status, OpStatus::Success);
        assert_eq!(op.output(), bytes(expected));
    }
    let mut nine = [0; 32];
    nine[0] = 9;
    let op = run(&Request::x25519_keygen(&nine));
    assert_eq!(
        op.output(),
        bytes("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079")
    );
}

#[test]
fn a_low_order_point_is_invalid_and_leaves_nothing() {
    for peer in [[0; 32], std::array::from_fn(|i| u8::from(i == 0))] {
        let op = run(&Request::x25519_derive(&[5; 32], &peer));
        assert_eq!(op.status, OpStatus::Invalid);
        assert_eq!(op.output(), [0; 32]);
    }
}

#[test]
fn ecdsa_verifies() {
    let key = p256(3);
    let Some(Key::EcP256(ec)) = key.as_local() else {
        panic!("a P-256 key")
    };
    let mut digest = [0; 32];
    Digest::Sha256.hash(&[b"a message"], &mut digest);
    let op = run(&Request::ecdsa_p256(&key, &digest).expect("32 bytes"));
    assert_eq!(op.status, OpStatus::Success);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, ec.public_key())
        .verify(b"a message", op.output())
        .expect("verifies");
    let signature: [u8; 64] = op.output().try_into().expect("64 bytes");
    assert!(ec.verify(&digest, &signature));
    let mut forged = signature;
    forged[40] ^= 1;
    assert!(!ec.verify(&digest, &forged));
    assert!(!ec.verify(&[0; 32], &signature));
    assert!(!ec.verify(&digest, &[0; 64]));
}

/// What Wycheproof does not ask (tests/tests/known_answers.rs has its vectors): the edges of the
/// requests themselves.
#[test]
fn operands_out_of_range_are_named() {
    let (p384, ed25519) = (p384(1), ed25519(1));
    assert_eq!(
        Request::ecdsa_p384(&p384, &[1; 32]).err(),
        Some(RequestError::Length {
            what: "digest",
            wanted: 48,
            got: 32
        })
    );
    assert_eq!(
        Request::ecdsa_p384(&ed25519, &[1; 48]).err(),
        Some(RequestError::WrongKey {
            wanted: "P-384",
            got: "Ed25519"
        })
    );
    assert_eq!(
        Request::ed25519(&p384, b"").err(),
        Some(RequestError::WrongKey {
            wanted: "Ed25519",
            got: "P-384"
        })
    );
    assert_eq!(
        Request::ed25519(&ed25519, &[1; 513]).err(),
        Some(RequestError::TooLong {
            what: "message",
            most: OpKind::Ed25519.input_len(),
            got: OpKind::Ed25519.input_len() + 1
        })
    );
    let range = |curve| Some(RequestError::ScalarRange { curve });
    for byte in [0, 0xff] {
        let (short, long) = ([byte; 32], [byte; 48]);
        assert_eq!(Request::ecdh_p256_keygen(&short).err(), range("P-256"));
        assert_eq!(
            Request::ecdh_p256_derive(&short, &[4; 65]).err(),
            range("P-256")
        );
        assert_eq!(Request::ecdh_p384_keygen(&long).err(), range("P-384"));
        assert_eq!(
            Request::ecdh_p384_derive(&long, &[4; 97]).err(),
            range("P-384")
        );
    }
}

#[test]
fn a_peer_off_the_curve_is_invalid_and_leaves_nothing() {
    let off = run(&Request::ecdh_p256_derive(&[5; 32], &[4; 65]).expect("in range"));
    assert_eq!(
        (off.status, off.output()),
        (OpStatus::Invalid, &[0; 32][..])
    );
    let off = run(&Request::ecdh_p384_derive(&[5; 48], &[4; 97]).expect("in range"));
    assert_eq!(
        (off.status, off.output()),
        (OpStatus::Invalid, &[0; 48][..])
    );
}

#[test]
fn rsa_verifies_with_every_exponent() {
    for der in [
        der::RSA_2048,
        der::RSA_2048_E3,
        der::RSA_2048_P_BELOW_Q,
        der::RSA_3072,
        der::RSA_4096,
    ] {
        let key = rsa(der);
        let Some(Key::Rsa(rsa)) = key.as_local() else {
            panic!("an RSA key")
        };
        let block = vec![0x42; rsa.modulus_len()];
        let op = run(&Request::rsa_private(&key, &block).expect("below the modulus"));
        assert_eq!(op.status, OpStatus::Success);
        assert!(rsa.verify_raw(op.output(), &block));
        assert!(!rsa.verify_raw(&block, op.output()));
        assert!(!rsa.verify_raw(&op.output()[1..], &block));
        assert!(!rsa.verify_raw(op.output(), &block[1..]));
        assert!(!rsa.verify_raw(rsa.modulus(), &block), "not a residue");
    }
}

#[test]
fn an_op_that_nobody_prepared_is_invalid() {
    let mut op = Op::new();
    cpu::run(&mut op);
    assert_eq!(op.status, OpStatus::Invalid);
}

#[test]
fn an_op_carries_its_request_and_forgets_it() {
    let key = p256(1);
    let mut op = Op::new();
    op.prepare(
        Token(7),
        &Request::ecdsa_p256(&key, &[3; 32]).expect("32 bytes"),
        11,
    );
    assert_eq!(
        (op.token, op.status, op.enqueued_at_ns),
        (Token(7), OpStatus::NotProcessed, 11)
    );
    assert_eq!((op.kind(), op.input()), (OpKind::EcdsaP256, &[3; 32][..]));
    assert_eq!(Arc::strong_count(&key), 2, "an op in flight holds its key");
    op.recycle();
    assert_eq!(Arc::strong_count(&key), 1);
    assert!(op.key().is_none());
    assert_eq!(
        (op.token, op.input(), op.output()),
        (Token(0), &[0; 32][..], &[0; 64][..])
    );
}

#[test]
fn blocks_that_padding_never_makes_are_refused() {
    let key = rsa(der::RSA_2048);
    let Some(Key::Rsa(rsa)) = key.as_local() else {
        panic!("an RSA key")
    };
    let n = rsa.modulus();
    let minus = |delta: u8| {
        let mut block = n.to_vec();
        block[255] -= delta; // n is odd, and these ends stay above zero
        block
    };
    let small = |value: u8| std::array::from_fn::<u8, 256, _>(|i| if i == 255 { value } else { 0 });
    let error = |block: &[u8]| Request::rsa_private(&key, block).err();
    assert_eq!(error(n), Some(RequestError::NotBelowModulus));
    assert_eq!(error(&[0xff; 256]), Some(RequestError::NotBelowModulus));
    assert_eq!(error(&minus(1)), Some(RequestError::OwnRoot));
    assert_eq!(error(&small(0)), Some(RequestError::OwnRoot));
    assert_eq!(error(&small(1)), Some(RequestError::OwnRoot));
    // Their neighbours are served.
    for block in [&minus(2)[..], &small(2)] {
        assert_eq!(
            run(&Request::rsa_private(&key, block).expect("a residue")).status,
            OpStatus::Success
        );
    }
}

#[test]
fn a_key_of_another_type_is_named() {
    let (rsa, ec) = (rsa(der::RSA_2048), p256(1));
    assert_eq!(
        Request::rsa_private(&ec, &[1; 256]).err(),
        Some(RequestError::WrongKey {
            wanted: "RSA",
            got: "P-256"
        })
    );
    assert_eq!(
        Request::ecdsa_p256(&rsa, &[1; 32]).err(),
        Some(RequestError::WrongKey {
            wanted: "P-256",
            got: "RSA"
        })
    );
}

proptest! {
    /// Whatever the bytes, a request is made or refused, and what is made can be run.
    #[test]
    fn requests_never_panic(
        input in prop::collection::vec(any::<u8>(), 0..OpKind::Ed25519.input_len() + 2),
        fill in prop::option::of(any::<u8>()),
        private: [u8; 32],
        peer: [u8; 32],
    ) {
        let (rsa, ec) = &*KEYS;
        let block = fill.map_or(input.clone(), |byte| vec![byte; 256]);
        match Request::rsa_private(rsa, &block) {
            Ok(request) => prop_assert_eq!(run(&request).status, OpStatus::Success),
            Err(RequestError::Length { got, .. }) => prop_assert_eq!(got, block.len()),
            Err(error) => prop_assert!(block.len() == 256, "{}", error),
        }
        match Request::ecdsa_p256(ec, &input) {
            Ok(request) => prop_assert_eq!(run(&request).status, OpStatus::Success),
            Err(error) => {
                prop_assert_eq!(error, RequestError::Length { what: "digest", wanted: 32, got: input.len() });
            }
        }
        prop_assert_eq!(run(&Request::x25519_keygen(&private)).status, OpStatus::Success);
        prop_assert_ne!(run(&Request::x25519_derive(&private, &peer)).status, OpStatus::Error);
    }
}

static KEYS: LazyLock<(Arc<KeyHandle>, Arc<KeyHandle>)> =
    LazyLock::new(|| (rsa(der::RSA_2048), p256(1)));

/// One op of every kind, done.
#[allow(clippy::vec_box, reason = "boxed is how ops travel")]
fn one_of_each() -> Vec<Box<Op>> {
    let keys = [der::RSA_2048, der::RSA_3072, der::RSA_4096].map(rsa);
    let ec = p256(1);
    let block = [0x11; 512];
    let blocks = [256, 384, 512].map(|len| &block[..len]);
    let mut ops: Vec<_> = keys
        .iter()
        .zip(blocks)
        .map(|(key, block)| run(&Request::rsa_private(key, block).expect("below the modulus")))
        .collect();
    ops.push(run(&Request::ecdsa_p256(&ec, &[4; 32]).expect("32 bytes")));
    ops.push(run(&Request::x25519_keygen(&[5; 32])));
    ops.push(run(&Request::x25519_derive(&[6; 32], &[9; 32])));
    let (p384, ed25519) = (p384(1), ed25519(1));
    ops.push(run(&Request::ecdsa_p384(&p384, &[4; 48]).expect("48 bytes")));
    ops.push(run(&Request::ed25519(&ed25519, b"message").expect("short")));
    let (Some(Key::EcP256(peer256)), Some(Key::EcP384(peer384))) = (ec.as_local(), p384.as_local())
    else {
        panic!("EC keys")
    };
    let (peer256, peer384) = (peer256.public_key(), peer384.public_key());
    let exchanges = [
        Request::ecdh_p256_keygen(&[5; 32]),
        Request::ecdh_p256_derive(&[6; 32], &peer256),
        Request::ecdh_p384_keygen(&[5; 48]),
        Request::ecdh_p384_derive(&[6; 48], &peer384),
        Ok(Request::x25519_exchange(&[6; 32], &[9; 32])),
        Request::ecdh_p256_exchange(&[6; 32], &peer256),
        Request::ecdh_p384_exchange(&[6; 48], &peer384),
    ];
    ops.extend(exchanges.map(|request| run(&request.expect("in range"))));
    let (public, private) = mlkem_pair();
    let ciphertext = run(&Request::ml_kem_768_encap(&public, &[8; 32]));
    let (ciphertext, _) = ciphertext.output().split_first_chunk().expect("1120 bytes");
    ops.push(run(&Request::ml_kem_768_keygen(&[7; 64])));
    ops.push(run(&Request::ml_kem_768_encap(&public, &[8; 32])));
    ops.push(run(&Request::ml_kem_768_decap(&private, ciphertext)));
    assert_eq!(ops.len(), OpKind::COUNT);
    ops
}

fn mlkem_pair() -> ([u8; 1184], [u8; 2400]) {
    let op = run(&Request::ml_kem_768_keygen(&[7; 64]));
    assert_eq!(op.status, OpStatus::Success);
    let (public, private) = op.output().split_first_chunk().expect("3584 bytes");
    (*public, private.try_into().expect("2400 bytes"))
}

#[test]
fn both_sides_of_ml_kem_have_the_secret_unless_the_ciphertext_was_changed() {
    let (public, private) = mlkem_pair();
    let (mut expected_public, mut expected_private) = ([0; 1184], [0; 2400]);
    assert!(mlkem::generate(
        &[7; 64],
        &mut expected_public,
        &mut expected_private
    ));
    assert_eq!((public, private), (expected_public, expected_private));

    let op = run(&Request::ml_kem_768_encap(&public, &[8; 32]));
    let (mut ciphertext, mut secret) = ([0; 1088], [0; 32]);
    assert!(mlkem::encapsulate(
        &public,
        &[8; 32],
        &mut ciphertext,
        &mut secret
    ));
    assert_eq!(op.output(), [&ciphertext[..], &secret].concat());

    let op = run(&Request::ml_kem_768_decap(&private, &ciphertext));
    assert_eq!((op.status, op.output()), (OpStatus::Success, &secret[..]));
    ciphertext[1000] ^= 1;
    let op = run(&Request::ml_kem_768_decap(&private, &ciphertext));
    assert_eq!(
        op.status,
        OpStatus::Success,
        "of a secret that nobody knows"
    );
    assert_ne!(op.output(), secret);
}

/// Every place that a coefficient has, at the lowest value that is not canonical and at the highest.
#[test]
fn an_ml_kem_key_that_is_not_canonical_is_invalid_and_leaves_nothing() {
    let (public, mut private) = mlkem_pair();
    for coefficient in 0..768 {
        for value in [3329u16, 4095] {
            let mut key = public;
            // Two coefficients of twelve bits in three bytes (FIPS 203, algorithm 5).
            let pair = &mut key[coefficient / 2 * 3..][..3];
            let [low, high] = value.to_le_bytes();
            match coefficient % 2 {
                0 => (pair[0], pair[1]) = (low, pair[1] & 0xf0 | high),
                _ => (pair[1], pair[2]) = (pair[1] & 0x0f | low << 4, low >> 4 | high << 4),
            }
            let op = run(&Request::ml_kem_768_encap(&key, &[8; 32]));
            assert_eq!(op.status, OpStatus::Invalid, "{coefficient}: {value}");
            assert!(op.output().iter().all(|byte| *byte == 0));
        }
    }
    private[2336] ^= 1; // its hash
    let op = run(&Request::ml_kem_768_decap(&private, &[3; 1088]));
    assert_eq!((op.status, op.output()), (OpStatus::Invalid, &[0; 32][..]));
}

/// And only if both are successful.
#[test]
fn an_exchange_is_a_key_pair_and_a_secret() {
    let (p256, p384) = (p256(1), p384(1));
    let (Some(Key::EcP256(p256)), Some(Key::EcP384(p384))) = (p256.as_local(), p384.as_local())
    else {
        panic!("EC keys")
    };
    let (peer256, peer384) = (p256.public_key(), p384.public_key());
    let (mut off256, mut off384) = (peer256, peer384);
    off256[64] ^= 1;
    off384[96] ^= 1;
    for (exchange, keygen, derive) in [
        (
            Ok(Request::x25519_exchange(&[6; 32], &[9; 32])),
            Ok(Request::x25519_keygen(&[6; 32])),
            Ok(Request::x25519_derive(&[6; 32], &[9; 32])),
        ),
        (
            Request::ecdh_p256_exchange(&[6; 32], &peer256),
            Request::ecdh_p256_keygen(&[6; 32]),
            Request::ecdh_p256_derive(&[6; 32], &peer256),
        ),
        (
            Request::ecdh_p384_exchange(&[6; 48], &peer384),
            Request::ecdh_p384_keygen(&[6; 48]),
            Request::ecdh_p384_derive(&[6; 48], &peer384),
        ),
    ] {
        let [exchange, keygen, derive] =
            [exchange, keygen, derive].map(|request| run(&request.expect("in range")));
        assert_eq!(
            exchange.output(),
            [keygen.output(), derive.output()].concat()
        );
    }
    for bad in [
        Ok(Request::x25519_exchange(&[6; 32], &[0; 32])),
        Request::ecdh_p256_exchange(&[6; 32], &off256),
        Request::ecdh_p384_exchange(&[6; 48], &off384),
    ] {
        let op = run(&bad.expect("in range"));
        assert_eq!(op.status, OpStatus::Invalid, "{op:?}");
        assert!(op.output().iter().all(|byte| *byte == 0), "{op:?}");
    }
}

#[test]
fn a_right_result_is_told_from_a_wrong_one() {
    for mut op in one_of_each() {
        assert!(cpu::result_is_right(&op), "{op:?}");
        op.buffers().1[7] ^= 0x10;
        assert!(!cpu::result_is_right(&op), "{op:?}");
    }
    let invalid = run(&Request::x25519_derive(&[5; 32], &[0; 32]));
    assert!(!cpu::result_is_right(&invalid), "there is none");
}

#[test]
fn a_copy_is_all_that_the_op_is() {
    let mut copy = Op::new();
    for op in one_of_each() {
        copy.copy_from(&op);
        assert_eq!((copy.token, copy.status), (op.token, op.status));
        assert_eq!((copy.kind(), copy.enqueued_at_ns), (op.kind(), 11));
        assert_eq!((copy.input(), copy.output()), (op.input(), op.output()));
        assert!(match (copy.key(), op.key()) {
            (Some(copied), Some(key)) => Arc::ptr_eq(copied, key),
            (copied, key) => copied.is_none() && key.is_none(),
        });
    }
}
