//! Two ends of a connection, and a schedule that says when which bytes arrive: while an op is with a
//! device, between its completion and the resume, after a refusal, while there is no job to be had.
//!
//! ```text
//!   call ── Waits ──▶ moment ── poll ──▶ moment ── ready ──▶ call ── Done
//!     ▲                 a moment: segments may arrive
//!     └── moment ◀── WantInput, NoJobs
//! ```
//! An end is called only when its contract says so: by the lcore after a pause or a refusal, when
//! bytes came after [`Step::WantInput`], when output left after [`Step::WantOutput`]. So an end that
//! overlooks what is there already is called by nobody, and the handshake gets stuck.

use std::ptr;
use std::rc::Rc;

use spinlane_cryptodev::Request;
use spinlane_job::{self as job, Foreign, Job, WaitCtx};
use spinlane_lcore::{Conn, Lcore};

/// What each end says once it is established, before it closes.
const TEXT: &[u8] = b"said at once, and then goodbye";
/// Bytes of a record's header.
const HEADER: usize = 5;
/// More turns than any handshake takes.
const MAX_TURNS: usize = 10_000;

/// How far a call of an end got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Done,
    WantInput,
    WantOutput,
    /// Paused or refused: the lcore calls.
    Waits,
    NoJobs,
    Closed,
}

/// An end of a connection, attached to the lcore as [`CLIENT`] or [`SERVER`].
pub trait End {
    fn handshake(&mut self) -> Step;
    /// Appends text to `heard`, as much as one call reads.
    fn read(&mut self, heard: &mut Vec<u8>) -> Step;
    /// Writes `text` and closes.
    fn say(&mut self, text: &[u8]);
    /// Returns how many of `bytes` it took.
    fn push(&mut self, bytes: &[u8]) -> usize;
    /// Appends its output to `wire`.
    fn drain(&mut self, wire: &mut Vec<u8>);
    /// No more bytes will come.
    fn end_input(&mut self) {}
}

pub const CLIENT: usize = 0;
pub const SERVER: usize = 1;

/// What stands in the way of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// Each op is refused once: another's has the only slot. Wants an lcore with one slot.
    Refusing,
    /// Each call finds that another has the only job. Wants a thread with one job.
    Jobless,
}

struct Side<E> {
    end: E,
    /// On its way to this end.
    wire: Vec<u8>,
    is_due: bool,
    waits: bool,
    is_established: bool,
    heard: Vec<u8>,
    has_closed: bool,
}

/// Both ends, and what else the lcore has to do.
pub struct World<'a, E> {
    lcore: &'a Lcore,
    weather: Weather,
    sides: [Side<E>; 2],
    rival: Option<Rival>,
    /// The last call was hindered.
    was_hindered: bool,
    /// Something happened since the last moment.
    is_new: bool,
}

/// A job that has an op with the device.
struct Rival {
    job: Rc<Job>,
    _wait_ctx: Rc<WaitCtx>,
}

fn ignore(_: *const (), _: *mut ()) {}

impl Rival {
    fn new() -> Option<Self> {
        let wait_ctx = WaitCtx::new();
        let ignored = Foreign::new(ignore, ptr::null(), ptr::null_mut());
        wait_ctx.set_notify(Some(ignored.into()));
        let (_, job) = job::start(Some(&wait_ctx), || {
            let request = Request::x25519_keygen(&[7; 32]);
            // Refused, it is cancelled.
            let _ = spinlane_lcore::offload(&request, &mut [0; 32]);
            0
        })
        .unwrap();
        let job = job?;
        if job.awaited() == 0 {
            job.cancel();
            job.resume().unwrap();
            return None;
        }
        Some(Self {
            job,
            _wait_ctx: wait_ctx,
        })
    }
}

impl<'a, E: End> World<'a, E> {
    pub fn new(lcore: &'a Lcore, weather: Weather, client: E, server: E) -> Self {
        let side = |end| Side {
            end,
            wire: Vec::new(),
            is_due: true,
            waits: false,
            is_established: false,
            heard: Vec::new(),
            has_closed: false,
        };
        Self {
            lcore,
            weather,
            sides: [side(client), side(server)],
            rival: None,
            was_hindered: false,
            is_new: true,
        }
    }

    /// The ends, when all is over.
    pub fn into_ends(self) -> [E; 2] {
        self.sides.map(|side| side.end)
    }

    /// `focus` gets its bytes record by record, at the moments that `arrives` picks; the other end
    /// gets them at once.
    pub fn run_records(&mut self, focus: usize, mut arrives: impl FnMut() -> bool) {
        let other = 1 - focus;
        for _ in 0..MAX_TURNS {
            self.deliver(other, usize::MAX);
            if self.sides[other].is_due && self.call(other) {
                continue;
            }
            if self.sides[focus].is_due {
                self.moment(focus, &mut arrives);
                self.hinder();
                if self.call(focus) {
                    continue;
                }
            }
            if self.waits() || self.sides[focus].is_due {
                self.moment(focus, &mut arrives);
                self.poll();
                self.moment(focus, &mut arrives);
                self.call_ready();
            } else if !self.sides[focus].wire.is_empty() {
                self.deliver_record(focus);
            } else {
                return self.check();
            }
        }
        panic!("the handshake goes on for ever");
    }

    /// Each byte of `script` says what happens next; when it is at its end, all that is left.
    pub fn run_script(&mut self, script: &[u8]) {
        for byte in script {
            let (action, how) = (byte % 8, usize::from(byte / 8));
            let side = how % 2;
            match action {
                0 | 1 => self.deliver_part(side, how / 2),
                2 | 3 => self.deliver_record(side),
                4 => self.poll(),
                5 => self.call_ready(),
                6 => self.hinder(),
                _ if self.sides[side].is_due => {
                    self.call(side);
                }
                _ => {}
            }
        }
        self.run_records(SERVER, || false);
    }

    /// Records may arrive now.
    fn moment(&mut self, focus: usize, arrives: &mut impl FnMut() -> bool) {
        if !std::mem::take(&mut self.is_new) {
            return;
        }
        while !self.sides[focus].wire.is_empty() && arrives() {
            self.deliver_record(focus);
        }
    }

    fn deliver_record(&mut self, side: usize) {
        let count = match self.sides[side].wire.first_chunk::<HEADER>() {
            Some([.., high, low]) => HEADER + usize::from(u16::from_be_bytes([*high, *low])),
            None => usize::MAX,
        };
        self.deliver(side, count);
    }

    /// Some bytes; how many says `how`, from 0 to 15.
    fn deliver_part(&mut self, side: usize, how: usize) {
        let len = self.sides[side].wire.len();
        let count = match how {
            0..4 => how + 1,
            4 => HEADER,
            5 => HEADER + 1,
            6 => len.saturating_sub(1),
            _ => len * how / 16,
        };
        self.deliver(side, count);
    }

    fn deliver(&mut self, side: usize, count: usize) {
        let sender_has_closed = self.sides[1 - side].is_established;
        let side = &mut self.sides[side];
        let count = count.min(side.wire.len());
        if count == 0 {
            return;
        }
        let taken = side.end.push(&side.wire[..count]);
        side.wire.drain(..taken);
        if side.wire.is_empty() && sender_has_closed {
            side.end.end_input();
        }
        side.is_due |= !side.waits;
    }

    /// Puts something in the way of every other call.
    fn hinder(&mut self) {
        if self.weather != Weather::Fair && !self.waits() {
            self.was_hindered = !self.was_hindered;
            self.rival = self.was_hindered.then(Rival::new).flatten();
        }
    }

    fn waits(&self) -> bool {
        self.rival.is_some() || self.sides.iter().any(|side| side.waits)
    }

    fn poll(&mut self) {
        let polled = self.lcore.poll().unwrap();
        self.is_new |= polled.completed + polled.retried != 0;
        if let Some(rival) = self.rival.take_if(|rival| rival.job.is_complete()) {
            rival.job.resume().unwrap();
            assert!(!rival.job.is_paused());
        }
    }

    fn call_ready(&mut self) {
        while let Some(Conn(side)) = self.lcore.next_ready() {
            let side = side as usize;
            if std::mem::take(&mut self.sides[side].waits) {
                self.call(side);
            }
        }
    }

    /// Calls an end until it has nothing to do. Returns `false` if there was no job for it.
    fn call(&mut self, index: usize) -> bool {
        let side = &mut self.sides[index];
        side.is_due = false;
        self.is_new = true;
        let step = if side.is_established {
            Step::Done
        } else {
            side.end.handshake()
        };
        match step {
            Step::Done if !side.is_established => {
                side.is_established = true;
                side.end.say(TEXT);
            }
            Step::Waits => side.waits = true,
            Step::NoJobs => side.is_due = true,
            Step::Closed => panic!("closed in the handshake"),
            Step::Done | Step::WantInput | Step::WantOutput => {}
        }
        if side.is_established && !side.has_closed {
            loop {
                match side.end.read(&mut side.heard) {
                    Step::Done => {}
                    Step::Closed => break side.has_closed = true,
                    step => break assert_eq!(step, Step::WantInput),
                }
            }
        }
        let mut output = Vec::new();
        side.end.drain(&mut output);
        side.is_due |= step == Step::WantOutput && !output.is_empty();
        self.sides[1 - index].wire.extend(output);
        step != Step::NoJobs
    }

    /// Nothing moves any more: everything must have been done.
    fn check(&self) {
        let established = self.sides.each_ref().map(|side| side.is_established);
        assert_eq!(established, [true; 2], "stuck; client and server");
        for (side, name) in self.sides.iter().zip(["client", "server"]) {
            assert_eq!(side.heard, TEXT, "heard by the {name}");
            assert!(side.has_closed, "the {name} did not see the end");
        }
        assert_eq!(self.lcore.in_flight(), 0);
    }
}

/// Every sequence of answers to questions that depend on the answers before.
#[derive(Default)]
pub struct Answers {
    path: Vec<bool>,
    asked: usize,
}

impl Answers {
    pub fn next(&mut self) -> bool {
        if self.asked == self.path.len() {
            self.path.push(false);
        }
        self.asked += 1;
        self.path[self.asked - 1]
    }

    /// To the next sequence. Returns `false` if there is none.
    pub fn advance(&mut self) -> bool {
        self.path.truncate(self.asked);
        self.asked = 0;
        while self.path.pop_if(|answer| *answer).is_some() {}
        match self.path.last_mut() {
            Some(last) => *last = true,
            None => return false,
        }
        true
    }
}
