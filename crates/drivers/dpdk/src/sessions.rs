//! A queue pair's sessions: one per key, made when the key first comes.

use std::sync::Arc;

use spinlane_crypto::{Key, RsaKey};
use spinlane_cryptodev::KeyHandle;
use zeroize::Zeroizing;

use crate::crt::Crt;
use crate::device::RsaBy;
use crate::ec::{Curves, Multipliers, Signer};
use crate::ffi::{DeviceId, RsaNumbers, Running, Session, SessionPool};
use crate::table::{Leave, NoSession, Purpose, Table};

/// Keys that a queue pair serves at a time. One more, and the one that was idle longest is let go.
const MAX_KEYS: usize = 64;

/// A key in the form the device wants it.
pub(crate) enum KeySession {
    /// The whole of it.
    Rsa(Session),
    /// Its halves, by two modular exponentiations.
    Crt(Box<Crt>),
    /// On a curve.
    Ecdsa(Box<Signer>),
    /// None of it.
    #[cfg(feature = "null")]
    Null(crate::ffi::SymmetricSession),
}

/// A session and its ops in flight.
struct Counted {
    session: KeySession,
    in_flight: u32,
}

impl Counted {
    #[inline]
    fn take(&mut self) -> &KeySession {
        self.in_flight += 1;
        &self.session
    }
}

pub(crate) struct Sessions {
    maker: Maker,
    /// Dropped before the pool.
    table: Table<KeyHandle, Counted>,
    /// For ops without key. Likewise.
    multipliers: Multipliers,
    pool: SessionPool,
}

impl Sessions {
    pub(crate) fn new(
        running: &Running,
        device: DeviceId,
        by: RsaBy,
        curves: Curves,
    ) -> Result<Self, i32> {
        // Two per key by modexp, and one per curve.
        let socket = device.socket(running);
        let pool = match by {
            RsaBy::Rsa | RsaBy::Modexp => {
                SessionPool::new(running, 2 * MAX_KEYS as u32 + 2, socket)?
            }
            #[cfg(feature = "null")]
            RsaBy::Null => SessionPool::symmetric(running, MAX_KEYS as u32, socket)?,
        };
        let multipliers = match curves.multiplies {
            true => Multipliers::new(&pool, device),
            false => Multipliers::default(),
        };
        Ok(Self {
            maker: Maker { device, by },
            multipliers,
            table: Table::new(MAX_KEYS, Leave::AtNext),
            pool,
        })
    }

    /// The session of `key` for one more op, and its number, if there is one already.
    #[inline]
    pub(crate) fn take(&mut self, key: &Arc<KeyHandle>) -> Option<(u32, &KeySession)> {
        let (number, counted) = self.table.find(Purpose::new(key, 0))?;
        Some((number, counted.take()))
    }

    /// [`Sessions::take`], or else a new one.
    ///
    /// # Errors
    /// The device does not take the key, or every session has ops in flight.
    pub(crate) fn take_or_make(
        &mut self,
        key: &Arc<KeyHandle>,
    ) -> Result<(u32, &KeySession), NoSession> {
        let Self {
            maker, table, pool, ..
        } = self;
        let is_busy = |counted: &Counted| counted.in_flight > 0;
        let make = || {
            Ok(Counted {
                session: maker.make(pool, key)?,
                in_flight: 0,
            })
        };
        let found = table.find_or_make(key, 0, is_busy, make);
        let found = found.inspect_err(|error| {
            if let NoSession::Refused(error) = *error {
                tracing::warn!(
                    key = key.name(),
                    "the DPDK device takes no session for a key: {}",
                    crate::ffi::error_text(error)
                );
            }
        });
        found.map(|(number, counted)| (number, counted.take()))
    }

    /// An op is back from the device, with this session.
    #[inline]
    pub(crate) fn give_back(&mut self, number: u32) -> Option<&KeySession> {
        let counted = self.table.get_mut(number)?;
        counted.in_flight -= 1;
        Some(&counted.session)
    }

    /// Keeps every session for ever: a device has kept ops with them.
    pub(crate) fn leak(&mut self) {
        self.table.leak();
        self.multipliers.leak();
        self.pool.leak();
    }

    /// Those for ops without key.
    pub(crate) fn multipliers(&self) -> &Multipliers {
        &self.multipliers
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

/// What sessions are made for.
struct Maker {
    device: DeviceId,
    by: RsaBy,
}

impl Maker {
    fn make(&self, pool: &SessionPool, key: &KeyHandle) -> Result<KeySession, i32> {
        #[cfg(feature = "null")]
        if self.by == RsaBy::Null {
            return Ok(KeySession::Null(pool.null(self.device)?));
        }
        match key.as_local() {
            Some(Key::Rsa(key)) => self.make_rsa(pool, key),
            Some(key) => Ok(KeySession::Ecdsa(Box::new(Signer::new(
                pool,
                self.device,
                key,
            )?))),
            // Another device's own.
            None => Err(libc::ENOTSUP),
        }
    }

    fn make_rsa(&self, pool: &SessionPool, key: &RsaKey) -> Result<KeySession, i32> {
        match self.by {
            #[cfg(feature = "null")]
            RsaBy::Null => Err(libc::ENOTSUP),
            RsaBy::Rsa => {
                let [p, q] = [key.p_limbs(), key.q_limbs()].map(big_endian);
                let [dp, dq] = [key.dp_limbs(), key.dq_limbs()].map(big_endian);
                let qinv = big_endian(key.qinv_limbs());
                let numbers = RsaNumbers {
                    n: key.modulus(),
                    e: key.public_exponent(),
                    p: &p,
                    q: &q,
                    dp: &dp,
                    dq: &dq,
                    qinv: &qinv,
                };
                Ok(KeySession::Rsa(pool.rsa(self.device, &numbers)?))
            }
            RsaBy::Modexp => {
                let make = |prime: &[u64], exponent: &[u64]| {
                    let (prime, exponent) = (big_endian(prime), big_endian(exponent));
                    pool.modexp(self.device, &prime, &exponent)
                };
                Ok(KeySession::Crt(Box::new(Crt::new(key, make)?)))
            }
        }
    }
}

/// Limbs, least significant first, as big-endian bytes.
pub(crate) fn big_endian(limbs: &[u64]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 * limbs.len()));
    for limb in limbs.iter().rev() {
        bytes.extend_from_slice(&limb.to_be_bytes());
    }
    bytes
}
