//! What a frame does.

use spinlane_tcp::segment::{self, Segment};
use spinlane_tcp::{Flags, State, Tcb};
use std::time::Duration;

use super::replies::Reply;
use super::{Core, FlowId};
use crate::address::{Address, Mac, Tuple};
use crate::arp::{self, Op};
use crate::counters::Reason;
use crate::ethernet;
use crate::flow::{Busy, Life, Owner};
use crate::frame_io::Frame;
use crate::icmp::{self, Message};
use crate::ip::{self, Packet};
use crate::time_wait::Meaning;

/// Cookies are taken for so long after the last was sent: they are valid for no longer.
const COOKIES: Duration = Duration::from_secs(120);
/// After a connection in TIME-WAIT a new one's numbers begin so far ahead of where the old one's ended.
const NUMBERS_APART: u32 = 1 << 17;

type Deliver<'a> = &'a mut dyn FnMut(FlowId, &[u8]) -> usize;

/// A segment, and where it came from.
struct Arrival<'a> {
    tuple: Tuple,
    mac: Mac,
    segment: Segment,
    payload: &'a [u8],
}

impl Core {
    /// Takes a frame, or drops it for a reason that is counted.
    pub(super) fn frame(&mut self, frame: &Frame<'_>, deliver: Deliver<'_>) {
        if let Err(reason) = self.take(frame, deliver) {
            self.counters.drop_for(reason);
        }
    }

    fn take(&mut self, frame: &Frame<'_>, deliver: Deliver<'_>) -> Result<(), Reason> {
        let ethernet = ethernet::parse(frame.bytes)?;
        let is_ours = ethernet.to == self.config.mac;
        if !is_ours && !ethernet.to.is_multicast() {
            return Err(Reason::NotOurs);
        }
        let packet = match ethernet.kind {
            ethernet::ARP => return self.arp(ethernet.payload),
            ethernet::IPV4 => ip::parse_v4(ethernet.payload, frame.checked)?,
            ethernet::IPV6 => ip::parse_v6(ethernet.payload)?,
            _ => return Err(Reason::Protocol),
        };
        let probes = packet.from.0 == [0; 16] && packet.protocol == ip::ICMPV6;
        if !(packet.from.is_station() || probes) || self.is_ours(packet.from) {
            return Err(Reason::BadSource);
        }
        match packet.protocol {
            // Only neighbour discovery is for groups.
            ip::ICMPV6 if !packet.from.is_v4() => self.icmp(&packet, ethernet.from),
            _ if !is_ours || !self.is_ours(packet.to) => Err(Reason::NotOurs),
            ip::TCP => self.tcp_packet(&packet, ethernet.from, frame.checked, deliver),
            ip::ICMP if packet.from.is_v4() => self.icmp(&packet, ethernet.from),
            _ => Err(Reason::Protocol),
        }
    }

    // Neighbours.

    fn arp(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let arp = arp::parse(bytes)?;
        if self.is_ours(arp.sender) {
            return Err(Reason::BadSource);
        }
        if !self.is_ours(arp.target) {
            return Err(Reason::NotOurs);
        }
        match arp.op {
            Op::Reply => self.neighbour(arp.sender, arp.sender_mac),
            Op::Request => {
                self.permit(|limits| &mut limits.neighbour)?;
                self.replies.push(Reply::Arp {
                    to: arp.sender_mac,
                    asker: arp.sender,
                    ours: arp.target,
                });
                Ok(())
            }
        }
    }

    /// A neighbour has answered a question.
    fn neighbour(&mut self, ip: Address, mac: Mac) -> Result<(), Reason> {
        let answered = self.neighbours.answer(self.now, ip, mac);
        for index in answered.ok_or(Reason::Unasked)? {
            if self.waits_for(index, ip) {
                let flow = self.flows.at(index);
                (flow.unresolved, flow.mac) = (false, mac);
                self.touch(index);
            }
        }
        Ok(())
    }

    /// Whether a connection waits for this neighbour's address: it may have taken the place of the one that did.
    pub(super) fn waits_for(&mut self, index: u32, hop: Address) -> bool {
        let flow = self.flows.at(index);
        let its_hop = self.config.next_hop(flow.tuple.remote.ip());
        flow.unresolved && its_hop.map(Address::from) == Some(hop)
    }

    fn permit(
        &mut self,
        of: impl FnOnce(&mut super::Limits) -> &mut crate::limiter::Limiter,
    ) -> Result<(), Reason> {
        let allowed = of(&mut self.limits).allow(self.now);
        if allowed {
            Ok(())
        } else {
            Err(Reason::Limited)
        }
    }

    fn icmp(&mut self, packet: &Packet<'_>, mac: Mac) -> Result<(), Reason> {
        match icmp::parse(packet)? {
            Message::Echo(body) => {
                if !self.is_ours(packet.to) || !packet.from.is_station() {
                    return Err(Reason::NotOurs);
                }
                self.permit(|limits| &mut limits.echo)?;
                self.replies.push(Reply::Echo {
                    to: mac,
                    from: packet.to,
                    asker: packet.from,
                    body: body.into(),
                });
                Ok(())
            }
            Message::TooBig { .. } if !self.is_ours(packet.to) => Err(Reason::NotOurs),
            Message::TooBig { mtu, tuple, seq } => self.too_big(mtu, &tuple, seq),
            Message::Solicit { target, link } => {
                if !self.is_ours(target) {
                    return Err(Reason::NotOurs);
                }
                self.permit(|limits| &mut limits.neighbour)?;
                // Who probes whether the address is taken has none: everybody hears the answer.
                let (to, asker) = match link {
                    Some(link) if packet.from.is_station() => (link, packet.from),
                    _ if packet.from.is_station() => (mac, packet.from),
                    _ => (Mac::ALL_NODES, super::replies::ALL_NODES),
                };
                let ours = target;
                self.replies.push(Reply::Advertise { to, asker, ours });
                Ok(())
            }
            Message::Advertise {
                target,
                link,
                solicited,
            } => {
                if !solicited || !self.is_ours(packet.to) {
                    return Err(Reason::Unasked);
                }
                self.neighbour(target, link)
            }
        }
    }

    /// RFC 5927, section 4.1 and 7.2: believed if it names a number in flight, and a size that a link may have.
    fn too_big(&mut self, mtu: u32, tuple: &Tuple, seq: spinlane_tcp::Seq) -> Result<(), Reason> {
        // RFC 1191's least plateau that is met in practice; RFC 8200's least.
        let least = if tuple.local.is_v4() { 552 } else { 1280 };
        let headers = if tuple.local.is_v4() { 40 } else { 60 };
        let index = self.flows.find(tuple).ok_or(Reason::IcmpDisbelieved)?;
        let Life::Busy(busy) = &mut self.flows.at(index).life else {
            return Err(Reason::IcmpDisbelieved);
        };
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        if mtu < least || mtu >= self.caps.mtu || !busy.tcb.is_outstanding(seq) {
            return Err(Reason::IcmpDisbelieved);
        }
        busy.tcb.set_mss(mtu - headers);
        self.counters.too_big += 1;
        self.touch(index);
        Ok(())
    }

    // TCP.

    fn tcp_packet(
        &mut self,
        packet: &Packet<'_>,
        mac: Mac,
        checked: bool,
        deliver: Deliver<'_>,
    ) -> Result<(), Reason> {
        let Packet {
            from, to, payload, ..
        } = *packet;
        let pseudo = || ip::pseudo_header(from, to, ip::TCP, payload.len());
        if !checked && !pseudo().add(payload).is_right() {
            return Err(Reason::Checksum);
        }
        let parsed = segment::parse(payload).map_err(|_| Reason::BadSegment)?;
        let tuple = Tuple {
            local: to,
            remote: from,
            local_port: parsed.to,
            remote_port: parsed.from,
        };
        let flags = parsed.segment.flags;
        let contradicts = flags.has(Flags::SYN) && (flags.has(Flags::FIN) || flags.has(Flags::RST));
        if contradicts || parsed.from == 0 || parsed.to == 0 {
            return Err(Reason::BadFlags);
        }
        let arrival = Arrival {
            tuple,
            mac,
            segment: parsed.segment,
            payload: parsed.payload,
        };
        match self.flows.find(&tuple) {
            Some(index) if !self.is_usurped(index, &arrival) => {
                self.flow_segment(index, &arrival, deliver)
            }
            _ => self.strange_segment(&arrival, deliver),
        }
    }

    /// Whether a half-open connection, made by somebody else's SYN, stands where a client answers to a cookie. It is then forgotten.
    fn is_usurped(&mut self, index: u32, arrival: &Arrival<'_>) -> bool {
        let Arrival { tuple, segment, .. } = arrival;
        let half_open = matches!(self.flows.at(index).owner, Owner::HalfOpen(_));
        if !half_open || !segment.flags.has(Flags::ACK) || !self.takes_cookies(segment.flags) {
            return false;
        }
        let numbers = |tcb: &Tcb| (tcb.next(), tcb.expects()) == (segment.ack, segment.seq);
        if self.flows.at(index).tcb().is_some_and(numbers) {
            return false;
        }
        let usurped = self.cookies.take(self.now, tuple, segment).is_some();
        if usurped {
            self.half_open -= 1;
            self.wheel.set(index, None);
            self.flows.remove(index);
        }
        usurped
    }

    /// A segment of a connection.
    fn flow_segment(
        &mut self,
        index: u32,
        arrival: &Arrival<'_>,
        deliver: Deliver<'_>,
    ) -> Result<(), Reason> {
        self.wake(index);
        let (id, now) = (self.flows.id(index), self.now);
        let limit = self.config.send_limit;
        let flow = self.flows.at(index);
        let owner = flow.owner;
        let Life::Busy(busy) = &mut flow.life else {
            return Err(Reason::NoConnection);
        };
        let tcb = &mut busy.tcb;
        let before = (tcb.state(), tcb.expects(), tcb.unacknowledged());
        let mut is_lost = false;
        tcb.segment(
            now,
            &arrival.segment,
            arrival.payload,
            |bytes| match owner {
                Owner::Application => deliver(id, bytes),
                Owner::Nobody => {
                    is_lost = true;
                    bytes.len()
                }
                Owner::HalfOpen(_) | Owner::Backlog => 0,
            },
        );
        if is_lost {
            // Nobody will read it, and its sender should know (RFC 9293, section 3.6.1).
            tcb.abort();
        }
        let after = (tcb.state(), tcb.expects(), tcb.unacknowledged());
        if before != after && !flow.unresolved {
            // The peer, which knows the numbers, may have moved.
            flow.mac = arrival.mac;
        }
        let has_room = flow.wants_room && after.2 <= limit / 2;
        if before.0 != after.0 || before.1 != after.1 || has_room {
            self.mark_ready(index);
        }
        self.touch(index);
        self.changed(index, before.0, after.0);
        Ok(())
    }

    /// What a new state means for the table.
    fn changed(&mut self, index: u32, before: State, after: State) {
        if before == after {
            return;
        }
        let opening = matches!(before, State::SynSent | State::SynReceived);
        let is_up = !matches!(after, State::SynReceived | State::Closed);
        if opening && is_up && self.flows.at(index).owner == Owner::Application {
            self.counters.connected += 1;
        }
        if let Owner::HalfOpen(listener) = self.flows.at(index).owner
            && is_up
        {
            self.half_open -= 1;
            self.established(index, listener);
        }
    }

    /// A handshake that came to us is complete.
    fn established(&mut self, index: u32, listener: u16) {
        self.counters.accepted += 1;
        let listener = &mut self.listeners[usize::from(listener)];
        if listener.open {
            listener.queue.push_back(index);
            self.flows.at(index).owner = Owner::Backlog;
        } else {
            self.flows.at(index).owner = Owner::Nobody;
            if let Life::Busy(busy) = &mut self.flows.at(index).life {
                busy.tcb.abort();
            }
        }
        self.touch(index);
    }

    /// Takes a connection up that rests.
    pub(super) fn wake(&mut self, index: u32) {
        let flow = self.flows.at(index);
        if let Life::Resting(resting) = &flow.life {
            let tuple = flow.tuple;
            let config = if tuple.local.is_v4() {
                &self.tcp_v4
            } else {
                &self.tcp_v6
            };
            let tcb = Tcb::wake(config, resting);
            let busy = Busy {
                tcb,
                since: self.now,
            };
            self.flows.at(index).life = Life::Busy(Box::new(busy));
        }
    }

    /// A segment of no connection.
    fn strange_segment(
        &mut self,
        arrival: &Arrival<'_>,
        deliver: Deliver<'_>,
    ) -> Result<(), Reason> {
        let Arrival { tuple, segment, .. } = arrival;
        let hash = self.hash.clone();
        let hash = |tuple: &Tuple| hash.of(tuple);
        let len = arrival.payload.len();
        let closed = self
            .time_wait
            .segment(self.now, (tuple, &hash), segment, len);
        let mut after = None;
        match closed {
            None => {}
            Some((Meaning::New(next), _)) => after = Some(next + NUMBERS_APART),
            Some((Meaning::Nothing, _)) => return Err(Reason::TimeWait),
            Some((Meaning::Answer(answer), mac)) => {
                self.permit(|limits| &mut limits.time_wait)?;
                self.replies.push(Reply::Segment(*tuple, mac, answer));
                return Ok(());
            }
        }
        let flags = segment.flags;
        let listener = self.listener(tuple);
        match listener {
            Some(listener) if flags.has(Flags::SYN) && !flags.has(Flags::ACK) => {
                self.syn(listener, arrival, after)
            }
            Some(listener) if flags.has(Flags::ACK) && self.takes_cookies(flags) => {
                self.cookie(listener, arrival, deliver)
            }
            _ => self.refuse(arrival),
        }
    }

    fn takes_cookies(&self, flags: Flags) -> bool {
        !flags.has(Flags::SYN) && !flags.has(Flags::RST) && self.now < self.cookies_until
    }

    fn listener(&self, tuple: &Tuple) -> Option<u16> {
        let fits = |listener: &super::Listener| {
            let address = listener
                .address
                .is_none_or(|address| address == tuple.local);
            listener.open && listener.port == tuple.local_port && address
        };
        let found = self.listeners.iter().position(fits);
        found.and_then(|index| u16::try_from(index).ok())
    }

    fn refuse(&mut self, arrival: &Arrival<'_>) -> Result<(), Reason> {
        if let Some(refusal) = arrival.segment.refusal(arrival.payload.len()) {
            self.permit(|limits| &mut limits.reset)?;
            let reply = Reply::Segment(arrival.tuple, arrival.mac, refusal);
            self.replies.push(reply);
        }
        Err(Reason::NoConnection)
    }

    /// A client's SYN. Nobody is refused for want of room: a SYN that is dropped comes again.
    fn syn(
        &mut self,
        listener: u16,
        arrival: &Arrival<'_>,
        after: Option<spinlane_tcp::Seq>,
    ) -> Result<(), Reason> {
        let Arrival {
            tuple,
            mac,
            segment,
            ..
        } = arrival;
        self.has_room(listener)?;
        if self.half_open >= self.config.max_half_open {
            let config = self.tcp(tuple);
            let offer = config.offer();
            let answer = self.cookies.answer(self.now, tuple, segment, &offer);
            self.replies.push(Reply::Segment(*tuple, *mac, answer));
            self.counters.cookies_sent += 1;
            self.cookies_until = self.now + COOKIES;
            return Ok(());
        }
        let isn = after.unwrap_or_else(|| self.isn.at(self.now, &tuple.bytes()));
        let tcb = Tcb::accept(self.tcp(tuple), self.now, isn, segment);
        let index = self.half_open(listener, *tuple, *mac, tcb)?;
        self.touch(index);
        Ok(())
    }

    /// A flow whose handshake is not done.
    fn half_open(
        &mut self,
        listener: u16,
        tuple: Tuple,
        mac: Mac,
        tcb: Tcb,
    ) -> Result<u32, Reason> {
        let about = (tuple, mac, Owner::HalfOpen(listener));
        let index = self.flows.insert(about, self.now, tcb);
        let index = index.ok_or(Reason::NoRoom)?;
        self.half_open += 1;
        Ok(index)
    }

    fn has_room(&self, listener: u16) -> Result<(), Reason> {
        let waiting = self.listeners[usize::from(listener)].queue.len();
        let full = self.flows.is_full() || waiting >= self.config.backlog as usize;
        if full { Err(Reason::NoRoom) } else { Ok(()) }
    }

    /// An acknowledgement that may be of a cookie. If it is none, nobody is told: it may be a client's second segment, whose first
    /// was lost and will come again.
    fn cookie(
        &mut self,
        listener: u16,
        arrival: &Arrival<'_>,
        deliver: Deliver<'_>,
    ) -> Result<(), Reason> {
        let Arrival {
            tuple,
            mac,
            segment,
            ..
        } = arrival;
        let taken = self.cookies.take(self.now, tuple, segment);
        let (syn, isn) = taken.ok_or(Reason::BadCookie)?;
        self.has_room(listener)?;
        let tcb = Tcb::accept_answered(self.tcp(tuple), self.now, isn, &syn);
        let index = self.half_open(listener, *tuple, *mac, tcb)?;
        self.counters.cookies_taken += 1;
        self.flow_segment(index, arrival, deliver)
    }

    pub(super) fn mark_ready(&mut self, index: u32) {
        let flow = self.flows.at(index);
        if flow.owner == Owner::Application && !std::mem::replace(&mut flow.ready, true) {
            self.ready.push_back(index);
        }
    }
}
