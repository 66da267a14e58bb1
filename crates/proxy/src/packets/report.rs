//! What a core's stack counts.

use std::fmt;

use spinlane_net::{Counters, FrameIo, Reason, Stack};

/// A port that tells what it lost.
pub trait Port: FrameIo {
    /// What was lost, by reason, from the beginning.
    fn losses(&self) -> Vec<(&'static str, u64)>;

    /// Frames that came to this core and went on to another's.
    fn handed(&self) -> u64;
}

/// A stack's counters at some time.
#[derive(Clone, Debug)]
pub struct PacketReport {
    /// From the beginning.
    pub counters: Counters,
    /// Connections, TIME-WAIT excluded.
    pub flows: usize,
    /// Of them, those whose handshake is not complete.
    pub half_open: usize,
    /// Connections in TIME-WAIT.
    pub time_waiting: usize,
    /// Frames that the port lost, by reason.
    pub losses: Vec<(&'static str, u64)>,
    /// Frames that came to this core and went on to another's.
    pub handed: u64,
}

impl PacketReport {
    /// Of a stack.
    pub fn of<F: Port>(stack: &mut Stack<F>) -> Self {
        Self {
            counters: stack.counters().clone(),
            flows: stack.flows(),
            half_open: stack.half_open(),
            time_waiting: stack.time_waiting(),
            losses: stack.io().losses(),
            handed: stack.io().handed(),
        }
    }

    /// Every reason for which a frame may be dropped, and how many were.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let by_stack = Reason::ALL.iter();
        let by_stack = by_stack.map(|reason| (reason.name(), self.counters.dropped(*reason)));
        by_stack.chain(self.losses.iter().copied())
    }
}

impl fmt::Display for PacketReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            counters,
            flows,
            half_open,
            time_waiting,
            handed,
            ..
        } = self;
        let Counters {
            received,
            sent,
            retransmissions,
            cookies_sent,
            cookies_taken,
            ..
        } = counters;
        write!(
            f,
            "  packets       {received} received, {sent} sent, {retransmissions} again; {flows} flows, {half_open} half open, \
             {time_waiting} in TIME-WAIT; {cookies_sent} cookies sent, {cookies_taken} taken; {handed} to other cores; dropped:"
        )?;
        let mut separator = " ";
        for (reason, count) in self.dropped().filter(|(_, count)| *count != 0) {
            write!(f, "{separator}{reason} {count}")?;
            separator = ", ";
        }
        writeln!(f)
    }
}
