//! crypto_mb's RSA, which the lanes' own is measured against (feature `peer`). No device uses it.

#![allow(unsafe_code)]

mod stack;

use std::ffi::c_int;

use crypto_mb_sys as sys;
use spinlane_crypto::RsaKey;

use crate::ffi::{Cpu, Inputs, LANES, Outputs};

/// Where crypto_mb's kernels find their stack, by which their speed hangs (see the table in
/// `peer/stack.rs`).
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
    /// # Errors
    /// Names what this machine lacks.
    pub fn new(stack: Stack) -> Result<Self, &'static str> {
        Cpu::detect()?;
        let methods = [2048, 3072, 4096].map(|bits| sys::mbx_RSA_private_crt_Method(bits));
        if methods.iter().any(|method| method.is_null()) {
            return Err("a crypto_mb with RSA of 2048, 3072 and 4096 bits");
        }
        let bytes = methods.map(buffer_len).into_iter().max().unwrap_or(0);
        Ok(Self {
            stack,
            calls: 0,
            work: vec![Line([0; 8]); bytes.div_ceil(64)].into_boxed_slice(),
        })
    }

    /// Blocks `from` to the power of the keys' private exponents; whether all lanes were computed.
    ///
    /// # Panics
    /// If the keys, `from` and `to` are not all of one size.
    pub fn private(
        &mut self,
        keys: &[&RsaKey; LANES],
        from: &Inputs<'_>,
        to: &mut Outputs<'_>,
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
    assert!(!method.is_null(), "`new` found every method");
    // SAFETY: the library's methods are static, and this one is not null.
    usize::try_from(unsafe { sys::mbx_RSA_Method_BufSize(method) }).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use spinlane_crypto::Key;
    use spinlane_crypto::test_keys::der;
    use spinlane_cryptodev::test_keys::rsa;

    use super::*;

    #[test]
    fn it_signs_at_every_stack_alignment() {
        for (stack, calls) in [(Stack::Best, 1), (Stack::Any, 4)] {
            let mut peer = match CryptoMbRsa::new(stack) {
                Ok(peer) => peer,
                Err(missing) => return eprintln!("skipped: this machine lacks {missing}"),
            };
            for der in [der::RSA_2048, der::RSA_3072, der::RSA_4096] {
                let key = rsa(der);
                let Some(Key::Rsa(key)) = key.as_local() else {
                    panic!("an RSA key")
                };
                let block = vec![0x33; key.modulus_len()];
                for _ in 0..calls {
                    let mut out = vec![vec![0; block.len()]; LANES];
                    let mut out = out.iter_mut().map(Vec::as_mut_slice);
                    let mut to = std::array::from_fn(|_| out.next().expect("eight"));
                    assert!(peer.private(&[key; LANES], &[&block; LANES], &mut to));
                    assert!(to.iter().all(|signature| key.verify_raw(signature, &block)));
                }
            }
        }
    }
}
