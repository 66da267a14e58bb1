//! A connection with nothing to do, in a third of the memory.

use super::{Config, Offer, State, Tcb};
use crate::cubic::Sizes;
use crate::rack::Habits;
use crate::receive::{Receiver, Window};
use crate::rtt::Rtt;
use crate::send::{Quiet, Sender};
use crate::time::Instant;

/// An established connection with nothing queued, unacknowledged, unread or owed: what [`Tcb::wake`] needs to go on as if
/// it had not rested.
///
/// What is forgotten has lost its meaning after a pause longer than a time-out: when challenges were sent, how the
/// congestion window grew (it begins anew, RFC 5681, section 4.1), and which segment was sent last.
#[derive(Debug)]
pub struct Resting {
    sender: Quiet,
    receiver: Window,
    rtt: Rtt,
    cubic: Sizes,
    rack: Habits,
    offered_mss: u16,
    send_scale: u8,
    receive_scale: u8,
    timestamps: bool,
    active: bool,
}

impl Tcb {
    /// Puts down a connection that has nothing to do and has been quiet for longer than a time-out; `None` if there is anything
    /// to do, or if it is not established.
    pub fn rest(&self, now: Instant) -> Option<Resting> {
        if self.state != State::Established || self.reset.is_some() {
            return None;
        }
        let (sender, rtt, cubic, rack) = self.sender.quiet(now)?;
        Some(Resting {
            sender,
            receiver: self.receiver.quiet()?,
            rtt,
            cubic,
            rack,
            offered_mss: self.offer.mss,
            send_scale: self.send_scale,
            receive_scale: self.receive_scale,
            timestamps: self.timestamps,
            active: self.active,
        })
    }

    /// Takes a connection up again. `config` is what it was made with.
    pub fn wake(config: &Config, resting: &Resting) -> Self {
        let Resting { sender, .. } = resting;
        Self {
            state: State::Established,
            end: None,
            active: resting.active,
            reset: None,
            timestamps: resting.timestamps,
            send_scale: resting.send_scale,
            receive_scale: resting.receive_scale,
            offer: Offer {
                mss: resting.offered_mss,
                // Said in SYNs alone.
                scale: None,
                sack: sender.sack,
            },
            sender: Sender::wake(sender, resting.rtt, resting.cubic, &resting.rack),
            receiver: Receiver::wake(&resting.receiver),
            state_due: Instant::NEVER,
            challenged: None,
            user_timeout: config.user_timeout,
            time_wait: config.time_wait,
            fin_wait: config.fin_wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Flags, Segment, Seq};

    fn exchange(now: Instant, [mut from, mut to]: [&mut Tcb; 2]) -> Vec<u8> {
        let mut got = Vec::new();
        for _ in 0..40 {
            let mut sent = Vec::new();
            from.output(now, &mut |segment: &Segment, payload: [&[u8]; 2]| {
                sent.push((*segment, payload.concat()));
            });
            for (segment, payload) in sent {
                to.segment(now, &segment, &payload, |bytes| {
                    got.extend_from_slice(bytes);
                    bytes.len()
                });
            }
            (from, to) = (to, from);
        }
        got
    }

    /// What differs after a rest is what the documentation names; data flows as before.
    #[test]
    fn a_rested_connection_goes_on_as_it_was() {
        let config = Config::default();
        let at = |ms| Instant::default() + Duration::from_millis(ms);
        let mut client = Tcb::connect(&config, Seq(77));
        let mut syn = None;
        client.output(at(1), &mut |segment: &Segment, _: [&[u8]; 2]| {
            syn = Some(*segment);
        });
        let mut server = Tcb::accept(&config, at(2), Seq(u32::MAX - 3), &syn.unwrap());
        exchange(at(3), [&mut client, &mut server]);
        assert!(client.rest(at(3)).is_none(), "it was active just now");
        for round in 1..5_u64 {
            client.send(b"question", 100);
            assert!(client.rest(at(round * 10_000)).is_none(), "data is queued");
            server.send(&[7; 5000], 10_000);
            let got = exchange(at(round * 10_000), [&mut client, &mut server]);
            assert_eq!(got.len(), 5008);
            exchange(at(round * 10_000 + 50), [&mut client, &mut server]);
            for tcb in [&mut client, &mut server] {
                let rested = tcb.rest(at(round * 10_000 + 5000)).unwrap();
                let woken = Tcb::wake(&config, &rested);
                assert_eq!(woken.next(), tcb.next());
                assert_eq!(woken.expects(), tcb.expects());
                assert_eq!(woken.due(), None);
                let known = |tcb: &Tcb| {
                    let Tcb {
                        sender, receiver, ..
                    } = tcb;
                    let text = format!("{receiver:?} {:?} {}", sender.rtt, sender.window);
                    (
                        text,
                        tcb.mss(),
                        tcb.send_scale,
                        tcb.receive_scale,
                        tcb.timestamps,
                    )
                };
                assert_eq!(known(&woken), known(tcb));
                *tcb = woken;
            }
        }
        client.close();
        server.close();
        exchange(at(60_000), [&mut client, &mut server]);
        assert_eq!(
            (client.state(), server.state()),
            (State::TimeWait, State::Closed)
        );
    }

    /// SYN cookies: the acknowledgement alone makes the connection, and its zero round trip is no sample.
    #[test]
    fn an_answered_syn_is_established_by_its_acknowledgement() {
        let config = Config::default();
        let syn = Segment {
            seq: Seq(500),
            mss: Some(1300),
            ..Segment::default()
        };
        let now = Instant::from_micros(5_000_000);
        let mut tcb = Tcb::accept_answered(&config, now, Seq(99), &syn);
        let ack = Segment {
            seq: Seq(501),
            ack: Seq(100),
            flags: Flags::ACK,
            window: 1000,
            ..Segment::default()
        };
        tcb.segment(now, &ack, &[], |_| 0);
        assert_eq!((tcb.state(), tcb.mss()), (State::Established, 1300));
        assert_eq!((tcb.round_trip(), tcb.due()), (None, None));
    }

    #[test]
    fn a_resting_connection_is_small() {
        assert!(size_of::<Resting>() <= 96, "{}", size_of::<Resting>());
    }
}
