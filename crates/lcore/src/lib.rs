//! Pinned poll core: polls queue pairs, calls back inline, keeps ready and retry queues.
//!
//! An [`Lcore`] belongs to one thread. A job on that thread submits ops through [`offload`];
//! [`Lcore::poll`], called once per turn of the pipeline's loop, collects what the devices
//! have finished, sets each op's status, makes its callback, and hands out the connections
//! that can go on ([`Lcore::next_ready`]).
//!
//! # The contract of a submission
//! Each attempt leads to exactly one callback:
//! - *accepted*: status OK before the job pauses; the callback is made by `poll` when the op is
//!   done (status OK) or has failed in the device (status ERR);
//! - *refused*, the queue pair being full: status EAGAIN, the callback at once, then the
//!   pause. Whoever runs the connection puts it into the retry queue ([`Lcore::retry`]); polls
//!   resume it in turn when slots are free. A resume out of turn is another attempt;
//! - no callback is made once the wait context is freed or the job cancelled.
//!
//! # Devices fail
//! Every op has a deadline, its queue pair's ([`HealthConfig`]). What a device fails, calls invalid or does not give
//! back in time is computed here, by the CPU reference, and ends as if nothing had happened. A
//! device that errs several times in a row, gives nothing back or takes nothing for as long as a
//! deadline is unhealthy: its ops in flight and all new ones are computed here, and every now and
//! then a copy of one goes to the device; when that comes back right, the device serves again. A
//! line is logged at either turn, and all of it is counted ([`OpCounts`], [`HealthStats`]).
//! What an op was asked is therefore kept twice while a device has it, except by devices that
//! compute inline ([`QueuePair::is_inline`](spinlane_cryptodev::QueuePair::is_inline)) and cannot
//! keep an op.
//!
//! # Bulk data
//! Records are sealed and opened without a job: a burst of AEAD ops, of as many connections as one likes,
//! is given to [`Lcore::enqueue_records`], polls work on it, and [`Lcore::dequeue_records`]
//! gives each op back exactly once, in place of a callback. What is refused stays in the caller's burst, which
//! is its retry queue. Deadlines, fallback and probes are the same as above, but for this: a device that computes
//! inline and fails an op after it began has destroyed the data, of which there is no copy, and the op ends
//! with an error.
//!
//! # Invariants
//! - Knows no TLS and no socket; a connection is an opaque [`Conn`] word.
//! - Device work runs on the stack of whoever polls, never on a fiber.
//! - A poll is bounded: at most two bursts per queue pair, at most as many retries as free
//!   slots; what it made ready is handed out once.
//! - After warm-up no allocation, lock or system call per op; in place of an op that a device has
//!   lost, a new one is allocated.

#![forbid(unsafe_code)]

mod bulk;
mod channel;
mod clock;
mod core;
#[cfg_attr(
    not(feature = "seeded-defects"),
    expect(dead_code, unreachable_pub, reason = "for tests")
)]
mod defect;
mod health;
mod latency;
mod launch;
mod offload;
mod policy;
mod progress;
mod ready;
mod record_queue;
mod retry;
mod route;
mod stats;
mod submit;
mod ticket;

pub use crate::clock::{Clock, TscClock};
pub use crate::core::{Config, Entered, Lcore, NoPoll, Polled};
#[cfg(feature = "seeded-defects")]
pub use crate::defect::{Defect, seed as seed_defect};
pub use crate::launch::{LaunchError, Launched, launch};
pub use crate::offload::{MAX_SET, OffloadError, compute, offload, offload_all, ops_without_lcore};
pub use crate::policy::{OnDemand, set_on_demand, set_pause_without_callback};
pub use crate::progress::Progress;
pub use crate::record_queue::RecordQueue;
pub use crate::stats::{ChannelStats, HealthStats, KindStats, OpCounts, Stats};
pub use crate::submit::Item;
pub use crate::ticket::{Refusal, Submitted, Ticket};
pub use spinlane_cryptodev::HealthConfig;
pub use spinlane_job::{Conn, Foreign, Notify};
