//! rustls' state machine with its buffers: what a job takes along.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{ClientConfig, CommonState};

use super::buffer::{Buffer, LARGE};
use crate::error::Error;

/// Longest plain text of a record (RFC 8446, section 5.1).
const MAX_FRAGMENT: usize = 16 * 1024;
/// A record's header, type, nonce and tag, in any version and suite, and to spare.
const OVERHEAD: usize = 64;
/// Unsent output above this stops the processing of input that may cause more of it.
const MAX_OUTPUT: usize = 64 * 1024;
/// Room that is worth a record of its own.
const WORTHWHILE: usize = 4 * 1024;
/// Alerts are sent within so many steps.
const MAX_ALERT_STEPS: usize = 8;

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
    /// The peer's bytes.
    pub(super) input: Buffer,
    /// Bytes for the peer.
    pub(super) output: Buffer,
    /// Plain text that nobody has read yet.
    pub(super) plain: Buffer,
    /// The peer has closed properly.
    pub(super) closed: bool,
    /// What the last [`Machine::handshake`] came to.
    pub(super) outcome: Option<Result<Step, Error>>,
    /// Bytes of input that may be held.
    pub(super) limit: usize,
}

/// How far a call got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// What was asked for is done.
    Done,
    /// More input is needed.
    WantInput,
    /// Output has to leave first.
    WantOutput,
}

/// What one call of rustls led to.
enum Turn {
    /// There may be more to do.
    Again,
    /// It needs more input.
    Blocked,
    /// It needs more input, or something to write.
    Traffic,
    /// Nothing will ever come again.
    Closed,
}

/// What to do once application data can be sent, or has come.
pub(super) enum Goal<'a> {
    /// Nothing.
    None,
    /// Lend this the next record's text; it returns how much of it it took.
    Read {
        read: &'a mut dyn FnMut(&[u8]) -> usize,
        taken: Option<usize>,
    },
    /// Encrypt a record's worth of this behind the output.
    Data {
        from: &'a [u8],
        /// How much of it was taken.
        taken: usize,
    },
    /// Encrypt a record's worth of this into memory of the caller's, once the output has left.
    DataInto {
        from: &'a [u8],
        to: &'a mut [u8],
        /// How much of it was taken.
        taken: usize,
        /// Bytes of `to` that were filled.
        filled: usize,
    },
    /// Say that no more will be sent.
    CloseNotify { done: bool },
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
    pub(super) fn new(side: Side, limit: usize) -> Self {
        Self {
            side,
            input: Buffer::default(),
            output: Buffer::default(),
            plain: Buffer::default(),
            closed: false,
            outcome: None,
            limit,
        }
    }

    /// Goes on until the handshake is done or needs input. May pause the job it runs in.
    pub(super) fn handshake(&mut self) -> Result<Step, Error> {
        if let Side::NewClient(config, name) = &self.side {
            let conn = UnbufferedClientConnection::new(Arc::clone(config), name.clone())?;
            self.side = Side::Client(conn);
        }
        loop {
            if self.output.len() > MAX_OUTPUT {
                return Ok(Step::WantOutput);
            }
            match self.turn(&mut Goal::None)? {
                Turn::Again => {}
                _ if !self.side.is_handshaking() => return Ok(Step::Done),
                Turn::Blocked | Turn::Traffic => return self.want_input(),
                Turn::Closed => return Ok(Step::WantInput),
            }
        }
    }

    /// Decrypts records until `goal`, a [`Goal::Read`], has had one, or nothing more will come;
    /// never pauses.
    pub(super) fn read(&mut self, goal: &mut Goal<'_>) -> Result<Step, Error> {
        while !goal.is_done() && !self.closed {
            if self.output.len() > MAX_OUTPUT {
                return Ok(Step::WantOutput);
            }
            match self.turn(goal)? {
                Turn::Again => {}
                Turn::Blocked | Turn::Traffic => return self.want_input(),
                Turn::Closed => break,
            }
        }
        Ok(Step::Done)
    }

    /// Does what `goal` says as soon as rustls lets it; never pauses.
    pub(super) fn write(&mut self, goal: &mut Goal<'_>) -> Result<Step, Error> {
        loop {
            match self.turn(goal)? {
                Turn::Again => {}
                Turn::Traffic if goal.is_done() => return Ok(Step::Done),
                Turn::Traffic => return Ok(Step::WantOutput),
                Turn::Blocked | Turn::Closed => return Ok(Step::WantInput),
            }
        }
    }

    /// rustls keeps a message of several records in the input until all of it is there.
    fn want_input(&self) -> Result<Step, Error> {
        if self.input.len() < self.limit {
            Ok(Step::WantInput)
        } else {
            Err(Error::InputTooLong { limit: self.limit })
        }
    }

    /// One call of rustls. After an error the alert is in the output.
    fn turn(&mut self, goal: &mut Goal<'_>) -> Result<Turn, Error> {
        let result = self.call(goal);
        if result.is_err() {
            self.encode_alert();
        }
        result
    }

    /// What rustls still has to say after an error. It must not be called again once it has: it
    /// would look at more input.
    fn encode_alert(&mut self) {
        for _ in 0..MAX_ALERT_STEPS {
            let wants_write = self.side.common().is_some_and(CommonState::wants_write);
            if !wants_write || self.call(&mut Goal::None).is_err() {
                break;
            }
        }
    }

    /// One call of rustls.
    fn call(&mut self, goal: &mut Goal<'_>) -> Result<Turn, Error> {
        let Self {
            side,
            input,
            output,
            plain,
            closed,
            ..
        } = self;
        let (discard, turn) = match side {
            Side::Server(conn) => {
                let status = conn.process_tls_records(input.unread_mut());
                handle(status, output, plain, closed, goal)
            }
            Side::Client(conn) => {
                let status = conn.process_tls_records(input.unread_mut());
                handle(status, output, plain, closed, goal)
            }
            Side::NewClient(..) => (0, Ok(Turn::Blocked)),
        };
        input.consume(discard);
        turn
    }
}

impl Goal<'_> {
    fn is_done(&self) -> bool {
        match self {
            Self::None => true,
            Self::Read { taken, .. } => taken.is_some(),
            Self::Data { taken, .. } | Self::DataInto { taken, .. } => *taken != 0,
            Self::CloseNotify { done } => *done,
        }
    }

    fn run<Data>(
        &mut self,
        traffic: &mut WriteTraffic<'_, Data>,
        output: &mut Buffer,
    ) -> Result<(), Error> {
        match self {
            Self::Data { from, taken } => {
                let room = output.room_below(LARGE, LARGE);
                let len = fragment_len(from.len(), room.len());
                // A small rest of a buffer is not worth a record.
                if len >= from.len().min(WORTHWHILE)
                    && let Some(count) = encrypted_len(traffic.encrypt(&from[..len], room))?
                {
                    output.commit(count);
                    *taken = len;
                }
            }
            Self::DataInto {
                from,
                to,
                taken,
                filled,
            } => {
                let len = fragment_len(from.len(), to.len());
                if output.is_empty()
                    && len != 0
                    && let Some(count) = encrypted_len(traffic.encrypt(&from[..len], to))?
                {
                    (*taken, *filled) = (len, count);
                }
            }
            Self::CloseNotify { done } => {
                let encrypted = traffic.queue_close_notify(output.room(OVERHEAD));
                if let Some(count) = encrypted_len(encrypted)? {
                    output.commit(count);
                    *done = true;
                }
            }
            Self::None | Self::Read { .. } => {}
        }
        Ok(())
    }

    /// Text has come: whom it is for takes it, the rest waits in `plain`.
    fn take(&mut self, text: &[u8], plain: &mut Buffer) {
        match self {
            Self::Read {
                read,
                taken: taken @ None,
            } if plain.is_empty() => {
                let count = read(text).min(text.len());
                *taken = Some(count);
                plain.push(&text[count..]);
            }
            _ => plain.push(text),
        }
    }
}

/// How much was encrypted; none if the memory was too short.
fn encrypted_len(result: Result<usize, EncryptError>) -> Result<Option<usize>, Error> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(EncryptError::InsufficientSize(_)) => Ok(None),
        Err(EncryptError::EncryptExhausted) => Err(rustls::Error::EncryptError.into()),
    }
}

/// Does what `status` asks for. Returns how much of the input is done with.
fn handle<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    output: &mut Buffer,
    plain: &mut Buffer,
    closed: &mut bool,
    goal: &mut Goal<'_>,
) -> (usize, Result<Turn, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
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
        ConnectionState::ReadTraffic(mut data) => {
            while let Some(record) = data.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        goal.take(record.payload, plain);
                    }
                    Err(error) => return (discard, Err(error.into())),
                }
            }
            Turn::Again
        }
        ConnectionState::WriteTraffic(mut traffic) => match goal.run(&mut traffic, output) {
            Ok(()) => Turn::Traffic,
            Err(error) => return (discard, Err(error)),
        },
        ConnectionState::BlockedHandshake => Turn::Blocked,
        ConnectionState::PeerClosed => {
            *closed = true;
            Turn::Again
        }
        ConnectionState::Closed => {
            *closed = true;
            Turn::Closed
        }
        ConnectionState::ReadEarlyData(_) => return (discard, Err(Error::EarlyData)),
        _ => Turn::Blocked,
    };
    (discard, Ok(turn))
}

/// Bytes of plain text that one record of at most `room` bytes takes.
fn fragment_len(plain: usize, room: usize) -> usize {
    plain.min(MAX_FRAGMENT).min(room.saturating_sub(OVERHEAD))
}
