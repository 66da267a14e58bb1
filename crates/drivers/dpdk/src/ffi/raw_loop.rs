//! DPDK without us: what the driver's own cost is measured against (feature `null`).

use std::ptr;

use dpdk_sys as sys;

use super::{DeviceId, SessionPool};
use super::{QueuePairs, RawQueuePair, SymmetricSession};
use crate::Eal;

/// A loop of an application's on crypto_null: it fills a burst of ops, enqueues them, and dequeues until
/// they are back, by the same functions that the driver calls.
pub struct RawLoop {
    ops: Vec<*mut sys::rte_crypto_op>,
    session: SymmetricSession,
    _pool: SessionPool,
    queue_pair: RawQueuePair,
}

impl RawLoop {
    /// A loop on a device of its own with bursts of at most `burst` ops.
    ///
    /// # Errors
    /// What DPDK says.
    pub fn new(eal: &Eal, burst: u16) -> Result<Self, String> {
        let running = eal.running();
        let text = super::error_text;
        let name = c"crypto_null_raw";
        if DeviceId::find(running, name).is_none() {
            running.plug(c"vdev", name, c"").map_err(text)?;
        }
        let device = DeviceId::find(running, name).ok_or("no crypto_null")?;
        let socket = device.socket(running);
        device.stop(); // an earlier loop's
        let free = device.configure(1, 1024, socket).map_err(text)?;
        device.start().map_err(text)?;
        let home = QueuePairs::new(device, free).into();
        let queue_pair = RawQueuePair::new(running, &home, burst.into(), true)
            .map_err(|error| text(error.unwrap_or(libc::EBUSY)))?;
        let pool = SessionPool::symmetric(running, 8, socket).map_err(text)?;
        let session = pool.null(device).map_err(text)?;
        Ok(Self {
            ops: queue_pair.pointers(),
            session,
            _pool: pool,
            queue_pair,
        })
    }

    /// One burst there and back. The ops are as many as `new` was told.
    pub fn run(&mut self) {
        let (device, queue_pair) = self.queue_pair.numbers();
        let count = self.ops.len() as u16;
        for op in &self.ops {
            // SAFETY: an op of our own pool, not with the device: every burst is awaited.
            unsafe { sys::shim_set_null(*op, self.session.handle().as_ptr()) }
        }
        let mut sent = 0;
        while sent < count {
            // SAFETY: ops `sent..` are ours; the queue pair is set up and used by this loop alone.
            sent += unsafe {
                let rest = self.ops.as_mut_ptr().add(usize::from(sent));
                sys::shim_enqueue_burst(device, queue_pair, rest, count - sent)
            };
        }
        let mut back = [ptr::null_mut(); super::BURST];
        let mut got = 0;
        while got < count {
            let room = (count - got).min(super::BURST as u16);
            // SAFETY: room for so many; see above.
            got += unsafe { sys::shim_dequeue_burst(device, queue_pair, back.as_mut_ptr(), room) };
        }
    }
}
