//! A batch: up to eight ops of one kind, computed at once.
//!
//! ```text
//!   op 0 ─ lane 0 ─▶ op 0's output     \  one call of crypto_mb, or for RSA of rsa52,
//!   op 1 ─ lane 1 ─▶ op 1's output      } which reads inputs and keys where they are
//!   op 0 ─ lane 2 ─▶ spare 2           /  and costs the same for any fill
//! ```
//! A lane without an op computes lane 0's once more, into a spare place. (ML-KEM's
//! lanes need none, and cost less for fewer ops.)

mod ecdh;
mod ecdsa;
mod ed25519;
mod mlkem;
mod rsa;
mod x25519;

use spinlane_crypto::curve::{P256, P384};
use spinlane_crypto::nonce::NonceMaker;
use spinlane_crypto::{EcP256Key, EcP384Key, Key};
use spinlane_cryptodev::{KeyHandle, MAX_OUTPUT, Op, OpKind, OpStatus};
use spinlane_mlkem::MlKem768;
use spinlane_rsa52::RsaLanes;
use zeroize::Zeroize;

use crate::base25519::Base;
use crate::ffi::{Cpu, Inputs, LANES, Outputs};

/// One output's room per lane.
type Rooms = [[u8; MAX_OUTPUT]; LANES];

/// What computing takes: memory made once, wiped of secrets after every batch.
pub(crate) struct Lanes {
    cpu: Cpu,
    rsa: RsaLanes,
    x25519_base: Base,
    mlkem: MlKem768,
    /// Outputs of lanes without an op.
    spare: Box<Rooms>,
    nonces_p256: NonceMaker<P256>,
    nonces_p384: NonceMaker<P384>,
    /// Lanes whose next RSA or Ed25519 result gets a wrong bit, before it is checked.
    #[cfg(test)]
    pub(crate) corrupt: [bool; LANES],
}

impl Lanes {
    pub(crate) fn new(cpu: Cpu) -> Self {
        Self {
            cpu,
            rsa: RsaLanes::new(cpu.for_rsa()),
            x25519_base: Base::new(cpu),
            mlkem: MlKem768::new(cpu.for_mlkem()),
            spare: Box::new([[0; MAX_OUTPUT]; LANES]),
            nonces_p256: NonceMaker::new(),
            nonces_p384: NonceMaker::new(),
            #[cfg(test)]
            corrupt: [false; LANES],
        }
    }

    /// Computes 1 to 8 ops, all of `kind` and with a key that [`serves`]. An op that could not
    /// be, or whose result failed its check, keeps its status; all others get theirs.
    pub(crate) fn run(&mut self, kind: OpKind, ops: &mut [Box<Op>]) {
        debug_assert!((1..=LANES).contains(&ops.len()));
        match kind {
            OpKind::Rsa2048 | OpKind::Rsa3072 | OpKind::Rsa4096 => self.rsa_private(kind, ops),
            OpKind::EcdsaP256 => {
                ecdsa::sign(
                    self.cpu,
                    &mut self.spare,
                    &self.nonces_p256,
                    ops,
                    kind,
                    p256_key,
                );
            }
            OpKind::EcdsaP384 => {
                ecdsa::sign(
                    self.cpu,
                    &mut self.spare,
                    &self.nonces_p384,
                    ops,
                    kind,
                    p384_key,
                );
            }
            OpKind::Ed25519 => self.ed25519(ops),
            OpKind::X25519Keygen => self.x25519_keygen(ops),
            OpKind::X25519Derive => self.x25519_derive(ops),
            OpKind::EcdhP256Keygen => self.ecdh_keygen::<P256>(kind, ops),
            OpKind::EcdhP256Derive => self.ecdh_derive::<P256>(kind, ops),
            OpKind::EcdhP384Keygen => self.ecdh_keygen::<P384>(kind, ops),
            OpKind::EcdhP384Derive => self.ecdh_derive::<P384>(kind, ops),
            OpKind::X25519Exchange => self.x25519_exchange(ops),
            OpKind::EcdhP256Exchange => self.ecdh_exchange::<P256>(kind, ops),
            OpKind::EcdhP384Exchange => self.ecdh_exchange::<P384>(kind, ops),
            OpKind::MlKem768Keygen => self.mlkem_keygen(ops),
            OpKind::MlKem768Encap => self.mlkem_encap(ops),
            OpKind::MlKem768Decap => self.mlkem_decap(ops),
        }
        if ops.len() < LANES {
            let used = kind.output_len().min(MAX_OUTPUT);
            self.spare
                .iter_mut()
                .for_each(|lane| lane[..used].zeroize());
        }
    }

    #[cfg(test)]
    pub(crate) fn holds_no_secret(&mut self) -> bool {
        self.rsa.is_wiped()
            && self.mlkem.is_wiped()
            && self.spare.iter().flatten().all(|byte| *byte == 0)
    }
}

/// Whether lanes compute `op` rightly: it has its key, RSA's exponent is the one that the
/// lanes check by, and the input is none that crypto_mb refuses or gets wrong.
pub(crate) fn serves(op: &Op) -> bool {
    let key = op.key().and_then(|key| key.as_local());
    match op.kind() {
        OpKind::Rsa2048 | OpKind::Rsa3072 | OpKind::Rsa4096 => {
            matches!(key, Some(Key::Rsa(key)) if key.public_exponent_is_65537())
        }
        OpKind::EcdsaP256 => {
            matches!(key, Some(Key::EcP256(_))) && ecdsa::takes::<P256>(op.input())
        }
        OpKind::EcdsaP384 => {
            matches!(key, Some(Key::EcP384(_))) && ecdsa::takes::<P384>(op.input())
        }
        OpKind::Ed25519 => matches!(key, Some(Key::Ed25519(_))),
        OpKind::X25519Keygen
        | OpKind::EcdhP256Keygen
        | OpKind::EcdhP256Derive
        | OpKind::EcdhP384Keygen
        | OpKind::EcdhP384Derive
        | OpKind::EcdhP256Exchange
        | OpKind::EcdhP384Exchange => true,
        OpKind::MlKem768Keygen | OpKind::MlKem768Encap | OpKind::MlKem768Decap => mlkem::takes(op),
        OpKind::X25519Derive | OpKind::X25519Exchange => x25519::takes(op.input()),
    }
}

fn p256_key(key: &Key) -> Option<&EcP256Key> {
    match key {
        Key::EcP256(key) => Some(key),
        _ => None,
    }
}

fn p384_key(key: &Key) -> Option<&EcP384Key> {
    match key {
        Key::EcP384(key) => Some(key),
        _ => None,
    }
}

/// Marks the ops whose lane is good.
fn succeed(ops: &mut [Box<Op>], good: [bool; LANES]) {
    for (op, _) in ops.iter_mut().zip(good).filter(|(_, good)| *good) {
        op.status = OpStatus::Success;
    }
}

/// The lanes that are good in both of two steps.
fn both(one: [bool; LANES], other: [bool; LANES]) -> [bool; LANES] {
    std::array::from_fn(|lane| one[lane] && other[lane])
}

/// The operands of a batch, lane by lane.
struct Operands<'a> {
    keys: [Option<&'a KeyHandle>; LANES],
    from: Inputs<'a>,
    to: Outputs<'a>,
}

impl<'a> Operands<'a> {
    /// Those of `ops`; the lanes left over read lane 0's and write to `spare`.
    fn of(ops: &'a mut [Box<Op>], spare: &'a mut Rooms, kind: OpKind) -> Self {
        let mut lanes = Self {
            keys: [None; LANES],
            from: [&[]; LANES],
            to: spare.each_mut().map(|lane| &mut lane[..kind.output_len()]),
        };
        let fill = ops.len();
        for (lane, op) in ops.iter_mut().enumerate() {
            (lanes.keys[lane], lanes.from[lane], lanes.to[lane]) = op.operands();
        }
        let first = (lanes.keys[0], lanes.from[0]);
        for lane in fill..LANES {
            (lanes.keys[lane], lanes.from[lane]) = first;
        }
        lanes
    }

    /// The outputs in two parts, the first of `len` bytes.
    fn split(to: Outputs<'a>, len: usize) -> (Outputs<'a>, Outputs<'a>) {
        let (mut heads, mut tails): (Outputs<'a>, Outputs<'a>) = Default::default();
        for (lane, output) in to.into_iter().enumerate() {
            (heads[lane], tails[lane]) = output.split_at_mut(len);
        }
        (heads, tails)
    }

    /// What `part` takes of every lane's key; `None` if it takes nothing of one.
    fn keys<T: Copy>(&self, part: impl Fn(&'a KeyHandle) -> Option<T>) -> Option<[T; LANES]> {
        let parts = self.keys.map(|key| key.and_then(&part));
        let first = parts[0]?;
        parts
            .iter()
            .all(Option::is_some)
            .then(|| parts.map(|part| part.unwrap_or(first)))
    }
}
