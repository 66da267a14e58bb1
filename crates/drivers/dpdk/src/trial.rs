//! Which curves a device has: found out by one op each, when it is opened.
//!
//! Capabilities do not tell. They name ECDSA, and no curve; `crypto_qat` had both curves for years before it named
//! them; and some releases take sessions whose ops fail, or come out wrong (`crypto_qat` lost ECDSA keys from 23.11 to
//! 23.11.2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use spinlane_crypto::curve::{self, Array, Curve, P256, P384};
use spinlane_crypto::{EcKey, Key};
use spinlane_cryptodev::{
    Burst, Capabilities, Device, KeyHandle, Op, OpKind, OpStatus, QueuePair, QueuePairConfig,
    Request, RequestError, Token, cpu,
};

use crate::DpdkDevice;
use crate::ec::Curves;

/// How long a device may take for one op.
const PATIENCE: Duration = Duration::from_secs(1);

/// Kinds of op on curves that `device`, which is open for them, computes rightly.
pub(crate) fn served(device: &DpdkDevice, to_try: Curves) -> Capabilities {
    let config = QueuePairConfig {
        capacity: 1,
        ..QueuePairConfig::default()
    };
    let mut queue_pair = match device.queue_pair(config) {
        Ok(queue_pair) => queue_pair,
        Err(error) => {
            tracing::warn!("curves are left out, since they cannot be tried: {error}");
            return Capabilities::NONE;
        }
    };
    let mut served = Capabilities::NONE;
    for kinds in to_try.kinds() {
        match computes(&mut *queue_pair, kinds[0]) {
            Some(true) => served = kinds.iter().copied().fold(served, Capabilities::with),
            Some(false) => {}
            None => {
                tracing::warn!(
                    device = queue_pair.name(),
                    "{} does not come back",
                    kinds[0]
                );
                break;
            }
        }
    }
    served
}

/// Whether an op of this kind comes out right; `None` if it does not come back.
fn computes(queue_pair: &mut dyn QueuePair, kind: OpKind) -> Option<bool> {
    let op = op(kind)?;
    let (mut ops, mut done) = (Burst::from([op]), Burst::new());
    let until = Instant::now() + PATIENCE;
    loop {
        queue_pair.enqueue_burst(&mut ops);
        queue_pair.dequeue_burst(&mut done, 1, 0);
        if !done.is_empty() || Instant::now() > until {
            break;
        }
    }
    let op = done.pop()?;
    Some(op.status == OpStatus::Success && cpu::result_is_right(&op))
}

/// An op of this kind, with operands that nobody else has.
fn op(kind: OpKind) -> Option<Box<Op>> {
    let mut op = Op::new();
    let prepared = match kind {
        OpKind::EcdsaP256 => sign::<P256>(&mut op, Key::EcP256, |key, digest| {
            Request::ecdsa_p256(key, digest)
        }),
        OpKind::EcdsaP384 => sign::<P384>(&mut op, Key::EcP384, |key, digest| {
            Request::ecdsa_p384(key, digest)
        }),
        OpKind::EcdhP256Exchange => exchange::<P256>(&mut op, |private, peer| {
            Request::ecdh_p256_exchange(private, peer)
        }),
        OpKind::EcdhP384Exchange => exchange::<P384>(&mut op, |private, peer| {
            Request::ecdh_p384_exchange(private, peer)
        }),
        _ => None,
    };
    prepared.map(|()| op)
}

fn sign<C: Curve>(
    op: &mut Op,
    key: impl Fn(EcKey<C>) -> Key,
    request: impl for<'a> Fn(&'a Arc<KeyHandle>, &'a [u8]) -> Result<Request<'a>, RequestError>,
) -> Option<()> {
    let (secret, digest) = (scalar::<C>(), scalar::<C>());
    let key = KeyHandle::local(key(EcKey::from_scalar(secret.as_ref()).ok()?));
    let request = request(&key, digest.as_ref()).ok()?;
    op.prepare(Token(0), &request, 0);
    Some(())
}

fn exchange<C: Curve>(
    op: &mut Op,
    request: impl for<'a> Fn(&'a C::Scalar, &'a C::Point) -> Result<Request<'a>, RequestError>,
) -> Option<()> {
    let (private, other) = (scalar::<C>(), scalar::<C>());
    let peer = EcKey::<C>::from_scalar(other.as_ref()).ok()?.public_key();
    let request = request(&private, &peer).ok()?;
    op.prepare(Token(0), &request, 0);
    Some(())
}

/// A number in 1..n. It serves for a trial alone.
fn scalar<C: Curve>() -> C::Scalar {
    let mut scalar = C::Scalar::ZERO;
    curve::random_scalar::<C>(&mut scalar);
    scalar
}
