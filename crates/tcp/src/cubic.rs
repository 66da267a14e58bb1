//! Congestion control: CUBIC (RFC 9438), slow start and the initial window (RFC 5681, RFC 6928).
//!
//! Windows are in bytes, and inside the formulas in segments, as the RFC has them. Time is in
//! seconds.

use crate::time::Instant;

/// How fast the window grows (RFC 9438, section 5.1).
const C: f64 = 0.4;
/// What is left of the window after a loss (section 4.6).
const BETA: f64 = 0.7;
/// Growth per round trip that is as fair as Reno's (section 4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);
/// Segments of the initial window (RFC 6928).
const INITIAL: u32 = 10;
/// Windows beyond this are of no use to anyone.
const MOST: u32 = 1 << 30;

/// The congestion window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cubic {
    window: u32,
    threshold: u32,
    /// Window in segments before the last loss.
    before_loss: f32,
    /// When the present growth began, the window in segments that Reno would have by now, and the
    /// seconds after which the window is back where it was.
    epoch: Instant,
    reno: f32,
    back_after: f32,
}

/// A window that is not growing: its size, the threshold, and the size before the last loss.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes(u32, u32, f32);

#[expect(clippy::cast_possible_truncation, reason = "precision to spare")]
fn single(value: f64) -> f32 {
    value as f32
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and the minimum bounds it"
)]
fn bytes(segments: f64, mss: u32) -> u32 {
    ((segments * f64::from(mss)) as u32).min(MOST)
}

impl Cubic {
    pub(crate) fn new(mss: u32) -> Self {
        Self {
            window: (INITIAL * mss).min(14600.max(2 * mss)),
            threshold: u32::MAX,
            before_loss: 0.0,
            epoch: Instant::NEVER,
            reno: 0.0,
            back_after: 0.0,
        }
    }

    /// Returns the sizes that count after [`Cubic::idle`].
    pub(crate) fn sizes(&self) -> Sizes {
        Sizes(self.window, self.threshold, self.before_loss)
    }

    /// Makes a window with these sizes, not growing yet.
    pub(crate) fn of(Sizes(window, threshold, before_loss): Sizes) -> Self {
        Self {
            window,
            threshold,
            before_loss,
            epoch: Instant::NEVER,
            reno: 0.0,
            back_after: 0.0,
        }
    }

    /// Returns the congestion window, in bytes.
    pub(crate) fn window(&self) -> u32 {
        self.window
    }

    /// Reacts to a loss: the window shrinks to 0.7 of what was in flight (section 4.6), or to
    /// `least`, and comes back to somewhat less than before if it is shrinking repeatedly (section
    /// 4.7).
    pub(crate) fn lost(&mut self, mss: u32, in_flight: u32) {
        let window = f64::from(self.window) / f64::from(mss);
        let shrinking = window < f64::from(self.before_loss);
        self.before_loss = single(if shrinking {
            window * (1.0 + BETA) / 2.0
        } else {
            window
        });
        // Not more than was used: an application that sends little has not tried the rest.
        let used = in_flight.max(self.window / 2).min(self.window);
        self.threshold = bytes(f64::from(used) / f64::from(mss) * BETA, mss).max(2 * mss);
        self.window = self.threshold;
        self.epoch = Instant::NEVER;
    }

    /// Reacts to a time-out: one segment, and slow start (RFC 5681, section 3.1).
    pub(crate) fn timed_out(&mut self, mss: u32, in_flight: u32) {
        self.lost(mss, in_flight);
        self.window = mss;
    }

    /// Undoes nothing, but begins anew after an idle time of over a time-out (RFC 5681, section
    /// 4.1).
    pub(crate) fn idle(&mut self, mss: u32) {
        self.window = self.window.min(Self::new(mss).window);
        self.epoch = Instant::NEVER;
    }

    /// Grows by what was acknowledged while the window was full.
    pub(crate) fn acked(&mut self, now: Instant, mss: u32, acked: u32, rtt: f64) {
        if self.window < self.threshold {
            self.window = self.window.saturating_add(acked).min(MOST);
            return;
        }
        let window = f64::from(self.window) / f64::from(mss);
        if self.epoch == Instant::NEVER {
            self.epoch = now;
            self.reno = single(window);
            let before = f64::from(self.before_loss).max(window);
            self.before_loss = single(before);
            self.back_after = single(((before - window) / C).cbrt());
        }
        let before = f64::from(self.before_loss);
        let cubic = |time: f64| C * (time - f64::from(self.back_after)).powi(3) + before;
        let time = now.since(self.epoch).as_secs_f64();
        let segments = f64::from(acked) / f64::from(mss);
        // Section 4.3: Reno's window, which grows as fast as Reno once it has caught up.
        let alpha = if f64::from(self.reno) < before {
            ALPHA
        } else {
            1.0
        };
        self.reno = single(f64::from(self.reno) + alpha * segments / window);
        let next = if cubic(time) < f64::from(self.reno) {
            f64::from(self.reno).max(window)
        } else {
            // Sections 4.4 and 4.5: towards where the curve is a round trip later.
            let target = cubic(time + rtt).clamp(window, 1.5 * window);
            window + (target - window) / window * segments
        };
        self.window = bytes(next, mss).max(self.window);
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const MSS: u32 = 1000;

    /// Feeds a round trip's acknowledgements of a full window.
    fn round(cubic: &mut Cubic, now: Instant, rtt: f64) {
        for _ in 0..cubic.window() / MSS {
            cubic.acked(now, MSS, MSS, rtt);
        }
    }

    #[test]
    fn slow_start_doubles_and_a_loss_leaves_seven_tenths() {
        let mut cubic = Cubic::new(MSS);
        assert_eq!(cubic.window(), 10 * MSS);
        round(&mut cubic, Instant::default(), 0.1);
        assert_eq!(cubic.window(), 20 * MSS);
        cubic.lost(MSS, 20 * MSS);
        assert_eq!(cubic.window(), 14 * MSS);
        cubic.timed_out(MSS, 14 * MSS);
        assert_eq!(cubic.window(), MSS);
    }

    /// RFC 9438, section 4.2: after K = cbrt(W_max (1 - beta) / C) seconds the window is back.
    #[test]
    fn the_window_is_back_where_it_was_after_k() {
        let mut cubic = Cubic::new(MSS);
        cubic.window = 1000 * MSS;
        cubic.lost(MSS, 1000 * MSS);
        let rtt = Duration::from_millis(100);
        let mut now = Instant::default();
        let k = (1000.0_f64 * 0.3 / 0.4).cbrt();
        while now.since(Instant::default()).as_secs_f64() < k {
            assert!(cubic.window() <= 1001 * MSS, "{now:?}");
            round(&mut cubic, now, rtt.as_secs_f64());
            now = now + rtt;
        }
        assert!(cubic.window() > 980 * MSS, "{}", cubic.window());
        for _ in 0..50 {
            round(&mut cubic, now, rtt.as_secs_f64());
            now = now + rtt;
        }
        assert!(cubic.window() > 1040 * MSS, "{}", cubic.window());
    }
}
