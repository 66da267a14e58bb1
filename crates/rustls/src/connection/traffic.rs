//! Application data.

use super::machine::{Goal, Step};
use super::{Connection, Progress};
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
}
