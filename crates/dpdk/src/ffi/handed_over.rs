//! Queue pairs of a port that an application gives away.

use std::ffi::c_void;

use dpdk_sys as sys;

use super::Running;

/// A queue pair of an Ethernet port that an application has configured and started, for
/// [`QueuePair::adopt`](crate::QueuePair::adopt).
#[derive(Debug)]
pub struct HandedOver {
    pub(super) running: Running,
    pub(super) port: u16,
    pub(super) queue: u16,
    pub(super) pool: *mut sys::rte_mempool,
}

impl HandedOver {
    /// Receive queue and transmit queue `queue` of port `port`. `pool`, a `struct rte_mempool *`, is where frames to send come from;
    /// one that has no room in a packet of it is lost.
    ///
    /// # Safety
    /// The port is started, with both queues set up. `pool` was made by `rte_pktmbuf_pool_create`. Until the queue pair that is made
    /// of this is dropped: nobody else uses the two queues, the port is not stopped or configured anew, and the pool is not freed.
    pub unsafe fn new(eal: &Running, port: u16, queue: u16, pool: *mut c_void) -> Self {
        Self {
            running: eal.clone(),
            port,
            queue,
            pool: pool.cast(),
        }
    }

    /// Bytes of a packet that the port carries; 0 if it does not say.
    pub(crate) fn mtu(&self) -> u16 {
        let mut mtu = 0;
        // SAFETY: a port that is started (the promise of `new`); `mtu` is ours to write.
        let done = unsafe { sys::rte_eth_dev_get_mtu(self.port, &mut mtu) };
        if done == 0 { mtu } else { 0 }
    }
}
