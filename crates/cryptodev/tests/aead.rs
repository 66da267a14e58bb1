//! Authenticated encryption on the CPU: what is refused, what a failed open leaves, what runs once.

use std::sync::Arc;

use proptest::prelude::*;
use spinlane_crypto::aead::{Algorithm, KeyLengthError, NONCE_LEN, TAG_LEN};
use spinlane_cryptodev::aead::{Direction, Error, Key, MAX_AAD, Op, Request};
use spinlane_cryptodev::{Buffer, MAX_BUFFER, OpStatus};
use spinlane_cryptodev::{Token, cpu};

/// Where the data starts in the tests' buffers, so that there is a head to be left alone.
const HEAD: usize = 5;

fn key(algorithm: Algorithm, byte: u8) -> Arc<Key> {
    let secret = vec![byte; algorithm.key_len()];
    Arc::new(Key::new(algorithm, &secret).expect("the algorithm's length"))
}

fn op_with(data: &[u8]) -> Box<Op> {
    let mut op = Op::new(Buffer::heap(HEAD + data.len() + TAG_LEN + 3).expect("short"));
    op.buffer_mut().fill(0xEE);
    op.buffer_mut()[HEAD..][..data.len()].copy_from_slice(data);
    op
}

fn request<'a>(direction: Direction, key: &'a Arc<Key>, len: usize) -> Request<'a> {
    Request {
        direction,
        key,
        nonce: &[3; NONCE_LEN],
        aad: b"header",
        data: HEAD..HEAD + len,
    }
}

fn run(op: &mut Op, request: &Request<'_>) -> OpStatus {
    op.prepare(Token(9), request).expect("it fits");
    cpu::run_aead(op);
    op.status
}

#[test]
fn a_seal_opens_again_and_touches_nothing_else() {
    for algorithm in Algorithm::ALL {
        let key = key(algorithm, 1);
        for len in [0, 1, 15, 16, 17, 64, 1024, 16 * 1024] {
            let data: Vec<u8> = (0..len).map(|index| index as u8).collect();
            let mut op = op_with(&data);
            assert_eq!(
                run(&mut op, &request(Direction::Seal, &key, len)),
                OpStatus::Success
            );
            assert!(len < 15 || op.data() != data, "{algorithm} of {len} bytes");
            assert_eq!(
                run(&mut op, &request(Direction::Open, &key, len)),
                OpStatus::Success
            );
            assert_eq!(op.data(), data, "{algorithm} of {len} bytes");
            let (head, tail) = (&op.buffer()[..HEAD], &op.buffer()[HEAD + len + TAG_LEN..]);
            assert_eq!((head, tail), (&[0xEE; HEAD][..], &[0xEE; 3][..]));
            assert_eq!(op.token, Token(9));
        }
    }
}

#[test]
fn an_op_runs_once_per_preparation() {
    let key = key(Algorithm::Aes256Gcm, 1);
    let mut op = op_with(b"once");
    cpu::run_aead(&mut op);
    assert_eq!(op.status, OpStatus::Error, "never prepared");
    assert_eq!(
        run(&mut op, &request(Direction::Seal, &key, 4)),
        OpStatus::Success
    );
    cpu::run_aead(&mut op);
    assert_eq!(op.status, OpStatus::Error, "sealed already");
    assert_eq!(op.data(), [0; 4]);
    assert_eq!(
        run(&mut op, &request(Direction::Seal, &key, 4)),
        OpStatus::Success
    );
    op.prepare(Token(1), &request(Direction::Seal, &key, 9999))
        .expect_err("too long");
    cpu::run_aead(&mut op);
    assert_eq!(op.status, OpStatus::Error, "badly prepared");
}

#[test]
fn lengths_out_of_range_are_named() {
    for algorithm in Algorithm::ALL {
        for got in [0, algorithm.key_len() - 1, algorithm.key_len() + 1, 64] {
            let error = Key::new(algorithm, &vec![0; got]).expect_err("a wrong length");
            assert_eq!(error, Error::KeyLength(KeyLengthError { algorithm, got }));
            assert!(error.to_string().contains(algorithm.name()), "{error}");
        }
    }
    let got = MAX_BUFFER + 1;
    let error = Buffer::heap(got).expect_err("too long");
    assert_eq!(error, Error::BufferTooLong { got });
    assert!(Buffer::heap(MAX_BUFFER).is_ok());

    let key = key(Algorithm::Aes128Gcm, 1);
    let mut op = Op::new(Buffer::heap(32).expect("short"));
    let mut prepare = |aad: &[u8], start, end| {
        let request = Request {
            aad,
            data: start..end,
            ..request(Direction::Seal, &key, 0)
        };
        op.prepare(Token(0), &request)
    };
    assert_eq!(prepare(&[0; MAX_AAD], 0, 16), Ok(()));
    assert_eq!(
        prepare(&[0; MAX_AAD + 1], 0, 16),
        Err(Error::AadTooLong { got: MAX_AAD + 1 })
    );
    for (start, end) in [
        (0, 17),
        (17, 17),
        (2, 1),
        (usize::MAX, usize::MAX),
        (0, usize::MAX - 15),
    ] {
        let outside = Error::OutsideBuffer {
            start,
            end,
            buffer: 32,
        };
        assert_eq!(prepare(&[], start, end), Err(outside));
    }
    let mut none = Op::new(Buffer::heap(TAG_LEN - 1).expect("short"));
    let empty = Request {
        data: 0..0,
        ..request(Direction::Seal, &key, 0)
    };
    assert!(none.prepare(Token(0), &empty).is_err());
    assert_eq!(none.tag().len(), TAG_LEN - 1);
}

#[test]
fn nothing_secret_is_printed() {
    let key = key(Algorithm::ChaCha20Poly1305, 0xAB);
    let mut op = op_with(&[0xAB; 40]);
    let prepared = Request {
        nonce: &[0xAB; NONCE_LEN],
        aad: &[0xAB; 20],
        ..request(Direction::Seal, &key, 40)
    };
    op.prepare(Token(0), &prepared).expect("it fits");
    let text = format!("{op:?} {:?} {key:?}", op.buffer());
    assert!(
        !text.contains("171") && !text.to_lowercase().contains("ab, "),
        "{text}"
    );
}

#[test]
fn a_copy_is_the_same_op() {
    let key = key(Algorithm::Aes128Gcm, 1);
    let mut op = op_with(b"the original");
    op.prepare(Token(7), &request(Direction::Seal, &key, 12))
        .expect("it fits");
    op.enqueued_at_ns = 5;
    let mut copy = Op::new(Buffer::heap(0).expect("short"));
    copy.copy_from(&op);
    assert_eq!(
        (copy.token, copy.enqueued_at_ns, copy.status),
        (Token(7), 5, OpStatus::NotProcessed)
    );
    cpu::run_aead(&mut op);
    cpu::run_aead(&mut copy);
    let sealed = ..HEAD + 12 + TAG_LEN;
    assert_eq!(op.buffer()[sealed], copy.buffer()[sealed]);
    assert_eq!(copy.buffer().len(), op.buffer().len());
    copy.copy_from(&Op::new(Buffer::heap(3).expect("short")));
    assert!(copy.parts().is_none(), "what is not prepared stays so");
}

proptest! {
    /// Whatever is changed, a failed open leaves zeros, and nothing of the plaintext.
    #[test]
    fn a_forgery_opens_to_zeros(
        algorithm in prop::sample::select(&Algorithm::ALL[..]),
        data in prop::collection::vec(1..=u8::MAX, 1..300),
        what in 0..5,
        bit in any::<prop::sample::Index>(),
    ) {
        let key = key(algorithm, 1);
        let mut op = op_with(&data);
        let seal = request(Direction::Seal, &key, data.len());
        prop_assert_eq!(run(&mut op, &seal), OpStatus::Success);
        let other = self::key(algorithm, 2);
        let mut open = Request { direction: Direction::Open, ..seal };
        let mut flip = |range: std::ops::Range<usize>| {
            let at = bit.index(range.len() * 8);
            op.buffer_mut()[range][at / 8] ^= 1 << (at % 8);
        };
        match what {
            0 => flip(HEAD..HEAD + data.len()),
            1 => flip(HEAD + data.len()..HEAD + data.len() + TAG_LEN),
            2 => open.nonce = &[4; NONCE_LEN],
            3 => open.aad = b"headex",
            _ => open.key = &other,
        }
        prop_assert_eq!(run(&mut op, &open), OpStatus::Invalid);
        prop_assert!(op.data().iter().all(|byte| *byte == 0));
    }
}
