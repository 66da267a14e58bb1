//! `--metrics`: the counters in Prometheus' text format, over HTTP, by a thread of its own.
//!
//! ```text
//!   scraper ──GET /metrics──▶ this thread ──wanted += 1──▶ cores: one load per turn
//!           ◀── text ─────── encodes     ◀── reports ────  each sends one
//! ```
//! A core does nothing for it but that load, until somebody asks; then it copies its counters
//! once, which takes some ten microseconds. It takes no lock, and never waits for this thread.

mod families;
mod http;
mod tables;

use std::cell::LazyCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use prometheus::TextEncoder;

use super::address::listen_remedy;
use super::reload::Outcome;
use super::report::Report;
use http::Exchange;

/// How long a scrape waits for the cores. One that does not answer is shown as down.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the thread looks for scrapers.
const ACCEPT_EVERY: Duration = Duration::from_millis(20);
/// Scrapers served side by side; one more takes the place of the oldest.
const MAX_SCRAPERS: usize = 64;

/// A core's side: asks whether a report is wanted, and sends it.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Number of the last scrape.
    wanted: Arc<AtomicU64>,
    reports: Sender<(u64, Box<Report>)>,
}

impl Probe {
    /// Calls `report` and sends what it returns, if there was a scrape after number `answered`,
    /// which is then updated.
    #[inline]
    pub fn answer(&self, answered: &mut u64, report: impl FnOnce() -> Report) {
        // Relaxed: nothing is read that the asking side wrote before.
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted != *answered {
            *answered = wanted;
            // Nobody listens any more only when the program ends.
            let _ = self.reports.send((wanted, Box::new(report())));
        }
    }
}

/// The socket, before anything is served.
pub struct Metrics {
    listener: TcpListener,
    /// Where it listens.
    pub address: SocketAddr,
    outcome: Arc<Outcome>,
    wanted: Arc<AtomicU64>,
    sender: Sender<(u64, Box<Report>)>,
    reports: Receiver<(u64, Box<Report>)>,
}

impl Metrics {
    /// Listens on `address`; tells also of `outcome`.
    ///
    /// # Errors
    /// The address is in use or not this machine's.
    pub fn bind(address: SocketAddr, outcome: &Arc<Outcome>) -> Result<Self> {
        let open = || -> std::io::Result<_> {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = open().map_err(|error| {
            let remedy = listen_remedy(address, &error);
            anyhow::Error::from(error).context(format!(
                "--metrics {address}: cannot listen there; {remedy}"
            ))
        })?;
        let (sender, reports) = channel();
        Ok(Self {
            listener,
            address,
            outcome: Arc::clone(outcome),
            wanted: Arc::new(AtomicU64::new(0)),
            sender,
            reports,
        })
    }

    /// For the cores.
    pub fn probe(&self) -> Probe {
        Probe {
            wanted: Arc::clone(&self.wanted),
            reports: self.sender.clone(),
        }
    }

    /// Serves the counters of `cores` on a thread of its own, as long as the program runs.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn serve(self, cores: Vec<usize>) -> Result<()> {
        let serve = move || {
            let mut scrapers = VecDeque::new();
            loop {
                self.turn(&cores, &mut scrapers);
                thread::sleep(ACCEPT_EVERY);
            }
        };
        let thread = thread::Builder::new().name("metrics".to_owned());
        thread
            .spawn(serve)
            .context("--metrics: cannot start its thread; raise the limit on threads")?;
        Ok(())
    }

    /// Accepts scrapers, and serves them as far as that goes without waiting for one. All that ask in this
    /// turn get the same counters.
    fn turn(&self, cores: &[usize], scrapers: &mut VecDeque<Exchange>) {
        let now = Instant::now();
        for _ in 0..MAX_SCRAPERS {
            let Ok((socket, _)) = self.listener.accept() else {
                break;
            };
            if scrapers.len() == MAX_SCRAPERS {
                scrapers.pop_front();
            }
            scrapers.extend(Exchange::new(socket, now));
        }
        let text = LazyCell::new(|| self.text(cores).map_err(|error| format!("{error:#}")));
        let is_ready = self.outcome.is_ready();
        scrapers.retain_mut(|scraper| !scraper.turn(now, is_ready, || text.clone()));
    }

    /// What the cores have counted by now.
    fn text(&self, cores: &[usize]) -> Result<String> {
        let families = families::of(cores, &self.collect(cores.len()), &self.outcome);
        TextEncoder::new()
            .encode_to_string(&families)
            .context("encoding the counters")
    }

    /// A report of every core that answers in time.
    fn collect(&self, cores: usize) -> BTreeMap<usize, Box<Report>> {
        let number = self.wanted.fetch_add(1, Ordering::Relaxed) + 1;
        let deadline = Instant::now() + PATIENCE;
        let mut collected = BTreeMap::new();
        while collected.len() < cores {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((of, report)) = self.reports.recv_timeout(left) else {
                break;
            };
            // An answer to an earlier scrape came late.
            if of == number {
                collected.insert(report.core, report);
            }
        }
        collected
    }
}
