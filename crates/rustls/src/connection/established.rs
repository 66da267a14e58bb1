//! A connection after its handshake: records sealed and opened here, keys updated by rustls.
//!
//! ```text
//!   input   │ header │ text, open in place │ tag │ next records, sealed │
//!                    ╰─ lent to the reader ╯
//!   output  │ alerts, KeyUpdates, records that were not sealed into the caller's memory │
//!   devices │ records that devices seal, and what is to be sent after them │
//! ```

use std::io;
use std::time::Instant;

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{
    AlertDescription, ExtractedSecrets, InvalidMessage, PeerMisbehaved, ProtocolVersion,
    SupportedCipherSuite,
};

use super::agreed::Agreed;
use super::buffer::{Buffer, LARGE};
use super::{MAX_OUTPUT, Progress};
use crate::error::Error;
use crate::record::{FATAL, Fault, HEADER, MAX_FRAGMENT, OVERHEAD, Opener, Sealer, content};

mod devices;
mod message;
mod patience;

use devices::Devices;
use patience::{Nuisance, Patience};

/// Room that is worth a record of its own.
const WORTHWHILE: usize = 4 * 1024;

/// What is left of rustls.
pub(super) enum Kernel {
    Server(KernelConnection<ServerConnectionData>),
    Client(KernelConnection<ClientConnectionData>),
}

/// Where the text that waits for its reader lies in the input.
#[derive(Default)]
struct Text {
    start: usize,
    end: usize,
    /// End of its record.
    record: usize,
}

/// Keys, buffers, and what rustls needs for new keys.
pub(super) struct Established {
    /// The peer's bytes.
    pub(super) input: Buffer,
    /// Bytes for the peer.
    pub(super) output: Buffer,
    /// Records on their way, behind the output; `None` if none are sealed by devices.
    devices: Option<Devices>,
    text: Text,
    opener: Opener,
    sealer: Sealer,
    /// A handshake message of which more is to come.
    partial: Buffer,
    patience: Patience,
    /// The peer has closed properly.
    closed: bool,
    /// We have closed, or said what is wrong.
    silent: bool,
    /// Bytes of text in a record of ours at most.
    max_text: usize,
    /// Bytes that a handshake message may have.
    pub(super) limit: usize,
    agreed: Agreed,
    kernel: Kernel,
}

impl Kernel {
    fn version(&self) -> ProtocolVersion {
        match self {
            Self::Server(kernel) => kernel.protocol_version(),
            Self::Client(kernel) => kernel.protocol_version(),
        }
    }

    /// Records that one key may seal.
    fn confidentiality_limit(&self) -> u64 {
        let suite = match self {
            Self::Server(kernel) => kernel.negotiated_cipher_suite(),
            Self::Client(kernel) => kernel.negotiated_cipher_suite(),
        };
        match suite {
            SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
            SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
        }
    }
}

impl Established {
    pub(super) fn new(
        agreed: Agreed,
        secrets: ExtractedSecrets,
        kernel: Kernel,
        max_record: Option<usize>,
        limit: usize,
    ) -> Result<Self, rustls::Error> {
        let version = kernel.version();
        let max_text = max_record.map_or(MAX_FRAGMENT, |len| len.saturating_sub(HEADER));
        Ok(Self {
            input: Buffer::default(),
            output: Buffer::default(),
            devices: None,
            text: Text::default(),
            opener: Opener::new(version, secrets.rx)?,
            sealer: Sealer::new(version, secrets.tx, kernel.confidentiality_limit())?,
            partial: Buffer::default(),
            patience: Patience::default(),
            closed: false,
            silent: false,
            max_text: max_text.clamp(1, MAX_FRAGMENT),
            limit,
            agreed,
            kernel,
        })
    }

    pub(super) fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// Bytes of text that wait for their reader.
    pub(super) fn pending(&self) -> usize {
        self.text.end - self.text.start
    }

    /// Bytes of the peer's not yet processed.
    pub(super) fn input_len(&self) -> usize {
        self.input.len() - self.text.record
    }

    /// Lends text to `read`, which returns how much of it it took, as soon as there is some.
    pub(super) fn read(&mut self, read: impl FnOnce(&[u8]) -> usize) -> Result<Progress, Error> {
        while self.pending() == 0 {
            if self.closed {
                // What comes behind close_notify is ignored (RFC 8446, section 6.1).
                self.input.consume(self.input.len());
                return Ok(Progress::Closed);
            }
            if self.output_len() > MAX_OUTPUT {
                return Ok(Progress::WantOutput);
            }
            match self.open_record() {
                Ok(true) => {}
                Ok(false) => return Ok(Progress::WantInput),
                Err(fault) => return Err(self.end(fault)),
            }
        }
        let Text { start, end, record } = self.text;
        let text = &self.input.unread()[start..end];
        let count = read(text).min(text.len());
        self.text.start += count;
        if self.text.start == end {
            self.text = Text::default();
            self.input.consume(record);
        }
        Ok(Progress::Done(count))
    }

    /// # Errors
    /// [`Error::Unsealed`] if a record was lost.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.devices.as_ref().map_or(Ok(()), Devices::check)
    }

    /// Whether devices seal records.
    pub(super) fn uses_devices(&self) -> bool {
        self.devices.is_some()
    }

    /// Bytes for the peer, those included that devices are sealing.
    pub(super) fn output_len(&self) -> usize {
        self.output.len() + self.devices.as_ref().map_or(0, Devices::len)
    }

    /// Whether some of them can leave, or never will.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty() || self.devices.as_ref().is_some_and(Devices::is_due)
    }

    /// Hands some of them to `write`.
    pub(super) fn send_output(
        &mut self,
        write: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if !self.output.is_empty() {
            return self.output.send(write);
        }
        let Some(devices) = &mut self.devices else {
            return Ok(0);
        };
        if let Err(error) = devices.check() {
            devices.give_up();
            self.silent = true;
            return Err(io::Error::other(error));
        }
        devices.send(write)
    }

    /// Seals a record's worth of `from` behind the output, or has a device seal it.
    pub(super) fn write(&mut self, from: &[u8]) -> Result<Progress, Error> {
        if self.silent {
            return Ok(Progress::Closed);
        }
        self.refresh_in_time()?;
        if let Some(progress) = self.submit(from)? {
            return Ok(progress);
        }
        let wanted = from.len().min(self.max_text);
        let room = self.output.room_below(LARGE, LARGE);
        let len = fragment_len(wanted, room.len());
        // A small rest of a buffer is not worth a record.
        if len < wanted.min(WORTHWHILE) {
            return Ok(Progress::WantOutput);
        }
        let kind = content::APPLICATION_DATA;
        let count = self.sealer.seal(kind, &from[..len], room)?;
        self.output.commit(count);
        self.patience.said(len);
        Ok(Progress::Done(len))
    }

    /// Seals a record's worth of `from` into the caller's memory, once the output has left. Also returns
    /// how much of it was filled.
    pub(super) fn write_into(
        &mut self,
        from: &[u8],
        to: &mut [u8],
    ) -> Result<(Progress, usize), Error> {
        if self.silent {
            return Ok((Progress::Closed, 0));
        }
        self.refresh_in_time()?;
        let len = fragment_len(from.len().min(self.max_text), to.len());
        if len == 0 || self.output_len() != 0 {
            return Ok((Progress::WantOutput, 0));
        }
        let kind = content::APPLICATION_DATA;
        let count = self.sealer.seal(kind, &from[..len], to)?;
        self.patience.said(len);
        Ok((Progress::Done(len), count))
    }

    /// Says that no more will be sent (close_notify; RFC 8446, section 6.1).
    pub(super) fn close(&mut self) {
        const WARNING: u8 = 1;
        self.say(WARNING, AlertDescription::CloseNotify);
        self.silent = true;
    }

    /// Sends an alert.
    fn say(&mut self, level: u8, what: AlertDescription) {
        if !self.silent {
            // A sequence of 2^64 records is at its end: then there is nothing to be said.
            let _ = self.send(content::ALERT, &[level, what.into()]);
        }
    }

    /// Seals a short record behind all that is to be sent.
    fn send(&mut self, kind: u8, text: &[u8]) -> Result<(), rustls::Error> {
        if let Some(devices) = self.devices.as_mut().filter(|devices| !devices.is_empty()) {
            return devices.push(&mut self.sealer, kind, text);
        }
        let room = self.output.room(OVERHEAD + text.len());
        let count = self.sealer.seal(kind, text, room)?;
        self.output.commit(count);
        Ok(())
    }

    /// Ends the connection; the alert goes to the output.
    fn end(&mut self, fault: Fault) -> Error {
        if let Some(alert) = fault.alert {
            self.say(FATAL, alert);
            self.silent = true;
        }
        fault.error
    }

    /// Opens the next record and does what it says. False: it is not all there.
    fn open_record(&mut self) -> Result<bool, Fault> {
        let Some(len) = self.opener.whole_record(self.input.unread())? else {
            return Ok(false);
        };
        if self.opener.nears_its_end() {
            self.close();
        }
        let record = &mut self.input.unread_mut()[..len];
        if record[0] == content::CHANGE_CIPHER_SPEC && self.partial.is_empty() {
            return Err(self.inappropriate(content::CHANGE_CIPHER_SPEC));
        }
        let (kind, text) = self.opener.open(record)?;
        if kind != content::HANDSHAKE && !self.partial.is_empty() {
            let what = PeerMisbehaved::MessageInterleavedWithHandshakeMessage;
            return Err(Fault::misbehaved(what));
        }
        match kind {
            content::APPLICATION_DATA => {
                if text.is_empty() {
                    self.patience.spend(Nuisance::EmptyRecord, Instant::now())?;
                    self.input.consume(len);
                } else {
                    self.patience.heard(text.len());
                    self.text = Text {
                        start: text.start,
                        end: text.end,
                        record: len,
                    };
                }
            }
            content::ALERT | content::HANDSHAKE => {
                let mut input = std::mem::take(&mut self.input);
                let result = self.control(kind, &input.unread()[text]);
                input.consume(len);
                self.input = input;
                result?;
            }
            _ => return Err(Fault::unexpected(InvalidMessage::InvalidContentType)),
        }
        Ok(true)
    }
}

/// Bytes of text that one record of at most `room` bytes takes.
fn fragment_len(text: usize, room: usize) -> usize {
    text.min(room.saturating_sub(OVERHEAD))
}
