//! Several cores on one address: what came to one core and is another's.
//!
//! A port spreads connections over its queues by a hash of addresses and ports, so that one which a client opens stays with the core that
//! its SYN came to. What we open is answered to whichever queue the hash says; so a local port belongs to a core ([`Ports`]), and a frame
//! for it goes through a ring to that core. What no port number tells whose it is, answers of neighbours and "too big" messages, goes to
//! all: each stack takes what it has asked for, or has in flight.
//!
//! # Invariants
//! - Between cores there are only rings: no lock, no allocation per frame.
//! - A frame that finds a ring full is lost, and counted.
//! - The port's spreading must be stable: a connection that changes queues is not looked for.

use spinlane_ring::{CapacityError, Consumer, Producer, ring};

use crate::config::Ports;
use crate::frame_io::{Caps, Frame, FrameIo};
use crate::{ethernet, ip};

/// Frames that may wait for a core, from each of the others; a power of two.
const WAITING: usize = 64;
/// Bytes of a frame at most: an MTU of 2048.
const ROOM: usize = 2048 + 14;

/// A frame on its way to another core.
struct Parcel {
    bytes: [u8; ROOM],
    len: usize,
    checked: bool,
}

/// A queue pair, and rings to and from those of the other cores.
pub struct Mesh<F> {
    io: F,
    ports: Ports,
    /// A port below is no connection of ours to others.
    listening: u16,
    /// By core; none to itself.
    to: Vec<Option<Producer<Parcel>>>,
    from: Vec<Consumer<Parcel>>,
    handed: u64,
    lost: u64,
}

impl<F: std::fmt::Debug> std::fmt::Debug for Mesh<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mesh")
            .field("io", &self.io)
            .field("handed", &self.handed)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

/// Whose a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Whose {
    Ours,
    Core(usize),
    Everybodys,
}

impl<F: FrameIo> Mesh<F> {
    /// The queue pairs of a port, one per core in their order, with rings between them. Local ports of `ports.range` belong to cores, but
    /// for the one that is listened on.
    ///
    /// # Errors
    /// There is no memory for the rings.
    pub fn new(ios: Vec<F>, ports: &Ports, listening: u16) -> Result<Vec<Self>, CapacityError> {
        let cores = ios.len();
        let mut meshes: Vec<Self> = ios
            .into_iter()
            .zip(0..)
            .map(|(io, core)| Self {
                io,
                ports: Ports {
                    core,
                    ..ports.clone()
                },
                listening,
                to: (0..cores).map(|_| None).collect(),
                from: Vec::with_capacity(cores),
                handed: 0,
                lost: 0,
            })
            .collect();
        for sender in 0..cores {
            for receiver in (0..cores).filter(|receiver| *receiver != sender) {
                let (producer, consumer) = ring(WAITING)?;
                meshes[sender].to[receiver] = Some(producer);
                meshes[receiver].from.push(consumer);
            }
        }
        Ok(meshes)
    }

    /// The queue pair.
    pub fn io(&self) -> &F {
        &self.io
    }

    /// Frames that were handed to other cores.
    pub fn handed(&self) -> u64 {
        self.handed
    }

    /// Frames for another core whose ring was full.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

/// Looks only as far as it takes: whether a frame is right is for the stack to say.
fn whose(bytes: &[u8], ports: &Ports, listening: u16) -> Whose {
    let Ok(frame) = ethernet::parse(bytes) else {
        return Whose::Ours;
    };
    let (protocol, payload) = match frame.kind {
        // An answer.
        ethernet::ARP if frame.payload.get(6..8) == Some(&[0, 2]) => return Whose::Everybodys,
        ethernet::IPV4 => {
            let header = frame.payload.first().map_or(0, |first| first & 15) * 4;
            (frame.payload.get(9), frame.payload.get(header.into()..))
        }
        ethernet::IPV6 => (frame.payload.get(6), frame.payload.get(40..)),
        _ => return Whose::Ours,
    };
    let (Some(&protocol), Some(payload)) = (protocol, payload) else {
        return Whose::Ours;
    };
    match (protocol, payload) {
        (ip::TCP, [_, _, high, low, ..]) => {
            let port = u16::from_be_bytes([*high, *low]);
            let owner = port % ports.cores;
            let is_opened = ports.range.contains(&port) && port != listening;
            match is_opened && owner != ports.core {
                true => Whose::Core(owner.into()),
                false => Whose::Ours,
            }
        }
        // Unreachable, of which one is "too big"; "too big" and a neighbour's advertisement.
        (ip::ICMP, [3, ..]) | (ip::ICMPV6, [2 | 136, ..]) => Whose::Everybodys,
        _ => Whose::Ours,
    }
}

impl<F: FrameIo> FrameIo for Mesh<F> {
    fn receive(&mut self, mut take: impl FnMut(Frame<'_>)) -> usize {
        let mut count = 0;
        for from in &mut self.from {
            for parcel in from.pop_burst(WAITING) {
                count += 1;
                take(Frame {
                    bytes: &parcel.bytes[..parcel.len],
                    checked: parcel.checked,
                });
            }
        }
        let Self {
            io,
            ports,
            listening,
            to,
            handed,
            lost,
            ..
        } = self;
        if to.len() == 1 {
            return io.receive(take);
        }
        let mut hand = |frame: Frame<'_>, producer: &mut Producer<Parcel>| {
            let len = frame.bytes.len().min(ROOM);
            let mut bytes = [0; ROOM];
            bytes[..len].copy_from_slice(&frame.bytes[..len]);
            let checked = frame.checked;
            match producer.push(Parcel {
                bytes,
                len,
                checked,
            }) {
                Ok(()) => *handed += 1,
                Err(_) => *lost += 1,
            }
        };
        count
            + io.receive(|frame| match whose(frame.bytes, ports, *listening) {
                Whose::Ours => take(frame),
                Whose::Core(core) => {
                    if let Some(Some(producer)) = to.get_mut(core) {
                        hand(frame, producer);
                    }
                }
                Whose::Everybodys => {
                    to.iter_mut()
                        .flatten()
                        .for_each(|producer| hand(frame, producer));
                    take(frame);
                }
            })
    }

    fn transmit(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        self.io.transmit(len, fill)
    }

    fn flush(&mut self) {
        self.io.flush();
    }

    fn caps(&self) -> Caps {
        self.io.caps()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// What came, by core.
    #[derive(Debug, Default)]
    struct Queue(VecDeque<Vec<u8>>);

    impl FrameIo for Queue {
        fn receive(&mut self, mut take: impl FnMut(Frame<'_>)) -> usize {
            let count = self.0.len();
            for bytes in self.0.drain(..) {
                take(Frame {
                    bytes: &bytes,
                    checked: false,
                });
            }
            count
        }

        fn transmit(&mut self, _: usize, _: impl FnOnce(&mut [u8])) -> bool {
            false
        }

        fn flush(&mut self) {}

        fn caps(&self) -> Caps {
            Caps {
                mtu: 1500,
                tx_checksums: false,
            }
        }
    }

    fn meshes() -> Vec<Mesh<Queue>> {
        let ports = Ports {
            range: 32768..=60999,
            cores: 2,
            core: 0,
        };
        Mesh::new(vec![Queue::default(), Queue::default()], &ports, 40_001).unwrap()
    }

    fn frame(kind: u16, at: &[(usize, &[u8])]) -> Vec<u8> {
        let mut frame = vec![0; 80];
        frame[12..14].copy_from_slice(&kind.to_be_bytes());
        for (at, bytes) in at {
            frame[14 + at..14 + at + bytes.len()].copy_from_slice(bytes);
        }
        frame
    }

    /// A TCP segment to `port` in IPv4, with options of IP's, and in IPv6.
    fn segments(port: u16) -> [Vec<u8>; 2] {
        let port = port.to_be_bytes();
        [
            frame(ethernet::IPV4, &[(0, &[0x46]), (9, &[6]), (26, &port)]),
            frame(ethernet::IPV6, &[(0, &[0x60]), (6, &[6]), (42, &port)]),
        ]
    }

    /// Who takes `frame` if it comes to core 0.
    fn takers(frame: Vec<u8>) -> Vec<usize> {
        let mut meshes = meshes();
        meshes[0].io.0.push_back(frame.clone());
        let mut takers = Vec::new();
        for (core, mesh) in meshes.iter_mut().enumerate() {
            mesh.receive(|taken| {
                assert_eq!(taken.bytes, frame);
                takers.push(core);
            });
        }
        takers
    }

    #[test]
    fn a_local_port_belongs_to_a_core_and_others_to_whom_the_port_has_given_them() {
        for (port, taker) in [
            (32768, 0),
            (32769, 1),
            (60999, 1),
            (443, 0),
            (40_001, 0),
            (61_001, 0),
        ] {
            for segment in segments(port) {
                assert_eq!(takers(segment), [taker], "{port}");
            }
        }
    }

    #[test]
    fn what_names_no_port_goes_to_everybody_if_it_may_concern_them() {
        let answer = frame(ethernet::ARP, &[(6, &[0, 2])]);
        let question = frame(ethernet::ARP, &[(6, &[0, 1])]);
        let advertisement = frame(ethernet::IPV6, &[(6, &[58]), (40, &[136])]);
        let solicitation = frame(ethernet::IPV6, &[(6, &[58]), (40, &[135])]);
        let too_big = frame(ethernet::IPV4, &[(0, &[0x45]), (9, &[1]), (20, &[3, 4])]);
        for (frame, expected) in [
            (answer, vec![0, 1]),
            (question, vec![0]),
            (advertisement, vec![0, 1]),
            (solicitation, vec![0]),
            (too_big, vec![0, 1]),
        ] {
            assert_eq!(takers(frame.clone()), expected, "{frame:?}");
        }
    }

    #[test]
    fn short_frames_stay() {
        for segment in segments(32769) {
            for len in 0..segment.len() {
                let port_is_there = len >= 14 + 28 && segment[12] == 8 || len >= 14 + 44;
                let expected = usize::from(port_is_there);
                assert_eq!(takers(segment[..len].to_vec()), [expected], "{len}");
            }
        }
    }

    #[test]
    fn what_finds_a_full_ring_is_lost_and_counted() {
        let mut meshes = meshes();
        let [segment, _] = segments(32769);
        meshes[0].io.0.extend(vec![segment; WAITING + 3]);
        meshes[0].receive(|_| unreachable!("they are the other core's"));
        assert_eq!((meshes[0].handed(), meshes[0].lost()), (WAITING as u64, 3));
        assert_eq!(meshes[1].receive(|_| ()), WAITING);
    }
}
