//! crypto_mb's RSA. No device uses it.

use std::ffi::c_int;

use crypto_mb_sys::{self as sys, LANES};
use spinlane_crypto::RsaKey;
use spinlane_driver_mb::MbDevice;

use crate::stack;

/// Where crypto_mb's kernels find their stack, by which their speed hangs (see the table in `stack.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// Where each size runs fastest.
    Best,
    /// By turns where each of the four places that the ABI allows would have them: what a caller
    /// gets who does not care.
    Any,
}

/// Eight RSA private operations at a time by crypto_mb, whose results are not checked.
pub struct CryptoMbRsa {
    stack: Stack,
    calls: usize,
    work: Box<[Line]>,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u64; 8]);

impl CryptoMbRsa {
    /// With work memory for all sizes.
    ///
    /// `_device`: this machine runs the code.
    pub fn new(stack: Stack, _device: &MbDevice) -> Self {
        let methods = [2048, 3072, 4096].map(|bits| sys::mbx_RSA_private_crt_Method(bits));
        let bytes = methods.map(buffer_len).into_iter().max().unwrap_or(0);
        Self {
            stack,
            calls: 0,
            work: vec![Line([0; 8]); bytes.div_ceil(64)].into_boxed_slice(),
        }
    }

    /// Blocks `from` to the power of the keys' private exponents; whether all lanes were computed.
    ///
    /// # Panics
    /// If the keys, `from` and `to` are not all of one size.
    pub fn private(
        &mut self,
        keys: &[&RsaKey; LANES],
        from: &[&[u8]; LANES],
        to: &mut [&mut [u8]; LANES],
    ) -> bool {
        let bits = keys[0].bits();
        assert!(
            keys.iter().all(|key| key.bits() == bits)
                && from.iter().all(|block| block.len() * 8 == bits)
                && to.iter().all(|block| block.len() * 8 == bits),
            "keys, blocks and outputs of {bits} bits"
        );
        let bits = bits as c_int;
        let method = sys::mbx_RSA_private_crt_Method(bits);
        assert!(
            buffer_len(method) <= size_of_val(&*self.work),
            "made for the largest method"
        );
        let function = match self.stack {
            Stack::Best => stack::private_crt(bits),
            Stack::Any => stack::private_crt_by_turns(self.calls),
        };
        self.calls = self.calls.wrapping_add(1);
        let limbs = |part: for<'k> fn(&'k RsaKey) -> &'k [u64]| keys.map(|key| part(key).as_ptr());
        // SAFETY: `new` found a CPU that runs the code. All blocks have bits / 8 bytes, an RsaKey's
        // parts bits / 128 limbs, and `work` what the method asks for. All outlive the call; outputs
        // overlap nothing, being exclusive borrows.
        let status = unsafe {
            function(
                from.map(<[u8]>::as_ptr).as_ptr(),
                to.each_mut().map(|lane| lane.as_mut_ptr()).as_ptr(),
                limbs(RsaKey::p_limbs).as_ptr(),
                limbs(RsaKey::q_limbs).as_ptr(),
                limbs(RsaKey::dp_limbs).as_ptr(),
                limbs(RsaKey::dq_limbs).as_ptr(),
                limbs(RsaKey::qinv_limbs).as_ptr(),
                bits,
                method,
                self.work.as_mut_ptr().cast(),
            )
        };
        (0..LANES).all(|lane| sys::lane_status(status, lane) == sys::STATUS_OK)
    }
}

/// Bytes of work memory for `method`, which is one of the library's own.
fn buffer_len(method: *const sys::RsaMethod) -> usize {
    assert!(
        !method.is_null(),
        "crypto_mb has RSA of 2048, 3072 and 4096 bits"
    );
    // SAFETY: the library's methods are static, and this one is not null.
    usize::try_from(unsafe { sys::mbx_RSA_Method_BufSize(method) }).unwrap_or(0)
}
