//! Crypto device that runs eight ops at a time in AVX-512 IFMA lanes.
