//! The ring's model, and the steps that every engine drives it with: unit
//! cases, proptest and loom.

use std::collections::VecDeque;
use std::sync::Arc;

use spinlane_ring::{Consumer, Full, Producer, ring};

/// One call on an end.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// `push`.
    Push,
    /// `push_burst` of this many values.
    PushBurst(usize),
    /// `pop`.
    Pop,
    /// `pop_burst` of at most `max` values, of which at most `take` are taken.
    PopBurst { max: usize, take: usize },
}

/// A value that knows its place in the sequence and proves its drop: each
/// holds a clone of the witness.
pub struct Token {
    pub number: usize,
    _witness: Arc<()>,
}

/// The producer with its half of the model: what it pushed.
pub struct Pushing {
    pub end: Producer<Token>,
    pub pushed: usize,
    witness: Arc<()>,
    refused: VecDeque<Token>,
}

impl Pushing {
    /// Performs a push step and returns how many values went in. Refused ones
    /// come back in order and are the next to be pushed.
    pub fn step(&mut self, step: Step) -> usize {
        let count = match step {
            Step::Push => {
                self.prepare(1);
                let first = self.refused.pop_front().expect("just prepared");
                match self.end.push(first) {
                    Ok(()) => 1,
                    Err(Full(returned)) => {
                        self.refused.push_front(returned);
                        0
                    }
                }
            }
            Step::PushBurst(wanted) => {
                self.prepare(wanted);
                let mut burst = self.refused.drain(..wanted).collect::<VecDeque<_>>();
                let count = self.end.push_burst(&mut burst);
                assert_eq!(count + burst.len(), wanted, "a burst lost values");
                burst.append(&mut self.refused);
                self.refused = burst;
                count
            }
            Step::Pop | Step::PopBurst { .. } => return 0,
        };
        self.pushed += count;
        for (place, token) in self.refused.iter().enumerate() {
            assert_eq!(token.number, self.pushed + place, "a refused value moved");
        }
        count
    }

    fn prepare(&mut self, wanted: usize) {
        while self.refused.len() < wanted {
            self.refused.push_back(Token {
                number: self.pushed + self.refused.len(),
                _witness: Arc::clone(&self.witness),
            });
        }
    }
}

/// The consumer with its half of the model: what it popped.
pub struct Popping {
    pub end: Consumer<Token>,
    pub popped: usize,
}

impl Popping {
    /// Performs a pop step, checks the order, and returns how many came out.
    pub fn step(&mut self, step: Step) -> usize {
        let before = self.popped;
        match step {
            Step::Pop => {
                if let Some(token) = self.end.pop() {
                    assert_eq!(token.number, self.popped, "out of order");
                    self.popped += 1;
                }
            }
            Step::PopBurst { max, take } => {
                let burst = self.end.pop_burst(max);
                let promised = burst.len();
                assert!(promised <= max, "more than asked for");
                for token in burst.take(take) {
                    assert_eq!(token.number, self.popped, "out of order");
                    self.popped += 1;
                }
                assert_eq!(self.popped - before, promised.min(take));
            }
            Step::Push | Step::PushBurst(_) => {}
        }
        self.popped - before
    }
}

/// Makes a ring with both halves of the model. The witness is held by every
/// live token, by the pushing half and by the caller.
pub fn halves(capacity: usize) -> (Pushing, Popping, Arc<()>) {
    let (producer, consumer) = ring(capacity).expect("a valid capacity");
    let witness = Arc::new(());
    let pushing = Pushing {
        end: producer,
        pushed: 0,
        witness: Arc::clone(&witness),
        refused: VecDeque::new(),
    };
    let popping = Popping {
        end: consumer,
        popped: 0,
    };
    (pushing, popping, witness)
}

/// Checks that every token was dropped exactly once.
pub fn assert_all_dropped(witness: &Arc<()>) {
    assert_eq!(Arc::strong_count(witness), 1, "a value leaked");
}

/// Drives a ring by `steps` in one thread, and compares every result with an
/// oracle: a `VecDeque` that holds at most `capacity`.
#[allow(dead_code)] // the loom test has no use for it
pub fn check(capacity: usize, steps: &[Step]) {
    let (mut pushing, mut popping, witness) = halves(capacity);
    let mut oracle = VecDeque::new();
    for &step in steps {
        let free = capacity - oracle.len();
        match step {
            Step::Push | Step::PushBurst(_) => {
                let wanted = if let Step::PushBurst(n) = step { n } else { 1 };
                let first = pushing.pushed;
                let count = pushing.step(step);
                assert_eq!(count, wanted.min(free), "{step:?}");
                oracle.extend(first..first + count);
            }
            Step::Pop | Step::PopBurst { .. } => {
                let wanted = match step {
                    Step::PopBurst { max, take } => max.min(take),
                    _ => 1,
                };
                let expected = oracle.drain(..wanted.min(oracle.len())).next_back();
                popping.step(step);
                if let Some(last) = expected {
                    assert_eq!(popping.popped, last + 1, "{step:?}");
                }
            }
        }
        assert_eq!(oracle.len(), pushing.pushed - popping.popped);
        assert_eq!(popping.end.len(), oracle.len());
        assert_eq!(popping.end.is_empty(), oracle.is_empty());
        assert_eq!(pushing.end.free_slots(), capacity - oracle.len());
        assert_eq!(pushing.end.is_full(), oracle.len() == capacity);
    }
    drop((pushing, popping));
    assert_all_dropped(&witness);
}
