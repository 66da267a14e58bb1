//! One queue pair of a device and its private-key ops.
//!
//! ```text
//!   object of the pool:  | rte_crypto_op | rte_crypto_{a,}sym_op | … | Area (64-aligned) |
//!   Area:                | our op, session, … | input, 512 bytes | output, 512 bytes |
//! ```
//! An object stands for an op of ours, or for half of it where RSA takes two exponentiations and a key exchange
//! two products: then a lead has a twin, and the lead's area counts for both. The op is the queue pair's until all of it is
//! back. A driver that computes here reads and writes the op's own buffers. A card cannot reach
//! those, and halves are not in them: their operands and results lie in the area, and are wiped there.

mod ec;

use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use dpdk_sys as sys;
use spinlane_cryptodev::{Op, OpKind};

use super::pair::{BURST, Handed, Objects, RawPair, SUCCESS, status_of};
use super::{QueuePairs, Running, Session};
pub(crate) use ec::{Point, Products, Signature};

/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of the longest operand or result.
const AREA_LEN: usize = 512;

/// Our part of an object.
#[repr(C, align(64))]
struct Area {
    /// The op of ours that the object stands for, unless it is idle or a twin.
    op: *mut Op,
    /// Its own object, or the one whose twin that is.
    lead: *mut sys::rte_crypto_op,
    /// Of a lead; null if it has none.
    twin: *mut sys::rte_crypto_op,
    /// Address of this area as a card knows it.
    iova: u64,
    tally: Tally,
    /// Bytes in `input`, and at most in `output`.
    taken_in: usize,
    input: [u8; AREA_LEN],
    output: [u8; AREA_LEN],
}

/// How an op stands.
#[derive(Clone, Copy)]
#[repr(C)]
struct Tally {
    session: u32,
    kind: OpKind,
    /// Objects of the op that are not back.
    pending: u8,
    failed: bool,
    /// Nobody wants the op any more.
    given_up: bool,
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

/// What is to be computed of an op's input. A session must live until the op is back.
pub(crate) enum Work<'a> {
    /// The private operation of the session's RSA key.
    Rsa(&'a Session),
    /// Two powers, of these numbers to the exponents of these sessions.
    Halves([(&'a Session, &'a [u8]); 2]),
    /// A signature on a curve.
    Signature(Signature<'a>),
    /// Points of a curve.
    Products(Products<'a>),
    /// Nothing.
    #[cfg(feature = "null")]
    Null(&'a super::SymmetricSession),
}

impl Work<'_> {
    /// Whether it takes two objects.
    #[inline]
    fn has_twin(&self) -> bool {
        match self {
            Self::Halves(_) => true,
            Self::Products(products) => products.points.1.is_some(),
            _ => false,
        }
    }
}

/// An op that is back.
pub(crate) struct Back<'a> {
    pub(crate) op: Box<Op>,
    /// As it was staged with.
    pub(crate) session: u32,
    /// Whether the device computed all of it. The result is in the op, or in the halves.
    pub(crate) success: bool,
    pub(crate) given_up: bool,
    lead: *mut sys::rte_crypto_op,
    /// The objects are nobody else's as long.
    _ours: PhantomData<&'a ()>,
}

impl Back<'_> {
    /// Has `combine` make the op's output of the results of [`Work::Halves`], each of half its length at
    /// most.
    pub(crate) fn combine(&mut self, combine: impl FnOnce(&[u8], &[u8], &mut [u8])) {
        let output = self.op.buffers().1;
        // SAFETY: all of the op is back, and its objects are idle only after this is gone; any bytes are
        // a number.
        unsafe {
            if let Some(twin) = NonNull::new((*area_of(self.lead)).twin) {
                let [p, q] = [self.lead, twin.as_ptr()].map(|object| {
                    let written = sys::shim_modexp_written(object).min(output.len() / 2);
                    let result = &(*area_of(object)).output;
                    &result[..written]
                });
                combine(p, q, output);
            }
        }
    }
}

/// What came of handing staged ops to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Submitted {
    /// It took so many objects, which may be all.
    Accepted(usize),
    /// It took so many, and never will the next one.
    Rejected(usize),
    /// It is stopped or gone.
    Stopped,
}

/// What is wrong with an op.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spoil {
    NoSession,
    /// With the session that is right.
    Length(*mut std::ffi::c_void),
    NotBelow(*mut std::ffi::c_void),
    /// Asks for an operation that RSA does not have. (Not for a padding: from 24.11 on, that is the session's.)
    Operation,
}

/// A queue pair of a device, which nobody else uses, and its ops.
pub(crate) struct RawQueuePair {
    pair: RawPair,
    /// What the device gave back last.
    returned: Box<[*mut sys::rte_crypto_op; BURST]>,
    /// Whether the device works on the ops themselves. If not, operands and results lie in the areas.
    in_place: bool,
}

impl RawQueuePair {
    /// A queue pair from `home`, to which it returns when this is dropped, with `count` objects. `whole`: no op
    /// is made up of parts, so that one stands for each, and a device that can reach them works on the ops
    /// themselves.
    ///
    /// # Errors
    /// `None` if there is none left, or `rte_errno`: memory is used up, say.
    pub(crate) fn new(
        running: &Running,
        home: &Arc<QueuePairs>,
        count: usize,
        whole: bool,
    ) -> Result<Self, Option<i32>> {
        let objects = Objects {
            name: "op",
            kind: sys::RTE_CRYPTO_OP_TYPE_UNDEFINED,
            private_len: PRIVATE_LEN,
            alloc: sys::shim_op_alloc,
            count: u16::try_from(count).map_err(|_| Some(libc::EINVAL))?,
        };
        let pair = RawPair::new(running, home, &objects, |object| {
            let object = object.as_ptr();
            // SAFETY: the object is ours, and its private data has room for an aligned area.
            unsafe {
                let area = area_of(object);
                area.write(Area {
                    op: ptr::null_mut(),
                    lead: object,
                    twin: ptr::null_mut(),
                    iova: sys::shim_op_iova(object, area.cast()),
                    tally: Tally {
                        session: 0,
                        kind: OpKind::Rsa2048,
                        pending: 0,
                        failed: false,
                        given_up: false,
                    },
                    taken_in: 0,
                    input: [0; AREA_LEN],
                    output: [0; AREA_LEN],
                });
            }
        })?;
        Ok(Self {
            in_place: whole && !home.device().is_hardware(),
            returned: Box::new([ptr::null_mut(); BURST]),
            pair,
        })
    }

    /// Objects that the device has.
    #[inline]
    pub(crate) fn with_device(&self) -> usize {
        self.pair.with_device()
    }

    /// Objects that wait to be submitted.
    #[inline]
    pub(crate) fn staged(&self) -> usize {
        self.pair.staged()
    }

    /// Whether an op can be staged, of one object at least.
    pub(crate) fn has_room(&self) -> bool {
        self.pair.idle() > 0
    }

    /// What each object that waits to be submitted costs a device: its op's kind, or `None` for the
    /// second half of an op.
    pub(crate) fn staged_kinds(&self) -> impl Iterator<Item = Option<OpKind>> {
        self.pair.all_staged().map(|object| {
            // SAFETY: a staged object is ours.
            let area = unsafe { &*area_of(object) };
            (area.lead == object).then_some(area.tally.kind)
        })
    }

    /// Stages `op` for `work`, by the session of that number.
    ///
    /// # Errors
    /// The op, if there is no room.
    #[inline(always)] // a call costs as much as all else here
    pub(crate) fn stage(
        &mut self,
        op: Box<Op>,
        number: u32,
        work: &Work<'_>,
    ) -> Result<(), Box<Op>> {
        if work.has_twin() && self.pair.idle() < 2 {
            return Err(op);
        }
        // SAFETY: it is set below; the caller keeps the session.
        let Some(lead) = (unsafe { self.pair.take() }) else {
            return Err(op);
        };
        let kind = op.kind();
        let op = Box::into_raw(op);
        // SAFETY: the object was idle and its area is ours.
        let area = unsafe { &mut *area_of(lead) };
        area.op = op;
        if !self.in_place {
            (area.lead, area.twin) = (lead, ptr::null_mut()); // it may have been a twin
        }
        area.tally = Tally {
            session: number,
            kind,
            pending: 1,
            failed: false,
            given_up: false,
        };
        match *work {
            Work::Rsa(session) => {
                // SAFETY: the op is ours; nobody borrows from it until the object is back, since
                // `area.op` is not looked at before.
                let (input, output) = unsafe { (*op).buffers() };
                let (from, to) = if self.in_place {
                    let from = place(input.as_ptr().cast_mut(), input.len());
                    (from, place(output.as_mut_ptr(), output.len()))
                } else {
                    area.take_in(input)
                };
                // SAFETY: the object is ours; its operands lie in its own area or in the op, and the input
                // is only read.
                unsafe { sys::shim_set_rsa(lead, session.as_ptr(), from, to) };
            }
            #[cfg(feature = "null")]
            Work::Null(session) => {
                // SAFETY: the object is ours.
                unsafe { sys::shim_set_null(lead, session.handle().as_ptr()) };
            }
            Work::Halves(halves) => {
                self.set_halves(lead, halves);
            }
            Work::Signature(ref signature) => area.set_signature(lead, signature),
            Work::Products(ref products) => self.set_products(lead, products),
        }
        Ok(())
    }

    /// Takes a twin for `lead`; there is one.
    ///
    /// # Safety
    /// The lead was taken. The twin is set before anything is submitted; its session lives as long as the lead's.
    unsafe fn take_twin(
        &mut self,
        lead: *mut sys::rte_crypto_op,
    ) -> Option<*mut sys::rte_crypto_op> {
        // SAFETY: the caller's promise.
        let twin = unsafe { self.pair.take() }?;
        // SAFETY: the objects were idle and their areas are ours.
        unsafe {
            (*area_of(lead)).tally.pending = 2;
            (*area_of(lead)).twin = twin;
            (*area_of(twin)).lead = lead;
        }
        Some(twin)
    }

    /// Sets `lead` and another object, of which there is one.
    #[cold]
    fn set_halves(&mut self, lead: *mut sys::rte_crypto_op, halves: [(&Session, &[u8]); 2]) {
        // SAFETY: it is set below; the caller keeps the sessions.
        let Some(twin) = (unsafe { self.take_twin(lead) }) else {
            return;
        };
        for (object, (session, base)) in [lead, twin].into_iter().zip(halves) {
            // SAFETY: nobody else has a reference to its area; its operands lie there.
            unsafe {
                let (from, to) = (*area_of(object)).take_in(base);
                sys::shim_set_modexp(object, session.as_ptr(), from, to);
            }
        }
    }

    /// Hands at most `max` staged objects to the device, one burst at most. `each` gets the op that it never will
    /// take, if that is not with the device in part.
    #[inline]
    pub(crate) fn submit(&mut self, max: usize, mut each: impl FnMut(Back<'_>)) -> Submitted {
        match self.pair.submit(max) {
            Handed::Accepted(count) => Submitted::Accepted(count),
            Handed::Rejected(count, object) => {
                // SAFETY: not taken, the object is ours.
                let lead = unsafe { end(object, false, self.in_place, &mut each) };
                self.put_back(lead);
                Submitted::Rejected(count)
            }
            Handed::Stopped => Submitted::Stopped,
        }
    }

    /// Takes at most `max` objects back, one burst at most; `each` gets the ops of which all is back. Returns
    /// how many objects came, `None` if the device is stopped.
    #[inline]
    pub(crate) fn collect(&mut self, max: usize, mut each: impl FnMut(Back<'_>)) -> Option<usize> {
        let objects = self.pair.collect(max)?;
        let count = objects.len();
        if self.in_place {
            for &object in objects {
                // SAFETY: back from the device, the object is ours.
                unsafe { end(object, status_of(object) == SUCCESS, true, &mut each) };
            }
            self.pair.put_back_all(count);
        } else {
            self.returned[..count].copy_from_slice(objects);
            self.end_parts(count, each);
        }
        Some(count)
    }

    /// Ends the first `count` objects that were returned, which may be parts of ops.
    #[cold]
    fn end_parts(&mut self, count: usize, mut each: impl FnMut(Back<'_>)) {
        for at in 0..count {
            let object = self.returned[at];
            // SAFETY: back from the device, the object is ours.
            let lead = unsafe { end(object, status_of(object) == SUCCESS, false, &mut each) };
            self.put_back(lead);
        }
    }

    /// Takes all staged objects back; `each` gets the ops of which nothing is with the device.
    pub(crate) fn unstage(&mut self, mut each: impl FnMut(Back<'_>)) {
        while let Some(object) = self.pair.unstage() {
            // SAFETY: a staged object is ours.
            let lead = unsafe { end(object, false, self.in_place, &mut each) };
            self.put_back(lead);
        }
    }

    /// The objects of an op that has ended are idle again.
    #[inline]
    fn put_back(&mut self, lead: Option<*mut sys::rte_crypto_op>) {
        let Some(lead) = lead else { return };
        // SAFETY: all of the op is back, so that its areas are ours.
        let twin = unsafe { (*area_of(lead)).twin };
        self.pair.put_back(lead);
        if !twin.is_null() {
            self.pair.put_back(twin);
        }
    }

    /// Marks every op that is not back as one that nobody wants.
    pub(crate) fn give_up(&mut self) {
        for object in self.pair.objects() {
            // SAFETY: no device touches an area but its input and output, and no reference to
            // the whole is made.
            unsafe { (*area_of(object.as_ptr())).tally.given_up = true }
        }
    }

    /// Its objects, all idle, for who calls DPDK without this type.
    #[cfg(feature = "null")]
    pub(super) fn pointers(&self) -> Vec<*mut sys::rte_crypto_op> {
        self.pair.objects().iter().map(|op| op.as_ptr()).collect()
    }

    /// Numbers of its device and itself.
    #[cfg(feature = "null")]
    pub(super) fn numbers(&self) -> (u8, u16) {
        self.pair.numbers()
    }

    /// Has operands and results copied, as for a card.
    #[cfg(test)]
    pub(crate) fn copy_operands(&mut self) {
        self.in_place = false;
    }

    /// Whether every area is wiped, all of them being idle.
    #[cfg(test)]
    pub(crate) fn is_wiped(&self) -> bool {
        self.pair.objects().iter().all(|object| {
            // SAFETY: idle, so ours.
            let area = unsafe { &*area_of(object.as_ptr()) };
            area.input == [0; AREA_LEN] && area.output == [0; AREA_LEN]
        })
    }

    /// Makes the op that was staged last one that no device can run.
    #[cfg(test)]
    pub(crate) fn spoil(&mut self, how: Spoil) {
        let op = self.pair.all_staged().last().expect("an op is staged");
        // SAFETY: staged, so ours; every change leaves operands that lie in the op.
        unsafe {
            let area = &mut *area_of(op);
            if let Spoil::NotBelow(_) = how {
                area.input.fill(0xff);
            }
            let from = |length| place(area.input.as_ptr().cast_mut(), length);
            let to = place(area.output.as_mut_ptr(), AREA_LEN);
            match how {
                Spoil::NoSession => sys::shim_set_rsa(op, ptr::null_mut(), from(256), to),
                Spoil::Length(session) => sys::shim_set_rsa(op, session, from(10), to),
                Spoil::NotBelow(session) => sys::shim_set_rsa(op, session, from(256), to),
                Spoil::Operation => sys::shim_set_rsa_type(op, 99),
            }
        }
    }
}

/// `length` bytes of memory that no card needs to reach.
#[inline]
fn place(data: *mut u8, length: usize) -> sys::shim_bytes {
    let iova = data.addr() as u64;
    sys::shim_bytes { data, iova, length }
}

impl Area {
    /// Copies `input` to this area; returns where it lies, and where a result of the same length is to.
    fn take_in(&mut self, input: &[u8]) -> (sys::shim_bytes, sys::shim_bytes) {
        self.input[..input.len()].copy_from_slice(input);
        self.taken_in = input.len();
        let place = |data: *mut u8, at: usize| sys::shim_bytes {
            data,
            iova: self.iova + at as u64,
            length: input.len(),
        };
        (
            place(self.input.as_mut_ptr(), std::mem::offset_of!(Self, input)),
            place(self.output.as_mut_ptr(), std::mem::offset_of!(Self, output)),
        )
    }

    /// Wipes what was taken in and the result. (The memory is known to C, so that no compiler may leave the
    /// writes out.)
    fn wipe(&mut self) {
        // By whole lines, which need no call of memset.
        let lines = self.taken_in.div_ceil(LINE);
        for place in [&mut self.input, &mut self.output] {
            place.as_chunks_mut().0[..lines].fill([0; LINE]);
        }
        self.taken_in = 0;
    }
}

/// If `object` is the last of its op, `each` gets that, and the lead is returned.
///
/// # Safety
/// It is one of these that was staged, and ours again. `in_place` is that of its queue pair.
#[inline]
unsafe fn end(
    object: *mut sys::rte_crypto_op,
    success: bool,
    in_place: bool,
    each: &mut impl FnMut(Back<'_>),
) -> Option<*mut sys::rte_crypto_op> {
    let (lead, success) = if in_place {
        (object, success)
    } else {
        // SAFETY: the caller's promise.
        unsafe { last_part(object, success) }?
    };
    // SAFETY: all of the op is back, so that its objects are ours; `op` came from a box when it was staged.
    let (tally, mut op) = unsafe {
        let area = &*area_of(lead);
        (area.tally, Box::from_raw(area.op))
    };
    if !in_place && success {
        // SAFETY: as above.
        unsafe { take_result(lead, &mut op) };
    }
    each(Back {
        op,
        session: tally.session,
        success,
        given_up: tally.given_up,
        lead,
        _ours: PhantomData,
    });
    if !in_place {
        // SAFETY: as above, and who had the results has returned.
        unsafe { wipe(lead) };
    }
    Some(lead)
}

/// The lead of `object`, and whether all parts of the op succeeded, if that is the last one.
///
/// # Safety
/// As for [`end`].
#[cold]
unsafe fn last_part(
    object: *mut sys::rte_crypto_op,
    success: bool,
) -> Option<(*mut sys::rte_crypto_op, bool)> {
    // SAFETY: the object is one of ours, and so is its lead. While the other half is with the device,
    // nothing of the lead's area is referred to but the tally, which no device touches.
    unsafe {
        let lead = (*area_of(object)).lead;
        let tally = &mut (*area_of(lead)).tally;
        tally.pending -= 1;
        tally.failed |= !success;
        (tally.pending == 0).then_some((lead, !tally.failed))
    }
}

/// Copies the result of `lead` to `op`, unless the op's is to be made of several. (Only RSA's is as long as what
/// was taken in.)
///
/// # Safety
/// It is ours.
#[cold]
unsafe fn take_result(lead: *mut sys::rte_crypto_op, op: &mut Op) {
    // SAFETY: the caller's promise.
    let area = unsafe { &*area_of(lead) };
    let output = op.buffers().1;
    if area.taken_in == output.len() {
        output.copy_from_slice(&area.output[..output.len()]);
    }
}

/// Wipes the areas of `lead` and its twin.
///
/// # Safety
/// They are ours.
#[cold]
unsafe fn wipe(lead: *mut sys::rte_crypto_op) {
    // SAFETY: the caller's promise.
    unsafe {
        let area = &mut *area_of(lead);
        area.wipe();
        if let Some(twin) = NonNull::new(area.twin) {
            (*area_of(twin.as_ptr())).wipe();
        }
    }
}

/// # Safety
/// `object` is one of ours.
#[inline]
unsafe fn area_of(object: *mut sys::rte_crypto_op) -> *mut Area {
    // SAFETY: the object goes on beyond, by PRIVATE_LEN at least; it starts at a cache line, and so
    // does the area.
    unsafe { object.byte_add(AREA_AT).cast() }
}
