//! A queue pair for AEAD that computes as it should and then does what the test says, and ops to give it.
#![allow(dead_code, reason = "each test crate uses its part of it")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use spinlane_crypto::aead::{Algorithm, TAG_LEN};
use spinlane_cryptodev::aead::{Direction, Key, Op, Request};
use spinlane_cryptodev::{
    Buffer, Burst, Capabilities, DeviceStats, Limits, OpStatus, QueuePair, Token, cpu,
};

/// What becomes of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is computed.
    Right,
    /// It comes back half done, with an error.
    Failed,
    /// It comes back as it was.
    Undone,
    /// Its tag is found wrong, whatever it is.
    Distrusted,
    /// It comes back when the test says so.
    Kept,
}

/// The test's end.
#[derive(Clone)]
pub struct Handle(Rc<Inner>);

struct Inner {
    capacity: usize,
    inline: bool,
    fate: Cell<Fate>,
    refuses: Cell<bool>,
    /// How much of AES-256 it takes; none unless told.
    limits: Cell<Option<Limits>>,
    held: RefCell<Burst<Op>>,
    kept: RefCell<Burst<Op>>,
    resets: Cell<usize>,
}

impl Handle {
    pub fn new(capacity: usize, inline: bool) -> Self {
        Self(Rc::new(Inner {
            capacity,
            inline,
            fate: Cell::new(Fate::Right),
            refuses: Cell::new(false),
            limits: Cell::default(),
            held: RefCell::default(),
            kept: RefCell::default(),
            resets: Cell::new(0),
        }))
    }

    pub fn queue_pair(&self) -> Box<dyn QueuePair<Op>> {
        Box::new(TestPair(Rc::clone(&self.0)))
    }

    /// Ops that are dequeued from now on have this fate.
    pub fn set_fate(&self, fate: Fate) {
        self.0.fate.set(fate);
    }

    /// Queue pairs opened from now on take so much of AES-256.
    pub fn limit(&self, limits: Limits) {
        self.0.limits.set(Some(limits));
    }

    pub fn refuse(&self, refuses: bool) {
        self.0.refuses.set(refuses);
    }

    pub fn resets(&self) -> usize {
        self.0.resets.get()
    }

    pub fn held(&self) -> usize {
        self.0.held.borrow().len() + self.0.kept.borrow().len()
    }

    /// What was kept comes back with the next dequeue.
    pub fn give_up_kept(&self) {
        self.0
            .held
            .borrow_mut()
            .append(&mut self.0.kept.borrow_mut());
    }

    /// What was kept never comes back.
    pub fn lose_kept(&self) {
        self.0.kept.borrow_mut().clear();
    }
}

struct TestPair(Rc<Inner>);

impl QueuePair<Op> for TestPair {
    fn name(&self) -> &str {
        "test"
    }

    fn capacity(&self) -> usize {
        self.0.capacity
    }

    fn capabilities(&self) -> Capabilities<Algorithm> {
        let two = Capabilities::NONE
            .with(Algorithm::Aes128Gcm)
            .with(Algorithm::ChaCha20Poly1305);
        match self.0.limits.get() {
            Some(limits) => two.with_limits(Algorithm::Aes256Gcm, limits),
            None => two,
        }
    }

    fn enqueue_burst(&mut self, ops: &mut Burst<Op>) -> usize {
        if self.0.refuses.get() {
            return 0;
        }
        let mut held = self.0.held.borrow_mut();
        let room = self.0.capacity - (held.len() + self.0.kept.borrow().len()).min(self.0.capacity);
        let taken = ops.len().min(room);
        held.extend(ops.drain(..taken));
        taken
    }

    fn dequeue_burst(&mut self, done: &mut Burst<Op>, max: usize, _now_ns: u64) -> usize {
        let mut held = self.0.held.borrow_mut();
        let count = held.len().min(max);
        if self.0.fate.get() == Fate::Kept {
            self.0.kept.borrow_mut().append(&mut held);
            return 0;
        }
        for mut op in held.drain(..count) {
            match self.0.fate.get() {
                Fate::Right | Fate::Kept => cpu::run_aead(&mut op),
                Fate::Undone => {}
                Fate::Distrusted => op.fail(OpStatus::Invalid),
                Fate::Failed => {
                    cpu::run_aead(&mut op);
                    op.fail(OpStatus::Error);
                }
            }
            done.push(op);
        }
        count
    }

    fn stats(&self) -> DeviceStats {
        DeviceStats::default()
    }

    fn is_inline(&self) -> bool {
        self.0.inline
    }

    fn reset(&mut self) -> bool {
        self.0.resets.set(self.0.resets.get() + 1);
        true
    }
}

pub fn key(algorithm: Algorithm) -> Arc<Key> {
    Arc::new(Key::new(algorithm, &vec![1; algorithm.key_len()]).expect("its length"))
}

/// Bytes before the data of the tests' ops, and after its tag.
pub const AROUND: usize = 5;

/// An op without a request.
pub fn empty(len: usize) -> Box<Op> {
    Op::new(Buffer::heap(AROUND + len + TAG_LEN + AROUND).expect("short"))
}

/// Fills in and prepares the op called `token`: a seal of bytes that depend on it, or an open of what the seal made.
pub fn fill(op: &mut Op, token: u64, key: &Arc<Key>, direction: Direction, len: usize) {
    op.buffer_mut()[..AROUND].fill(token as u8);
    for (index, byte) in (0..).zip(&mut op.buffer_mut()[AROUND..][..len]) {
        *byte = (token * 31 + index) as u8;
    }
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&token.to_be_bytes());
    let mut request = Request {
        direction: Direction::Seal,
        key,
        nonce: &nonce,
        aad: b"aad",
        data: AROUND..AROUND + len,
    };
    op.prepare(Token(token), &request).expect("it fits");
    if direction == Direction::Open {
        cpu::run_aead(op);
        request.direction = direction;
        op.prepare(Token(token), &request).expect("it fits");
    }
}

/// A new op, filled.
pub fn op(token: u64, key: &Arc<Key>, direction: Direction, len: usize) -> Box<Op> {
    let mut op = empty(len);
    fill(&mut op, token, key, direction, len);
    op
}

/// Whether a finished op is what [`fill`] asked for, in every byte that is promised.
pub fn is_right(op: &Op, direction: Direction, len: usize) -> bool {
    let token = op.token.0;
    let key = op.key().expect("it had a key");
    let mut wanted = self::op(token, key, direction, len);
    cpu::run_aead(&mut wanted);
    let promised = ..AROUND + len + TAG_LEN;
    op.status == OpStatus::Success && op.buffer()[promised] == wanted.buffer()[promised]
}
