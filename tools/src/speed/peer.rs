//! The peer: OpenSSL's own EVP call for the same op, one at a time.

use anyhow::Result;
use hdrhistogram::Histogram;
use openssl::derive::Deriver;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Padding;
use openssl::sign::Signer;
use spinlane::cryptodev::OpKind;

use super::point::{KeyPair, input};
use crate::measure::{Stopwatch, histogram, thread_cpu_ns};

/// A peer set up for one kind of op. What libssl makes anew for each op is made anew here too.
pub struct Peer<'a> {
    kind: OpKind,
    key: &'a PKey<Private>,
    input: Vec<u8>,
    watch: Stopwatch,
    /// Of every op.
    pub latency_ns: Histogram<u64>,
}

impl<'a> Peer<'a> {
    /// The peer of `kind`.
    ///
    /// # Errors
    /// OpenSSL failed.
    pub fn new(kind: OpKind, key: &'a KeyPair) -> Result<Self> {
        Ok(Self {
            kind,
            key: &key.theirs,
            input: input(kind, key)?,
            watch: Stopwatch::new(),
            latency_ns: histogram()?,
        })
    }

    /// Ops for at least `slice_ns` of CPU time; ops per second of it.
    ///
    /// # Errors
    /// OpenSSL failed.
    pub fn round(&mut self, slice_ns: u64) -> Result<f64> {
        let (start_ns, mut ops) = (thread_cpu_ns()?, 0);
        loop {
            for _ in 0..8 {
                let (done, latency_ns) = self.watch.time(|| self.op());
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
            OpKind::X25519Derive | OpKind::EcdhP256Derive | OpKind::EcdhP384Derive => {
                let mut deriver = Deriver::new(self.key)?;
                deriver.set_peer(self.key)?;
                deriver.derive(&mut [0; 48])?;
                Ok(())
            }
        }
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

fn keygen(id: Id, curve: Option<Nid>) -> Result<()> {
    let mut context = PkeyCtx::new_id(id)?;
    context.keygen_init()?;
    if let Some(curve) = curve {
        context.set_ec_paramgen_curve_nid(curve)?;
    }
    context.keygen()?;
    Ok(())
}
