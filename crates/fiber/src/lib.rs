//! Asymmetric fibers on guarded, pooled stacks.
