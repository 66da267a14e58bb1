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
    /// Sets `lead`, and a twin for the second product, of which there is one.
    #[cold]
    pub(super) fn set_products(&mut self, lead: *mut sys::rte_crypto_op, of: &Products<'_>) {
        // SAFETY: the object is ours and its area referred to by nobody else.
        unsafe { (*area_of(lead)).set_product(lead, of, of.points.0) };
        if let Some(second) = of.points.1
            // SAFETY: it is set at once; the caller keeps the session, which is both's.
            && let Some(twin) = unsafe { self.take_twin(lead) }
        {
            // SAFETY: as above.
            unsafe { (*area_of(twin)).set_product(twin, of, second) };
        }
    }
}

impl Back<'_> {
    /// The numbers r and s of a [`Signature`], as long as the device has made them: at most [`LINE`] bytes.
    pub(crate) fn signature(&self) -> [&[u8]; 2] {
        let mut written = [0; 2];
        // SAFETY: the op is back, and was set by `set_signature`.
        unsafe { sys::shim_ecdsa_written(self.lead, written.as_mut_ptr()) };
        // SAFETY: nobody else uses the area until this is gone; any bytes are a number.
        let area = unsafe { &*area_of(self.lead) };
        area.results_of(written)
    }

    /// Digest and nonce of a [`Signature`], of `len` bytes each: at most [`LINE`].
    pub(crate) fn signed(&self, len: usize) -> [&[u8]; 2] {
        // SAFETY: as for `signature`; a device only reads what it is given.
        let area = unsafe { &*area_of(self.lead) };
        let (lines, _) = area.input.as_chunks::<LINE>();
        [0, 1].map(|index| &lines[index][..len.min(LINE)])
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
        // SAFETY: back, and set by `set_product`.
        unsafe { sys::shim_ecpm_written(object, written.as_mut_ptr()) };
        // SAFETY: as for `signature`.
        let area = unsafe { &*area_of(object) };
        area.results_of(written)
    }
}

impl Area {
    /// Sets `object`, whose area this is.
    #[cold]
    pub(super) fn set_signature(&mut self, object: *mut sys::rte_crypto_op, of: &Signature<'_>) {
        let digest = self.take_in_line(0, of.digest);
        let nonce = self.take_in_line(1, of.nonce);
        let [r, s] = self.results(of.nonce.len());
        let session = of.session.session.as_ptr();
        // SAFETY: the object is ours; its operands lie in its own area, the key in the session's memory.
        unsafe { sys::shim_set_ecdsa(object, session, of.session.secret, digest, nonce, r, s) };
    }

    /// Sets `object`, whose area this is.
    fn set_product(
        &mut self,
        object: *mut sys::rte_crypto_op,
        of: &Products<'_>,
        point: Point<'_>,
    ) {
        let scalar = self.take_in_line(0, of.scalar);
        let [x, y] = match point {
            Point::Generator => of.session.generator,
            Point::At([x, y]) => [self.take_in_line(1, x), self.take_in_line(2, y)],
        };
        let [to_x, to_y] = self.results(of.scalar.len());
        let session = of.session.session.as_ptr();
        // SAFETY: the object is ours; its operands lie in its own area, or in the session's memory.
        unsafe { sys::shim_set_ecpm(object, session, scalar, x, y, to_x, to_y) };
    }

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
