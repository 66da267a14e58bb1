//! Crypto device that runs one op at a time on the CPU.
