//! One operation: what is asked, of which key, and how it ended.

use std::fmt;
use std::sync::Arc;

use spinlane_crypto::curve::{self, Curve, P256, P384};
use spinlane_crypto::{Key, RsaKey, cleanse};
use thiserror::Error;
use zeroize::Zeroizing;

/// Longest input of an op in bytes: an RSA-4096 block.
pub const MAX_INPUT: usize = 512;
/// Longest output of an op in bytes: an RSA-4096 block.
pub const MAX_OUTPUT: usize = 512;

/// What an op computes. RSA sizes are kinds of their own, because devices
/// offer, batch and price them separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OpKind {
    /// RSA private operation, 2048-bit modulus, no padding: 256 bytes in, 256 out.
    Rsa2048,
    /// RSA private operation, 3072-bit modulus, no padding: 384 bytes in, 384 out.
    Rsa3072,
    /// RSA private operation, 4096-bit modulus, no padding: 512 bytes in, 512 out.
    Rsa4096,
    /// ECDSA signature on P-256: a 32-byte digest in, `r || s` (64 bytes, big-endian) out.
    EcdsaP256,
    /// ECDSA signature on P-384: a 48-byte digest in, `r || s` (96 bytes, big-endian) out.
    EcdsaP384,
    /// Ed25519 signature (RFC 8032): a message of at most [`MAX_INPUT`] bytes in, 64 bytes out.
    Ed25519,
    /// X25519 public key: a 32-byte private scalar in, the public key (32 bytes) out (RFC 7748).
    X25519Keygen,
    /// X25519 shared secret: private scalar and peer's public key (64 bytes) in, 32 bytes out.
    /// An all-zero result is [`OpStatus::Invalid`] (RFC 7748, section 6.1).
    X25519Derive,
    /// ECDH public key on P-256: a 32-byte private scalar in, the point (0x04, x, y; 65 bytes) out.
    EcdhP256Keygen,
    /// ECDH shared secret on P-256: private scalar and peer's point (97 bytes) in, 32 bytes out.
    /// A peer that is not on the curve is [`OpStatus::Invalid`].
    EcdhP256Derive,
    /// ECDH public key on P-384: a 48-byte private scalar in, the point (97 bytes) out.
    EcdhP384Keygen,
    /// ECDH shared secret on P-384: private scalar and peer's point (145 bytes) in, 48 bytes out.
    /// A peer that is not on the curve is [`OpStatus::Invalid`].
    EcdhP384Derive,
    /// What a key exchange's second party asks for, at once: [`OpKind::X25519Keygen`] and
    /// [`OpKind::X25519Derive`]. Private scalar and peer's public key (64 bytes) in, public key and secret
    /// (64 bytes) out.
    X25519Exchange,
    /// The same on P-256: private scalar and peer's point (97 bytes) in, point and secret (97 bytes) out.
    EcdhP256Exchange,
    /// The same on P-384: private scalar and peer's point (145 bytes) in, point and secret (145
    /// bytes) out.
    EcdhP384Exchange,
}

impl OpKind {
    /// Every kind, in the order of their discriminants.
    pub const ALL: [Self; 15] = [
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::Ed25519,
        Self::X25519Keygen,
        Self::X25519Derive,
        Self::EcdhP256Keygen,
        Self::EcdhP256Derive,
        Self::EcdhP384Keygen,
        Self::EcdhP384Derive,
        Self::X25519Exchange,
        Self::EcdhP256Exchange,
        Self::EcdhP384Exchange,
    ];

    /// How many kinds there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The private operation of `key`.
    pub fn of_rsa(key: &RsaKey) -> Self {
        match key.bits() {
            2048 => Self::Rsa2048,
            3072 => Self::Rsa3072,
            _ => Self::Rsa4096,
        }
    }

    /// Position in [`OpKind::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Name as used on the command line and in counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa2048",
            Self::Rsa3072 => "rsa3072",
            Self::Rsa4096 => "rsa4096",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Ed25519 => "ed25519",
            Self::X25519Keygen => "x25519-keygen",
            Self::X25519Derive => "x25519-derive",
            Self::EcdhP256Keygen => "ecdh-p256-keygen",
            Self::EcdhP256Derive => "ecdh-p256-derive",
            Self::EcdhP384Keygen => "ecdh-p384-keygen",
            Self::EcdhP384Derive => "ecdh-p384-derive",
            Self::X25519Exchange => "x25519-exchange",
            Self::EcdhP256Exchange => "ecdh-p256-exchange",
            Self::EcdhP384Exchange => "ecdh-p384-exchange",
        }
    }

    /// The kind called `name`, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Bytes of input; of Ed25519's messages the most.
    pub const fn input_len(self) -> usize {
        match self {
            Self::Rsa2048 => 256,
            Self::Rsa3072 => 384,
            Self::Rsa4096 => 512,
            Self::EcdsaP256 | Self::X25519Keygen | Self::EcdhP256Keygen => 32,
            Self::EcdsaP384 | Self::EcdhP384Keygen => 48,
            Self::Ed25519 => MAX_INPUT,
            Self::X25519Derive | Self::X25519Exchange => 64,
            Self::EcdhP256Derive | Self::EcdhP256Exchange => 32 + 65,
            Self::EcdhP384Derive | Self::EcdhP384Exchange => 48 + 97,
        }
    }

    /// Bytes of output.
    pub const fn output_len(self) -> usize {
        match self {
            Self::Rsa2048 => 256,
            Self::Rsa3072 => 384,
            Self::Rsa4096 => 512,
            Self::EcdsaP256 | Self::Ed25519 => 64,
            Self::EcdsaP384 => 96,
            Self::X25519Keygen | Self::X25519Derive | Self::EcdhP256Derive => 32,
            Self::EcdhP256Keygen => 65,
            Self::EcdhP384Keygen => 97,
            Self::EcdhP384Derive => 48,
            Self::X25519Exchange => 32 + 32,
            Self::EcdhP256Exchange => 65 + 32,
            Self::EcdhP384Exchange => 97 + 48,
        }
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How an op stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpStatus {
    /// Not done: what an op is from its making until its device has finished it.
    #[default]
    NotProcessed,
    /// Done; the output is valid.
    Success,
    /// The input was at fault (a peer's point that is none, say). Asking again is useless.
    Invalid,
    /// The device was at fault. Another device may well succeed.
    Error,
}

/// Names the submitter's slot; a device carries it and never looks into it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// What is asked: a kind, the key it needs, and a checked input.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    kind: OpKind,
    key: Option<&'a Arc<Key>>,
    input: &'a [u8],
    more: &'a [u8],
}

impl<'a> Request<'a> {
    /// RSA private operation on `block`, which is already padded, big-endian and as long as
    /// the modulus.
    ///
    /// # Errors
    /// The key is no RSA key, or `block` is of another length, not below the modulus, or one of
    /// 0, 1 and n-1. Padding never makes those three; a peer's ciphertext may be one.
    pub fn rsa_private(key: &'a Arc<Key>, block: &'a [u8]) -> Result<Self, RequestError> {
        let Key::Rsa(rsa) = &**key else {
            return Err(RequestError::WrongKey {
                wanted: "RSA",
                got: key.name(),
            });
        };
        if block.len() != rsa.modulus_len() {
            return Err(RequestError::Length {
                what: "padded RSA block",
                wanted: rsa.modulus_len(),
                got: block.len(),
            });
        }
        if block >= rsa.modulus() {
            return Err(RequestError::NotBelowModulus);
        }
        if is_own_root(block, rsa.modulus()) {
            return Err(RequestError::OwnRoot);
        }
        Ok(Self {
            kind: OpKind::of_rsa(rsa),
            key: Some(key),
            input: block,
            more: &[],
        })
    }

    /// ECDSA signature on P-256 over `digest`, which the caller has truncated or left-padded
    /// to 32 bytes (FIPS 186-5, section 6.4.1).
    ///
    /// # Errors
    /// The key is no P-256 key, or `digest` is not 32 bytes.
    pub fn ecdsa_p256(key: &'a Arc<Key>, digest: &'a [u8]) -> Result<Self, RequestError> {
        let fits = matches!(**key, Key::EcP256(_));
        Self::ecdsa(OpKind::EcdsaP256, "P-256", fits, key, digest)
    }

    /// ECDSA signature on P-384 over `digest`, which the caller has truncated or left-padded
    /// to 48 bytes.
    ///
    /// # Errors
    /// The key is no P-384 key, or `digest` is not 48 bytes.
    pub fn ecdsa_p384(key: &'a Arc<Key>, digest: &'a [u8]) -> Result<Self, RequestError> {
        let fits = matches!(**key, Key::EcP384(_));
        Self::ecdsa(OpKind::EcdsaP384, "P-384", fits, key, digest)
    }

    fn ecdsa(
        kind: OpKind,
        wanted: &'static str,
        fits: bool,
        key: &'a Arc<Key>,
        digest: &'a [u8],
    ) -> Result<Self, RequestError> {
        if !fits {
            return Err(RequestError::WrongKey {
                wanted,
                got: key.name(),
            });
        }
        if digest.len() != kind.input_len() {
            return Err(RequestError::Length {
                what: "digest",
                wanted: kind.input_len(),
                got: digest.len(),
            });
        }
        Ok(Self {
            kind,
            key: Some(key),
            input: digest,
            more: &[],
        })
    }

    /// Ed25519 signature over `message`.
    ///
    /// # Errors
    /// The key is no Ed25519 key, or `message` is longer than [`MAX_INPUT`].
    pub fn ed25519(key: &'a Arc<Key>, message: &'a [u8]) -> Result<Self, RequestError> {
        let Key::Ed25519(_) = &**key else {
            return Err(RequestError::WrongKey {
                wanted: "Ed25519",
                got: key.name(),
            });
        };
        if message.len() > MAX_INPUT {
            return Err(RequestError::TooLong {
                what: "message",
                most: MAX_INPUT,
                got: message.len(),
            });
        }
        Ok(Self {
            kind: OpKind::Ed25519,
            key: Some(key),
            input: message,
            more: &[],
        })
    }

    /// ECDH public key on P-256 of the big-endian scalar `private`.
    ///
    /// # Errors
    /// `private` is not in 1..n; [`spinlane_crypto::curve::random_scalar`] makes one that is.
    pub fn ecdh_p256_keygen(private: &'a [u8; 32]) -> Result<Self, RequestError> {
        Self::ecdh::<P256>(OpKind::EcdhP256Keygen, private, &[])
    }

    /// ECDH shared secret on P-256: the x coordinate of `private` times the uncompressed point
    /// `peer`.
    ///
    /// # Errors
    /// As for [`Request::ecdh_p256_keygen`]. The device looks whether `peer` is on the curve.
    pub fn ecdh_p256_derive(
        private: &'a [u8; 32],
        peer: &'a [u8; 65],
    ) -> Result<Self, RequestError> {
        Self::ecdh::<P256>(OpKind::EcdhP256Derive, private, peer)
    }

    /// [`Request::ecdh_p256_keygen`] on P-384.
    ///
    /// # Errors
    /// As there.
    pub fn ecdh_p384_keygen(private: &'a [u8; 48]) -> Result<Self, RequestError> {
        Self::ecdh::<P384>(OpKind::EcdhP384Keygen, private, &[])
    }

    /// [`Request::ecdh_p256_derive`] on P-384.
    ///
    /// # Errors
    /// As there.
    pub fn ecdh_p384_derive(
        private: &'a [u8; 48],
        peer: &'a [u8; 97],
    ) -> Result<Self, RequestError> {
        Self::ecdh::<P384>(OpKind::EcdhP384Derive, private, peer)
    }

    /// [`Request::ecdh_p256_keygen`] and [`Request::ecdh_p256_derive`] at once: the point, then the
    /// secret.
    ///
    /// # Errors
    /// As there.
    pub fn ecdh_p256_exchange(
        private: &'a [u8; 32],
        peer: &'a [u8; 65],
    ) -> Result<Self, RequestError> {
        Self::ecdh::<P256>(OpKind::EcdhP256Exchange, private, peer)
    }

    /// [`Request::ecdh_p256_exchange`] on P-384.
    ///
    /// # Errors
    /// As there.
    pub fn ecdh_p384_exchange(
        private: &'a [u8; 48],
        peer: &'a [u8; 97],
    ) -> Result<Self, RequestError> {
        Self::ecdh::<P384>(OpKind::EcdhP384Exchange, private, peer)
    }

    fn ecdh<C: Curve>(
        kind: OpKind,
        private: &'a [u8],
        peer: &'a [u8],
    ) -> Result<Self, RequestError> {
        if !curve::in_range::<C>(&Zeroizing::new(curve::to_limbs(private))) {
            return Err(RequestError::ScalarRange { curve: C::NAME });
        }
        Ok(Self {
            kind,
            key: None,
            input: private,
            more: peer,
        })
    }

    /// X25519 public key of the private scalar `private`, which may be unclamped.
    pub fn x25519_keygen(private: &'a [u8; 32]) -> Self {
        Self {
            kind: OpKind::X25519Keygen,
            key: None,
            input: private,
            more: &[],
        }
    }

    /// X25519 shared secret of `private` and the peer's public key.
    ///
    /// For a `private` that serves once, as TLS has it. Lanes are wrong for some peers (see
    /// `spinlane-driver-mb`), not all of which may be known, and whether for a given one depends on the scalar: one that
    /// serves many peers could be found out by them. Compute its secrets in software
    /// (`spinlane_lcore::compute`).
    pub fn x25519_derive(private: &'a [u8; 32], peer: &'a [u8; 32]) -> Self {
        Self {
            kind: OpKind::X25519Derive,
            key: None,
            input: private,
            more: peer,
        }
    }

    /// [`Request::x25519_keygen`] and [`Request::x25519_derive`] at once: the public key, then the
    /// secret.
    pub fn x25519_exchange(private: &'a [u8; 32], peer: &'a [u8; 32]) -> Self {
        Self {
            kind: OpKind::X25519Exchange,
            ..Self::x25519_derive(private, peer)
        }
    }

    /// What is computed.
    pub const fn kind(&self) -> OpKind {
        self.kind
    }
}

/// A request that no device could serve. The text names the culprit.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RequestError {
    /// The key is of another type than the op needs.
    #[error(
        "the op needs a {wanted} key, the key given is {got}; bind the key that matches the certificate"
    )]
    WrongKey {
        /// Type the op needs.
        wanted: &'static str,
        /// Type of the key given.
        got: &'static str,
    },
    /// An operand has the wrong length.
    #[error("{what} must be {wanted} bytes, got {got}")]
    Length {
        /// Which operand.
        what: &'static str,
        /// Its length in bytes.
        wanted: usize,
        /// The length given.
        got: usize,
    },
    /// An operand is too long.
    #[error("{what} of {got} bytes; devices take at most {most}")]
    TooLong {
        /// Which operand.
        what: &'static str,
        /// The longest that fits.
        most: usize,
        /// The length given.
        got: usize,
    },
    /// An ephemeral private scalar is 0 or not below the order of the group.
    #[error("{curve} private scalar is not in 1..n; draw another")]
    ScalarRange {
        /// Name of the curve.
        curve: &'static str,
    },
    /// The RSA block is not a residue.
    #[error("RSA block is not below the modulus; pad it (PKCS#1 v1.5 or PSS) first")]
    NotBelowModulus,
    /// The RSA block is 0, 1 or n-1.
    #[error(
        "RSA block is 0, 1 or n-1, its own root under every key; pad it (PKCS#1 v1.5 or PSS) first"
    )]
    OwnRoot,
}

/// Whether `block` is 0, 1 or n-1, which aws-lc refuses: every odd power of them is themselves.
fn is_own_root(block: &[u8], modulus: &[u8]) -> bool {
    let (Some((last, head)), Some((last_of_n, head_of_n))) =
        (block.split_last(), modulus.split_last())
    else {
        return true;
    };
    // n is odd, so that n-1 differs from it in the last bit alone.
    *last <= 1 && head.iter().all(|byte| *byte == 0) || *last == *last_of_n ^ 1 && head == head_of_n
}

/// One operation on its way through a device. Allocated once, then reused: [`Op::prepare`]
/// fills it, [`Op::recycle`] wipes it.
pub struct Op {
    /// The submitter's slot.
    pub token: Token,
    /// How it stands. A device sets it before it gives the op back.
    pub status: OpStatus,
    /// When it was enqueued, in nanoseconds of the submitter's clock.
    pub enqueued_at_ns: u64,
    kind: OpKind,
    key: Option<Arc<Key>>,
    input_len: usize,
    input: [u8; MAX_INPUT],
    output: [u8; MAX_OUTPUT],
}

impl Op {
    /// An empty op for a pool.
    pub fn new() -> Box<Self> {
        Box::new(Self {
            token: Token(0),
            status: OpStatus::NotProcessed,
            enqueued_at_ns: 0,
            kind: OpKind::Rsa2048,
            key: None,
            input_len: 0,
            input: [0; MAX_INPUT],
            output: [0; MAX_OUTPUT],
        })
    }

    /// An op without operands and key, not processed: what a driver gives back, its status set,
    /// in place of one that the device has lost.
    pub fn without_operands(kind: OpKind, token: Token) -> Box<Self> {
        let mut op = Self::new();
        op.kind = kind;
        op.token = token;
        op
    }

    /// Takes in `request`: copies its input, shares its key.
    pub fn prepare(&mut self, token: Token, request: &Request<'_>, now_ns: u64) {
        self.token = token;
        self.status = OpStatus::NotProcessed;
        self.enqueued_at_ns = now_ns;
        self.kind = request.kind;
        self.key = request.key.cloned();
        self.input_len = request.input.len() + request.more.len();
        let (head, tail) = self.input[..self.input_len].split_at_mut(request.input.len());
        head.copy_from_slice(request.input);
        tail.copy_from_slice(request.more);
    }

    /// Takes in all that `other` is: token, status, operands, key and result.
    pub fn copy_from(&mut self, other: &Self) {
        self.recycle();
        self.token = other.token;
        self.status = other.status;
        self.enqueued_at_ns = other.enqueued_at_ns;
        self.kind = other.kind;
        self.key.clone_from(&other.key);
        self.input_len = other.input_len;
        self.input[..self.input_len].copy_from_slice(other.input());
        self.output[..self.kind.output_len()].copy_from_slice(other.output());
    }

    /// Wipes operands and result and lets go of the key.
    pub fn recycle(&mut self) {
        cleanse(&mut self.input[..self.input_len]);
        cleanse(&mut self.output[..self.kind.output_len()]);
        self.key = None;
        self.token = Token(0);
        self.status = OpStatus::NotProcessed;
    }

    /// What it computes.
    pub fn kind(&self) -> OpKind {
        self.kind
    }

    /// The key it uses; `None` for key exchanges, whose scalar is in the input.
    pub fn key(&self) -> Option<&Arc<Key>> {
        self.key.as_ref()
    }

    /// Its operands, [`OpKind::input_len`] bytes; of Ed25519's message as many as it has.
    pub fn input(&self) -> &[u8] {
        &self.input[..self.input_len]
    }

    /// Its result, [`OpKind::output_len`] bytes; meaningful after [`OpStatus::Success`].
    pub fn output(&self) -> &[u8] {
        &self.output[..self.kind.output_len()]
    }

    /// Operands and the place for the result, for a device.
    pub fn buffers(&mut self) -> (&[u8], &mut [u8]) {
        let (_, input, output) = self.operands();
        (input, output)
    }

    /// The key besides, all borrowed at once.
    pub fn operands(&mut self) -> (Option<&Key>, &[u8], &mut [u8]) {
        (
            self.key.as_deref(),
            &self.input[..self.input_len],
            &mut self.output[..self.kind.output_len()],
        )
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
