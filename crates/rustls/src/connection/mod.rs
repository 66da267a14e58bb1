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
//!   place ──▶ Machine { rustls, input, output }            at rest
//!   place ──▶ nothing     job ──▶ Machine                  paused; more input goes to `queued`
//!   Established { input, output, keys, rest of rustls }    afterwards, without job or place
//! ```

mod agreed;
mod alert;
mod buffer;
mod established;
mod handshake;
mod machine;
mod traffic;
mod wire;

use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};
use spinlane_job::{Notify, Status, WaitCtx};
use spinlane_lcore::{Lcore, Progress};

use self::buffer::LARGE;
use self::established::Established;
use self::handshake::{Handshake, Outcome};
use self::machine::{Machine, Side};
use crate::error::Error;

/// Bytes of a peer's input that a connection holds at most unless [`Connection::set_max_input`]
/// says otherwise: rustls' own limit of a handshake message.
pub const DEFAULT_MAX_INPUT: usize = 64 * 1024;
/// Less than a record is no limit to work under.
const LEAST_MAX_INPUT: usize = LARGE;
/// Unsent output above this stops the processing of input that may cause more of it.
const MAX_OUTPUT: usize = 64 * 1024;

/// A connection. Stays on the thread that made it.
pub struct Connection {
    stage: Stage,
    /// Who serves its ops; `None`: they are computed in place.
    lcore: Option<Lcore>,
    /// Who is told of records that devices have sealed.
    notify: Option<Notify>,
    limit: usize,
    /// Of the last op.
    status: Status,
    error: Option<Error>,
}

enum Stage {
    Handshake(Handshake),
    Established(Box<Established>),
}

impl Connection {
    /// The server's side of a connection.
    ///
    /// # Errors
    /// [`Error::SecretsKept`] if the configuration's `enable_secret_extraction` is not set; or rustls
    /// rejects the configuration.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        if !config.enable_secret_extraction {
            return Err(Error::SecretsKept);
        }
        let max_record = config.max_fragment_size;
        let conn = UnbufferedServerConnection::new(config)?;
        Ok(Self::new(Side::Server(conn), max_record))
    }

    /// The client's side of a connection to `name`. If the configuration's `enable_secret_extraction` is
    /// not set, the handshake fails with [`Error::SecretsKept`].
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Self {
        let max_record = config.max_fragment_size;
        Self::new(Side::NewClient(config, name), max_record)
    }

    fn new(side: Side, max_record: Option<usize>) -> Self {
        let machine = Machine::new(side, max_record);
        Self {
            stage: Stage::Handshake(Handshake::new(machine)),
            lcore: None,
            notify: None,
            limit: DEFAULT_MAX_INPUT,
            status: Status::UNSUPPORTED,
            error: None,
        }
    }

    /// Has `lcore`'s devices compute the handshake's ops from now on, and whoever `notify` names told when the
    /// handshake can go on: a [`Conn`](spinlane_lcore::Conn) comes out of
    /// [`Lcore::next_ready`], a [`Waker`](std::task::Waker) is woken. Calls on the connection run under that
    /// lcore by themselves. Do it before the first handshake call; a later one may change whom to notify.
    ///
    /// A connection that is attached to none computes its ops in place.
    ///
    /// If the lcore has a queue pair that takes records of the connection's cipher suite when the handshake is done
    /// ([`Lcore::add_record_queue_pair`]), that seals what [`Connection::write`] takes: the records of all
    /// connections since the last poll go to it as one burst. They come back in polls, after which whoever is named
    /// is told as above, and leave in order through [`Connection::write_output`]. Otherwise they are sealed at once.
    pub fn attach(&mut self, lcore: &Lcore, notify: impl Into<Notify>) {
        let notify = notify.into();
        match &mut self.stage {
            Stage::Handshake(handshake) => handshake.set_notify(notify.clone()),
            Stage::Established(conn) => conn.use_devices(lcore, &notify),
        }
        self.lcore = Some(lcore.clone());
        self.notify = Some(notify);
    }

    /// Whether devices seal its records. Not before the handshake is done.
    pub fn offloads_records(&self) -> bool {
        match &self.stage {
            Stage::Handshake(_) => false,
            Stage::Established(conn) => conn.uses_devices(),
        }
    }

    /// Whether devices compute its ops: it is attached to an lcore of this process that has one.
    pub fn is_offloaded(&self) -> bool {
        self.lcore.as_ref().is_some_and(Lcore::is_served)
    }

    /// As SSL_get_async_status(3): how the last submission went.
    pub fn async_status(&self) -> Status {
        match &self.stage {
            Stage::Handshake(handshake) => handshake.status(),
            Stage::Established(_) => self.status,
        }
    }

    /// Where the status of [`Connection::async_status`] is kept while the handshake lasts, for those who are called
    /// back from within a call on the connection; `None` afterwards.
    pub fn wait_ctx(&self) -> Option<Rc<WaitCtx>> {
        match &self.stage {
            Stage::Handshake(handshake) => Some(handshake.wait_ctx()),
            Stage::Established(_) => None,
        }
    }

    /// Puts `notify` into the retry queue of the queue pair that refused the handshake's last op, in the turn of
    /// the refusal. Only for those whom [`Connection::attach`] gave a callback of another language: all others are
    /// in that queue already. Does nothing if nothing is paused.
    pub fn retry(&self, notify: impl Into<Notify>) {
        if let (Stage::Handshake(handshake), Some(lcore)) = (&self.stage, &self.lcore)
            && let Some(job) = handshake.job()
        {
            lcore.retry(notify, job);
        }
    }

    /// Sets how many of the peer's bytes may be held, which bounds handshake messages; at least
    /// a record's 20 KiB.
    pub fn set_max_input(&mut self, limit: usize) {
        self.limit = limit.max(LEAST_MAX_INPUT);
        if let Stage::Established(conn) = &mut self.stage {
            conn.limit = self.limit;
        }
    }

    /// Drives the handshake, as a job.
    ///
    /// # Errors
    /// See [`Error`]; the output may hold an alert to be sent before closing.
    pub fn handshake(&mut self) -> Result<Progress, Error> {
        self.fail_again()?;
        let Stage::Handshake(handshake) = &mut self.stage else {
            return Ok(Progress::Done(0));
        };
        let progress = match &self.lcore {
            Some(lcore) => lcore.run(|| handshake.drive(self.limit, true)),
            None => handshake.drive(self.limit, false),
        };
        match progress {
            Ok(Outcome::Progress(progress)) => Ok(progress),
            Ok(Outcome::Established(mut conn)) => {
                self.status = handshake.status();
                if let (Some(lcore), Some(notify)) = (&self.lcore, &self.notify) {
                    conn.use_devices(lcore, notify);
                }
                self.stage = Stage::Established(conn);
                Ok(Progress::Done(0))
            }
            // Whoever calls from a job may call again from elsewhere.
            Err(Error::Nested) => Err(Error::Nested),
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
        match &self.stage {
            Stage::Handshake(handshake) => handshake.is_paused(),
            Stage::Established(_) => false,
        }
    }

    /// Whether the handshake is done.
    pub fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Established(_))
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
