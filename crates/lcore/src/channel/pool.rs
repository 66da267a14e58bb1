//! Ops that are not in use, by the size of their memory.

use spinlane_cryptodev::{Buffer, Operation, SIZE_CLASSES, size_class};

/// A slab per size class. An op's memory is allocated when there is none of its size, and kept.
pub(crate) struct Pool<O> {
    by_size: [Vec<Box<O>>; SIZE_CLASSES.len()],
    /// Ops of a size that are kept at most.
    most: usize,
}

impl<O: Operation> Pool<O> {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            by_size: Default::default(),
            most,
        }
    }

    /// An op without a request, of whose memory no more than `len` bytes will be used; whoever fills it sees to it
    /// that it has them.
    pub(crate) fn take(&mut self, len: usize) -> Box<O> {
        let op = self.by_size[size_class(len)].pop();
        op.unwrap_or_else(|| O::in_memory(Buffer::EMPTY))
    }

    /// Wipes `op` and keeps it.
    pub(crate) fn put(&mut self, mut op: Box<O>) {
        op.recycle();
        self.keep(op);
    }

    /// Keeps `op`, in which there is nothing to be wiped.
    pub(crate) fn keep(&mut self, op: Box<O>) {
        let slab = &mut self.by_size[size_class(op.memory().len())];
        if slab.len() < self.most && !op.memory().is_empty() {
            slab.push(op);
        }
    }
}
