//! A queue pair's sessions: one per key, direction and length of associated data, made when the first such op
//! comes.

use std::sync::Arc;

use spinlane_cryptodev::aead::{Key, Op};

use crate::ffi::{DeviceId, RawAead, Running, SessionHandle, SessionPool, SymmetricSession};
use crate::table::{Leave, NoSession, Purpose, Table};

/// Sessions that a queue pair has at a time. One more, and the one that was idle longest is let go.
const MAX_SESSIONS: usize = 1024;

pub(crate) struct Sessions {
    device: DeviceId,
    /// Dropped before the pool.
    table: Table<Key, SymmetricSession>,
    pool: SessionPool,
}

impl Sessions {
    pub(crate) fn new(running: &Running, device: DeviceId) -> Result<Self, i32> {
        Ok(Self {
            device,
            table: Table::new(MAX_SESSIONS, Leave::ForRoom),
            pool: SessionPool::for_aead(running, device, MAX_SESSIONS as u32)?,
        })
    }

    /// The session for `op`, whose key is `key`, if there is one already.
    #[inline]
    pub(crate) fn find(&mut self, key: &Arc<Key>, op: &Op) -> Option<SessionHandle> {
        let (_, session) = self.table.find(Purpose::new(key, op.variant()))?;
        Some(session.handle())
    }

    /// [`Sessions::find`], or else a new one; `None` if the device does not take the key, or every session
    /// is used by `raw`, which alone uses them.
    #[cold]
    pub(crate) fn find_or_make(
        &mut self,
        key: &Arc<Key>,
        op: &Op,
        raw: &RawAead,
    ) -> Option<SessionHandle> {
        let Self {
            device,
            table,
            pool,
        } = self;
        let make = || pool.aead(*device, key, op.direction(), op.aad().len());
        let is_busy = |session: &SymmetricSession| raw.uses(session.handle());
        let found = table.find_or_make(key, op.variant(), is_busy, make);
        let (_, session) = found
            .inspect_err(|error| {
                if let NoSession::Refused(error) = *error {
                    tracing::warn!(
                        algorithm = key.algorithm().name(),
                        "the DPDK device takes no session for a key: {}",
                        crate::ffi::error_text(error)
                    );
                }
            })
            .ok()?;
        Some(session.handle())
    }

    /// Keeps every session for ever: a device has kept ops with them.
    pub(crate) fn leak(&mut self) {
        self.table.leak();
        self.pool.leak();
    }

    /// Sessions made so far.
    pub(crate) fn created(&self) -> u64 {
        self.table.created()
    }

    /// Sessions of DPDK's that are alive.
    pub(crate) fn in_use(&self) -> u32 {
        self.pool.in_use()
    }
}
