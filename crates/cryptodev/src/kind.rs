//! Kinds of ops, and one table entry for each.

use std::fmt;
use std::hash::Hash;

use spinlane_crypto::Key;

use crate::op::OpStatus;
use crate::ops::{ecdh, ecdsa, ed25519, mlkem, rsa, x25519};

/// What tells the ops of a class apart: devices offer, batch and count them by kind.
pub trait Kind: Copy + Eq + Hash + fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// Every kind of the class, in the order of [`Kind::index`]; at most [`MAX_KINDS`].
    const ALL: &'static [Self];

    /// Position in [`Kind::ALL`].
    fn index(self) -> usize;

    /// Name as used on the command line and in counters.
    fn name(self) -> &'static str;

    /// Whether a wrong result gives the key away, so that a driver checks each before it lets one out.
    fn leaks_when_wrong(self) -> bool {
        false
    }
}

/// Kinds that a class has at most.
pub const MAX_KINDS: usize = 32;

/// All that is known of a kind of private-key op. Each family has a file of its own below `ops`.
#[derive(Debug)]
pub struct OpSpec {
    /// Name as used on the command line and in counters.
    pub name: &'static str,
    /// Type of the key it needs, as in [`Key::name`]; `None` if it needs no key.
    pub key: Option<&'static str>,
    /// Bytes of input, all operands together; the most where `input_varies`.
    pub input_len: usize,
    /// Whether the input may be shorter.
    pub input_varies: bool,
    /// Bytes of output.
    pub output_len: usize,
    /// Computes it on the CPU.
    pub compute: Compute,
    /// Checks a result by the public key, given input and output; `None` if it takes to compute it again.
    pub check: Option<Check>,
    /// Whether input or output is a secret.
    pub is_secret: bool,
    /// See [`Kind::leaks_when_wrong`].
    pub leaks_when_wrong: bool,
}

/// From key and input to output. The status is [`OpStatus::Invalid`] also if a length or the key is wrong.
pub type Compute = fn(Option<&Key>, &[u8], &mut [u8]) -> OpStatus;
/// Whether the output is that of the input.
pub type Check = fn(&Key, &[u8], &[u8]) -> bool;

/// Makes [`OpKind`] of the list of kinds and where their specs stand.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident = $spec:path,)*) => {
        /// What a private-key op computes. RSA sizes are kinds of their own, because devices
        /// offer, batch and price them separately.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum OpKind {
            $($(#[doc = $doc])* $kind,)*
        }

        impl OpKind {
            /// Every kind, in the order of their discriminants.
            pub const ALL: [Self; [$(Self::$kind),*].len()] = [$(Self::$kind),*];

            /// Its entry in the table.
            pub const fn spec(self) -> &'static OpSpec {
                match self {
                    $(Self::$kind => &$spec,)*
                }
            }
        }
    };
}

kinds! {
    /// RSA private operation, 2048-bit modulus, no padding: 256 bytes in, 256 out.
    Rsa2048 = rsa::RSA_2048,
    /// RSA private operation, 3072-bit modulus, no padding: 384 bytes in, 384 out.
    Rsa3072 = rsa::RSA_3072,
    /// RSA private operation, 4096-bit modulus, no padding: 512 bytes in, 512 out.
    Rsa4096 = rsa::RSA_4096,
    /// ECDSA signature on P-256: a 32-byte digest in, `r || s` (64 bytes, big-endian) out.
    EcdsaP256 = ecdsa::P256,
    /// ECDSA signature on P-384: a 48-byte digest in, `r || s` (96 bytes, big-endian) out.
    EcdsaP384 = ecdsa::P384,
    /// Ed25519 signature (RFC 8032): a message of at most 512 bytes in, 64 bytes out.
    Ed25519 = ed25519::ED25519,
    /// X25519 public key: a 32-byte private scalar in, the public key (32 bytes) out (RFC 7748).
    X25519Keygen = x25519::KEYGEN,
    /// X25519 shared secret: private scalar and peer's public key (64 bytes) in, 32 bytes out.
    /// An all-zero result is [`OpStatus::Invalid`] (RFC 7748, section 6.1).
    X25519Derive = x25519::DERIVE,
    /// ECDH public key on P-256: a 32-byte private scalar in, the point (0x04, x, y; 65 bytes) out.
    EcdhP256Keygen = ecdh::P256_KEYGEN,
    /// ECDH shared secret on P-256: private scalar and peer's point (97 bytes) in, 32 bytes out.
    /// A peer that is not on the curve is [`OpStatus::Invalid`].
    EcdhP256Derive = ecdh::P256_DERIVE,
    /// ECDH public key on P-384: a 48-byte private scalar in, the point (97 bytes) out.
    EcdhP384Keygen = ecdh::P384_KEYGEN,
    /// ECDH shared secret on P-384: private scalar and peer's point (145 bytes) in, 48 bytes out.
    /// A peer that is not on the curve is [`OpStatus::Invalid`].
    EcdhP384Derive = ecdh::P384_DERIVE,
    /// What a key exchange's second party asks for, at once: [`OpKind::X25519Keygen`] and
    /// [`OpKind::X25519Derive`]. Private scalar and peer's public key (64 bytes) in, public key and secret
    /// (64 bytes) out.
    X25519Exchange = x25519::EXCHANGE,
    /// The same on P-256: private scalar and peer's point (97 bytes) in, point and secret (97 bytes) out.
    EcdhP256Exchange = ecdh::P256_EXCHANGE,
    /// The same on P-384: private scalar and peer's point (145 bytes) in, point and secret (145
    /// bytes) out.
    EcdhP384Exchange = ecdh::P384_EXCHANGE,
    /// ML-KEM-768 key pair (FIPS 203): a seed (d, z; 64 bytes) in, encapsulation key (1184 bytes) and expanded
    /// decapsulation key (2400 bytes) out.
    MlKem768Keygen = mlkem::KEYGEN_768,
    /// ML-KEM-768 encapsulation: encapsulation key and a random message (1216 bytes) in, ciphertext (1088 bytes)
    /// and secret (32 bytes) out. A key that is not canonical is [`OpStatus::Invalid`].
    MlKem768Encap = mlkem::ENCAP_768,
    /// ML-KEM-768 decapsulation: expanded decapsulation key and ciphertext (3488 bytes) in, 32 bytes out. A key
    /// that does not contain its own hash is [`OpStatus::Invalid`].
    MlKem768Decap = mlkem::DECAP_768,
}

impl OpKind {
    /// How many kinds there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The private operation of RSA keys with this modulus.
    pub fn of_modulus(modulus: &[u8]) -> Self {
        match modulus.len() {
            256 => Self::Rsa2048,
            384 => Self::Rsa3072,
            _ => Self::Rsa4096,
        }
    }

    /// Position in [`OpKind::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Name as used on the command line and in counters.
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// The kind called `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Bytes of input; of Ed25519's messages the most.
    pub const fn input_len(self) -> usize {
        self.spec().input_len
    }

    /// Bytes of output.
    pub const fn output_len(self) -> usize {
        self.spec().output_len
    }
}

impl Kind for OpKind {
    const ALL: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        self.spec().name
    }

    fn leaks_when_wrong(self) -> bool {
        self.spec().leaks_when_wrong
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
