//! ECDSA and ECDH on P-256 and P-384.

use std::ptr;

use crypto_mb_sys as sys;
use spinlane_crypto::curve::{Curve, P256, P384};

use super::{Cpu, Inputs, LANES, Outputs, Status, check_len, read_ptrs};

type Sign = unsafe extern "C" fn(
    r: *mut *mut u8,
    s: *mut *mut u8,
    digest: *const *const u8,
    nonce: *const *const u64,
    key: *const *const u64,
    buffer: *mut u8,
) -> sys::Status;
type Public = unsafe extern "C" fn(
    x: *mut *mut u64,
    y: *mut *mut u64,
    z: *mut *mut u64,
    key: *const *const u64,
    buffer: *mut u8,
) -> sys::Status;
type Shared = unsafe extern "C" fn(
    secret: *mut *mut u8,
    key: *const *const u64,
    x: *const *const u64,
    y: *const *const u64,
    z: *const *const u64,
    buffer: *mut u8,
) -> sys::Status;

/// A curve with lanes.
pub(crate) trait LaneCurve: Curve {
    /// Its functions in crypto_mb, whose operands have this curve's lengths.
    const FUNCTIONS: Functions;
}

/// Of one curve.
pub(crate) struct Functions {
    sign: Sign,
    public: Public,
    shared: Shared,
}

impl LaneCurve for P256 {
    const FUNCTIONS: Functions = Functions {
        sign: sys::mbx_nistp256_ecdsa_sign_mb8,
        public: sys::mbx_nistp256_ecpublic_key_mb8,
        shared: sys::mbx_nistp256_ecdh_mb8,
    };
}

impl LaneCurve for P384 {
    const FUNCTIONS: Functions = Functions {
        sign: sys::mbx_nistp384_ecdsa_sign_mb8,
        public: sys::mbx_nistp384_ecpublic_key_mb8,
        shared: sys::mbx_nistp384_ecdh_mb8,
    };
}

/// The limbs of eight numbers.
type Numbers<C> = [<C as Curve>::Limbs; LANES];

fn limb_ptrs<C: Curve>(numbers: &Numbers<C>) -> sys::Limbs {
    numbers.each_ref().map(|number| number.as_ref().as_ptr())
}

impl Cpu {
    /// ECDSA over eight digests as long as the order; `to` becomes `r || s`. Keys and nonces are
    /// in 1..n.
    ///
    /// # Panics
    /// If a length differs.
    pub(crate) fn ecdsa<C: LaneCurve>(
        self,
        keys: &[&C::Limbs; LANES],
        nonces: &Numbers<C>,
        digests: &Inputs<'_>,
        to: &mut Outputs<'_>,
    ) -> Status {
        let len = size_of::<C::Scalar>();
        check_len(digests, len);
        check_len(to, 2 * len);
        let keys = keys.map(|key| key.as_ref().as_ptr());
        let mut r = to.each_mut().map(|lane| lane[..len].as_mut_ptr());
        let mut s = to.each_mut().map(|lane| lane[len..].as_mut_ptr());
        // SAFETY: this CPU runs the code (self). Digests and both halves of the outputs have the
        // bytes (check_len), keys and nonces the limbs of the curve that the function is for. All
        // outlive the call; outputs overlap nothing. The function does not use the buffer.
        Status(unsafe {
            (C::FUNCTIONS.sign)(
                r.as_mut_ptr(),
                s.as_mut_ptr(),
                read_ptrs(digests).as_ptr(),
                limb_ptrs::<C>(nonces).as_ptr(),
                keys.as_ptr(),
                ptr::null_mut(),
            )
        })
    }

    /// Affine coordinates of the public keys of eight private scalars in 1..n.
    pub(crate) fn ec_public<C: LaneCurve>(
        self,
        private: &Numbers<C>,
        x: &mut Numbers<C>,
        y: &mut Numbers<C>,
    ) -> Status {
        let mut x = x.each_mut().map(|number| number.as_mut().as_mut_ptr());
        let mut y = y.each_mut().map(|number| number.as_mut().as_mut_ptr());
        // SAFETY: this CPU runs the code (self). All operands have the limbs of the curve that
        // the function is for and outlive the call; outputs overlap nothing. Null asks for affine
        // coordinates; the function does not use the buffer.
        Status(unsafe {
            (C::FUNCTIONS.public)(
                x.as_mut_ptr(),
                y.as_mut_ptr(),
                ptr::null_mut(),
                limb_ptrs::<C>(private).as_ptr(),
                ptr::null_mut(),
            )
        })
    }

    /// Shared secrets of eight private scalars in 1..n and peers' points, which are affine.
    ///
    /// # Panics
    /// If a secret has not the length of the order.
    pub(crate) fn ec_shared<C: LaneCurve>(
        self,
        private: &Numbers<C>,
        (x, y): (&Numbers<C>, &Numbers<C>),
        secret: &mut Outputs<'_>,
    ) -> Status {
        check_len(secret, size_of::<C::Scalar>());
        let mut secret = secret.each_mut().map(|lane| lane.as_mut_ptr());
        // SAFETY: as in `ec_public`; the secrets have the bytes that are written (check_len). Null
        // says that the coordinates are affine.
        Status(unsafe {
            (C::FUNCTIONS.shared)(
                secret.as_mut_ptr(),
                limb_ptrs::<C>(private).as_ptr(),
                limb_ptrs::<C>(x).as_ptr(),
                limb_ptrs::<C>(y).as_ptr(),
                ptr::null(),
                ptr::null_mut(),
            )
        })
    }
}
