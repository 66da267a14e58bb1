//! A byte queue in one piece, whose memory is shared by a thread's connections: a connection
//! holds some only while it has bytes.
//!
//! ```text
//!   0        start        end        capacity
//!   │ consumed │ unread    │ room     │
//! ```

use std::cell::RefCell;

/// Bytes of one buffer: a TLS record at its longest (16 KiB and 256 bytes of overhead, RFC 8446
/// section 5.2) and more.
pub(super) const CAPACITY: usize = 20 * 1024;
/// Buffers a thread keeps for reuse at most.
const KEPT: usize = 256;

thread_local! {
    static IDLE: RefCell<Vec<Box<[u8; CAPACITY]>>> = const { RefCell::new(Vec::new()) };
}

#[derive(Default)]
pub(super) struct Buffer {
    memory: Option<Box<[u8; CAPACITY]>>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Returns the bytes not consumed yet.
    pub(super) fn unread(&self) -> &[u8] {
        self.memory
            .as_ref()
            .map_or(&[], |memory| &memory[self.start..self.end])
    }

    /// Returns the room for more bytes. Say with [`Buffer::commit`] how many went there.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let memory = self.memory.get_or_insert_with(take);
        if self.end == CAPACITY && self.start != 0 {
            memory.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut memory[self.end..]
    }

    pub(super) fn commit(&mut self, count: usize) {
        self.end = (self.end + count).min(CAPACITY);
        self.give_back_if_empty();
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        self.give_back_if_empty();
    }

    /// Takes from `bytes` what there is room for; returns how much that was.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.commit(count);
        count
    }

    fn give_back_if_empty(&mut self) {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if let Some(memory) = self.memory.take() {
                give_back(memory);
            }
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            give_back(memory);
        }
    }
}

fn take() -> Box<[u8; CAPACITY]> {
    let idle = IDLE.try_with(|idle| idle.borrow_mut().pop()).ok().flatten();
    idle.unwrap_or_else(|| Box::new([0; CAPACITY]))
}

fn give_back(memory: Box<[u8; CAPACITY]>) {
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
        assert_eq!(buffer.push(&[8]), 0);
        buffer.consume(10);
        assert_eq!(buffer.push(&[9; 20]), 10);
        assert_eq!(buffer.len(), CAPACITY);
        assert_eq!(buffer.unread()[CAPACITY - 10..], [9; 10]);
        buffer.consume(CAPACITY);
        assert_eq!((buffer.len(), buffer.unread().len()), (0, 0));
        assert!(buffer.memory.is_none(), "an empty buffer holds no memory");
    }
}
