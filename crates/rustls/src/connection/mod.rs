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

mod buffer;
mod machine;

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::io;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{
    ClientConfig, CommonState, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig,
    SupportedCipherSuite,
};
use spinlane_job::{self as job, Callback, Job, Status, WaitCtx};
use spinlane_lcore::{Conn, Lcore};

use self::buffer::{Buffer, LARGE, SMALL};
use self::machine::{Goal, Machine, Side, Step};
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

    /// Reads plain text: at most a record's.
    ///
    /// # Errors
    /// As for [`Connection::handshake`].
    pub fn read(&mut self, to: &mut [u8]) -> Result<Progress, Error> {
        self.read_with(|plain| {
            let count = to.len().min(plain.len());
            to[..count].copy_from_slice(&plain[..count]);
            count
        })
    }

    /// Lends plain text, at most a record's, to `read`, which returns how much of it it took.
    ///
    /// # Errors
    /// As for [`Connection::handshake`].
    pub fn read_with(&mut self, read: impl FnOnce(&[u8]) -> usize) -> Result<Progress, Error> {
        if self.handshake.is_some() {
            match self.handshake()? {
                Progress::Done(_) => {}
                progress => return Ok(progress),
            }
        }
        self.fail_again()?;
        let mut read = Some(read);
        let mut once = |text: &[u8]| read.take().map_or(0, |read| read(text));
        let done = self.with_machine(|machine| {
            if !machine.plain.is_empty() {
                let count = once(machine.plain.unread());
                machine.plain.consume(count);
                return Ok(Progress::Done(count));
            }
            let mut goal = Goal::Read {
                read: &mut once,
                taken: None,
            };
            let step = machine.read(&mut goal)?;
            Ok(match (step, goal) {
                (
                    _,
                    Goal::Read {
                        taken: Some(count), ..
                    },
                ) => Progress::Done(count),
                (Step::WantInput, _) => Progress::WantInput,
                (Step::WantOutput, _) => Progress::WantOutput,
                (Step::Done, _) => Progress::Closed,
            })
        });
        done.unwrap_or(Err(Error::Lost))
            .or_else(|error| self.fail(error))
    }

    /// Writes plain text: takes at most a record's, and says how much it took.
    ///
    /// # Errors
    /// As for [`Connection::handshake`].
    pub fn write(&mut self, from: &[u8]) -> Result<Progress, Error> {
        if from.is_empty() {
            return Ok(Progress::Done(0));
        }
        let mut goal = Goal::Data { from, taken: 0 };
        let step = self.run(&mut goal)?;
        Ok(match (step, goal) {
            (Progress::Done(_), Goal::Data { taken, .. }) => Progress::Done(taken),
            (progress, _) => progress,
        })
    }

    /// Writes plain text as [`Connection::write`] does, but puts the ciphertext of one record into
    /// `to` (which should have room for `from` and 64 bytes) rather than into the output, which
    /// must have left. Also returns how many bytes of `to` it filled.
    ///
    /// # Errors
    /// As for [`Connection::handshake`].
    pub fn write_into(&mut self, from: &[u8], to: &mut [u8]) -> Result<(Progress, usize), Error> {
        if from.is_empty() {
            return Ok((Progress::Done(0), 0));
        }
        let mut goal = Goal::DataInto {
            from,
            to,
            taken: 0,
            filled: 0,
        };
        let step = self.run(&mut goal)?;
        Ok(match (step, goal) {
            (Progress::Done(_), Goal::DataInto { taken, filled, .. }) => {
                (Progress::Done(taken), filled)
            }
            (progress, _) => (progress, 0),
        })
    }

    /// Says to the peer that no more will be written (close_notify). Reading goes on. Does nothing
    /// before the handshake is done.
    pub fn shutdown(&mut self) {
        if self.handshake.is_none() && self.error.is_none() {
            // An error means that there is nobody to tell; the next call says so.
            let _ = self.run(&mut Goal::CloseNotify { done: false });
        }
    }

    /// Writes, once the handshake is done.
    fn run(&mut self, goal: &mut Goal<'_>) -> Result<Progress, Error> {
        self.fail_again()?;
        if self.handshake.is_some() {
            match self.handshake()? {
                Progress::Done(_) => {}
                progress => return Ok(progress),
            }
        }
        let step = self.with_machine(|machine| machine.write(goal));
        match step.unwrap_or(Err(Error::Lost)) {
            Ok(Step::Done) => Ok(Progress::Done(0)),
            Ok(Step::WantOutput) => Ok(Progress::WantOutput),
            // Both sides have closed.
            Ok(Step::WantInput) => Ok(Progress::Closed),
            Err(error) => self.fail(error),
        }
    }

    /// Takes the peer's bytes: `read` gets the room there is and returns how much it filled.
    /// Returns what `read` returned, 0 if there is no room.
    ///
    /// # Errors
    /// What `read` fails with.
    pub fn read_input(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let limit = self.limit;
        let first = if self.is_established() { LARGE } else { SMALL };
        let take = |input: &mut Buffer| {
            let room = input.room_below(limit, first);
            if room.is_empty() {
                return Ok(0);
            }
            let result = read(room);
            input.commit(*result.as_ref().unwrap_or(&0));
            result
        };
        match self.place.take() {
            Some(mut machine) => {
                let result = if machine.plain.is_empty() {
                    take(&mut machine.input)
                } else {
                    Ok(0)
                };
                self.place.set(Some(machine));
                result
            }
            None => take(&mut self.queued),
        }
    }

    /// Whether [`Connection::read_input`] has room: not while plain text waits to be read.
    pub fn has_input_room(&self) -> bool {
        let limit = self.limit;
        let room =
            self.with_machine(|machine| machine.plain.is_empty() && machine.input.len() < limit);
        room.unwrap_or(self.queued.len() < limit)
    }

    /// Takes as many of `bytes`, which the peer sent, as there is room for; returns how many.
    pub fn push_input(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() {
            let rest = &bytes[taken..];
            let pushed = self.read_input(|room| {
                let count = room.len().min(rest.len());
                room[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            });
            match pushed {
                Ok(count) if count != 0 => taken += count,
                _ => break,
            }
        }
        taken
    }

    /// Hands what is to be sent to `write`, which returns how much it took. Returns that, 0 if
    /// there is nothing to send.
    ///
    /// # Errors
    /// What `write` fails with.
    pub fn write_output(
        &mut self,
        write: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let written = self.with_machine(|machine| {
            if machine.output.is_empty() {
                return Ok(0);
            }
            let count = write(machine.output.unread())?;
            machine.output.consume(count);
            Ok(count)
        });
        written.unwrap_or(Ok(0))
    }

    /// Bytes to be sent; 0 while paused.
    pub fn output_len(&self) -> usize {
        self.with_machine(|machine| machine.output.len())
            .unwrap_or(0)
    }

    /// Bytes of the peer's not yet processed, but for those that a paused job has.
    pub fn input_len(&self) -> usize {
        self.with_machine(|machine| machine.input.len())
            .unwrap_or(0)
            + self.queued.len()
    }

    /// Plain text decrypted already, in bytes.
    pub fn pending(&self) -> usize {
        self.with_machine(|machine| machine.plain.len())
            .unwrap_or(0)
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

    /// Version, once agreed on.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.with_common(CommonState::protocol_version).flatten()
    }

    /// Cipher suite, once agreed on.
    pub fn cipher_suite(&self) -> Option<SupportedCipherSuite> {
        self.with_common(CommonState::negotiated_cipher_suite)
            .flatten()
    }

    /// Key exchange group, once agreed on; none in a resumption without one.
    pub fn group(&self) -> Option<NamedGroup> {
        let group = |common: &CommonState| common.negotiated_key_exchange_group();
        self.with_common(|common| group(common).map(|group| group.name()))
            .flatten()
    }

    /// Protocol chosen by ALPN.
    pub fn alpn_protocol(&self) -> Option<Vec<u8>> {
        self.with_common(|common| common.alpn_protocol().map(<[u8]>::to_vec))
            .flatten()
    }

    /// The peer's certificates, if it has presented some.
    pub fn peer_certificates(&self) -> Option<Vec<CertificateDer<'static>>> {
        self.with_common(|common| common.peer_certificates().map(<[_]>::to_vec))
            .flatten()
    }

    /// Whether the handshake resumed a session.
    pub fn session_reused(&self) -> bool {
        let kind = self.with_common(CommonState::handshake_kind).flatten();
        kind == Some(HandshakeKind::Resumed)
    }

    /// Input that came while a job was paused goes behind what the job had.
    fn join_input(&mut self) {
        if !self.queued.is_empty() {
            let mut queued = std::mem::take(&mut self.queued);
            self.with_machine(|machine| machine.input.append(&mut queued));
        }
    }

    fn with_common<T>(&self, visit: impl FnOnce(&CommonState) -> T) -> Option<T> {
        self.with_machine(|machine| machine.side.common().map(visit))
            .flatten()
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
