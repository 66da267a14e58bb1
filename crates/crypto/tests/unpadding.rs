//! RSA decryption: messages come out, and wrong padding does not show.

use spinlane_crypto::digest::Digest;
use spinlane_crypto::test_keys::{der, rsa};
use spinlane_crypto::unpadding::{LengthError, TlsVersions, pkcs1_v15, tls_premaster};
use spinlane_crypto::{Key, RsaKey};

const TLS_1_2: TlsVersions = TlsVersions {
    client: 0x0303,
    negotiated: None,
};

fn key_of(key: &Key) -> &RsaKey {
    let Key::Rsa(key) = key else {
        panic!("an RSA key")
    };
    key
}

fn decrypt(key: &Key, ciphertext: &[u8]) -> Vec<u8> {
    let mut block = vec![0; ciphertext.len()];
    assert!(key_of(key).private_raw(ciphertext, &mut block));
    block
}

fn unpad(key: &RsaKey, ciphertext: &[u8], block: &[u8]) -> Vec<u8> {
    let mut message = vec![0; block.len()];
    let len = pkcs1_v15(key, ciphertext, block, &mut message).expect("lengths of the modulus");
    message.truncate(len);
    message
}

/// 0x00 0x02, `padding` bytes that are not zero, 0x00, and `message` to the end of 256 bytes.
fn block(message: &[u8]) -> Vec<u8> {
    let mut block = vec![0x5a; 256 - message.len()];
    (block[0], block[1]) = (0x00, 0x02);
    *block.last_mut().expect("not empty") = 0x00;
    block.extend_from_slice(message);
    block
}

/// What OpenSSL 4.0.3 makes of these ciphertexts, none of which is well padded: length, and
/// SHA-256 of the message.
#[test]
fn a_wrong_padding_gives_what_openssl_gives() {
    let expected = [
        (
            der::RSA_2048,
            0x02,
            111,
            "2ae602ae1ba4e6f31aa5d4f73ce0870bd18b6206cd3cd6f07f911fa66f138950",
        ),
        (
            der::RSA_2048,
            0x11,
            235,
            "1ecd501ac6515d6c85c597652194f14ae3256cc33f8414bc978f031a6606a40c",
        ),
        (
            der::RSA_3072,
            0x02,
            137,
            "6a6bf1dd90338e31f391dc96f741070d71bf9c72fdcccb46be55c2accf746179",
        ),
        (
            der::RSA_3072,
            0x42,
            273,
            "fbe16fe99d629cd3640037fcb8ac2750757906582e85dd18bf1be896eb6e5191",
        ),
        (
            der::RSA_4096,
            0x11,
            407,
            "76603d8144a6c8161b73b31c2a5bad05b56030f0147b8428f18b97bbc217df1e",
        ),
        (
            der::RSA_4096,
            0x42,
            411,
            "d33190478fe5e5a0e44df7b7402bcd4cded6a337ef69ee8567e5f1e28b5b3229",
        ),
    ];
    for (der, fill, len, fingerprint) in expected {
        let key = rsa(der);
        let ciphertext = vec![fill; key_of(&key).modulus_len()];
        let message = unpad(key_of(&key), &ciphertext, &decrypt(&key, &ciphertext));
        assert_eq!(message.len(), len);
        let mut hash = [0; 32];
        Digest::Sha256.hash(&[&message], &mut hash);
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, fingerprint);
    }
}

#[test]
fn every_message_that_fits_comes_out() {
    let key = rsa(der::RSA_2048);
    for len in [0, 1, 48, 244, 245] {
        let message: Vec<u8> = (0..len).map(|index| index as u8).collect();
        assert_eq!(unpad(key_of(&key), &[7; 256], &block(&message)), message);
    }
}

#[test]
fn every_fault_of_the_padding_is_rejected_alike() {
    let key = rsa(der::RSA_2048);
    let key = key_of(&key);
    let ciphertext = [7; 256];
    let rejected = unpad(key, &ciphertext, &[0x5a; 256]);
    let faults: [fn(&mut [u8]); 6] = [
        |block| block[0] = 0x01,
        |block| block[1] = 0x01,
        |block| block[2] = 0x00,
        |block| block[9] = 0x00,
        |block| block[251] = 0x5a, // no separator
        |block| block.fill(0x00),
    ];
    for fault in faults {
        let mut faulty = block(b"text");
        fault(&mut faulty);
        assert_eq!(unpad(key, &ciphertext, &faulty), rejected);
    }
    assert_ne!(unpad(key, &[8; 256], &[0x5a; 256]), rejected);
    let mut shortest = block(b"text");
    shortest[10] = 0x00;
    assert_eq!(unpad(key, &ciphertext, &shortest).len(), 245);
}

fn premaster(block: &[u8], versions: TlsVersions) -> [u8; 48] {
    let mut premaster = [0; 48];
    tls_premaster(block, versions, &mut premaster).expect("long enough");
    premaster
}

#[test]
fn a_premaster_secret_comes_out() {
    let mut secret = [0xab; 48];
    (secret[0], secret[1]) = (0x03, 0x03);
    assert_eq!(premaster(&block(&secret), TLS_1_2), secret);
    // A client that offered 1.2 and sent the negotiated 1.1, where that is allowed.
    secret[1] = 0x02;
    let lenient = TlsVersions {
        negotiated: Some(0x0302),
        ..TLS_1_2
    };
    assert_eq!(premaster(&block(&secret), lenient), secret);
    assert_ne!(premaster(&block(&secret), TLS_1_2), secret);
}

#[test]
fn a_wrong_premaster_secret_becomes_a_random_one() {
    let mut secret = [0xab; 48];
    (secret[0], secret[1]) = (0x03, 0x03);
    let faults: [fn(&mut [u8]); 8] = [
        |block| block[0] = 0x01,
        |block| block[1] = 0x01,
        |block| block[2] = 0x00,
        |block| block[100] = 0x00,
        |block| block[206] = 0x00, // a longer secret
        |block| block[207] = 0x5a, // none, or one that is longer
        |block| block[208] = 0x02, // version
        |block| block[209] = 0x01,
    ];
    for fault in faults {
        let mut faulty = block(&secret);
        fault(&mut faulty);
        let (one, other) = (premaster(&faulty, TLS_1_2), premaster(&faulty, TLS_1_2));
        assert_ne!(one, other, "random");
        assert_ne!(one[2..], secret[2..]);
    }
}

#[test]
fn lengths_that_no_key_has_are_named() {
    let key = rsa(der::RSA_2048);
    let error = pkcs1_v15(key_of(&key), &[1; 255], &[1; 256], &mut [0; 256]);
    assert_eq!(
        error,
        Err(LengthError {
            what: "RSA ciphertext",
            got: 255,
            wanted: 256
        })
    );
    assert!(pkcs1_v15(key_of(&key), &[1; 256], &[1; 257], &mut [0; 256]).is_err());
    assert!(pkcs1_v15(key_of(&key), &[1; 256], &[1; 256], &mut [0; 255]).is_err());
    assert!(tls_premaster(&[0; 58], TLS_1_2, &mut [0; 48]).is_err());
    assert!(tls_premaster(&[0; 59], TLS_1_2, &mut [0; 48]).is_ok());
}
