//! The [`CryptoProvider`]: aws-lc-rs with the private-key ops offloaded.

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
/// - hashes and key schedule of the TLS 1.3 suites by ones that neither hash an HMAC key twice nor
///   allocate per use;
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
    provider.secure_random = &BufferedRandom;
    provider.key_provider = &OffloadingKeyProvider;
    provider
}

/// Puts AES-128 before AES-256 in `provider`'s suites: a quarter more handshakes, since the key schedule hashes by
/// SHA-256 then, and every client has it (RFC 8446, section 9.1). For a server whose configuration says
/// `ignore_client_order`.
pub fn prefer_aes128(provider: &mut CryptoProvider) {
    use rustls::CipherSuite as Suite;
    provider.cipher_suites.sort_by_key(|suite| {
        matches!(
            suite.suite(),
            Suite::TLS13_AES_256_GCM_SHA384
                | Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
                | Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        )
    });
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
