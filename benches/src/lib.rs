//! Criterion benches on pinned cores.
