//! What a stack pool promises.

use std::hint::black_box;

use spinlane_fiber::{Fiber, PoolConfig, PoolStats, StackError, StackPool, State, suspend};

fn pool(max: usize) -> StackPool {
    StackPool::new(PoolConfig {
        name: "test",
        stack_size: 32 * 1024,
        max,
        ..PoolConfig::default()
    })
}

fn suspended(pool: &mut StackPool) -> Fiber {
    let fiber = Fiber::new(pool.take().unwrap(), || suspend().unwrap());
    assert_eq!(fiber.resume(), State::Suspended);
    fiber
}

#[test]
fn the_size_is_in_whole_pages() {
    let mut pool = StackPool::new(PoolConfig {
        name: "odd",
        stack_size: 10_000,
        max: 0,
        ..PoolConfig::default()
    });
    assert_eq!(pool.stack_size(), 12 * 1024);
    assert_eq!(pool.take().unwrap().usable_size(), 12 * 1024);
}

#[test]
fn the_maximum_is_kept_and_named() {
    let mut pool = pool(2);
    let first = pool.take().unwrap();
    let _second = pool.take().unwrap();
    let error = pool.take().unwrap_err();
    assert!(matches!(
        error,
        StackError::Exhausted {
            pool: "test",
            max: 2
        }
    ));
    assert!(
        error.to_string().contains("raise PoolConfig::max"),
        "{error}"
    );
    pool.put(first);
    assert!(pool.take().is_ok());
}

#[test]
fn idle_stacks_count_towards_the_maximum() {
    let mut pool = pool(3);
    pool.reserve(2).unwrap();
    let error = pool.reserve(4).unwrap_err();
    assert!(matches!(error, StackError::Exhausted { .. }));
    assert_eq!(pool.stats().idle, 3);
}

#[test]
fn memory_that_cannot_be_had_is_an_error() {
    for stack_size in [usize::MAX, 1 << 60] {
        let mut pool = StackPool::new(PoolConfig {
            name: "vast",
            stack_size,
            max: 0,
            ..PoolConfig::default()
        });
        let error = pool.take().unwrap_err();
        assert!(
            matches!(error, StackError::Map { pool: "vast", .. }),
            "{error}"
        );
        assert_eq!(pool.stats().in_use, 0);
    }
}

#[test]
fn counts_follow_the_stacks() {
    let mut pool = pool(0);
    let (first, second, third) = (
        pool.take().unwrap(),
        pool.take().unwrap(),
        pool.take().unwrap(),
    );
    assert_eq!(
        pool.stats(),
        PoolStats {
            in_use: 3,
            idle: 0,
            peak: 3,
            leaked: 0
        }
    );
    pool.put(first);
    pool.put(second);
    drop(third);
    assert_eq!(
        pool.stats(),
        PoolStats {
            in_use: 0,
            idle: 2,
            peak: 3,
            leaked: 0
        }
    );
    assert_eq!(pool.trim(1), 1);
    assert_eq!(pool.trim(1), 0);
    assert_eq!(pool.stats().idle, 1);
}

#[test]
fn the_stack_put_back_last_is_taken_first() {
    let mut pool = pool(0);
    let used = suspended(&mut pool);
    let unused = pool.take().unwrap();
    pool.put(unused);
    // SAFETY: its frames hold nothing.
    pool.put(unsafe { used.abandon() });
    assert!(pool.take().unwrap().high_water() > 0);
}

#[test]
fn a_stack_of_another_pool_is_not_kept() {
    let (mut ours, mut theirs) = (pool(0), pool(0));
    ours.put(theirs.take().unwrap());
    assert_eq!(ours.stats().idle, 0);
    assert_eq!(theirs.stats().in_use, 0);
}

#[test]
fn a_stack_outlives_its_pool() {
    let mut pool = pool(0);
    let fiber = suspended(&mut pool);
    drop(pool);
    assert_eq!(fiber.resume(), State::Returned);
    drop(fiber);
}

#[test]
fn a_suspended_fiber_that_is_dropped_is_counted() {
    let mut pool = pool(1);
    drop(suspended(&mut pool));
    assert_eq!(
        pool.stats(),
        PoolStats {
            in_use: 0,
            idle: 0,
            peak: 1,
            leaked: 1
        }
    );
    assert!(matches!(pool.take(), Err(StackError::Exhausted { .. })));
}

#[test]
fn an_abandoned_stack_is_used_again() {
    let mut pool = pool(1);
    for _ in 0..100 {
        let fiber = Fiber::new(pool.take().unwrap(), || {
            let mut frame = [1u8; 1024];
            black_box(&mut frame);
            suspend().unwrap();
            black_box(&mut frame);
        });
        assert_eq!(fiber.resume(), State::Suspended);
        let fiber = fiber.into_stack().expect_err("it is suspended");
        // SAFETY: nothing points to its frames, which hold plain bytes.
        pool.put(unsafe { fiber.abandon() });
    }
    assert_eq!(
        pool.stats(),
        PoolStats {
            in_use: 0,
            idle: 1,
            peak: 1,
            leaked: 0
        }
    );
}

#[test]
fn the_high_water_mark_is_the_deepest_use() {
    fn touch<const BYTES: usize>(pool: &mut StackPool) {
        let fiber = Fiber::new(pool.take().unwrap(), || {
            black_box(&mut [0xaau8; BYTES]);
        });
        assert_eq!(fiber.resume(), State::Returned);
        pool.put(fiber.into_stack().unwrap());
    }
    let mut pool = pool(0);
    pool.reserve(1).unwrap();
    assert_eq!(pool.high_water(), 0);
    touch::<10_000>(&mut pool);
    let deep = pool.high_water();
    // AddressSanitizer may keep the array off the stack.
    if !cfg!(spinlane_asan) {
        assert!((10_000..16_000).contains(&deep), "{deep}");
    }
    touch::<100>(&mut pool);
    assert_eq!(pool.high_water(), deep);
}

#[test]
fn stacks_that_a_burst_left_are_given_back_some_at_a_time() {
    let mut pool = pool(0);
    let burst: Vec<_> = (0..100).map(|_| pool.take().unwrap()).collect();
    burst.into_iter().for_each(|stack| pool.put(stack));
    let use_ten = |pool: &mut StackPool| {
        let taken: Vec<_> = (0..10).map(|_| pool.take().unwrap()).collect();
        taken.into_iter().for_each(|stack| pool.put(stack));
    };
    assert_eq!(pool.trim_unneeded(0, 8), 0, "in the period of the burst");
    pool.end_period();
    use_ten(&mut pool);
    assert_eq!(pool.trim_unneeded(0, 8), 0, "and the one after");
    pool.end_period();
    assert_eq!(pool.trim_unneeded(0, 8), 8);
    assert_eq!(pool.trim_unneeded(90, 8), 2, "what is to be kept is");
    let mut gone = 10;
    while let more @ 1.. = pool.trim_unneeded(0, 8) {
        gone += more;
        use_ten(&mut pool);
    }
    assert_eq!((gone, pool.stats().idle, pool.stats().peak), (90, 10, 100));
    pool.end_period();
    pool.end_period();
    assert_eq!(pool.trim_unneeded(0, 100), 10, "nothing was needed of late");
}

#[test]
fn stacks_in_use_count_as_needed() {
    let mut pool = pool(0);
    let taken: Vec<_> = (0..20).map(|_| pool.take().unwrap()).collect();
    pool.end_period();
    pool.end_period();
    pool.reserve(5).unwrap();
    assert_eq!(pool.trim_unneeded(0, 100), 5);
    assert_eq!(pool.stats().in_use, taken.len());
}
