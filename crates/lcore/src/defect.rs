//! Defects that can be switched on, to show that what should find them does (feature
//! `seeded-defects`, for tests alone). Without the feature this is all constant and compiles to
//! nothing.

/// A defect of the kind that such code has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A completion is matched to its slot by the index alone.
    Generation,
    /// A completion reaches the job of its slot, whatever that job waits for by now.
    Orphan,
    /// The retry queue is served from its end.
    RetryOrder,
    /// An op that is taken away from the device is forgotten.
    LostOnStall,
    /// The callback is made before the status is set.
    StatusAfterCallback,
    /// The callback is made twice.
    CallbackTwice,
    /// A slot that is freed is not given out again.
    SlotLeak,
    /// A job is called back when the first op of its set has ended.
    FirstOfSet,
    /// A slot is used again though the device still has its op.
    EarlyReuse,
    /// Of several queue pairs the one with least to do gets an op, healthy or not.
    BlindRouting,
    /// An op that another queue pair is to take over is forgotten.
    LostInMove,
    /// An op goes to a queue pair that serves its kind, whether that has its key or not.
    ForeignKey,
    /// Software takes over whatever a device fails, also where the secret is the device's own.
    RemoteFallback,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Generation,
        Self::Orphan,
        Self::RetryOrder,
        Self::LostOnStall,
        Self::StatusAfterCallback,
        Self::CallbackTwice,
        Self::SlotLeak,
        Self::FirstOfSet,
        Self::EarlyReuse,
        Self::BlindRouting,
        Self::LostInMove,
        Self::ForeignKey,
        Self::RemoteFallback,
    ];
}

#[cfg(feature = "seeded-defects")]
thread_local! {
    static SEEDED: std::cell::Cell<Option<Defect>> = const { std::cell::Cell::new(None) };
}

/// Switches a defect on for this thread, or all of them off.
#[cfg(feature = "seeded-defects")]
pub fn seed(defect: Option<Defect>) {
    SEEDED.set(defect);
}

#[cfg(feature = "seeded-defects")]
pub(crate) fn has(defect: Defect) -> bool {
    SEEDED.get() == Some(defect)
}

#[cfg(not(feature = "seeded-defects"))]
#[inline(always)]
pub(crate) const fn has(_: Defect) -> bool {
    false
}
