//! Ed25519.

use std::ptr;

use crypto_mb_sys as sys;
use spinlane_crypto::Ed25519Key;

use super::{Cpu, Inputs, LANES, Outputs, Status, check_len, read_ptrs};

impl Cpu {
    /// Ed25519 signatures over eight messages, each of its own length.
    ///
    /// # Panics
    /// If an output is not 64 bytes, or a message is longer than 4 GiB.
    pub(crate) fn ed25519(
        self,
        keys: &[&Ed25519Key; LANES],
        messages: &Inputs<'_>,
        to: &mut Outputs<'_>,
    ) -> Status {
        check_len(to, 64);
        let lens = messages.map(|message| u32::try_from(message.len()).expect("an op's input"));
        let private = keys.map(|key| ptr::from_ref(key.seed()));
        let public = keys.map(|key| ptr::from_ref(key.public_key()));
        let mut r = to.each_mut().map(|lane| lane[..32].as_mut_ptr().cast());
        let mut s = to.each_mut().map(|lane| lane[32..].as_mut_ptr().cast());
        // SAFETY: this CPU runs the code (self). Both halves of the outputs have 32 bytes
        // (check_len), as have the parts of the keys; messages have the lengths given. All outlive
        // the call; outputs overlap nothing.
        Status(unsafe {
            sys::mbx_ed25519_sign_mb8(
                r.as_mut_ptr(),
                s.as_mut_ptr(),
                read_ptrs(messages).as_ptr(),
                lens.as_ptr(),
                private.as_ptr(),
                public.as_ptr(),
            )
        })
    }
}
