//! A connection: what it is made with, its states, and what an application does with it.

mod arrives;
mod output;
mod resting;

pub use resting::Resting;

use std::time::Duration;

use crate::receive::Receiver;
use crate::segment::{DEFAULT_MSS, LARGEST_SCALE, Segment};
use crate::send::{Repairs, Sender};
use crate::seq::Seq;
use crate::time::Instant;

/// Bytes of the timestamps in every header.
const TIMESTAMPS_LEN: u16 = 12;
/// Less than any network carries: a peer that asks for smaller segments would make us busy.
const LEAST_MSS: u16 = 48;

/// What a connection is made with.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Data of a segment that the network carries: its MTU without IP and TCP headers.
    pub mss: u16,
    /// Bytes that may wait to be read: the largest window.
    pub receive_limit: u32,
    /// Whether selective acknowledgements are offered (RFC 2018).
    pub sack: bool,
    /// Whether timestamps are offered (RFC 7323).
    pub timestamps: bool,
    /// A peer that owes an acknowledgement for so long is given up (R2 of RFC 9293, section 3.8.3).
    pub user_timeout: Duration,
    /// How long TIME-WAIT lasts.
    pub time_wait: Duration,
    /// How long a peer that sends nothing may take to close after we have.
    pub fin_wait: Duration,
}

impl Default for Config {
    /// Ethernet's MSS, 256 KiB, all options, 180 s, and Linux's times for closing.
    fn default() -> Self {
        Self {
            mss: 1460,
            receive_limit: 256 * 1024,
            sack: true,
            timestamps: true,
            user_timeout: Duration::from_secs(180),
            time_wait: Duration::from_secs(60),
            fin_wait: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// Returns what a SYN with this configuration offers, but for its numbers.
    pub fn offer(&self) -> Segment {
        Segment {
            window: u16::try_from(self.receive_limit).unwrap_or(u16::MAX),
            mss: Some(self.mss),
            scale: Some(scale_of(self.receive_limit)),
            sack_permitted: self.sack,
            timestamps: self.timestamps.then_some((0, 0)),
            ..Segment::default()
        }
    }
}

/// The states of RFC 9293, section 3.3.2. LISTEN is the flow table's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[expect(missing_docs, reason = "they are the RFC's")]
pub enum State {
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
}

/// Why a connection is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum End {
    /// Both sides have closed, and all data has arrived.
    #[error("the connection is closed")]
    Closed,
    /// The peer reset it.
    #[error("the peer reset the connection")]
    Reset,
    /// The peer refused it.
    #[error("the peer refused the connection")]
    Refused,
    /// The peer did not acknowledge in time.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// [`Tcb::abort`].
    #[error("the connection was aborted here")]
    Aborted,
}

/// Where segments go.
pub trait Emit {
    /// Sends a segment whose data is `payload`'s two parts in a row. A segment that finds no room
    /// is lost, and repaired as any other that is lost.
    fn emit(&mut self, segment: &Segment, payload: [&[u8]; 2]);
}

impl<F: FnMut(&Segment, [&[u8]; 2])> Emit for F {
    fn emit(&mut self, segment: &Segment, payload: [&[u8]; 2]) {
        self(segment, payload);
    }
}

/// A transmission control block: one connection.
///
/// The caller tells it what came ([`Tcb::segment`]) and what time it is, and then lets it speak
/// ([`Tcb::output`]): after a burst of segments, after [`Tcb::send`], [`Tcb::read`], [`Tcb::close`]
/// or [`Tcb::abort`], and when [`Tcb::due`] has come.
#[derive(Debug)]
pub struct Tcb {
    state: State,
    end: Option<End>,
    /// Opened by us.
    active: bool,
    /// A RST with this number is to go out, with an acknowledgement if there is something to
    /// acknowledge.
    reset: Option<Seq>,
    timestamps: bool,
    /// How far windows are shifted: the peer's, ours.
    send_scale: u8,
    receive_scale: u8,
    /// What our SYN offers.
    offer: Offer,
    sender: Sender,
    receiver: Receiver,
    /// End of TIME-WAIT or FIN-WAIT-2.
    state_due: Instant,
    challenged: Option<Instant>,
    user_timeout: Duration,
    time_wait: Duration,
    fin_wait: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Offer {
    mss: u16,
    scale: Option<u8>,
    sack: bool,
}

/// Returns the scale with which a window of `limit` bytes fits into 16 bits.
fn scale_of(limit: u32) -> u8 {
    (0..LARGEST_SCALE)
        .find(|scale| limit >> scale <= u32::from(u16::MAX))
        .unwrap_or(LARGEST_SCALE)
}

impl Tcb {
    /// Makes an active open: [`Tcb::output`] sends the SYN. `isn` comes from [`Isn`](crate::Isn).
    pub fn connect(config: &Config, isn: Seq) -> Self {
        Self::new(config, isn, State::SynSent)
    }

    /// Makes a passive open by the SYN that came: [`Tcb::output`] sends the SYN-ACK.
    pub fn accept(config: &Config, now: Instant, isn: Seq, syn: &Segment) -> Self {
        let mut tcb = Self::new(config, isn, State::SynReceived);
        tcb.active = false;
        tcb.take_syn(now, syn);
        tcb
    }

    /// Makes a passive open whose SYN-ACK, with the number `isn`, has gone out without a
    /// connection: the acknowledgement of a SYN cookie (RFC 4987, section 3.6) is to follow. `syn`
    /// is what the peer's SYN must have said. No round-trip time is taken of it.
    pub fn accept_answered(config: &Config, now: Instant, isn: Seq, syn: &Segment) -> Self {
        let mut tcb = Self::accept(config, now, isn, syn);
        tcb.receiver.offer(config.mss);
        tcb.sender.syn_sent(now);
        tcb.sender.was_resent();
        tcb
    }

    fn new(config: &Config, isn: Seq, state: State) -> Self {
        Self {
            state,
            end: None,
            active: true,
            reset: None,
            timestamps: config.timestamps,
            send_scale: 0,
            receive_scale: scale_of(config.receive_limit),
            offer: Offer {
                mss: config.mss,
                scale: Some(scale_of(config.receive_limit)),
                sack: config.sack,
            },
            sender: Sender::new(isn, config.mss.min(DEFAULT_MSS)),
            receiver: Receiver::new(config.receive_limit),
            state_due: Instant::NEVER,
            challenged: None,
            user_timeout: config.user_timeout,
            time_wait: config.time_wait,
            fin_wait: config.fin_wait,
        }
    }

    /// Takes what the peer's SYN offers; both sides use what both offered.
    fn take_syn(&mut self, now: Instant, syn: &Segment) {
        self.receiver.begin(syn.seq);
        self.sender.first_window(syn);
        let peers = syn.mss.unwrap_or(DEFAULT_MSS).max(LEAST_MSS);
        self.timestamps &= syn.timestamps.is_some();
        let mut mss = peers.min(self.offer.mss);
        if let Some((value, _)) = syn.timestamps.filter(|_| self.timestamps) {
            self.receiver.first_timestamp(now, value);
            mss = mss.saturating_sub(TIMESTAMPS_LEN);
        }
        self.offer.sack &= syn.sack_permitted;
        self.sender.agree(mss, self.offer.sack);
        match syn.scale {
            Some(scale) => self.send_scale = scale,
            None => (self.offer.scale, self.receive_scale) = (None, 0),
        }
    }

    // The application's side.

    /// Returns the state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns why the connection is over; `None` before.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Queues data, `limit` bytes unacknowledged ones included at most. Returns how many bytes were
    /// taken: zero also before the handshake, and after [`Tcb::close`].
    pub fn send(&mut self, bytes: &[u8], limit: usize) -> usize {
        let open = matches!(self.state, State::Established | State::CloseWait);
        let room = limit.saturating_sub(self.sender.queued());
        let count = if open && !self.sender.closing() {
            bytes.len().min(room)
        } else {
            0
        };
        self.sender.push(&bytes[..count]);
        count
    }

    /// Returns how many bytes are queued and not yet acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.sender.queued()
    }

    /// Lets `read` see what waits to be read, in two parts in a row; it returns how many bytes it
    /// has taken, and so does this.
    pub fn read(&mut self, read: impl FnOnce([&[u8]; 2]) -> usize) -> usize {
        self.receiver.read(read)
    }

    /// Returns how many bytes wait to be read.
    pub fn readable(&self) -> usize {
        self.receiver.ready()
    }

    /// Returns `true` if the peer has closed its side, and all of its data has been taken in. What
    /// [`Tcb::readable`] counts may still be read.
    pub fn peer_finished(&self) -> bool {
        self.receiver.is_finished()
    }

    /// Sets how many bytes may wait to be read: what the application has room for. The window that
    /// was offered stands.
    pub fn set_receive_limit(&mut self, limit: u32) {
        self.receiver.set_limit(limit);
    }

    /// Closes our side: a FIN goes out behind the data queued. The peer's data still comes.
    pub fn close(&mut self) {
        match self.state {
            // Nobody was told of it (RFC 9293, section 3.10.4).
            State::SynSent => self.over(End::Closed),
            State::SynReceived | State::Established | State::CloseWait => self.sender.finish(),
            _ => {}
        }
    }

    /// Ends the connection at once; data queued is thrown away. The peer gets a RST.
    pub fn abort(&mut self) {
        if !matches!(self.state, State::SynSent | State::TimeWait | State::Closed) {
            self.reset = Some(self.sender.nxt);
        }
        if self.end.is_none() {
            self.over(End::Aborted);
        }
    }

    /// Ends the connection without a word: the peer cannot be reached.
    pub fn give_up(&mut self) {
        if self.end.is_none() {
            self.over(End::TimedOut);
        }
    }

    fn over(&mut self, end: End) {
        self.state = State::Closed;
        self.end = Some(end);
        self.state_due = Instant::NEVER;
    }

    /// Returns `true` if `seq` is a number that was sent and is not acknowledged: what an ICMP
    /// message must name to be believed (RFC 5927, section 4.1).
    pub fn is_outstanding(&self, seq: Seq) -> bool {
        self.sender.una <= seq && seq < self.sender.nxt
    }

    /// Limits segments to `mss` bytes, since an ICMP "too big" said so. What is
    /// larger and in flight is sent again, cut to size; it was not lost by congestion.
    pub fn set_mss(&mut self, mss: u16) {
        let options = if self.timestamps { TIMESTAMPS_LEN } else { 0 };
        self.sender
            .too_big(mss.max(LEAST_MSS).saturating_sub(options));
    }

    /// Returns how losses were repaired since the last call. A connection that rests forgets what was not taken.
    pub fn take_repairs(&mut self) -> Repairs {
        std::mem::take(&mut self.sender.repairs)
    }

    /// Returns the smoothed round-trip time, once there is one.
    pub fn round_trip(&self) -> Option<Duration> {
        self.sender.rtt.smoothed()
    }

    /// Returns how many bytes of data a segment has at most.
    pub fn mss(&self) -> u16 {
        self.sender.mss
    }

    /// Returns the window that the last segment offered, as it stands in a header.
    pub fn window(&self) -> u16 {
        u16::try_from(self.receiver.window() >> self.receive_scale).unwrap_or(u16::MAX)
    }

    /// Returns the number that our next byte has.
    pub fn next(&self) -> Seq {
        self.sender.nxt
    }

    /// Returns the peer's latest timestamp, if timestamps are used.
    pub fn recent_timestamp(&self) -> Option<u32> {
        self.timestamps.then_some(self.receiver.recent)
    }

    /// Returns the number that the peer's next byte has.
    pub fn expects(&self) -> Seq {
        self.receiver.nxt
    }

    /// Pieces that wait for a gap to close, and their bytes.
    pub fn ahead(&self) -> (usize, usize) {
        self.receiver.ahead()
    }
}
