//! DPDK: EAL, which the crypto driver shares, and Ethernet ports, which carry the stack of `spinlane-net`.
//!
//! A [`Port`] is opened by what a DPDK application calls it: a virtual device with its arguments, or a PCI address. It gives one
//! [`QueuePair`] for each core, and each of these is a [`FrameIo`](spinlane_net::FrameIo). Ports and queue pairs close the device when the
//! last of them is dropped, after which its name can be used again. An application with ports of its own gives a queue pair away as a
//! [`HandedOver`].
//!
//! # Invariants
//! - All that speaks C is in one module; all else is safe.
//! - Between `receive` and `flush` there is no lock and no system call of ours, and no allocation.
//! - A burst is 32 frames; they are freed in the call that lent them.
//!
//! # Ports for tests
//! Without a card: `net_af_packet0,iface=veth1` on one end of a pair of virtual cables (`tests/veth.rs`; the other end must compute checksums
//! itself: `ethtool -K veth0 tx off tso off gso off`). Of its link the driver knows nothing: [`Port::is_up`] asks the kernel.
//!
//! # Not verified
//! There was no network card to try: receive-side scaling, checksums computed by a port, frames in several pieces, and links that
//! go down.

#![deny(unsafe_code)]
// Empty without it; so is dpdk-sys.
#![cfg(feature = "dpdk")]

mod eal;
mod ffi;
mod port;

pub use eal::{Eal, EalConfig, EalError};
pub use ffi::{HandedOver, HeapStats, Running, errno, error_text, unique_name};
pub use port::{Losses, Port, PortConfig, PortError, QueuePair};
