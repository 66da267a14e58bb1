//! One queue pair of a device and its symmetric ops.
//!
//! ```text
//!   object of the pool:  | rte_crypto_op | rte_crypto_sym_op | owner, nonce, … | rte_mbuf | AAD of a card's |
//!                                              m_src ────────────────────────────▶ │
//!   our op's buffer:     | head | data | tag | room |  ◀────────────────── buf_addr ─╯
//! ```
//! Data is not copied: the packet buffer of an object, which belongs to no pool of packets, points to
//! the buffer of the op that the object stands for, its `owner`. The object owns that op until the device has
//! given it back, and nobody reaches its memory meanwhile.

mod memory;
mod session;

pub(crate) use memory::DmaMemory;
pub(crate) use session::{AeadSession, AeadSessionPool, takes};

use std::ptr;
use std::sync::Arc;

use dpdk_sys as sys;
use spinlane_cryptodev::aead;

use super::pair::{Handed, NOT_PROCESSED, Objects, RawPair, status_of};
use super::{QueuePairs, Running};

/// How the device ended an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Success,
    /// The tag is wrong. The data may be plaintext.
    AuthFailed,
    /// Not begun: the data is what it was.
    Refused,
    /// The data may be anything.
    Failed,
}

/// What came of handing staged ops to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handover {
    /// It took so many, which may be all.
    Accepted(usize),
    /// It took so many, and never will the next one.
    Rejected(usize),
    /// It is stopped or gone.
    Stopped,
}

/// A queue pair of a device, which nobody else uses, its objects, and the ops that they stand for. The ops of
/// those that the device has kept stay in memory for ever, as the objects do.
pub(crate) struct RawAead {
    pair: RawPair,
    idle: Vec<*mut sys::rte_crypto_op>,
}

impl RawAead {
    /// A queue pair from `home`, to which it returns when this is dropped, for `count` ops at a time.
    ///
    /// # Errors
    /// `None` if there is none left, or `rte_errno`: memory is used up, say.
    pub(crate) fn new(
        running: &Running,
        home: &Arc<QueuePairs>,
        count: u16,
    ) -> Result<Self, Option<i32>> {
        let objects = Objects {
            name: "aead",
            kind: sys::RTE_CRYPTO_OP_TYPE_SYMMETRIC,
            // SAFETY: returns a constant.
            private_len: unsafe { sys::shim_aead_private() },
            alloc: sys::shim_sym_op_alloc,
            count,
        };
        let pair = RawPair::new(running, home, &objects, |object, _| {
            // SAFETY: the object is ours, with the private data that it takes.
            unsafe { sys::shim_aead_init(object.as_ptr().cast()) }
        })?;
        // The lowest on top: few ops keep to little memory.
        let idle = pair.objects().iter().rev().map(|object| object.as_ptr());
        Ok(Self {
            idle: idle.collect(),
            pair,
        })
    }

    /// Ops that the device has.
    #[inline]
    pub(crate) fn with_device(&self) -> usize {
        self.pair.with_device()
    }

    /// Ops that wait to be submitted.
    #[inline]
    pub(crate) fn staged(&self) -> usize {
        self.pair.staged().len()
    }

    /// The first staged op's bytes of data.
    #[inline]
    pub(crate) fn next_len(&self) -> Option<usize> {
        let &next = self.pair.staged().first()?;
        // SAFETY: a staged object is ours.
        Some(unsafe { (*object_of(next)).length } as usize)
    }

    /// Stages `op`, which is prepared, for `session`, called `number`, which must live until the op is
    /// back and is for the op's direction and length of associated data. A card finds the op's buffer at
    /// `buffer_iova`; a driver that computes here needs none.
    ///
    /// # Errors
    /// The op, if there is no room or its data does not lie in its buffer.
    #[inline(always)] // a call costs as much as all else here
    pub(crate) fn stage(
        &mut self,
        mut op: Box<aead::Op>,
        session: &AeadSession,
        number: u32,
        buffer_iova: Option<u64>,
    ) -> Result<(), Box<aead::Op>> {
        let range = op.data_range();
        let end = range.end + aead::TAG_LEN;
        let buffer = op.buffer_mut();
        if range.start > range.end || end > buffer.len() {
            return Err(op);
        }
        let buffer = buffer.as_mut_ptr();
        let Some(object) = self.idle.pop() else {
            return Err(op);
        };
        let iova = buffer_iova.unwrap_or(buffer.addr() as u64);
        // SAFETY: the object is idle, and so ours. The buffer has the data and a tag behind it, MAX_BUFFER
        // bytes at most, at an address that does not change while the object has the op. Nobody borrows
        // from the op until it is taken out of there, not even from its associated data, which lies in it.
        unsafe {
            let object = &mut *object_of(object);
            let packet = &mut object.packet;
            packet.data = buffer;
            if sys::SHIM_PACKET_HAS_IOVA != 0 {
                packet.iova = iova;
            }
            packet.length = end as u32;
            packet.segment_length = end as u16;
            packet.buffer_length = end as u16;
            object.status = NOT_PROCESSED;
            object.session = session.as_ptr();
            object.start = range.start as u32;
            object.length = range.len() as u32;
            object.tag = buffer.add(range.end);
            object.tag_iova = iova + range.end as u64;
            store_nonce(&mut object.nonce, op.nonce());
            object.number = number;
            let op = Box::into_raw(op);
            object.owner = op.cast();
            let aad = (*op).aad();
            object.aad = aad.as_ptr().cast_mut();
            object.aad_iova = aad.as_ptr().addr() as u64;
            if buffer_iova.is_some() {
                object.aad_copy[..aad.len()].copy_from_slice(aad);
                object.aad = object.aad_copy.as_mut_ptr();
                object.aad_iova =
                    object.iova + std::mem::offset_of!(sys::shim_aead_object, aad_copy) as u64;
            }
        }
        // SAFETY: an object of this queue pair's, just set; the caller keeps the session.
        unsafe { self.pair.stage(object) };
        Ok(())
    }

    /// Hands at most `max` staged ops to the device, one burst at most. `refused` gets the one that it never
    /// will take, and its session.
    #[inline]
    pub(crate) fn submit(
        &mut self,
        max: usize,
        refused: impl FnOnce(Box<aead::Op>, u32),
    ) -> Handover {
        match self.pair.submit(max) {
            Handed::Accepted(count) => Handover::Accepted(count),
            Handed::Rejected(count, object) => {
                self.idle.push(object);
                // SAFETY: not taken, the object is ours.
                let (op, number) = unsafe { release(object) };
                refused(op, number);
                Handover::Rejected(count)
            }
            Handed::Stopped => Handover::Stopped,
        }
    }

    /// Takes at most `max` ops back, one burst at most; `each` gets them, their sessions, and how they
    /// ended. Returns how many, `None` if the device is stopped.
    #[inline]
    pub(crate) fn collect(
        &mut self,
        max: usize,
        mut each: impl FnMut(Box<aead::Op>, u32, Ended),
    ) -> Option<usize> {
        let objects = self.pair.collect(max)?;
        for &object in objects {
            // SAFETY: the device gives back what it was given, which is ours again.
            let (status, (op, number)) = unsafe { (status_of(object), release(object)) };
            let ended = match u32::from(status) {
                sys::RTE_CRYPTO_OP_STATUS_SUCCESS => Ended::Success,
                sys::RTE_CRYPTO_OP_STATUS_AUTH_FAILED => Ended::AuthFailed,
                sys::RTE_CRYPTO_OP_STATUS_NOT_PROCESSED => Ended::Refused,
                _ => Ended::Failed,
            };
            each(op, number, ended);
        }
        // The first on top again.
        self.idle.extend(objects.iter().rev());
        Some(objects.len())
    }

    /// Takes all staged ops back; `each` gets them and their sessions.
    pub(crate) fn unstage(&mut self, mut each: impl FnMut(Box<aead::Op>, u32)) {
        while let Some(object) = self.pair.unstage() {
            self.idle.push(object);
            // SAFETY: a staged object is ours.
            let (op, number) = unsafe { release(object) };
            each(op, number);
        }
    }
}

/// An object as the shim knows that it is laid out.
#[inline]
fn object_of(object: *mut sys::rte_crypto_op) -> *mut sys::shim_aead_object {
    object.cast()
}

/// The op that `object` stands for, and its session.
///
/// # Safety
/// The object is ours again after [`RawAead::stage`]; once.
#[inline]
unsafe fn release(object: *mut sys::rte_crypto_op) -> (Box<aead::Op>, u32) {
    // SAFETY: `stage` put there what it had from a box, and no device touches it.
    unsafe {
        let object = object_of(object);
        (Box::from_raw((*object).owner.cast()), (*object).number)
    }
}

/// Writes `nonce` to the front of `to` at once. A driver that is given one op at a time reads it so right
/// away, and would wait for what was written in parts.
#[inline]
fn store_nonce(to: &mut [u8; 16], nonce: &[u8; aead::NONCE_LEN]) {
    let (&low, high) = nonce.split_first_chunk().unwrap_or((&[0; 8], &[]));
    let high = high
        .first_chunk()
        .map_or(0, |high| u32::from_ne_bytes(*high));
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_set_epi64x, _mm_storeu_si128};
        let low = i64::from_ne_bytes(low);
        // SAFETY: 16 bytes to write to, which need not be aligned.
        unsafe { _mm_storeu_si128(ptr::from_mut(to).cast(), _mm_set_epi64x(high.into(), low)) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        to[..8].copy_from_slice(&low);
        to[8..12].copy_from_slice(&high.to_ne_bytes());
    }
}
