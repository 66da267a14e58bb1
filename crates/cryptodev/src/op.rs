//! One private-key operation: what is asked, of which key, and how it ended.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use spinlane_crypto::cleanse;

use crate::buffer::Buffer;
use crate::key::KeyHandle;
use crate::kind::OpKind;
use crate::ops::PssHash;
use crate::request::Request;

/// How an op stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpStatus {
    /// Not begun: what an op is from its preparation until its device has finished it. A device that gives
    /// an op back so cannot serve it, and another may: its data is what it was.
    #[default]
    NotProcessed,
    /// Done; the result is valid.
    Success,
    /// The input was at fault: a peer's point that is none, say, or a record whose tag is not that of its data,
    /// nonce and associated data. Asking again is useless. The result is zero.
    Invalid,
    /// The device was at fault, or the op was not prepared. Another device may well succeed. The result is zero.
    Error,
}

/// Names the submitter's slot; a device carries it and never looks into it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// What every op has, whichever its class.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    /// The submitter's slot.
    pub token: Token,
    /// When it was enqueued, in nanoseconds of the submitter's clock.
    pub enqueued_at_ns: u64,
    /// How it stands. A device sets it before it gives the op back.
    pub status: OpStatus,
}

/// One operation on its way through a device. Made once, then reused: [`Op::prepare`]
/// fills it, [`Op::recycle`] wipes it.
///
/// ```text
///  memory  │ input, input_len bytes │ output │ room │
/// ```
pub struct Op {
    head: Head,
    kind: OpKind,
    input_len: u16,
    key: Option<Arc<KeyHandle>>,
    pss: Option<PssHash>,
    memory: Buffer,
}

impl Op {
    /// An empty op. Its memory is allocated when it is prepared.
    pub fn new() -> Box<Self> {
        Self::in_memory(Buffer::EMPTY)
    }

    /// An empty op whose operands and result go into `memory`.
    pub fn in_memory(memory: Buffer) -> Box<Self> {
        Box::new(Self {
            head: Head::default(),
            kind: OpKind::Rsa2048,
            input_len: 0,
            key: None,
            pss: None,
            memory,
        })
    }

    /// Takes in `request`: copies its input, shares its key. Allocates if its memory is too short, once for
    /// all requests of that size.
    pub fn prepare(&mut self, token: Token, request: &Request<'_>, now_ns: u64) {
        self.make_room(request.memory_len());
        self.head = Head {
            token,
            enqueued_at_ns: now_ns,
            status: OpStatus::NotProcessed,
        };
        self.kind = request.kind;
        self.key = request.key.cloned();
        self.pss = request.pss;
        let input_len = request.input.len() + request.more.len();
        let (head, tail) = self.memory[..input_len].split_at_mut(request.input.len());
        head.copy_from_slice(request.input);
        tail.copy_from_slice(request.more);
        // No buffer is longer than that can say.
        self.input_len = input_len as u16;
    }

    /// Sees to it that its memory has `len` bytes.
    fn make_room(&mut self, len: usize) {
        if self.memory.len() < len {
            self.recycle();
            self.memory = Buffer::of_class(len);
        }
    }

    /// Takes in all that `other` is: head, operands, key and result. Allocates if its memory is too short.
    pub fn copy_from(&mut self, other: &Self) {
        self.recycle();
        let used = other.used().len();
        self.make_room(used);
        self.head = other.head;
        self.kind = other.kind;
        self.key.clone_from(&other.key);
        self.pss = other.pss;
        self.input_len = other.input_len;
        self.memory[..used].copy_from_slice(other.used());
    }

    /// An op without operands and key: what a driver gives back, its status set, in place of one that the
    /// device has lost.
    pub fn without_operands(kind: OpKind, token: Token) -> Box<Self> {
        let mut op = Self::new();
        op.kind = kind;
        op.token = token;
        op
    }

    /// Wipes operands and result and lets go of the key.
    pub fn recycle(&mut self) {
        let used = self.used().len();
        cleanse(&mut self.memory[..used]);
        self.key = None;
        self.head = Head::default();
    }

    /// Ends it without success: the output becomes zero.
    pub fn fail(&mut self, status: OpStatus) {
        cleanse(self.operands().2);
        self.status = status;
    }

    /// Its memory.
    pub fn memory(&self) -> &Buffer {
        &self.memory
    }

    /// What it computes.
    pub fn kind(&self) -> OpKind {
        self.kind
    }

    /// The key it uses; `None` for key exchanges, whose scalar is in the input.
    pub fn key(&self) -> Option<&Arc<KeyHandle>> {
        self.key.as_ref()
    }

    /// What its RSA block is the PSS encoding of, where that is known and its key is a device's own. A device
    /// that pads for itself signs this in the block's place.
    pub fn pss(&self) -> Option<&PssHash> {
        self.pss.as_ref()
    }

    /// Its operands, [`OpKind::input_len`] bytes; of Ed25519's message as many as it has.
    pub fn input(&self) -> &[u8] {
        &self.memory[..usize::from(self.input_len)]
    }

    /// Its result, [`OpKind::output_len`] bytes; meaningful after [`OpStatus::Success`]. Empty if it has no
    /// operands.
    pub fn output(&self) -> &[u8] {
        &self.used()[usize::from(self.input_len)..]
    }

    /// Operands and result.
    fn used(&self) -> &[u8] {
        let len = usize::from(self.input_len) + self.kind.output_len();
        &self.memory[..len.min(self.memory.len())]
    }

    /// Operands and the place for the result, for a device.
    pub fn buffers(&mut self) -> (&[u8], &mut [u8]) {
        let (_, input, output) = self.operands();
        (input, output)
    }

    /// The key besides, all borrowed at once.
    pub fn operands(&mut self) -> (Option<&KeyHandle>, &[u8], &mut [u8]) {
        let used = self.used().len();
        let (input, output) = self.memory[..used].split_at_mut(usize::from(self.input_len));
        (self.key.as_deref(), input, output)
    }
}

impl Deref for Op {
    type Target = Head;

    #[inline]
    fn deref(&self) -> &Head {
        &self.head
    }
}

impl DerefMut for Op {
    #[inline]
    fn deref_mut(&mut self) -> &mut Head {
        &mut self.head
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        self.recycle();
    }
}

impl fmt::Debug for Op {
    /// Operands and results stay out: they may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Op")
            .field("token", &self.token)
            .field("kind", &self.kind)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
