//! EAL, once for all tests, and a cable.

mod cable;
pub mod responder;

use std::sync::LazyLock;

use spinlane_dpdk::{Eal, EalConfig};

pub use cable::Cable;

static EAL: LazyLock<Eal> = LazyLock::new(|| Eal::init(&EalConfig::default()).unwrap());

pub fn eal() -> &'static Eal {
    &EAL
}
