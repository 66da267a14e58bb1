//! The queue pair for bulk data.

use spinlane_cryptodev::aead::{Burst, Capabilities, Device, QueuePair, Status};
use spinlane_cryptodev::{DeviceError, DeviceStats, QueuePairConfig, cpu};

use crate::{BUDGET_US, NAME, SoftDevice};

impl Device for SoftDevice {
    fn aead_capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn aead_queue_pair(&self, config: QueuePairConfig) -> Result<Box<dyn QueuePair>, DeviceError> {
        config.check(NAME)?;
        Ok(Box::new(AeadQueuePair {
            capacity: config.capacity,
            waiting: Burst::with_capacity(config.capacity),
            stats: DeviceStats::default(),
        }))
    }
}

struct AeadQueuePair {
    capacity: usize,
    waiting: Burst,
    stats: DeviceStats,
}

impl QueuePair for AeadQueuePair {
    fn name(&self) -> &str {
        NAME
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn enqueue_burst(&mut self, ops: &mut Burst) -> usize {
        let taken = ops.len().min(self.capacity - self.waiting.len());
        self.waiting.extend(ops.drain(..taken));
        self.stats.enqueued += taken as u64;
        taken
    }

    fn dequeue_burst(&mut self, done: &mut Burst, max: usize) -> usize {
        let (mut given, mut spent_ns) = (0, 0);
        while given < max {
            let Some(next) = self.waiting.front() else {
                break;
            };
            spent_ns += cpu::aead_cost_ns(next.data_range().len());
            if given > 0 && spent_ns > BUDGET_US * 1000 {
                break;
            }
            let Some(mut op) = self.waiting.pop_front() else {
                break;
            };
            cpu::run_aead(&mut op);
            self.stats.failed += u64::from(op.status != Status::Success);
            done.push_back(op);
            given += 1;
        }
        self.stats.dequeued += given as u64;
        given
    }

    fn stats(&self) -> DeviceStats {
        self.stats
    }

    fn is_inline(&self) -> bool {
        true
    }
}
