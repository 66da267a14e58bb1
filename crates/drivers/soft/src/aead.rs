//! The queue pair for bulk data.

use spinlane_cryptodev::aead::{Burst, Capabilities, Device, Op, QueuePair, Status};
use spinlane_cryptodev::{DeviceError, DeviceStats, QueuePairConfig, cpu};

use crate::line::Line;
use crate::{NAME, SoftDevice};

impl Device for SoftDevice {
    fn aead_capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn aead_queue_pair(&self, config: QueuePairConfig) -> Result<Box<dyn QueuePair>, DeviceError> {
        config.check(NAME)?;
        Ok(Box::new(AeadQueuePair(Line::new(config.capacity))))
    }
}

struct AeadQueuePair(Line<Op>);

impl QueuePair for AeadQueuePair {
    fn name(&self) -> &str {
        NAME
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn enqueue_burst(&mut self, ops: &mut Burst) -> usize {
        let taken = ops.len().min(self.0.room());
        self.0.enqueue(ops.drain(..taken))
    }

    fn dequeue_burst(&mut self, done: &mut Burst, max: usize) -> usize {
        let cost_ns = |op: &Op| cpu::aead_cost_ns(op.data_range().len());
        self.0.dequeue(done, max, cost_ns, |op| {
            cpu::run_aead(op);
            op.status == Status::Success
        })
    }

    fn stats(&self) -> DeviceStats {
        self.0.stats()
    }

    fn is_inline(&self) -> bool {
        true
    }
}
