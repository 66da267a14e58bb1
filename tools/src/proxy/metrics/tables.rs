//! What is told, of which counter; names as the Prometheus naming rules want them, less `spinlane_`.

use spinlane::lcore::{ChannelStats, OpCounts, Stats};

use crate::proxy::counters::Counters;

/// Name, help, value.
pub type Row<T> = (&'static str, &'static str, fn(&T) -> f64);

/// Of a core's connections.
pub const CONNECTIONS: &[Row<Counters>] = &[
    ("connections_accepted_total", "Connections accepted.", |c| {
        c.accepted as f64
    }),
    (
        "accept_errors_total",
        "Times no connection could be accepted.",
        |c| c.accept_errors as f64,
    ),
    ("handshakes_total", "Handshakes done.", |c| {
        c.handshakes as f64
    }),
    ("handshakes_resumed_total", "Of these, resumptions.", |c| {
        c.resumed as f64
    }),
    ("handshakes_failed_total", "Handshakes that failed.", |c| {
        c.handshakes_failed as f64
    }),
    (
        "jobs_exhausted_total",
        "Times a core had no job left.",
        |c| c.no_jobs as f64,
    ),
    (
        "bare_ends_total",
        "Clients that ended without close_notify.",
        |c| c.bare_ends as f64,
    ),
    (
        "backend_connections_total",
        "Backend connections made.",
        |c| c.backend_connects as f64,
    ),
    (
        "responses_total",
        "Requests answered by the built-in responder.",
        |c| c.responses as f64,
    ),
    (
        "received_bytes_total",
        "Bytes from clients, encrypted.",
        |c| c.received as f64,
    ),
    ("sent_bytes_total", "Bytes to clients, encrypted.", |c| {
        c.sent as f64
    }),
];

/// Of an lcore.
pub const POLLS: &[Row<Stats>] = &[
    ("polls_total", "Poll iterations.", |s| s.iterations as f64),
    (
        "empty_polls_total",
        "Polls that found nothing to do.",
        |s| s.empty_polls as f64,
    ),
    (
        "busy_seconds_total",
        "Time in polls that found something to do.",
        |s| s.busy_ns as f64 / 1e9,
    ),
    ("callbacks_total", "Callbacks made.", |s| s.callbacks as f64),
    (
        "slow_callback_polls_total",
        "Polls whose callbacks were slow.",
        |s| s.slow_callbacks as f64,
    ),
    (
        "restart_polls_total",
        "Polls by a resume that came too early.",
        |s| s.restart_polls as f64,
    ),
    ("inline_ops_total", "Ops computed outside jobs.", |s| {
        s.inline_ops as f64
    }),
    (
        "unrouted_ops_total",
        "Ops of kinds that no device serves.",
        |s| s.unrouted_ops as f64,
    ),
];

/// Of a queue pair and op kind. At any time enqueued = completed + fallback + cancelled + in flight.
pub const OPS: &[Row<OpCounts>] = &[
    ("ops_enqueued_total", "Ops accepted.", |o| o.enqueued as f64),
    ("ops_completed_total", "Ops ended by the device.", |o| {
        o.completed as f64
    }),
    (
        "ops_fallback_total",
        "Ops ended by software in its place.",
        |o| o.fallback as f64,
    ),
    (
        "ops_cancelled_total",
        "Ops ended after their connection closed.",
        |o| o.cancelled as f64,
    ),
    (
        "ops_failed_total",
        "Of completed and fallback, the failed ones.",
        |o| o.failed as f64,
    ),
    ("ops_orphaned_total", "Results that nobody read.", |o| {
        o.orphaned as f64
    }),
    (
        "ops_refused_total",
        "Attempts refused, the queue pair being full.",
        |o| o.refused as f64,
    ),
    (
        "ops_retried_total",
        "Attempts made again after a refusal.",
        |o| o.retried as f64,
    ),
    (
        "ops_device_errors_total",
        "Ops that the device failed.",
        |o| o.errors as f64,
    ),
    (
        "ops_timed_out_total",
        "Ops not back by their deadline.",
        |o| o.timed_out as f64,
    ),
];

/// Of a queue pair: counters.
pub const QUEUE_PAIR_TOTALS: &[Row<ChannelStats>] = &[
    (
        "stray_completions_total",
        "Ops given back late or twice.",
        |c| c.stray as f64,
    ),
    (
        "idle_flushes_total",
        "Partial batches started for want of other work.",
        |c| c.idle_flushes as f64,
    ),
    ("batches_total", "Batches run in lanes.", |c| {
        c.device_stats.batches as f64
    }),
    ("batched_ops_total", "Ops run in those batches.", |c| {
        c.device_stats.batched as f64
    }),
    (
        "scalar_ops_total",
        "Ops of a batching device run one at a time.",
        |c| c.device_stats.scalar as f64,
    ),
    (
        "faults_caught_total",
        "Wrong results caught before they left.",
        |c| c.device_stats.faults_caught as f64,
    ),
    (
        "device_failures_total",
        "Times the device became unhealthy.",
        |c| c.health.failures as f64,
    ),
    (
        "device_recoveries_total",
        "Times it became healthy again.",
        |c| c.health.recoveries as f64,
    ),
    ("device_probes_total", "Probes sent to it.", |c| {
        c.health.probes as f64
    }),
    ("device_probes_failed_total", "Probes that failed.", |c| {
        c.health.probes_failed as f64
    }),
];

/// Of a queue pair: gauges.
pub const QUEUE_PAIR_GAUGES: &[Row<ChannelStats>] = &[
    ("ops_in_flight", "Ops in flight.", |c| c.in_flight as f64),
    ("ops_in_flight_peak", "Most ops ever in flight.", |c| {
        c.in_flight_peak as f64
    }),
    ("queue_pair_capacity", "Ops in flight at most.", |c| {
        c.capacity as f64
    }),
    (
        "retry_queue_length",
        "Connections in the retry queue.",
        |c| c.retry_queue as f64,
    ),
    (
        "device_healthy",
        "1 if ops go to the device, 0 if software serves.",
        |c| f64::from(u8::from(c.health.healthy)),
    ),
    (
        "batch_fill_mean",
        "Mean number of lanes filled per batch.",
        |c| c.batch_fill_mean().unwrap_or(0.0),
    ),
];
