//! Plain text on its way, in bounded buffers. An empty buffer holds no memory, so that idle
//! connections cost none.
//!
//! ```text
//!   0        start        end        CAPACITY
//!   │ consumed │ unread    │ room     │
//! ```

use std::cell::RefCell;

/// Bytes of one buffer: the plain text of a TLS record at its longest.
pub const CAPACITY: usize = 16 * 1024;
/// Buffers a thread keeps for reuse at most.
const KEPT: usize = 256;

thread_local! {
    static IDLE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A byte queue of at most [`CAPACITY`] bytes.
#[derive(Default)]
pub struct Buffer {
    /// `None` when empty.
    memory: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Whether nothing is unread.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.end - self.start == CAPACITY
    }

    /// Bytes that fit.
    pub fn room_len(&self) -> usize {
        CAPACITY - (self.end - self.start)
    }

    /// The bytes not consumed yet.
    pub fn unread(&self) -> &[u8] {
        self.memory
            .as_ref()
            .map_or(&[], |memory| &memory[self.start..self.end])
    }

    /// Lets `fill` write into the room, all of it in one piece, and takes as many bytes as it
    /// returns.
    ///
    /// # Errors
    /// What `fill` fails with; then nothing is taken.
    pub fn fill<E>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let memory = self.memory.get_or_insert_with(take);
        if self.start != 0 {
            memory.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let filled = fill(&mut memory[self.end..]);
        self.end = (self.end + filled.as_ref().unwrap_or(&0)).min(CAPACITY);
        self.release_if_empty();
        filled
    }

    /// Appends as many of `bytes` as fit; returns how many.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let pushed = self.fill(|room| {
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            Ok::<_, std::convert::Infallible>(count)
        });
        let Ok(count) = pushed;
        count
    }

    /// Drops the first `count` unread bytes.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        self.release_if_empty();
    }

    /// Drops all of them.
    pub fn clear(&mut self) {
        self.consume(CAPACITY);
    }

    fn release_if_empty(&mut self) {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            if let Some(memory) = self.memory.take() {
                give_back(memory);
            }
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.clear();
    }
}

fn take() -> Box<[u8]> {
    let idle = IDLE.with_borrow_mut(Vec::pop);
    idle.unwrap_or_else(|| vec![0; CAPACITY].into_boxed_slice())
}

fn give_back(memory: Box<[u8]>) {
    // At thread exit, when the list is gone, the memory is simply freed.
    let _ = IDLE.try_with(|idle| {
        let mut idle = idle.borrow_mut();
        if idle.len() < KEPT {
            idle.push(memory);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_and_a_full_buffer_takes_no_more() {
        let mut buffer = Buffer::default();
        assert_eq!(buffer.push(&[7; CAPACITY + 1]), CAPACITY);
        assert!(buffer.is_full());
        assert_eq!(buffer.push(&[8]), 0);
        buffer.consume(10);
        assert_eq!((buffer.room_len(), buffer.push(&[9; 20])), (10, 10));
        assert_eq!(buffer.unread()[CAPACITY - 10..], [9; 10]);
        buffer.clear();
        assert!(
            buffer.is_empty() && buffer.memory.is_none(),
            "an empty buffer holds no memory"
        );
    }

    #[test]
    fn a_failed_fill_takes_nothing() {
        let mut buffer = Buffer::default();
        buffer.push(b"kept");
        assert_eq!(buffer.fill(|_| Err("no")), Err("no"));
        assert_eq!(buffer.unread(), b"kept");
    }
}
