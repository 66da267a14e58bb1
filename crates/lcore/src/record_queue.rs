//! The records of one direction of a connection, on their way through devices and out in order.
//!
//! ```text
//!   submit ─▶ │ with a device │ ended │ with a device │ ended │ ─▶ first, pop
//!                 number 4        3          2           1
//! ```
//! A record's place is taken when it is submitted, and it leaves when all before it have left, whenever and by
//! whomever it is ended. Those of all queues wait for the next poll, which hands them over as one burst; what
//! a full queue pair refuses goes to it before all else by the next one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use spinlane_crypto::aead::Algorithm;
use spinlane_crypto::fork_generation;
use spinlane_cryptodev::aead::Op;
use spinlane_cryptodev::{Burst, DeviceError, OpStatus, Token};
use spinlane_job::Notify;

use crate::channel::pool::Pool;
use crate::core::{Inner, Lcore};

/// Ops of a size that a core keeps for reuse at most.
const IDLE: usize = 1024;

/// Records that come out in the order in which they went in. Dropped, those in flight become nobody's: their
/// memory goes back when their devices give it back, and nobody is told.
pub struct RecordQueue {
    lcore: Lcore,
    places: Rc<Places>,
}

/// What a queue and its records in flight have in common.
pub(crate) struct Places {
    notify: RefCell<Notify>,
    /// An empty place is that of a record in flight.
    ops: RefCell<VecDeque<Option<Box<Op>>>>,
    /// Number of the first place: its record's token.
    first: Cell<u64>,
    /// Who notifies has this on its list.
    is_listed: Cell<bool>,
    is_open: Cell<bool>,
}

/// The records of all queues that wait for a poll, and ops that are not in use.
pub(crate) struct Waiting {
    ops: Burst<Op>,
    /// Whose each is.
    queues: Vec<Rc<Places>>,
    idle: Pool<Op>,
}

impl Lcore {
    /// A queue of records whose ends `notify` hears of: once per poll, if the first of the queue is among them.
    pub fn record_queue(&self, notify: impl Into<Notify>) -> RecordQueue {
        RecordQueue {
            lcore: self.clone(),
            places: Rc::new(Places {
                notify: RefCell::new(notify.into()),
                ops: RefCell::default(),
                first: Cell::new(1),
                is_listed: Cell::new(false),
                is_open: Cell::new(true),
            }),
        }
    }
}

impl RecordQueue {
    /// Changes whom to tell.
    pub fn set_notify(&self, notify: impl Into<Notify>) {
        self.places.notify.replace(notify.into());
    }

    /// An op whose buffer has at least `len` bytes that a device for `algorithm` reaches. Allocates if none is left of
    /// those that came out of a queue of this core before.
    ///
    /// # Errors
    /// See [`QueuePair::buffer`](spinlane_cryptodev::QueuePair::buffer).
    pub fn op(&self, algorithm: Algorithm, len: usize) -> Result<Box<Op>, DeviceError> {
        let mut waiting = self.lcore.inner.records_waiting.borrow_mut();
        let mut op = waiting.idle.take(len);
        if op.buffer().len() < len {
            let size = spinlane_cryptodev::SIZE_CLASSES[spinlane_cryptodev::size_class(len)];
            op.replace_buffer(self.lcore.record_buffer(algorithm, size.max(len))?);
        }
        Ok(op)
    }

    /// Puts `op`, which is prepared, at the end, for the next poll to hand over. Its token becomes the queue's.
    pub fn submit(&self, mut op: Box<Op>) {
        op.token = self.places.add(None);
        self.lcore.note_work();
        let mut waiting = self.lcore.inner.records_waiting.borrow_mut();
        waiting.ops.push(op);
        waiting.queues.push(Rc::clone(&self.places));
    }

    /// Puts `op`, which was sealed elsewhere, at the end.
    pub fn push(&self, op: Box<Op>) {
        self.places.add(Some(op));
    }

    /// Shows the first record to `look`, if it has ended; `None` otherwise. How it ended is said by its status.
    pub fn first<T>(&self, look: impl FnOnce(&Op) -> T) -> Option<T> {
        let ops = self.places.ops.borrow();
        ops.front()?.as_deref().map(look)
    }

    /// Takes the first record out, if it has ended.
    pub fn pop(&self) {
        let mut ops = self.places.ops.borrow_mut();
        let Some(op) = ops.front_mut().and_then(Option::take) else {
            return;
        };
        ops.pop_front();
        self.places.first.set(self.places.first.get() + 1);
        self.lcore.inner.records_waiting.borrow_mut().keep(op);
    }

    /// Records in it, ended or not.
    pub fn len(&self) -> usize {
        self.places.ops.borrow().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a record in it will never come back: its queue pair is the parent process's.
    pub fn has_lost(&self) -> bool {
        !self.is_empty() && self.lcore.is_of_parent()
    }
}

impl Drop for RecordQueue {
    fn drop(&mut self) {
        self.places.is_open.set(false);
        let mut waiting = self.lcore.inner.records_waiting.borrow_mut();
        let mut ops = self.places.ops.borrow_mut();
        if ops.iter().any(Option::is_none) {
            waiting.forget(&self.places);
        }
        ops.drain(..).flatten().for_each(|op| waiting.keep(op));
    }
}

impl std::fmt::Debug for RecordQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordQueue")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl Places {
    /// Takes a place at the end; returns its number.
    fn add(&self, op: Option<Box<Op>>) -> Token {
        let mut ops = self.ops.borrow_mut();
        let number = self.first.get() + ops.len() as u64;
        ops.push_back(op);
        Token(number)
    }

    /// Puts `op` into its place. Returns whether it is the first, and whoever hears of that is not listed yet.
    pub(crate) fn fill(&self, op: Box<Op>) -> bool {
        let index = op.token.0.wrapping_sub(self.first.get());
        let mut ops = self.ops.borrow_mut();
        let place = usize::try_from(index)
            .ok()
            .and_then(|index| ops.get_mut(index));
        let Some(place) = place else {
            return false;
        };
        *place = Some(op);
        index == 0 && !self.is_listed.replace(true)
    }

    /// Takes it off the list; returns who is to be told, unless nobody is there any more.
    pub(crate) fn told(&self) -> Option<Notify> {
        self.is_listed.set(false);
        self.is_open().then(|| self.notify.borrow().clone())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open.get()
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            ops: Burst::new(),
            queues: Vec::new(),
            idle: Pool::new(IDLE),
        }
    }
}

impl Waiting {
    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    /// Keeps an op for reuse.
    fn keep(&mut self, mut op: Box<Op>) {
        // What a success has left is a sealed record, or what its reader has seen.
        if op.status == OpStatus::Success {
            op.recycle();
            self.idle.keep(op);
        } else {
            self.idle.put(op);
        }
    }

    /// Takes out the records of `places`.
    #[cold]
    fn forget(&mut self, places: &Rc<Places>) {
        let mut index = 0;
        while index < self.ops.len() {
            if Rc::ptr_eq(&self.queues[index], places) {
                self.queues.remove(index);
                let op = self.ops.remove(index);
                self.keep(op);
            } else {
                index += 1;
            }
        }
    }
}

impl Inner {
    /// Gives the queue pairs the records that wait, as far as they have room.
    #[inline]
    pub(crate) fn send_records(&self) {
        if self.records_waiting.borrow().len() != 0 {
            self.send_waiting();
        }
    }

    fn send_waiting(&self) {
        let waiting = &mut *self.records_waiting.borrow_mut();
        if self.generation != fork_generation() {
            // See `RecordQueue::has_lost`.
            return;
        }
        let Waiting { ops, queues, .. } = waiting;
        let taken = self.hand_over(ops, |index| Some(Rc::clone(&queues[index])));
        queues.drain(..taken);
    }
}
