//! OpenSSL's EVP calls, one private-key op at a time. All that outlives an op is made once, as `openssl speed` does:
//! contexts, the peer's key and its validation.

use anyhow::{Result, bail};
use openssl::derive::Deriver;
use openssl::md_ctx::MdCtx;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Padding;
use spinlane::cryptodev::OpKind;

/// One kind of op, ready to run over and over.
pub enum Evp {
    /// Signs the input as it is.
    Sign(PkeyCtx<Private>),
    /// Ed25519. From OpenSSL 3.2 or so on a context signs once, and is set up again with the key for each op.
    SignMessage(MdCtx, Option<PKey<Private>>),
    Keygen(PkeyCtx<()>),
    Derive(PkeyCtx<Private>),
    /// A fresh key per op, and what it gives with the peer's key.
    Exchange(PkeyCtx<()>, PKey<Private>),
}

impl Evp {
    /// Sets up `kind` with `key`, which is also the other side's of a key exchange.
    ///
    /// # Errors
    /// OpenSSL failed.
    pub fn new(kind: OpKind, key: &PKey<Private>) -> Result<Self> {
        Ok(match kind {
            OpKind::Rsa2048 | OpKind::Rsa3072 | OpKind::Rsa4096 => {
                let mut context = PkeyCtx::new(key)?;
                context.sign_init()?;
                context.set_rsa_padding(Padding::NONE)?;
                Self::Sign(context)
            }
            OpKind::EcdsaP256 | OpKind::EcdsaP384 => {
                let mut context = PkeyCtx::new(key)?;
                context.sign_init()?;
                Self::Sign(context)
            }
            OpKind::Ed25519 => {
                let mut context = MdCtx::new()?;
                context.digest_sign_init(None, key)?;
                context.digest_sign(&[], Some(&mut [0; 64]))?;
                let again = context.digest_sign(&[], Some(&mut [0; 64])).is_ok();
                Self::SignMessage(context, (!again).then(|| key.clone()))
            }
            OpKind::X25519Keygen | OpKind::EcdhP256Keygen | OpKind::EcdhP384Keygen => {
                Self::Keygen(keygen(kind)?)
            }
            OpKind::X25519Derive | OpKind::EcdhP256Derive | OpKind::EcdhP384Derive => {
                let mut context = PkeyCtx::new(key)?;
                context.derive_init()?;
                context.derive_set_peer(key)?;
                Self::Derive(context)
            }
            OpKind::X25519Exchange | OpKind::EcdhP256Exchange | OpKind::EcdhP384Exchange => {
                Self::Exchange(keygen(kind)?, key.clone())
            }
            OpKind::MlKem768Keygen | OpKind::MlKem768Encap | OpKind::MlKem768Decap => {
                bail!("OpenSSL before 3.5 has no ML-KEM; give --peer aws-lc")
            }
        })
    }

    /// Runs one op.
    ///
    /// # Errors
    /// OpenSSL failed.
    pub fn run(&mut self, input: &[u8]) -> Result<()> {
        match self {
            Self::Sign(context) => {
                context.sign(input, Some(&mut [0; 512]))?;
            }
            Self::SignMessage(context, key) => {
                if let Some(key) = key {
                    context.digest_sign_init(None, key)?;
                }
                context.digest_sign(input, Some(&mut [0; 64]))?;
            }
            Self::Keygen(context) => {
                context.keygen()?;
            }
            Self::Derive(context) => {
                context.derive(Some(&mut [0; 48]))?;
            }
            Self::Exchange(context, peer) => {
                let fresh = context.keygen()?;
                let mut deriver = Deriver::new(&fresh)?;
                // Not validated: that the point is on the curve was checked when the key was made.
                deriver.set_peer_ex(peer, false)?;
                deriver.derive(&mut [0; 48])?;
            }
        }
        Ok(())
    }
}

/// A context that makes keys for an exchange or a keygen of `kind`.
fn keygen(kind: OpKind) -> Result<PkeyCtx<()>> {
    let curve = match kind {
        OpKind::EcdhP256Keygen | OpKind::EcdhP256Exchange => Some(Nid::X9_62_PRIME256V1),
        OpKind::EcdhP384Keygen | OpKind::EcdhP384Exchange => Some(Nid::SECP384R1),
        _ => None,
    };
    let mut context = PkeyCtx::new_id(curve.map_or(Id::X25519, |_| Id::EC))?;
    context.keygen_init()?;
    if let Some(curve) = curve {
        context.set_ec_paramgen_curve_nid(curve)?;
    }
    Ok(context)
}
