//! ASYNC_JOB and ASYNC_WAIT_CTX semantics in pure Rust.
