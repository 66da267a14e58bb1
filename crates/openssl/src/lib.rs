//! libssl on Spinlane's jobs: the ASYNC_* ABI, the provider, SslCtx and Ssl.
