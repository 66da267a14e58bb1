//! What went wrong so far.

/// Counts of faults, one per injected event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) late: u64,
    pub(crate) corrupted: u64,
    pub(crate) wrong_status: u64,
    pub(crate) refused: u64,
    pub(crate) reordered: u64,
    pub(crate) resets: u64,
    pub(crate) deaths: u64,
    pub(crate) revivals: u64,
    pub(crate) swallowed: u64,
}

impl Faults {
    pub(crate) fn list(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("late", self.late),
            ("corrupted", self.corrupted),
            ("wrong_status", self.wrong_status),
            ("refused", self.refused),
            ("reordered", self.reordered),
            ("resets", self.resets),
            ("deaths", self.deaths),
            ("revivals", self.revivals),
            ("swallowed", self.swallowed),
        ]
    }
}
