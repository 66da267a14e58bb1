//! aarch64, AAPCS64.
