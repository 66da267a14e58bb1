//! A device with a P-256 key of its own, as a token has: what software may not compute.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

use spinlane::crypto::{EcP256Key, EcPublicKey, Key, PublicKey};
use spinlane::cryptodev::{
    Burst, Capabilities, Device, DeviceError, DeviceStats, KeyHandle, Op, OpStatus, QueuePair,
    QueuePairConfig, Request,
};
use spinlane_driver_soft::SoftDevice;

/// What a key of its own says that it is of.
const NAME: &str = "vault";

/// The numbers, which only the device uses, and the key as ops carry it.
static KEY: LazyLock<[Arc<KeyHandle>; 2]> = LazyLock::new(|| {
    let key = EcP256Key::from_scalar(&[0x5b; 32]).expect("below the order");
    let public = EcPublicKey::from_point(&key.public_key()).expect("on the curve");
    let remote = KeyHandle::remote(PublicKey::EcP256(public), NAME, ());
    [KeyHandle::local(Key::EcP256(key)), remote]
});

/// The key, as ops carry it.
pub fn key() -> &'static Arc<KeyHandle> {
    &KEY[1]
}

/// `soft`, and that key.
pub struct Vault(SoftDevice);

impl Vault {
    /// Both.
    pub fn new() -> Self {
        Self(SoftDevice::new())
    }
}

impl Device for Vault {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn queue_pair(&self, config: QueuePairConfig) -> Result<Box<dyn QueuePair>, DeviceError> {
        let inner = self.0.queue_pair(config)?;
        Ok(Box::new(VaultQueuePair {
            inner,
            originals: VecDeque::new(),
        }))
    }

    fn record_capabilities(&self) -> Capabilities<spinlane::crypto::aead::Algorithm> {
        self.0.record_capabilities()
    }

    fn record_queue_pair(
        &self,
        config: QueuePairConfig,
    ) -> Result<Box<dyn QueuePair<spinlane::cryptodev::aead::Op>>, DeviceError> {
        self.0.record_queue_pair(config)
    }
}

struct VaultQueuePair {
    inner: Box<dyn QueuePair>,
    /// Ops with the device's own key, in order; `inner` has twins of them with the numbers.
    originals: VecDeque<Box<Op>>,
}

impl QueuePair for VaultQueuePair {
    fn name(&self) -> &str {
        NAME
    }

    fn capacity(&self) -> usize {
        self.inner.capacity()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn holds(&self, key: &KeyHandle) -> bool {
        key.driver().is_none_or(|driver| driver == NAME)
    }

    fn enqueue_burst(&mut self, ops: &mut Burst) -> usize {
        let mut taken = 0;
        while let Some(op) = ops.first_mut() {
            let is_own = op.key().is_some_and(|key| key.as_local().is_none());
            let mut one = Burst::new();
            if is_own {
                let request = Request::ecdsa_p256(&KEY[0], op.input()).expect("a digest");
                let mut twin = Op::new();
                twin.prepare(op.token, &request, op.enqueued_at_ns);
                one.push(twin);
            } else {
                one.push(ops.remove(0));
            }
            let accepted = self.inner.enqueue_burst(&mut one) == 1;
            match (accepted, is_own) {
                (true, true) => self.originals.push_back(ops.remove(0)),
                (true, false) | (false, true) => {}
                (false, false) => ops.insert(0, one.remove(0)),
            }
            if !accepted {
                break;
            }
            taken += 1;
        }
        taken
    }

    fn dequeue_burst(&mut self, done: &mut Burst, max: usize, now_ns: u64) -> usize {
        let first = done.len();
        let count = self.inner.dequeue_burst(done, max, now_ns);
        for op in &mut done[first..] {
            let awaited = self.originals.front().map(|original| original.token);
            if awaited == Some(op.token)
                && let Some(mut original) = self.originals.pop_front()
            {
                original.buffers().1.copy_from_slice(op.output());
                original.status = OpStatus::Success;
                *op = original;
            }
        }
        count
    }

    fn stats(&self) -> DeviceStats {
        self.inner.stats()
    }
}
