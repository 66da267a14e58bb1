//! Packets: Ethernet, ARP and NDP, IPv4 and IPv6, ICMP, the flow table and timers, around the TCP of `spinlane-tcp`.
//!
//! A [`Stack`] belongs to one core, and so do its ports' queues: nothing is shared, nothing is locked. Its turn is
//! [`Stack::receive`], the application's work, [`Stack::transmit`]; so acknowledgements ride on answers.
//!
//! # Invariants
//! - Knows no network card, no clock and no randomness: frames go through a [`FrameIo`], the time and a secret come from the caller.
//! - No unsafe code, no panic by what comes in; a frame that is dropped is counted with its [`Reason`].
//! - Nothing goes through all connections, but for their end with the stack.
//! - Every table is bounded by [`Config`]: flows, half-open ones, TIME-WAIT, neighbours, answers to strangers per second.
//! - An idle connection takes less than 256 bytes ([`memory_per_idle_connection`]) and no buffer.
//! - Nobody is learnt from who was not asked: the address of a neighbour is taken from answers to our own questions, of a client
//!   from its own segments.
//!
//! # Left out
//! - Fragments are not put together (IPv4, and IPv6 fragment headers of any kind): dropped and counted. Ours say "don't fragment".
//! - Routing beyond one gateway per family, router discovery, redirects, duplicate address detection, VLANs, UDP.
//! - ICMP errors other than "too big" are counted and change nothing; none are sent.
//! - Beyond the half-open limit a SYN is answered by a cookie. Its four MSS classes are in the sequence number; window scale and
//!   SACK ride in the timestamp, and are lost for a peer that sends none.

#![forbid(unsafe_code)]

mod address;
mod arp;
mod checksum;
mod config;
mod cookie;
mod counters;
mod ethernet;
mod flow;
mod frame_io;
mod icmp;
mod ip;
mod limiter;
mod mesh;
mod neighbours;
pub mod pcap;
#[cfg(feature = "sim")]
pub mod sim;
mod stack;
mod time_wait;
mod wheel;

pub use address::{Mac, MacError};
pub use config::{Config, ConfigError, Interface, Ports};
pub use counters::{Counters, Reason};
pub use flow::{FlowId, memory_per_idle_connection};
pub use frame_io::{Caps, Frame, FrameIo};
pub use mesh::Mesh;
pub use spinlane_tcp::{End, Instant, State};
pub use stack::{ConnectError, ListenError, ListenerId, Stack};
