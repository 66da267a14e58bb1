//! What happened, and why a frame was dropped.

use std::fmt;

use spinlane_tcp::Repairs;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        /// Why a frame was dropped, or not answered.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in a list of counters.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// Shorter than its headers, or than they say.
    Short "short",
    /// For another station.
    NotOurs "not_ours",
    /// A protocol that is not spoken here: neither ARP, IPv4 nor IPv6, or neither TCP nor ICMP.
    Protocol "protocol",
    /// An ARP packet that is none.
    BadArp "bad_arp",
    /// An answer of a neighbour that nobody asked for.
    Unasked "unasked",
    /// An IP header with a wrong version or lengths that cannot be.
    BadIp "bad_ip",
    /// A wrong checksum.
    Checksum "checksum",
    /// A sender that is nobody, everybody, or this station.
    BadSource "bad_source",
    /// A fragment.
    Fragment "fragment",
    /// IPv6 extension headers that are too many, wrong, or want to be routed.
    ExtensionHeaders "extension_headers",
    /// A TCP header that is none.
    BadSegment "bad_segment",
    /// Flags that contradict each other, or a port 0.
    BadFlags "bad_flags",
    /// An ICMP message that is malformed or not spoken here.
    Icmp "icmp",
    /// An ICMP error that names no connection, or a number that is not in flight.
    IcmpDisbelieved "icmp_disbelieved",
    /// A segment that belongs to no connection.
    NoConnection "no_connection",
    /// A segment for a connection in TIME-WAIT that says nothing new.
    TimeWait "time_wait",
    /// An acknowledgement that is no cookie of ours.
    BadCookie "bad_cookie",
    /// No room for a connection: the flow table or the listener's queue is full.
    NoRoom "no_room",
    /// A stranger would have been answered, but too many were.
    Limited "limited",
    /// The port had no room for a frame.
    PortFull "port_full",
    /// A frame for a neighbour whose address is not known.
    Unresolved "unresolved",
}

/// Counters of a stack, from its beginning.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames received.
    pub received: u64,
    /// Frames sent.
    pub sent: u64,
    /// Connections that were opened to us: their handshake is complete.
    pub accepted: u64,
    /// Connections that we opened.
    pub connected: u64,
    /// SYNs answered by a cookie.
    pub cookies_sent: u64,
    /// Connections made of a cookie's acknowledgement.
    pub cookies_taken: u64,
    /// Half-open connections given up.
    pub half_open_expired: u64,
    /// Connections whose application had gone, ended because the peer took too long.
    pub orphans_expired: u64,
    /// TIME-WAIT entries that made room for new ones before their time.
    pub time_wait_evicted: u64,
    /// Segments sent again.
    pub retransmissions: u64,
    /// Time-outs of what was sent: losses that no acknowledgement has shown.
    pub timeouts: u64,
    /// Tail loss probes.
    pub probes: u64,
    /// Losses, or several within a round trip, that acknowledgements have shown.
    pub recoveries: u64,
    /// Connections put down to rest.
    pub rested: u64,
    /// "Too big" messages believed.
    pub too_big: u64,
    /// Questions for neighbours' addresses.
    pub questions: u64,
    dropped: [u64; Reason::ALL.len()],
}

impl Counters {
    /// Frames dropped for a reason.
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize]
    }

    pub(crate) fn repaired(&mut self, repairs: &Repairs) {
        let Repairs {
            retransmissions,
            timeouts,
            probes,
            recoveries,
        } = *repairs;
        self.retransmissions += retransmissions;
        self.timeouts += timeouts;
        self.probes += probes;
        self.recoveries += recoveries;
    }

    pub(crate) fn drop_for(&mut self, reason: Reason) {
        self.dropped[reason as usize] += 1;
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
