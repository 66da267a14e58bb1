//! Timers of many connections: one deadline each, put down, moved and taken away in constant time.
//!
//! ```text
//!   slots   0    1    2   …  4095        a slot is a millisecond; a deadline further away than the wheel reaches
//!           │    │                       waits in the last slot and is put down anew there
//!           ▼    ▼
//!          (7)  (3)⇄(9)                  lists of connections, linked through `links`
//! ```

use spinlane_tcp::Instant;

const SLOTS: usize = 4096;
const NONE: u32 = u32::MAX;

/// Where a connection's timer stands.
#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
    /// In milliseconds, rounded up; `u64::MAX` if there is none.
    due: u64,
}

const UNLINKED: Link = Link {
    previous: NONE,
    next: NONE,
    due: u64::MAX,
};

/// The wheel.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Box<[u32]>,
    /// Slots that hold something, a bit each.
    full: Box<[u64]>,
    links: Vec<Link>,
    /// Milliseconds that are past: what was due by then has been handed out.
    now: u64,
    armed: usize,
}

/// Bytes per connection.
pub(crate) const PER_TIMER: usize = size_of::<Link>();

impl Wheel {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            slots: vec![NONE; SLOTS].into(),
            full: vec![0; SLOTS / 64].into(),
            links: Vec::with_capacity(capacity),
            now: 0,
            armed: 0,
        }
    }

    /// Timers that are set.
    pub(crate) fn armed(&self) -> usize {
        self.armed
    }

    fn slot(&self, due: u64) -> usize {
        // Not the slot of the present, which would be a whole turn away.
        let at = due.clamp(self.now + 1, self.now + SLOTS as u64 - 1);
        at as usize % SLOTS
    }

    /// Sets the timer of `index`, which fires once at or after `due`; or takes it away.
    pub(crate) fn set(&mut self, index: u32, due: Option<Instant>) {
        let due = due.map_or(u64::MAX, |due| due.micros().div_ceil(1000));
        let place = index as usize;
        if self.links.len() <= place {
            self.links.resize(place + 1, UNLINKED);
        }
        let before = self.links[place].due;
        if before == due {
            return;
        }
        if before != u64::MAX {
            self.unlink(index);
        }
        if due != u64::MAX {
            self.link(index, due);
        }
    }

    fn link(&mut self, index: u32, due: u64) {
        let slot = self.slot(due);
        let next = std::mem::replace(&mut self.slots[slot], index);
        self.full[slot / 64] |= 1 << (slot % 64);
        if let Some(next) = self.links.get_mut(next as usize) {
            next.previous = index;
        }
        // The first of a list names its slot as its predecessor, beyond any connection's index.
        let previous = NONE - 1 - slot as u32;
        self.links[index as usize] = Link {
            previous,
            next,
            due,
        };
        self.armed += 1;
    }

    fn unlink(&mut self, index: u32) {
        let Link { previous, next, .. } = self.links[index as usize];
        if let Some(next) = self.links.get_mut(next as usize) {
            next.previous = previous;
        }
        match self.links.get_mut(previous as usize) {
            Some(previous) => previous.next = next,
            None => {
                let slot = (NONE - 1 - previous) as usize;
                self.slots[slot] = next;
                if next == NONE {
                    self.full[slot / 64] &= !(1 << (slot % 64));
                }
            }
        }
        self.links[index as usize] = UNLINKED;
        self.armed -= 1;
    }

    /// Hands out what is due, and forgets it. Constant time while nothing is.
    pub(crate) fn advance(&mut self, now: Instant, mut fire: impl FnMut(u32)) {
        let now = now.micros() / 1000;
        while let Some(at) = self.first_slot().filter(|at| *at <= now) {
            self.now = at;
            let slot = at as usize % SLOTS;
            let mut index = self.slots[slot];
            while index != NONE {
                let Link { next, due, .. } = self.links[index as usize];
                self.unlink(index);
                if due <= now {
                    fire(index);
                } else {
                    self.link(index, due);
                }
                index = next;
            }
        }
        self.now = self.now.max(now);
    }

    /// The millisecond of the first slot that holds something.
    fn first_slot(&self) -> Option<u64> {
        if self.armed == 0 {
            return None;
        }
        let start = (self.now as usize + 1) % SLOTS;
        let (word, bit) = (start / 64, start % 64);
        let words = self.full.len();
        for step in 0..=words {
            let mut bits = self.full[(word + step) % words];
            if step == 0 {
                bits &= u64::MAX << bit;
            }
            if bits != 0 {
                let slot = (word + step) % words * 64 + bits.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - start) % SLOTS;
                return Some(self.now + 1 + ahead as u64);
            }
        }
        None
    }

    /// When something may be due next. Never later than the first deadline; earlier for those beyond the wheel's reach.
    pub(crate) fn next(&self) -> Option<Instant> {
        let at = self.first_slot()?;
        Some(Instant::from_micros(at.saturating_mul(1000)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    proptest! {
        /// A map of deadlines does the same.
        #[test]
        fn timers_fire_once_when_they_are_due(
            steps in prop::collection::vec((0..40_u32, prop::option::of(0..20_000_u64), 0..3_000_u64), 1..200),
            start in 0..100_000_u64,
        ) {
            let mut wheel = Wheel::new(4);
            let mut model = BTreeMap::new();
            let mut now = start;
            wheel.advance(ms(now), |_| ());
            for (index, due, pass) in steps {
                let due = due.map(|due| now + due);
                wheel.set(index, due.map(ms));
                match due {
                    Some(due) => model.insert(index, due.max(now)),
                    None => model.remove(&index),
                };
                prop_assert_eq!(wheel.armed(), model.len());
                let first = model.values().min().copied();
                prop_assert_eq!(wheel.next().is_some(), first.is_some());
                if let (Some(next), Some(first)) = (wheel.next(), first) {
                    prop_assert!(next <= ms(first.max(now + 1)));
                }
                let before = now;
                now += pass;
                let mut fired = Vec::new();
                wheel.advance(ms(now), |index| fired.push(index));
                fired.sort_unstable();
                // What was set for the present fires with the next tick.
                let is_due = |due: u64| due <= now && now > before;
                let expected: Vec<u32> = model.iter().filter(|(_, due)| is_due(**due)).map(|(index, _)| *index).collect();
                prop_assert_eq!(&fired, &expected);
                model.retain(|_, due| !is_due(*due));
            }
        }
    }

    /// Times that the connection's own deadlines never have.
    #[test]
    fn far_deadlines_do_not_fire_early() {
        let mut wheel = Wheel::new(1);
        wheel.set(0, Some(ms(1_000_000)));
        for now in (0..1_000_000).step_by(777) {
            wheel.advance(ms(now), |_| panic!("early"));
        }
        let mut fired = 0;
        wheel.advance(ms(1_000_000), |_| fired += 1);
        assert_eq!((fired, wheel.armed(), wheel.next()), (1, 0, None));
        wheel.set(0, Some(Instant::from_micros(u64::MAX)));
        wheel.advance(ms(2_000_000), |_| panic!("early"));
        assert_eq!(wheel.armed(), 1);
    }
}
