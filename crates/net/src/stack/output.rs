//! What goes out: connections that were touched, timers, questions for neighbours.

use spinlane_tcp::{Segment, State, Tcb};

use super::Core;
use super::replies::{ALL_NODES, Sender};
use crate::address::{Address, Mac, Tuple};
use crate::arp::Op;
use crate::flow::{Life, Owner};
use crate::frame_io::FrameIo;
use crate::neighbours::Wish;

impl Core {
    /// Does what is due, and lets every connection that was touched speak.
    pub(super) fn turn(&mut self, io: &mut impl FrameIo) {
        if !std::mem::replace(&mut self.announced, true) {
            self.announce(io);
        }
        self.timers();
        let mut touched = std::mem::take(&mut self.touched);
        for index in touched.drain(..) {
            if std::mem::take(&mut self.flows.at(index).touched) {
                self.settle(io, index);
            }
        }
        self.touched = touched;
        self.ask(io);
        let hash = self.hash.clone();
        self.time_wait
            .expire(self.now, &|tuple: &Tuple| hash.of(tuple));
    }

    /// Tells the link where we are (RFC 5227, section 3; RFC 4861, section 7.2.6).
    fn announce(&mut self, io: &mut impl FrameIo) {
        for ours in self.ours.clone() {
            if ours.is_v4() {
                self.send_arp(io, Op::Request, Mac::BROADCAST, (ours, ours));
            } else {
                self.advertise(io, 0x20, (Mac::ALL_NODES, ALL_NODES), ours);
            }
        }
    }

    fn ask(&mut self, io: &mut impl FrameIo) {
        while !self.neighbours.is_quiet()
            && let Some(wish) = self.neighbours.wish(self.now)
        {
            match wish {
                Wish::Ask(target) => {
                    let Some(ours) = self.config.source(target.ip()).map(Address::from) else {
                        continue;
                    };
                    self.counters.questions += 1;
                    if target.is_v4() {
                        self.send_arp(io, Op::Request, Mac::BROADCAST, (ours, target));
                    } else {
                        self.solicit(io, ours, target);
                    }
                }
                Wish::GiveUp(hop, waiting) => {
                    for index in waiting {
                        if self.waits_for(index, hop) {
                            self.unreachable(index);
                        }
                    }
                }
            }
        }
    }

    /// The neighbour of a connection does not answer.
    fn unreachable(&mut self, index: u32) {
        self.counters.drop_for(crate::Reason::Unresolved);
        let flow = self.flows.at(index);
        flow.unresolved = false;
        if let Life::Busy(busy) = &mut flow.life {
            busy.tcb.give_up();
        }
        self.closed(index);
    }

    fn timers(&mut self) {
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.advance(self.now, |index| fired.push(index));
        for index in fired.drain(..) {
            self.timer(index);
        }
        self.fired = fired;
    }

    /// A connection's timer has fired: it is settled in this turn, which sets it anew.
    fn timer(&mut self, index: u32) {
        let (now, config) = (self.now, &self.config);
        let flow = self.flows.at(index);
        let Life::Busy(busy) = &mut flow.life else {
            return;
        };
        match flow.owner {
            Owner::HalfOpen(_) if busy.since + config.handshake_timeout <= now => {
                // Nobody is told: a flood's senders never asked.
                self.counters.half_open_expired += 1;
                self.half_open -= 1;
                return self.flows.remove(index);
            }
            Owner::Nobody if busy.since + config.orphan_timeout <= now => {
                self.counters.orphans_expired += 1;
                busy.tcb.abort();
            }
            Owner::Application if may_rest(&busy.tcb) => {
                if let Some(resting) = busy.tcb.rest(now) {
                    flow.life = Life::Resting(resting);
                    self.counters.rested += 1;
                    return;
                }
            }
            _ => {}
        }
        self.touch(index);
    }

    /// Lets a connection speak, and sets its timer.
    fn settle(&mut self, io: &mut impl FrameIo, index: u32) {
        let now = self.now;
        let flow = self.flows.at(index);
        let (tuple, mac, owner) = (flow.tuple, flow.mac, flow.owner);
        if flow.unresolved {
            return;
        }
        let Life::Busy(busy) = &mut flow.life else {
            return;
        };
        let mut sender = Sender {
            io,
            mac: self.config.mac,
            checksums: !self.caps.tx_checksums,
            counters: &mut self.counters,
        };
        busy.tcb
            .output(now, &mut |segment: &Segment, payload: [&[u8]; 2]| {
                sender.segment(&tuple, mac, segment, payload);
            });
        self.counters.repaired(&busy.tcb.take_repairs());
        match busy.tcb.state() {
            State::Closed => return self.closed(index),
            State::TimeWait if owner == Owner::Nobody => return self.wait_out(index),
            _ => {}
        }
        let own = match owner {
            Owner::HalfOpen(_) => Some(busy.since + self.config.handshake_timeout),
            Owner::Nobody => Some(busy.since + self.config.orphan_timeout),
            Owner::Backlog => None,
            Owner::Application if may_rest(&busy.tcb) => Some(now + self.config.rest_after),
            Owner::Application => None,
        };
        let due = busy.tcb.due().into_iter().chain(own).min();
        self.wheel.set(index, due);
    }

    /// A connection is over: its tuple is free, and the application, if there is one, may look at the end.
    pub(super) fn closed(&mut self, index: u32) {
        self.wheel.set(index, None);
        self.flows.unhash(index);
        match self.flows.at(index).owner {
            Owner::HalfOpen(_) => {
                self.half_open -= 1;
                self.flows.remove(index);
            }
            Owner::Nobody => self.flows.remove(index),
            Owner::Application => self.mark_ready(index),
            Owner::Backlog => {}
        }
    }

    /// A connection is in TIME-WAIT and nobody reads it any more: its key is enough.
    fn wait_out(&mut self, index: u32) {
        self.wheel.set(index, None);
        let hash = self.hash.clone();
        let flow = self.flows.at(index);
        if let Life::Busy(busy) = &flow.life {
            let about = (flow.tuple, flow.mac);
            let hash = |tuple: &Tuple| hash.of(tuple);
            let evicted = self.time_wait.insert(self.now, about, &busy.tcb, &hash);
            self.counters.time_wait_evicted += u64::from(evicted);
        }
        self.flows.remove(index);
    }
}

/// Whether a connection has nothing to do, and its state nothing to wait for but the peer's next data.
fn may_rest(tcb: &Tcb) -> bool {
    tcb.due().is_none() && tcb.readable() == 0 && tcb.state() == State::Established
}
