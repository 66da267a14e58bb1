//! The program `spinlane`.
fn main() {}
