//! Every op on the calling thread, by aws-lc: the reference for the devices, what `soft`
//! serves, and what stands in where there is no device.
//!
//! RSA: aws-lc allocates a few work numbers per op, takes the key's lock for its blinding, and
//! checks the result by the public exponent. ECDSA: aws-lc allocates the signature. Nothing
//! else is allocated here.

use crate::aws_lc;
use crate::key::Key;
use crate::op::{Op, OpKind, OpStatus};

/// Runs `op`: sets its status, and its output if that is [`OpStatus::Success`]; otherwise the
/// output is zero, so that nothing half-computed leaves.
pub fn run(op: &mut Op) {
    let kind = op.kind();
    let (key, input, output) = op.operands();
    let status = compute(kind, key, input, output);
    if status != OpStatus::Success {
        aws_lc::cleanse(output);
    }
    op.status = status;
}

fn compute(kind: OpKind, key: Option<&Key>, input: &[u8], output: &mut [u8]) -> OpStatus {
    match (kind, key) {
        (OpKind::Rsa2048 | OpKind::Rsa3072 | OpKind::Rsa4096, Some(Key::Rsa(key))) => {
            status(key.private_raw(input, output), OpStatus::Error)
        }
        (OpKind::EcdsaP256, Some(Key::EcP256(key))) => {
            let (Ok(digest), Ok(signature)) = (input.try_into(), output.try_into()) else {
                return OpStatus::Invalid;
            };
            status(key.sign(digest, signature), OpStatus::Error)
        }
        (OpKind::X25519Keygen, _) => {
            let (Ok(private), Ok(public)) = (input.try_into(), output.try_into()) else {
                return OpStatus::Invalid;
            };
            aws_lc::x25519_public(private, public);
            OpStatus::Success
        }
        (OpKind::X25519Derive, _) => {
            let (Some((private, peer)), Ok(secret)) =
                (input.split_first_chunk(), output.try_into())
            else {
                return OpStatus::Invalid;
            };
            let Ok(peer) = peer.try_into() else {
                return OpStatus::Invalid;
            };
            status(aws_lc::x25519(private, peer, secret), OpStatus::Invalid)
        }
        // An op that no request has filled.
        _ => OpStatus::Invalid,
    }
}

fn status(ok: bool, otherwise: OpStatus) -> OpStatus {
    if ok { OpStatus::Success } else { otherwise }
}
