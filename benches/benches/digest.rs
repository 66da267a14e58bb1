//! HMACs of a TLS 1.3 key schedule (RFC 8446, section 7.1) beside aws-lc's: keys are digests, messages
//! are labels.
//!
//! `cargo bench -p spinlane-benches --bench digest`; figures are per call.

use std::hint::black_box;

use aws_lc_rs::hmac;
use criterion::{Criterion, criterion_group, criterion_main};
use spinlane_crypto::digest::{Digest, HmacKey, MAX_DIGEST_LEN};

/// As long as the label of a Finished message's key with a digest behind it.
const MESSAGE: [u8; 70] = [7; 70];

/// What a digest is called, here and by the peer.
const DIGESTS: [(Digest, &str, hmac::Algorithm); 2] = [
    (Digest::Sha256, "sha256", hmac::HMAC_SHA256),
    (Digest::Sha384, "sha384", hmac::HMAC_SHA384),
];

/// A secret taken in.
fn new_key(c: &mut Criterion) {
    for (digest, name, algorithm) in DIGESTS {
        let mut group = c.benchmark_group(format!("hmac_key_{name}"));
        let secret = [7; MAX_DIGEST_LEN];
        let secret = &secret[..digest.len()];
        group.bench_function("spinlane", |b| {
            b.iter(|| HmacKey::new(digest, black_box(secret)));
        });
        group.bench_function("aws-lc", |b| {
            b.iter(|| hmac::Key::new(algorithm, black_box(secret)));
        });
        group.finish();
    }
}

/// A message signed with a key that is there.
fn sign(c: &mut Criterion) {
    for (digest, name, algorithm) in DIGESTS {
        let mut group = c.benchmark_group(format!("hmac_sign_{name}"));
        let secret = [7; MAX_DIGEST_LEN];
        let secret = &secret[..digest.len()];
        let key = HmacKey::new(digest, secret);
        let mut tag = [0; MAX_DIGEST_LEN];
        group.bench_function("spinlane", |b| {
            b.iter(|| key.sign(&[black_box(&MESSAGE)], &mut tag));
        });
        let peer = hmac::Key::new(algorithm, secret);
        assert_eq!(
            tag[..digest.len()],
            *hmac::sign(&peer, &MESSAGE).as_ref(),
            "the two differ"
        );
        group.bench_function("aws-lc", |b| {
            b.iter(|| hmac::sign(&peer, black_box(&MESSAGE)));
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = spinlane_benches::pinned();
    targets = new_key, sign
}
criterion_main!(benches);
