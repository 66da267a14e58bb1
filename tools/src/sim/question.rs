//! What jobs ask of the devices, and which answers are right.

use std::sync::{Arc, LazyLock};

use spinlane::crypto::{EcP256Key, Key};
use spinlane::cryptodev::{KeyHandle, Op, OpKind, OpStatus, Request, Token, cpu};
use spinlane_driver_sim::Rng;

use crate::speed::point::Keys;

/// Private scalars in use.
const SCALARS: usize = 16;
/// Peers' public keys in use; the first one is of low order.
const PEERS: usize = 4;

/// One op of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The public key of a scalar.
    Keygen(u8),
    /// The secret of a scalar and a peer; invalid for peer 0.
    Derive(u8, u8),
    /// A P-256 signature of this digest.
    Ecdsa(u8),
    /// An RSA-2048 signature of this block.
    Rsa(u8),
}

/// Operands, and answers computed once.
struct Known {
    scalars: [[u8; 32]; SCALARS],
    peers: [[u8; 32]; PEERS],
    publics: [[u8; 32]; SCALARS],
    secrets: [[Option<[u8; 32]>; PEERS]; SCALARS],
    ecdsa: Arc<KeyHandle>,
    rsa: Arc<KeyHandle>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(Known::new);

impl Known {
    fn new() -> Self {
        let scalars = std::array::from_fn(|index| [index as u8 + 1; 32]);
        let public = |scalar| compute(&Request::x25519_keygen(scalar)).unwrap_or_default();
        let publics = scalars.each_ref().map(public);
        let peers = std::array::from_fn(|index| match index {
            0 => [0; 32],
            _ => publics[index],
        });
        let secret = |scalar| {
            peers
                .each_ref()
                .map(|peer| compute(&Request::x25519_derive(scalar, peer)))
        };
        let ecdsa = EcP256Key::from_scalar(&[0x5c; 32]).expect("below the order");
        let rsa = Keys::default();
        let rsa = rsa
            .of(OpKind::Rsa2048)
            .ok()
            .and_then(|pair| pair.ours.clone());
        Self {
            secrets: scalars.each_ref().map(secret),
            ecdsa: KeyHandle::local(Key::EcP256(ecdsa)),
            rsa: rsa.expect("libcrypto makes RSA keys"),
            scalars,
            peers,
            publics,
        }
    }
}

fn compute(request: &Request<'_>) -> Option<[u8; 32]> {
    let mut op = Op::new();
    op.prepare(Token(0), request, 0);
    cpu::run(&mut op);
    (op.status == OpStatus::Success).then(|| op.output().try_into().ok())?
}

impl Question {
    /// One of them; signatures only if asked for.
    pub fn draw(rng: &mut Rng, signs: bool) -> Self {
        let scalar = rng.below(SCALARS as u64) as u8;
        match rng.below(20) {
            0 | 1 if signs => Self::Rsa(scalar),
            2 | 3 if signs => Self::Ecdsa(scalar),
            4 => Self::Derive(scalar, 0),
            5..=7 => Self::Derive(scalar, 1 + rng.below(PEERS as u64 - 1) as u8),
            _ => Self::Keygen(scalar),
        }
    }

    /// Which op it is.
    pub fn kind(self) -> OpKind {
        match self {
            Self::Keygen(_) => OpKind::X25519Keygen,
            Self::Derive(..) => OpKind::X25519Derive,
            Self::Ecdsa(_) => OpKind::EcdsaP256,
            Self::Rsa(_) => OpKind::Rsa2048,
        }
    }

    /// Whether the input is at fault.
    pub fn is_invalid(self) -> bool {
        matches!(self, Self::Derive(_, 0))
    }

    /// Calls `ask` with the request. Nothing of it is on the heap: the job may be abandoned.
    pub fn with_request<T>(self, ask: impl FnOnce(&Request<'_>) -> T) -> T {
        let known = &*KNOWN;
        match self {
            Self::Keygen(scalar) => {
                ask(&Request::x25519_keygen(&known.scalars[usize::from(scalar)]))
            }
            Self::Derive(scalar, peer) => {
                let (scalar, peer) = (usize::from(scalar), usize::from(peer));
                ask(&Request::x25519_derive(
                    &known.scalars[scalar],
                    &known.peers[peer],
                ))
            }
            Self::Ecdsa(digest) => {
                let digest = [digest; 32];
                ask(&Request::ecdsa_p256(&known.ecdsa, &digest).expect("32 bytes"))
            }
            Self::Rsa(block) => {
                let block = block_of(block);
                ask(&Request::rsa_private(&known.rsa, &block).expect("below the modulus"))
            }
        }
    }

    /// Whether `answer` is right.
    pub fn is_answered_by(self, answer: &[u8]) -> bool {
        let known = &*KNOWN;
        match self {
            Self::Keygen(scalar) => answer == known.publics[usize::from(scalar)],
            Self::Derive(scalar, peer) => {
                let secret = known.secrets[usize::from(scalar)][usize::from(peer)];
                secret.is_some_and(|secret| answer == secret)
            }
            Self::Ecdsa(digest) => match (known.ecdsa.as_local(), answer.try_into()) {
                (Some(Key::EcP256(key)), Ok(signature)) => key.verify(&[digest; 32], signature),
                _ => false,
            },
            Self::Rsa(block) => match known.rsa.as_local() {
                Some(Key::Rsa(key)) => key.verify_raw(answer, &block_of(block)),
                _ => false,
            },
        }
    }
}

/// A block below any modulus of 2048 bits.
fn block_of(seed: u8) -> [u8; 256] {
    let mut block = [seed | 1; 256];
    block[0] = 0;
    block
}
