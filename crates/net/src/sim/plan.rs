//! What a world is made of: stations, paths, conversations.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::path::Path;
use super::rng::Rng;
use super::station::Ours;
use super::talk::Habits;
use crate::address::Mac;
use crate::config::{Config, Interface};

/// What both stations of a world are like, and what is between them.
#[derive(Debug)]
pub struct Setup {
    /// Whether they speak IPv6.
    pub v6: bool,
    /// Bytes of a packet.
    pub mtu: u16,
    /// The path from the first station to the second, and back.
    pub paths: [Path; 2],
    /// Out of 10,000 frames, so many are followed by one that a stranger makes up.
    pub forging: u64,
    /// SYNs of strangers.
    pub flood: u64,
    /// Conversations.
    pub talks: u64,
    /// Whether applications abort.
    pub aborts: bool,
}

/// Their Ethernet addresses.
pub(super) const MACS: [Mac; 2] = [Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])];
/// Somebody else's.
pub(super) const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 0x66]);

impl Setup {
    /// Stations, paths and strangers as the seed has them.
    pub fn random(rng: &mut Rng) -> Self {
        let v6 = rng.chance(4_000);
        let (sizes, least) = match v6 {
            true => ([1280, 1500, 9000], 1280 + 14),
            false => ([576, 1500, 9000], 576 + 14),
        };
        Self {
            v6,
            mtu: rng.pick(&sizes),
            paths: [Path::random(rng, least), Path::random(rng, least)],
            forging: rng.pick(&[0, 0, 100, 1_000]),
            flood: rng.pick(&[0, 0, 20, 200]),
            talks: rng.pick(&[1, 2, 5]),
            aborts: true,
        }
    }

    /// Stations on a wire with a delay and nothing else, whatever their losses.
    pub fn quiet(v6: bool, delay_us: u64, talks: u64) -> Self {
        Self {
            v6,
            mtu: 1500,
            paths: [Path::quiet(delay_us), Path::quiet(delay_us)],
            forging: 0,
            flood: 0,
            talks,
            aborts: false,
        }
    }

    /// The same without what other stacks make mistakes about: links that are too narrow, strangers, applications that abort.
    pub fn tame(mut self) -> Self {
        for path in &mut self.paths {
            path.narrow = usize::MAX;
        }
        (self.forging, self.flood, self.aborts) = (0, 0, false);
        self
    }

    /// A station's Ethernet address.
    pub fn mac(&self, side: usize) -> Mac {
        MACS[side]
    }

    /// A station's address and its network.
    pub fn interface(&self, side: usize) -> Interface {
        Interface {
            address: self.address(side),
            prefix: if self.v6 { 64 } else { 24 },
        }
    }

    /// A station's address.
    pub fn address(&self, side: usize) -> IpAddr {
        let last = if side == 0 { 1 } else { 2 };
        match self.v6 {
            true => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last]),
            false => IpAddr::from([10, 0, 0, u8::try_from(last).unwrap_or(0)]),
        }
    }
}

/// Our own stack on one side of the wire.
pub fn ours(setup: &Setup, side: usize, rng: &mut Rng) -> Ours {
    let interface = setup.interface(side);
    let mut secret = [0; 48];
    secret.fill_with(|| rng.bits().to_le_bytes()[0]);
    let base = Config::new(MACS[side], interface, secret);
    let config = Config {
        tcp: spinlane_tcp::Config {
            receive_limit: rng.pick(&[2_000, 20_000, 256 * 1024, 1024 * 1024]),
            sack: !rng.chance(1_000),
            timestamps: !rng.chance(2_000),
            user_timeout: Duration::from_secs(2 * 3600),
            ..base.tcp
        },
        send_limit: 100_000,
        max_flows: 64,
        max_half_open: rng.pick(&[0, 1, 64]),
        max_time_wait: rng.pick(&[1, 1000]),
        handshake_timeout: Duration::from_secs(60),
        orphan_timeout: Duration::from_secs(2 * 3600),
        rest_after: rng.pick(&[Duration::from_millis(10), Duration::from_secs(2)]),
        ..base
    };
    let server = SocketAddr::new(setup.address(1 - side), 443);
    Ours::new(config, setup.mtu, server)
}

/// An application that has waited so long gives up: for a peer whose reset was lost.
const PATIENCE: u64 = 3 * 3600 * 1_000_000;

/// A conversation: when it begins, and what both applications are like.
pub(super) struct Plan {
    pub(super) start: u64,
    pub(super) habits: [Habits; 2],
}

impl Plan {
    pub(super) fn random(rng: &mut Rng, aborts: bool) -> Self {
        let sizes = [0, 1, 5_000, 60_000, 200_000];
        let (one, two) = (rng.pick(&sizes), rng.pick(&sizes));
        let start = 1_000_000 + rng.below(3_000_000);
        let mut habits = |to_send, expected| {
            let sleeps = start + rng.below(1_500_000);
            let soon = rng.pick(&[1, 1_000, 100_000, 3_000_000]);
            let asleep = if rng.chance(2_000) {
                (sleeps, sleeps + 20_000_000)
            } else {
                (0, 0)
            };
            let thinks = start + rng.below(8_000_000);
            Habits {
                to_send,
                expected,
                patience: start + PATIENCE,
                thinks_until: if rng.chance(2_000) { thinks } else { 0 },
                appetite: rng.pick(&[usize::MAX, usize::MAX, 100_000, 3_000]),
                asleep,
                abort_at: (aborts && rng.chance(1_000)).then_some(start + rng.below(soon)),
            }
        };
        Self {
            start,
            habits: [habits(one, two), habits(two, one)],
        }
    }
}
