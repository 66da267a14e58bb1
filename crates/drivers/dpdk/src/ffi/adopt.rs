//! Queue pairs that an application gives away.

use super::{DeviceId, QueuePairId};
use crate::Eal;

/// Queue pairs of a device that an application has configured and started, for
/// [`DpdkDevice::adopt`](crate::DpdkDevice::adopt).
#[derive(Debug)]
pub struct HandedOver {
    device: DeviceId,
    descriptors: u32,
    queue_pairs: Vec<QueuePairId>,
}

impl HandedOver {
    /// The queue pairs numbered `queue_pairs` of crypto device `device`, set up with `descriptors` each;
    /// `None` if there is no such device.
    ///
    /// # Safety
    /// The queue pairs are set up, with at least so many descriptors. Until every queue pair opened on
    /// what is made of this is dropped: nobody else enqueues to them or dequeues from them, and the device
    /// is neither closed nor configured anew, nor stopped or started while another thread polls one.
    pub unsafe fn new(
        eal: &Eal,
        device: u8,
        queue_pairs: &[u16],
        descriptors: u32,
    ) -> Option<Self> {
        let device = DeviceId::with_number(eal.running(), device)?;
        let queue_pairs = queue_pairs
            .iter()
            // SAFETY: set up, and used by nobody else (the caller's promise).
            .map(|index| unsafe { QueuePairId::new(device, *index) })
            .collect();
        Some(Self {
            device,
            descriptors: descriptors.max(2),
            queue_pairs,
        })
    }

    pub(crate) fn into_parts(self) -> (DeviceId, u32, Vec<QueuePairId>) {
        (self.device, self.descriptors, self.queue_pairs)
    }
}
