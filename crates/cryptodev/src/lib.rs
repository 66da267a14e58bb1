//! The crypto device contract: keys, ops, capabilities, queue pairs.
