//! Every op on the calling thread, by `spinlane_crypto`: the reference for the devices, what `soft`
//! serves, and what stands in where there is no device.

use spinlane_crypto::{PublicKey, constant_time_eq};
use zeroize::Zeroizing;

use crate::aead::{self, Direction};
use crate::key::KeyHandle;
use crate::op::{Op, OpStatus};
use crate::ops::LONGEST_OUTPUT;

/// Runs `op`: sets its status, and its result if that is [`OpStatus::Success`]; otherwise the
/// result is zero, so that nothing half-computed leaves. An op whose key is a device's own ends with
/// [`OpStatus::Error`].
pub fn run(op: &mut Op) {
    let compute = op.kind().spec().compute;
    let (key, input, output) = op.operands();
    let local = key.and_then(KeyHandle::as_local);
    if local.is_none() && key.is_some() {
        return op.fail(OpStatus::Error);
    }
    match compute(local, input, output) {
        OpStatus::Success => op.status = OpStatus::Success,
        status => op.fail(status),
    }
}

/// Runs `op`, in place: sets its status; unless that is [`OpStatus::Success`], its data is zero.
/// One that is not prepared, or has run already, ends with [`OpStatus::Error`].
pub fn run_aead(op: &mut aead::Op) {
    let direction = op.direction();
    let (ok, otherwise) = match (op.parts(), direction) {
        (None, _) => (false, OpStatus::Error),
        (Some(parts), Direction::Seal) => {
            let cipher = parts.key.cipher();
            let ok = cipher.seal(parts.nonce, parts.aad, parts.data, parts.tag);
            (ok, OpStatus::Error)
        }
        (Some(parts), Direction::Open) => {
            let cipher = parts.key.cipher();
            let ok = cipher.open(parts.nonce, parts.aad, parts.data, parts.tag);
            (ok, OpStatus::Invalid)
        }
    };
    match ok {
        true => op.status = OpStatus::Success,
        false => op.fail(otherwise),
    }
}

/// Whether the result of `op` is that of its input: RSA and ECDSA by the public key, all else by
/// computing it again.
///
/// A device that does not check its own RSA results has its driver ask this before it gives one
/// out: a faulty one gives the key away (Boneh, DeMillo, Lipton 1997).
pub fn result_is_right(op: &Op) -> bool {
    let spec = op.kind().spec();
    if let Some(public) = op.key().and_then(|key| key.as_remote()) {
        return public.verify(op.input(), op.output())
            || matches!((public, op.pss()), (PublicKey::Rsa(public), Some(hash))
                if hash.is_signed(public, op.output()));
    }
    let key = op.key().and_then(|key| key.as_local());
    if let (Some(check), Some(key)) = (spec.check, key) {
        return check(key, op.input(), op.output());
    }
    let mut again = Zeroizing::new([0; LONGEST_OUTPUT]);
    let again = &mut again[..spec.output_len];
    (spec.compute)(key, op.input(), again) == OpStatus::Success
        && constant_time_eq(again, op.output())
}
