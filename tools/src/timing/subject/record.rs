//! Opening records with a wrong tag: whether the time tells where the tag is wrong.

use std::sync::Arc;

use anyhow::{Result, ensure};
use spinlane::crypto::aead::{Algorithm, NONCE_LEN, TAG_LEN};
use spinlane::cryptodev::aead::{Direction, Key, Op, Request};
use spinlane::cryptodev::{Burst, OpStatus, QueuePair, QueuePairConfig, Token};
use spinlane::device;

use super::{Random, Subject, choose};

/// Bytes of data of a record: few, so that the tag weighs.
const SIZE: usize = 64;

/// A queue pair of `soft`, which opens as connections do.
pub struct Opening {
    queue_pair: Box<dyn QueuePair<Op>>,
    key: Arc<Key>,
    ops: Burst<Op>,
    /// Ciphertext, then its tag with the last bit flipped.
    sealed: Vec<u8>,
}

impl Opening {
    /// Seals the record.
    ///
    /// # Errors
    /// The device `soft` cannot be had.
    pub fn new(algorithm: Algorithm) -> Result<Self> {
        let queue_pair = device::open("soft")?.record_queue_pair(QueuePairConfig::default())?;
        let key = Arc::new(Key::new(algorithm, &[0x42; 32][..algorithm.key_len()])?);
        let ops = vec![Op::new(queue_pair.buffer(SIZE + TAG_LEN)?)];
        let mut opening = Self {
            queue_pair,
            key,
            ops,
            sealed: Vec::new(),
        };
        opening.submit(Direction::Seal, OpStatus::Success)?;
        opening.sealed = opening.ops[0].buffer()[..SIZE + TAG_LEN].to_vec();
        opening.sealed[SIZE + TAG_LEN - 1] ^= 1;
        Ok(opening)
    }

    fn ready(&mut self, direction: Direction) -> Result<()> {
        let request = Request {
            direction,
            key: &self.key,
            nonce: &[9; NONCE_LEN],
            aad: &[0x17; 5],
            data: 0..SIZE,
        };
        Ok(self.ops[0].prepare(Token(0), &request)?)
    }

    fn submit(&mut self, direction: Direction, wanted: OpStatus) -> Result<()> {
        self.ready(direction)?;
        self.finish(wanted)
    }

    fn finish(&mut self, wanted: OpStatus) -> Result<()> {
        self.queue_pair.enqueue_burst(&mut self.ops);
        self.queue_pair.dequeue_burst(&mut self.ops, 1, 0);
        let ended = self.ops.first().map(|op| op.status);
        ensure!(ended == Some(wanted), "an op that ended as {ended:?}");
        Ok(())
    }
}

impl Subject for Opening {
    fn device(&self) -> &str {
        "soft"
    }

    fn prepare(&mut self, random: &mut Random, mask: u8) -> Result<()> {
        let buffer = self.ops[0].buffer_mut();
        let (data, tag) = buffer.split_at_mut(SIZE);
        data.copy_from_slice(&self.sealed[..SIZE]);
        choose(&mut tag[..TAG_LEN], random, mask, &self.sealed[SIZE..]);
        self.ready(Direction::Open)
    }

    fn run(&mut self) -> Result<()> {
        self.finish(OpStatus::Invalid)
    }
}
