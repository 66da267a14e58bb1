//! Closed connections whose last acknowledgement may be lost (RFC 9293, section 3.6.1): keys and three numbers.

use std::collections::VecDeque;

use hashbrown::HashTable;
use spinlane_tcp::{Flags, Instant, Segment, Seq, Tcb};

use crate::address::{Mac, Tuple};

/// A closed connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closed {
    tuple: Tuple,
    mac: Mac,
    /// Our next number, the peer's next, and its latest timestamp.
    pub(crate) next: Seq,
    expects: Seq,
    recent: Option<u32>,
    window: u16,
    /// Milliseconds; the clock's low bits, whose order is the queue's.
    until: u32,
}

/// What [`Config::max_time_wait`](crate::Config::max_time_wait) says.
const _: () = assert!(size_of::<Option<Closed>>() <= 64);

/// What a segment for a closed connection means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A new connection's first: the old one is forgotten. Its numbers ended with this one.
    New(Seq),
    /// To be answered.
    Answer(Segment),
    /// Nothing.
    Nothing,
}

/// The closed connections, the oldest first. Numbers in the table count all that were ever closed.
#[derive(Debug)]
pub(crate) struct TimeWait {
    table: HashTable<u32>,
    queue: VecDeque<Option<Closed>>,
    /// The number of the queue's front.
    front: u32,
    limit: usize,
    time_ms: u32,
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are meant")]
fn ms(now: Instant) -> u32 {
    (now.micros() / 1000) as u32
}

impl TimeWait {
    pub(crate) fn new(limit: u32, time: std::time::Duration) -> Self {
        Self {
            table: HashTable::new(),
            queue: VecDeque::new(),
            front: 0,
            limit: limit as usize,
            time_ms: u32::try_from(time.as_millis()).unwrap_or(u32::MAX / 4),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Takes a connection in. Returns `true` if another had to go before its time.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        (tuple, mac): (Tuple, Mac),
        tcb: &Tcb,
        hash: &impl Fn(&Tuple) -> u64,
    ) -> bool {
        if self.limit == 0 {
            return true;
        }
        let full = self.queue.len() >= self.limit;
        if full {
            self.pop(hash);
        }
        let closed = Closed {
            tuple,
            mac,
            next: tcb.next(),
            expects: tcb.expects(),
            recent: tcb.recent_timestamp(),
            window: tcb.window(),
            until: ms(now).wrapping_add(self.time_ms),
        };
        #[expect(clippy::cast_possible_truncation, reason = "counts modulo 2^32")]
        let number = self.front.wrapping_add(self.queue.len() as u32);
        self.queue.push_back(Some(closed));
        let (queue, front) = (&self.queue, self.front);
        self.table.insert_unique(hash(&tuple), number, |number| {
            let closed = queue[number.wrapping_sub(front) as usize];
            closed.map_or(0, |closed| hash(&closed.tuple))
        });
        full
    }

    /// Forgets the oldest.
    fn pop(&mut self, hash: &impl Fn(&Tuple) -> u64) {
        let number = self.front;
        if let Some(closed) = self.queue.pop_front() {
            self.front = self.front.wrapping_add(1);
            if let Some(Closed { tuple, .. }) = closed {
                self.remove(&tuple, number, hash);
            }
        }
    }

    fn remove(&mut self, tuple: &Tuple, number: u32, hash: &impl Fn(&Tuple) -> u64) {
        let found = self.table.find_entry(hash(tuple), |other| *other == number);
        if let Ok(entry) = found {
            entry.remove();
        }
    }

    /// Forgets those whose time is over.
    pub(crate) fn expire(&mut self, now: Instant, hash: &impl Fn(&Tuple) -> u64) {
        while let Some(front) = self.queue.front() {
            let is_over = |closed: &Closed| ms(now).wrapping_sub(closed.until).cast_signed() >= 0;
            if front.as_ref().is_some_and(|closed| !is_over(closed)) {
                break;
            }
            self.pop(hash);
        }
    }

    /// When the next one's time is over, seen from `now`.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let closed = self.queue.iter().flatten().next()?;
        let left = closed.until.wrapping_sub(ms(now)).cast_signed().max(0);
        let ticks = now.micros() / 1000 + u64::from(left.unsigned_abs());
        Some(Instant::from_micros(ticks * 1000))
    }

    fn find(&self, tuple: &Tuple, hash: u64) -> Option<u32> {
        let at = |number: u32| self.queue[number.wrapping_sub(self.front) as usize];
        let same = |number: &u32| at(*number).is_some_and(|closed| closed.tuple == *tuple);
        self.table.find(hash, same).copied()
    }

    /// Whether a connection has these addresses and ports.
    pub(crate) fn has(&self, tuple: &Tuple, hash: u64) -> bool {
        self.find(tuple, hash).is_some()
    }

    /// Takes a segment with `len` bytes of data. `None` if there is no such connection.
    pub(crate) fn segment(
        &mut self,
        now: Instant,
        (tuple, hash): (&Tuple, &impl Fn(&Tuple) -> u64),
        segment: &Segment,
        len: usize,
    ) -> Option<(Meaning, Mac)> {
        let number = self.find(tuple, hash(tuple))?;
        let place = number.wrapping_sub(self.front) as usize;
        let closed = self.queue[place]?;
        let meaning = closed.meaning(now, segment, len);
        if matches!(meaning, Meaning::New(_)) {
            self.remove(tuple, number, hash);
            self.queue[place] = None;
        }
        Some((meaning, closed.mac))
    }
}

impl Closed {
    fn meaning(&self, now: Instant, segment: &Segment, len: usize) -> Meaning {
        // RFC 1337: a reset, which may be old, ends no TIME-WAIT.
        if segment.flags.has(Flags::RST) {
            return Meaning::Nothing;
        }
        // RFC 1122, section 4.2.2.13, and RFC 6191: what cannot be old.
        if segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK) {
            let later = match (self.recent, segment.timestamps) {
                (Some(recent), Some((value, _))) => value.wrapping_sub(recent).cast_signed() > 0,
                _ => self.expects < segment.seq,
            };
            if later {
                return Meaning::New(self.next);
            }
        }
        let says_nothing = len == 0
            && !segment.flags.has(Flags::FIN)
            && !segment.flags.has(Flags::SYN)
            && segment.seq == self.expects;
        if says_nothing {
            return Meaning::Nothing;
        }
        Meaning::Answer(Segment {
            seq: self.next,
            ack: self.expects,
            flags: Flags::ACK,
            window: self.window,
            timestamps: self.recent.map(|recent| (now.timestamp(), recent)),
            ..Segment::default()
        })
    }
}
