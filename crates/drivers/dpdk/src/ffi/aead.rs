//! One queue pair of a device and its symmetric ops.
//!
//! ```text
//!   object of the pool:  | rte_crypto_op | rte_crypto_sym_op | … | rte_mbuf | nonce | AAD | index |
//!                                              m_src ──────────────▶ │
//!   our op's buffer:     | head | data | tag | room |  ◀── buf_addr ─╯
//! ```
//! Data is not copied: the packet buffer of an object, which belongs to no pool of packets, points to
//! the buffer of the op that the object stands for. That op lies in `held` until the device has given
//! the object back, and nobody reaches its memory meanwhile.

mod memory;
mod session;

pub(crate) use memory::DmaMemory;
pub(crate) use session::{AeadSession, AeadSessionPool, takes};

use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::Arc;

use dpdk_sys as sys;
use spinlane_cryptodev::aead;

use super::ops::{NOT_PROCESSED, SUCCESS, head_of};
use super::pair::{Objects, RawPair};
use super::{QueuePairs, Running};

/// Ops per call of the driver.
const BURST: usize = 64;

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

/// An op that the device has, or is about to get.
#[derive(Default)]
struct Held {
    op: Option<Box<aead::Op>>,
    session: u32,
}

/// A queue pair of a device, which nobody else uses, its objects, and the ops that they stand for.
pub(crate) struct RawAead {
    pair: RawPair,
    held: ManuallyDrop<Box<[Held]>>,
    free: Vec<u32>,
    staged: Vec<*mut sys::rte_crypto_op>,
    /// What the device gave back last; read no further than it wrote.
    returned: Box<[*mut sys::rte_crypto_op; BURST]>,
    /// Where in an object its number lies.
    index_at: usize,
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
        let pair = RawPair::new(running, home, &objects, |object, index| {
            // SAFETY: the object is ours, with the private data that it takes.
            unsafe { sys::shim_aead_init(object.as_ptr(), index) }
        })?;
        let held: Box<[Held]> = std::iter::repeat_with(Held::default)
            .take(usize::from(count))
            .collect();
        Ok(Self {
            pair,
            held: ManuallyDrop::new(held),
            // The lowest on top: few ops keep to little memory.
            free: (0..u32::from(count)).rev().collect(),
            staged: Vec::with_capacity(usize::from(count)),
            returned: Box::new([ptr::null_mut(); BURST]),
            // SAFETY: returns a constant.
            index_at: unsafe { sys::shim_aead_index_at() },
        })
    }

    /// Ops that the device has.
    pub(crate) fn with_device(&self) -> usize {
        self.pair.with_device()
    }

    /// Ops that wait to be submitted.
    pub(crate) fn staged(&self) -> usize {
        self.staged.len()
    }

    /// The first staged op's bytes of data.
    pub(crate) fn next_len(&self) -> Option<usize> {
        let &next = self.staged.first()?;
        // SAFETY: a staged object is ours.
        let index = unsafe { self.index_of(next) };
        let op = self.held[index as usize].op.as_ref()?;
        Some(op.data_range().len())
    }

    /// Stages `op`, which is prepared, for `session`, called `number`, which must live until the op is
    /// back and is for the op's direction and length of associated data. A card reads `buffer_iova`.
    ///
    /// # Errors
    /// The op, if there is no room or it is not prepared.
    pub(crate) fn stage(
        &mut self,
        op: Box<aead::Op>,
        session: &AeadSession,
        number: u32,
        buffer_iova: Option<u64>,
    ) -> Result<(), Box<aead::Op>> {
        let Some(&index) = self.free.last() else {
            return Err(op);
        };
        let range = op.data_range();
        if range.end + aead::TAG_LEN > op.buffer().len() {
            return Err(op);
        }
        self.free.pop();
        let held = &mut self.held[index as usize];
        held.session = number;
        let op = held.op.insert(op);
        let buffer = op.buffer_mut().as_mut_ptr();
        let aad = op.aad();
        let work = sys::shim_aead_work {
            buffer,
            buffer_iova: buffer_iova.unwrap_or(buffer as u64),
            start: range.start as u16,
            length: range.len() as u16,
            aad_length: aad.len() as u16,
            nonce: op.nonce().as_ptr(),
            aad: aad.as_ptr(),
        };
        let object = self.pair.objects()[index as usize].as_ptr();
        // SAFETY: the object is idle, and so ours. The buffer has `range` and a tag behind it, at most
        // 65,535 bytes in all, at an address that does not change while the op lies in `held`; nobody
        // borrows from the op until it is taken out of there. Nonce and associated data, of which there is
        // room for MAX_AAD bytes, are copied.
        unsafe { sys::shim_aead_set(object, session.as_ptr(), &work) };
        self.staged.push(object);
        Ok(())
    }

    /// Hands at most `max` staged ops to the device, one burst at most; returns how many it took, `None` if
    /// it is stopped. `refused` gets the next one if the device never will take it, and its session.
    pub(crate) fn submit(
        &mut self,
        max: usize,
        mut refused: impl FnMut(Box<aead::Op>, u32),
    ) -> Option<usize> {
        let count = self.staged.len().min(max).min(BURST);
        // SAFETY: staged objects are ours until the device takes them, and set.
        let taken = unsafe { self.pair.enqueue(&mut self.staged[..count]) }?;
        if taken == self.staged.len() {
            self.staged.clear();
        } else {
            self.staged.drain(..taken);
        }
        if let (true, Some(&next)) = (taken < count, self.staged.first())
            // SAFETY: not taken, it is still ours.
            && !matches!(unsafe { head_of(next).status }, SUCCESS | NOT_PROCESSED)
        {
            self.staged.remove(0);
            self.release(next, &mut refused);
        }
        Some(taken)
    }

    /// Takes at most `max` ops back, one burst at most; `each` gets them, their sessions, and how they
    /// ended. Returns how many, `None` if the device is stopped.
    pub(crate) fn collect(
        &mut self,
        max: usize,
        mut each: impl FnMut(Box<aead::Op>, u32, Ended),
    ) -> Option<usize> {
        let count = self.pair.dequeue(&mut self.returned[..max.min(BURST)])?;
        for place in 0..count {
            let object = self.returned[place];
            // SAFETY: the device gives back what it was given, which is ours again.
            let ended = match u32::from(unsafe { head_of(object).status }) {
                sys::RTE_CRYPTO_OP_STATUS_SUCCESS => Ended::Success,
                sys::RTE_CRYPTO_OP_STATUS_AUTH_FAILED => Ended::AuthFailed,
                sys::RTE_CRYPTO_OP_STATUS_NOT_PROCESSED => Ended::Refused,
                _ => Ended::Failed,
            };
            self.release(object, |op, session| each(op, session, ended));
        }
        Some(count)
    }

    /// Takes all staged ops back; `each` gets them and their sessions.
    pub(crate) fn unstage(&mut self, mut each: impl FnMut(Box<aead::Op>, u32)) {
        while let Some(object) = self.staged.pop() {
            self.release(object, &mut each);
        }
    }

    /// # Safety
    /// `object` is one of ours.
    unsafe fn index_of(&self, object: *mut sys::rte_crypto_op) -> u32 {
        // SAFETY: shim_aead_init wrote it there once, and no device does.
        unsafe { object.byte_add(self.index_at).cast::<u32>().read() }
    }

    /// The op that `object` stands for leaves; the object is idle.
    fn release(&mut self, object: *mut sys::rte_crypto_op, to: impl FnOnce(Box<aead::Op>, u32)) {
        // SAFETY: the object is one of ours and not the device's.
        let index = unsafe { self.index_of(object) };
        let held = &mut self.held[index as usize];
        let session = held.session;
        if let Some(op) = held.op.take() {
            self.free.push(index);
            to(op, session);
        }
    }
}

impl Drop for RawAead {
    fn drop(&mut self) {
        // What the device has kept it may write to still: the buffers stay, as the objects do.
        if self.pair.with_device() == 0 {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.held) };
        }
    }
}
