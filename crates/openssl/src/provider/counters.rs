//! How many operations went which way, so that no offload at all does not stay unnoticed.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use spinlane_cryptodev::OpKind;

/// Operations that the default provider did instead of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delegated {
    /// A signature with a digest or padding that is not offloaded, or of an unsupported key.
    Sign,
    /// A verification.
    Verify,
    /// An RSA encryption, or a decryption with a padding that is not offloaded.
    AsymCipher,
    /// A generation or exchange of EC keys on another curve than P-256 and P-384.
    KeyExchange,
    /// A key derivation with a digest other than SHA-256, SHA-384 and SHA-512.
    Kdf,
}

impl Delegated {
    /// Every kind, in the order of their discriminants.
    pub const ALL: [Self; 5] = [
        Self::Sign,
        Self::Verify,
        Self::AsymCipher,
        Self::KeyExchange,
        Self::Kdf,
    ];

    /// Returns the name that counters use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Verify => "verify",
            Self::AsymCipher => "asym-cipher",
            Self::KeyExchange => "key-exchange",
            Self::Kdf => "kdf",
        }
    }
}

/// What the provider has done in this process so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    offloaded: [u64; OpKind::COUNT],
    failed: u64,
    delegated: [u64; Delegated::ALL.len()],
}

impl Counters {
    /// Returns how many operations of `kind` were given to [`spinlane_lcore::offload`], failed ones
    /// included.
    pub fn offloaded(&self, kind: OpKind) -> u64 {
        self.offloaded[kind.index()]
    }

    /// Returns how many offloaded operations failed.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Operations that the default provider did.
    pub fn delegated(&self, what: Delegated) -> u64 {
        self.delegated[what as usize]
    }
}

/// Reads the counters of all threads. They are relaxed: a sum taken while others count may be
/// behind, never wrong in the end.
pub fn counters() -> Counters {
    let mut sum = Counters::default();
    for shard in &SHARDS {
        let add = |to: &mut [u64], from: &[AtomicU64]| {
            to.iter_mut()
                .zip(from)
                .for_each(|(to, from)| *to += from.load(Relaxed));
        };
        add(&mut sum.offloaded, &shard.offloaded);
        add(&mut sum.delegated, &shard.delegated);
        sum.failed += shard.failed.load(Relaxed);
    }
    sum
}

pub(super) fn count_offloaded(kind: OpKind) {
    let before = shard().offloaded[kind.index()].fetch_add(1, Relaxed);
    if before == 0 {
        // Who looks for the reason why nothing is offloaded finds this line missing.
        tracing::info!(%kind, "the first operation of this kind reached the provider");
    }
}

pub(super) fn count_failed() {
    shard().failed.fetch_add(1, Relaxed);
}

pub(super) fn count_delegated(what: Delegated) {
    shard().delegated[what as usize].fetch_add(1, Relaxed);
}

/// Cache lines that threads share out among themselves, so that lcores do not contend for one.
#[repr(align(128))]
struct Shard {
    offloaded: [AtomicU64; OpKind::COUNT],
    failed: AtomicU64,
    delegated: [AtomicU64; Delegated::ALL.len()],
}

static SHARDS: [Shard; 32] = [const {
    Shard {
        offloaded: [const { AtomicU64::new(0) }; OpKind::COUNT],
        failed: AtomicU64::new(0),
        delegated: [const { AtomicU64::new(0) }; Delegated::ALL.len()],
    }
}; 32];

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MINE: Cell<Option<&'static Shard>> = const { Cell::new(None) };
}

fn shard() -> &'static Shard {
    MINE.get().unwrap_or_else(|| {
        let shard = &SHARDS[NEXT.fetch_add(1, Relaxed) % SHARDS.len()];
        MINE.set(Some(shard));
        shard
    })
}
