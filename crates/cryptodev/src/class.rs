//! What the classes of ops have in common: private-key ops ([`Op`]) and records ([`aead::Op`]).
//!
//! A class is the type of its ops. Queue pairs, bursts and capabilities are generic over it, as are the devices
//! that wrap others and the slots of a poll core.

use std::fmt;
use std::ops::DerefMut;
use std::sync::Arc;

use spinlane_crypto::aead::{Algorithm, NONCE_LEN, TAG_LEN};
use spinlane_crypto::random;

use crate::aead::{self, Direction, Key};
use crate::buffer::Buffer;
use crate::cpu;
use crate::device::{Device, DeviceError, Limits, QueuePair, QueuePairConfig};
use crate::kind::{Kind, OpKind};
use crate::op::{Head, Op, OpStatus, Token};

/// An op of one class.
pub trait Operation: DerefMut<Target = Head> + fmt::Debug + Send + Sized + 'static {
    /// What tells the ops of this class apart.
    type Kind: Kind;

    /// Opens a queue pair of `device` for this class.
    ///
    /// # Errors
    /// Those of [`Device::queue_pair`].
    fn open(
        device: &dyn Device,
        config: QueuePairConfig,
    ) -> Result<Box<dyn QueuePair<Self>>, DeviceError>;

    /// An op in `memory`, not prepared.
    fn in_memory(memory: Buffer) -> Box<Self>;

    /// An op without operands and key, in place of one that a device has lost.
    fn without_operands(kind: Self::Kind, token: Token) -> Box<Self>;

    /// Its memory.
    fn memory(&self) -> &Buffer;

    /// What it does. Any kind, if it is not prepared.
    fn kind(&self) -> Self::Kind;

    /// Whether what failed may be run again as it came back: its operands are elsewhere than its result.
    const IS_REPEATABLE: bool;

    /// Bytes of its input, or of its data.
    fn bytes(&self) -> usize;

    /// Whether its key is in memory, so that any device and the CPU may compute it.
    fn is_local(&self) -> bool;

    /// Whether a device that takes so much of its kind takes it.
    fn is_within(&self, limits: &Limits) -> bool;

    /// Takes in all that `other` is. Allocates if its memory is too short.
    fn copy_from(&mut self, other: &Self);

    /// Computes it on the CPU: [`cpu::run`] or [`cpu::run_aead`].
    fn run(&mut self);

    /// Where its result is, whose wrong bytes may tell a secret.
    fn result_mut(&mut self) -> &mut [u8];

    /// Ends it without success: the result becomes zero.
    fn fail(&mut self, status: OpStatus);

    /// Wipes what is secret, and lets go of the key.
    fn recycle(&mut self);

    /// Asks in it what tells whether an unhealthy device serves again, where `of` is an op that was submitted.
    /// Returns `false` if there is nothing to ask.
    fn make_probe(&mut self, of: &Self) -> bool;

    /// Whether the CPU agrees with what a device made of a probe. Changes the op.
    fn is_right(&mut self) -> bool;
}

impl Operation for Op {
    type Kind = OpKind;

    fn open(
        device: &dyn Device,
        config: QueuePairConfig,
    ) -> Result<Box<dyn QueuePair>, DeviceError> {
        device.queue_pair(config)
    }

    fn in_memory(memory: Buffer) -> Box<Self> {
        Self::in_memory(memory)
    }

    fn without_operands(kind: OpKind, token: Token) -> Box<Self> {
        Self::without_operands(kind, token)
    }

    fn memory(&self) -> &Buffer {
        self.memory()
    }

    #[inline]
    fn kind(&self) -> OpKind {
        self.kind()
    }

    const IS_REPEATABLE: bool = true;

    fn bytes(&self) -> usize {
        self.input().len()
    }

    #[inline]
    fn is_local(&self) -> bool {
        self.key().is_none_or(|key| key.as_local().is_some())
    }

    fn is_within(&self, limits: &Limits) -> bool {
        self.input().len() <= limits.max_len
    }

    fn copy_from(&mut self, other: &Self) {
        self.copy_from(other);
    }

    fn run(&mut self) {
        cpu::run(self);
    }

    fn result_mut(&mut self) -> &mut [u8] {
        self.buffers().1
    }

    fn fail(&mut self, status: OpStatus) {
        self.fail(status);
    }

    fn recycle(&mut self) {
        self.recycle();
    }

    /// The same as was asked.
    fn make_probe(&mut self, of: &Self) -> bool {
        self.copy_from(of);
        true
    }

    fn is_right(&mut self) -> bool {
        match self.status {
            OpStatus::Success => cpu::result_is_right(self),
            OpStatus::Invalid => {
                cpu::run(self);
                self.status == OpStatus::Invalid
            }
            OpStatus::Error | OpStatus::NotProcessed => false,
        }
    }
}

/// Bytes that a probe seals.
const PROBE_LEN: usize = 64;

impl Operation for aead::Op {
    type Kind = Algorithm;

    fn open(
        device: &dyn Device,
        config: QueuePairConfig,
    ) -> Result<Box<dyn QueuePair<Self>>, DeviceError> {
        device.record_queue_pair(config)
    }

    fn in_memory(memory: Buffer) -> Box<Self> {
        Self::new(memory)
    }

    fn without_operands(_: Algorithm, token: Token) -> Box<Self> {
        let mut op = Self::new(Buffer::EMPTY);
        op.token = token;
        op
    }

    fn memory(&self) -> &Buffer {
        self.buffer()
    }

    #[inline]
    fn kind(&self) -> Algorithm {
        self.algorithm().unwrap_or(Algorithm::Aes128Gcm)
    }

    const IS_REPEATABLE: bool = false;

    fn bytes(&self) -> usize {
        self.data_range().len()
    }

    fn is_local(&self) -> bool {
        true
    }

    fn is_within(&self, limits: &Limits) -> bool {
        self.data_range().len() <= limits.max_len && limits.takes_aad(self.aad().len())
    }

    fn copy_from(&mut self, other: &Self) {
        self.copy_from(other);
    }

    fn run(&mut self) {
        cpu::run_aead(self);
    }

    fn result_mut(&mut self) -> &mut [u8] {
        let range = self.data_range();
        &mut self.buffer_mut()[range]
    }

    fn fail(&mut self, status: OpStatus) {
        self.fail(status);
    }

    fn recycle(&mut self) {
        self.fail(OpStatus::Error);
        self.recycle();
    }

    /// To seal zeros, under a key that nobody else has: an unhealthy device gets nobody's data, nor nonces under
    /// anybody's key. Allocates.
    fn make_probe(&mut self, of: &Self) -> bool {
        let mut secret = [0; 32];
        random::fill(&mut secret);
        let algorithm = of.kind();
        let Ok(key) = Key::new(algorithm, &secret[..algorithm.key_len()]) else {
            return false;
        };
        if self.buffer().len() < PROBE_LEN + TAG_LEN {
            self.replace_buffer(Buffer::of_class(PROBE_LEN + TAG_LEN));
        }
        self.buffer_mut()[..PROBE_LEN].fill(0);
        let request = probe(&Arc::new(key), Direction::Seal, |request| {
            self.prepare(Token(0), request)
        });
        request.is_ok()
    }

    fn is_right(&mut self) -> bool {
        let Some(key) = self
            .key()
            .cloned()
            .filter(|_| self.status == OpStatus::Success)
        else {
            return false;
        };
        let prepared = probe(&key, Direction::Open, |request| {
            self.prepare(Token(0), request)
        });
        cpu::run_aead(self);
        prepared.is_ok()
            && self.status == OpStatus::Success
            && self.data().iter().all(|byte| *byte == 0)
    }
}

/// Calls `ask` with the request for a probe, or for what opens it again.
fn probe<T>(key: &Arc<Key>, direction: Direction, ask: impl FnOnce(&aead::Request<'_>) -> T) -> T {
    ask(&aead::Request {
        direction,
        key,
        nonce: &[0; NONCE_LEN],
        aad: &[0; 13],
        data: 0..PROBE_LEN,
    })
}
