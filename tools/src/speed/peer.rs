//! The peers: OpenSSL's own EVP call for the same op, and AWS-LC's, one at a time.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use spinlane::cryptodev::{KeyHandle, OpKind, OpStatus};

use super::Side;
use super::evp::Evp;
use super::point::{KeyPair, input};
use crate::measure::{Stopwatch, histogram, thread_cpu_ns};

/// Whom to measure against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Whom {
    /// OpenSSL's EVP calls, one op at a time; for ML-KEM, which it has from 3.5 on, AWS-LC
    Openssl,
    /// AWS-LC, one op at a time, without a device
    AwsLc,
}

impl Whom {
    /// Name and version, as far as there is one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Openssl => openssl::version::version(),
            Self::AwsLc => "AWS-LC",
        }
    }

    /// Who is asked for `kind`.
    pub fn of(self, kind: OpKind) -> Self {
        match kind {
            OpKind::MlKem768Keygen | OpKind::MlKem768Encap | OpKind::MlKem768Decap
                if self == Self::Openssl =>
            {
                Self::AwsLc
            }
            _ => self,
        }
    }
}

/// The CPU reference, which computes by AWS-LC.
struct Reference {
    kind: OpKind,
    key: Option<Arc<KeyHandle>>,
    output: Vec<u8>,
}

impl Reference {
    fn new(kind: OpKind, key: &KeyPair) -> Self {
        Self {
            kind,
            key: key.ours.clone(),
            output: vec![0; kind.output_len()],
        }
    }

    fn run(&mut self, input: &[u8]) -> Result<()> {
        let key = self.key.as_ref().and_then(|key| key.as_local());
        let status = (self.kind.spec().compute)(key, input, &mut self.output);
        ensure!(status == OpStatus::Success, "AWS-LC failed: {status:?}");
        Ok(())
    }
}

/// How a peer is called.
enum Call {
    Openssl(Evp),
    AwsLc(Reference),
}

impl Call {
    /// # Errors
    /// OpenSSL does not have `kind`.
    fn new(whom: Whom, kind: OpKind, key: &KeyPair) -> Result<Self> {
        Ok(match whom {
            Whom::Openssl => {
                let key = key.theirs.as_ref();
                let key = key.with_context(|| format!("OpenSSL has no key for {kind}"))?;
                Self::Openssl(Evp::new(kind, key)?)
            }
            Whom::AwsLc => Self::AwsLc(Reference::new(kind, key)),
        })
    }
}

/// A peer set up for one kind of op.
pub struct Peer {
    call: Call,
    input: Vec<u8>,
    watch: Stopwatch,
    /// Of every op.
    latency_ns: Histogram<u64>,
}

impl Peer {
    /// The peer of `kind`.
    ///
    /// # Errors
    /// OpenSSL failed, or there is no such peer here.
    pub fn new(whom: Whom, kind: OpKind, key: &KeyPair) -> Result<Self> {
        Ok(Self {
            call: Call::new(whom, kind, key)?,
            input: input(kind, key)?,
            watch: Stopwatch::new(),
            latency_ns: histogram()?,
        })
    }
}

impl Side for Peer {
    fn round(&mut self, slice_ns: u64) -> Result<f64> {
        let (start_ns, mut ops) = (thread_cpu_ns()?, 0_u32);
        loop {
            // The CPU clock is a system call: not read more often than every eight ops.
            for _ in 0..8 {
                let (done, latency_ns) = match &mut self.call {
                    Call::Openssl(evp) => self.watch.time(|| evp.run(&self.input)),
                    Call::AwsLc(reference) => self.watch.time(|| reference.run(&self.input)),
                };
                done?;
                self.latency_ns.saturating_record(latency_ns);
                ops += 1;
            }
            let spent_ns = thread_cpu_ns()? - start_ns;
            if spent_ns >= slice_ns {
                return Ok(f64::from(ops) * 1e9 / spent_ns as f64);
            }
        }
    }

    fn latency_ns(&self) -> &Histogram<u64> {
        &self.latency_ns
    }
}
