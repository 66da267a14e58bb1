//! A core's counters as text.

use std::fmt;

use spinlane::lcore::{ChannelStats, KindStats, OpCounts, Stats};

use super::counters::Counters;
use super::packets::PacketReport;
use super::pool::ServerCounts;

/// The quantiles of a latency that are told.
pub const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

/// A core's counters at some time.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which core.
    pub core: usize,
    /// Connections open.
    pub open: usize,
    /// Its connections' counters.
    pub counters: Counters,
    /// Its lcore's counters.
    pub lcore: Stats,
    /// Its stack's, if it has one.
    pub packets: Option<Box<PacketReport>>,
    /// The servers of its backends.
    pub servers: Vec<ServerCounts>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "core {}: {} open", self.core, self.open)?;
        write!(f, "{}", self.counters)?;
        if let Some(packets) = &self.packets {
            write!(f, "{packets}")?;
        }
        let Stats {
            iterations,
            empty_polls,
            busy_ns,
            slow_callbacks,
            inline_ops,
            unrouted_ops,
            ..
        } = self.lcore;
        writeln!(
            f,
            "  polls         {iterations}, empty {empty_polls}, busy {} ms, slow callbacks {slow_callbacks}",
            busy_ns / 1_000_000
        )?;
        if inline_ops + unrouted_ops != 0 {
            writeln!(
                f,
                "  not offloaded {inline_ops} outside jobs, {unrouted_ops} of kinds no device serves"
            )?;
        }
        let mut queue_pairs = self.lcore.queue_pairs();
        queue_pairs.try_for_each(|queue_pair| write_channel(f, &queue_pair))
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            accepted,
            accept_errors,
            handshakes,
            resumed,
            handshakes_failed,
            ..
        } = self;
        writeln!(
            f,
            "  connections   {accepted} accepted, {accept_errors} accept errors, \
             {handshakes} handshakes ({resumed} resumed), {handshakes_failed} failed"
        )?;
        write!(f, "  closed       ")?;
        let mut separator = " ";
        for (closed, count) in self.closed() {
            write!(f, "{separator}{} {count}", closed.name())?;
            separator = ", ";
        }
        writeln!(f)?;
        let Self {
            received,
            sent,
            responses,
            backend_connects,
            bare_ends,
            refused,
            no_jobs,
            ..
        } = self;
        writeln!(
            f,
            "  traffic       {received} bytes in, {sent} out, {responses} responses, \
             {backend_connects} backend connections, {bare_ends} ends without close_notify"
        )?;
        if refused + no_jobs != 0 {
            writeln!(
                f,
                "  pressure      queue pair full {refused}, out of jobs {no_jobs}"
            )?;
        }
        Ok(())
    }
}

fn write_channel(f: &mut fmt::Formatter<'_>, channel: &ChannelStats<&str>) -> fmt::Result {
    let ChannelStats {
        device,
        counts,
        stray,
        in_flight,
        in_flight_peak,
        capacity,
        health,
        ..
    } = channel;
    let OpCounts {
        enqueued,
        completed,
        fallback,
        cancelled,
        failed,
        orphaned,
        refused,
        retried,
        errors,
        timed_out,
        ..
    } = counts;
    writeln!(
        f,
        "  device {device:<6} {enqueued} ops: {completed} completed, {fallback} fallback, {cancelled} cancelled, \
         {in_flight} in flight (peak {in_flight_peak} of {capacity}); {failed} failed, \
         refused {refused}, retried {retried}, orphaned {orphaned}, fill {}",
        channel
            .batch_fill_mean()
            .map_or_else(|| "-".to_owned(), |fill| format!("{fill:.2}")),
    )?;
    if errors + timed_out + stray + health.failures != 0 {
        writeln!(
            f,
            "    {}: failures {}, recoveries {}, probes {} ({} failed), errors {errors}, timed out {timed_out}, stray {stray}",
            if health.healthy {
                "healthy"
            } else {
                "UNHEALTHY"
            },
            health.failures,
            health.recoveries,
            health.probes,
            health.probes_failed,
        )?;
    }
    if !channel.xstats.is_empty() {
        write!(f, "   ")?;
        for (name, count) in &channel.xstats {
            write!(f, " {name} {count}")?;
        }
        writeln!(f)?;
    }
    write_kinds(f, &channel.kinds)
}

/// What became of the ops of each kind, and how long they took.
fn write_kinds(f: &mut fmt::Formatter<'_>, kinds: &[KindStats<&str>]) -> fmt::Result {
    if kinds.is_empty() {
        return Ok(());
    }
    writeln!(
        f,
        "    {:<16}{:>11}{:>11}{:>10}{:>10}{:>9}{:>9}{:>10}{:>10}{:>10}{:>10}",
        "op",
        "enqueued",
        "completed",
        "fallback",
        "cancelled",
        "refused",
        "retried",
        "timed out",
        "p50 us",
        "p99 us",
        "p99.9 us"
    )?;
    for KindStats {
        kind,
        counts,
        latency_ns,
    } in kinds
    {
        let OpCounts {
            enqueued,
            completed,
            fallback,
            cancelled,
            refused,
            retried,
            timed_out,
            ..
        } = counts;
        write!(
            f,
            "    {kind:<16}{enqueued:>11}{completed:>11}{fallback:>10}{cancelled:>10}{refused:>9}{retried:>9}{timed_out:>10}"
        )?;
        for quantile in QUANTILES {
            let latency_us = latency_ns.value_at_quantile(quantile) as f64 / 1e3;
            write!(f, "{latency_us:>10.1}")?;
        }
        writeln!(f)?;
    }
    Ok(())
}
