//! One TLS connection over memory buffers.
//!
//! ```text
//!              handshake / read / write
//!                        │
//!        Done  WantInput  WantOutput  Closed      Paused            Refused
//!                                                   │                  │
//!                        callback in Lcore::poll ───┤                  │ free slots
//!                                                   ▼                  ▼
//!                                          Lcore::next_ready  ◀── retry queue
//! ```
//! While a handshake is paused, its job owns rustls' state and the input that state works on:
//! ```text
//!   place ──▶ Machine { rustls, input, output, plain }     at rest
//!   place ──▶ nothing     job ──▶ Machine                  paused; more input goes to `queued`
//! ```

mod agreed;
mod buffer;
mod machine;
mod traffic;
mod wire;

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};
use spinlane_job::{self as job, Callback, Job, Status, WaitCtx};
use spinlane_lcore::{Conn, Lcore};

use self::buffer::{Buffer, LARGE};
use self::machine::{Machine, Side, Step};
use crate::error::Error;

/// Bytes of a peer's input that a connection holds at most unless [`Connection::set_max_input`]
/// says otherwise: rustls' own limit of a handshake message.
pub const DEFAULT_MAX_INPUT: usize = 64 * 1024;
/// Less than a record is no limit to work under.
const LEAST_MAX_INPUT: usize = LARGE;
/// Pauses that unwinding a cancelled handshake may take at most: one per op of a handshake.
const UNWIND_STEPS: usize = 8;

/// How far a call got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Done; for reads and writes, this many bytes.
    Done(usize),
    /// More of the peer's bytes are needed: [`Connection::read_input`], then call again.
    WantInput,
    /// The output has no room: [`Connection::write_output`], then call again.
    WantOutput,
    /// An op is with a device (status OK). The callback says when to call again.
    Paused,
    /// The queue pair was full (status EAGAIN). If attached to an lcore, the connection is in its
    /// retry queue and comes out of [`Lcore::next_ready`] in its turn.
    Refused,
    /// The thread's jobs are all in use (ASYNC_NO_JOBS); call again later.
    NoJobs,
    /// The peer has closed the connection properly.
    Closed,
}

/// A connection. Stays on the thread that made it.
pub struct Connection {
    /// The state at rest; nothing while a job has it.
    place: Rc<Cell<Option<Box<Machine>>>>,
    handshake: Option<Handshake>,
    /// Input that came while a job was paused.
    queued: Buffer,
    limit: usize,
    status: Status,
    error: Option<Error>,
}

/// What only a handshake needs.
struct Handshake {
    wait_ctx: Rc<WaitCtx>,
    /// The paused one.
    job: Option<Rc<Job>>,
    /// To be told of refusals.
    conn: Option<Conn>,
}

impl Connection {
    /// The server's side of a connection.
    ///
    /// # Errors
    /// rustls rejects the configuration.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self::new(Side::Server(UnbufferedServerConnection::new(
            config,
        )?)))
    }

    /// The client's side of a connection to `name`.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Self {
        Self::new(Side::NewClient(config, name))
    }

    fn new(side: Side) -> Self {
        let machine = Box::new(Machine::new(side, DEFAULT_MAX_INPUT));
        Self {
            place: Rc::new(Cell::new(Some(machine))),
            handshake: Some(Handshake {
                wait_ctx: WaitCtx::new(),
                job: None,
                conn: None,
            }),
            queued: Buffer::default(),
            limit: DEFAULT_MAX_INPUT,
            status: Status::UNSUPPORTED,
            error: None,
        }
    }

    /// From now on the connection is called `conn`: its callback puts it into the ready queue of the
    /// thread's current lcore, a refusal into the retry queue. Do it before the first handshake
    /// call.
    pub fn attach(&mut self, conn: Conn) {
        if let Some(handshake) = &mut self.handshake {
            handshake.conn = Some(conn);
            // A name, not an address; lcores run on 64-bit machines.
            let argument = ptr::without_provenance_mut(conn.0 as usize);
            let function = make_ready;
            handshake
                .wait_ctx
                .set_callback(Some(Callback { function, argument }));
        }
    }

    /// As SSL_set_async_callback(3) and SSL_set_async_callback_arg(3). Replaces what
    /// [`Connection::attach`] set. Called by [`Lcore::poll`] when an op of this connection is done,
    /// and on a refusal.
    pub fn set_async_callback(&mut self, callback: Option<Callback>) {
        if let Some(handshake) = &mut self.handshake {
            handshake.conn = None;
            handshake.wait_ctx.set_callback(callback);
        }
    }

    /// As SSL_get_async_status(3): how the last submission went.
    pub fn async_status(&self) -> Status {
        match &self.handshake {
            Some(handshake) => handshake.wait_ctx.status(),
            None => self.status,
        }
    }

    /// Sets how many of the peer's bytes may be held, which bounds handshake messages; at least
    /// a record's 20 KiB.
    pub fn set_max_input(&mut self, limit: usize) {
        self.limit = limit.max(LEAST_MAX_INPUT);
        let limit = self.limit;
        self.with_machine(|machine| machine.limit = limit);
    }

    /// Drives the handshake, as a job.
    ///
    /// # Errors
    /// See [`Error`]; the output may hold an alert to be sent before closing.
    pub fn handshake(&mut self) -> Result<Progress, Error> {
        self.fail_again()?;
        let Some(handshake) = &mut self.handshake else {
            return Ok(Progress::Done(0));
        };
        let progress = match &handshake.job {
            Some(job) => job.resume(),
            None => {
                self.join_input();
                self.start()
            }
        };
        let progress = match progress {
            Ok(progress) => progress,
            Err(_) => return Err(Error::Nested),
        };
        match progress {
            job::Progress::Paused => Ok(self.pause()),
            job::Progress::NoJobs => Ok(Progress::NoJobs),
            job::Progress::Finished(_) => self.settle(),
        }
    }

    /// Starts a job that takes the state along and puts it back at its end.
    fn start(&mut self) -> Result<job::Progress, job::ResumeError> {
        let Some(handshake) = &mut self.handshake else {
            return Ok(job::Progress::Finished(0));
        };
        let place = Rc::clone(&self.place);
        let (progress, job) = job::start(Some(&handshake.wait_ctx), move || {
            if let Some(mut machine) = place.take() {
                machine.outcome = Some(machine.handshake());
                place.set(Some(machine));
            }
            0
        })?;
        handshake.job = job;
        Ok(progress)
    }

    fn pause(&self) -> Progress {
        if self.async_status() != Status::EAGAIN {
            return Progress::Paused;
        }
        let conn = self.handshake.as_ref().and_then(|handshake| handshake.conn);
        if let (Some(conn), Some(lcore)) = (conn, Lcore::current()) {
            lcore.retry(conn);
        }
        Progress::Refused
    }

    /// The job has ended: what of?
    fn settle(&mut self) -> Result<Progress, Error> {
        if let Some(handshake) = &mut self.handshake {
            handshake.job = None;
        }
        self.join_input();
        let outcome = self.with_machine(|machine| machine.outcome.take());
        match outcome.flatten().unwrap_or(Err(Error::Lost)) {
            Ok(Step::WantInput) if self.is_closed() => Ok(Progress::Closed),
            Ok(Step::WantInput) => Ok(Progress::WantInput),
            Ok(Step::WantOutput) => Ok(Progress::WantOutput),
            Ok(Step::Done) => {
                self.status = self.async_status();
                self.handshake = None;
                Ok(Progress::Done(0))
            }
            Err(error) => self.fail(error),
        }
    }

    fn fail<T>(&mut self, error: Error) -> Result<T, Error> {
        self.error = Some(error.clone());
        Err(error)
    }

    fn fail_again(&self) -> Result<(), Error> {
        self.error.clone().map_or(Ok(()), Err)
    }

    /// Whether the handshake is paused on a job.
    pub fn is_paused(&self) -> bool {
        self.handshake
            .as_ref()
            .is_some_and(|handshake| handshake.job.is_some())
    }

    /// Whether the handshake is done.
    pub fn is_established(&self) -> bool {
        self.handshake.is_none()
    }

    /// Whether the peer has closed properly.
    fn is_closed(&self) -> bool {
        self.with_machine(|machine| machine.closed).unwrap_or(false)
    }

    /// Input that came while a job was paused goes behind what the job had.
    fn join_input(&mut self) {
        if !self.queued.is_empty() {
            let mut queued = std::mem::take(&mut self.queued);
            self.with_machine(|machine| machine.input.append(&mut queued));
        }
    }

    /// Visits the state, unless a paused job has it.
    fn with_machine<T>(&self, visit: impl FnOnce(&mut Machine) -> T) -> Option<T> {
        let mut machine = self.place.take()?;
        let value = visit(&mut machine);
        self.place.set(Some(machine));
        Some(value)
    }
}

impl Drop for Connection {
    /// A paused handshake is resumed once more, cancelled, so that rustls unwinds by its own error
    /// path; the op in flight becomes nobody's.
    fn drop(&mut self) {
        let Some(Handshake { wait_ctx, job, .. }) = self.handshake.take() else {
            return;
        };
        wait_ctx.set_callback(None);
        let Some(job) = job else {
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

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("established", &self.is_established())
            .field("paused", &self.is_paused())
            .finish_non_exhaustive()
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
