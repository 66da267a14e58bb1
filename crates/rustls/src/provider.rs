//! The [`CryptoProvider`]: aws-lc-rs with the private-key ops offloaded.

use rustls::CipherSuite;
use rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom, SupportedKxGroup, aws_lc_rs};
use spinlane_crypto::random;

use crate::kx::{
    OffloadedEcdhP256, OffloadedEcdhP384, OffloadedSecp256r1Mlkem768, OffloadedX25519,
    OffloadedX25519Mlkem768,
};
use crate::sign::OffloadingKeyProvider;
use crate::tls13;

/// aws-lc-rs' provider with these parts replaced:
/// - private keys by [`OffloadingKeyProvider`];
/// - groups by those that offload. Their order is aws-lc-rs' own, which leaves SecP256r1MLKEM768 out
///   ([`OffloadedSecp256r1Mlkem768`] may be added);
/// - hashes and key schedule of the TLS 1.3 suites by ones that hash a secret's HMAC key once per expander and compute
///   constants once per process;
/// - suites by the same in another order, AES-128-GCM first: a fifth more handshakes than with AES-256, since the
///   CPU has instructions for SHA-256, and every client has it (RFC 8446, section 9.1). A server's order counts if its
///   configuration says `ignore_client_order`. [`prefer_aes256`] has it otherwise;
/// - random numbers by [`BufferedRandom`].
pub fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    for suite in &mut provider.cipher_suites {
        *suite = tls13::faster(*suite);
    }
    for group in &mut provider.kx_groups {
        let ours: [&'static dyn SupportedKxGroup; 5] = [
            &OffloadedX25519,
            &OffloadedX25519Mlkem768,
            &OffloadedSecp256r1Mlkem768,
            &OffloadedEcdhP256,
            &OffloadedEcdhP384,
        ];
        if let Some(ours) = ours.into_iter().find(|ours| ours.name() == group.name()) {
            *group = ours;
        }
    }
    prefer_aes128(&mut provider);
    provider.secure_random = &BufferedRandom;
    provider.key_provider = &OffloadingKeyProvider;
    provider
}

/// Puts the suites with AES-128-GCM first in `provider`'s, as [`provider`] has them.
pub fn prefer_aes128(provider: &mut CryptoProvider) {
    put_first(
        provider,
        [
            CipherSuite::TLS13_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ],
    );
}

/// Puts the suites with AES-256-GCM first in `provider`'s: for servers that must have it, at the price of SHA-384 in the
/// key schedule. For a server whose configuration says `ignore_client_order`.
pub fn prefer_aes256(provider: &mut CryptoProvider) {
    put_first(
        provider,
        [
            CipherSuite::TLS13_AES_256_GCM_SHA384,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ],
    );
}

/// The others stay in their order.
fn put_first(provider: &mut CryptoProvider, suites: [CipherSuite; 3]) {
    let suites_of = &mut provider.cipher_suites;
    suites_of.sort_by_key(|suite| !suites.contains(&suite.suite()));
}

/// Random bytes of aws-lc's generator, drawn a kilobyte at a time per thread (see
/// [`spinlane_crypto::random`]).
#[derive(Debug)]
pub struct BufferedRandom;

impl SecureRandom for BufferedRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        random::fill(bytes);
        Ok(())
    }
}
