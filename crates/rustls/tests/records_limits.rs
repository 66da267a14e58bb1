//! Keys that are used up, tickets that come late, configurations that keep their secrets.

mod support;

use std::sync::{Arc, Mutex, OnceLock};

use rustls::client::Tls13ClientSessionValue;
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::{
    AlertDescription, CipherSuiteCommon, InvalidMessage, NamedGroup, SupportedCipherSuite,
    Tls12CipherSuite, Tls13CipherSuite,
};
use spinlane_rustls::{Connection, Error, Progress};

use support::stock::{BOTH, Ours, Raw, give, output, pair_with, suites, text};
use support::{Wanted, rustls};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
/// Records that a key may seal here.
const LIMIT: u64 = 8;

/// The suite with [`LIMIT`], made once.
fn limited(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    static MADE: OnceLock<Vec<SupportedCipherSuite>> = OnceLock::new();
    let made = MADE.get_or_init(|| suites().iter().map(|(suite, _)| limit(*suite)).collect());
    let same = |made: &&SupportedCipherSuite| made.suite() == suite.suite();
    *made.iter().find(same).unwrap()
}

fn limit(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let common = |common: &CipherSuiteCommon| CipherSuiteCommon {
        confidentiality_limit: LIMIT,
        ..CipherSuiteCommon {
            suite: common.suite,
            hash_provider: common.hash_provider,
            confidentiality_limit: 0,
        }
    };
    match suite {
        SupportedCipherSuite::Tls12(suite) => {
            SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
                common: common(&suite.common),
                prf_provider: suite.prf_provider,
                kx: suite.kx,
                sign: suite.sign,
                aead_alg: suite.aead_alg,
            })))
        }
        SupportedCipherSuite::Tls13(suite) => {
            SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                common: common(&suite.common),
                hkdf_provider: suite.hkdf_provider,
                aead_alg: suite.aead_alg,
                quic: None,
            })))
        }
    }
}

/// Ours with limited suites, and a peer without rustls.
fn each_limited(mut check: impl FnMut(Connection, Raw, bool)) {
    for (suite, key) in suites() {
        for side in BOTH {
            let wanted = Wanted {
                key,
                version: support::stock::version(suite),
                suite: Some(limited(suite)),
                ..Wanted::default()
            };
            let (ours, stock) = pair_with(side, suite, wanted, |_| {}, |_| {});
            let tls13 = suite.tls13().is_some();
            check(ours, stock.raw(), tls13);
        }
    }
}

#[test]
fn keys_change_before_they_are_used_up() {
    each_limited(|mut ours, mut raw, tls13| {
        if !tls13 {
            return;
        }
        let mut sealed = Vec::new();
        for number in 0..LIMIT as u8 - 1 {
            sealed.extend(raw.open(&output(&mut ours)));
            match ours.write(&[number]).unwrap() {
                Progress::Done(1) => {}
                other => panic!("{other:?}"),
            }
        }
        sealed.extend(raw.open(&output(&mut ours)));
        assert_eq!(ours.write(b"under new keys"), Ok(Progress::Done(14)));
        let bytes = output(&mut ours);
        // The old key's last record says so and asks for the same.
        let len = 5 + usize::from(bytes[3]) * 256 + usize::from(bytes[4]);
        sealed.extend(raw.open(&bytes[..len]));
        let (last, before) = sealed.split_last().unwrap();
        assert_eq!(last, &(HANDSHAKE, vec![24, 0, 0, 1, 1]));
        // A client's Finished message went under another key.
        assert_eq!(before.len() as u64, LIMIT - 1);
        assert!(
            before
                .iter()
                .all(|(kind, text)| *kind == DATA && text.len() == 1)
        );
        assert!(bytes.len() > len);
    });
}

#[test]
fn a_stock_peer_follows_every_change() {
    for (suite, key) in suites() {
        if suite.tls13().is_none() {
            continue;
        }
        for side in BOTH {
            let wanted = Wanted {
                key,
                suite: Some(limited(suite)),
                ..Wanted::default()
            };
            let (mut ours, mut stock) = pair_with(side, suite, wanted, |_| {}, |_| {});
            for number in 0..100_u8 {
                // The record goes to our memory, a KeyUpdate before it to the output.
                let mut to = [0; 200];
                let filled = loop {
                    let (progress, filled) = ours.write_into(&[number; 99], &mut to).unwrap();
                    stock.feed(&output(&mut ours)).unwrap();
                    if progress == Progress::Done(99) {
                        break filled;
                    }
                    assert_eq!(progress, Progress::WantOutput);
                };
                stock.feed(&to[..filled]).unwrap();
                assert_eq!(stock.text().0, [number; 99]);
                // It has new keys too when it answers.
                stock.write(&[number]);
                give(&mut ours, &stock.output());
                assert_eq!(text(&mut ours).0, [number]);
            }
        }
    }
}

#[test]
fn where_keys_cannot_change_the_connection_ends() {
    each_limited(|mut ours, mut raw, tls13| {
        if tls13 {
            return;
        }
        let mut records = Vec::new();
        let error = loop {
            let result = ours.write(b"text");
            records.extend(raw.open(&output(&mut ours)));
            match result {
                Ok(progress) => assert_eq!(progress, Progress::Done(4)),
                Err(error) => break error,
            }
        };
        assert_eq!(error, Error::Tls(rustls::Error::EncryptError));
        // Finished came first.
        assert_eq!(records.len() as u64, LIMIT);
        assert_eq!(records.last(), Some(&(ALERT, vec![1, 0])));
        assert_eq!(ours.write(b"text"), Err(error));
    });
    let (suite, key) = suites()
        .into_iter()
        .find(|(suite, _)| suite.tls13().is_none())
        .unwrap();
    let (mut ours, _) = support::stock::pair(Ours::Server, suite, key);
    let error = ours.refresh_traffic_keys().unwrap_err();
    assert!(error.to_string().contains("TLS 1.2"), "{error}");
}

/// Counts the tickets that come.
#[derive(Debug, Default)]
struct Tickets(Mutex<Vec<Tls13ClientSessionValue>>);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.0.lock().unwrap().push(ticket);
    }
    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap().pop()
    }
}

fn client_with(
    tickets: &Arc<Tickets>,
    stock_tickets: usize,
) -> (Connection, support::stock::Stock) {
    let (suite, key) = suites()[0];
    let wanted = Wanted {
        key,
        ..Wanted::default()
    };
    let store = Arc::clone(tickets) as Arc<dyn ClientSessionStore>;
    let client = |config: &mut rustls::ClientConfig| config.resumption = Resumption::store(store);
    let server = |config: &mut rustls::ServerConfig| config.send_tls13_tickets = stock_tickets;
    pair_with(Ours::Client, suite, wanted, server, client)
}

#[test]
fn tickets_reach_the_store_whole_and_in_pieces() {
    let tickets = Arc::new(Tickets::default());
    let count = || tickets.0.lock().unwrap().len();
    let (mut ours, mut stock) = client_with(&tickets, 3);
    give(&mut ours, &stock.output());
    assert_eq!(text(&mut ours).1, Ok(Progress::WantInput));
    assert_eq!(count(), 3);
    stock.write(b"text");
    give(&mut ours, &stock.output());
    assert_eq!(text(&mut ours).0, b"text");

    // Lifetime, age_add, nonce, ticket, no extensions (RFC 8446, section 4.6.1).
    let mut body = [
        &[0, 0, 1, 0, 1, 2, 3, 4, 1, 9, 1, 0][..],
        &[7; 256],
        &[0, 0],
    ]
    .concat();
    let message = |body: &[u8]| [&[4, 0, 1, body.len() as u8], body].concat();
    for piece in [1, 2, 100, 1000] {
        tickets.0.lock().unwrap().clear();
        let (mut ours, stock) = client_with(&tickets, 0);
        let mut raw = stock.raw();
        let two = [message(&body), message(&body)].concat();
        for (index, part) in two.chunks(piece).enumerate() {
            give(&mut ours, &raw.record(HANDSHAKE, part, 0));
            assert_eq!(text(&mut ours), (Vec::new(), Ok(Progress::WantInput)));
            assert_eq!(count(), ((index + 1) * piece * 2 / two.len()).min(2));
        }
    }
    // One byte is missing.
    body.pop();
    let (mut ours, stock) = client_with(&tickets, 0);
    let mut raw = stock.raw();
    give(&mut ours, &raw.record(HANDSHAKE, &message(&body), 0));
    let (_, end) = text(&mut ours);
    assert!(
        matches!(
            end,
            Err(Error::Tls(rustls::Error::InvalidMessage(
                InvalidMessage::MissingData(_) | InvalidMessage::MessageTooShort
            )))
        ),
        "{end:?}"
    );
    let alert = u8::from(AlertDescription::DecodeError);
    assert_eq!(raw.open(&output(&mut ours)), [(ALERT, vec![2, alert])]);
}

#[test]
fn a_session_of_stock_rustls_is_resumed() {
    let tickets = Arc::new(Tickets::default());
    let (suite, key) = suites()[0];
    let store = Arc::clone(&tickets) as Arc<dyn ClientSessionStore>;
    let wanted = || Wanted {
        key,
        ..Wanted::default()
    };
    // Both configurations stay the same, and with them the keys of the tickets.
    let (server, client) = support::stock::configs(Ours::Client, suite, &wanted());
    let (mut server, mut client) = (server, client);
    server.send_tls13_tickets = 1;
    client.resumption = Resumption::store(store);
    let (server, client) = (Arc::new(server), Arc::new(client));
    for round in 0..3 {
        let (mut ours, mut stock) = support::stock::connect(Ours::Client, &server, &client);
        give(&mut ours, &stock.output());
        assert_eq!(text(&mut ours).1, Ok(Progress::WantInput));
        assert_eq!(ours.session_reused(), round != 0);
        assert_eq!(ours.alpn_protocol(), None);
        assert_eq!(ours.peer_certificates().map(|chain| chain.len()), Some(1));
        stock.write(b"text");
        give(&mut ours, &stock.output());
        assert_eq!(text(&mut ours).0, b"text");
    }
}

#[test]
fn a_configuration_that_keeps_its_secrets_is_refused() {
    let wanted = Wanted::default();
    let (mut server, mut client) = (wanted.server(), wanted.client());
    (
        server.enable_secret_extraction,
        client.enable_secret_extraction,
    ) = (false, false);
    let error = Connection::server(server.into()).unwrap_err();
    assert_eq!(error, Error::SecretsKept);
    assert!(error.to_string().contains("set it"));
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = Connection::client(client.into(), name);
    assert_eq!(client.handshake(), Err(Error::SecretsKept));
    assert_eq!(client.handshake(), Err(Error::SecretsKept));
}
