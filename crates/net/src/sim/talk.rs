//! An application's end of a connection: sends bytes that follow from their position, checks those that come.

use spinlane_tcp::End;

use super::station::Station;

/// What an application is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    pub(super) to_send: u64,
    pub(super) expected: u64,
    /// Takes so many bytes at a time; the rest waits.
    pub(super) appetite: usize,
    /// Reads nothing between these moments.
    pub(super) asleep: (u64, u64),
    /// Sends the second half of its bytes not before then.
    pub(super) thinks_until: u64,
    /// Gives up then.
    pub(super) patience: u64,
    /// Aborts then.
    pub(super) abort_at: Option<u64>,
}

/// One end of a conversation.
#[derive(Debug)]
pub(super) struct Talk {
    /// What the connection is called by its station.
    name: usize,
    /// What the bytes are made of.
    key: u64,
    habits: Habits,
    sent: u64,
    pub(super) got: u64,
    /// Where the first wrong byte stands.
    pub(super) wrong: Option<u64>,
    closed: bool,
    pub(super) end: Option<End>,
    /// The defect of an application that does not let go.
    pub(super) keeps: bool,
}

fn byte_at(key: u64, position: u64) -> u8 {
    ((position + key).wrapping_mul(0x9e37_79b9) >> 13).to_le_bytes()[0]
}

impl Talk {
    pub(super) fn new(name: usize, key: u64, habits: Habits) -> Self {
        Self {
            name,
            key,
            habits,
            sent: 0,
            got: 0,
            wrong: None,
            closed: false,
            end: None,
            keeps: false,
        }
    }

    /// Whether the application is done with it.
    pub(super) fn is_over(&self) -> bool {
        self.end.is_some()
    }

    /// Whether all was sent and came.
    pub(super) fn is_whole(&self) -> bool {
        (self.sent, self.got) == (self.habits.to_send, self.habits.expected)
    }

    fn appetite(&self, now: u64) -> usize {
        let (from, to) = self.habits.asleep;
        if (from..to).contains(&now) {
            0
        } else {
            self.habits.appetite
        }
    }

    fn read(&mut self, now: u64, station: &mut dyn Station) {
        let (key, appetite) = (self.key, self.appetite(now));
        let (got, wrong) = (&mut self.got, &mut self.wrong);
        station.read(self.name, &mut |bytes| {
            let some = bytes.len().min(appetite);
            for byte in &bytes[..some] {
                // The two directions differ.
                if *byte != byte_at(key ^ 1, *got) {
                    wrong.get_or_insert(*got);
                }
                *got += 1;
            }
            some
        });
    }

    fn write(&mut self, now: u64, station: &mut dyn Station) {
        let goal = match self.habits {
            Habits {
                to_send,
                thinks_until,
                ..
            } if now < thinks_until => to_send / 2,
            Habits { to_send, .. } => to_send,
        };
        while self.sent < goal {
            let end = goal.min(self.sent + 3000);
            let bytes: Vec<u8> = (self.sent..end).map(|at| byte_at(self.key, at)).collect();
            let taken = station.write(self.name, &bytes);
            self.sent += taken as u64;
            if taken == 0 {
                break;
            }
        }
    }

    /// The application's turn. Returns when it wants the next one.
    pub(super) fn turn(&mut self, now: u64, station: &mut dyn Station) -> Option<u64> {
        if self.is_over() {
            return None;
        }
        let name = self.name;
        self.read(now, station);
        self.write(now, station);
        if self.sent == self.habits.to_send && station.is_up(name) && !self.closed {
            self.closed = true;
            station.close(name);
        }
        if self.habits.abort_at.is_some_and(|at| at <= now) {
            station.abort(name);
            self.end = Some(End::Aborted);
            return None;
        }
        if self.habits.patience <= now {
            station.abort(name);
            self.end = Some(End::TimedOut);
            return None;
        }
        let drained = station.readable(name) == 0;
        let finished = self.closed && station.peer_finished(name) && drained;
        let end = station.end(name).filter(|_| drained);
        let end = end.or((finished && station.unacknowledged(name) == 0).then_some(End::Closed));
        if end.is_some() {
            self.end = end;
            if !self.keeps {
                station.release(name);
            }
            return None;
        }
        let next = match self.appetite(now) {
            0 => self.habits.asleep.1,
            _ => now + 10_000,
        };
        let reads = (!drained).then_some(next.max(now + 1));
        let thinks = Some(self.habits.thinks_until).filter(|until| now < *until);
        let gives_up = Some(self.habits.patience);
        let times = [reads, thinks, gives_up, self.habits.abort_at];
        times.into_iter().flatten().min()
    }
}
