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
pub(crate) use session::{SessionHandle, SymmetricSession, takes};

use std::ptr;
use std::sync::Arc;

use dpdk_sys as sys;
use spinlane_crypto::aead::{NONCE_LEN, TAG_LEN};
use spinlane_cryptodev::{Burst, OpStatus, aead};

use super::pair::{Handed, NOT_PROCESSED, Objects, RawPair, SUCCESS, status_of};
use super::{QueuePairs, Running};

/// What came of handing staged ops to the device.
pub(crate) enum Handover {
    /// It took so many, which may be all.
    Accepted(usize),
    /// It took so many, and never will the next one, which is this.
    Rejected(usize, Box<aead::Op>),
    /// It is stopped or gone.
    Stopped,
}

/// A queue pair of a device, which nobody else uses, its objects, and the ops that they stand for. The ops of
/// those that the device has kept stay in memory for ever, as the objects do.
pub(crate) struct RawAead {
    pair: RawPair,
    failed: u64,
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
        let pair = RawPair::new(running, home, &objects, |object| {
            // SAFETY: the object is ours, with the private data that it takes.
            unsafe { sys::shim_aead_init(object.as_ptr().cast()) }
        })?;
        Ok(Self { pair, failed: 0 })
    }

    /// Ops that the device has.
    #[inline]
    pub(crate) fn with_device(&self) -> usize {
        self.pair.with_device()
    }

    /// Ops that it has ended, so far, other than well.
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// Ops that wait to be submitted.
    #[inline]
    pub(crate) fn staged(&self) -> usize {
        self.pair.staged()
    }

    /// The first staged op's bytes of data.
    #[inline]
    pub(crate) fn next_len(&self) -> Option<usize> {
        let next = self.pair.all_staged().next()?;
        // SAFETY: a staged object is ours.
        Some(unsafe { (*object_of(next)).length } as usize)
    }

    /// Whether an op that is staged or with the device has `session`.
    pub(crate) fn uses(&self, session: SessionHandle) -> bool {
        let has = |object: *mut sys::rte_crypto_op| {
            // SAFETY: one of ours; of what is read a device changes nothing.
            let (owner, of) = unsafe {
                let object = object_of(object);
                ((*object).owner, (*object).session)
            };
            !owner.is_null() && of == session.as_ptr()
        };
        // A driver that computes here has none now: then those that are staged tell.
        match self.pair.with_device() {
            0 => self.pair.all_staged().any(has),
            _ => self
                .pair
                .objects()
                .iter()
                .any(|object| has(object.as_ptr())),
        }
    }

    /// Stages `op`, which is prepared, for `session`, which must live until the op is
    /// back and is for the op's direction and length of associated data. A card finds the op's buffer at
    /// `buffer_iova`; a driver that computes here needs none.
    ///
    /// # Errors
    /// The op, if there is no room or its data does not lie in its buffer.
    #[inline(always)] // a call costs as much as all else here
    pub(crate) fn stage(
        &mut self,
        mut op: Box<aead::Op>,
        session: SessionHandle,
        buffer_iova: Option<u64>,
    ) -> Result<(), Box<aead::Op>> {
        let end = op.data_range().end + TAG_LEN;
        let buffer = op.buffer_mut();
        if end > buffer.len() {
            return Err(op);
        }
        let buffer = buffer.as_mut_ptr();
        // SAFETY: it is set below; the caller keeps the session.
        let Some(object) = (unsafe { self.pair.take() }) else {
            return Err(op);
        };
        // SAFETY: the object is idle, and so ours. The buffer has the data and a tag behind it, MAX_BUFFER
        // bytes at most, at an address that does not change while the object has the op. Nobody borrows
        // from the op until it is taken out of there, not even from its associated data, which lies in it.
        unsafe {
            let object = &mut *object_of(object);
            let packet = &mut object.packet;
            packet.data = buffer;
            packet.length = end as u32;
            packet.segment_length = end as u16;
            packet.buffer_length = end as u16;
            object.status = NOT_PROCESSED;
            object.session = session.as_ptr();
            let op = Box::into_raw(op);
            object.owner = op.cast();
            let op = &*op;
            let range = op.data_range(); // which does not end before it starts
            object.tag = buffer.add(range.end);
            object.start = range.start as u32;
            object.length = (range.end - range.start) as u32;
            store_nonce(&mut object.nonce, op.nonce());
            object.aad = op.aad_place().as_ptr().cast_mut();
            if let Some(iova) = buffer_iova {
                set_iovas(object, iova, op.aad());
            }
        }
        Ok(())
    }

    /// Hands at most `max` staged ops to the device, one burst at most.
    #[inline]
    pub(crate) fn submit(&mut self, max: usize) -> Handover {
        match self.pair.submit(max) {
            Handed::Accepted(count) => Handover::Accepted(count),
            Handed::Rejected(count, object) => {
                self.pair.put_back(object);
                // SAFETY: not taken, the object is ours.
                let op = unsafe { release(object) };
                Handover::Rejected(count, op)
            }
            Handed::Stopped => Handover::Stopped,
        }
    }

    /// [`submit`](Self::submit) of all that is staged, one burst at most, and [`collect`](Self::collect), for a
    /// driver that computes here; returns how many ops it has finished at once, which are all, mostly.
    #[inline]
    pub(crate) fn compute(&mut self, done: &mut Burst<aead::Op>) -> usize {
        let objects = self.pair.compute();
        let count = objects.len();
        // SAFETY: the device has given them back.
        unsafe { finish(objects, done, &mut self.failed) };
        self.pair.put_back_all(count);
        count
    }

    /// Takes at most `max` ops back, one burst at most, to the back of `done`; returns how many, `None` if the
    /// device is stopped.
    pub(crate) fn collect(&mut self, done: &mut Burst<aead::Op>, max: usize) -> Option<usize> {
        let objects = self.pair.collect(max)?;
        let count = objects.len();
        // SAFETY: the device has given them back.
        unsafe { finish(objects, done, &mut self.failed) };
        self.pair.put_back_all(count);
        Some(count)
    }

    /// Takes all staged ops back; `each` gets them.
    pub(crate) fn unstage(&mut self, mut each: impl FnMut(Box<aead::Op>)) {
        while let Some(object) = self.pair.unstage() {
            self.pair.put_back(object);
            // SAFETY: a staged object is ours.
            each(unsafe { release(object) });
        }
    }
}

/// Hands all of `ops` to `each`, without what a `drain` costs, which is half of staging an op.
#[inline]
pub(crate) fn take_all(ops: &mut Burst<aead::Op>, mut each: impl FnMut(Box<aead::Op>)) {
    let (first, count) = (ops.as_ptr(), ops.len());
    // SAFETY: none are left in `ops`, so that each of those that were there is read once; they stay where they
    // are, as nobody adds any meanwhile. Should `each` panic, the rest leak.
    unsafe {
        ops.set_len(0);
        for op in std::slice::from_raw_parts(first, count) {
            each(ptr::from_ref(op).read());
        }
    }
}

/// An object as the shim knows that it is laid out.
#[inline]
fn object_of(object: *mut sys::rte_crypto_op) -> *mut sys::shim_aead_object {
    object.cast()
}

/// What a card needs besides: the addresses as it knows them, that of the buffer being `iova`, and the associated
/// data where it reaches them.
#[cold]
fn set_iovas(object: &mut sys::shim_aead_object, iova: u64, aad: &[u8]) {
    if sys::SHIM_PACKET_HAS_IOVA != 0 {
        object.packet.iova = iova;
    }
    object.tag_iova = iova + u64::from(object.start) + u64::from(object.length);
    object.aad_copy[..aad.len()].copy_from_slice(aad);
    object.aad = object.aad_copy.as_mut_ptr();
    object.aad_iova = object.iova + std::mem::offset_of!(sys::shim_aead_object, aad_copy) as u64;
}

/// The op that `object` stood for.
///
/// # Safety
/// The object is ours again after [`RawAead::stage`]; once.
#[inline]
unsafe fn release(object: *mut sys::rte_crypto_op) -> Box<aead::Op> {
    // SAFETY: `stage` put there what it had from a box, and no device touches it.
    unsafe {
        let object = object_of(object);
        Box::from_raw(std::mem::replace(&mut (*object).owner, ptr::null_mut()).cast())
    }
}

/// Adds the ops that `objects` stand for to `done`, with the status that the device has given them, and to `failed`
/// those with a bad one.
///
/// # Safety
/// As for [`release`].
#[inline]
unsafe fn finish(
    objects: &[*mut sys::rte_crypto_op],
    done: &mut Burst<aead::Op>,
    failed: &mut u64,
) {
    done.extend(objects.iter().map(|&object| {
        // SAFETY: the caller's promise.
        let (status, mut op) = unsafe { (status_of(object), release(object)) };
        if status == SUCCESS {
            op.status = OpStatus::Success;
        } else {
            end_badly(&mut op, status);
            *failed += 1;
        }
        op
    }));
}

#[cold]
fn end_badly(op: &mut aead::Op, status: u8) {
    match u32::from(status) {
        // Not begun: the data is what it was.
        sys::RTE_CRYPTO_OP_STATUS_NOT_PROCESSED => {}
        // Some drivers leave what they decrypted.
        sys::RTE_CRYPTO_OP_STATUS_AUTH_FAILED => op.fail(OpStatus::Invalid),
        _ => op.fail(OpStatus::Error),
    }
}

/// Writes `nonce` to the front of `to` at once. A driver that is given one op at a time reads it so right
/// away, and would wait for what was written in parts.
#[inline]
fn store_nonce(to: &mut [u8; 16], nonce: &[u8; NONCE_LEN]) {
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
