//! A handshake that fails says why: an alert that fits, on either side, whatever the peer sent.

mod support;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::cipher::Iv;
use rustls::crypto::tls13::OkmBlock;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, CipherSuite, ConnectionTrafficSecrets, KeyLog};
use spinlane_lcore::Lcore;
use spinlane_rustls::{
    Connection, Error, OffloadedSecp256r1Mlkem768, OffloadedX25519Mlkem768, Progress,
};

use support::stock::{BOTH, Ours, Raw, output, suites};
use support::{Ends, Wanted, lcore, rustls};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
/// Its keys have the length that rustls lets others make.
const SUITE: CipherSuite = CipherSuite::TLS13_AES_256_GCM_SHA384;

fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3], &sized(payload)[..]].concat()
}

/// With its length in two bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized(body)].concat()
}

/// A ClientHello (RFC 8446, section 4.1.2) for this version with these signature schemes and key shares.
fn hello(version: u16, schemes: &[u16], shares: &[u8]) -> Vec<u8> {
    let list = |numbers: &[u16]| {
        let bytes: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect();
        sized(&bytes)
    };
    let extensions = [
        extension(43, &[&[2][..], &version.to_be_bytes()].concat()),
        extension(10, &list(&[0x1d, 0x11eb, 0x11ec])),
        extension(11, &[1, 0]),
        extension(13, &list(schemes)),
        extension(51, &sized(shares)),
        extension(23, &[]),
    ]
    .concat();
    let suites = [0x1301, 0x1302, 0xc02b, 0xc02c, 0xc02f, 0xc030];
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        &list(&suites),
        &[1, 0],
        &sized(&extensions),
    ]
    .concat();
    [&[1, 0][..], &sized(&body)].concat()
}

/// Calls until there is nothing to do but to wait for the peer.
fn drive(lcore: &Lcore, conn: &mut Connection) -> Result<Progress, Error> {
    loop {
        match conn.handshake()? {
            Progress::Paused => {
                lcore.poll().unwrap();
            }
            progress => return Ok(progress),
        }
    }
}

/// The handshake fails on `bytes`; returns what `conn` said of it, and in the clear.
fn says(lcore: &Lcore, conn: &mut Connection, bytes: &[u8]) -> (Error, u8) {
    assert_eq!(conn.push_input(bytes), bytes.len());
    let end = drive(lcore, conn);
    let said = output(conn);
    let Err(error) = end else {
        panic!("{end:?}: {said:x?}");
    };
    let (rest, last) = said.split_at(said.len().saturating_sub(7));
    // What means nothing in TLS 1.3 may come before it.
    let is_alone = rest.is_empty() || rest == [20, 3, 3, 0, 1, 1];
    match last.strip_prefix(&[ALERT, 3, 3, 0, 2, 2]) {
        Some(&[alert]) if is_alone => (error, alert),
        _ => panic!("{error:?}: {said:x?}"),
    }
}

/// A connection that has nothing from the peer; a client has said hello.
fn fresh(lcore: &Lcore, ours: Ours, wanted: &Wanted) -> Connection {
    let Ends {
        mut client,
        mut server,
    } = wanted.ends(lcore);
    match ours {
        Ours::Client => {
            assert_eq!(drive(lcore, &mut client), Ok(Progress::WantInput));
            assert!(!output(&mut client).is_empty());
            client
        }
        Ours::Server => {
            assert_eq!(drive(lcore, &mut server), Ok(Progress::WantInput));
            server
        }
    }
}

#[test]
fn what_is_no_first_flight_is_answered() {
    let lcore = lcore(64);
    let decode = AlertDescription::DecodeError;
    let unexpected = AlertDescription::UnexpectedMessage;
    let half = record(HANDSHAKE, &hello(0x0304, &[0x0403], &[])[..50]);
    let behind_half = |record: &[u8]| [&half, record].concat();
    for (bytes, alert) in [
        // A message of 64 KiB.
        (record(HANDSHAKE, &[1, 1, 0, 0]), decode),
        (behind_half(&record(DATA, b"text")), unexpected),
        (behind_half(&record(ALERT, &[1, 90])), unexpected),
        (record(DATA, b"text"), unexpected),
        // RFC 8446, section 5.1.
        (
            vec![HANDSHAKE, 3, 1, 0x40, 1],
            AlertDescription::RecordOverflow,
        ),
    ] {
        for side in BOTH {
            let mut conn = fresh(&lcore, side, &Wanted::default());
            let (error, said) = says(&lcore, &mut conn, &bytes);
            let start = &bytes[..bytes.len().min(12)];
            assert_eq!(said, u8::from(alert), "{side:?} {start:x?}: {error:?}");
        }
    }
}

#[test]
fn a_message_above_the_bound_is_answered() {
    let lcore = lcore(64);
    for side in BOTH {
        let mut conn = fresh(&lcore, side, &Wanted::default());
        conn.set_max_input(0);
        let kind = if side == Ours::Server { 1 } else { 2 };
        let mut bytes = record(HANDSHAKE, &[&[kind, 0, 0xf0, 0][..], &[0; 1000]].concat());
        while bytes.len() < 20 * 1024 {
            bytes.extend(record(HANDSHAKE, &[0; 1000]));
        }
        bytes.truncate(20 * 1024);
        let (error, said) = says(&lcore, &mut conn, &bytes);
        assert!(matches!(error, Error::InputTooLong { .. }), "{error:?}");
        assert_eq!(said, u8::from(AlertDescription::DecodeError));
    }
}

#[test]
fn a_hello_without_anything_in_common_is_answered() {
    let lcore = lcore(64);
    let x25519 = [&[0, 0x1d][..], &sized(&[9; 32])].concat();
    let no_share = [&[0, 0x1d][..], &sized(&[])].concat();
    for (version, number, key, scheme, shares, alert) in [
        // RSA only, ECDSA only (RFC 5246, section 7.4.1.4.1); in TLS 1.3 rustls says so, sealed.
        (&TLS12, 0x0303, "p256", 0x0401, &x25519, 40),
        (&TLS12, 0x0303, "rsa2048", 0x0403, &x25519, 40),
        // ECDSA, but on another curve.
        (&TLS12, 0x0303, "p256", 0x0503, &x25519, 40),
        // A share without a key, of which one byte at least is needed (RFC 8446, section 4.2.8).
        (&TLS13, 0x0304, "p256", 0x0403, &no_share, 50),
        (&TLS12, 0x0304, "p256", 0x0403, &x25519, 70),
    ] {
        let wanted = Wanted {
            key,
            version,
            ..Wanted::default()
        };
        let mut server = fresh(&lcore, Ours::Server, &wanted);
        let bytes = record(HANDSHAKE, &hello(number, &[scheme], shares));
        let (error, said) = says(&lcore, &mut server, &bytes);
        assert_eq!(said, alert, "{number:x} {key} {scheme:x}: {error:?}");
    }
}

#[test]
fn a_hello_without_shares_is_asked_for_one() {
    let lcore = lcore(64);
    let mut server = fresh(&lcore, Ours::Server, &Wanted::default());
    server.push_input(&record(HANDSHAKE, &hello(0x0304, &[0x0403], &[])));
    assert_eq!(drive(&lcore, &mut server), Ok(Progress::WantInput));
    assert_eq!(output(&mut server)[0], HANDSHAKE);
}

/// Where the classical part of a share stands, given the length of ML-KEM's.
type Classical = fn(usize) -> Range<usize>;

const HYBRIDS: [(&dyn SupportedKxGroup, Classical); 2] = [
    (&OffloadedX25519Mlkem768, |mlkem| mlkem..mlkem + 32),
    (&OffloadedSecp256r1Mlkem768, |_| 0..65),
];

/// `share` with a length that it must not have, and with a classical part that is no point of high order.
fn spoilt(share: &[u8], classical: Range<usize>) -> Vec<Vec<u8>> {
    let mut no_point = share.to_vec();
    match classical.len() {
        32 => no_point[classical.clone()].fill(0),
        _ => no_point[classical.end - 1] ^= 1,
    }
    vec![
        share[1..].to_vec(),
        share[..share.len() - 1].to_vec(),
        [share, &[0]].concat(),
        share[classical].to_vec(),
        no_point,
    ]
}

#[test]
fn a_bad_hybrid_share_ends_its_own_handshake_with_illegal_parameter() {
    let lcore = lcore(64);
    for (group, classical) in HYBRIDS {
        let wanted = Wanted {
            group: Some(group),
            ..Wanted::default()
        };
        let share = group.start().unwrap().pub_key().to_vec();
        let mut shares = spoilt(&share, classical(1184));
        // A coefficient of 4095, or of 3329, the least that is none (FIPS 203, section 7.2): the first, and the last
        // of 768. Each has 12 bits, the lowest in front.
        let mlkem = if classical(1184).start == 0 { 65 } else { 0 };
        let least = [(0, [0x01, 0x0d]), (1150, [0x10, 0xd0])];
        for (at, bits) in least.into_iter().chain([(0, [0xff; 2]), (1150, [0xff; 2])]) {
            let mut share = share.clone();
            share[mlkem + at..][..2].copy_from_slice(&bits);
            shares.push(share);
        }
        for share in shares {
            let mut neighbour = wanted.ends(&lcore);
            drive(&lcore, &mut neighbour.client).unwrap();
            neighbour.carry();
            assert_eq!(neighbour.server.handshake(), Ok(Progress::Paused));

            let mut server = fresh(&lcore, Ours::Server, &wanted);
            let name = u16::from(group.name()).to_be_bytes();
            let shares = [&name[..], &sized(&share)].concat();
            let bytes = record(HANDSHAKE, &hello(0x0304, &[0x0403], &shares));
            let (error, said) = says(&lcore, &mut server, &bytes);
            assert_eq!(
                said,
                u8::from(AlertDescription::IllegalParameter),
                "{group:?} {}: {error:?}",
                share.len()
            );
            neighbour.establish(&lcore).unwrap();
            neighbour.exchange(b"text");
        }
    }
}

#[test]
fn a_servers_bad_hybrid_share_is_an_illegal_parameter() {
    let lcore = lcore(64);
    for (group, classical) in HYBRIDS {
        let wanted = Wanted {
            group: Some(group),
            ..Wanted::default()
        };
        let share = group.start().unwrap().pub_key().to_vec();
        let good = group.start_and_complete(&share).unwrap().pub_key;
        for share in spoilt(&good, classical(1088)) {
            let mut client = wanted.ends(&lcore).client;
            drive(&lcore, &mut client).unwrap();
            let hello = output(&mut client);
            // Behind the headers of record and message, version and random.
            let session_id = &hello[43..][..1 + usize::from(hello[43])];
            let name = u16::from(group.name()).to_be_bytes();
            let extensions = [
                extension(43, &[3, 4]),
                extension(51, &[&name[..], &sized(&share)].concat()),
            ]
            .concat();
            let body = [
                &[3, 3][..],
                &[7; 32],
                session_id,
                &[0x13, 1, 0],
                &sized(&extensions),
            ]
            .concat();
            let answer = record(HANDSHAKE, &[&[2, 0][..], &sized(&body)].concat());
            let (error, said) = says(&lcore, &mut client, &answer);
            assert_eq!(
                said,
                u8::from(AlertDescription::IllegalParameter),
                "{group:?} {}: {error:?}",
                share.len()
            );
        }
    }
}

/// Secrets by their names in a key log.
#[derive(Debug, Default)]
struct Secrets(Mutex<Vec<(String, Vec<u8>)>>);

impl KeyLog for Secrets {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        let entry = (label.to_owned(), secret.to_vec());
        self.0.lock().unwrap().push(entry);
    }
}

impl Secrets {
    /// Key and nonce of a direction (RFC 8446, section 7.3).
    fn keys(&self, label: &str) -> ConnectionTrafficSecrets {
        let suite = suites()
            .into_iter()
            .find_map(|(suite, _)| suite.tls13().filter(|suite| suite.common.suite == SUITE));
        let secrets = self.0.lock().unwrap();
        let (_, secret) = secrets.iter().find(|(name, _)| name == label).unwrap();
        let expander = suite
            .unwrap()
            .hkdf_provider
            .expander_for_okm(&OkmBlock::new(secret));
        let expand = |name: &[u8], to: &mut [u8]| {
            let label = [&[0, to.len() as u8, name.len() as u8][..], name, &[0]].concat();
            expander.expand_slice(&[&label], to).unwrap();
        };
        let (mut key, mut iv) = ([0; 32], [0; 12]);
        expand(b"tls13 key", &mut key);
        expand(b"tls13 iv", &mut iv);
        let aead = suite.unwrap().aead_alg;
        aead.extract_keys(key.into(), Iv::new(iv)).unwrap()
    }
}

/// A server that has sent its flight, and a client without rustls that has all keys.
fn server_half_way(lcore: &Lcore) -> (Connection, Raw) {
    let wanted = Wanted {
        suite: spinlane_rustls::provider()
            .cipher_suites
            .into_iter()
            .find(|suite| suite.suite() == SUITE),
        ..Wanted::default()
    };
    let (secrets, mut config) = (Arc::new(Secrets::default()), wanted.server());
    config.key_log = Arc::clone(&secrets) as Arc<dyn KeyLog>;
    let mut ends = Ends::new(lcore, Arc::new(config), Arc::new(wanted.client()));
    drive(lcore, &mut ends.client).unwrap();
    ends.carry();
    assert_eq!(drive(lcore, &mut ends.server), Ok(Progress::WantInput));
    assert!(!output(&mut ends.server).is_empty());
    let tx = secrets.keys("CLIENT_HANDSHAKE_TRAFFIC_SECRET");
    let rx = secrets.keys("SERVER_TRAFFIC_SECRET_0");
    (ends.server, Raw::tls13(tx, rx))
}

#[test]
fn what_is_sealed_and_no_second_flight_is_answered_sealed() {
    type Says = fn(&mut Raw) -> Vec<u8>;
    let lcore = lcore(64);
    let too_long = 16 * 1024 + 257;
    let unexpected = AlertDescription::UnexpectedMessage;
    let cases: [(&str, Says, AlertDescription); 7] = [
        // RFC 8446, section 5.4.
        (
            "an empty message",
            |raw| raw.record(HANDSHAKE, &[], 0),
            unexpected,
        ),
        (
            "an empty alert",
            |raw| raw.record(ALERT, &[], 9),
            unexpected,
        ),
        // Section 5.1.
        (
            "data within a message",
            |raw| {
                [
                    raw.record(HANDSHAKE, &[20, 0, 0, 32, 1], 0),
                    raw.record(DATA, b"text", 0),
                ]
                .concat()
            },
            unexpected,
        ),
        ("data", |raw| raw.record(DATA, b"text", 0), unexpected),
        (
            "a message of 64 KiB",
            |raw| raw.record(HANDSHAKE, &[20, 1, 0, 0, 1], 0),
            AlertDescription::DecodeError,
        ),
        // Section 5.2.
        (
            "a record that is too long, with a good tag",
            |raw| raw.record(HANDSHAKE, &[20; 9], 16 * 1024 + 257 - 16 - 10),
            AlertDescription::RecordOverflow,
        ),
        (
            "a record that is too long, without",
            |_| record(DATA, &vec![0; 16 * 1024 + 257]),
            AlertDescription::RecordOverflow,
        ),
    ];
    for (what, says, alert) in cases {
        let (mut server, mut raw) = server_half_way(&lcore);
        let bytes = says(&mut raw);
        assert!(!what.contains("too long") || bytes.len() == 5 + too_long);
        assert_eq!(server.push_input(&bytes), bytes.len());
        let end = drive(&lcore, &mut server);
        assert!(end.is_err(), "{what}: {end:?}");
        let said = raw.open(&output(&mut server));
        assert_eq!(said, [(ALERT, vec![2, u8::from(alert)])], "{what}: {end:?}");
    }
}

#[test]
fn a_client_of_tls12_that_has_sealed_says_something() {
    let lcore = lcore(64);
    let wanted = Wanted {
        version: &TLS12,
        ..Wanted::default()
    };
    let mut ends = wanted.ends(&lcore);
    drive(&lcore, &mut ends.client).unwrap();
    ends.carry();
    drive(&lcore, &mut ends.server).unwrap();
    ends.carry();
    assert_eq!(drive(&lcore, &mut ends.client), Ok(Progress::WantInput));
    // Its Finished message is sealed; an answer of 64 KiB comes.
    ends.client
        .push_input(&record(HANDSHAKE, &[20, 1, 0, 0, 1]));
    drive(&lcore, &mut ends.client).unwrap_err();
    ends.carry();
    drive(&lcore, &mut ends.server).unwrap();
    let alert = rustls::Error::AlertReceived(AlertDescription::DecodeError);
    assert_eq!(ends.server.read(&mut [0; 9]), Err(Error::Tls(alert)));
}

/// How the last record of `said` begins: content type and length.
fn last_record(mut said: &[u8]) -> Option<(u8, usize)> {
    let mut last = None;
    while let Some(&[kind, _, _, high, low]) = said.first_chunk() {
        let len = usize::from(high) << 8 | usize::from(low);
        last = Some((kind, len));
        said = said.get(5 + len..).unwrap_or_default();
    }
    last
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(500)
    })]

    /// A byte on its way to either side is wrong, or some are gone: who cannot go on says so.
    #[test]
    fn whatever_is_wrong_in_a_handshake_is_answered(
        tls13: bool,
        with_certificate: bool,
        to_server: bool,
        at in 0_usize..1800,
        change in prop_oneof![(1_u8..).prop_map(Ok), (1_usize..40).prop_map(Err)],
    ) {
        let lcore = lcore(64);
        let wanted = Wanted {
            version: if tls13 { &TLS13 } else { &TLS12 },
            client_key: with_certificate.then_some("p256"),
            ..Wanted::default()
        };
        let Ends { mut client, mut server } = wanted.ends(&lcore);
        let mut passed = 0;
        'run: for _ in 0..6 {
            for is_server in [false, true] {
                let (from, to) = match is_server {
                    true => (&mut client, &mut server),
                    false => (&mut server, &mut client),
                };
                let mut bytes = output(from);
                if is_server == to_server {
                    if let Some(index) = at.checked_sub(passed).filter(|index| *index < bytes.len()) {
                        match change {
                            Ok(xor) => bytes[index] ^= xor,
                            Err(count) => drop(bytes.drain(index..(index + count).min(bytes.len()))),
                        }
                    }
                    passed += bytes.len();
                }
                to.push_input(&bytes);
                let Err(error) = drive(&lcore, to) else { continue };
                if !matches!(error, Error::Tls(rustls::Error::AlertReceived(_))) {
                    let last = last_record(&output(to));
                    let is_alert = matches!(last, Some((ALERT, _)) | Some((DATA, 19)));
                    prop_assert!(is_alert, "{error:?}: {last:?}");
                }
                break 'run;
            }
        }
    }
}
