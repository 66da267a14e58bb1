//! Bursts of records beside the jobs: each that was taken comes back once, right.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use spinlane::crypto::aead::{Algorithm, TAG_LEN};
use spinlane::cryptodev::aead::{Direction, Key, Op, Request};
use spinlane::cryptodev::{Buffer, Burst, OpStatus, Token, cpu};

use super::World;
use crate::sim::tally::Breach;

static KEYS: LazyLock<[Arc<Key>; 2]> = LazyLock::new(|| {
    [Algorithm::Aes128Gcm, Algorithm::ChaCha20Poly1305].map(|algorithm| {
        let key = Key::new(algorithm, &vec![7; algorithm.key_len()]);
        Arc::new(key.expect("its length"))
    })
});

/// What was asked under a token.
#[derive(Clone, Copy, Debug)]
struct Asked {
    direction: Direction,
    len: usize,
    /// The tag is wrong.
    is_forged: bool,
}

impl Asked {
    /// The op called `token`, prepared.
    fn op(self, token: u64) -> Box<Op> {
        let buffer = Buffer::heap(self.len + TAG_LEN).expect("short");
        let mut op = Op::new(buffer);
        op.buffer_mut()[..self.len].fill(token as u8);
        self.prepare(&mut op, token, Direction::Seal);
        if self.direction == Direction::Open {
            cpu::run_aead(&mut op);
            self.prepare(&mut op, token, Direction::Open);
            op.buffer_mut()[self.len] ^= u8::from(self.is_forged);
        }
        op
    }

    fn prepare(self, op: &mut Op, token: u64, direction: Direction) {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&token.to_be_bytes());
        let request = Request {
            direction,
            key: &KEYS[token as usize % 2],
            nonce: &nonce,
            aad: b"\x17\x03\x03",
            data: 0..self.len,
        };
        op.prepare(Token(token), &request).expect("it fits");
    }
}

/// Records that the lcore has taken.
#[derive(Default)]
pub(super) struct Records {
    outstanding: BTreeMap<u64, Asked>,
    last: u64,
    pub(super) taken: u64,
}

impl World {
    /// Enqueues a burst. What is refused is forgotten.
    pub(super) fn enqueue_records(&self) {
        let mut records = self.records.borrow_mut();
        let mut ops = Burst::new();
        for _ in 0..=self.below(12) {
            records.last += 1;
            let direction = [Direction::Seal, Direction::Open][self.below(2) as usize];
            let asked = Asked {
                direction,
                len: self.below(600) as usize,
                is_forged: direction == Direction::Open && self.below(8) == 0,
            };
            let token = records.last;
            records.outstanding.insert(token, asked);
            ops.push(asked.op(token));
        }
        let taken = self.lcore.enqueue_records(&mut ops).unwrap_or(0);
        records.taken += taken as u64;
        self.note("records", taken, ops.len() as u64);
        for op in ops {
            if op.status != OpStatus::NotProcessed {
                self.violate(Breach::WrongResult, format!("refused, and changed: {op:?}"));
            }
            records.outstanding.remove(&op.token.0);
        }
    }

    /// Takes what has ended, and looks at it.
    pub(super) fn dequeue_records(&self) {
        let mut done = Burst::new();
        self.lcore.dequeue_records(&mut done, usize::MAX);
        let mut records = self.records.borrow_mut();
        for op in done {
            self.note("record", op.token.0 as usize, op.status as u64);
            match records.outstanding.remove(&op.token.0) {
                Some(asked) if self.is_right(&op, asked) => {}
                Some(asked) => {
                    let text = format!("{asked:?} was answered by {op:?}");
                    self.violate(Breach::WrongResult, text);
                }
                None => {
                    let text = format!("record {} came twice, or from nowhere", op.token.0);
                    self.violate(Breach::DuplicateCallback, text);
                }
            }
        }
    }

    /// Whether `op` is what was `asked`. Without fallback an error of the device stands.
    fn is_right(&self, op: &Op, asked: Asked) -> bool {
        let fallback = self.plan.health.fallback;
        let is_zero = op.data().iter().all(|byte| *byte == 0);
        match op.status {
            OpStatus::Success => {
                let mut wanted = asked.op(op.token.0);
                cpu::run_aead(&mut wanted);
                let used = ..asked.len + TAG_LEN;
                !asked.is_forged && op.buffer()[used] == wanted.buffer()[used]
            }
            OpStatus::Invalid => is_zero && (asked.is_forged || !fallback),
            OpStatus::Error => is_zero && !fallback,
            OpStatus::NotProcessed => false,
        }
    }

    /// Nothing is left, and the counters tell what happened.
    pub(super) fn take_stock_of_records(&self) {
        let records = self.records.borrow();
        if let Some((token, asked)) = records.outstanding.first_key_value() {
            let text = format!("record {token} never came back: {asked:?}");
            self.violate(Breach::Lost, text);
        }
        let mut enqueued = 0;
        for channel in &self.lcore.stats().records {
            let counts = channel.counts;
            let ended = counts.completed + counts.fallback;
            if counts.enqueued != ended {
                self.violate(Breach::Counters, format!("do not add up: {counts:?}"));
            }
            if channel.free_slots + channel.quarantined != channel.capacity {
                let text = format!("slots of records are not back: {channel:?}");
                self.violate(Breach::LeakedSlot, text);
            }
            enqueued += counts.enqueued;
        }
        if enqueued != records.taken {
            let text = format!("{enqueued} records enqueued, {} taken", records.taken);
            self.violate(Breach::Counters, text);
        }
        self.count(|tally| tally.records += records.taken);
    }
}
