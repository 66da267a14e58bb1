//! Frames for tcpdump and Wireshark: classic pcap with microseconds, link type Ethernet.

use std::io::{self, Write};

use spinlane_tcp::Instant;

use crate::frame_io::{Caps, Frame, FrameIo};

/// Writes a file's header (magic number, version 2.4, no time zone, snapshot length, Ethernet).
///
/// # Errors
/// The writer's.
pub fn write_header(out: &mut impl Write) -> io::Result<()> {
    let words: [u32; 6] = [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65535, 1];
    words
        .iter()
        .try_for_each(|word| out.write_all(&word.to_le_bytes()))
}

/// Writes a frame that passed at `now`.
///
/// # Errors
/// The writer's, or the frame is longer than 4 GiB.
pub fn write_frame(out: &mut impl Write, now: Instant, frame: &[u8]) -> io::Result<()> {
    let number = |number: u64| u32::try_from(number).map_err(io::Error::other);
    let len = number(frame.len() as u64)?;
    let seconds = number(now.micros() / 1_000_000)?;
    let micros = number(now.micros() % 1_000_000)?;
    for word in [seconds, micros, len, len] {
        out.write_all(&word.to_le_bytes())?;
    }
    out.write_all(frame)
}

/// A port whose frames, both ways, are written down as well. The first error ends the writing and is kept.
#[derive(Debug)]
pub struct Tee<F, W> {
    inner: F,
    out: W,
    now: Instant,
    error: Option<io::Error>,
}

impl<F: FrameIo, W: Write> Tee<F, W> {
    /// Writes the header to `out`, and from now on what passes through `inner`.
    ///
    /// # Errors
    /// The writer's.
    pub fn new(inner: F, mut out: W) -> io::Result<Self> {
        write_header(&mut out)?;
        Ok(Self {
            inner,
            out,
            now: Instant::default(),
            error: None,
        })
    }

    /// The time that is written from now on.
    pub fn set_time(&mut self, now: Instant) {
        self.now = now;
    }

    /// Why nothing is written any more, if that is so.
    pub fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    /// The port and the writer.
    pub fn into_parts(self) -> (F, W) {
        (self.inner, self.out)
    }
}

fn note(out: &mut impl Write, error: &mut Option<io::Error>, now: Instant, frame: &[u8]) {
    if error.is_none() {
        *error = write_frame(out, now, frame).err();
    }
}

impl<F: FrameIo, W: Write> FrameIo for Tee<F, W> {
    fn receive(&mut self, mut take: impl FnMut(Frame<'_>)) -> usize {
        let Self {
            inner,
            out,
            now,
            error,
        } = self;
        inner.receive(|frame| {
            note(out, error, *now, frame.bytes);
            take(frame);
        })
    }

    fn transmit(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        let Self {
            inner,
            out,
            now,
            error,
        } = self;
        inner.transmit(len, |frame| {
            fill(frame);
            note(out, error, *now, frame);
        })
    }

    fn flush(&mut self) {
        self.inner.flush();
    }

    fn caps(&self) -> Caps {
        self.inner.caps()
    }
}
