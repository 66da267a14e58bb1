//! Each fault by itself, all together, and the same again from the same seed.

use spinlane_crypto::test_keys::der;
use spinlane_cryptodev::test_keys::rsa;
use spinlane_cryptodev::{
    Burst, Device, DeviceError, Op, OpStatus, QueuePair, QueuePairConfig, Request, Token, cpu,
};
use spinlane_driver_sim::{SimConfig, SimDevice};
use spinlane_driver_soft::SoftDevice;

/// A queue pair with the faults of `options`, over `soft`.
fn open(options: &str, capacity: usize) -> Box<dyn QueuePair> {
    let config: SimConfig = options.parse().expect("options");
    let device = SimDevice::new(Box::new(SoftDevice::new()), config);
    assert_eq!(device.name(), "sim:soft");
    let config = QueuePairConfig {
        capacity,
        ..QueuePairConfig::default()
    };
    device.queue_pair(config).expect("a capacity in range")
}

fn keygen(token: u64, now_ns: u64) -> Box<Op> {
    let mut op = Op::new();
    op.prepare(
        Token(token),
        &Request::x25519_keygen(&[token as u8; 32]),
        now_ns,
    );
    op
}

/// Submits ops `tokens` at `now_ns`; returns how many were taken.
fn submit(queue: &mut dyn QueuePair, tokens: std::ops::Range<u64>, now_ns: u64) -> usize {
    let mut ops: Burst = tokens.map(|token| keygen(token, now_ns)).collect();
    queue.enqueue_burst(&mut ops)
}

/// Tokens and statuses of all that comes back by `now_ns`.
fn collect(queue: &mut dyn QueuePair, now_ns: u64) -> Vec<(u64, OpStatus)> {
    let mut done = Burst::new();
    // The inner device computes for a bounded time per call.
    for _ in 0..100 {
        queue.dequeue_burst(&mut done, usize::MAX, now_ns);
    }
    for op in &done {
        let right = op.status != OpStatus::Success || cpu::result_is_right(op);
        assert!(right, "what is called done was done");
    }
    done.iter().map(|op| (op.token.0, op.status)).collect()
}

fn fault(queue: &dyn QueuePair, name: &str) -> u64 {
    let found = queue.xstats().into_iter().find(|(of, _)| *of == name);
    found.expect("a fault's name").1
}

#[test]
fn without_faults_it_is_the_inner_device_with_latency() {
    let mut queue = open("1,latency=constant:10us", 8);
    assert_eq!(submit(&mut *queue, 1..9, 0), 8);
    assert_eq!(collect(&mut *queue, 0), []);
    assert_eq!(collect(&mut *queue, 9_999), []);
    let expected: Vec<_> = (1..9).map(|token| (token, OpStatus::Success)).collect();
    assert_eq!(collect(&mut *queue, 10_000), expected);
    assert!(queue.xstats().iter().all(|(_, count)| *count == 0));
    assert!(!queue.is_inline());
    assert_eq!((queue.stats().enqueued, queue.stats().dequeued), (8, 8));
}

#[test]
fn descriptors_are_bounded() {
    let mut queue = open("1,descriptors=3", 8);
    assert_eq!(queue.capacity(), 3);
    let mut ops: Burst = (1..6).map(|token| keygen(token, 0)).collect();
    assert_eq!(queue.enqueue_burst(&mut ops), 3);
    let left: Vec<_> = ops.iter().map(|op| op.token.0).collect();
    assert_eq!(left, [4, 5], "what was refused is unchanged");
    assert_eq!(collect(&mut *queue, 0).len(), 3);
    assert_eq!(queue.enqueue_burst(&mut ops), 2);
}

#[test]
fn a_lost_op_frees_its_descriptor_and_never_comes() {
    let mut queue = open("1,lose=1", 2);
    assert_eq!(submit(&mut *queue, 1..3, 0), 2);
    assert_eq!(collect(&mut *queue, u64::MAX), []);
    assert_eq!(submit(&mut *queue, 3..5, 0), 2);
    assert_eq!(fault(&*queue, "lost"), 2);
}

#[test]
fn a_duplicate_is_the_same_op_again() {
    let mut queue = open("1,dup=1", 2);
    submit(&mut *queue, 1..3, 0);
    let mut done = collect(&mut *queue, 0);
    done.extend(collect(&mut *queue, 1_000_000));
    let mut tokens: Vec<_> = done.iter().map(|op| op.0).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, [1, 1, 2, 2]);
    assert_eq!(fault(&*queue, "duplicated"), 2);
    let room = submit(&mut *queue, 3..6, 0);
    assert_eq!(room, 2, "descriptors are given back once");
}

#[test]
fn a_late_op_comes_when_it_is_late() {
    let mut queue = open("1,late=1,late-by=5s", 2);
    submit(&mut *queue, 1..2, 0);
    assert_eq!(collect(&mut *queue, 0), []);
    assert_eq!(collect(&mut *queue, 4_999_999_999), []);
    assert_eq!(
        collect(&mut *queue, 5_000_000_000),
        [(1, OpStatus::Success)]
    );
    assert_eq!(fault(&*queue, "late"), 1);
}

#[test]
fn a_wrong_status_has_no_result() {
    let mut queue = open("1,wrong-status=1", 64);
    submit(&mut *queue, 1..65, 0);
    let mut done = Burst::new();
    while queue.dequeue_burst(&mut done, usize::MAX, 0) > 0 {}
    assert!(done.iter().all(|op| op.output() == [0; 32]));
    for status in [OpStatus::Error, OpStatus::Invalid, OpStatus::NotProcessed] {
        assert!(done.iter().any(|op| op.status == status), "{status:?}");
    }
    assert_eq!(fault(&*queue, "wrong_status"), 64);
}

#[test]
fn a_corrupted_rsa_result_is_caught_by_the_public_exponent() {
    let key = rsa(der::RSA_2048);
    let mut queue = open("1,corrupt=0.5", 16);
    let request = Request::rsa_private(&key, &[0x21; 256]).expect("below the modulus");
    let mut ops = Burst::new();
    for token in 1..17 {
        let mut op = Op::new();
        op.prepare(Token(token), &request, 0);
        ops.push(op);
    }
    queue.enqueue_burst(&mut ops);
    let done = collect(&mut *queue, 0);
    let caught = done.iter().filter(|op| op.1 == OpStatus::Error).count() as u64;
    assert!((1..16).contains(&caught), "{caught}");
    assert_eq!(fault(&*queue, "corrupted"), caught);
    assert_eq!(queue.stats().faults_caught, caught);
}

#[test]
fn refusals_come_in_storms_that_end() {
    let mut queue = open("1,refuse=0.05", 1);
    let mut runs = Vec::new();
    let mut run = 0;
    for _ in 0..2000 {
        if submit(&mut *queue, 1..2, 0) == 0 {
            run += 1;
        } else {
            runs.push(std::mem::take(&mut run));
            collect(&mut *queue, 0);
        }
    }
    assert!(
        runs.contains(&0) && runs.iter().any(|run| *run > 4),
        "{runs:?}"
    );
    assert_eq!(fault(&*queue, "refused"), runs.iter().sum::<u64>() + run);
}

#[test]
fn order_is_kept_unless_it_is_not_to_be() {
    for (options, ordered) in [
        ("1,latency=uniform:0us-1ms", true),
        ("1,latency=uniform:0us-1ms,reorder=0.5", false),
    ] {
        let mut queue = open(options, 64);
        submit(&mut *queue, 1..65, 0);
        let tokens: Vec<_> = (0..200)
            .flat_map(|step| collect(&mut *queue, step * 5_000))
            .map(|op| op.0)
            .collect();
        assert_eq!(tokens.is_sorted(), ordered, "{options}");
        assert_eq!(fault(&*queue, "reordered") == 0, ordered);
    }
}

#[test]
fn a_reset_of_its_own_fails_what_is_on_its_way() {
    let mut queue = open("1,latency=constant:1s,reset=1", 4);
    submit(&mut *queue, 1..5, 0);
    let done = collect(&mut *queue, 0);
    assert_eq!(done.len(), 3, "all but the last to be computed");
    assert!(done.iter().all(|op| op.1 == OpStatus::Error));
    assert_eq!(fault(&*queue, "resets"), 4);
}

#[test]
fn dead_it_takes_ops_until_it_is_full_and_revived_it_serves_again() {
    let mut queue = open("1,latency=constant:10us,die=1ms,revive=1ms", 2);
    submit(&mut *queue, 1..2, 0);
    assert_eq!(collect(&mut *queue, 5_000), []);
    assert_eq!(collect(&mut *queue, 1_005_000), [], "dead");
    assert_eq!(submit(&mut *queue, 2..4, 1_010_000), 1, "full");
    let later = 2_005_000;
    assert_eq!(
        collect(&mut *queue, later),
        [(1, OpStatus::Success)],
        "what it had comes late, what it was given dead does not come"
    );
    assert_eq!(submit(&mut *queue, 4..6, later), 2);
    collect(&mut *queue, later);
    assert_eq!(collect(&mut *queue, later + 20_000).len(), 2);
    let deaths = ["deaths", "swallowed", "revivals"].map(|name| fault(&*queue, name));
    assert_eq!(deaths, [1, 1, 1]);
}

#[test]
fn a_reset_is_obeyed_or_not_and_frees_its_descriptors_if_it_is() {
    let mut obeyed = 0;
    for seed in 0..20 {
        let mut queue = open(&format!("{seed},latency=constant:1ms"), 2);
        submit(&mut *queue, 1..3, 0);
        collect(&mut *queue, 0);
        queue.reset();
        let room = submit(&mut *queue, 3..5, 0);
        collect(&mut *queue, 0);
        let back = collect(&mut *queue, 1_000_000).len();
        assert_eq!(back, 2, "the old ones or the new ones");
        obeyed += room;
    }
    assert!((2..38).contains(&obeyed), "{obeyed}");
}

#[test]
fn the_same_seed_gives_the_same_faults_and_another_seed_others() {
    let run = |seed: u64| {
        let options = format!(
            "{seed},latency=tail:1us-1ms,lose=0.1,dup=0.1,late=0.1,late-by=1ms,wrong-status=0.1,\
             refuse=0.1,reorder=0.3,reset=0.02,die=3ms,revive=1ms"
        );
        let mut queue = open(&options, 32);
        let mut log = Vec::new();
        for step in 0..400 {
            let now_ns = step * 20_000;
            log.push((
                submit(&mut *queue, step..step + 3, now_ns) as u64,
                OpStatus::Success,
            ));
            let mut done = Burst::new();
            queue.dequeue_burst(&mut done, usize::MAX, now_ns);
            log.extend(done.iter().map(|op| (op.token.0, op.status)));
        }
        assert!(
            queue
                .xstats()
                .iter()
                .filter(|(_, count)| *count > 0)
                .count()
                >= 10
        );
        log
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_setting_out_of_range_is_named() {
    let device = SimDevice::new(Box::new(SoftDevice::new()), SimConfig::new(1));
    let config = QueuePairConfig {
        capacity: 0,
        ..QueuePairConfig::default()
    };
    let error = device.queue_pair(config).err().expect("no capacity");
    assert!(
        matches!(error, DeviceError::Setting { device: "sim", .. }),
        "{error}"
    );
}
