//! TLS 1.3 suites: record protection of aws-lc-rs, deferred; hashes and key schedule of our own.
//!
//! A handshake derives some twenty secrets, each by HMACs under the same few keys. Here a key is
//! hashed once (see [`spinlane_crypto::digest::HmacKey`]), and what does not depend on the connection
//! is computed once per process.

mod deferred;
mod hash;
mod hkdf;

use rustls::crypto::aws_lc_rs::cipher_suite as stock;
use rustls::crypto::cipher::Tls13AeadAlgorithm;
use rustls::{CipherSuiteCommon, SupportedCipherSuite, Tls13CipherSuite};

use deferred::Deferred;
pub(crate) use deferred::saying;
use hash::{SHA256, SHA384};

use hkdf::{HKDF_SHA256, HKDF_SHA384};

/// Ours in place of `suite`; `suite` itself if there is none.
pub(crate) fn faster(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let ours = [
        &AES_128_GCM_SHA256,
        &AES_256_GCM_SHA384,
        &CHACHA20_POLY1305_SHA256,
    ];
    let ours = ours
        .into_iter()
        .find(|ours| ours.common.suite == suite.suite());
    ours.map_or(suite, SupportedCipherSuite::Tls13)
}

static AES_128_GCM_SHA256: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon {
        hash_provider: &SHA256,
        ..common(&stock::TLS13_AES_128_GCM_SHA256)
    },
    hkdf_provider: &HKDF_SHA256,
    aead_alg: &Deferred(aead(&stock::TLS13_AES_128_GCM_SHA256)),
    quic: None,
};

static AES_256_GCM_SHA384: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon {
        hash_provider: &SHA384,
        ..common(&stock::TLS13_AES_256_GCM_SHA384)
    },
    hkdf_provider: &HKDF_SHA384,
    aead_alg: &Deferred(aead(&stock::TLS13_AES_256_GCM_SHA384)),
    quic: None,
};

static CHACHA20_POLY1305_SHA256: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon {
        hash_provider: &SHA256,
        ..common(&stock::TLS13_CHACHA20_POLY1305_SHA256)
    },
    hkdf_provider: &HKDF_SHA256,
    aead_alg: &Deferred(aead(&stock::TLS13_CHACHA20_POLY1305_SHA256)),
    quic: None,
};

/// Name and limits of a suite.
const fn common(suite: &'static SupportedCipherSuite) -> CipherSuiteCommon {
    match suite {
        SupportedCipherSuite::Tls13(suite) => CipherSuiteCommon {
            suite: suite.common.suite,
            hash_provider: suite.common.hash_provider,
            confidentiality_limit: suite.common.confidentiality_limit,
        },
        SupportedCipherSuite::Tls12(_) => panic!("a suite of TLS 1.2"),
    }
}

/// Record protection of a suite.
const fn aead(suite: &'static SupportedCipherSuite) -> &'static dyn Tls13AeadAlgorithm {
    match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg,
        SupportedCipherSuite::Tls12(_) => panic!("a suite of TLS 1.2"),
    }
}
