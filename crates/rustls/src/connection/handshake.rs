//! A handshake, run as a job.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use spinlane_job::{self as job, Job, Notify, Status, WaitCtx};
use spinlane_lcore::Progress;

use super::buffer::Buffer;
use super::established::Established;
use super::machine::{Machine, Step};
use crate::error::Error;
use crate::ticket::RunningSession;

/// Pauses that unwinding a cancelled handshake may take at most: one per op of a handshake.
const UNWIND_STEPS: usize = 8;

/// What only a handshake needs.
pub(super) struct Handshake {
    shared: Rc<Shared>,
    wait_ctx: Rc<WaitCtx>,
    /// The paused one.
    job: Option<Rc<Job>>,
    /// What tickets have told.
    session: RunningSession,
}

/// What a connection and its job have in common.
#[derive(Default)]
struct Shared {
    /// The state at rest; empty while a job has it.
    place: Cell<Option<Box<Machine>>>,
    /// Input that comes while a job has the state.
    queued: RefCell<Buffer>,
    /// Bytes of input that may be held.
    limit: Cell<usize>,
    /// What the last job came to.
    outcome: Cell<Option<Result<Outcome, Error>>>,
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
            shared: Rc::new(Shared {
                place: Cell::new(Some(Box::new(machine))),
                ..Shared::default()
            }),
            wait_ctx: WaitCtx::new(),
            job: None,
            session: RunningSession::New,
        }
    }

    pub(super) fn set_notify(&mut self, notify: Notify) {
        self.wait_ctx.set_notify(Some(notify));
    }

    pub(super) fn status(&self) -> Status {
        self.wait_ctx.status()
    }

    pub(super) fn wait_ctx(&self) -> Rc<WaitCtx> {
        Rc::clone(&self.wait_ctx)
    }

    pub(super) fn job(&self) -> Option<&Rc<Job>> {
        self.job.as_ref()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.job.is_some()
    }

    /// Goes on as far as that goes. At most `limit` bytes of input may be held. `offloads`: ops go to the current
    /// lcore rather than being computed in place.
    pub(super) fn drive(&mut self, limit: usize, offloads: bool) -> Result<Outcome, Error> {
        self.shared.limit.set(limit);
        let mut session = self.session;
        let progress = session.run(|| match &self.job {
            Some(job) => job.resume(),
            None => self.start(offloads),
        });
        self.session = session;
        match progress.map_err(|_| Error::Nested)? {
            job::Progress::Paused => Ok(Outcome::Progress(self.pause())),
            job::Progress::NoJobs => Ok(Outcome::Progress(Progress::NoJobs)),
            job::Progress::Finished(_) => self.settle(),
        }
    }

    /// Starts a job that takes the state along and puts it back at its end.
    fn start(&mut self, offloads: bool) -> Result<job::Progress, job::ResumeError> {
        let shared = Rc::clone(&self.shared);
        let (progress, job) = job::start(Some(&self.wait_ctx), move || {
            job::wipe_stack_at_end();
            if !offloads {
                job::block_pause();
            }
            shared.run();
            0
        })?;
        self.job = job;
        Ok(progress)
    }

    fn pause(&self) -> Progress {
        match self.status() {
            Status::EAGAIN => Progress::Refused,
            _ => Progress::Paused,
        }
    }

    /// The job has ended: what of?
    fn settle(&mut self) -> Result<Outcome, Error> {
        self.job = None;
        self.shared.outcome.take().unwrap_or(Err(Error::Lost))
    }

    /// Visits the state, unless a paused job has it.
    pub(super) fn with_machine<T>(&self, visit: impl FnOnce(&mut Machine) -> T) -> Option<T> {
        let mut machine = self.shared.place.take()?;
        let value = visit(&mut machine);
        self.shared.place.set(Some(machine));
        Some(value)
    }

    /// Visits the buffer that input goes to now.
    pub(super) fn with_input<T>(&self, visit: impl FnOnce(&mut Buffer) -> T) -> T {
        match self.shared.place.take() {
            Some(mut machine) => {
                let value = visit(&mut machine.input);
                self.shared.place.set(Some(machine));
                value
            }
            None => visit(&mut self.shared.queued.borrow_mut()),
        }
    }
}

impl Shared {
    /// The job. At the end of the handshake keys change hands by value: here, on a stack that is wiped when
    /// the job has ended.
    fn run(&self) {
        let Some(mut machine) = self.place.take() else {
            return;
        };
        let step = self.advance(&mut machine);
        if let Err(error) = &step {
            machine.give_up(error);
        }
        let outcome = match step {
            Ok(Step::Done) => {
                let conn = machine.establish(self.limit.get());
                conn.map(|conn| Outcome::Established(Box::new(conn)))
            }
            _ => {
                self.place.set(Some(machine));
                step.map(Step::progress).map(Outcome::Progress)
            }
        };
        self.outcome.set(Some(outcome));
    }

    /// More input is wanted only if what came during pauses does not do either: nobody would call again for
    /// bytes that are there.
    fn advance(&self, machine: &mut Machine) -> Result<Step, Error> {
        loop {
            let step = machine.handshake();
            let came = !self.queued.borrow().is_empty();
            machine.input.append(&mut self.queued.borrow_mut());
            if step == Ok(Step::WantInput) {
                if came {
                    continue;
                }
                let limit = self.limit.get();
                if machine.input.len() >= limit {
                    return Err(Error::InputTooLong { limit });
                }
            }
            return step;
        }
    }
}

impl Drop for Handshake {
    /// A paused handshake is resumed once more, cancelled, so that rustls unwinds by its own error
    /// path; the op in flight becomes nobody's.
    fn drop(&mut self) {
        self.wait_ctx.set_notify(None);
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
