//! The peers: OpenSSL's own EVP call for the same op, one at a time, and crypto_mb's RSA.

use anyhow::Result;
use hdrhistogram::Histogram;
use openssl::derive::Deriver;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Padding;
use openssl::sign::Signer;
use spinlane::cryptodev::OpKind;

use super::Side;
#[cfg(target_arch = "x86_64")]
use super::crypto_mb;
use super::point::{KeyPair, input};
use crate::measure::{Stopwatch, histogram, thread_cpu_ns};

/// Whom to measure against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Whom {
    /// OpenSSL's EVP calls, one op at a time
    Openssl,
    /// crypto_mb's RSA, eight lanes, unchecked, at the stack alignment where each size is fastest
    #[value(name = "crypto_mb")]
    CryptoMb,
    /// The same, at each of the four stack alignments by turns, as callers happen to have them
    #[value(name = "crypto_mb-any-stack")]
    CryptoMbAnyStack,
}

impl Whom {
    /// Name and version, as far as there is one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Openssl => openssl::version::version(),
            Self::CryptoMb => "crypto_mb, unchecked, best stack alignment",
            Self::CryptoMbAnyStack => "crypto_mb, unchecked, any stack alignment",
        }
    }
}

/// How a peer is called.
enum Call {
    /// What libssl makes anew for each op is made anew here too.
    Openssl,
    #[cfg(target_arch = "x86_64")]
    CryptoMb(Box<crypto_mb::Batch>),
}

impl Call {
    /// # Errors
    /// This machine or `kind` does not have it.
    fn new(whom: Whom, kind: OpKind, key: &KeyPair) -> Result<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            use spinlane_driver_mb::peer::Stack;
            let stack = match whom {
                Whom::Openssl => return Ok(Self::Openssl),
                Whom::CryptoMb => Stack::Best,
                Whom::CryptoMbAnyStack => Stack::Any,
            };
            let batch = crypto_mb::Batch::new(kind, key.ours.as_ref(), stack)?;
            Ok(Self::CryptoMb(Box::new(batch)))
        }
        #[cfg(not(target_arch = "x86_64"))]
        match whom {
            Whom::Openssl => Ok(Self::Openssl),
            _ => anyhow::bail!("--peer {}: runs on x86-64 alone", whom.name()),
        }
    }

    /// Ops per call.
    fn ops(&self) -> u32 {
        match self {
            Self::Openssl => 1,
            #[cfg(target_arch = "x86_64")]
            Self::CryptoMb(_) => crypto_mb::LANES as u32,
        }
    }
}

/// A peer set up for one kind of op.
pub struct Peer<'a> {
    call: Call,
    kind: OpKind,
    key: &'a PKey<Private>,
    input: Vec<u8>,
    watch: Stopwatch,
    /// Of every op.
    latency_ns: Histogram<u64>,
}

impl<'a> Peer<'a> {
    /// The peer of `kind`.
    ///
    /// # Errors
    /// OpenSSL failed, or there is no such peer here.
    pub fn new(whom: Whom, kind: OpKind, key: &'a KeyPair) -> Result<Self> {
        Ok(Self {
            call: Call::new(whom, kind, key)?,
            kind,
            key: &key.theirs,
            input: input(kind, key)?,
            watch: Stopwatch::new(),
            latency_ns: histogram()?,
        })
    }

    /// One op by OpenSSL.
    fn op(&self) -> Result<()> {
        match self.kind {
            OpKind::Rsa2048 | OpKind::Rsa3072 | OpKind::Rsa4096 => self.sign(Some(Padding::NONE)),
            OpKind::EcdsaP256 | OpKind::EcdsaP384 => self.sign(None),
            OpKind::Ed25519 => {
                let mut signer = Signer::new_without_digest(self.key)?;
                signer.sign_oneshot(&mut [0; 64], &self.input)?;
                Ok(())
            }
            OpKind::X25519Keygen => keygen(Id::X25519, None),
            OpKind::EcdhP256Keygen => keygen(Id::EC, Some(Nid::X9_62_PRIME256V1)),
            OpKind::EcdhP384Keygen => keygen(Id::EC, Some(Nid::SECP384R1)),
            OpKind::X25519Derive | OpKind::EcdhP256Derive | OpKind::EcdhP384Derive => self.derive(),
            OpKind::X25519Exchange => {
                keygen(Id::X25519, None)?;
                self.derive()
            }
            OpKind::EcdhP256Exchange => {
                keygen(Id::EC, Some(Nid::X9_62_PRIME256V1))?;
                self.derive()
            }
            OpKind::EcdhP384Exchange => {
                keygen(Id::EC, Some(Nid::SECP384R1))?;
                self.derive()
            }
        }
    }

    fn derive(&self) -> Result<()> {
        let mut deriver = Deriver::new(self.key)?;
        deriver.set_peer(self.key)?;
        deriver.derive(&mut [0; 48])?;
        Ok(())
    }

    fn sign(&self, padding: Option<Padding>) -> Result<()> {
        let mut context = PkeyCtx::new(self.key)?;
        context.sign_init()?;
        if let Some(padding) = padding {
            context.set_rsa_padding(padding)?;
        }
        context.sign(&self.input, Some(&mut [0; 512]))?;
        Ok(())
    }
}

impl Side for Peer<'_> {
    fn round(&mut self, slice_ns: u64) -> Result<f64> {
        let (start_ns, mut ops) = (thread_cpu_ns()?, 0);
        loop {
            // The CPU clock is a system call: not read more often than every eight ops.
            for _ in 0..8 / self.call.ops() {
                let (done, latency_ns) = match &mut self.call {
                    Call::Openssl => self.watch.time(|| self.op()),
                    #[cfg(target_arch = "x86_64")]
                    Call::CryptoMb(batch) => self.watch.time(|| batch.run(&self.input)),
                };
                done?;
                self.latency_ns.saturating_record(latency_ns);
                ops += self.call.ops();
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

fn keygen(id: Id, curve: Option<Nid>) -> Result<()> {
    let mut context = PkeyCtx::new_id(id)?;
    context.keygen_init()?;
    if let Some(curve) = curve {
        context.set_ec_paramgen_curve_nid(curve)?;
    }
    context.keygen()?;
    Ok(())
}
