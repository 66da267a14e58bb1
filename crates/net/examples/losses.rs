//! Prints what a transfer of 20 MB reaches at losses, in virtual time: the same on every machine.

use spinlane_net::sim::{Bulk, Cause};

const BYTES: usize = 20_000_000;
const SEEDS: u64 = 5;

fn main() -> Result<(), String> {
    println!(
        "20 MB at 10 Gbit/s, mean of {SEEDS} seeds; per transfer: lost frames, segments sent again, recoveries, probes, time-outs"
    );
    println!(
        "   RTT us jitter gather  lost |  MB/s |  lost again recov. probes  RTOs | idle ms: RTO probe reordering frame"
    );
    for (delay_us, jitter_us, gather_us) in [
        (50, 0, 1),
        (50, 20, 1),
        (20, 0, 50),
        (50, 0, 200),
        (150, 0, 1),
        (500, 0, 1),
        (10_000, 0, 1),
    ] {
        for loss in [100, 300] {
            row(delay_us, jitter_us, gather_us, loss)?;
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn row(delay_us: u64, jitter_us: u64, gather_us: u64, loss: u64) -> Result<(), String> {
    let mut sums = [0.0; 6];
    let mut idle = [0.0; 4];
    for seed in 0..SEEDS {
        let bulk = Bulk {
            bytes: BYTES,
            delay_us,
            jitter_us,
            gather_us,
            loss,
            seed,
        };
        let transfer = bulk.run()?;
        let counters = &transfer.counters;
        let counts = [
            transfer.lost,
            counters.retransmissions,
            counters.recoveries,
            counters.probes,
            counters.timeouts,
        ];
        sums[0] += transfer.speed(BYTES);
        for (sum, count) in sums[1..].iter_mut().zip(counts) {
            *sum += count as f64;
        }
        for cause in Cause::ALL {
            idle[cause as usize] += transfer.idle(cause) as f64 / 1000.0;
        }
    }
    let [speed, lost, again, recoveries, probes, timeouts] = sums.map(|sum| sum / SEEDS as f64);
    let [timeout, probe, reordering, frame] = idle.map(|sum| sum / SEEDS as f64);
    println!(
        "  {:>7} {jitter_us:>6} {gather_us:>6} {:>4.1}% | {speed:>5.1} | {lost:>5.0} {again:>5.0} {recoveries:>6.0} {probes:>6.0} {timeouts:>5.1} | {timeout:>12.0} {probe:>5.0} {reordering:>10.0} {frame:>5.0}",
        2 * delay_us,
        loss as f64 / 100.0,
    );
    Ok(())
}
