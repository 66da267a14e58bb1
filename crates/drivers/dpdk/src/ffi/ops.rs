//! One queue pair of a device and its ops.
//!
//! ```text
//!   object of the pool:  | rte_crypto_op | rte_crypto_{a,}sym_op | … | Area (64-aligned) |
//!   Area:                | index | input, 512 bytes | output, 512 bytes |
//! ```
//! Every op is taken from the pool once, when the queue pair is opened, and goes back when it is closed:
//! the pool is not touched in between. An op is ours (`Idle`, `Staged`) or the device's (`Device`), and
//! only its state here says so: no function touches the memory of one that the device has.

use std::collections::VecDeque;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use dpdk_sys as sys;

use super::pair::{Objects, RawPair};
use super::{QueuePairs, Running, Session};

/// Ops per call of the driver.
pub(crate) const BURST: usize = 32;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of the longest operand or result.
pub(crate) const AREA_LEN: usize = 512;

pub(super) const SUCCESS: u8 = sys::RTE_CRYPTO_OP_STATUS_SUCCESS as u8;
pub(super) const NOT_PROCESSED: u8 = sys::RTE_CRYPTO_OP_STATUS_NOT_PROCESSED as u8;

/// Our part of an op.
#[repr(C, align(64))]
struct Area {
    index: u32,
    input: [u8; AREA_LEN],
    output: [u8; AREA_LEN],
}

/// Where the [`Area`] starts: after the larger of the two kinds of op.
const AREA_AT: usize = {
    let asym = size_of::<sys::rte_crypto_asym_op>();
    let sym = size_of::<sys::rte_crypto_sym_op>();
    let op = size_of::<sys::rte_crypto_op>() + if asym > sym { asym } else { sym };
    op.next_multiple_of(align_of::<Area>())
};
/// Bytes of private data that make room for it, wherever DPDK's own part ends.
const PRIVATE_LEN: u16 = (size_of::<Area>() + align_of::<Area>()) as u16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Staged,
    Device,
}

/// What came of handing staged ops to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Submitted {
    /// It took so many, which may be all.
    Accepted(usize),
    /// It took so many, and never will the next one, which is idle again.
    Rejected(usize, u32),
    /// It is stopped or gone.
    Stopped,
}

/// An op that came back, idle again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Finished {
    pub(crate) index: u32,
    pub(crate) success: bool,
}

/// What is wrong with an op.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spoil {
    NoSession,
    /// With the session that is right.
    Length(*mut std::ffi::c_void),
    NotBelow,
    Padding,
}

/// A queue pair of a device, which nobody else uses, and its ops.
pub(crate) struct RawQueuePair {
    pair: RawPair,
    states: Box<[State]>,
    staged: VecDeque<*mut sys::rte_crypto_op>,
}

impl RawQueuePair {
    /// A queue pair from `home`, to which it returns when this is dropped, with `count` ops.
    ///
    /// # Errors
    /// `None` if there is none left, or `rte_errno`: memory is used up, say.
    pub(crate) fn new(
        running: &Running,
        home: &Arc<QueuePairs>,
        count: u16,
    ) -> Result<Self, Option<i32>> {
        let objects = Objects {
            name: "op",
            kind: sys::RTE_CRYPTO_OP_TYPE_UNDEFINED,
            private_len: PRIVATE_LEN,
            alloc: sys::shim_op_alloc,
            count,
        };
        let pair = RawPair::new(running, home, &objects, |op, index| {
            let area = Area {
                index,
                input: [0; AREA_LEN],
                output: [0; AREA_LEN],
            };
            // SAFETY: the op is ours, and its private data has room for an aligned area.
            unsafe { area_of(op).write(area) };
        })?;
        Ok(Self {
            states: vec![State::Idle; usize::from(count)].into(),
            staged: VecDeque::with_capacity(usize::from(count)),
            pair,
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

    /// Stages op `index`: `input` to the private exponent of the RSA key of `session`, which must live
    /// until the op is back. The result has as many bytes as the input.
    ///
    /// # Panics
    /// If the op is not idle, or the input longer than [`AREA_LEN`].
    pub(crate) fn stage_rsa(&mut self, index: u32, session: &Session, input: &[u8]) {
        self.stage(index, input, |op, from, to| {
            // SAFETY: the op is ours; its operands lie in its own area.
            unsafe { sys::shim_set_rsa(op, session.as_ptr(), from, to) }
        });
    }

    /// Stages op `index`: `input` to the exponent of `session` modulo its modulus.
    ///
    /// # Panics
    /// As for [`RawQueuePair::stage_rsa`].
    pub(crate) fn stage_modexp(&mut self, index: u32, session: &Session, input: &[u8]) {
        self.stage(index, input, |op, from, to| {
            // SAFETY: the op is ours; its operands lie in its own area.
            unsafe { sys::shim_set_modexp(op, session.as_ptr(), from, to) }
        });
    }

    /// Stages op `index` to do nothing.
    ///
    /// # Panics
    /// As for [`RawQueuePair::stage_rsa`].
    #[cfg(feature = "null")]
    pub(crate) fn stage_null(&mut self, index: u32, session: &super::NullSession, input: &[u8]) {
        self.stage(index, input, |op, _, _| {
            // SAFETY: the op is ours.
            unsafe { sys::shim_set_null(op, session.as_ptr()) }
        });
    }

    fn stage(
        &mut self,
        index: u32,
        input: &[u8],
        set: impl FnOnce(*mut sys::rte_crypto_op, sys::shim_bytes, sys::shim_bytes),
    ) {
        let op = self.idle(index);
        // SAFETY: the op is idle, so that nobody else has a reference to its area.
        let area = unsafe { &mut *area_of(op) };
        area.input[..input.len()].copy_from_slice(input);
        let place = |data: *mut u8| sys::shim_bytes {
            data,
            // SAFETY: `data` lies in the op's own object.
            iova: unsafe { sys::shim_op_iova(op.as_ptr(), data.cast()) },
            length: input.len(),
        };
        let (from, to) = (
            place(area.input.as_mut_ptr()),
            place(area.output.as_mut_ptr()),
        );
        set(op.as_ptr(), from, to);
        self.states[index as usize] = State::Staged;
        self.staged.push_back(op.as_ptr());
    }

    /// Hands at most `max` staged ops to the device, one burst at most.
    pub(crate) fn submit(&mut self, max: usize) -> Submitted {
        let (front, _) = self.staged.as_mut_slices();
        let count = front.len().min(max).min(BURST);
        for op in &front[..count] {
            // SAFETY: a staged op is ours.
            unsafe { head_of(*op).status = NOT_PROCESSED }
        }
        // SAFETY: staged ops are ours until the device takes them, and set.
        let Some(taken) = (unsafe { self.pair.enqueue(&mut front[..count]) }) else {
            return Submitted::Stopped;
        };
        for op in self.staged.drain(..taken) {
            // SAFETY: only `index` is read, which no device writes.
            let index = unsafe { index_of(op) };
            self.states[index as usize] = State::Device;
        }
        if let (true, Some(&next)) = (taken < count, self.staged.front())
            // SAFETY: refused, it is still ours.
            && !matches!(unsafe { head_of(next).status }, SUCCESS | NOT_PROCESSED)
        {
            self.staged.pop_front();
            // SAFETY: ours.
            let index = unsafe { index_of(next) };
            self.states[index as usize] = State::Idle;
            return Submitted::Rejected(taken, index);
        }
        Submitted::Accepted(taken)
    }

    /// Takes at most `max` ops back, one burst at most; `None` if the device is stopped.
    pub(crate) fn collect(&mut self, max: usize, done: &mut [Finished; BURST]) -> Option<usize> {
        let mut ops = [ptr::null_mut(); BURST];
        let count = self.pair.dequeue(&mut ops[..max.min(BURST)])?;
        for (&op, done) in ops.iter().zip(&mut *done).take(count) {
            // SAFETY: the device gives back what it was given, which is ours again.
            (done.index, done.success) = unsafe { (index_of(op), head_of(op).status == SUCCESS) };
            self.states[done.index as usize] = State::Idle;
        }
        Some(count)
    }

    /// The result of op `index` in `len` bytes; meaningful after a success.
    ///
    /// # Panics
    /// If the op is not idle, or `len` is above [`AREA_LEN`].
    pub(crate) fn output(&self, index: u32, len: usize) -> &[u8] {
        let op = self.idle(index);
        // SAFETY: the op is idle: nobody writes its area while `self` is borrowed.
        let area = unsafe { &*area_of(op) };
        &area.output[..len]
    }

    /// Bytes that the device wrote for op `index` by a modexp session.
    ///
    /// # Panics
    /// If the op is not idle.
    pub(crate) fn modexp_written(&self, index: u32) -> usize {
        // SAFETY: the op is ours and was set by `stage_modexp`; any bytes are a number.
        unsafe { sys::shim_modexp_written(self.idle(index).as_ptr()) }
    }

    /// Wipes the operands and the result of op `index`, `len` bytes of each. (The memory is known to C,
    /// so that no compiler may leave the writes out.)
    ///
    /// # Panics
    /// As for [`RawQueuePair::output`].
    pub(crate) fn wipe(&mut self, index: u32, len: usize) {
        let op = self.idle(index);
        // SAFETY: the op is idle, so that nobody else has a reference to its area.
        let area = unsafe { &mut *area_of(op) };
        // By whole lines, which need no call of memset.
        let lines = len.div_ceil(LINE);
        for place in [&mut area.input, &mut area.output] {
            place.as_chunks_mut().0[..lines].fill([0; LINE]);
        }
    }

    /// Takes all staged ops back; `each` learns their indices.
    pub(crate) fn unstage(&mut self, mut each: impl FnMut(u32)) {
        while let Some(op) = self.staged.pop_front() {
            // SAFETY: a staged op is ours.
            let index = unsafe { index_of(op) };
            self.states[index as usize] = State::Idle;
            each(index);
        }
    }

    /// Its ops, all idle, for who calls DPDK without this type.
    #[cfg(feature = "null")]
    pub(super) fn pointers(&self) -> Vec<*mut sys::rte_crypto_op> {
        self.pair.objects().iter().map(|op| op.as_ptr()).collect()
    }

    /// Numbers of its device and itself.
    #[cfg(feature = "null")]
    pub(super) fn numbers(&self) -> (u8, u16) {
        self.pair.numbers()
    }

    /// Makes the op that was staged last one that no device can run.
    #[cfg(test)]
    pub(crate) fn spoil(&mut self, how: Spoil) {
        let op = *self.staged.back().expect("an op is staged");
        // SAFETY: staged, so ours; every change leaves operands that lie in the op.
        unsafe {
            let area = &mut *op.byte_add(AREA_AT).cast::<Area>();
            let place = |data: *mut u8, length| sys::shim_bytes {
                data,
                iova: sys::shim_op_iova(op, data.cast()),
                length,
            };
            let to = place(area.output.as_mut_ptr(), AREA_LEN);
            let from = |length| place(area.input.as_ptr().cast_mut(), length);
            match how {
                Spoil::NoSession => sys::shim_set_rsa(op, ptr::null_mut(), from(256), to),
                Spoil::Length(session) => sys::shim_set_rsa(op, session, from(10), to),
                Spoil::NotBelow => area.input.fill(0xff),
                Spoil::Padding => sys::shim_set_rsa_padding(op, 99),
            }
        }
    }

    fn idle(&self, index: u32) -> NonNull<sys::rte_crypto_op> {
        let index = index as usize;
        assert!(self.states[index] == State::Idle, "op {index} is in use");
        self.pair.objects()[index]
    }
}

/// # Safety
/// `op` is one of ours.
unsafe fn area_of(op: NonNull<sys::rte_crypto_op>) -> *mut Area {
    // SAFETY: the object goes on beyond, by PRIVATE_LEN at least; it starts at a cache line, and so
    // does the area.
    unsafe { op.as_ptr().byte_add(AREA_AT).cast() }
}

/// # Safety
/// `op` is one of ours.
unsafe fn index_of(op: *mut sys::rte_crypto_op) -> u32 {
    // SAFETY: as in `area_of`; written once, when the queue pair was opened.
    unsafe { (*op.byte_add(AREA_AT).cast::<Area>()).index }
}

/// # Safety
/// `op` is one of ours, and not with the device, while the result lives.
pub(super) unsafe fn head_of<'a>(op: *mut sys::rte_crypto_op) -> &'a mut sys::shim_op_head {
    // SAFETY: an op starts so, as the shim checks when it is compiled.
    unsafe { &mut *op.cast() }
}
