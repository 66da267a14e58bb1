//! The record layer against stock rustls, and against a peer that sends what no library would.

mod support;

use proptest::prelude::*;
use rustls::{AlertDescription, InvalidMessage, PeerMisbehaved};
use spinlane_rustls::{Connection, Error, Progress};

use support::stock::{
    BOTH, Ours, Raw, configs, give, output, pair, pair_with, start, suites, text, version,
};
use support::{Wanted, rustls};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// What happens on a connection.
#[derive(Clone, Debug)]
enum Event {
    OursWrites(usize),
    StockWrites(usize),
    OursRefreshes,
    StockRefreshes,
}

fn event() -> impl Strategy<Value = Event> {
    let len = || {
        prop_oneof![
            0_usize..40,
            0_usize..3000,
            16_380_usize..16_390,
            0_usize..40_000
        ]
    };
    prop_oneof![
        4 => len().prop_map(Event::OursWrites),
        4 => len().prop_map(Event::StockWrites),
        1 => Just(Event::OursRefreshes),
        1 => Just(Event::StockRefreshes),
    ]
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| (index * 7 + index / 251) as u8)
        .collect()
}

/// Bytes of stock rustls' to ours, `step` at a time (0: all at once); what ours reads.
fn to_ours(ours: &mut Connection, bytes: &[u8], step: usize) -> Vec<u8> {
    let mut got = Vec::new();
    let chunk = if step == 0 { 20_000 } else { step };
    for mut part in bytes.chunks(chunk) {
        while !part.is_empty() {
            part = &part[ours.push_input(part)..];
            let (more, end) = text(ours);
            assert_eq!(end, Ok(Progress::WantInput));
            got.extend(more);
        }
    }
    got
}

fn run(suite: usize, side: Ours, events: &[Event], step: usize) {
    let (suite, key) = suites()[suite];
    let tls13 = version(suite) == &rustls::version::TLS13;
    let (mut ours, mut stock) = pair(side, suite, key);
    for event in events {
        match event {
            Event::OursWrites(len) => {
                let sent = pattern(*len);
                let (mut rest, mut got) = (&sent[..], Vec::new());
                while !rest.is_empty() {
                    // Either way in turn: into the output, or into our memory.
                    let mut to = vec![0; 5000];
                    let (progress, filled) = if rest.len() % 2 == 0 {
                        (ours.write(rest).unwrap(), 0)
                    } else {
                        ours.write_into(rest, &mut to).unwrap()
                    };
                    stock.feed(&output(&mut ours)).unwrap();
                    stock.feed(&to[..filled]).unwrap();
                    got.extend(stock.text().0);
                    match progress {
                        Progress::Done(count) => rest = &rest[count..],
                        other => assert_eq!(other, Progress::WantOutput),
                    }
                }
                assert!(got == sent, "{len} bytes of ours");
            }
            Event::StockWrites(len) => {
                let sent = pattern(*len);
                stock.write(&sent);
                let bytes = stock.output();
                assert!(to_ours(&mut ours, &bytes, step) == sent, "{len} bytes");
            }
            Event::OursRefreshes if tls13 => {
                assert_eq!(ours.refresh_traffic_keys(), Ok(Progress::Done(0)));
                stock.feed(&output(&mut ours)).unwrap();
            }
            Event::StockRefreshes if tls13 => {
                stock.0.refresh_traffic_keys().unwrap();
                let bytes = stock.output();
                assert_eq!(to_ours(&mut ours, &bytes, step), b"");
                stock.feed(&output(&mut ours)).unwrap();
            }
            Event::OursRefreshes | Event::StockRefreshes => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_sent_arrives(
        suite in 0..suites().len(),
        side in prop_oneof![Just(Ours::Client), Just(Ours::Server)],
        events in prop::collection::vec(event(), 1..12),
        step in prop_oneof![Just(0_usize), Just(1), 1_usize..9000],
    ) {
        run(suite, side, &events, step);
    }
}

#[test]
fn every_suite_seals_and_opens_on_either_side() {
    let events = [
        Event::StockWrites(1),
        Event::OursWrites(1),
        Event::OursRefreshes,
        Event::OursWrites(16_384),
        Event::StockRefreshes,
        Event::StockWrites(16_384),
        Event::OursWrites(50_001),
        Event::StockWrites(50_001),
    ];
    for suite in 0..suites().len() {
        for side in BOTH {
            for step in [0, 1, 1021] {
                run(suite, side, &events, step);
            }
        }
    }
}

#[test]
fn text_that_comes_with_the_end_of_the_handshake_is_not_lost() {
    for (suite, key) in suites() {
        for (side, step) in BOTH
            .into_iter()
            .flat_map(|side| [(side, 20_000), (side, 1), (side, 77)])
        {
            let wanted = Wanted {
                key,
                version: version(suite),
                ..Wanted::default()
            };
            let (server, client) = configs(side, suite, &wanted);
            let (mut ours, mut stock) = start(side, &server.into(), &client.into());
            let first = pattern(30_000);
            stock.write(&first);
            let mut got = Vec::new();
            for _ in 0..10 {
                let _ = ours.handshake().unwrap();
                stock.feed(&output(&mut ours)).unwrap();
                for mut part in stock.output().chunks(step) {
                    while !part.is_empty() {
                        part = &part[ours.push_input(part)..];
                        got.extend(text(&mut ours).0);
                    }
                }
            }
            assert!(got == first, "{:?}, {side:?}, {step}", suite.suite());
            stock.0.send_close_notify();
            give(&mut ours, &stock.output());
            assert_eq!(text(&mut ours), (Vec::new(), Ok(Progress::Closed)));
        }
    }
}

#[test]
fn handshake_messages_of_many_records_are_put_together() {
    for (suite, key) in suites() {
        for side in BOTH {
            for len in [32, 100, 700] {
                let wanted = Wanted {
                    key,
                    version: version(suite),
                    ..Wanted::default()
                };
                let (mut ours, mut stock) = pair_with(
                    side,
                    suite,
                    wanted,
                    |server| server.max_fragment_size = Some(len),
                    |client| client.max_fragment_size = Some(len),
                );
                let sent = pattern(3000);
                stock.write(&sent);
                give(&mut ours, &stock.output());
                assert!(text(&mut ours).0 == sent);
                // Ours are as short as the configuration says, header and text.
                for count in [len - 5, len - 5, 1] {
                    let text = &sent[..if count == 1 { 1 } else { 3000 }];
                    let mut to = [0; 1000];
                    assert_eq!(ours.write(text), Ok(Progress::Done(count)));
                    stock.feed(&output(&mut ours)).unwrap();
                    let (done, filled) = ours.write_into(text, &mut to).unwrap();
                    assert_eq!(done, Progress::Done(count));
                    stock.feed(&to[..filled]).unwrap();
                    assert_eq!(stock.text().0.len(), 2 * count);
                }
            }
        }
    }
}

/// Ours, and a peer that sends whatever it is told to; of every suite.
fn each_raw(mut check: impl FnMut(Connection, Raw, bool)) {
    for (suite, key) in suites() {
        for side in BOTH {
            let (ours, stock) = pair(side, suite, key);
            let tls13 = version(suite) == &rustls::version::TLS13;
            check(ours, stock.raw(), tls13);
        }
    }
}

fn each_raw_of_tls13(mut check: impl FnMut(Connection, Raw)) {
    each_raw(|ours, raw, tls13| {
        if tls13 {
            check(ours, raw);
        }
    });
}

fn tls(error: impl Into<rustls::Error>) -> Result<Progress, Error> {
    Err(Error::Tls(error.into()))
}

/// Ours reads nothing but `error`, says so to the peer by `alert`, and stays so.
#[track_caller]
fn fails(
    ours: &mut Connection,
    raw: &mut Raw,
    error: impl Into<rustls::Error>,
    alert: AlertDescription,
) {
    let error = tls(error);
    assert_eq!(text(ours), (Vec::new(), error.clone()));
    let said = raw.open(&output(ours));
    assert_eq!(said, [(ALERT, vec![2, u8::from(alert)])]);
    assert_eq!(ours.read(&mut [0; 9]), error);
    assert_eq!(ours.write(b"more"), error);
    assert_eq!(ours.output_len(), 0);
}

/// [`fails`] because the record is too long.
#[track_caller]
fn overflows(ours: &mut Connection, raw: &mut Raw) {
    let error = rustls::Error::PeerSentOversizedRecord;
    fails(ours, raw, error, AlertDescription::RecordOverflow);
}

#[test]
fn texts_of_the_least_and_greatest_length_arrive() {
    each_raw(|mut ours, mut raw, _| {
        give(&mut ours, &raw.record(DATA, b"", 0));
        give(&mut ours, &raw.record(DATA, b"1", 0));
        give(&mut ours, &raw.record(DATA, &pattern(16_384), 0));
        let (got, end) = text(&mut ours);
        assert!(got == [b"1", &pattern(16_384)[..]].concat());
        assert_eq!(end, Ok(Progress::WantInput));
        give(&mut ours, &raw.record(DATA, &pattern(16_385), 0));
        overflows(&mut ours, &mut raw);
    });
}

#[test]
fn padding_is_taken_off() {
    each_raw_of_tls13(|mut ours, mut raw| {
        for (len, padding) in [
            (0, 1),
            (1, 1),
            (5, 300),
            (0, 16_384),
            (16_384, 0),
            (9000, 7384),
        ] {
            give(&mut ours, &raw.record(DATA, &pattern(len), padding));
            let (got, end) = text(&mut ours);
            assert!(got == pattern(len) && end == Ok(Progress::WantInput));
        }
        give(&mut ours, &raw.record(DATA, b"", 16_385));
        overflows(&mut ours, &mut raw);
    });
}

#[test]
fn a_record_without_a_type_or_with_a_wrong_one_is_refused() {
    let unexpected = AlertDescription::UnexpectedMessage;
    for len in [0, 1, 100] {
        each_raw_of_tls13(|mut ours, mut raw| {
            give(&mut ours, &raw.inner(DATA, &vec![0; len]));
            fails(
                &mut ours,
                &mut raw,
                PeerMisbehaved::IllegalTlsInnerPlaintext,
                unexpected,
            );
        });
    }
    each_raw_of_tls13(|mut ours, mut raw| {
        give(&mut ours, &raw.record(20, &[1], 0));
        let what = PeerMisbehaved::IllegalMiddleboxChangeCipherSpec;
        fails(&mut ours, &mut raw, what, unexpected);
    });
    for kind in [24, 99, 255] {
        each_raw_of_tls13(|mut ours, mut raw| {
            give(&mut ours, &raw.record(kind, b"text", 0));
            fails(
                &mut ours,
                &mut raw,
                InvalidMessage::InvalidContentType,
                unexpected,
            );
        });
    }
}

#[test]
fn a_header_that_is_none_is_refused_as_soon_as_it_is_there() {
    let decode = AlertDescription::DecodeError;
    let unexpected = AlertDescription::UnexpectedMessage;
    for (header, what, alert) in [
        (
            [0, 3, 3, 0, 9],
            InvalidMessage::InvalidContentType,
            unexpected,
        ),
        (
            [25, 3, 3, 0, 40],
            InvalidMessage::InvalidContentType,
            unexpected,
        ),
        (
            [b'G', b'E', b'T', b' ', b'/'],
            InvalidMessage::InvalidContentType,
            unexpected,
        ),
        (
            [23, 2, 3, 0, 9],
            InvalidMessage::UnknownProtocolVersion,
            decode,
        ),
        (
            [22, 3, 3, 0, 0],
            InvalidMessage::InvalidEmptyPayload,
            decode,
        ),
        (
            [23, 3, 3, 0x48, 0],
            InvalidMessage::MessageTooLarge,
            AlertDescription::RecordOverflow,
        ),
        (
            [23, 3, 3, 255, 255],
            InvalidMessage::MessageTooLarge,
            AlertDescription::RecordOverflow,
        ),
    ] {
        each_raw(|mut ours, mut raw, _| {
            give(&mut ours, &header[..4]);
            assert_eq!(ours.read(&mut [0; 9]), Ok(Progress::WantInput));
            give(&mut ours, &header[4..]);
            fails(&mut ours, &mut raw, what, alert);
        });
    }
}

#[test]
fn a_record_of_tls13_is_too_long_whatever_its_tag() {
    let header = |len: u16| [&[23, 3, 3][..], &len.to_be_bytes()].concat();
    let longest = (1 << 14) + 256;
    each_raw(|mut ours, mut raw, tls13| {
        give(&mut ours, &header(longest + 1));
        if tls13 {
            fails(
                &mut ours,
                &mut raw,
                InvalidMessage::MessageTooLarge,
                AlertDescription::RecordOverflow,
            );
        } else {
            assert_eq!(ours.read(&mut [0; 9]), Ok(Progress::WantInput));
        }
    });
    each_raw_of_tls13(|mut ours, mut raw| {
        give(&mut ours, &header(longest));
        assert_eq!(ours.read(&mut [0; 9]), Ok(Progress::WantInput));
        give(&mut ours, &vec![0; usize::from(longest)]);
        fails(
            &mut ours,
            &mut raw,
            rustls::Error::DecryptError,
            AlertDescription::BadRecordMac,
        );
    });
}

#[test]
fn an_alert_or_message_of_nothing_is_refused() {
    for kind in [ALERT, HANDSHAKE] {
        for padding in [0, 100] {
            each_raw(|mut ours, mut raw, tls13| {
                if padding != 0 && !tls13 {
                    return;
                }
                give(&mut ours, &raw.record(kind, b"", padding));
                fails(
                    &mut ours,
                    &mut raw,
                    InvalidMessage::InvalidEmptyPayload,
                    AlertDescription::UnexpectedMessage,
                );
            });
        }
    }
}

#[test]
fn whatever_bit_is_wrong_nothing_of_the_text_is_seen() {
    // First and last byte, of the text, of the tag.
    for place in [0.0, 0.3, 0.7, 1.0] {
        each_raw(|mut ours, mut raw, _| {
            let mut record = raw.record(DATA, b"secret", 0);
            let index = 5.0 + place * (record.len() - 6) as f64;
            record[index as usize] ^= 0x10;
            give(&mut ours, &record);
            let mut lent = false;
            let result = ours.read_with(|_| {
                lent = true;
                0
            });
            assert_eq!((result, lent), (tls(rustls::Error::DecryptError), false));
            assert_eq!((ours.pending(), ours.input_len()), (0, record.len()));
            let said = raw.open(&output(&mut ours));
            let alert = u8::from(AlertDescription::BadRecordMac);
            assert_eq!(said, [(ALERT, vec![2, alert])]);
        });
    }
    // Too short to be one.
    for len in [0, 1, 15, 23] {
        each_raw(|mut ours, mut raw, tls13| {
            if tls13 && len > 15 {
                return;
            }
            give(
                &mut ours,
                &[&[23, 3, 3, 0, len][..], &vec![7; len.into()]].concat(),
            );
            let alert = AlertDescription::BadRecordMac;
            fails(&mut ours, &mut raw, rustls::Error::DecryptError, alert);
        });
    }
}

#[test]
fn a_header_that_was_changed_on_the_way_fails_the_tag() {
    // To another type and another version that a header may have.
    for index in [0, 2] {
        each_raw(|mut ours, mut raw, _| {
            let mut record = raw.record(DATA, b"secret", 0);
            record[index] ^= 1;
            give(&mut ours, &record);
            let alert = AlertDescription::BadRecordMac;
            fails(&mut ours, &mut raw, rustls::Error::DecryptError, alert);
        });
    }
}

#[test]
fn a_record_that_comes_twice_or_out_of_turn_is_refused() {
    each_raw(|mut ours, mut raw, _| {
        let (one, two) = (raw.record(DATA, b"1", 0), raw.record(DATA, b"2", 0));
        give(&mut ours, &one);
        assert_eq!(text(&mut ours).0, b"1");
        give(&mut ours, &one);
        give(&mut ours, &two);
        let alert = AlertDescription::BadRecordMac;
        fails(&mut ours, &mut raw, rustls::Error::DecryptError, alert);
    });
}

#[test]
fn empty_records_are_tolerated_for_a_while() {
    each_raw(|mut ours, mut raw, _| {
        for _ in 0..3 {
            for _ in 0..32 {
                give(&mut ours, &raw.record(DATA, b"", 0));
            }
            give(&mut ours, &raw.record(DATA, b"x", 0));
        }
        assert_eq!(text(&mut ours), (b"xxx".to_vec(), Ok(Progress::WantInput)));
        for _ in 0..33 {
            give(&mut ours, &raw.record(DATA, b"", 0));
        }
        let what = PeerMisbehaved::TooManyEmptyFragments;
        fails(
            &mut ours,
            &mut raw,
            what,
            AlertDescription::UnexpectedMessage,
        );
    });
}

#[test]
fn a_change_cipher_spec_has_no_place_after_the_handshake() {
    each_raw(|mut ours, mut raw, tls13| {
        give(&mut ours, &[20, 3, 3, 0, 1, 1]);
        let mut expect_types = vec![rustls::ContentType::ApplicationData];
        if tls13 {
            expect_types.push(rustls::ContentType::Handshake);
        }
        let error = rustls::Error::InappropriateMessage {
            expect_types,
            got_type: rustls::ContentType::ChangeCipherSpec,
        };
        fails(
            &mut ours,
            &mut raw,
            error,
            AlertDescription::UnexpectedMessage,
        );
    });
}

#[test]
fn closing_goes_each_way_by_itself() {
    each_raw(|mut ours, mut raw, _| {
        give(&mut ours, &raw.record(DATA, b"last words", 0));
        give(&mut ours, &raw.record(ALERT, &[1, 0], 0));
        give(&mut ours, b"what comes behind does not matter");
        let said = (b"last words".to_vec(), Ok(Progress::Closed));
        assert_eq!(text(&mut ours), said);
        assert_eq!(ours.write(b"answer"), Ok(Progress::Done(6)));
        ours.shutdown();
        ours.shutdown();
        assert_eq!(ours.write(b"more"), Ok(Progress::Closed));
        assert_eq!(
            ours.write_into(b"more", &mut [0; 99]),
            Ok((Progress::Closed, 0))
        );
        let said = raw.open(&output(&mut ours));
        assert_eq!(said, [(DATA, b"answer".to_vec()), (ALERT, vec![1, 0])]);
        assert_eq!(ours.read(&mut [0; 9]), Ok(Progress::Closed));
    });
}

#[test]
fn without_a_close_notify_the_end_is_not_seen() {
    each_raw(|mut ours, mut raw, _| {
        let record = raw.record(DATA, &pattern(1000), 0);
        for len in [4, 5, 6, 500, record.len() - 1] {
            let given = ours.input_len();
            give(&mut ours, &record[given..len]);
            assert_eq!(text(&mut ours), (Vec::new(), Ok(Progress::WantInput)));
        }
    });
}

#[test]
fn alerts_are_heard() {
    for (alert, answer) in [
        ([2, 40], None),
        ([2, 90], None),
        ([7, 40], Some(AlertDescription::IllegalParameter)),
    ] {
        each_raw(|mut ours, mut raw, _| {
            give(&mut ours, &raw.record(ALERT, &alert, 0));
            let error = rustls::Error::AlertReceived(alert[1].into());
            assert_eq!(text(&mut ours), (Vec::new(), tls(error)));
            let said = raw.open(&output(&mut ours));
            let answer = answer.map(|alert| (ALERT, vec![2, u8::from(alert)]));
            assert_eq!(said, answer.into_iter().collect::<Vec<_>>());
        });
    }
    for (alert, what) in [
        (&[1][..], InvalidMessage::MissingData("Alert")),
        (&[1, 0, 0], InvalidMessage::TrailingData("Alert")),
    ] {
        each_raw(|mut ours, mut raw, _| {
            give(&mut ours, &raw.record(ALERT, alert, 0));
            fails(&mut ours, &mut raw, what, AlertDescription::DecodeError);
        });
    }
    // Warnings: in TLS 1.3 there is one that means nothing, in TLS 1.2 all do, for a while.
    each_raw(|mut ours, mut raw, tls13| {
        for _ in 0..4 {
            give(&mut ours, &raw.record(ALERT, &[1, 90], 0));
        }
        assert_eq!(text(&mut ours), (Vec::new(), Ok(Progress::WantInput)));
        let warning = if tls13 { 90 } else { 41 };
        give(&mut ours, &raw.record(ALERT, &[1, warning], 0));
        let what = PeerMisbehaved::TooManyWarningAlertsReceived;
        fails(
            &mut ours,
            &mut raw,
            what,
            AlertDescription::UnexpectedMessage,
        );
    });
    each_raw_of_tls13(|mut ours, mut raw| {
        give(&mut ours, &raw.record(ALERT, &[1, 41], 0));
        let error = rustls::Error::AlertReceived(41.into());
        fails(&mut ours, &mut raw, error, AlertDescription::DecodeError);
    });
}

#[test]
fn messages_in_pieces_are_put_together() {
    each_raw_of_tls13(|mut ours, mut raw| {
        for byte in KEY_UPDATE {
            give(&mut ours, &raw.record(HANDSHAKE, &[byte], 3));
        }
        assert_eq!(text(&mut ours), (Vec::new(), Ok(Progress::WantInput)));
        assert_eq!(ours.output_len(), 0, "no answer was asked for");
        // The keys are others now.
        give(&mut ours, &raw.record(DATA, b"old keys", 0));
        let alert = AlertDescription::BadRecordMac;
        fails(&mut ours, &mut raw, rustls::Error::DecryptError, alert);
    });
    let unexpected = AlertDescription::UnexpectedMessage;
    each_raw_of_tls13(|mut ours, mut raw| {
        give(&mut ours, &raw.record(HANDSHAKE, &KEY_UPDATE[..3], 0));
        give(&mut ours, &raw.record(DATA, b"in between", 0));
        let what = PeerMisbehaved::MessageInterleavedWithHandshakeMessage;
        fails(&mut ours, &mut raw, what, unexpected);
    });
    each_raw_of_tls13(|mut ours, mut raw| {
        let more = [&KEY_UPDATE[..], &[24]].concat();
        give(&mut ours, &raw.record(HANDSHAKE, &more, 0));
        let what = PeerMisbehaved::KeyEpochWithPendingFragment;
        fails(&mut ours, &mut raw, what, unexpected);
    });
}

#[test]
fn a_message_that_never_ends_is_bounded() {
    each_raw_of_tls13(|mut ours, mut raw| {
        let limit = 20 * 1024;
        ours.set_max_input(limit);
        give(&mut ours, &raw.record(HANDSHAKE, &[4, 0, 0xff, 0xff], 0));
        let mut sent = 4;
        let end = loop {
            give(&mut ours, &raw.record(HANDSHAKE, &[7; 1000], 0));
            sent += 1000;
            match text(&mut ours).1 {
                Ok(progress) => assert_eq!(progress, Progress::WantInput),
                Err(error) => break error,
            }
        };
        assert_eq!(end, Error::InputTooLong { limit });
        assert!((limit..limit + 1000).contains(&sent));
        let alert = u8::from(AlertDescription::DecodeError);
        assert_eq!(raw.open(&output(&mut ours)), [(ALERT, vec![2, alert])]);
    });
    each_raw_of_tls13(|mut ours, mut raw| {
        give(&mut ours, &raw.record(HANDSHAKE, &[4, 1, 0, 0], 0));
        let what = InvalidMessage::HandshakePayloadTooLarge;
        fails(&mut ours, &mut raw, what, AlertDescription::DecodeError);
    });
}

#[test]
fn key_updates_that_are_none_or_too_many_are_refused() {
    let decode = AlertDescription::DecodeError;
    for (body, what, alert) in [
        (&[][..], InvalidMessage::MissingData("KeyUpdate"), decode),
        (&[0, 0], InvalidMessage::TrailingData("KeyUpdate"), decode),
        (
            &[2],
            InvalidMessage::InvalidKeyUpdate,
            AlertDescription::IllegalParameter,
        ),
    ] {
        each_raw_of_tls13(|mut ours, mut raw| {
            let message = [&[24, 0, 0, body.len() as u8], body].concat();
            give(&mut ours, &raw.record(HANDSHAKE, &message, 0));
            fails(&mut ours, &mut raw, what, alert);
        });
    }
    let (suite, key) = suites()[0];
    for side in BOTH {
        let (mut ours, mut stock) = pair(side, suite, key);
        for round in 0..32 {
            stock.0.refresh_traffic_keys().unwrap();
            give(&mut ours, &stock.output());
            assert_eq!(text(&mut ours).1, Ok(Progress::WantInput), "{round}");
            stock.feed(&output(&mut ours)).unwrap();
        }
        stock.0.refresh_traffic_keys().unwrap();
        give(&mut ours, &stock.output());
        let what = PeerMisbehaved::TooManyKeyUpdateRequests;
        assert_eq!(text(&mut ours).1, tls(what));
        // It hears of it under keys that it has.
        let alert = rustls::Error::AlertReceived(AlertDescription::UnexpectedMessage);
        assert_eq!(stock.feed(&output(&mut ours)), Err(alert));
    }
}

#[test]
fn a_long_download_survives_any_number_of_key_updates() {
    let (suite, key) = suites()[0];
    for side in BOTH {
        let (mut ours, mut stock) = pair(side, suite, key);
        for round in 0..100 {
            stock.0.refresh_traffic_keys().unwrap();
            give(&mut ours, &stock.output());
            assert_eq!(text(&mut ours).1, Ok(Progress::WantInput), "{round}");
            stock.feed(&output(&mut ours)).unwrap();
            for into_output in [true, false, true, false] {
                let mut to = vec![0; 20_000];
                let (progress, filled) = if into_output {
                    (ours.write(&[7; 16 * 1024]).unwrap(), 0)
                } else {
                    ours.write_into(&[7; 16 * 1024], &mut to).unwrap()
                };
                assert_eq!(progress, Progress::Done(16 * 1024));
                stock.feed(&output(&mut ours)).unwrap();
                stock.feed(&to[..filled]).unwrap();
                assert_eq!(stock.text().0.len(), 16 * 1024);
            }
        }
        // Those for text that was on its way come at once. What they are answered stock rustls would
        // have too much of.
        for round in 0..1000 {
            stock.0.refresh_traffic_keys().unwrap();
            give(&mut ours, &stock.output());
            assert_eq!(text(&mut ours).1, Ok(Progress::WantInput), "{round}");
            output(&mut ours);
        }
    }
}

#[test]
fn messages_that_have_no_place_are_refused() {
    for kind in [0, 1, 2, 4, 11, 13, 20, 99] {
        each_raw(|mut ours, mut raw, tls13| {
            let client = ours.peer_certificates().is_some();
            let renegotiation = !tls13 && kind == if client { 0 } else { 1 };
            let ticket = tls13 && client && kind == 4;
            if renegotiation || ticket {
                return;
            }
            give(&mut ours, &raw.record(HANDSHAKE, &[kind, 0, 0, 0], 0));
            let (got, end) = text(&mut ours);
            assert!(got.is_empty());
            assert!(
                matches!(
                    &end,
                    Err(Error::Tls(
                        rustls::Error::InappropriateHandshakeMessage { .. }
                            | rustls::Error::InappropriateMessage { .. }
                    ))
                ),
                "{kind}: {end:?}"
            );
            let alert = u8::from(AlertDescription::UnexpectedMessage);
            assert_eq!(raw.open(&output(&mut ours)), [(ALERT, vec![2, alert])]);
        });
    }
}

#[test]
fn a_wish_to_renegotiate_is_declined_once() {
    each_raw(|mut ours, mut raw, tls13| {
        if tls13 {
            return;
        }
        let kind = if ours.peer_certificates().is_some() {
            0
        } else {
            1
        };
        give(&mut ours, &raw.record(HANDSHAKE, &[kind, 0], 0));
        give(&mut ours, &raw.record(HANDSHAKE, &[0, 0], 0));
        give(&mut ours, &raw.record(DATA, b"text", 0));
        assert_eq!(text(&mut ours), (b"text".to_vec(), Ok(Progress::WantInput)));
        let declined = u8::from(AlertDescription::NoRenegotiation);
        assert_eq!(raw.open(&output(&mut ours)), [(ALERT, vec![1, declined])]);
        give(&mut ours, &raw.record(HANDSHAKE, &[kind, 0, 0, 0], 0));
        let what = PeerMisbehaved::TooManyRenegotiationRequests;
        fails(
            &mut ours,
            &mut raw,
            what,
            AlertDescription::UnexpectedMessage,
        );
    });
}
