//! Who was refused by a full queue pair, in the order of the refusals.
//!
//! Each has the number of its first refusal, by which the queue is ordered, and keeps it until it is
//! accepted: whoever is refused again, or says only later that it wants to try again, has lost no place.

use std::collections::VecDeque;
use std::rc::Rc;

use spinlane_job::{Conn, Job, Notify};

use crate::defect::{Defect, has};

/// Somebody who waits for free slots.
pub(crate) struct Refused {
    /// See [`Job::refusal`].
    pub(crate) number: u64,
    /// How many slots it needs.
    pub(crate) ops: usize,
    /// Whose refusal it is; one without a job is taken out by [`RetryQueue::remove`].
    pub(crate) job: Option<Rc<Job>>,
    /// Who is told when there is room.
    pub(crate) notify: Notify,
}

impl Refused {
    /// Whether nobody waits any more: the job was accepted, cancelled, or has ended.
    fn is_stale(&self) -> bool {
        let job = self.job.as_ref();
        job.is_some_and(|job| job.refusal() != self.number)
    }
}

#[derive(Default)]
pub(crate) struct RetryQueue {
    /// Ordered by number.
    waiting: VecDeque<Refused>,
    /// Slots that those need together.
    ops: usize,
    /// Free slots promised to those that the last grant took out.
    granted: usize,
}

impl RetryQueue {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many slots whoever is first needs; 0 if nobody waits.
    pub(crate) fn first_needs(&self) -> usize {
        self.waiting.front().map_or(0, |refused| refused.ops)
    }

    /// Whether `ops` ops may be submitted while so many slots are free, by whoever has this `refusal` (0: a
    /// first attempt). A first attempt stands behind all who wait. So does an early one behind those before
    /// it. For one whose turn has come slots are kept.
    pub(crate) fn admits(&self, refusal: u64, ops: usize, free: usize) -> bool {
        if refusal == 0 {
            return self.granted + self.ops + ops <= free;
        }
        match self.position(refusal) {
            Ok(position) => {
                let ahead = self.waiting.range(..=position);
                self.granted + ahead.map(|refused| refused.ops).sum::<usize>() <= free
            }
            Err(_) => ops <= free && (self.granted >= ops || self.granted + self.ops == 0),
        }
    }

    /// Whoever has this `refusal` has tried again to submit `ops` ops.
    pub(crate) fn tried(&mut self, refusal: u64, ops: usize, accepted: bool) {
        match self.position(refusal) {
            Ok(_) if !accepted => {}
            Ok(position) => self.take(position),
            Err(_) => self.granted = self.granted.saturating_sub(ops),
        }
    }

    /// Adds `refused` in its place. Does nothing if it is there already.
    pub(crate) fn push(&mut self, refused: Refused) {
        if let Err(position) = self.position(refused.number) {
            self.ops += refused.ops;
            self.waiting.insert(position, refused);
        }
    }

    pub(crate) fn remove(&mut self, number: u64) {
        if let Ok(position) = self.position(number) {
            self.take(position);
        }
    }

    /// Takes out all that are called `conn`.
    pub(crate) fn forget(&mut self, conn: Conn) {
        let is_it = |notify: &Notify| matches!(notify, Notify::Conn(other) if *other == conn);
        self.waiting.retain(|refused| !is_it(&refused.notify));
        self.ops = self.waiting.iter().map(|refused| refused.ops).sum();
    }

    /// Takes out as many as there are `free` slots for, from the front, and hands them to `tell`. Returns how
    /// many.
    pub(crate) fn grant(&mut self, free: usize, mut tell: impl FnMut(Notify)) -> usize {
        if has(Defect::RetryOrder) {
            self.waiting.make_contiguous().reverse();
        }
        self.granted = 0;
        let mut count = 0;
        while let Some(first) = self.waiting.front() {
            let is_stale = first.is_stale();
            if !is_stale && self.granted + first.ops > free {
                break;
            }
            let Some(first) = self.waiting.pop_front() else {
                break;
            };
            self.ops -= first.ops;
            if !is_stale {
                self.granted += first.ops;
                count += 1;
                tell(first.notify);
            }
        }
        count
    }

    fn position(&self, number: u64) -> Result<usize, usize> {
        let number_of = |refused: &Refused| refused.number;
        self.waiting.binary_search_by_key(&number, number_of)
    }

    fn take(&mut self, position: usize) {
        if let Some(refused) = self.waiting.remove(position) {
            self.ops -= refused.ops;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(all: &[(u64, usize)]) -> RetryQueue {
        let mut queue = RetryQueue::default();
        for &(number, ops) in all {
            queue.push(Refused {
                number,
                ops,
                job: None,
                notify: Conn(number).into(),
            });
        }
        queue
    }

    fn granted(queue: &mut RetryQueue, free: usize) -> Vec<u64> {
        let mut all = Vec::new();
        let count = queue.grant(free, |notify| match notify {
            Notify::Conn(Conn(number)) => all.push(number),
            _ => unreachable!("names alone"),
        });
        assert_eq!(count, all.len());
        all
    }

    #[test]
    fn turns_come_in_the_order_of_the_refusals_whenever_they_were_claimed() {
        let mut queue = queue(&[(3, 1), (1, 1), (2, 1), (1, 1)]);
        assert_eq!(granted(&mut queue, 2), [1, 2]);
        // The second was refused again, and another came in between.
        let others = self::queue(&[(5, 1), (2, 1)]);
        others
            .waiting
            .into_iter()
            .for_each(|other| queue.push(other));
        assert_eq!(granted(&mut queue, 9), [2, 3, 5]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_set_waits_until_all_of_it_has_room_and_nobody_overtakes_it() {
        let mut queue = queue(&[(1, 1), (2, 3), (3, 1)]);
        assert_eq!(granted(&mut queue, 3), [1]);
        assert_eq!(granted(&mut queue, 2), []);
        assert!(
            !queue.admits(0, 1, 4),
            "one stands behind four slots' worth"
        );
        assert!(queue.admits(0, 1, 5));
        assert_eq!(granted(&mut queue, 4), [2, 3]);
    }

    #[test]
    fn an_early_attempt_needs_room_for_those_before_it() {
        let queue = queue(&[(1, 2), (2, 1), (3, 1)]);
        assert!(queue.admits(2, 1, 3));
        assert!(!queue.admits(2, 1, 2));
        assert!(
            !queue.admits(7, 1, 9),
            "it was promised nothing, and others wait"
        );
    }

    #[test]
    fn slots_stay_promised_to_those_whose_turn_came_until_they_have_tried() {
        let mut queue = queue(&[(1, 1), (2, 1)]);
        assert_eq!(granted(&mut queue, 2), [1, 2]);
        assert!(!queue.admits(0, 1, 2));
        queue.tried(1, 1, true);
        assert!(!queue.admits(0, 1, 1) && queue.admits(2, 1, 1));
        queue.tried(2, 1, false);
        assert!(queue.admits(0, 1, 1));
    }
}
