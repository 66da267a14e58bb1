//! The device contract's queue pair over the pool.

use std::sync::Arc;

use cryptoki::mechanism::MechanismType;
use spinlane_cryptodev::{
    Burst, Capabilities, DeviceStats, HealthConfig, KeyHandle, Op, OpKind, OpStatus, QueuePair,
};
use zeroize::Zeroizing;

use crate::NAME;
use crate::backend::Task;
use crate::counters::FailureCounts;
use crate::error::Failure;
use crate::key::TokenKey;
use crate::operation::{Bytes, Operation};
use crate::queue::{AnyOp, TokenClient, TokenPool};

/// An op of the contract, and why it failed.
pub(crate) struct ContractOp {
    op: Box<Op>,
    failure: Option<Failure>,
}

impl ContractOp {
    pub(crate) fn task(&mut self) -> Task {
        let key = self.op.key().cloned();
        let pads = |key: &Arc<KeyHandle>| key.object().is_some_and(TokenKey::pads_pss);
        let (operation, input) = match self.op.pss().filter(|_| key.as_ref().is_some_and(pads)) {
            None => (Operation::Private, self.op.input()),
            Some(hash) => {
                let (digest, salt_len) = (hash.digest(), hash.digest().len());
                (Operation::RsaPss { digest, salt_len }, hash.bytes())
            }
        };
        let input = Zeroizing::new(input.to_vec());
        Task {
            key,
            operation,
            input,
        }
    }

    pub(crate) fn finish(&mut self, outcome: Result<Bytes, Failure>) {
        let place = self.op.buffers().1;
        match outcome {
            Ok(bytes) if bytes.len() == place.len() => {
                place.copy_from_slice(&bytes);
                self.op.status = OpStatus::Success;
            }
            Ok(_) => self.fail(Failure::Wrong),
            Err(failure) => self.fail(failure),
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failure = Some(failure);
        // One that this token cannot do at all, another may.
        match failure {
            Failure::Unsupported => self.op.status = OpStatus::NotProcessed,
            _ => self.op.fail(OpStatus::Error),
        }
    }
}

/// One thread's way to a token.
pub(crate) struct TokenQueuePair {
    client: TokenClient,
    pool: Arc<TokenPool>,
    capacity: usize,
    wait_at_most_ns: u64,
    capabilities: Capabilities,
    stats: DeviceStats,
    failures: FailureCounts,
}

impl TokenQueuePair {
    pub(crate) fn new(
        pool: &Arc<TokenPool>,
        capacity: usize,
        wait_at_most_ns: u64,
        capabilities: Capabilities,
    ) -> Self {
        Self {
            client: TokenClient::new(pool, capacity, wait_at_most_ns),
            pool: Arc::clone(pool),
            capacity,
            wait_at_most_ns,
            capabilities,
            stats: DeviceStats::default(),
            failures: FailureCounts::default(),
        }
    }

    /// Whether the op's key is on this token.
    fn serves(&self, op: &Op) -> bool {
        op.key().is_some_and(|key| self.holds(key))
    }
}

impl QueuePair for TokenQueuePair {
    fn name(&self) -> &str {
        NAME
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn holds(&self, key: &KeyHandle) -> bool {
        let token = self.pool.backend().token.number();
        key.object::<TokenKey>()
            .is_some_and(|key| key.token == token)
    }

    fn enqueue_burst(&mut self, ops: &mut Burst) -> usize {
        let room = self.capacity - self.client.len();
        let taken = ops.len().min(room);
        for op in ops.drain(..taken) {
            let now_ns = op.enqueued_at_ns;
            let serves = self.serves(&op);
            let op = AnyOp::Contract(ContractOp { op, failure: None });
            match serves {
                true => self.client.submit(op, now_ns),
                false => self.client.refuse(op, Failure::Unsupported),
            }
        }
        self.stats.enqueued += taken as u64;
        taken
    }

    fn dequeue_burst(&mut self, done: &mut Burst, max: usize, now_ns: u64) -> usize {
        let (stats, failures) = (&mut self.stats, &mut self.failures);
        let count = self.client.collect(max, now_ns, |op| {
            // A client gets back what it has sent.
            let AnyOp::Contract(ContractOp { op, failure }) = op else {
                return;
            };
            if let Some(failure) = failure {
                stats.failed += 1;
                failures.count(failure);
            }
            done.push(op);
        });
        self.stats.dequeued += count as u64;
        count
    }

    /// A token takes far longer than lanes. What its own bounds should have ended twice over is lost.
    fn health(&self) -> HealthConfig {
        let settings = self.pool.backend().token.settings();
        let bounds = settings.wait_at_most.saturating_add(settings.stuck_after);
        HealthConfig {
            op_deadline_ns: u64::try_from(2 * bounds.as_nanos()).unwrap_or(u64::MAX),
            ..HealthConfig::default()
        }
    }

    fn batches(&self) -> bool {
        false
    }

    fn stats(&self) -> DeviceStats {
        self.stats
    }

    /// Lets go of its ops: those that a worker has begun end without anybody to tell.
    fn reset(&mut self) -> bool {
        self.client = TokenClient::new(&self.pool, self.capacity, self.wait_at_most_ns);
        true
    }

    fn xstats(&self) -> Vec<(&'static str, u64)> {
        let counts = self.pool.backend().token.counters.read();
        let mut all = counts.by_name();
        all.extend(self.failures.by_name());
        all
    }
}

/// The kinds that a token with these mechanisms may serve. They do not tell curves: what a key is, its own
/// public half tells.
pub(crate) fn capabilities(mechanisms: &[MechanismType]) -> Capabilities {
    let rsa = [
        MechanismType::RSA_X_509,
        MechanismType::RSA_PKCS,
        MechanismType::RSA_PKCS_PSS,
    ];
    let kinds = [
        (
            &rsa[..],
            &[OpKind::Rsa2048, OpKind::Rsa3072, OpKind::Rsa4096][..],
        ),
        (
            &[MechanismType::ECDSA],
            &[OpKind::EcdsaP256, OpKind::EcdsaP384],
        ),
        (&[MechanismType::EDDSA], &[OpKind::Ed25519]),
    ];
    let mut capabilities = Capabilities::NONE;
    for (needed, kinds) in kinds {
        if needed
            .iter()
            .any(|mechanism| mechanisms.contains(mechanism))
        {
            for kind in kinds {
                capabilities = capabilities.with(*kind);
            }
        }
    }
    capabilities
}
