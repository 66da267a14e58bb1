//! Handshakes that arrive when they arrive, whether or not the server keeps up.
//!
//! Time here is the server's alone: it goes on while the server works, and leaps to the next arrival
//! while it has nothing to do. Clients answer at once. So it is what a core would see that does
//! nothing but TLS, with the clients elsewhere, and a preempted client costs nothing.
//!
//! ```text
//!   arrivals   a1        a2  a3                          a4
//!   server     ├ a1 ──────────┤├ a2, a3 together ──┤      ├ a4 ──
//!   latency     a1: ───────────   a2: ─────────────
//! ```

use std::cell::Cell;
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use spinlane::lcore::{Clock, TscClock};

use super::{MAX_IDLE_TURNS, Next, Pipeline};
use crate::measure::histogram;

/// The server's time, for the lcore: the TSC, put right before each section of the server's work.
#[derive(Clone, Default)]
pub struct ServerClock(Rc<Inner>);

#[derive(Default)]
struct Inner {
    tsc: TscClock,
    /// What the TSC is ahead of the server's time; wraps when it is behind.
    ahead_ns: Cell<u64>,
}

impl ServerClock {
    fn set(&self, now_ns: u64) {
        self.0
            .ahead_ns
            .set(self.0.tsc.now_ns().wrapping_sub(now_ns));
    }
}

impl Clock for ServerClock {
    fn now_ns(&self) -> u64 {
        self.0.tsc.now_ns().wrapping_sub(self.0.ahead_ns.get())
    }
}

/// What a run came to.
pub struct OpenLoop {
    /// From each arrival to the end of the server's last write.
    pub latency_ns: Histogram<u64>,
    /// From the first arrival to the last end.
    pub span_ns: u64,
    /// Of that, the time in which the server worked.
    pub busy_ns: u64,
    /// Most connections open at once.
    pub open_peak: usize,
}

impl Pipeline<'_> {
    /// Runs one handshake per arrival; `arrivals` are nanoseconds from the start, in order.
    /// `clock` is the lcore's. Connections beyond as many as the pipeline holds wait, and their waiting
    /// counts.
    ///
    /// # Errors
    /// A handshake failed or got stuck.
    pub fn open_loop(&mut self, arrivals: &[u64], clock: &ServerClock) -> Result<OpenLoop> {
        // Time goes on from what the lcore saw last.
        let start_ns = clock.now_ns();
        let mut time = Time {
            leapt_ns: start_ns,
            clock,
        };
        (self.server_ns, self.unclaimed_ns) = (0, 0);
        let mut run = OpenLoop {
            latency_ns: histogram()?,
            span_ns: 0,
            busy_ns: 0,
            open_peak: 0,
        };
        let mut free: Vec<usize> = (0..self.links.len()).rev().collect();
        let mut arrived_ns = vec![0; self.links.len()];
        let mut waiting = arrivals
            .iter()
            .map(|after_ns| start_ns + after_ns)
            .peekable();
        let (mut finished, mut idle_turns) = (0, 0);
        while finished < arrivals.len() {
            if free.len() == self.links.len()
                && let Some(next_ns) = waiting.peek()
            {
                time.leap_to(*next_ns, self.server_ns);
            }
            while let Some(slot) = free.last().copied()
                && let Some(at_ns) = waiting.next_if(|at_ns| *at_ns <= time.now(self.server_ns))
            {
                free.pop();
                self.start(slot)?;
                arrived_ns[slot] = at_ns;
            }
            run.open_peak = run.open_peak.max(self.links.len() - free.len());
            idle_turns = if self.has_work() { 0 } else { idle_turns + 1 };
            ensure!(
                idle_turns < MAX_IDLE_TURNS,
                "{} connections wait for ops that never come back",
                self.links.len() - free.len()
            );
            for _ in 0..self.burst {
                let next = self.ready.pop_front();
                let Some(slot) = next.or_else(|| self.fresh.pop_front()) else {
                    break;
                };
                match self.step_at(slot, &time)? {
                    // What is begun goes first: its client has answered.
                    Next::Runnable => self.ready.push_back(slot),
                    Next::Waiting => {}
                    Next::Finished => {
                        let latency_ns = time.now(self.server_ns) - arrived_ns[slot];
                        run.latency_ns.saturating_record(latency_ns);
                        self.finish(slot)?;
                        free.push(slot);
                        finished += 1;
                    }
                }
            }
            time.tell(self.server_ns);
            self.poll()?;
        }
        run.span_ns = time.now(self.server_ns) - start_ns;
        run.busy_ns = self.server_ns;
        time.tell(self.server_ns);
        Ok(run)
    }

    /// As `step`, with the lcore's clock put right in between.
    fn step_at(&mut self, slot: usize, time: &Time<'_>) -> Result<Next> {
        let link = self.links[slot]
            .as_mut()
            .context("a connection is stepped that is not there")?;
        link.client_turn().context("client")?;
        time.tell(self.server_ns);
        let (next, server_ns) = self.watch.time(|| link.server_turn());
        self.server_ns += server_ns;
        next.context("server")
    }
}

/// The server's time: its work so far, and the leaps.
struct Time<'a> {
    leapt_ns: u64,
    clock: &'a ServerClock,
}

impl Time<'_> {
    fn now(&self, worked_ns: u64) -> u64 {
        self.leapt_ns + worked_ns
    }

    /// There is nothing to do until then.
    fn leap_to(&mut self, at_ns: u64, worked_ns: u64) {
        self.leapt_ns += at_ns.saturating_sub(self.now(worked_ns));
    }

    /// Tells the lcore's clock.
    fn tell(&self, worked_ns: u64) {
        self.clock.set(self.now(worked_ns));
    }
}
