//! Who has which address on the link, for the connections that we open: ARP's and NDP's table.

use spinlane_tcp::Instant;
use std::collections::HashMap;
use std::time::Duration;

use crate::address::{Address, Mac};

/// Entries, at most.
const MOST: usize = 1024;
/// Between two questions for an address.
const PAUSE: Duration = Duration::from_secs(1);
/// Questions without an answer after which a neighbour is not there.
const QUESTIONS: u8 = 3;
/// An answer is asked for again by the next connection after so long.
const FRESH: Duration = Duration::from_secs(60);

/// What is known of a neighbour.
#[derive(Debug)]
struct Neighbour {
    mac: Option<Mac>,
    /// When the answer came.
    known: Instant,
    /// Questions that are out without an answer, and when the last went out; `NEVER` before the first.
    questions: u8,
    asked: Instant,
    /// Connections that cannot send before.
    waiting: Vec<u32>,
}

/// What a turn of the table wants done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Ask for an address.
    Ask(Address),
    /// A neighbour does not answer; these connections wait for it, if they still do.
    GiveUp(Address, Vec<u32>),
}

/// The table. Only addresses that a connection was opened to are in it.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    /// The keys are our own choice, not a stranger's.
    table: HashMap<Address, Neighbour>,
    /// Entries that await an answer.
    asking: Vec<Address>,
}

impl Neighbours {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether nobody waits for an answer.
    pub(crate) fn is_quiet(&self) -> bool {
        self.asking.is_empty()
    }

    /// The neighbour's link address for the connection `index`; if it is not known, `index` waits until [`Neighbours::answer`]
    /// or [`Wish::GiveUp`] names it. Returns `Err` if the table is full.
    pub(crate) fn find(
        &mut self,
        now: Instant,
        ip: Address,
        index: u32,
    ) -> Result<Option<Mac>, ()> {
        if !self.table.contains_key(&ip) && self.table.len() >= MOST && !self.evict() {
            return Err(());
        }
        let neighbour = self.table.entry(ip).or_insert_with(|| Neighbour {
            mac: None,
            known: Instant::default(),
            questions: 0,
            asked: Instant::NEVER,
            waiting: Vec::new(),
        });
        let fresh = neighbour.mac.is_some() && now.since(neighbour.known) < FRESH;
        if !fresh && !self.asking.contains(&ip) {
            self.asking.push(ip);
        }
        if neighbour.mac.is_none() {
            neighbour.waiting.push(index);
        }
        Ok(neighbour.mac)
    }

    /// Forgets an entry that nobody waits for.
    fn evict(&mut self) -> bool {
        let asking = &self.asking;
        let idle = |ip: &&Address| !asking.contains(ip);
        let found = self.table.keys().find(idle).copied();
        found.is_some_and(|ip| self.table.remove(&ip).is_some())
    }

    /// Takes what a neighbour says of itself. Returns those who waited for it; `None` if nobody had asked.
    pub(crate) fn answer(&mut self, now: Instant, ip: Address, mac: Mac) -> Option<Vec<u32>> {
        let place = self.asking.iter().position(|asked| *asked == ip)?;
        let neighbour = self.table.get_mut(&ip)?;
        if neighbour.questions == 0 {
            return None;
        }
        self.asking.swap_remove(place);
        (neighbour.mac, neighbour.known) = (Some(mac), now);
        (neighbour.questions, neighbour.asked) = (0, Instant::NEVER);
        Some(std::mem::take(&mut neighbour.waiting))
    }

    /// What is to be done now; `None` if nothing is.
    pub(crate) fn wish(&mut self, now: Instant) -> Option<Wish> {
        let is_due =
            |neighbour: &Neighbour| neighbour.questions == 0 || now.since(neighbour.asked) >= PAUSE;
        let place = self
            .asking
            .iter()
            .position(|ip| self.table.get(ip).is_none_or(is_due))?;
        let ip = self.asking[place];
        match self.table.get_mut(&ip) {
            Some(neighbour) if neighbour.questions < QUESTIONS => {
                neighbour.questions += 1;
                neighbour.asked = now;
                Some(Wish::Ask(ip))
            }
            _ => {
                self.asking.swap_remove(place);
                let gone = self.table.remove(&ip);
                Some(Wish::GiveUp(
                    ip,
                    gone.map_or_else(Vec::new, |gone| gone.waiting),
                ))
            }
        }
    }

    /// When there is something to do next.
    pub(crate) fn due(&self) -> Option<Instant> {
        let due = |ip: &Address| {
            let neighbour = self.table.get(ip)?;
            let asked = neighbour.questions > 0;
            Some(if asked {
                neighbour.asked + PAUSE
            } else {
                Instant::default()
            })
        };
        self.asking.iter().filter_map(due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn ip(last: u16) -> Address {
        let [high, low] = last.to_be_bytes();
        Address::v4([10, 0, high, low])
    }

    const MAC: Mac = Mac([2; 6]);

    #[test]
    fn a_neighbour_is_asked_once_a_second_three_times() {
        let mut table = Neighbours::default();
        assert_eq!(table.find(at(0), ip(1), 7), Ok(None));
        assert_eq!(table.find(at(1), ip(1), 8), Ok(None));
        for second in 0..3 {
            assert_eq!(table.wish(at(second * 1000)), Some(Wish::Ask(ip(1))));
            assert_eq!(table.wish(at(second * 1000 + 999)), None);
            assert_eq!(table.due(), Some(at(second * 1000 + 1000)));
        }
        assert_eq!(table.wish(at(3000)), Some(Wish::GiveUp(ip(1), vec![7, 8])));
        assert_eq!(
            (table.wish(at(9000)), table.due(), table.len()),
            (None, None, 0)
        );
    }

    #[test]
    fn only_answers_to_our_questions_count() {
        let mut table = Neighbours::default();
        assert_eq!(table.answer(at(0), ip(1), MAC), None);
        assert_eq!(table.find(at(0), ip(1), 7), Ok(None));
        // Not asked yet, and another's.
        assert_eq!(table.answer(at(0), ip(1), MAC), None);
        assert_eq!(table.wish(at(0)), Some(Wish::Ask(ip(1))));
        assert_eq!(table.answer(at(0), ip(2), MAC), None);
        assert_eq!(table.answer(at(5), ip(1), MAC), Some(vec![7]));
        // The first answer stands.
        assert_eq!(table.answer(at(6), ip(1), Mac([4; 6])), None);
        assert_eq!(table.find(at(10), ip(1), 8), Ok(Some(MAC)));
        assert_eq!(table.wish(at(10)), None);
        // After a minute it is confirmed, and used meanwhile; if there is no answer it is forgotten.
        assert_eq!(table.find(at(70_000), ip(1), 9), Ok(Some(MAC)));
        assert_eq!(table.wish(at(70_000)), Some(Wish::Ask(ip(1))));
        for second in 71..73 {
            assert_eq!(table.wish(at(second * 1000)), Some(Wish::Ask(ip(1))));
        }
        assert_eq!(
            table.wish(at(73_000)),
            Some(Wish::GiveUp(ip(1), Vec::new()))
        );
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut table = Neighbours::default();
        for number in 0..1024 {
            assert_eq!(table.find(at(0), ip(number), 0), Ok(None));
            table.wish(at(0));
        }
        assert_eq!(table.find(at(0), ip(2000), 0), Err(()));
        table.answer(at(1), ip(5), MAC);
        assert_eq!(table.find(at(0), ip(2000), 0), Ok(None));
        assert_eq!(table.len(), 1024);
    }
}
