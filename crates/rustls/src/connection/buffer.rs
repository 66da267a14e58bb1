//! A byte queue in one piece, whose memory is shared by a thread's connections: a connection
//! holds some only while it has bytes.
//!
//! ```text
//!   0        start        end        capacity
//!   │ consumed │ unread    │ room     │
//! ```
//! Memory comes in two sizes, which are reused, and beyond them as it is needed.

use std::cell::RefCell;
use std::io;

/// Handshake messages: a ClientHello or a flight without certificates.
pub(super) const SMALL: usize = 4 * 1024;
/// A TLS record at its longest (16 KiB and 2 KiB of overhead, RFC 5246 section 6.2.3) and more.
pub(super) const LARGE: usize = 20 * 1024;
/// Buffers of each size that a thread keeps for reuse at most.
const KEPT: usize = 256;

thread_local! {
    static IDLE: RefCell<[Vec<Box<[u8]>>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

#[derive(Default)]
pub(super) struct Buffer {
    /// Empty if there is none.
    memory: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes not consumed yet.
    pub(super) fn unread(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    /// The same, to be decrypted in place.
    pub(super) fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.end]
    }

    /// Where more bytes can go, `least` at least; say with [`Buffer::commit`] how many did.
    pub(super) fn room(&mut self, least: usize) -> &mut [u8] {
        if self.memory.len() - self.end < least {
            self.make_room(least);
        }
        &mut self.memory[self.end..]
    }

    /// Where more of the peer's bytes can go, `first` bytes of it if there is no memory yet. Grows
    /// until `limit` bytes are held; then there is none.
    pub(super) fn room_below(&mut self, limit: usize, first: usize) -> &mut [u8] {
        let free = limit.saturating_sub(self.len());
        if free != 0 && self.end == self.memory.len() {
            self.make_room(if self.memory.is_empty() { first } else { 1 });
        }
        let room = &mut self.memory[self.end..];
        let count = room.len().min(free);
        &mut room[..count]
    }

    pub(super) fn commit(&mut self, count: usize) {
        self.end = (self.end + count).min(self.memory.len());
        self.give_back_if_empty();
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        self.give_back_if_empty();
    }

    /// Hands the bytes to `write`, unless there are none; those it took are consumed.
    pub(super) fn send(
        &mut self,
        write: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.is_empty() {
            return Ok(0);
        }
        let count = write(self.unread())?;
        self.consume(count);
        Ok(count)
    }

    /// Drops the bytes behind the first `count`.
    pub(super) fn truncate(&mut self, count: usize) {
        self.end = self.end.min(self.start + count);
        self.give_back_if_empty();
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
            self.commit(bytes.len());
        }
    }

    /// Takes over what `other` holds.
    pub(super) fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
        } else {
            self.push(other.unread());
            other.consume(other.len());
        }
    }

    #[cold]
    fn make_room(&mut self, least: usize) {
        let len = self.len();
        if self.memory.len() - len < least {
            let mut memory = take(len + least);
            memory[..len].copy_from_slice(self.unread());
            give_back(std::mem::replace(&mut self.memory, memory));
        } else {
            self.memory.copy_within(self.start..self.end, 0);
        }
        (self.start, self.end) = (0, len);
    }

    fn give_back_if_empty(&mut self) {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
            give_back(std::mem::take(&mut self.memory));
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.memory));
    }
}

fn take(least: usize) -> Box<[u8]> {
    if least > LARGE {
        return vec![0; least.next_multiple_of(SMALL)].into_boxed_slice();
    }
    let (shelf, size) = if least <= SMALL {
        (0, SMALL)
    } else {
        (1, LARGE)
    };
    let idle = IDLE.try_with(|idle| idle.borrow_mut()[shelf].pop());
    let idle = idle.ok().flatten();
    idle.unwrap_or_else(|| vec![0; size].into_boxed_slice())
}

fn give_back(memory: Box<[u8]>) {
    let shelf = match memory.len() {
        SMALL => 0,
        LARGE => 1,
        _ => return,
    };
    // At thread exit, when the lists are gone, the memory is simply freed.
    let _ = IDLE.try_with(|idle| {
        let shelf = &mut idle.borrow_mut()[shelf];
        if shelf.len() < KEPT {
            shelf.push(memory);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_and_memory_goes_back() {
        let mut buffer = Buffer::default();
        buffer.push(&[7; SMALL]);
        assert_eq!(buffer.memory.len(), SMALL);
        buffer.push(&[8; 2]);
        assert_eq!(buffer.memory.len(), LARGE);
        buffer.consume(SMALL - 1);
        assert_eq!(buffer.unread(), [7, 8, 8]);
        buffer.push(&[9; LARGE - 3]);
        assert_eq!((buffer.memory.len(), buffer.len()), (LARGE, LARGE));
        buffer.consume(LARGE);
        assert!(buffer.is_empty() && buffer.memory.is_empty());
    }

    #[test]
    fn room_grows_up_to_the_limit() {
        let mut buffer = Buffer::default();
        let (limit, mut held) = (LARGE + 100, 0);
        loop {
            let room = buffer.room_below(limit, SMALL).len();
            if room == 0 {
                break;
            }
            buffer.commit(room);
            held += room;
        }
        assert_eq!((held, buffer.len()), (limit, limit));
        buffer.consume(1);
        assert_eq!(buffer.room_below(limit, SMALL).len(), 1);
    }

    #[test]
    fn what_came_meanwhile_comes_after() {
        let (mut first, mut second) = (Buffer::default(), Buffer::default());
        second.push(b"cd");
        first.append(&mut second);
        assert_eq!(first.unread(), b"cd");
        second.push(b"ef");
        first.append(&mut second);
        assert_eq!(first.unread(), b"cdef");
        assert!(second.memory.is_empty());
    }
}
