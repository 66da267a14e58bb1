//! After warm-up bulk data allocates nothing, whether the device computes inline, is copied for, or fails.

#[path = "support/aead.rs"]
mod device;

use allocation_counter::measure;
use device::{Fate, Handle, fill, key};
use spinlane_crypto::aead::Algorithm;
use spinlane_cryptodev::aead::{Direction, Op};
use spinlane_cryptodev::{Burst, OpStatus};
use spinlane_lcore::{Config, HealthConfig, Lcore};

#[test]
fn nothing_is_allocated_per_op_after_warm_up() {
    const LEN: usize = 1000;
    for inline in [true, false] {
        let health = HealthConfig {
            max_errors: u32::MAX,
            ..HealthConfig::default()
        };
        let lcore = Lcore::new(Config::default());
        let device = Handle::new(16, inline);
        lcore.add_record_queue_pair_with(device.queue_pair(), health);
        let keys = [key(Algorithm::Aes128Gcm), key(Algorithm::ChaCha20Poly1305)];
        let mut pool: Burst<Op> = (0..32).map(|_| device::empty(LEN)).collect();
        let mut done = Burst::with_capacity(32);
        let mut turn = |fate| {
            device.set_fate(fate);
            for (token, op) in (0..).zip(&mut pool) {
                let key = &keys[token as usize % 2];
                fill(op, token, key, Direction::Seal, LEN);
            }
            while done.len() < 32 {
                lcore.enqueue_records(&mut pool).expect("no fork");
                lcore.poll().expect("not from a callback");
                lcore.dequeue_records(&mut done, 32);
            }
            assert!(done.iter().all(|op| op.status == OpStatus::Success));
            pool.append(&mut done);
        };
        let fates = [Fate::Right, Fate::Undone];
        (0..4).for_each(|number| turn(fates[number % 2]));
        let allocated = measure(|| (0..1000).for_each(|number| turn(fates[number % 2])));
        assert_eq!(allocated.count_total, 0, "inline: {inline}");
        let counts = lcore.stats().records.remove(0).counts;
        assert!(counts.completed > 0 && counts.fallback > 0 && counts.refused > 0);
    }
}
