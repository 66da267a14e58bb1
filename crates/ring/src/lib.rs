//! SPSC burst ring: bounded, lock-free, a power of two slots.
