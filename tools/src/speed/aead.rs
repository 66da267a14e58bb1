//! A queue pair that seals records of one size in bursts, and OpenSSL doing the same.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use hdrhistogram::Histogram;
use openssl::cipher::Cipher;
use openssl::cipher_ctx::CipherCtx;
use spinlane::crypto::aead::{Algorithm, NONCE_LEN, TAG_LEN};
use spinlane::cryptodev::aead::{Direction, Key, Op, Request};
use spinlane::cryptodev::{Burst, MAX_BUFFER, OpStatus, QueuePair};
use spinlane::cryptodev::{Device, DeviceStats, QueuePairConfig, Token};

use super::Side;
use crate::measure::{Stopwatch, histogram, thread_cpu_ns};

/// Most data of an op in bytes.
pub const MAX_SIZE: usize = MAX_BUFFER - TAG_LEN;
/// Associated data; what dpdk-test-crypto-perf is asked for too.
const AAD: [u8; 16] = [0x17; 16];
/// Polls of a queue pair that may bring nothing, before the device counts as stuck.
const MAX_EMPTY_POLLS: u32 = 10_000_000;
/// The CPU clock is a system call: read no more often than this, in nanoseconds.
const STRIDE_NS: u64 = 100_000;
/// Of so many bursts one is timed: that costs as much as a small op.
const TIMED: u64 = 256;

/// The key, of the length that `algorithm` has.
fn key_bytes(algorithm: Algorithm) -> &'static [u8] {
    &[0x42; 32][..algorithm.key_len()]
}

/// Nonces that count up, so that none is used twice.
#[derive(Default)]
struct Nonces(u64);

impl Nonces {
    /// Its first eight bytes and the rest are one store each: who loads them so at once, as an op does, need not wait
    /// until stores of other lengths are done.
    fn next(&mut self) -> [u8; NONCE_LEN] {
        self.0 += 1;
        let bytes = u128::from(self.0).to_le_bytes();
        bytes.first_chunk().copied().unwrap_or_default()
    }
}

/// What is called over and over.
pub trait Work {
    /// Seals a burst.
    fn run_burst(&mut self) -> Result<()>;
    /// Ops in a burst.
    fn burst(&self) -> usize;
    /// Whether each op is finished before the next is begun, so that it is as late as itself alone.
    const ONE_BY_ONE: bool;
}

/// Work that is measured.
pub struct Timed<W> {
    /// What is measured.
    pub work: W,
    bursts: u64,
    watch: Stopwatch,
    latency_ns: Histogram<u64>,
}

impl<W: Work> Timed<W> {
    fn new(work: W) -> Result<Self> {
        Ok(Self {
            work,
            bursts: 0,
            watch: Stopwatch::new(),
            latency_ns: histogram()?,
        })
    }

    fn run_burst(&mut self) -> Result<()> {
        self.bursts += 1;
        if !self.bursts.is_multiple_of(TIMED) {
            return self.work.run_burst();
        }
        self.time_burst()
    }

    #[cold]
    fn time_burst(&mut self) -> Result<()> {
        let (done, mut took_ns) = self.watch.time(|| self.work.run_burst());
        if W::ONE_BY_ONE {
            took_ns /= self.work.burst() as u64;
        }
        self.latency_ns.saturating_record(took_ns);
        done
    }
}

impl<W: Work> Side for Timed<W> {
    fn round(&mut self, slice_ns: u64) -> Result<f64> {
        let (start_ns, mut bursts, mut stride) = (thread_cpu_ns()?, 0, 1);
        loop {
            for _ in 0..stride {
                self.run_burst()?;
            }
            bursts += stride;
            let spent_ns = (thread_cpu_ns()? - start_ns).max(1);
            if spent_ns >= slice_ns {
                return Ok((bursts * self.work.burst() as u64) as f64 * 1e9 / spent_ns as f64);
            }
            // What the bursts cost so far tells when to look at the clock again.
            stride = (bursts * STRIDE_NS.min(slice_ns) / spent_ns).max(1);
        }
    }

    fn latency_ns(&self) -> &Histogram<u64> {
        &self.latency_ns
    }
}

/// A queue pair under bursts of seals.
pub struct Sealing {
    queue_pair: Box<dyn QueuePair<Op>>,
    device: String,
    key: Arc<Key>,
    size: usize,
    burst: usize,
    /// Those that are not with the device: all, between two bursts.
    ops: Burst<Op>,
    nonces: Nonces,
}

impl Sealing {
    /// Opens a queue pair of `device`, which has `algorithm`.
    ///
    /// # Errors
    /// The device cannot be had so.
    pub fn new(
        device: &dyn Device,
        algorithm: Algorithm,
        size: usize,
        burst: usize,
    ) -> Result<Timed<Self>> {
        let defaults = QueuePairConfig::default();
        let queue_pair = device.record_queue_pair(QueuePairConfig {
            capacity: defaults.capacity.max(burst),
            ..defaults
        })?;
        ensure!(
            burst <= queue_pair.capacity(),
            "device {} takes at most {} ops at a time; give a smaller --burst",
            device.name(),
            queue_pair.capacity()
        );
        let ops = (0..burst).map(|_| Ok(Op::new(queue_pair.buffer(size + TAG_LEN)?)));
        let mut sealing = Self {
            ops: ops.collect::<Result<_>>()?,
            queue_pair,
            device: device.name().to_owned(),
            key: Arc::new(Key::new(algorithm, key_bytes(algorithm))?),
            size,
            burst,
            nonces: Nonces::default(),
        };
        sealing.prepare(OpStatus::Error)?; // as new ops are
        Timed::new(sealing)
    }

    /// Name of the device.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// What it seals with.
    pub fn algorithm(&self) -> Algorithm {
        self.key.algorithm()
    }

    /// Bytes of data per op.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Prepares all ops, which are to have that status.
    #[inline(always)]
    fn prepare(&mut self, status: OpStatus) -> Result<()> {
        for op in &mut self.ops {
            if op.status != status {
                return failed(&self.device, op);
            }
            let request = Request {
                direction: Direction::Seal,
                key: &self.key,
                nonce: &self.nonces.next(),
                aad: &AAD,
                data: 0..self.size,
            };
            op.prepare(Token(self.nonces.0), &request)?;
        }
        Ok(())
    }

    /// What the queue pair counted.
    pub fn stats(&self) -> DeviceStats {
        self.queue_pair.stats()
    }
}

#[cold]
fn failed(device: &str, op: &Op) -> Result<()> {
    bail!("device {device} failed {op:?}")
}

impl Work for Sealing {
    const ONE_BY_ONE: bool = false;

    fn burst(&self) -> usize {
        self.burst
    }

    /// Enqueues a burst and polls until it is back, then prepares the next one.
    #[inline(always)] // a call costs as much as an op's share
    fn run_burst(&mut self) -> Result<()> {
        self.queue_pair.enqueue_burst(&mut self.ops); // takes all: there is room
        let mut empty_polls = 0;
        while self.ops.len() < self.burst {
            let count = self.queue_pair.dequeue_burst(&mut self.ops, self.burst, 0);
            empty_polls = if count == 0 { empty_polls + 1 } else { 0 };
            if empty_polls > MAX_EMPTY_POLLS {
                bail!("device {} never gives ops back", self.device);
            }
        }
        self.prepare(OpStatus::Success)
    }
}

/// OpenSSL's EVP: one context, one record after the other, in as many buffers as a burst has.
pub struct Evp {
    context: CipherCtx,
    size: usize,
    buffers: Vec<Vec<u8>>,
    nonces: Nonces,
}

impl Evp {
    /// Sets up `algorithm` for `burst` records of `size` bytes.
    ///
    /// # Errors
    /// OpenSSL does not have the algorithm.
    pub fn new(algorithm: Algorithm, size: usize, burst: usize) -> Result<Timed<Self>> {
        let cipher = match algorithm {
            Algorithm::Aes128Gcm => Cipher::aes_128_gcm(),
            Algorithm::Aes256Gcm => Cipher::aes_256_gcm(),
            Algorithm::ChaCha20Poly1305 => Cipher::chacha20_poly1305(),
        };
        let mut context = CipherCtx::new()?;
        context.encrypt_init(Some(cipher), Some(key_bytes(algorithm)), None)?;
        Timed::new(Self {
            context,
            size,
            buffers: vec![vec![0; size + TAG_LEN]; burst],
            nonces: Nonces::default(),
        })
    }
}

impl Work for Evp {
    const ONE_BY_ONE: bool = true;

    fn burst(&self) -> usize {
        self.buffers.len()
    }

    fn run_burst(&mut self) -> Result<()> {
        for buffer in &mut self.buffers {
            let context = &mut self.context;
            context.encrypt_init(None, None, Some(&self.nonces.next()))?;
            context.cipher_update(&AAD, None)?;
            let (data, tag) = buffer.split_at_mut(self.size);
            if !data.is_empty() {
                context.cipher_update_inplace(data, self.size)?;
            }
            context.cipher_final(&mut [])?;
            context.tag(tag)?;
        }
        Ok(())
    }
}
