//! A port in memory.

use std::collections::VecDeque;

use crate::frame_io::{Caps, Frame, FrameIo};

/// Frames of a burst.
const BURST: usize = 32;

/// A port whose frames are put in and taken out by hand.
#[derive(Debug)]
pub struct Port {
    /// What is to be received.
    pub arrived: VecDeque<Vec<u8>>,
    /// What was sent.
    pub sent: Vec<Vec<u8>>,
    /// Frames that may be in `sent`; what is sent beyond is lost.
    pub room: usize,
    caps: Caps,
}

impl Port {
    /// A port that carries packets of `mtu` bytes.
    pub fn new(mtu: u16) -> Self {
        Self {
            arrived: VecDeque::new(),
            sent: Vec::new(),
            room: usize::MAX,
            caps: Caps {
                mtu,
                tx_checksums: false,
            },
        }
    }
}

impl FrameIo for Port {
    fn receive(&mut self, mut take: impl FnMut(Frame<'_>)) -> usize {
        let count = self.arrived.len().min(BURST);
        for bytes in self.arrived.drain(..count) {
            take(Frame {
                bytes: &bytes,
                checked: false,
            });
        }
        count
    }

    fn transmit(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        if self.sent.len() >= self.room {
            return false;
        }
        let mut frame = vec![0; len];
        fill(&mut frame);
        self.sent.push(frame);
        true
    }

    fn flush(&mut self) {}

    fn caps(&self) -> Caps {
        self.caps
    }
}
