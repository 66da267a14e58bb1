//! Connections that can go on, in the order they became so.

use spinlane_job::Conn;

/// What became ready before a turn began is handed out in it, what becomes so meanwhile in the
/// next, so that a turn ends. Two lists rather than a ring: a push and a pop are a few instructions.
#[derive(Default)]
pub(crate) struct ReadyQueue {
    /// Handed out in this turn, those before `next` already.
    turn: Vec<Conn>,
    next: usize,
    /// Ready since the turn began.
    later: Vec<Conn>,
}

impl ReadyQueue {
    #[inline]
    pub(crate) fn push(&mut self, conn: Conn) {
        self.later.push(conn);
    }

    /// All that is ready now will be handed out, first what the last turn has left.
    pub(crate) fn begin_turn(&mut self) {
        self.turn.drain(..self.next);
        self.next = 0;
        if self.turn.is_empty() {
            std::mem::swap(&mut self.turn, &mut self.later);
        } else {
            self.turn.append(&mut self.later);
        }
    }

    /// The next one of this turn.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Conn> {
        let conn = *self.turn.get(self.next)?;
        self.next += 1;
        Some(conn)
    }

    pub(crate) fn len(&self) -> usize {
        self.turn.len() - self.next + self.later.len()
    }

    pub(crate) fn forget(&mut self, conn: Conn) {
        self.turn.drain(..self.next);
        self.next = 0;
        self.turn.retain(|&other| other != conn);
        self.later.retain(|&other| other != conn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed_out(queue: &mut ReadyQueue) -> Vec<u64> {
        std::iter::from_fn(|| queue.next().map(|Conn(id)| id)).collect()
    }

    fn pushed(ids: impl IntoIterator<Item = u64>) -> ReadyQueue {
        let mut queue = ReadyQueue::default();
        ids.into_iter().for_each(|id| queue.push(Conn(id)));
        queue
    }

    #[test]
    fn a_turn_hands_out_what_was_ready_when_it_began() {
        let mut queue = pushed([1, 2]);
        assert_eq!(handed_out(&mut queue), []);
        queue.begin_turn();
        queue.push(Conn(3));
        assert_eq!(handed_out(&mut queue), [1, 2]);
        assert_eq!(queue.len(), 1);
        queue.begin_turn();
        assert_eq!(handed_out(&mut queue), [3]);
    }

    #[test]
    fn what_a_turn_leaves_comes_first_in_the_next() {
        let mut queue = pushed([1, 2, 3]);
        queue.begin_turn();
        assert_eq!(queue.next(), Some(Conn(1)));
        queue.push(Conn(4));
        assert_eq!(queue.len(), 3);
        queue.begin_turn();
        assert_eq!(handed_out(&mut queue), [2, 3, 4]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn who_is_forgotten_is_handed_out_neither_now_nor_later() {
        let mut queue = pushed([1, 2, 3, 2]);
        queue.begin_turn();
        assert_eq!(queue.next(), Some(Conn(1)));
        queue.push(Conn(2));
        queue.push(Conn(5));
        queue.forget(Conn(2));
        assert_eq!(handed_out(&mut queue), [3]);
        queue.begin_turn();
        assert_eq!(handed_out(&mut queue), [5]);
    }
}
