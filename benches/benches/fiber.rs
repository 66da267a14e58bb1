//! The cost of a fiber, beside corosensei's, which looks for no current fiber
//! (its bodies are handed what they suspend by) and catches no panic unless
//! asked to.
//!
//! `cargo bench -p spinlane-benches --bench fiber`; figures are per resume and
//! suspend, and per fiber.

use std::hint::black_box;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, ScopedCoroutine};
use criterion::{Criterion, criterion_group, criterion_main};
use spinlane_fiber::{Fiber, PoolConfig, StackPool, State, suspend};

fn pool() -> StackPool {
    StackPool::new(PoolConfig {
        name: "bench",
        ..PoolConfig::default()
    })
}

/// One resume and one suspend of a body that does nothing else.
fn resume_suspend(c: &mut Criterion) {
    let mut group = c.benchmark_group("resume_suspend");

    let mut pool = pool();
    let stack = pool.take().expect("a stack");
    let fiber = Fiber::new(stack, || while suspend().is_ok() {});
    group.bench_function("spinlane", |b| {
        b.iter(|| assert_eq!(fiber.resume(), State::Suspended))
    });
    // SAFETY: suspended, and its frames hold nothing.
    drop(unsafe { fiber.abandon() });

    let mut coroutine = Coroutine::<(), (), ()>::new(|yielder, ()| {
        loop {
            yielder.suspend(());
        }
    });
    group.bench_function("corosensei", |b| {
        b.iter(|| assert!(matches!(coroutine.resume(()), CoroutineResult::Yield(()))));
    });
    // SAFETY: suspended, and its frames hold nothing.
    unsafe { coroutine.force_reset() };

    let stack = pool.take().expect("a stack");
    let fiber = Fiber::with_fp_control(stack, || while suspend().is_ok() {});
    group.bench_function("spinlane with_fp_control", |b| {
        b.iter(|| assert_eq!(fiber.resume(), State::Suspended));
    });
    // SAFETY: suspended, and its frames hold nothing.
    drop(unsafe { fiber.abandon() });
    group.finish();
}

/// A fiber made, run to its end and its stack given back, without a mapping.
fn create_run_return(c: &mut Criterion) {
    let mut group = c.benchmark_group("create_run_return");

    let mut pool = pool();
    group.bench_function("spinlane", |b| {
        b.iter(|| {
            let seed = black_box(7u64);
            let fiber = Fiber::new(pool.take().expect("a stack"), move || {
                black_box(seed);
            });
            assert_eq!(fiber.resume(), State::Returned);
            pool.put(fiber.into_stack().expect("the body returned"));
        });
    });

    let mut stack = DefaultStack::default();
    group.bench_function("corosensei", |b| {
        b.iter(|| {
            let seed = black_box(7u64);
            let coroutine =
                ScopedCoroutine::<(), (), (), _>::with_stack(&mut stack, move |_, ()| {
                    black_box(seed);
                });
            let end = coroutine.scope(|mut coroutine| coroutine.resume(()));
            assert!(matches!(end, CoroutineResult::Return(())));
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = spinlane_benches::pinned();
    targets = resume_suspend, create_run_return
}
criterion_main!(benches);
