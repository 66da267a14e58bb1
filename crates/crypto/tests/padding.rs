//! Padding, signed by our keys: the same as OpenSSL's where that is determined, and verified by
//! aws-lc where a salt is random.

use aws_lc_rs::signature::{self, RsaParameters, RsaPublicKeyComponents};
use spinlane_crypto::Key;
use spinlane_crypto::digest::{Digest, MAX_DIGEST_LEN};
use spinlane_crypto::padding::{
    PaddingError, pkcs1_v15, pkcs1_v15_raw, pss, pss_max_salt_len, pss_with_salt,
};
use spinlane_crypto::test_keys::{components, der, rsa};

const KEYS: [(&[u8], usize, Digest); 3] = [
    (der::RSA_2048, 256, Digest::Sha256),
    (der::RSA_3072, 384, Digest::Sha384),
    (der::RSA_4096, 512, Digest::Sha512),
];

fn hash(digest: Digest, message: &[u8]) -> Vec<u8> {
    let mut out = [0; MAX_DIGEST_LEN];
    digest.hash(&[message], &mut out);
    out[..digest.len()].to_vec()
}

/// Signs a padded block and looks at the result from the other side, too.
fn sign(key: &Key, block: &[u8]) -> Vec<u8> {
    let Key::Rsa(rsa) = key else {
        panic!("an RSA key")
    };
    let mut signature = vec![0; block.len()];
    assert!(rsa.private_raw(block, &mut signature));
    assert!(rsa.verify_raw(&signature, block));
    signature
}

fn verify(der: &[u8], parameters: &'static RsaParameters, message: &[u8], signature: &[u8]) {
    let key = components(der);
    let n = &key.n[key.n.iter().position(|byte| *byte != 0).expect("not zero")..];
    RsaPublicKeyComponents { n, e: key.e }
        .verify(parameters, message, signature)
        .expect("verifies");
}

/// SHA-256 of what `openssl dgst -sha… -sign` makes of "abc" with the test keys, PSS with
/// `-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:0`.
#[test]
fn the_same_signatures_as_openssl() {
    let expected = [
        (
            "24bf0f8c193e246ca1f59c886715607e9c783513ac101f1f8c5ad070d20e4875",
            "0458ec196df07e4e0f5b6e3db1f336cea0635232032fe47b116dac76ed8d1f96",
        ),
        (
            "1dfab967e9ce10a23918820c02e440dcabac8ca181d0c29204aa49670126e4f0",
            "6cd3ad6fd9a0bc54249c0287fa52892d6eed21b94149387217a8035c75145a88",
        ),
        (
            "dd05780ca6fc9920dfa79e1d7d7fdbec0f029e6891c620c0b09fb39f1f7443d4",
            "bc369a1d6aa7caf95eae7294ae2c74b683b8582933867c134525fc83b755a27c",
        ),
    ];
    for ((der, len, digest), (pkcs1, pss)) in KEYS.into_iter().zip(expected) {
        let key = rsa(der);
        let hash_of_abc = hash(digest, b"abc");
        let mut block = vec![0xee; len];
        let fingerprint = |block: &[u8]| -> String {
            hash(Digest::Sha256, &sign(&key, block))
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        };
        pkcs1_v15(digest, &hash_of_abc, &mut block).expect("fits");
        assert_eq!(fingerprint(&block), pkcs1);
        pss_with_salt(digest, &hash_of_abc, &[], &mut block).expect("fits");
        assert_eq!(fingerprint(&block), pss);
    }
}

#[test]
fn aws_lc_verifies_both_paddings_with_every_digest() {
    let message = b"a message";
    let (der, key) = (der::RSA_2048, rsa(der::RSA_2048));
    let parameters: [(&'static RsaParameters, &'static RsaParameters); 3] = [
        (
            &signature::RSA_PKCS1_2048_8192_SHA256,
            &signature::RSA_PSS_2048_8192_SHA256,
        ),
        (
            &signature::RSA_PKCS1_2048_8192_SHA384,
            &signature::RSA_PSS_2048_8192_SHA384,
        ),
        (
            &signature::RSA_PKCS1_2048_8192_SHA512,
            &signature::RSA_PSS_2048_8192_SHA512,
        ),
    ];
    for (digest, (for_pkcs1, for_pss)) in Digest::ALL.into_iter().zip(parameters) {
        let hash = hash(digest, message);
        let (mut pkcs1_block, mut pss_block, mut other) = ([0; 256], [0; 256], [0; 256]);
        pkcs1_v15(digest, &hash, &mut pkcs1_block).expect("fits");
        verify(der, for_pkcs1, message, &sign(&key, &pkcs1_block));
        pss(digest, &hash, digest.len(), &mut pss_block).expect("fits");
        verify(der, for_pss, message, &sign(&key, &pss_block));
        pss(digest, &hash, digest.len(), &mut other).expect("fits");
        assert_ne!(pss_block, other, "each has a salt of its own");
    }
}

#[test]
fn a_digest_info_of_the_callers_own() {
    let mut block = [0; 64];
    pkcs1_v15_raw(b"encoded", &mut block).expect("fits");
    let (head, digest_info) = block.split_at(57);
    assert_eq!((head[0], head[1], head[56]), (0x00, 0x01, 0x00));
    assert!(head[2..56].iter().all(|byte| *byte == 0xff));
    assert_eq!(digest_info, b"encoded");
    pkcs1_v15_raw(&[1; 53], &mut block).expect("eight bytes of padding are enough");
}

#[test]
fn what_does_not_fit_is_named() {
    let mut block = [0; 256];
    let hash = [1; 32];
    assert_eq!(
        pkcs1_v15(Digest::Sha384, &hash, &mut block),
        Err(PaddingError::HashLength {
            digest: Digest::Sha384,
            got: 32
        })
    );
    assert_eq!(
        pkcs1_v15_raw(&[1; 54], &mut block[..64]),
        Err(PaddingError::TooLong {
            what: "DigestInfo",
            got: 54,
            most: 53,
            block: 64
        })
    );
    let most = pss_max_salt_len(Digest::Sha256, 256);
    assert_eq!(most, 222);
    pss(Digest::Sha256, &hash, most, &mut block).expect("the longest fits");
    let error = pss(Digest::Sha256, &hash, most + 1, &mut block).expect_err("one too many");
    assert_eq!(
        error,
        PaddingError::TooLong {
            what: "PSS salt",
            got: 223,
            most,
            block: 256
        }
    );
    assert_eq!(
        error.to_string(),
        "PSS salt of 223 bytes does not fit a block of 256 bytes; at most 222 do"
    );
    for tiny in 0..34 {
        pss(Digest::Sha256, &hash, 0, &mut block[..tiny]).expect_err("no room for the hash");
        pkcs1_v15(Digest::Sha256, &hash, &mut block[..tiny]).expect_err("no room for the hash");
    }
}

#[test]
fn pss_blocks_are_below_the_modulus() {
    let mut block = [0; 256];
    for salt in 0..=255 {
        pss_with_salt(Digest::Sha256, &[7; 32], &[salt], &mut block).expect("fits");
        assert_eq!(block[0] & 0x80, 0);
        assert_eq!(block[255], 0xbc);
    }
}
