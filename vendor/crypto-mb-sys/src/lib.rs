//! Bindings to Intel's crypto_mb, linked statically.
