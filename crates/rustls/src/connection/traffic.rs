//! Application data.

use super::established::Established;
use super::{Connection, Progress, Stage};
use crate::error::Error;

impl Connection {
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

    /// Lends plain text, at most a record's, to `read`, which returns how much of it it took. The text
    /// lies where its record came in; what is not taken stays there.
    ///
    /// # Errors
    /// As for [`Connection::handshake`].
    pub fn read_with(&mut self, read: impl FnOnce(&[u8]) -> usize) -> Result<Progress, Error> {
        self.once_established(|conn| conn.read(read), |progress| progress)
    }

    /// Writes plain text: takes at most a record's, and says how much it took. [`Progress::WantOutput`] also
    /// while as many records as a connection may have are with devices: whoever is
    /// [attached](Connection::attach) is told when the first is back.
    ///
    /// # Errors
    /// As for [`Connection::handshake`].
    pub fn write(&mut self, from: &[u8]) -> Result<Progress, Error> {
        if from.is_empty() {
            return Ok(Progress::Done(0));
        }
        self.once_established(|conn| conn.write(from), |progress| progress)
    }

    /// Writes plain text as [`Connection::write`] does, but seals it at once, by no device, and puts the ciphertext of one record into
    /// `to` (which should have room for `from` and 64 bytes) rather than into the output, which
    /// must have left. Also returns how many bytes of `to` it filled.
    ///
    /// # Errors
    /// As for [`Connection::handshake`].
    pub fn write_into(&mut self, from: &[u8], to: &mut [u8]) -> Result<(Progress, usize), Error> {
        if from.is_empty() {
            return Ok((Progress::Done(0), 0));
        }
        self.once_established(|conn| conn.write_into(from, to), |progress| (progress, 0))
    }

    /// Changes the keys of both directions (TLS 1.3's KeyUpdate; RFC 8446, section 4.6.3), which a
    /// connection does by itself before a key has sealed as much as it may.
    ///
    /// # Errors
    /// As for [`Connection::handshake`]; in TLS 1.2, which has no such thing, an error that ends the
    /// connection.
    pub fn refresh_traffic_keys(&mut self) -> Result<Progress, Error> {
        self.once_established(Established::refresh, |progress| progress)
    }

    /// Says to the peer that no more will be written (close_notify). Reading goes on. Does nothing
    /// before the handshake is done.
    pub fn shutdown(&mut self) {
        if let (Stage::Established(conn), None) = (&mut self.stage, &self.error) {
            conn.close();
        }
    }

    /// Does it, after the handshake; until then returns what that comes to.
    fn once_established<T>(
        &mut self,
        action: impl FnOnce(&mut Established) -> Result<T, Error>,
        not_yet: impl FnOnce(Progress) -> T,
    ) -> Result<T, Error> {
        self.fail_again()?;
        if !self.is_established() {
            match self.handshake()? {
                Progress::Done(_) => {}
                progress => return Ok(not_yet(progress)),
            }
        }
        let Stage::Established(conn) = &mut self.stage else {
            return self.fail(Error::Lost);
        };
        let done = conn.check().and_then(|()| action(conn));
        done.or_else(|error| self.fail(error))
    }
}
