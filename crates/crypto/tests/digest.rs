//! Digests and HMAC against published vectors.

use proptest::prelude::*;
use spinlane_crypto::digest::{Digest, Hasher, HmacKey, MAX_DIGEST_LEN};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(digest: Digest, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = [0; MAX_DIGEST_LEN];
    digest.hash(parts, &mut out);
    out[..digest.len()].to_vec()
}

fn hmac(digest: Digest, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut out = [0; MAX_DIGEST_LEN];
    HmacKey::new(digest, key).sign(parts, &mut out);
    out[..digest.len()].to_vec()
}

/// FIPS 180-4's example "abc".
#[test]
fn sha2_of_abc() {
    for (digest, expected) in [
        (
            Digest::Sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            Digest::Sha384,
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
        ),
        (
            Digest::Sha512,
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
    ] {
        assert_eq!(hex(&hash(digest, &[b"abc"])), expected);
        assert_eq!(hex(&hash(digest, &[b"a", b"", b"bc"])), expected);
    }
}

/// RFC 4231, test cases 1 (short key), 2 (shorter than the digest) and 6 (longer than a block).
#[test]
fn hmac_of_rfc_4231() {
    let long_key = [0xaa; 131];
    let cases: [(&[u8], &[u8], [&str; 3]); 3] = [
        (
            &[0x0b; 20],
            b"Hi There",
            [
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
                "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
                "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde\
                 daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
            ],
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            [
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ],
        ),
        (
            &long_key,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            [
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
                "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
                "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352\
                 6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
            ],
        ),
    ];
    for (key, message, expected) in cases {
        for (digest, expected) in Digest::ALL.into_iter().zip(expected) {
            assert_eq!(hex(&hmac(digest, key, &[message])), expected, "{digest:?}");
        }
    }
}

#[test]
fn an_hmac_key_signs_again_and_again() {
    let key = HmacKey::new(Digest::Sha256, b"key");
    let (mut first, mut other, mut again) = ([0; 32], [0; 32], [0; 32]);
    key.sign(&[b"message"], &mut first);
    key.clone().sign(&[b"another"], &mut other);
    key.sign(&[b"mess", b"age"], &mut again);
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn states_are_not_printed() {
    assert_eq!(
        format!("{:?}", HmacKey::new(Digest::Sha256, b"key")),
        "HmacKey { digest: Sha256, .. }"
    );
    assert_eq!(
        format!("{:?}", Hasher::new(Digest::Sha512)),
        "Hasher { digest: Sha512, .. }"
    );
}

proptest! {
    /// However a message is cut, and wherever the state is cloned, the digest is one.
    #[test]
    fn cuts_and_clones_do_not_matter(message: Vec<u8>, cut: prop::sample::Index, which in 0..3usize) {
        let digest = Digest::ALL[which];
        let cut = cut.index(message.len() + 1);
        let mut hasher = Hasher::new(digest);
        hasher.update(&message[..cut]);
        let mut clone = hasher.clone();
        hasher.update(b"something else");
        clone.update(&message[cut..]);
        let mut out = vec![0; digest.len()];
        clone.finish(&mut out);
        prop_assert_eq!(&out, &hash(digest, &[&message]));
        let expected = aws_lc_rs::digest::digest(
            [&aws_lc_rs::digest::SHA256, &aws_lc_rs::digest::SHA384, &aws_lc_rs::digest::SHA512][which],
            &message,
        );
        prop_assert_eq!(&out[..], expected.as_ref());
    }
}

/// RFC 2104, section 2.
fn hmac_by_the_book(digest: Digest, key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = if key.len() > digest.block_len() {
        hash(digest, &[key])
    } else {
        key.to_vec()
    };
    block.resize(digest.block_len(), 0);
    let pad = |pad: u8| block.iter().map(|byte| byte ^ pad).collect::<Vec<_>>();
    hash(digest, &[&pad(0x5c), &hash(digest, &[&pad(0x36), message])])
}

proptest! {
    /// Of any length, in one piece and in two.
    #[test]
    fn hashes_are_aws_lc_rs(data in prop::collection::vec(any::<u8>(), 0..600), cut: usize) {
        use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
        let (head, tail) = data.split_at(cut % (data.len() + 1));
        for (ours, theirs) in Digest::ALL.into_iter().zip([&SHA256, &SHA384, &SHA512]) {
            let expected = digest(theirs, &data);
            prop_assert_eq!(&hash(ours, &[&data])[..], expected.as_ref());
            prop_assert_eq!(&hash(ours, &[head, tail])[..], expected.as_ref());
        }
    }

    #[test]
    fn hmacs_are_by_the_book(
        key in prop::collection::vec(any::<u8>(), 0..140),
        message in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        for digest in Digest::ALL {
            let mut tag = [0; MAX_DIGEST_LEN];
            HmacKey::new(digest, &key).sign(&[&message], &mut tag);
            prop_assert_eq!(&tag[..digest.len()], &hmac_by_the_book(digest, &key, &message)[..]);
        }
    }
}
