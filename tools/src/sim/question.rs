//! What jobs ask of the devices, and which answers are right.

use std::sync::{Arc, LazyLock};

use spinlane::crypto::{EcP256Key, Key};
use spinlane::cryptodev::{KeyHandle, MAX_OUTPUT, Op, OpKind, OpStatus, Request, Token, cpu};
use spinlane::lcore::{OffloadError, offload, offload_all};
use spinlane_driver_sim::Rng;

use super::vault;
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
    /// The same by a key that only the device has.
    Remote(u8),
    /// An RSA-2048 signature of this block.
    Rsa(u8),
}

/// Ops of a set at most.
pub const MAX_SET: usize = 3;

/// Memory for the answers to a set.
pub type Answers = [[u8; MAX_OUTPUT]; MAX_SET];

/// What a job asks at once. Nothing of it is on the heap: the job may be abandoned.
#[derive(Clone, Copy, Debug)]
pub struct Set {
    questions: [Question; MAX_SET],
    len: usize,
}

impl Set {
    /// One question, or several of X25519's.
    pub fn draw(rng: &mut Rng, signs: bool, remote: bool, several: bool) -> Self {
        let first = Question::draw(rng, signs, remote);
        let mut set = Self {
            questions: [first; MAX_SET],
            len: 1,
        };
        if several && first.x25519().is_some() && rng.below(3) == 0 {
            set.len = rng.between(2, MAX_SET as u64) as usize;
            for question in &mut set.questions[1..] {
                *question = Question::draw(rng, false, false);
            }
        }
        set
    }

    /// A single question.
    pub fn of(question: Question) -> Self {
        Self {
            questions: [question; MAX_SET],
            len: 1,
        }
    }

    /// Whether only devices can answer.
    pub fn is_remote(&self) -> bool {
        self.questions().iter().any(|question| question.is_remote())
    }

    /// What is asked.
    pub fn questions(&self) -> &[Question] {
        &self.questions[..self.len]
    }

    /// Asks in a job, in one pause.
    pub fn ask(&self, answers: &mut Answers) -> Result<(), OffloadError> {
        let mut answers = answers.iter_mut();
        let mut answer_to = |question: Question| {
            let answer = answers.next().map_or(&mut [][..], |answer| &mut answer[..]);
            &mut answer[..question.kind().output_len()]
        };
        let [first, second, third] = self.questions;
        let (Some(a), Some(b), Some(c)) = (first.x25519(), second.x25519(), third.x25519()) else {
            let answer = answer_to(first);
            return first.with_request(|request| offload(request, answer));
        };
        let mut set = [
            (&a, answer_to(first)),
            (&b, answer_to(second)),
            (&c, answer_to(third)),
        ];
        match self.len {
            1 => offload(set[0].0, set[0].1),
            len => offload_all(&mut set[..len]),
        }
    }

    /// Whether an input is at fault.
    pub fn is_invalid(&self) -> bool {
        self.questions()
            .iter()
            .any(|question| question.is_invalid())
    }

    /// Whether all `answers` are right.
    pub fn is_answered_by(&self, answers: &Answers) -> bool {
        let mut all = self.questions().iter().zip(answers);
        all.all(|(question, answer)| {
            question.is_answered_by(&answer[..question.kind().output_len()])
        })
    }
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
    pub fn draw(rng: &mut Rng, signs: bool, remote: bool) -> Self {
        let scalar = rng.below(SCALARS as u64) as u8;
        match rng.below(20) {
            0 | 1 if signs => Self::Rsa(scalar),
            2 | 3 if signs => Self::Ecdsa(scalar),
            2 | 3 if remote => Self::Remote(scalar),
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
            Self::Ecdsa(_) | Self::Remote(_) => OpKind::EcdsaP256,
            Self::Rsa(_) => OpKind::Rsa2048,
        }
    }

    /// Whether only devices can answer.
    pub fn is_remote(self) -> bool {
        matches!(self, Self::Remote(_))
    }

    /// Whether the input is at fault.
    pub fn is_invalid(self) -> bool {
        matches!(self, Self::Derive(_, 0))
    }

    /// The request of an X25519 op, whose operands live for ever.
    fn x25519(self) -> Option<Request<'static>> {
        let known = &*KNOWN;
        let scalar = |scalar: u8| &known.scalars[usize::from(scalar)];
        match self {
            Self::Keygen(private) => Some(Request::x25519_keygen(scalar(private))),
            Self::Derive(private, peer) => {
                let peer = &known.peers[usize::from(peer)];
                Some(Request::x25519_derive(scalar(private), peer))
            }
            Self::Ecdsa(_) | Self::Remote(_) | Self::Rsa(_) => None,
        }
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
            Self::Remote(digest) => {
                let digest = [digest; 32];
                ask(&Request::ecdsa_p256(vault::key(), &digest).expect("32 bytes"))
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
            Self::Remote(digest) => {
                let public = vault::key().as_remote();
                public.is_some_and(|public| public.verify(&[digest; 32], answer))
            }
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
