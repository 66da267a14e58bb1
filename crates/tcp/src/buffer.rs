//! Bytes in a row that hold no memory while there are none.

use std::collections::VecDeque;

/// Bytes to be sent or to be read.
#[derive(Default)]
pub(crate) struct Buffer(VecDeque<u8>);

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// Drops the first `count` bytes, and the memory with the last.
    pub(crate) fn consume(&mut self, count: usize) {
        if count >= self.0.len() {
            self.0 = VecDeque::new();
        } else {
            self.0.drain(..count);
        }
    }

    /// Returns `len` bytes from `start` on, in two parts; fewer where the bytes end.
    pub(crate) fn parts(&self, start: usize, len: usize) -> [&[u8]; 2] {
        let (first, second) = self.0.as_slices();
        let end = start.saturating_add(len);
        let cut = |part: &'_ [u8], from: usize, to: usize| from.min(part.len())..to.min(part.len());
        let behind = |at: usize| at.saturating_sub(first.len());
        [
            &first[cut(first, start, end)],
            &second[cut(second, behind(start), behind(end))],
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_bytes_wherever_the_ring_wraps() {
        let mut buffer = Buffer::default();
        let mut expected: Vec<u8> = Vec::new();
        for step in 0..200_u8 {
            let bytes: Vec<u8> = (0..step % 23).collect();
            buffer.push(&bytes);
            expected.extend_from_slice(&bytes);
            let gone = usize::from(step % 11).min(expected.len());
            buffer.consume(gone);
            expected.drain(..gone);
            for start in [0, 3, expected.len()] {
                let end = expected.len().min(start + 40);
                let part = expected.get(start..end).unwrap_or_default();
                assert_eq!(buffer.parts(start, 40).concat(), part);
            }
        }
        buffer.consume(usize::MAX);
        assert!(buffer.is_empty() && buffer.0.capacity() == 0);
    }
}
