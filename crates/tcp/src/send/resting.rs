//! The send side of a connection that has nothing to send.

use super::{Fin, Sender, Timer};
use crate::cubic::{self, Cubic};
use crate::rack::{self, Rack};
use crate::rtt::Rtt;
use crate::seq::Seq;
use crate::time::Instant;

/// What is left of a [`Sender`] with nothing queued or in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quiet {
    nxt: Seq,
    window: u32,
    largest_window: u32,
    wl1: Seq,
    wl2: Seq,
    mss: u16,
    pub(crate) sack: bool,
}

impl Sender {
    /// Returns what is to be kept of a send side that has been quiet for longer than a time-out;
    /// `None` if it has anything to do.
    pub(crate) fn quiet(&self, now: Instant) -> Option<(Quiet, Rtt, cubic::Sizes, rack::Habits)> {
        let is_quiet = self.una == self.nxt
            && self.data.is_empty()
            && self.fin == Fin::No
            && self.timer == Timer::Off
            && self.recovery.is_none()
            && self.probing.is_none()
            && now.since(self.last_sent) > self.rtt.timeout(0);
        is_quiet.then(|| {
            let mut cubic = self.cubic;
            cubic.idle(self.mss.into());
            let quiet = Quiet {
                nxt: self.nxt,
                window: self.window,
                largest_window: self.largest_window,
                wl1: self.wl1,
                wl2: self.wl2,
                mss: self.mss,
                sack: self.sack,
            };
            (quiet, self.rtt, cubic.sizes(), self.rack.habits())
        })
    }

    /// Makes the send side again.
    pub(crate) fn wake(quiet: &Quiet, rtt: Rtt, cubic: cubic::Sizes, rack: &rack::Habits) -> Self {
        // The first byte queued has the next number: our SYN is long acknowledged.
        let mut sender = Self::new(quiet.nxt - 1, quiet.mss);
        (sender.una, sender.nxt) = (quiet.nxt, quiet.nxt);
        (sender.window, sender.largest_window) = (quiet.window, quiet.largest_window);
        (sender.wl1, sender.wl2) = (quiet.wl1, quiet.wl2);
        sender.sack = quiet.sack;
        sender.rtt = rtt;
        sender.cubic = Cubic::of(cubic);
        sender.rack = Rack::of(quiet.nxt, rack);
        sender
    }
}
