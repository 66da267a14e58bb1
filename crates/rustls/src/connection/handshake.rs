//! A handshake, run as a job.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::rc::Rc;

use spinlane_job::{self as job, Callback, Job, Status, WaitCtx};
use spinlane_lcore::{Conn, Lcore};

use super::Progress;
use super::buffer::Buffer;
use super::established::Established;
use super::machine::{Machine, Step};
use crate::error::Error;

/// Pauses that unwinding a cancelled handshake may take at most: one per op of a handshake.
const UNWIND_STEPS: usize = 8;

/// What only a handshake needs.
pub(super) struct Handshake {
    /// The state at rest; nothing while a job has it.
    pub(super) place: Rc<Cell<Option<Box<Machine>>>>,
    /// Input that came while a job was paused.
    pub(super) queued: Buffer,
    wait_ctx: Rc<WaitCtx>,
    /// The paused one.
    job: Option<Rc<Job>>,
    /// To be told of refusals.
    conn: Option<Conn>,
}

/// How far it got.
pub(super) enum Outcome {
    Progress(Progress),
    /// It is done.
    Established(Box<Established>),
}

impl Handshake {
    pub(super) fn new(machine: Machine) -> Self {
        Self {
            place: Rc::new(Cell::new(Some(Box::new(machine)))),
            queued: Buffer::default(),
            wait_ctx: WaitCtx::new(),
            job: None,
            conn: None,
        }
    }

    pub(super) fn attach(&mut self, conn: Conn) {
        self.conn = Some(conn);
        // A name, not an address; lcores run on 64-bit machines.
        let argument = ptr::without_provenance_mut(conn.0 as usize);
        let function = make_ready;
        self.wait_ctx
            .set_callback(Some(Callback { function, argument }));
    }

    pub(super) fn set_callback(&mut self, callback: Option<Callback>) {
        self.conn = None;
        self.wait_ctx.set_callback(callback);
    }

    pub(super) fn status(&self) -> Status {
        self.wait_ctx.status()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.job.is_some()
    }

    pub(super) fn drive(&mut self) -> Result<Outcome, Error> {
        let progress = match &self.job {
            Some(job) => job.resume(),
            None => {
                self.join_input();
                self.start()
            }
        };
        match progress.map_err(|_| Error::Nested)? {
            job::Progress::Paused => Ok(Outcome::Progress(self.pause())),
            job::Progress::NoJobs => Ok(Outcome::Progress(Progress::NoJobs)),
            job::Progress::Finished(_) => self.settle(),
        }
    }

    /// Starts a job that takes the state along and puts it back at its end.
    fn start(&mut self) -> Result<job::Progress, job::ResumeError> {
        let place = Rc::clone(&self.place);
        let (progress, job) = job::start(Some(&self.wait_ctx), move || {
            if let Some(mut machine) = place.take() {
                machine.outcome = Some(machine.handshake());
                place.set(Some(machine));
            }
            0
        })?;
        self.job = job;
        Ok(progress)
    }

    fn pause(&self) -> Progress {
        if self.status() != Status::EAGAIN {
            return Progress::Paused;
        }
        if let (Some(conn), Some(lcore)) = (self.conn, Lcore::current()) {
            lcore.retry(conn);
        }
        Progress::Refused
    }

    /// The job has ended: what of?
    fn settle(&mut self) -> Result<Outcome, Error> {
        self.job = None;
        self.join_input();
        let outcome = self.with_machine(|machine| machine.outcome.take());
        match outcome.flatten().unwrap_or(Err(Error::Lost))? {
            Step::WantInput => Ok(Outcome::Progress(Progress::WantInput)),
            Step::WantOutput => Ok(Outcome::Progress(Progress::WantOutput)),
            Step::Done => {
                let machine = self.place.take().ok_or(Error::Lost)?;
                Ok(Outcome::Established(Box::new(machine.establish()?)))
            }
        }
    }

    /// Input that came while a job was paused goes behind what the job had.
    fn join_input(&mut self) {
        if !self.queued.is_empty() {
            let mut queued = std::mem::take(&mut self.queued);
            self.with_machine(|machine| machine.input.append(&mut queued));
        }
    }

    /// Visits the state, unless a paused job has it.
    pub(super) fn with_machine<T>(&self, visit: impl FnOnce(&mut Machine) -> T) -> Option<T> {
        let mut machine = self.place.take()?;
        let value = visit(&mut machine);
        self.place.set(Some(machine));
        Some(value)
    }
}

impl Drop for Handshake {
    /// A paused handshake is resumed once more, cancelled, so that rustls unwinds by its own error
    /// path; the op in flight becomes nobody's.
    fn drop(&mut self) {
        self.wait_ctx.set_callback(None);
        let Some(job) = self.job.take() else {
            return;
        };
        job.cancel();
        for _ in 0..UNWIND_STEPS {
            if !job.is_paused() || job.resume().is_err() {
                break;
            }
        }
    }
}

/// The callback of an attached connection. A refusal comes while the job still runs: then it
/// does nothing, as whoever made the call reads the status and queues the connection, once.
extern "C" fn make_ready(argument: *mut c_void) -> c_int {
    if !job::on_job()
        && let Some(lcore) = Lcore::current()
    {
        lcore.make_ready(Conn(argument.addr() as u64));
    }
    1
}
