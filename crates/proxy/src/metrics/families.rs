//! Reports as Prometheus' metric families. Times are in seconds, as its naming rules want.

use std::collections::BTreeMap;

use prometheus::proto::{
    Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType, Quantile, Summary,
};
use spinlane::lcore::KindStats;

use super::tables::{
    CONFIGURATION, CONNECTIONS, OPS, PACKET_GAUGES, PACKET_TOTALS, POLLS, QUEUE_PAIR_GAUGES,
    QUEUE_PAIR_TOTALS, QueuePair, Row, SERVER_GAUGES, SERVER_TOTALS,
};
use crate::reload::Outcome;
use crate::report::{QUANTILES, Report};

/// The families of `cores`, of which those in `reports` have answered.
pub fn of(
    cores: &[usize],
    reports: &BTreeMap<usize, Box<Report>>,
    outcome: &Outcome,
) -> Vec<MetricFamily> {
    let up = cores.iter().map(|core| {
        let up = f64::from(u8::from(reports.contains_key(core)));
        gauge(vec![label("core", core)], up)
    });
    let mut families = vec![family(
        "core_up",
        "1 if the core answered this scrape.",
        MetricType::GAUGE,
        up.collect(),
    )];
    let reports: Vec<&Report> = reports.values().map(|report| &**report).collect();
    families.extend(of_connections(&reports));
    families.extend(of_servers(&reports));
    families.extend(rows(MetricType::GAUGE, CONFIGURATION, || {
        [(Vec::new(), outcome)].into_iter()
    }));
    let expiries = outcome
        .expiries()
        .into_iter()
        .map(|(name, end)| gauge(vec![label("certificate", name)], end as f64));
    families.push(family(
        "certificate_expiry_timestamp_seconds",
        "When a certificate that is served ends.",
        MetricType::GAUGE,
        expiries.collect(),
    ));
    families.extend(of_packets(&reports));
    families.extend(rows(MetricType::COUNTER, POLLS, || {
        reports
            .iter()
            .map(|report| (of_core(report), &report.lcore))
    }));
    let queue_pairs = queue_pairs(&reports);
    families.extend(of_queue_pairs(&queue_pairs));
    families.extend(of_kinds(&queue_pairs));
    // The encoder refuses families of nobody.
    families.retain(|family| !family.get_metric().is_empty());
    families
}

fn of_connections(reports: &[&Report]) -> Vec<MetricFamily> {
    let open = reports
        .iter()
        .map(|report| gauge(of_core(report), report.open as f64));
    let closed = reports.iter().flat_map(|report| {
        report.counters.closed().map(|(closed, count)| {
            let labels = vec![label("core", report.core), label("reason", closed.name())];
            counter(labels, count as f64)
        })
    });
    let mut families = vec![
        family(
            "connections_open",
            "Connections open.",
            MetricType::GAUGE,
            open.collect(),
        ),
        family(
            "connections_closed_total",
            "Connections closed, by reason.",
            MetricType::COUNTER,
            closed.collect(),
        ),
    ];
    families.extend(rows(MetricType::COUNTER, CONNECTIONS, || {
        reports
            .iter()
            .map(|report| (of_core(report), &report.counters))
    }));
    families
}

fn of_servers(reports: &[&Report]) -> Vec<MetricFamily> {
    let each = || {
        reports.iter().flat_map(|report| {
            report.servers.iter().map(|server| {
                let mut labels = of_core(report);
                labels.extend([
                    label("backend", &server.pool),
                    label("server", &server.server),
                ]);
                (labels, server)
            })
        })
    };
    let mut families = rows(MetricType::COUNTER, SERVER_TOTALS, each);
    families.extend(rows(MetricType::GAUGE, SERVER_GAUGES, each));
    families
}

fn of_packets(reports: &[&Report]) -> Vec<MetricFamily> {
    let each = || {
        let with_packets = reports
            .iter()
            .filter_map(|report| Some((report, report.packets.as_deref()?)));
        with_packets.map(|(report, packets)| (of_core(report), packets))
    };
    let mut families = rows(MetricType::COUNTER, PACKET_TOTALS, each);
    families.extend(rows(MetricType::GAUGE, PACKET_GAUGES, each));
    let dropped = each().flat_map(|(labels, packets)| {
        packets.dropped().map(move |(reason, count)| {
            let labels = [labels.clone(), vec![label("reason", reason)]].concat();
            counter(labels, count as f64)
        })
    });
    families.push(family(
        "packets_dropped_total",
        "Frames dropped, or lost by the port, by reason.",
        MetricType::COUNTER,
        dropped.collect(),
    ));
    families
}

fn of_queue_pairs(queue_pairs: &[(Vec<LabelPair>, QueuePair)]) -> Vec<MetricFamily> {
    let each = || {
        queue_pairs
            .iter()
            .map(|(labels, pair)| (labels.clone(), pair))
    };
    let mut families = rows(MetricType::COUNTER, QUEUE_PAIR_TOTALS, each);
    families.extend(rows(MetricType::GAUGE, QUEUE_PAIR_GAUGES, each));
    let xstats = each().flat_map(|(labels, channel)| {
        channel.xstats.iter().map(move |(name, value)| {
            let labels = [labels.clone(), vec![label("name", name)]].concat();
            gauge(labels, *value as f64)
        })
    });
    families.push(family(
        "device_xstat",
        "Figures of this driver alone, by name.",
        MetricType::GAUGE,
        xstats.collect(),
    ));
    families
}

fn of_kinds(queue_pairs: &[(Vec<LabelPair>, QueuePair)]) -> Vec<MetricFamily> {
    let each = || {
        queue_pairs.iter().flat_map(|(labels, pair)| {
            pair.kinds.iter().map(move |kind| {
                let labels = [labels.clone(), vec![label("op", kind.kind)]].concat();
                (labels, kind)
            })
        })
    };
    let mut families = rows(MetricType::COUNTER, OPS, || {
        each().map(|(labels, kind)| (labels, &kind.counts))
    });
    families.push(family(
        "op_latency_seconds",
        "From the submission of an op to its callback; cancelled ops stay out.",
        MetricType::SUMMARY,
        each().map(|(labels, kind)| latency(labels, kind)).collect(),
    ));
    families
}

/// Every queue pair with its labels.
fn queue_pairs(reports: &[&Report]) -> Vec<(Vec<LabelPair>, QueuePair)> {
    let of_core = |report: &&Report| {
        let core = report.core;
        let labelled = report.lcore.queue_pairs().enumerate();
        let labelled = labelled.map(move |(number, pair)| {
            let labels = vec![
                label("core", core),
                label("queue_pair", number),
                label("device", &pair.device),
            ];
            (labels, pair)
        });
        labelled.collect::<Vec<_>>()
    };
    reports.iter().flat_map(of_core).collect()
}

fn latency(labels: Vec<LabelPair>, kind: &KindStats<&str>) -> Metric {
    let histogram = &kind.latency_ns;
    let quantiles = QUANTILES.map(|quantile| {
        let mut value = Quantile::default();
        value.set_quantile(quantile);
        value.set_value(histogram.value_at_quantile(quantile) as f64 / 1e9);
        value
    });
    let mut summary = Summary::default();
    summary.set_quantile(quantiles.into());
    summary.set_sample_count(histogram.len());
    // To the histogram's three digits.
    summary.set_sample_sum(histogram.mean() * histogram.len() as f64 / 1e9);
    let mut metric = Metric::from_label(labels);
    metric.set_summary(summary);
    metric
}

/// One family per row, with one metric per thing.
fn rows<'a, T: 'a, I: Iterator<Item = (Vec<LabelPair>, &'a T)>>(
    kind: MetricType,
    rows: &[Row<T>],
    things: impl Fn() -> I,
) -> Vec<MetricFamily> {
    let of_row = |&(name, help, value): &Row<T>| {
        let metrics = things().map(|(labels, thing)| match kind {
            MetricType::GAUGE => gauge(labels, value(thing)),
            _ => counter(labels, value(thing)),
        });
        family(name, help, kind, metrics.collect())
    };
    rows.iter().map(of_row).collect()
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(format!("spinlane_{name}"));
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn of_core(report: &Report) -> Vec<LabelPair> {
    vec![label("core", report.core)]
}

fn label(name: &str, value: impl ToString) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_string());
    label
}

fn counter(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}
