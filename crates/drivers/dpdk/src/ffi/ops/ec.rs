//! Ops on elliptic curves.
//!
//! ```text
//!   input:  | digest, or scalar | nonce, or x | y |      output:  | r, or x | s, or y |
//!           0                   64            128 192             0         64       128
//! ```
//! Each number has a line of the area for itself, since a card may write whole words.

use dpdk_sys as sys;

use super::{Area, Back, LINE, RawQueuePair, area_of};
use crate::ffi::session::{Multiplying, Signing};

/// Where numbers begin in an area's input, and in its output.
const LINES: usize = 3;

/// A signature to be made.
pub(crate) struct Signature<'a> {
    pub(crate) session: &'a Signing,
    /// Below the group's order.
    pub(crate) digest: &'a [u8],
    pub(crate) nonce: &'a [u8],
}

/// Products of points with one scalar: of one, or, by lead and twin, of two.
pub(crate) struct Products<'a> {
    pub(crate) session: &'a Multiplying,
    pub(crate) scalar: &'a [u8],
    pub(crate) points: (Point<'a>, Option<Point<'a>>),
}

/// A point to be multiplied.
#[derive(Clone, Copy)]
pub(crate) enum Point<'a> {
    Generator,
    /// With these coordinates.
    At([&'a [u8]; 2]),
}

impl RawQueuePair {
    #[cold]
    pub(super) fn stage_signature(&mut self, lead: *mut sys::rte_crypto_op, of: &Signature<'_>) {
        // SAFETY: the object is idle, and its area ours.
        let area = unsafe { &mut *area_of(lead) };
        let digest = area.take_in_line(0, of.digest);
        let nonce = area.take_in_line(1, of.nonce);
        let [r, s] = area.results(of.nonce.len());
        let session = of.session.session.as_ptr();
        // SAFETY: the object is ours; its operands lie in its own area, the key in the session's memory.
        unsafe { sys::shim_set_ecdsa(lead, session, of.session.secret, digest, nonce, r, s) };
        // SAFETY: an object of this queue pair's, just set; the caller keeps the session.
        unsafe { self.pair.stage(lead) };
    }

    #[cold]
    pub(super) fn stage_products(&mut self, lead: *mut sys::rte_crypto_op, of: &Products<'_>) {
        self.stage_product(lead, of, of.points.0);
        if let Some(second) = of.points.1 {
            // SAFETY: the object is ours, and so is its twin, which it has: a queue pair with curves is opened
            // for two parts. The first is staged, not with the device.
            let twin = unsafe {
                (*area_of(lead)).tally.pending = 2;
                (*area_of(lead)).twin
            };
            self.stage_product(twin, of, second);
        }
    }

    fn stage_product(
        &mut self,
        object: *mut sys::rte_crypto_op,
        of: &Products<'_>,
        point: Point<'_>,
    ) {
        // SAFETY: idle, so that nobody else has a reference to its area.
        let area = unsafe { &mut *area_of(object) };
        let scalar = area.take_in_line(0, of.scalar);
        let [x, y] = match point {
            Point::Generator => of.session.generator,
            Point::At([x, y]) => [area.take_in_line(1, x), area.take_in_line(2, y)],
        };
        let [to_x, to_y] = area.results(of.scalar.len());
        let session = of.session.session.as_ptr();
        // SAFETY: the object is ours; its operands lie in its own area, or in the session's memory.
        unsafe { sys::shim_set_ecpm(object, session, scalar, x, y, to_x, to_y) };
        // SAFETY: as in `stage_signature`.
        unsafe { self.pair.stage(object) };
    }
}

impl Back<'_> {
    /// The numbers r and s of a [`Signature`], as long as the device has made them: at most [`LINE`] bytes.
    pub(crate) fn signature(&self) -> [&[u8]; 2] {
        let mut written = [0; 2];
        // SAFETY: the op is back, and was set by `stage_signature`.
        unsafe { sys::shim_ecdsa_written(self.lead, written.as_mut_ptr()) };
        // SAFETY: nobody else uses the area until this is gone; any bytes are a number.
        let area = unsafe { &*area_of(self.lead) };
        area.results_of(written)
    }

    /// The coordinates of the first of [`Products`], or of the `second`, likewise. Zero, if there was none.
    pub(crate) fn product(&self, second: bool) -> [&[u8]; 2] {
        // SAFETY: all of the op is back.
        let twin = unsafe { (*area_of(self.lead)).twin };
        let object = match second {
            true if twin.is_null() => return [&[], &[]],
            true => twin,
            false => self.lead,
        };
        let mut written = [0; 2];
        // SAFETY: back, and set by `stage_product`; a twin that never was set is an op of zeros.
        unsafe { sys::shim_ecpm_written(object, written.as_mut_ptr()) };
        // SAFETY: as for `signature`.
        let area = unsafe { &*area_of(object) };
        area.results_of(written)
    }
}

impl Area {
    /// Copies `number` to a line of the input; returns where it lies.
    fn take_in_line(&mut self, line: usize, number: &[u8]) -> sys::shim_bytes {
        let at = LINE * line;
        self.input[at..at + number.len()].copy_from_slice(number);
        self.taken_in = LINE * LINES; // and so is wiped
        sys::shim_bytes {
            data: self.input[at..].as_mut_ptr(),
            iova: self.iova + (std::mem::offset_of!(Self, input) + at) as u64,
            length: number.len(),
        }
    }

    /// Where two results of `length` bytes are to lie.
    fn results(&mut self, length: usize) -> [sys::shim_bytes; 2] {
        [0, LINE].map(|at| sys::shim_bytes {
            data: self.output[at..].as_mut_ptr(),
            iova: self.iova + (std::mem::offset_of!(Self, output) + at) as u64,
            length,
        })
    }

    fn results_of(&self, written: [usize; 2]) -> [&[u8]; 2] {
        let (lines, _) = self.output.as_chunks::<LINE>();
        [0, 1].map(|index| &lines[index][..written[index].min(LINE)])
    }
}
