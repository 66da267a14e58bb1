//! One TCP connection (RFC 9293), sans-IO and sans-clock.
//!
//! [`Tcb`] takes segments and the time, and gives segments and the time at which it wants to be called again. It
//! knows SACK (RFC 2018, RFC 2883), RACK-TLP (RFC 8985), CUBIC (RFC 9438), window scaling, timestamps and PAWS (RFC 7323),
//! challenge ACKs (RFC 5961) and unpredictable initial numbers (RFC 6528). Against RFC 8985 it probes during a recovery as well,
//! twice in a row, and always with a segment that was sent before: `send/timer.rs` and `send/output.rs` say why.
//!
//! # Invariants
//! - Knows no network card, no address, no port, no clock and no randomness.
//! - No unsafe code, no panic by what a peer sends.
//! - Memory is bounded: by the caller's limit of the send queue, by [`Config::receive_limit`], by 64 pieces ahead of
//!   a gap. A connection with nothing queued, unacknowledged or out of order holds no buffer.
//! - Nothing is sent but in [`Tcb::output`].
//!
//! # Left out
//! - LISTEN, the backlog, SYN cookies, TIME-WAIT as a key: the flow table's.
//! - Urgent data: the pointer is not sent, and data that it marks is read as other data.
//! - Nagle's algorithm (it is off, as RFC 9293, MUST-17, allows applications to ask for), keep-alives.
//! - PRR (RFC 6937), F-RTO (RFC 5682), HyStart++ (RFC 9406), ECN (RFC 3168), path MTU probing beyond the fall to
//!   512 bytes after three time-outs.

#![forbid(unsafe_code)]

mod buffer;
mod cubic;
mod isn;
mod rack;
mod receive;
mod rtt;
pub mod segment;
mod send;
mod seq;
mod tcb;
mod time;

pub use isn::Isn;
pub use segment::{Flags, Segment};
pub use send::Repairs;
pub use seq::Seq;
pub use tcb::{Config, Emit, End, Resting, State, Tcb};
pub use time::Instant;
