//! Ciphertext: the peer's bytes in, bytes for the peer out.

use std::io;

use super::buffer::{Buffer, LARGE, SMALL};
use super::{Connection, Stage};

impl Connection {
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
        let take = |input: &mut Buffer, first| {
            let room = input.room_below(limit, first);
            if room.is_empty() {
                return Ok(0);
            }
            let result = read(room);
            input.commit(*result.as_ref().unwrap_or(&0));
            result
        };
        match &mut self.stage {
            Stage::Established(conn) if conn.pending() != 0 => Ok(0),
            Stage::Established(conn) => take(&mut conn.input, LARGE),
            Stage::Handshake(handshake) => handshake.with_input(|input| take(input, SMALL)),
        }
    }

    /// Whether [`Connection::read_input`] has room: not while plain text waits to be read.
    pub fn has_input_room(&self) -> bool {
        self.pending() == 0 && self.input_len() < self.limit
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
    /// there is nothing to send, or nothing yet: what follows is with a device, and whoever is
    /// [attached](Connection::attach) is told when it is back.
    ///
    /// # Errors
    /// What `write` fails with; [`Error::Unsealed`](crate::Error::Unsealed), as an [`io::Error`]'s inner error.
    pub fn write_output(
        &mut self,
        write: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        match &mut self.stage {
            Stage::Established(conn) => conn.send_output(write),
            Stage::Handshake(handshake) => handshake
                .with_machine(|machine| machine.output.send(write))
                .unwrap_or(Ok(0)),
        }
    }

    /// Whether [`Connection::write_output`] has something to hand over, or an error to tell: always if there is
    /// output, unless its first record is with a device.
    pub fn has_output(&self) -> bool {
        match &self.stage {
            Stage::Established(conn) => conn.has_output(),
            Stage::Handshake(_) => self.output_len() != 0,
        }
    }

    /// Bytes to be sent, those included that devices are sealing; 0 while paused.
    pub fn output_len(&self) -> usize {
        match &self.stage {
            Stage::Established(conn) => conn.output_len(),
            Stage::Handshake(handshake) => handshake
                .with_machine(|machine| machine.output.len())
                .unwrap_or(0),
        }
    }

    /// Bytes of the peer's not yet processed, but for those that a paused job has.
    pub fn input_len(&self) -> usize {
        match &self.stage {
            Stage::Established(conn) => conn.input_len(),
            Stage::Handshake(handshake) => handshake.with_input(|input| input.len()),
        }
    }

    /// Plain text decrypted already, in bytes.
    pub fn pending(&self) -> usize {
        match &self.stage {
            Stage::Established(conn) => conn.pending(),
            Stage::Handshake(_) => 0,
        }
    }
}
