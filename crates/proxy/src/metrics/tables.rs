//! What is told, of which counter; names as the Prometheus naming rules want them, less `spinlane_`.

use spinlane::lcore::{ChannelStats, OpCounts, Stats};

use crate::counters::Counters;
use crate::packets::PacketReport;
use crate::pool::ServerCounts;
use crate::reload::Outcome;

/// Name, help, value.
pub type Row<T> = (&'static str, &'static str, fn(&T) -> f64);

/// One row to a line: `name "help" = value;`, the value in terms of `$of`.
macro_rules! rows {
    ($of:ident; $($name:ident $help:literal = $value:expr;)*) => {
        &[$((stringify!($name), $help, |$of| $value as f64)),*]
    };
}

/// Of a core's connections.
pub const CONNECTIONS: &[Row<Counters>] = rows! { c;
    connections_accepted_total "Connections accepted." = c.accepted;
    accept_errors_total "Times no connection could be accepted." = c.accept_errors;
    handshakes_total "Handshakes done." = c.handshakes;
    handshakes_resumed_total "Of these, resumptions." = c.resumed;
    handshakes_failed_total "Handshakes that failed." = c.handshakes_failed;
    jobs_exhausted_total "Times a core had no job left." = c.no_jobs;
    bare_ends_total "Clients that ended without close_notify." = c.bare_ends;
    backend_connections_total "Backend connections made." = c.backend_connects;
    responses_total "Requests answered by the built-in responder." = c.responses;
    received_bytes_total "Bytes from clients, encrypted." = c.received;
    sent_bytes_total "Bytes to clients, encrypted." = c.sent;
};

/// Of a core's TCP/IP stack: counters.
pub const PACKET_TOTALS: &[Row<PacketReport>] = rows! { p;
    packets_received_total "Frames received." = p.counters.received;
    packets_sent_total "Frames sent." = p.counters.sent;
    packets_handed_total "Frames that went on to another core." = p.handed;
    tcp_accepted_total "TCP connections that clients opened." = p.counters.accepted;
    tcp_connected_total "TCP connections opened by us." = p.counters.connected;
    tcp_retransmissions_total "Segments sent again." = p.counters.retransmissions;
    tcp_timeouts_total "Time-outs of what was sent: losses that no acknowledgement has shown." = p.counters.timeouts;
    tcp_probes_total "Tail loss probes." = p.counters.probes;
    tcp_recoveries_total "Losses, or several within a round trip, that acknowledgements have shown." = p.counters.recoveries;
    tcp_cookies_sent_total "SYNs answered by a cookie." = p.counters.cookies_sent;
    tcp_cookies_taken_total "Connections made of a cookie." = p.counters.cookies_taken;
    tcp_half_open_expired_total "Half-open connections given up." = p.counters.half_open_expired;
    tcp_orphans_expired_total "Connections ended as the peer took too long to close." = p.counters.orphans_expired;
    tcp_time_wait_evicted_total "TIME-WAIT entries that made room before their time." = p.counters.time_wait_evicted;
    neighbour_questions_total "Questions for neighbours' addresses." = p.counters.questions;
};

/// Of a core's TCP/IP stack: gauges.
pub const PACKET_GAUGES: &[Row<PacketReport>] = rows! { p;
    tcp_flows "TCP connections, TIME-WAIT excluded." = p.flows;
    tcp_half_open "Of them, those whose handshake is not complete." = p.half_open;
    tcp_time_wait "Connections in TIME-WAIT." = p.time_waiting;
};

/// Of a server of a backend: counters.
pub const SERVER_TOTALS: &[Row<ServerCounts>] = rows! { s;
    server_connections_total "Connections made to a backend's server." = s.connects;
    server_failures_total "Connections to a backend's server that could not be made." = s.failures;
};

/// Of a server of a backend: gauges.
pub const SERVER_GAUGES: &[Row<ServerCounts>] = rows! { s;
    server_connections_open "Connections to a backend's server, open or being made." = s.open;
    server_up "1 if a backend's server gave signs of life, or nobody asks." = u8::from(s.up);
};

/// Of the configuration.
pub const CONFIGURATION: &[Row<Outcome>] = rows! { o;
    config_last_reload_successful "1 if the last SIGHUP was followed, or there was none." = u8::from(o.is_good());
    config_last_reload_success_timestamp_seconds "When what is in force was read." = o.good_since();
};

/// Of an lcore.
pub const POLLS: &[Row<Stats>] = rows! { s;
    polls_total "Poll iterations." = s.iterations;
    empty_polls_total "Polls that found nothing to do." = s.empty_polls;
    busy_seconds_total "Time in polls that found something to do." = s.busy_ns as f64 / 1e9;
    callbacks_total "Callbacks made." = s.callbacks;
    slow_callback_polls_total "Polls whose callbacks were slow." = s.slow_callbacks;
    restart_polls_total "Polls by a resume that came too early." = s.restart_polls;
    inline_ops_total "Ops computed outside jobs." = s.inline_ops;
    unrouted_ops_total "Ops of kinds that no device serves." = s.unrouted_ops;
};

/// Of a queue pair and op kind. At any time enqueued = completed + fallback + cancelled + in flight.
pub const OPS: &[Row<OpCounts>] = rows! { o;
    ops_enqueued_total "Ops accepted." = o.enqueued;
    ops_completed_total "Ops ended by the device." = o.completed;
    ops_fallback_total "Ops ended by software in its place." = o.fallback;
    ops_cancelled_total "Ops ended after their connection closed." = o.cancelled;
    ops_failed_total "Of completed and fallback, the failed ones." = o.failed;
    ops_orphaned_total "Results that nobody read." = o.orphaned;
    ops_refused_total "Attempts refused, the queue pair being full." = o.refused;
    ops_retried_total "Attempts made again after a refusal." = o.retried;
    ops_device_errors_total "Ops that the device failed." = o.errors;
    ops_timed_out_total "Ops not back by their deadline." = o.timed_out;
    ops_bytes_total "Bytes of input, of text of records, of those that succeeded." = o.bytes;
};

/// A queue pair, whichever the class of its ops.
pub type QueuePair = ChannelStats<&'static str>;

/// Of a queue pair: counters.
pub const QUEUE_PAIR_TOTALS: &[Row<QueuePair>] = rows! { c;
    stray_completions_total "Ops given back late or twice." = c.stray;
    idle_flushes_total "Partial batches started for want of other work." = c.idle_flushes;
    batches_total "Batches run in lanes." = c.device_stats.batches;
    batched_ops_total "Ops run in those batches." = c.device_stats.batched;
    scalar_ops_total "Ops of a batching device run one at a time." = c.device_stats.scalar;
    faults_caught_total "Wrong results caught before they left." = c.device_stats.faults_caught;
    device_failures_total "Times the device became unhealthy." = c.health.failures;
    device_recoveries_total "Times it became healthy again." = c.health.recoveries;
    device_probes_total "Probes sent to it." = c.health.probes;
    device_probes_failed_total "Probes that failed." = c.health.probes_failed;
};

/// Of a queue pair: gauges.
pub const QUEUE_PAIR_GAUGES: &[Row<QueuePair>] = rows! { c;
    ops_in_flight "Ops in flight." = c.in_flight;
    ops_in_flight_peak "Most ops ever in flight." = c.in_flight_peak;
    queue_pair_capacity "Ops in flight at most." = c.capacity;
    retry_queue_length "Connections in the retry queue." = c.retry_queue;
    device_healthy "1 if ops go to the device, 0 if software serves." = u8::from(c.health.healthy);
    batch_fill_mean "Mean number of lanes filled per batch." = c.batch_fill_mean().unwrap_or(0.0);
};
