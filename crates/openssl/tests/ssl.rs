//! `SslCtx` and `Ssl` with a real libssl on both ends, in memory: the contract of
//! SSL_set_async_callback(3) and what happens to connections that go away.

mod support;

use spinlane_cryptodev::Device;
use spinlane_driver_soft::SoftDevice;
use spinlane_job::Status;
use spinlane_lcore::{Config, Conn, HealthConfig, Lcore};
use spinlane_openssl::{
    ClientConfig, ErrorStack, KeyOffload, Progress, Protocol, Ssl, SslCtx, SslError,
    SuitePreference, Trust,
};
use support::{Pair, identity, pump, server_config};

fn lcore_with(capacity: usize) -> Lcore {
    // No op of a busy machine is too late.
    let health = HealthConfig {
        op_deadline_ns: 3_600_000_000_000,
        ..HealthConfig::default()
    };
    let lcore = Lcore::new(Config::default());
    let config = spinlane_cryptodev::QueuePairConfig {
        capacity,
        ..Default::default()
    };
    let queue_pair = SoftDevice::new().queue_pair(config);
    lcore.add_queue_pair_with(
        queue_pair.expect("the soft device has no limits that bite here"),
        health,
    );
    lcore
}

/// Steps both sides until the server pauses or both are established; returns the server's last
/// progress.
fn until_paused(pair: &mut Pair) -> Progress {
    for _ in 0..20 {
        pair.client.handshake().expect("client");
        pump(&mut pair.client, &mut pair.server);
        let progress = pair.server.handshake().expect("server");
        pump(&mut pair.server, &mut pair.client);
        match progress {
            Progress::Paused | Progress::Refused => return progress,
            Progress::Done(_) if pair.client.is_established() => return progress,
            _ => {}
        }
    }
    panic!("no progress in 20 steps");
}

/// Runs a pair to the end; returns how often the server paused.
fn finish(lcore: &Lcore, pair: &mut Pair) -> usize {
    let mut pauses = 0;
    loop {
        match until_paused(pair) {
            Progress::Paused => {
                pauses += 1;
                assert_eq!(
                    pair.server.async_status(),
                    Status::OK,
                    "status is OK before the pause"
                );
                let mut polls = 0;
                while lcore.next_ready().is_none() {
                    lcore.poll().expect("not in a callback");
                    polls += 1;
                    assert!(polls < 100, "the callback never came");
                }
                assert_eq!(lcore.next_ready(), None, "one callback per accepted op");
            }
            Progress::Done(_) => return pauses,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn handshakes_pause_for_every_private_key_op_and_finish() {
    for kind in ["rsa2048", "p256", "p384", "ed25519"] {
        for (protocol, version) in [(Protocol::Tls12, "TLSv1.2"), (Protocol::Tls13, "TLSv1.3")] {
            let lcore = lcore_with(8);
            let mut config = server_config(kind);
            config.max_protocol = protocol;
            let server = SslCtx::server(&config).expect("server");
            assert_eq!(server.key_offload(), &KeyOffload::Offloaded);
            let mut pair = Pair::new(&server, &lcore, 1);
            assert_eq!(
                finish(&lcore, &mut pair),
                3,
                "keygen, derive, sign: {kind} {version}"
            );
            assert_eq!(pair.server.version(), version);
            pair.echo(b"hello");
            let stats = lcore.stats();
            assert_eq!(
                (
                    stats.callbacks,
                    stats.channels[0].counts.completed,
                    stats.channels[0].counts.failed
                ),
                (3, 3, 0)
            );
            assert_eq!((lcore.in_flight(), stats.inline_ops), (0, 0));
        }
    }
}

/// libssl alone would pass over names of TLS 1.3 that it does not know.
#[test]
fn suites_that_cannot_be_are_named() {
    for (suites, max, named) in [
        (
            &["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA265"][..],
            Protocol::Tls13,
            "\"TLS_AES_128_GCM_SHA265\"",
        ),
        (
            &["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA265"],
            Protocol::Tls13,
            "SHA265",
        ),
        // None of a version that is served.
        (
            &["TLS_AES_256_GCM_SHA384"],
            Protocol::Tls12,
            "TLS_AES_256_GCM_SHA384",
        ),
    ] {
        let mut config = server_config("p256");
        config.suites = suites.iter().map(|&suite| suite.to_owned()).collect();
        config.max_protocol = max;
        let error = SslCtx::server(&config).err().unwrap().to_string();
        assert!(error.contains("suites") && error.contains(named), "{error}");
    }
}

#[test]
fn servers_take_the_suite_that_they_prefer() {
    use SuitePreference::{Aes128, Aes256, Clients};
    // Of the client: its list of TLS 1.3, and of TLS 1.2.
    let aes256_first = (
        c"TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256",
        c"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256",
    );
    let aes128_first = (
        c"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384",
        c"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384",
    );
    let chacha_first = (
        c"TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256",
        c"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256",
    );
    let without_either = (
        c"TLS_CHACHA20_POLY1305_SHA256",
        c"ECDHE-ECDSA-AES256-SHA384",
    );
    for (preference, lists, taken) in [
        (Aes128, aes256_first, "AES-128 AES128-GCM"),
        (Aes256, aes128_first, "AES-256 AES256-GCM"),
        (Clients, aes256_first, "AES-256 AES256-GCM"),
        (Clients, aes128_first, "AES-128 AES128-GCM"),
        (Aes128, chacha_first, "CHACHA20 CHACHA20"),
        (Aes256, without_either, "CHACHA20 AES256-SHA384"),
    ] {
        let taken = taken.split(' ').zip([Protocol::Tls13, Protocol::Tls12]);
        for (name, protocol) in taken {
            let lcore = lcore_with(8);
            let mut config = server_config("p256");
            config.max_protocol = protocol;
            config.preference = preference;
            let server = SslCtx::server(&config).expect("server");
            let mut pair = Pair::new(&server, &lcore, 1);
            // SAFETY: a live connection that has not begun, and terminated lists.
            unsafe {
                let client = pair.client.as_ptr();
                assert_eq!(
                    openssl_sys::SSL_set_ciphersuites(client, lists.0.as_ptr()),
                    1
                );
                assert_eq!(
                    openssl_sys::SSL_set_cipher_list(client, lists.1.as_ptr()),
                    1
                );
            }
            finish(&lcore, &mut pair);
            let suite = suite_of(&pair.server).replace("AES_", "AES-");
            assert!(suite.contains(name), "{preference:?} {lists:?}: {suite}");
        }
    }
    // A list that the caller has ordered stays.
    let lcore = lcore_with(8);
    let mut config = server_config("p256");
    config.max_protocol = Protocol::Tls12;
    config.ciphers = aes256_first.1.to_str().ok().map(str::to_owned);
    let server = SslCtx::server(&config).expect("server");
    let mut pair = Pair::new(&server, &lcore, 1);
    finish(&lcore, &mut pair);
    assert!(suite_of(&pair.server).contains("AES256-GCM"));
}

fn suite_of(ssl: &Ssl) -> String {
    // SAFETY: a live connection; its suite's name is a static.
    let name = unsafe {
        let suite = openssl_sys::SSL_get_current_cipher(ssl.as_ptr());
        std::ffi::CStr::from_ptr(openssl_sys::SSL_CIPHER_get_name(suite))
    };
    name.to_string_lossy().into_owned()
}

#[test]
fn every_group_pauses_for_generation_and_derivation() {
    // The certificate's curve has to be among them (RFC 8422, section 5.1).
    for groups in ["P-256", "P-384:P-256"] {
        for protocol in [Protocol::Tls12, Protocol::Tls13] {
            let lcore = lcore_with(8);
            let mut config = server_config("p256");
            config.max_protocol = protocol;
            config.groups = Some(groups.to_owned());
            let server = SslCtx::server(&config).expect("server");
            let mut pair = Pair::new(&server, &lcore, 1);
            let offered = ClientConfig {
                groups: Some(groups.to_owned()),
                ..ClientConfig::dangerously_accepting_any_certificate()
            };
            pair.client = Ssl::client(&SslCtx::client(&offered).expect("client")).expect("client");
            assert_eq!(finish(&lcore, &mut pair), 3, "{groups} {protocol:?}");
            pair.echo(b"hello");
            assert_eq!(lcore.stats().inline_ops, 0);
        }
    }
}

#[test]
fn hybrid_groups_pause_for_their_classical_half() {
    // SAFETY: no arguments, no state.
    let version = unsafe { openssl_sys::OpenSSL_version_num() };
    if version < 0x3050_0000 {
        eprintln!("skipped: OpenSSL {version:#x} has no hybrid groups, 3.5 has");
        return;
    }
    for group in ["X25519MLKEM768", "SecP256r1MLKEM768", "SecP384r1MLKEM1024"] {
        let lcore = lcore_with(8);
        // Alone on either side, so that no other group can have served.
        let groups = Some(group.to_owned());
        let mut config = server_config("rsa2048");
        config.groups.clone_from(&groups);
        let server = SslCtx::server(&config).expect("server");
        let mut pair = Pair::new(&server, &lcore, 1);
        let offered = ClientConfig {
            groups,
            ..ClientConfig::dangerously_accepting_any_certificate()
        };
        pair.client = Ssl::client(&SslCtx::client(&offered).expect("client")).expect("client");
        assert_eq!(
            finish(&lcore, &mut pair),
            3,
            "keygen, derive, sign: {group}"
        );
        pair.echo(b"hello");
        assert_eq!(lcore.stats().inline_ops, 0);
    }
}

#[test]
fn rsa_key_exchange_pauses_for_the_decryption() {
    let lcore = lcore_with(8);
    let mut config = server_config("rsa2048");
    config.max_protocol = Protocol::Tls12;
    config.ciphers = Some("AES128-GCM-SHA256".to_owned());
    let server = SslCtx::server(&config).expect("server");
    let mut pair = Pair::new(&server, &lcore, 1);
    assert_eq!(finish(&lcore, &mut pair), 1);
    pair.echo(b"hello");
    assert_eq!(lcore.stats().inline_ops, 0);
}

#[test]
fn a_stock_context_never_pauses() {
    let lcore = lcore_with(8);
    let mut config = server_config("rsa2048");
    config.offload = false;
    let server = SslCtx::server(&config).expect("server");
    assert_eq!(server.key_offload(), &KeyOffload::Off);
    let mut pair = Pair::new(&server, &lcore, 1);
    assert_eq!(finish(&lcore, &mut pair), 0);
    assert_eq!(
        pair.server.async_status(),
        Status::UNSUPPORTED,
        "no engine spoke up"
    );
}

#[test]
fn a_key_without_op_is_served_by_openssl_and_said_so() {
    let lcore = lcore_with(8);
    let server = SslCtx::server(&server_config("p521")).expect("server");
    assert!(matches!(server.key_offload(), KeyOffload::Unsupported(_)));
    let mut pair = Pair::new(&server, &lcore, 1);
    assert_eq!(
        finish(&lcore, &mut pair),
        2,
        "X25519 is offloaded all the same"
    );
    pair.echo(b"hello");
}

#[test]
fn attached_to_none_it_computes_in_place_and_says_so_and_is_counted() {
    let server = SslCtx::server(&server_config("p256")).expect("server");
    let lcore = lcore_with(8);
    // One that happens to be current is not meant.
    for ambient in [false, true] {
        let before = spinlane_lcore::ops_without_lcore();
        let entered = ambient.then(|| lcore.enter());
        let mut pair = Pair::new(&server, &lcore, 1);
        assert!(pair.server.is_offloaded());
        pair.server = Ssl::server(&server).expect("server");
        assert!(!pair.server.is_offloaded());
        assert!(matches!(until_paused(&mut pair), Progress::Done(_)));
        pair.echo(b"hello");
        drop(entered);
        let here = spinlane_lcore::ops_without_lcore() - before;
        let stats = lcore.stats();
        assert_eq!(
            (here, stats.inline_ops),
            if ambient { (0, 3) } else { (3, 0) }
        );
        assert_eq!(stats.channels[0].counts.enqueued, 0);
    }
}

#[test]
fn a_call_runs_under_the_lcore_it_is_attached_to_whatever_is_current() {
    let (ours, other) = (lcore_with(8), lcore_with(8));
    let server = SslCtx::server(&server_config("p256")).expect("server");
    let _entered = other.enter();
    let mut pair = Pair::new(&server, &ours, 1);
    assert_eq!(finish(&ours, &mut pair), 3);
    assert_eq!(other.stats().channels[0].counts.enqueued, 0);
}

#[test]
fn a_task_is_woken_when_its_connection_can_go_on() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    struct Task(AtomicUsize);
    impl std::task::Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let lcore = lcore_with(1);
    let server = SslCtx::server(&server_config("p256")).expect("server");
    let mut pairs = [0, 1].map(|conn| Pair::new(&server, &lcore, conn));
    let tasks = [0, 0].map(|count| Arc::new(Task(AtomicUsize::new(count))));
    for (pair, task) in pairs.iter_mut().zip(&tasks) {
        pair.server
            .attach(&lcore, std::task::Waker::from(Arc::clone(task)));
    }
    let (mut seen, mut pauses, mut done) = ([0; 2], [0; 2], [false; 2]);
    for _ in 0..10_000 {
        for (index, pair) in pairs.iter_mut().enumerate() {
            let woken = tasks[index].0.load(Relaxed);
            if done[index] || (pair.server.is_paused() && woken == seen[index]) {
                continue;
            }
            seen[index] = woken;
            match until_paused(pair) {
                Progress::Done(_) => done[index] = true,
                _ => pauses[index] += 1,
            }
        }
        lcore.poll().expect("not in a callback");
    }
    assert_eq!(done, [true; 2]);
    assert_eq!(
        tasks.map(|task| task.0.load(Relaxed)),
        pauses,
        "one wake per pause"
    );
    assert!(lcore.stats().channels[0].counts.refused > 0);
    assert_eq!(lcore.next_ready(), None);
}

#[test]
fn a_resume_that_comes_too_early_polls_and_stays_paused_or_goes_on() {
    let lcore = lcore_with(8);
    let server = SslCtx::server(&server_config("p256")).expect("server");
    let mut pair = Pair::new(&server, &lcore, 1);
    // Only ever call the handshake again: no poll, no ready queue.
    for _ in 0..1000 {
        if let Progress::Done(_) = until_paused(&mut pair) {
            assert!(lcore.stats().restart_polls > 0);
            return;
        }
    }
    panic!("never finished");
}

#[test]
fn a_full_queue_pair_is_eagain_and_the_retry_queue_finishes_all_in_order() {
    const CONNECTIONS: u64 = 256;
    let lcore = lcore_with(2);
    let server = SslCtx::server(&server_config("p256")).expect("server");
    let mut pairs: Vec<Pair> = (0..CONNECTIONS)
        .map(|conn| Pair::new(&server, &lcore, conn))
        .collect();
    let mut refused = 0;
    let mut live = pairs.len();
    let mut step = |pair: &mut Pair, live: &mut usize| match until_paused(pair) {
        Progress::Refused => {
            assert_eq!(pair.server.async_status(), Status::EAGAIN);
            refused += 1;
        }
        Progress::Done(_) => *live -= 1,
        _ => {}
    };
    for pair in &mut pairs {
        step(pair, &mut live);
    }
    let mut polls: u64 = 0;
    while live > 0 {
        lcore.poll().expect("not in a callback");
        polls += 1;
        assert!(polls < 10_000, "{live} connections starve");
        while let Some(Conn(conn)) = lcore.next_ready() {
            step(&mut pairs[conn as usize], &mut live);
        }
        assert!(lcore.in_flight() <= 2);
    }
    let stats = lcore.stats();
    assert!(refused > 0);
    assert_eq!(stats.channels[0].counts.refused, refused);
    assert!(
        stats.channels[0].counts.retried <= 2 * polls,
        "a full ring is not spun on"
    );
    assert_eq!(stats.channels[0].counts.completed, 3 * CONNECTIONS);
}

#[test]
fn a_dropped_connection_unwinds_and_is_never_called_back() {
    let lcore = lcore_with(64);
    let server = SslCtx::server(&server_config("p256")).expect("server");
    for conn in 0..50 {
        let mut pair = Pair::new(&server, &lcore, conn);
        assert_eq!(until_paused(&mut pair), Progress::Paused);
        drop(pair);
    }
    assert_eq!(spinlane_job::pool_stats().stacks_in_use, 0);
    while lcore.in_flight() > 0 {
        lcore.poll().expect("not in a callback");
    }
    assert_eq!(lcore.next_ready(), None);
    let stats = lcore.stats();
    assert_eq!(
        (stats.callbacks, stats.channels[0].counts.orphaned),
        (0, 50)
    );
}

#[test]
fn ssl_free_on_a_paused_ssl_loses_no_op_and_no_stack() {
    unsafe extern "C" {
        fn SSL_free(ssl: *mut openssl_sys::SSL);
        fn SSL_up_ref(ssl: *mut openssl_sys::SSL) -> i32;
    }
    let lcore = lcore_with(64);
    let server = SslCtx::server(&server_config("p256")).expect("server");
    for conn in 0..50 {
        let mut pair = Pair::new(&server, &lcore, conn);
        assert_eq!(until_paused(&mut pair), Progress::Paused);
        // As a C program would: SSL_free, and never a thought of the job.
        // SAFETY: the extra reference is the one that `Ssl` would free and is forgotten with it.
        unsafe {
            SSL_up_ref(pair.server.as_ptr());
            SSL_free(pair.server.as_ptr());
            SSL_free(pair.server.as_ptr());
        }
        std::mem::forget(pair.server);
    }
    assert_eq!(
        spinlane_job::pool_stats().stacks_in_use,
        0,
        "stacks are back"
    );
    while lcore.in_flight() > 0 {
        lcore.poll().expect("not in a callback");
    }
    let stats = lcore.stats();
    assert_eq!(
        (stats.callbacks, stats.channels[0].counts.orphaned),
        (0, 50)
    );
}

#[test]
fn errors_name_the_culprit() {
    let config = |chain, key| spinlane_openssl::ServerConfig::new(chain, key);
    let (rsa_chain, rsa_key) = identity("rsa2048");
    let (_, p256_key) = identity("p256");
    let error = |config| {
        SslCtx::server(&config)
            .err()
            .expect("must be refused")
            .to_string()
    };
    let text = error(config(rsa_chain.clone(), p256_key));
    assert!(
        text.contains("rsa2048.crt") && text.contains("p256.key") && text.contains("do not match"),
        "{text}"
    );
    let garbage = spinlane_openssl::Pem::new("garbage.pem", "no PEM at all");
    assert!(error(config(garbage.clone(), rsa_key.clone())).contains("garbage.pem"));
    assert!(error(config(rsa_chain.clone(), garbage)).contains("garbage.pem"));
    let mut bad_groups = config(rsa_chain, rsa_key);
    bad_groups.groups = Some("no-such-group".into());
    assert!(error(bad_groups).contains("no-such-group"));
    let missing = spinlane_openssl::Pem::read(std::path::Path::new("/nonexistent.pem"));
    assert!(matches!(missing, Err(SslError::Read { .. })));
}

#[test]
fn what_succeeds_leaves_no_entry_on_the_error_queue() {
    let look = |call: &str| {
        let errors = ErrorStack::take();
        assert_eq!(errors, ErrorStack::default(), "{call}");
    };
    let lcore = lcore_with(8);
    for kind in ["rsa2048", "p256", "p384", "p521", "ed25519"] {
        for offload in [true, false] {
            let mut config = server_config(kind);
            config.offload = offload;
            config.groups = Some("X25519:P-256".into());
            config.ciphers = Some("ECDHE+AESGCM".into());
            config.alpn = vec!["http/1.1".into()];
            config.client_roots = Some(identity(kind).0);
            let server = SslCtx::server(&config).expect("server");
            look("SslCtx::server");
            let client = SslCtx::client(&ClientConfig {
                offload,
                trust: Trust::Issuers(identity(kind).0),
                identity: Some(identity(kind)),
                ..ClientConfig::dangerously_accepting_any_certificate()
            });
            look("SslCtx::client");
            let mut pair = Pair {
                server: Ssl::server(&server).expect("server"),
                client: Ssl::client(&client.expect("client")).expect("client"),
            };
            pair.server.attach(&lcore, Conn(1));
            while !pair.server.is_established() || !pair.client.is_established() {
                pair.client.handshake().expect("client");
                look("the client's handshake");
                pump(&mut pair.client, &mut pair.server);
                pair.server.handshake().expect("server");
                look("the server's handshake");
                pump(&mut pair.server, &mut pair.client);
                lcore.poll().expect("not in a callback");
                while lcore.next_ready().is_some() {}
            }
            pair.echo(b"hello");
            look("echo");
            drop(pair);
            look("drop");
        }
    }
}

#[test]
fn garbage_and_truncation_are_errors_and_no_hang() {
    let server = SslCtx::server(&server_config("p256")).expect("server");
    let mut ssl = Ssl::server(&server).expect("ssl");
    ssl.push_input(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let error = ssl.handshake().expect_err("plain HTTP").to_string();
    assert!(error.contains("http request"), "{error}");
    let mut ssl = Ssl::server(&server).expect("ssl");
    ssl.push_input(&[0x16, 3, 1, 0, 200, 1, 2, 3]);
    assert_eq!(ssl.handshake(), Ok(Progress::WantInput));
    ssl.end_input();
    assert!(ssl.handshake().is_err(), "the stream ended inside a record");
}

#[test]
fn a_close_that_finds_no_room_is_said_when_there_is_some() {
    let lcore = lcore_with(8);
    let server = SslCtx::server(&server_config("p256")).expect("server");
    let mut pair = Pair::new(&server, &lcore, 1);
    finish(&lcore, &mut pair);
    // Two records, each with 22 bytes besides its text, that leave ten bytes of 20 KiB.
    let lens = [10_000, 20 * 1024 - 10_000 - 2 * 22 - 10];
    for len in lens {
        assert_eq!(pair.server.write(&vec![7; len]), Ok(Progress::Done(len)));
    }
    let sent = lens.iter().sum::<usize>();
    assert_eq!(pair.server.output_len(), 20 * 1024 - 10);
    pair.server.shutdown();
    let (mut text, mut got) = ([0; 4000], 0);
    let end = loop {
        let carried = pair
            .server
            .write_output(|bytes| Ok(pair.client.push_input(bytes)));
        carried.expect("bytes");
        match pair.client.read(&mut text).expect("text") {
            Progress::Done(count) => got += count,
            Progress::WantInput if pair.server.output_len() != 0 => {}
            end => break end,
        }
    };
    assert_eq!((end, got), (Progress::Closed, sent));
}

#[test]
fn a_read_does_the_handshake_as_a_handshake_does() {
    let lcore = lcore_with(8);
    let server = SslCtx::server(&server_config("p256")).expect("server");
    let mut pair = Pair::new(&server, &lcore, 1);
    let mut text = [0; 10];
    for _ in 0..1000 {
        if !pair.client.is_established() {
            pair.client.handshake().expect("client");
        }
        pump(&mut pair.client, &mut pair.server);
        pair.server.read(&mut text).expect("server");
        pump(&mut pair.server, &mut pair.client);
        lcore.poll().expect("not in a callback");
        if pair.server.is_established() {
            break;
        }
    }
    // So it can be closed.
    pair.server.shutdown();
    pump(&mut pair.server, &mut pair.client);
    assert_eq!(pair.client.read(&mut text), Ok(Progress::Closed));
}

/// 10,000 connections, each dropped after a random number of steps, most of them while an op is
/// in flight or done and unread. `SPINLANE_SEED` replays a run. Under AddressSanitizer
/// (`make asan`) this also shows that nothing is leaked or used after it was freed.
#[test]
fn connections_dropped_in_random_states_leave_nothing_behind() {
    const CONNECTIONS: u64 = 10_000;
    const LIVE: usize = 64;
    let seed = match std::env::var("SPINLANE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        Some(seed) => seed,
        None => u64::from(std::process::id()),
    };
    println!("replay with SPINLANE_SEED={seed}");
    let mut random = support::Random(seed);

    let lcore = lcore_with(24);
    let server = SslCtx::server(&server_config("p256")).expect("server");
    let mut pairs: Vec<Pair> = Vec::new();
    let mut made = 0;
    while made < CONNECTIONS || !pairs.is_empty() {
        while made < CONNECTIONS && pairs.len() < LIVE {
            pairs.push(Pair::new(&server, &lcore, made));
            made += 1;
        }
        let victim = random.below(pairs.len());
        match random.below(4) {
            0 => drop(pairs.swap_remove(victim)),
            1 => {
                lcore.poll().expect("not in a callback");
                while lcore.next_ready().is_some() {}
            }
            _ => {
                let pair = &mut pairs[victim];
                pair.client.handshake().expect("client");
                pump(&mut pair.client, &mut pair.server);
                pair.server.handshake().expect("server");
                pump(&mut pair.server, &mut pair.client);
            }
        }
    }
    for _ in 0..1000 {
        lcore.poll().expect("not in a callback");
    }
    let stats = lcore.stats();
    let channel = &stats.channels[0];
    assert_eq!(
        (channel.in_flight, spinlane_job::pool_stats().stacks_in_use),
        (0, 0)
    );
    assert_eq!(
        channel.counts.enqueued,
        channel.counts.completed + channel.counts.cancelled,
        "every op came back"
    );
    assert!(channel.counts.orphaned > 0, "some were dropped in flight");
}
