//! Records that devices seal: behind the output, and in order.
//!
//! ```text
//!   output │ record │ record, sealed │ record │ alert, sealed here │
//!          ╰ first to leave, once it is sealed
//! ```
//! What is said meanwhile (alerts, KeyUpdates, close_notify) is sealed here and takes its place behind them: the
//! peer opens records in the order of their sequence numbers, which they got when they were written.

use std::io;

use spinlane_crypto::aead::TAG_LEN;
use spinlane_cryptodev::aead::Op;
use spinlane_cryptodev::{Buffer, OpStatus, cpu};
use spinlane_job::Notify;
use spinlane_lcore::{Lcore, RecordQueue};

use super::Established;
use crate::connection::Progress;
use crate::error::Error;
use crate::record::content::APPLICATION_DATA;
use crate::record::{MAX_FRAGMENT, OVERHEAD, Sealer};

/// Bytes of records of one connection at most, those that wait to leave included: three of the longest.
const MAX_BYTES: usize = 3 * (MAX_FRAGMENT + OVERHEAD);
/// Records of one connection at most: a burst.
const MAX_RECORDS: usize = 32;

/// Records that have not left.
pub(super) struct Devices {
    queue: RecordQueue,
    /// Bytes of all of them.
    bytes: usize,
    /// Bytes of the first one that have left.
    sent: usize,
    /// A record was lost, and those behind it with it.
    has_failed: bool,
}

/// Bytes of a record from its header to its tag.
fn record_len(op: &Op) -> usize {
    op.data_range().end + TAG_LEN
}

impl Devices {
    /// Bytes that have not left.
    pub(super) fn len(&self) -> usize {
        self.bytes - self.sent
    }

    fn has_room(&self, len: usize) -> bool {
        self.queue.len() < MAX_RECORDS && self.bytes + len <= MAX_BYTES
    }

    /// Whether there are no records.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether the first record can leave, or will never.
    pub(super) fn is_due(&self) -> bool {
        !self.has_failed && (self.queue.first(|_| ()).is_some() || self.queue.has_lost())
    }

    /// # Errors
    /// [`Error::Unsealed`] if the record that is to leave first never will.
    pub(super) fn check(&self) -> Result<(), Error> {
        let is_sealed = |op: &Op| op.status == OpStatus::Success;
        let is_due = self.queue.first(is_sealed).unwrap_or(true);
        match is_due && !self.queue.has_lost() && !self.has_failed {
            true => Ok(()),
            false => Err(Error::Unsealed),
        }
    }

    /// Forgets what is left: nothing behind a lost record is of use to the peer.
    pub(super) fn give_up(&mut self) {
        (self.bytes, self.sent, self.has_failed) = (0, 0, true);
    }

    /// Hands the rest of the first record to `write`, if it is sealed.
    pub(super) fn send(
        &mut self,
        write: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let sent = self.sent;
        let written = self.queue.first(|op| {
            let rest = &op.buffer()[sent..record_len(op)];
            write(rest).map(|count| (count.min(rest.len()), rest.len()))
        });
        let Some(written) = written else {
            return Ok(0);
        };
        let (count, rest) = written?;
        self.sent += count;
        if count == rest {
            self.bytes -= self.sent;
            self.sent = 0;
            self.queue.pop();
        }
        Ok(count)
    }

    /// Seals a short record here and puts it behind the others.
    pub(super) fn push(
        &mut self,
        sealer: &mut Sealer,
        kind: u8,
        text: &[u8],
    ) -> Result<(), rustls::Error> {
        let (len, (algorithm, _)) = (sealer.sealed_len(text.len()), sealer.algorithm());
        let op = self.queue.op(algorithm, len);
        let mut op = match op {
            Ok(op) => op,
            // Memory that a device reaches is not needed here.
            Err(_) => Op::new(Buffer::heap(len).map_err(|_| rustls::Error::EncryptError)?),
        };
        let prepared = sealer.prepare(kind, text, &mut op)?;
        cpu::run_aead(&mut op);
        self.bytes += prepared.ok_or(rustls::Error::EncryptError)?;
        self.queue.push(op);
        Ok(())
    }
}

impl Established {
    /// Has devices of `lcore` seal from now on, if they do that, and `notify` told when records can leave.
    pub(in crate::connection) fn use_devices(&mut self, lcore: &Lcore, notify: &Notify) {
        if let Some(devices) = self.devices.as_ref().filter(|devices| !devices.is_empty()) {
            return devices.queue.set_notify(notify.clone());
        }
        let (algorithm, aad_len) = self.sealer.algorithm();
        let is_served = lcore.takes_records(algorithm, aad_len, MAX_FRAGMENT + 1);
        self.devices = (is_served && self.sealer.share()).then(|| Devices {
            queue: lcore.record_queue(notify.clone()),
            bytes: 0,
            sent: 0,
            has_failed: false,
        });
    }

    /// Has a device seal a record's worth of `from`. `None`: it is to be sealed here.
    pub(super) fn submit(&mut self, from: &[u8]) -> Result<Option<Progress>, Error> {
        let Some(devices) = &mut self.devices else {
            return Ok(None);
        };
        let text = &from[..from.len().min(self.max_text)];
        let len = self.sealer.sealed_len(text.len());
        if !devices.has_room(len) || devices.is_due() {
            return Ok(Some(Progress::WantOutput));
        }
        let (kind, (algorithm, _)) = (APPLICATION_DATA, self.sealer.algorithm());
        let prepared = match devices.queue.op(algorithm, len) {
            Ok(mut op) => self
                .sealer
                .prepare(kind, text, &mut op)?
                .map(|len| (op, len)),
            Err(_) => None,
        };
        let Some((op, len)) = prepared else {
            // Here, unless it would overtake those before it.
            let waits = !devices.is_empty();
            return Ok(waits.then_some(Progress::WantOutput));
        };
        devices.bytes += len;
        devices.queue.submit(op);
        self.patience.said(text.len());
        Ok(Some(Progress::Done(text.len())))
    }
}
