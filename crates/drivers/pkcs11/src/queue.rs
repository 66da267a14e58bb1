//! Ops on keys that stay on a token, and the queue that they go by: those of the device contract, and besides
//! what tokens that pad for themselves must be asked by digest.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use spinlane_cryptodev::KeyHandle;
use zeroize::Zeroizing;

use crate::backend::{Task, TokenBackend};
use crate::error::Failure;
use crate::operation::{Bytes, Operation};
use crate::pool::{Client, Job, Pool};
use crate::queue_pair::ContractOp;

/// Longest input of an op in bytes: an RSA-4096 block.
pub const MAX_INPUT: usize = 512;
/// Longest output of an op in bytes.
pub const MAX_OUTPUT: usize = 512;

/// Ops in submission (or completion) order.
pub type TokenOpBurst = VecDeque<Box<TokenOp>>;

/// One operation on its way through a token. Made once, then reused: [`TokenOp::prepare`] fills it. Neither
/// allocates.
pub struct TokenOp {
    /// The submitter's, to know it again by.
    pub token: u64,
    key: Option<Arc<KeyHandle>>,
    operation: Operation,
    input: Zeroizing<[u8; MAX_INPUT]>,
    input_len: usize,
    output: Zeroizing<[u8; MAX_OUTPUT]>,
    ended: Option<Result<usize, Failure>>,
}

impl TokenOp {
    /// An empty op.
    pub fn new() -> Box<Self> {
        Box::new(Self {
            token: 0,
            key: None,
            operation: Operation::Private,
            input: Zeroizing::new([0; MAX_INPUT]),
            input_len: 0,
            output: Zeroizing::new([0; MAX_OUTPUT]),
            ended: None,
        })
    }

    /// Takes in what shall be done. Returns `false`, and changes nothing, if `input` is longer than
    /// [`MAX_INPUT`].
    #[must_use]
    pub fn prepare(
        &mut self,
        token: u64,
        key: &Arc<KeyHandle>,
        operation: Operation,
        input: &[u8],
    ) -> bool {
        let Some(place) = self.input.get_mut(..input.len()) else {
            return false;
        };
        place.copy_from_slice(input);
        self.input_len = input.len();
        self.token = token;
        self.key = Some(Arc::clone(key));
        self.operation = operation;
        self.ended = None;
        true
    }

    /// The result.
    ///
    /// # Errors
    /// Why there is none; [`Failure::Stopped`] for an op that has not been through a queue.
    pub fn result(&self) -> Result<&[u8], Failure> {
        match self.ended {
            Some(Ok(len)) => Ok(&self.output[..len]),
            Some(Err(failure)) => Err(failure),
            None => Err(Failure::Stopped),
        }
    }
}

impl fmt::Debug for TokenOp {
    /// Without operands and result.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenOp")
            .field("token", &self.token)
            .field("operation", &self.operation)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl TokenOp {
    pub(crate) fn task(&mut self) -> Task {
        Task {
            key: self.key.clone(),
            operation: self.operation,
            input: Zeroizing::new(self.input[..self.input_len].to_vec()),
        }
    }

    pub(crate) fn finish(&mut self, outcome: Result<Bytes, Failure>) {
        self.ended = Some(outcome.and_then(|bytes| {
            let place = self.output.get_mut(..bytes.len());
            place.ok_or(Failure::Wrong)?.copy_from_slice(&bytes);
            Ok(bytes.len())
        }));
    }
}

/// An op on its way through the pool: this driver's own, or the device contract's.
pub(crate) enum AnyOp {
    Token(Box<TokenOp>),
    Contract(ContractOp),
}

impl Job for AnyOp {
    type Task = Task;
    type Outcome = Bytes;

    fn task(&mut self) -> Task {
        match self {
            Self::Token(op) => op.task(),
            Self::Contract(op) => op.task(),
        }
    }

    fn finish(&mut self, outcome: Result<Bytes, Failure>) {
        match self {
            Self::Token(op) => op.finish(outcome),
            Self::Contract(op) => op.finish(outcome),
        }
    }
}

pub(crate) type TokenPool = Pool<TokenBackend<AnyOp>>;
pub(crate) type TokenClient = Client<TokenBackend<AnyOp>>;

/// One thread's way to a token. Sending and collecting neither lock nor allocate, and make no system call but
/// the wake of a worker that sleeps.
pub struct TokenQueue {
    client: TokenClient,
    capacity: usize,
}

impl TokenQueue {
    pub(crate) fn new(pool: &Arc<TokenPool>, capacity: usize, wait_at_most_ns: u64) -> Self {
        Self {
            client: Client::new(pool, capacity, wait_at_most_ns),
            capacity,
        }
    }

    /// Takes ops from the front of `ops` until as many are in flight as the capacity says; returns how many it
    /// took. `now_ns` is any clock that does not go back, the same for all calls.
    pub fn enqueue_burst(&mut self, ops: &mut TokenOpBurst, now_ns: u64) -> usize {
        let room = self.capacity - self.client.len();
        let count = ops.len().min(room);
        for op in ops.drain(..count) {
            self.client.submit(AnyOp::Token(op), now_ns);
        }
        count
    }

    /// Adds at most `max` ops that have ended to the back of `done`; returns how many.
    pub fn dequeue_burst(&mut self, done: &mut TokenOpBurst, max: usize, now_ns: u64) -> usize {
        self.client.collect(max, now_ns, |op| {
            // A client gets back what it has sent.
            if let AnyOp::Token(op) = op {
                done.push_back(op);
            }
        })
    }

    /// Ops that it has taken and not given back.
    pub fn in_flight(&self) -> usize {
        self.client.len()
    }
}
