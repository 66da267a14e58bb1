//! After the first op of a key the driver allocates nothing. (What crypto_openssl takes per op is C's.)
#![cfg(feature = "dpdk")]

mod support;

use allocation_counter::measure;
use spinlane_cryptodev::{Device, OpBurst, test_keys};
use support::{capacity, open, rsa_op};

#[test]
fn nothing_is_allocated_per_op_after_warm_up() {
    let key = test_keys::rsa(test_keys::der::RSA_2048);
    let device = open("crypto_openssl");
    let mut queue_pair = device.queue_pair(capacity(16)).unwrap();
    let mut ops: OpBurst = (0..20).map(|seed| rsa_op(&key, seed)).collect();
    let mut done = OpBurst::with_capacity(32);
    let mut round = || {
        while done.len() < 20 {
            queue_pair.enqueue_burst(&mut ops); // more than it holds
            queue_pair.dequeue_burst(&mut done, 32, 0);
            queue_pair.flush();
        }
        ops.append(&mut done);
    };
    round();
    let allocated = measure(|| (0..5).for_each(|_| round()));
    assert_eq!(allocated.count_total, 0);
}
