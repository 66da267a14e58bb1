//! Where frames come from and go to.

/// What a port can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// Bytes of a packet without the Ethernet header.
    pub mtu: u16,
    /// Whether the port computes the checksums of IPv4 headers and of TCP. A TCP segment given to it then has the sum of
    /// its pseudo-header in the checksum's place (as DPDK's PKT_TX_TCP_CKSUM wants it), and the IPv4 header has 0.
    pub tx_checksums: bool,
}

/// A frame that came in.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// From the destination's address on, without the check sequence.
    pub bytes: &'a [u8],
    /// Whether the port has found its IPv4 header's and its TCP checksum to be right. What a port found to be wrong, or has
    /// not looked at, is checked here.
    pub checked: bool,
}

/// A port, or a queue pair of one.
pub trait FrameIo {
    /// Lends a burst of frames that have come to `take`, one by one. Returns how many there were.
    fn receive(&mut self, take: impl FnMut(Frame<'_>)) -> usize;

    /// Takes a frame of `len` bytes, which `fill` writes. Returns `false`, without a call, if there is no room: the frame is lost.
    fn transmit(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> bool;

    /// Sends what was taken. What finds no room is lost.
    fn flush(&mut self);

    /// What the port can do; the same for as long as it lives.
    fn caps(&self) -> Caps;
}
