//! Every op on the calling thread, by aws-lc: the reference for the devices, what `soft`
//! serves, and what stands in where there is no device.
//!
//! RSA: aws-lc allocates a few work numbers per op, takes the key's lock for its blinding, and
//! checks the result by the public exponent. ECDSA and ECDH: aws-lc allocates numbers and points. Signatures by
//! ECDSA and Ed25519 are computed once and not checked, as libcrypto does it.
//! Nothing else is allocated here.

use spinlane_crypto::curve::{self, Curve, P256, P384};
use spinlane_crypto::{Key, cleanse, constant_time_eq, x25519};
use zeroize::Zeroizing;

use crate::aead::{self, Direction, Status};
use crate::op::{MAX_OUTPUT, Op, OpKind, OpStatus};

/// Runs `op`: sets its status, and its output if that is [`OpStatus::Success`]; otherwise the
/// output is zero, so that nothing half-computed leaves.
pub fn run(op: &mut Op) {
    let kind = op.kind();
    let (key, input, output) = op.operands();
    let status = compute(kind, key, input, output);
    if status != OpStatus::Success {
        cleanse(output);
    }
    op.status = status;
}

/// Whether the result of `op` is that of its input: RSA and ECDSA by the public key, all else by
/// computing it again.
///
/// A device that does not check its own RSA results has its driver ask this before it gives one
/// out: a faulty one gives the key away (Boneh, DeMillo, Lipton 1997).
pub fn result_is_right(op: &Op) -> bool {
    match (op.kind(), op.key().map(|key| &**key)) {
        (OpKind::Rsa2048 | OpKind::Rsa3072 | OpKind::Rsa4096, Some(Key::Rsa(key))) => {
            key.verify_raw(op.output(), op.input())
        }
        (OpKind::EcdsaP256, Some(Key::EcP256(key))) => key.is_signed(op.input(), op.output()),
        (OpKind::EcdsaP384, Some(Key::EcP384(key))) => key.is_signed(op.input(), op.output()),
        (kind, key) => {
            let mut again = Zeroizing::new([0; MAX_OUTPUT]);
            let again = &mut again[..kind.output_len()];
            compute(kind, key, op.input(), again) == OpStatus::Success
                && constant_time_eq(again, op.output())
        }
    }
}

/// What an op of this kind costs here, in microseconds: measured on a Zen 5 core (P-256 12, P-384 66,
/// Ed25519 6; X25519 5 and 18, ECDH 7 and 32 on P-256, 39 and 108 on P-384) and rounded up, for slower
/// machines' sake. Who computes ops on a poll core bounds a turn by it, there being no clock here.
pub const fn cost_us(kind: OpKind) -> u32 {
    match kind {
        OpKind::Rsa2048 => 250,
        OpKind::Rsa3072 => 700,
        OpKind::Rsa4096 => 1500,
        OpKind::EcdsaP256 => 20,
        OpKind::EcdsaP384 => 80,
        OpKind::Ed25519 => 10,
        OpKind::X25519Keygen => 10,
        OpKind::X25519Derive => 25,
        OpKind::EcdhP256Keygen => 10,
        OpKind::EcdhP256Derive => 50,
        OpKind::EcdhP384Keygen => 60,
        OpKind::EcdhP384Derive => 150,
        OpKind::X25519Exchange => 35,
        OpKind::EcdhP256Exchange => 60,
        OpKind::EcdhP384Exchange => 210,
    }
}

/// Runs `op`, in place: sets its status; unless that is [`Status::Success`], its data is zero.
/// One that is not prepared, or has run already, ends with [`Status::Error`].
pub fn run_aead(op: &mut aead::Op) {
    let direction = op.direction();
    let status = match (op.parts(), direction) {
        (None, _) => Status::Error,
        (Some(parts), Direction::Seal) => {
            let ok = parts.key.seal(parts);
            if ok { Status::Success } else { Status::Error }
        }
        (Some(parts), Direction::Open) => {
            let ok = parts.key.open(parts);
            if ok {
                Status::Success
            } else {
                Status::AuthFailed
            }
        }
    };
    match status {
        Status::Success => op.status = status,
        _ => op.fail(status),
    }
}

/// What an op on `len` bytes costs here, in nanoseconds: that of the slowest algorithm, rounded up, for
/// slower machines' sake. For what, see [`cost_us`].
pub const fn aead_cost_ns(len: usize) -> u32 {
    200 + len as u32 / 2
}

fn compute(kind: OpKind, key: Option<&Key>, input: &[u8], output: &mut [u8]) -> OpStatus {
    match (kind, key) {
        (OpKind::Rsa2048 | OpKind::Rsa3072 | OpKind::Rsa4096, Some(Key::Rsa(key))) => {
            status(key.private_raw(input, output), OpStatus::Error)
        }
        (OpKind::EcdsaP256, Some(Key::EcP256(key))) => {
            status(key.sign(input, output), OpStatus::Error)
        }
        (OpKind::EcdsaP384, Some(Key::EcP384(key))) => {
            status(key.sign(input, output), OpStatus::Error)
        }
        (OpKind::Ed25519, Some(Key::Ed25519(key))) => match output.try_into() {
            Ok(signature) => status(key.sign(input, signature), OpStatus::Error),
            Err(_) => OpStatus::Invalid,
        },
        (OpKind::EcdhP256Keygen, _) => ecdh_public::<P256>(input, output),
        (OpKind::EcdhP384Keygen, _) => ecdh_public::<P384>(input, output),
        (OpKind::EcdhP256Derive, _) => ecdh_shared::<P256>(input, output),
        (OpKind::EcdhP384Derive, _) => ecdh_shared::<P384>(input, output),
        (OpKind::X25519Keygen, _) => {
            let (Ok(private), Ok(public)) = (input.try_into(), output.try_into()) else {
                return OpStatus::Invalid;
            };
            x25519::public(private, public);
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
            status(x25519::shared(private, peer, secret), OpStatus::Invalid)
        }
        (OpKind::X25519Exchange, _) => {
            let parts = [OpKind::X25519Keygen, OpKind::X25519Derive];
            exchange(parts, input, 32, output)
        }
        (OpKind::EcdhP256Exchange, _) => {
            let parts = [OpKind::EcdhP256Keygen, OpKind::EcdhP256Derive];
            exchange(parts, input, 32, output)
        }
        (OpKind::EcdhP384Exchange, _) => {
            let parts = [OpKind::EcdhP384Keygen, OpKind::EcdhP384Derive];
            exchange(parts, input, 48, output)
        }
        // An op that no request has filled.
        _ => OpStatus::Invalid,
    }
}

/// A public key and a secret, each as an op of its own makes them, of the private scalar that is
/// the first `scalar_len` bytes of `input`.
fn exchange(
    [keygen, derive]: [OpKind; 2],
    input: &[u8],
    scalar_len: usize,
    output: &mut [u8],
) -> OpStatus {
    let split = (
        input.get(..scalar_len),
        output.split_at_mut_checked(keygen.output_len()),
    );
    let (Some(private), Some((public, secret))) = split else {
        return OpStatus::Invalid;
    };
    match compute(keygen, None, private, public) {
        OpStatus::Success => compute(derive, None, input, secret),
        status => status,
    }
}

/// The public key of the scalar that is the whole of `input`.
fn ecdh_public<C: Curve>(private: &[u8], public: &mut [u8]) -> OpStatus {
    let ok = curve::public::<C>(private, public);
    status(ok, OpStatus::Error)
}

/// The shared secret of the scalar and the point that follow each other in `input`.
fn ecdh_shared<C: Curve>(input: &[u8], secret: &mut [u8]) -> OpStatus {
    let Some((private, peer)) = input.split_at_checked(secret.len()) else {
        return OpStatus::Invalid;
    };
    let ok = curve::shared::<C>(private, peer, secret);
    status(ok, OpStatus::Invalid)
}

fn status(ok: bool, otherwise: OpStatus) -> OpStatus {
    if ok { OpStatus::Success } else { otherwise }
}
