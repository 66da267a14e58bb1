//! Public keys check what their private halves signed, and nothing else.

use std::io::Write;
use std::process::{Command, Stdio};

use spinlane_crypto::digest::Digest;
use spinlane_crypto::padding::{is_pss, pkcs1_v15, pkcs1_v15_message, pss, pss_with_salt};
use spinlane_crypto::test_keys::{der, ed25519, p256, p384, rsa};
use spinlane_crypto::{EcPublicKey, Key, KeyError, PublicKey, RsaPublicKey};

/// Every public key with a message and a signature over it.
fn signed() -> Vec<(PublicKey, Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    for der in [
        der::RSA_2048,
        der::RSA_2048_E3,
        der::RSA_3072,
        der::RSA_4096,
    ] {
        let Key::Rsa(key) = &rsa(der) else {
            panic!("an RSA key")
        };
        let mut block = vec![0; key.modulus_len()];
        pkcs1_v15(Digest::Sha256, &[7; 32], &mut block).unwrap();
        let mut signature = vec![0; block.len()];
        assert!(key.private_raw(&block, &mut signature));
        let public = RsaPublicKey::from_components(key.modulus(), key.public_exponent()).unwrap();
        assert_eq!(public.modulus(), key.modulus());
        all.push((PublicKey::Rsa(public), block, signature));
    }
    let (Key::EcP256(p256), Key::EcP384(p384)) = (&p256(1), &p384(1)) else {
        panic!("EC keys")
    };
    let mut signature = vec![0; 64];
    assert!(p256.sign(&[3; 32], &mut signature));
    let public = EcPublicKey::from_point(&p256.public_key()).unwrap();
    assert_eq!(public.point(), p256.public_key());
    all.push((PublicKey::EcP256(public), vec![3; 32], signature));
    let mut signature = vec![0; 96];
    assert!(p384.sign(&[3; 48], &mut signature));
    let public = EcPublicKey::from_point(&p384.public_key()).unwrap();
    all.push((PublicKey::EcP384(public), vec![3; 48], signature));
    let Key::Ed25519(key) = &ed25519(1) else {
        panic!("an Ed25519 key")
    };
    let mut signature = [0; 64];
    assert!(key.sign(b"message", &mut signature));
    let public = PublicKey::Ed25519(*key.public_key());
    all.push((public, b"message".to_vec(), signature.to_vec()));
    all
}

#[test]
fn a_signature_is_taken_and_one_with_another_bit_is_not() {
    for (public, message, signature) in signed() {
        assert!(public.verify(&message, &signature), "{public:?}");
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut other = signature.clone();
            other[at] ^= 1;
            assert!(!public.verify(&message, &other), "{public:?} {at}");
        }
        let mut other = message.clone();
        other[message.len() - 1] ^= 1;
        assert!(!public.verify(&other, &signature), "{public:?}");
        assert!(!public.verify(&message, &signature[1..]), "{public:?}");
        assert!(!public.verify(&message[1..], &signature), "{public:?}");
        assert!(!public.verify(&message, &[]), "{public:?}");
    }
}

#[test]
fn what_is_no_public_key_is_named() {
    let even = [0xfe; 256];
    let odd = [0xff; 256];
    let rsa = |n: &[u8], e: &[u8]| RsaPublicKey::from_components(n, e).map(drop);
    assert_eq!(rsa(&even, &[1, 0, 1]), Err(KeyError::RsaExponent));
    assert_eq!(rsa(&odd, &[2]), Err(KeyError::RsaExponent));
    assert_eq!(rsa(&odd, &[]), Err(KeyError::RsaExponent));
    assert_eq!(rsa(&odd[1..], &[3]), Err(KeyError::RsaSize { bits: 2040 }));
    assert_eq!(rsa(&[], &[3]), Err(KeyError::RsaSize { bits: 0 }));
    let point = |bytes: &[u8]| EcPublicKey::<spinlane_crypto::curve::P256>::from_point(bytes);
    for bytes in [&[4; 65][..], &[0; 65], &[], &[4], &[2; 33]] {
        let got = bytes.len();
        let curve = "P-256";
        assert_eq!(point(bytes).map(drop), Err(KeyError::Point { curve, got }));
    }
}

#[test]
fn paddings_are_recognised_as_they_were_made() {
    for (digest, len) in [(Digest::Sha256, 256), (Digest::Sha512, 130)] {
        let hash = vec![9; digest.len()];
        for salt_len in [0, 20, 32, len - digest.len() - 2] {
            let salt_len = salt_len.min(len - digest.len() - 2);
            let mut block = vec![0; len];
            pss(digest, &hash, salt_len, &mut block).unwrap();
            assert!(is_pss(digest, &hash, salt_len, &block), "{salt_len}");
            for other in [salt_len + 1, salt_len.wrapping_sub(1), usize::MAX] {
                assert!(!is_pss(digest, &hash, other, &block), "{salt_len} {other}");
            }
            for at in 0..len {
                block[at] ^= 0x80;
                assert!(!is_pss(digest, &hash, salt_len, &block), "{at}");
                block[at] ^= 0x80;
            }
            assert!(!is_pss(digest, &hash[1..], salt_len, &block));
            assert!(!is_pss(digest, &hash, salt_len, &block[1..]));
            assert_eq!(pkcs1_v15_message(&block), None);
        }
        let mut block = vec![0; len];
        pkcs1_v15(digest, &hash, &mut block).unwrap();
        assert!(pkcs1_v15_message(&block).unwrap().ends_with(&hash));
        assert!(!is_pss(digest, &hash, 32, &block));
        block[5] = 0;
        assert_eq!(pkcs1_v15_message(&block), None, "too little padding");
        block[1] = 2;
        assert_eq!(pkcs1_v15_message(&block), None);
    }
    let mut block = [0; 100];
    pss_with_salt(Digest::Sha256, &[1; 32], &[], &mut block).unwrap();
    for short in 0..=33 {
        assert!(!is_pss(Digest::Sha256, &[1; 32], 0, &block[..short]));
        assert_eq!(pkcs1_v15_message(&block[..short]), None);
    }
}

/// What the program openssl makes of it, read and written.
fn openssl(der: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args([
            "pkey", "-pubin", "-inform", "DER", "-outform", "DER", "-pubout",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(der).unwrap();
    child.wait_with_output().unwrap().stdout
}

#[test]
fn subject_public_key_info_is_what_others_write_and_read() {
    for (public, message, signature) in signed() {
        let der = public.to_spki();
        // Its key is what an independent reader of DER takes it for.
        assert_eq!(openssl(&der), der, "{public:?}");
        let read = PublicKey::from_spki(&der).unwrap();
        assert_eq!(read.to_spki(), der);
        assert!(read.verify(&message, &signature), "{read:?}");
        for len in 0..der.len() {
            assert!(PublicKey::from_spki(&der[..len]).is_none(), "{len}");
        }
        let longer = [&der[..], &[0]].concat();
        assert!(PublicKey::from_spki(&longer).is_none());
        for at in 0..24.min(der.len()) {
            let mut other = der.clone();
            other[at] ^= 0x20;
            // Whatever it is, it is read without a panic, and never as another encoding of the same.
            if let Some(read) = PublicKey::from_spki(&other) {
                assert_eq!(read.to_spki(), other);
            }
        }
    }
}
