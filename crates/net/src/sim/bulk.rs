//! A long transfer between two stacks over a wire that loses frames, in virtual time: how fast it is, and for what it waits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use spinlane_tcp::Instant;

use super::frames;
use super::plan::{MACS, Setup};
use super::port::Port;
use super::rng::Rng;
use crate::config::Config;
use crate::counters::Counters;
use crate::flow::FlowId;
use crate::stack::Stack;

/// Nanoseconds that a byte takes: 10 Gbit/s.
const NS_PER_BYTE: f64 = 0.8;
/// Virtual seconds after which a transfer will not end any more.
const LONGEST_S: u64 = 3600;

/// A transfer.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// How much is sent.
    pub bytes: usize,
    /// Time from one station to the other, in microseconds.
    pub delay_us: u64,
    /// Up to so many more, each frame its own: frames overtake each other.
    pub jitter_us: u64,
    /// Frames come in bursts, every so many microseconds: the acknowledgements are few. 1 for none.
    pub gather_us: u64,
    /// Out of 10,000 frames, in either direction, so many are lost once the connection is up.
    pub loss: u64,
    /// What losses follow from.
    pub seed: u64,
}

/// What ended a pause of the sender's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A time-out.
    Timeout,
    /// A tail loss probe was due.
    Probe,
    /// Another timer: segments that might have been overtaken are lost.
    Reordering,
    /// A frame came, later than a round trip after all that was sent.
    Frame,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Timeout, Self::Probe, Self::Reordering, Self::Frame];
}

/// How a transfer went.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// From the first byte sent to the last that came.
    pub micros: u64,
    /// Of the sender's stack.
    pub counters: Counters,
    /// Frames lost by the wire.
    pub lost: u64,
    /// Microseconds of pauses beyond 1.5 round trips, by [`Cause`].
    pub idle_us: [u64; Cause::ALL.len()],
}

impl Transfer {
    /// Megabytes per second.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn speed(&self, bytes: usize) -> f64 {
        bytes as f64 / self.micros.max(1) as f64
    }

    /// Microseconds of pauses that `cause` ended.
    pub fn idle(&self, cause: Cause) -> u64 {
        self.idle_us[cause as usize]
    }
}

/// When it arrives, a number that makes the order definite, for whom, and what.
type Packet = (u64, u64, usize, Vec<u8>);

/// What is between the stations.
struct Wire {
    bulk: Bulk,
    rng: Rng,
    packets: BinaryHeap<Reverse<Packet>>,
    number: u64,
    /// Nanoseconds at which a direction is free.
    free: [f64; 2],
    losing: bool,
    lost: u64,
}

impl Wire {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "hours in nanoseconds are exact"
    )]
    fn carry(&mut self, now: u64, from: usize, frame: Vec<u8>) {
        let begins = self.free[from].max(now as f64 * 1000.0);
        self.free[from] = begins + frame.len() as f64 * NS_PER_BYTE;
        if self.losing && self.rng.chance(self.bulk.loss) {
            self.lost += 1;
            return;
        }
        let late = self.rng.below(self.bulk.jitter_us + 1);
        let at = (self.free[from] / 1000.0).ceil() as u64 + self.bulk.delay_us + late;
        let at = at.next_multiple_of(self.bulk.gather_us);
        self.number += 1;
        self.packets
            .push(Reverse((at, self.number, 1 - from, frame)));
    }

    fn arrivals(&mut self, now: u64, side: usize) -> Vec<Vec<u8>> {
        let mut arrived = Vec::new();
        while self
            .packets
            .peek()
            .is_some_and(|Reverse(first)| first.0 <= now && first.2 == side)
            && let Some(Reverse(packet)) = self.packets.pop()
        {
            arrived.push(packet.3);
        }
        arrived
    }
}

fn byte_at(position: usize) -> u8 {
    (position.wrapping_mul(0x9e37_79b9) >> 13).to_le_bytes()[0]
}

fn stack(setup: &Setup, side: usize) -> Stack<Port> {
    let config = Config::new(MACS[side], setup.interface(side), [7; 48]);
    Stack::new(config, Port::new(setup.mtu)).unwrap_or_else(|error| panic!("{error}"))
}

/// One end of the transfer, the sender's at 0.
struct Ends {
    stacks: [Stack<Port>; 2],
    ids: [Option<FlowId>; 2],
    sent: usize,
    got: usize,
}

impl Bulk {
    /// Runs the transfer to its end.
    ///
    /// # Errors
    /// A byte is wrong, or the transfer does not end.
    pub fn run(self) -> Result<Transfer, String> {
        let setup = Setup::quiet(false, self.delay_us, 1);
        let mut ends = Ends {
            stacks: [stack(&setup, 0), stack(&setup, 1)],
            ids: [None; 2],
            sent: 0,
            got: 0,
        };
        let to = SocketAddr::new(setup.address(1), 443);
        let listener = ends.stacks[1]
            .listen(to)
            .map_err(|error| error.to_string())?;
        let connected = ends.stacks[0].connect(to);
        ends.ids[0] = Some(connected.map_err(|error| error.to_string())?);
        let mut wire = Wire {
            bulk: self,
            rng: Rng::new(self.seed),
            packets: BinaryHeap::new(),
            number: 0,
            free: [0.0; 2],
            losing: false,
            lost: 0,
        };
        let mut pauses =
            Pauses::new(3 * self.delay_us + 2 * (self.jitter_us + self.gather_us) + 100);
        let (mut now, mut begun) = (1_000_000, None);
        while ends.got < self.bytes {
            let mut next = None;
            for side in 0..2 {
                let arrived = wire.arrivals(now, side);
                let came = !arrived.is_empty();
                let stack = &mut ends.stacks[side];
                stack.io().arrived.extend(arrived);
                while stack.receive(Instant::from_micros(now), |_, _| 0) > 0 {}
                if side == 1 && ends.ids[1].is_none() {
                    ends.ids[1] = ends.stacks[1].accept(listener);
                }
                ends.work(side, self.bytes)?;
                let stack = &mut ends.stacks[side];
                stack.transmit(Instant::from_micros(now));
                let frames = std::mem::take(&mut stack.io().sent);
                if side == 0 {
                    let has_data = |frame: &Vec<u8>| {
                        frames::parse(frame).is_some_and(|(_, parsed)| !parsed.payload.is_empty())
                    };
                    pauses.turn(now, came, frames.iter().any(has_data), stack.counters());
                }
                next = [next, stack.due().map(Instant::micros)]
                    .into_iter()
                    .flatten()
                    .min();
                for frame in frames {
                    wire.carry(now, side, frame);
                }
            }
            if ends.sent > 0 && begun.is_none() {
                begun = Some(now);
                wire.losing = true;
            }
            let arrival = wire.packets.peek().map(|Reverse(packet)| packet.0);
            let times = [next, arrival];
            let Some(next) = times.into_iter().flatten().min() else {
                return Err(format!("at {now} us nothing is left to wait for"));
            };
            now = now.max(next);
            if now > LONGEST_S * 1_000_000 {
                return Err(format!(
                    "{} of {} bytes after an hour",
                    ends.got, self.bytes
                ));
            }
        }
        Ok(Transfer {
            micros: now - begun.unwrap_or(now),
            counters: ends.stacks[0].counters().clone(),
            lost: wire.lost,
            idle_us: pauses.idle_us,
        })
    }
}

impl Ends {
    /// The application's turn: as much as there is room for, as much as has come.
    fn work(&mut self, side: usize, bytes: usize) -> Result<(), String> {
        let stack = &mut self.stacks[side];
        while stack.next_ready().is_some() {}
        let Some(id) = self.ids[side] else {
            return Ok(());
        };
        if side == 0 {
            while self.sent < bytes {
                let some: Vec<u8> = (self.sent..bytes.min(self.sent + 16_384))
                    .map(byte_at)
                    .collect();
                let taken = stack.write(id, &some);
                self.sent += taken;
                if taken < some.len() {
                    break;
                }
            }
            return Ok(());
        }
        let from = self.got;
        let mut wrong = None;
        self.got += stack.read(id, |parts| {
            let all = parts.into_iter().flatten();
            let at = all.zip(from..).position(|(byte, at)| *byte != byte_at(at));
            wrong = at.map(|at| from + at);
            parts[0].len() + parts[1].len()
        });
        wrong.map_or(Ok(()), |at| Err(format!("byte {at} is wrong")))
    }
}

/// The sender's pauses.
struct Pauses {
    longer_than: u64,
    last: Option<u64>,
    timeouts: u64,
    probes: u64,
    idle_us: [u64; Cause::ALL.len()],
}

impl Pauses {
    fn new(longer_than: u64) -> Self {
        Self {
            longer_than,
            last: None,
            timeouts: 0,
            probes: 0,
            idle_us: [0; Cause::ALL.len()],
        }
    }

    fn turn(&mut self, now: u64, came: bool, sends: bool, counters: &Counters) {
        let timeouts = counters.timeouts - std::mem::replace(&mut self.timeouts, counters.timeouts);
        let probes = counters.probes - std::mem::replace(&mut self.probes, counters.probes);
        if !sends {
            return;
        }
        let pause = now - self.last.replace(now).unwrap_or(now);
        let cause = match (timeouts, probes) {
            (1.., _) => Cause::Timeout,
            (0, 1..) => Cause::Probe,
            _ if came => Cause::Frame,
            _ => Cause::Reordering,
        };
        if pause > self.longer_than {
            self.idle_us[cause as usize] += pause;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 3_000_000;

    fn run(delay_us: u64, gather_us: u64, loss: u64, seed: u64) -> Transfer {
        let bulk = Bulk {
            bytes: BYTES,
            delay_us,
            jitter_us: 0,
            gather_us,
            loss,
            seed,
        };
        bulk.run()
            .unwrap_or_else(|error| panic!("{bulk:?}: {error}"))
    }

    /// At 1 % no loss waits for a time-out, however few acknowledgements there are; at 3 % next to none does.
    #[test]
    fn losses_do_not_wait_for_time_outs() {
        for (delay_us, gather_us) in [(20, 50), (50, 1), (50, 200), (500, 1), (10_000, 1)] {
            for (loss, most) in [(100, 0), (300, 1)] {
                let transfers: Vec<_> = (0..4)
                    .map(|seed| run(delay_us, gather_us, loss, seed))
                    .collect();
                let sum = |count: fn(&Transfer) -> u64| transfers.iter().map(count).sum::<u64>();
                let at = format!("{delay_us} us, {gather_us} us, {loss}");
                assert!(sum(|one| one.lost) > loss / 2, "{at}");
                assert!(sum(|one| one.counters.recoveries) > loss / 4, "{at}");
                let timeouts = sum(|one| one.counters.timeouts);
                assert!(timeouts <= most, "{at}: {timeouts} time-outs");
            }
        }
    }

    #[test]
    fn what_loses_nothing_sends_nothing_twice() {
        for (delay_us, gather_us) in [(20, 50), (500, 1), (10_000, 1)] {
            let transfer = run(delay_us, gather_us, 0, 1);
            assert_eq!(transfer.counters.retransmissions, 0, "{transfer:?}");
            assert_eq!(transfer.idle_us, [0; 4], "{transfer:?}");
        }
    }

    #[test]
    fn a_transfer_replays_exactly() {
        let micros = |seed| run(50, 1, 300, seed).micros;
        assert_eq!(micros(5), micros(5));
        assert_ne!(micros(5), micros(6));
    }
}
