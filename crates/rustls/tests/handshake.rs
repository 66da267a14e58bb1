//! Handshakes with every key, version and group: what is offloaded, and what comes of it.

mod support;

use rustls::SupportedProtocolVersion;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::version::{TLS12, TLS13};
use spinlane_job::Status;
use spinlane_lcore::Lcore;
use spinlane_rustls::{
    KeyOffload, OffloadedEcdhP256, OffloadedEcdhP384, OffloadedSecp256r1Mlkem768, OffloadedX25519,
    OffloadedX25519Mlkem768, Progress, load_private_key,
};

use support::{Ends, KEYS, Wanted, identity, lcore, rustls};

fn ops(lcore: &Lcore) -> (u64, u64) {
    let stats = lcore.stats();
    (
        stats.channels[0].counts.enqueued,
        stats.inline_ops + stats.unrouted_ops,
    )
}

/// A key pair and a secret on both sides, the server's in TLS 1.3 at once.
fn kx_ops(version: &SupportedProtocolVersion) -> u64 {
    if version == &TLS13 { 3 } else { 4 }
}

#[test]
fn every_key_serves_both_versions_and_is_offloaded_if_devices_know_it() {
    let lcore = lcore(64);
    for (key, is_offloaded) in KEYS {
        let loaded = load_private_key(&identity(key).key()).unwrap();
        assert_eq!(
            loaded.offload == KeyOffload::Offloaded,
            is_offloaded,
            "{loaded:?}"
        );
        for version in [&TLS12, &TLS13] {
            let mut ends = Wanted {
                key,
                version,
                ..Wanted::default()
            }
            .ends(&lcore);
            let before = ops(&lcore);
            ends.establish(&lcore)
                .unwrap_or_else(|error| panic!("{key} {version:?}: {error}"));
            ends.exchange(b"text");
            let after = ops(&lcore);
            let wanted = kx_ops(version) + u64::from(is_offloaded);
            assert_eq!(after.0 - before.0, wanted, "{key} {version:?}");
            assert_eq!(after.1 - before.1, 0, "{key} {version:?}");
        }
    }
}

#[test]
fn a_server_takes_aes_128_unless_it_prefers_otherwise() {
    use rustls::CipherSuite as Suite;
    let suites = [
        (
            &TLS13,
            Suite::TLS13_AES_128_GCM_SHA256,
            Suite::TLS13_AES_256_GCM_SHA384,
        ),
        (
            &TLS12,
            Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        ),
    ];
    let lcore = lcore(64);
    for (version, aes128, aes256) in suites {
        for key_of_256 in [false, true] {
            let wanted = Wanted {
                version,
                prefers_aes256: key_of_256,
                ..Wanted::default()
            };
            // The client has it the other way round.
            let client = Wanted {
                prefers_aes256: !key_of_256,
                ..wanted
            };
            let mut ends = Ends::new(&lcore, wanted.server().into(), client.client().into());
            ends.establish(&lcore).unwrap();
            let taken = ends.server.cipher_suite().unwrap().suite();
            assert_eq!(taken, if key_of_256 { aes256 } else { aes128 });
        }
    }
}

#[test]
fn every_group_serves() {
    let lcore = lcore(64);
    let groups: [(&'static dyn SupportedKxGroup, u64); 5] = [
        (&OffloadedX25519, 3),
        // Of each half as many.
        (&OffloadedX25519Mlkem768, 6),
        (&OffloadedSecp256r1Mlkem768, 6),
        (&OffloadedEcdhP256, 3),
        (&OffloadedEcdhP384, 3),
    ];
    for (group, kx_ops) in groups {
        let mut ends = Wanted {
            group: Some(group),
            ..Wanted::default()
        }
        .ends(&lcore);
        let before = ops(&lcore);
        ends.establish(&lcore).unwrap();
        assert_eq!(ends.server.group(), Some(group.name()));
        ends.exchange(b"text");
        assert_eq!(ops(&lcore).0 - before.0, kx_ops + 1, "{group:?}");
    }
}

/// Eight KiB less than C programs may ask for, whatever the key, the group and the client's certificate.
#[test]
#[cfg_attr(spinlane_asan, ignore = "AddressSanitizer makes frames larger")]
fn handshakes_leave_room_on_the_smallest_stack() {
    assert!(spinlane_job::set_stack_size(40 * 1024));
    every_group_serves();
    every_key_serves_both_versions_and_is_offloaded_if_devices_know_it();
    client_certificates_are_offloaded_too();
    without_an_lcore_everything_runs_on_the_spot();
}

#[test]
fn a_hybrid_share_serves_a_server_that_knows_its_classical_half_alone() {
    let lcore = lcore(64);
    let groups: [[&'static dyn SupportedKxGroup; 2]; 2] = [
        [&OffloadedX25519Mlkem768, &OffloadedX25519],
        [&OffloadedSecp256r1Mlkem768, &OffloadedEcdhP256],
    ];
    for [hybrid, classical] in groups {
        let server = Wanted {
            group: Some(classical),
            ..Wanted::default()
        }
        .server();
        let mut provider = spinlane_rustls::provider();
        provider.kx_groups = vec![hybrid, classical];
        let mut client = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(identity("p256").roots())
            .with_no_client_auth();
        client.enable_secret_extraction = true;
        let mut ends = Ends::new(&lcore, server.into(), client.into());
        ends.establish(&lcore).unwrap();
        assert_eq!(ends.client.group(), Some(classical.name()));
        ends.exchange(b"text");
    }
}

#[test]
fn client_certificates_are_offloaded_too() {
    let lcore = lcore(64);
    for version in [&TLS12, &TLS13] {
        for (client_key, is_offloaded) in KEYS {
            // Ed25519 signs the whole handshake in TLS 1.2, which no op has room for.
            let is_offloaded = is_offloaded && (client_key, version) != ("ed25519", &TLS12);
            let wanted = Wanted {
                version,
                client_key: Some(client_key),
                ..Wanted::default()
            };
            let mut ends = wanted.ends(&lcore);
            let before = ops(&lcore);
            ends.establish(&lcore).unwrap();
            ends.exchange(b"text");
            assert_eq!(
                ops(&lcore).0 - before.0,
                kx_ops(version) + 1 + u64::from(is_offloaded),
                "{client_key}"
            );
            let seen = ends.server.peer_certificates().unwrap();
            assert_eq!(seen, [identity(client_key).certificate.clone()]);
        }
    }
}

#[test]
fn without_an_lcore_everything_runs_on_the_spot() {
    for version in [&TLS12, &TLS13] {
        let mut ends = Wanted {
            version,
            ..Wanted::default()
        }
        .unattached();
        for _ in 0..10 {
            for end in [&mut ends.client, &mut ends.server] {
                let progress = end.handshake().unwrap();
                assert!(
                    matches!(progress, Progress::Done(0) | Progress::WantInput),
                    "{progress:?}"
                );
            }
            ends.carry();
        }
        assert!(ends.client.is_established() && ends.server.is_established());
        assert_eq!(ends.server.async_status(), Status::UNSUPPORTED);
        ends.exchange(b"text");
    }
}

/// On either side, one for the certificate besides.
#[test]
fn both_halves_of_a_hybrid_wait_in_one_pause() {
    let lcore = lcore(64);
    let groups: [&'static dyn SupportedKxGroup; 2] =
        [&OffloadedX25519Mlkem768, &OffloadedSecp256r1Mlkem768];
    for group in groups {
        let Ends {
            mut client,
            mut server,
        } = Wanted {
            group: Some(group),
            ..Wanted::default()
        }
        .ends(&lcore);
        let (mut pauses, mut rounds) = ([0; 2], 0);
        while !(client.is_established() && server.is_established()) {
            rounds += 1;
            assert!(rounds < 100, "stuck");
            for (end, pauses) in [&mut client, &mut server].into_iter().zip(&mut pauses) {
                while end.handshake().unwrap() == Progress::Paused {
                    *pauses += 1;
                    while lcore.next_ready().is_none() {
                        lcore.poll().unwrap();
                    }
                }
            }
            support::carry(&mut client, &mut server);
            support::carry(&mut server, &mut client);
        }
        assert_eq!(pauses, [2, 2], "{group:?}");
    }
}

#[test]
fn hybrids_agree_with_the_stock_ones() {
    let lcore = lcore(64);
    let groups: [(&'static dyn SupportedKxGroup, _); 2] = [
        (&OffloadedX25519Mlkem768, kx_group::X25519MLKEM768),
        (&OffloadedSecp256r1Mlkem768, kx_group::SECP256R1MLKEM768),
    ];
    for (ours, stock) in groups {
        for [client, server] in [[ours, stock], [stock, ours]] {
            let wanted = |group| Wanted {
                group: Some(group),
                ..Wanted::default()
            };
            let (client, server) = (wanted(client).client(), wanted(server).server());
            let mut ends = Ends::new(&lcore, server.into(), client.into());
            ends.establish(&lcore).unwrap();
            assert_eq!(ends.server.group(), Some(stock.name()));
            ends.exchange(b"text");
        }
    }
}

#[test]
fn the_stock_provider_talks_to_ours() {
    let lcore = lcore(64);
    for version in [&TLS12, &TLS13] {
        let stock = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        for suite in &stock.cipher_suites {
            let mut only = (*stock).clone();
            only.cipher_suites = vec![*suite];
            if suite.version() != version {
                continue;
            }
            for key in ["rsa2048", "p256"] {
                let mut client = rustls::ClientConfig::builder_with_provider(only.clone().into())
                    .with_protocol_versions(&[version])
                    .unwrap()
                    .with_root_certificates(identity(key).roots())
                    .with_no_client_auth();
                client.enable_secret_extraction = true;
                let server = Wanted {
                    key,
                    version,
                    ..Wanted::default()
                }
                .server();
                let mut ends = Ends::new(&lcore, server.into(), client.into());
                // A suite of TLS 1.2 fits one kind of key.
                let Ok(()) = ends.establish(&lcore) else {
                    assert!(version == &TLS12);
                    continue;
                };
                let used = ends.server.cipher_suite().unwrap();
                assert_eq!(used.suite(), suite.suite());
                ends.exchange(&[7; 40_000]);
            }
        }
    }
}
