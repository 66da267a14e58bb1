//! Handshakes of an unmodified libssl whose server, or client, has its key in the provider.
//! The other side is stock OpenSSL in a library context of its own.

#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "calls of libcrypto's constant getters"
)]

mod provider_support;

use openssl_sys::{EVP_sha256, TLS1_2_VERSION, TLS1_3_VERSION};
use provider_support::*;
use spinlane_cryptodev::OpKind;
use spinlane_openssl::provider::{BindError, Delegated, counters};

/// Runs one handshake of a stock client with a server that has `key`, bound; returns how often
/// the kind of op was offloaded meanwhile, at least (tests run side by side).
fn serve(key: &Pkey, client: Context, kind: OpKind) -> (Agreed, u64) {
    let certificate = Certificate::of(key);
    let server = Context::server(&certificate, &key.bound());
    let before = counters().offloaded(kind);
    let agreed = Pair::new(&client.trusting(&certificate), &server, None)
        .run()
        .expect("handshake");
    (agreed, counters().offloaded(kind) - before)
}

#[test]
fn every_key_serves_tls_1_3_and_1_2_with_every_group() {
    let _alone = alone();
    let keys = [
        (rsa(2048), OpKind::Rsa2048),
        (rsa(3072), OpKind::Rsa3072),
        (rsa(4096), OpKind::Rsa4096),
        (p256(), OpKind::EcdsaP256),
        (p384(), OpKind::EcdsaP384),
        (ed25519(), OpKind::Ed25519),
    ];
    for (key, kind) in keys {
        for version in [TLS1_3_VERSION, TLS1_2_VERSION] {
            // A TLS 1.2 client must list the curve of an ECDSA certificate as well (RFC 8422).
            for group in [c"X25519:P-256:P-384", c"P-256:P-384", c"P-384:P-256"] {
                let client = Context::stock_client().protocol(version).groups(group);
                let (agreed, offloaded) = serve(key, client, kind);
                assert_eq!(agreed.version, version, "{kind} {group:?}");
                assert!(
                    offloaded >= 1,
                    "{kind} {group:?} {version:#x}: not offloaded"
                );
            }
        }
    }
}

#[test]
fn x25519_is_offloaded_in_both_protocols() {
    let _alone = alone();
    for version in [TLS1_3_VERSION, TLS1_2_VERSION] {
        let before = counters();
        let client = Context::stock_client()
            .protocol(version)
            .groups(c"X25519:P-256");
        serve(p256(), client, OpKind::X25519Keygen);
        let after = counters();
        for kind in [OpKind::X25519Keygen, OpKind::X25519Derive] {
            assert!(
                after.offloaded(kind) > before.offloaded(kind),
                "{kind} in {version:#x}"
            );
        }
    }
}

#[test]
fn ecdh_is_offloaded_in_both_protocols() {
    let _alone = alone();
    let (certificate, bound) = (Certificate::of(p256()), p256().bound());
    let groups = [
        (
            c"P-256",
            [OpKind::EcdhP256Keygen, OpKind::EcdhP256Derive],
            true,
        ),
        (
            c"P-384:P-256",
            [OpKind::EcdhP384Keygen, OpKind::EcdhP384Derive],
            true,
        ),
        (
            c"P-521:P-256",
            [OpKind::EcdhP384Keygen, OpKind::EcdhP384Derive],
            false,
        ),
    ];
    for version in [TLS1_3_VERSION, TLS1_2_VERSION] {
        for (list, kinds, is_ours) in groups {
            // Of the server too: that of OpenSSL 4.0 takes P-256 before a larger curve, whatever
            // the client prefers.
            let server = Context::server(&certificate, &bound).groups(list);
            let client = Context::stock_client().trusting(&certificate);
            let client = client.protocol(version).groups(list);
            let before = counters();
            Pair::new(&client, &server, None)
                .run()
                .unwrap_or_else(|error| panic!("{list:?} {version:#x}: {error}"));
            let after = counters();
            for kind in kinds {
                assert_eq!(
                    after.offloaded(kind) - before.offloaded(kind),
                    u64::from(is_ours),
                    "{list:?} {kind} in {version:#x}"
                );
            }
            let delegated =
                after.delegated(Delegated::KeyExchange) - before.delegated(Delegated::KeyExchange);
            assert_eq!(delegated > 0, !is_ours, "{list:?} in {version:#x}");
        }
    }
}

#[test]
fn our_client_exchanges_keys_on_every_curve() {
    let _alone = alone();
    let certificate = Certificate::of(p256());
    for version in [TLS1_3_VERSION, TLS1_2_VERSION] {
        for (list, kind) in [
            (c"P-256", Some(OpKind::EcdhP256Derive)),
            (c"P-384:P-256", Some(OpKind::EcdhP384Derive)),
            (c"P-521:P-256", None),
            (c"X448:P-256", None),
        ] {
            let server = Context::stock_server(&certificate, p256())
                .protocol(version)
                .groups(list);
            let client = Context::client().trusting(&certificate).groups(list);
            let before = counters();
            Pair::new(&client, &server, None)
                .run()
                .unwrap_or_else(|error| panic!("{list:?} {version:#x}: {error}"));
            if let Some(kind) = kind {
                assert_eq!(counters().offloaded(kind) - before.offloaded(kind), 1);
            }
        }
    }
}

#[test]
fn every_rsa_signature_scheme_is_offloaded() {
    let _alone = alone();
    let schemes = [
        (TLS1_3_VERSION, c"rsa_pss_rsae_sha256"),
        (TLS1_3_VERSION, c"rsa_pss_rsae_sha384"),
        (TLS1_3_VERSION, c"rsa_pss_rsae_sha512"),
        (TLS1_2_VERSION, c"rsa_pkcs1_sha256"),
        (TLS1_2_VERSION, c"rsa_pkcs1_sha384"),
        (TLS1_2_VERSION, c"rsa_pkcs1_sha512"),
    ];
    let certificate = Certificate::new(rsa(2048), unsafe { EVP_sha256() });
    let server = Context::server(&certificate, &rsa(2048).bound());
    for (version, scheme) in schemes {
        let before = counters().offloaded(OpKind::Rsa2048);
        let client = Context::stock_client().protocol(version).sigalgs(scheme);
        Pair::new(&client, &server, None)
            .run()
            .unwrap_or_else(|error| panic!("{scheme:?}: {error}"));
        assert!(counters().offloaded(OpKind::Rsa2048) > before, "{scheme:?}");
    }
}

#[test]
fn rsa_key_exchange_is_offloaded() {
    let _alone = alone();
    for (bits, kind) in [
        (2048, OpKind::Rsa2048),
        (3072, OpKind::Rsa3072),
        (4096, OpKind::Rsa4096),
    ] {
        for cipher in [c"AES256-SHA256", c"AES128-GCM-SHA256", c"AES128-SHA"] {
            let before = counters().delegated(Delegated::AsymCipher);
            let client = Context::stock_client()
                .protocol(TLS1_2_VERSION)
                .ciphers(cipher);
            let (agreed, offloaded) = serve(rsa(bits), client, kind);
            assert_eq!(agreed.cipher.as_bytes(), cipher.to_bytes());
            // Nothing is signed in this exchange: this is the decryption.
            assert_eq!(offloaded, 1, "{cipher:?}");
            assert_eq!(counters().delegated(Delegated::AsymCipher), before);
        }
    }
}

#[test]
fn our_client_speaks_rsa_key_exchange() {
    let _alone = alone();
    let certificate = Certificate::new(rsa(2048), unsafe { EVP_sha256() });
    let server = Context::stock_server(&certificate, rsa(2048))
        .protocol(TLS1_2_VERSION)
        .ciphers(c"AES128-GCM-SHA256");
    let client = Context::client().trusting(&certificate);
    Pair::new(&client, &server, None).run().expect("handshake");
}

#[test]
fn an_rsa_key_that_nobody_bound_decrypts_by_the_property_query() {
    let _alone = alone();
    let certificate = Certificate::new(rsa(2048), unsafe { EVP_sha256() });
    let server = Context::server(&certificate, rsa(2048));
    let client = Context::stock_client()
        .protocol(TLS1_2_VERSION)
        .ciphers(c"AES128-GCM-SHA256");
    let before = counters().offloaded(OpKind::Rsa2048);
    Pair::new(&client, &server, None).run().expect("handshake");
    assert_eq!(counters().offloaded(OpKind::Rsa2048) - before, 1);
}

#[test]
fn keys_that_no_device_does_are_served_as_stock() {
    let _alone = alone();
    let keys = [
        Pkey::ec(ours(), c"P-521"),
        Pkey::plain(ours(), c"ED448"),
        Pkey::rsa(ours(), 2304),
    ];
    for key in keys {
        assert!(matches!(key.bind(), Err(BindError::NotOffloaded { .. })));
        let certificate = Certificate::of(&key);
        let server = Context::server(&certificate, &key);
        let client = Context::stock_client();
        let agreed = Pair::new(&client.trusting(&certificate), &server, None)
            .run()
            .expect("handshake");
        assert_eq!(agreed.version, TLS1_3_VERSION);
    }
}

#[test]
fn a_key_that_nobody_bound_is_offloaded_by_the_property_query() {
    let _alone = alone();
    for (key, kind) in [
        (p256(), OpKind::EcdsaP256),
        (p384(), OpKind::EcdsaP384),
        (ed25519(), OpKind::Ed25519),
    ] {
        let certificate = Certificate::of(key);
        let server = Context::server(&certificate, key);
        let before = counters().offloaded(kind);
        Pair::new(&Context::stock_client(), &server, None)
            .run()
            .expect("handshake");
        assert_eq!(counters().offloaded(kind) - before, 1, "{kind}");
    }
}

#[test]
fn client_certificates_work_both_ways() {
    let _alone = alone();
    for version in [TLS1_3_VERSION, TLS1_2_VERSION] {
        for (server_key, client_key) in [
            (p256(), rsa(2048)),
            (rsa(2048), p256()),
            (p384(), ed25519()),
            (ed25519(), p384()),
        ] {
            let served = Certificate::of(server_key);
            let shown = Certificate::of(client_key);
            // Our server checks a stock client's certificate.
            let server = Context::server(&served, &server_key.bound())
                .trusting(&shown)
                .protocol(version);
            let client = Context::stock_client()
                .with_key(&shown, client_key)
                .trusting(&served);
            Pair::new(&client, &server, None).run().expect("our server");
            // Our client signs with a bound key for a stock server.
            let server = Context::stock_server(&served, server_key)
                .trusting(&shown)
                .protocol(version);
            let client = Context::client()
                .with_key(&shown, &client_key.bound())
                .trusting(&served);
            Pair::new(&client, &server, None).run().expect("our client");
        }
    }
}

#[test]
fn every_kind_of_tls_1_2_suite_agrees_on_secrets() {
    let _alone = alone();
    let suites = [
        c"ECDHE-ECDSA-AES128-SHA",
        c"ECDHE-ECDSA-AES128-SHA256",
        c"ECDHE-ECDSA-AES256-SHA384",
        c"ECDHE-ECDSA-AES256-GCM-SHA384",
        c"ECDHE-ECDSA-CHACHA20-POLY1305",
    ];
    for suite in suites {
        let client = Context::stock_client()
            .protocol(TLS1_2_VERSION)
            .ciphers(suite);
        let (agreed, _) = serve(p256(), client, OpKind::EcdsaP256);
        assert_eq!(agreed.cipher.as_bytes(), suite.to_bytes());
    }
}

#[test]
fn sessions_resume() {
    let _alone = alone();
    for version in [TLS1_3_VERSION, TLS1_2_VERSION] {
        let certificate = Certificate::new(p256(), unsafe { EVP_sha256() });
        let server = Context::server(&certificate, &p256().bound())
            .protocol(version)
            .tickets(2);
        let client = Context::stock_client().trusting(&certificate);
        let first = Pair::new(&client, &server, None);
        assert!(!first.run().expect("first").resumed);
        let session = first.session();
        let second = Pair::new(&client, &server, Some(&session));
        assert!(second.run().expect("second").resumed, "{version:#x}");
    }
}

#[test]
fn a_retried_hello_works() {
    let _alone = alone();
    let certificate = Certificate::new(p256(), unsafe { EVP_sha256() });
    let server = Context::server(&certificate, &p256().bound()).groups(c"X25519");
    let client = Context::stock_client()
        .groups(c"P-256:X25519")
        .trusting(&certificate);
    Pair::new(&client, &server, None)
        .run()
        .expect("handshake after HelloRetryRequest");
    let server = Context::server(&certificate, &p256().bound()).groups(c"P-384");
    let client = Context::stock_client()
        .groups(c"X25519:P-384:P-256")
        .trusting(&certificate);
    Pair::new(&client, &server, None)
        .run()
        .expect("handshake after HelloRetryRequest to P-384");
}

#[test]
fn chacha_and_both_aes_suites_agree_on_secrets() {
    let _alone = alone();
    for suite in [
        c"TLS_AES_128_GCM_SHA256",
        c"TLS_AES_256_GCM_SHA384",
        c"TLS_CHACHA20_POLY1305_SHA256",
    ] {
        let client = Context::stock_client();
        unsafe { openssl_sys::SSL_CTX_set_ciphersuites(client.0, suite.as_ptr()) };
        let (agreed, _) = serve(p256(), client, OpKind::EcdsaP256);
        assert_eq!(agreed.cipher.as_bytes(), suite.to_bytes());
    }
}
