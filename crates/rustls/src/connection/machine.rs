//! rustls' state machine with its buffers: what a job takes along, until the handshake is done.
//!
//! rustls opens records in place and as many as it is given. So that none is left half-done when the
//! [`Established`] connection takes over, it is given them one by one; a message of several records
//! stays in the input, open, until all of it is there:
//! ```text
//!   input  │ held: open, part of a message │ next record │ more │
//!          ╰────────────── offered ────────────────────╯
//! ```

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, PeerMisbehaved};

use super::agreed::Agreed;
use super::alert::Said;
use super::buffer::Buffer;
use super::established::{Established, Kernel};
use super::{MAX_OUTPUT, Progress};
use crate::error::Error;
use crate::record::{HEADER, MAX_FRAGMENT, content};

/// Either side.
pub(super) enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
    /// A client that has not said hello: making rustls' state makes its key pair, which is
    /// left to the first handshake call, as that may pause.
    NewClient(Arc<ClientConfig>, ServerName<'static>),
}

/// rustls and its buffers.
pub(super) struct Machine {
    pub(super) side: Side,
    /// The configuration's `max_fragment_size`.
    max_record: Option<usize>,
    /// The peer's bytes.
    pub(super) input: Buffer,
    /// Of them, whole records that rustls has opened and keeps.
    pub(super) held: usize,
    /// Whether rustls is done with those, but for what it needs more for.
    pub(super) idle: bool,
    /// Bytes for the peer.
    pub(super) output: Buffer,
    pub(super) said: Said,
}

/// How far a call got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The handshake is done.
    Done,
    /// More input is needed.
    WantInput,
    /// Output has to leave first.
    WantOutput,
}

impl Step {
    pub(super) fn progress(self) -> Progress {
        match self {
            Self::Done => Progress::Done(0),
            Self::WantInput => Progress::WantInput,
            Self::WantOutput => Progress::WantOutput,
        }
    }
}

/// What one call of rustls led to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// There may be more to do.
    Again,
    /// It has done what there was to do with all that it was given.
    Blocked,
}

impl Side {
    pub(super) fn common(&self) -> Option<&CommonState> {
        match self {
            Self::Server(conn) => Some(conn),
            Self::Client(conn) => Some(conn),
            Self::NewClient(..) => None,
        }
    }

    fn is_handshaking(&self) -> bool {
        self.common().is_none_or(CommonState::is_handshaking)
    }
}

impl Machine {
    pub(super) fn new(side: Side, max_record: Option<usize>) -> Self {
        Self {
            side,
            max_record,
            input: Buffer::default(),
            held: 0,
            idle: true,
            output: Buffer::default(),
            said: Said::default(),
        }
    }

    /// Goes on until the handshake is done or needs input. May pause the job it runs in. After an error
    /// see [`Machine::give_up`].
    pub(super) fn handshake(&mut self) -> Result<Step, Error> {
        if let Side::NewClient(config, name) = &self.side {
            if !config.enable_secret_extraction {
                return Err(Error::SecretsKept);
            }
            let conn = UnbufferedClientConnection::new(Arc::clone(config), name.clone())?;
            self.side = Side::Client(conn);
        }
        loop {
            if self.output.len() > MAX_OUTPUT {
                return Ok(Step::WantOutput);
            }
            match self.call()? {
                Turn::Again => {}
                Turn::Blocked if !self.side.is_handshaking() => return self.done(),
                Turn::Blocked => return Ok(Step::WantInput),
            }
        }
    }

    /// Nothing of a further message may be in rustls' hands, as its rest would be opened elsewhere.
    fn done(&self) -> Result<Step, Error> {
        if self.held == 0 {
            return Ok(Step::Done);
        }
        let what = PeerMisbehaved::KeyEpochWithPendingFragment;
        Err(Error::Tls(what.into()))
    }

    /// The connection after its handshake: keys and buffers change hands.
    pub(super) fn establish(self, limit: usize) -> Result<Established, Error> {
        let lost = || Error::Lost;
        let agreed = Agreed::new(self.side.common().ok_or_else(lost)?);
        let (secrets, kernel) = match self.side {
            Side::Server(conn) => {
                let (secrets, kernel) = conn.dangerous_into_kernel_connection()?;
                (secrets, Kernel::Server(kernel))
            }
            Side::Client(conn) => {
                let (secrets, kernel) = conn.dangerous_into_kernel_connection()?;
                (secrets, Kernel::Client(kernel))
            }
            Side::NewClient(..) => return Err(lost()),
        };
        let mut conn = Established::new(agreed, secrets, kernel, self.max_record, limit)?;
        (conn.input, conn.output) = (self.input, self.output);
        Ok(conn)
    }

    /// One call of rustls.
    pub(super) fn call(&mut self) -> Result<Turn, Error> {
        // The handshake's last record is the last that rustls gets.
        let (offered, is_whole) = if self.idle && self.side.is_handshaking() {
            self.offer()?
        } else {
            (self.held, true)
        };
        let input = &mut self.input.unread_mut()[..offered];
        let said = self.output.len();
        let (discard, turn) = match &mut self.side {
            Side::Server(conn) => handle(conn.process_tls_records(input), &mut self.output),
            Side::Client(conn) => handle(conn.process_tls_records(input), &mut self.output),
            Side::NewClient(..) => (0, Ok(Turn::Blocked)),
        };
        let version = self.side.common().and_then(CommonState::protocol_version);
        self.said.note(version, &self.output.unread()[said..]);
        self.input.consume(discard);
        let opened = if is_whole { offered } else { self.held };
        self.held = opened.saturating_sub(discard);
        let turn = turn?;
        self.idle = turn == Turn::Blocked;
        let has_more = self.input.len() > self.held;
        if self.idle && is_whole && has_more && self.side.is_handshaking() {
            return Ok(Turn::Again);
        }
        Ok(turn)
    }

    /// Bytes of input up to the end of the record behind those held, and whether all of it is there.
    fn offer(&self) -> Result<(usize, bool), Error> {
        let input = self.input.unread();
        let Some(&[kind, _, _, high, low]) = input[self.held..].first_chunk::<HEADER>() else {
            return Ok((input.len(), false));
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        // RFC 8446, section 5.1, of a record that is certainly in the clear.
        let version = self.side.common().and_then(CommonState::protocol_version);
        if kind == content::HANDSHAKE && version.is_none() && len > MAX_FRAGMENT {
            return Err(Error::Tls(rustls::Error::PeerSentOversizedRecord));
        }
        let end = self.held + HEADER + len;
        Ok((end.min(input.len()), end <= input.len()))
    }
}

/// Does what `status` asks for. Returns how much of the input is done with.
fn handle<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    output: &mut Buffer,
) -> (usize, Result<Turn, Error>) {
    let UnbufferedStatus { discard, state } = status;
    let state = match state {
        Ok(state) => state,
        Err(error) => return (discard, Err(error.into())),
    };
    let turn = match state {
        ConnectionState::EncodeTlsData(mut data) => {
            let mut size = 0;
            loop {
                match data.encode(output.room(size)) {
                    Ok(count) => break output.commit(count),
                    Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                        size = required_size;
                    }
                    // Each is encoded once.
                    Err(EncodeError::AlreadyEncoded) => break,
                }
            }
            Turn::Again
        }
        ConnectionState::TransmitTlsData(data) => {
            // From here on it is up to the caller, who takes the output.
            data.done();
            Turn::Again
        }
        // No other data can come before the handshake is done.
        ConnectionState::ReadEarlyData(_) | ConnectionState::ReadTraffic(_) => {
            return (discard, Err(Error::EarlyData));
        }
        _ => Turn::Blocked,
    };
    (discard, Ok(turn))
}
