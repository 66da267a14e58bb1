//! What resume, suspend and the ends of a fiber promise.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::rc::Rc;

use spinlane_fiber::{Fiber, NotOnFiber, PoolConfig, StackPool, State, on_fiber, suspend};

fn pool() -> StackPool {
    StackPool::new(PoolConfig {
        name: "test",
        ..PoolConfig::default()
    })
}

/// Counts how often it is dropped.
struct Dropped(Rc<Cell<u32>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

fn message(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<String>()
        .expect("a formatted panic message")
}

#[test]
fn the_body_goes_on_where_it_stopped() {
    let mut pool = pool();
    let steps = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&steps);
    let fiber = Fiber::new(pool.take().unwrap(), move || {
        for step in 0..3 {
            log.borrow_mut().push(step);
            suspend().unwrap();
        }
    });
    for resumed in 0..3 {
        assert_eq!(steps.borrow().len(), resumed);
        assert_eq!(fiber.resume(), State::Suspended);
        assert!(!fiber.is_done());
    }
    assert_eq!(fiber.resume(), State::Returned);
    assert!(fiber.is_done());
    assert_eq!(*steps.borrow(), [0, 1, 2]);
    pool.put(fiber.into_stack().unwrap());
    assert_eq!(pool.stats().idle, 1);
}

#[test]
fn suspend_outside_a_fiber_is_an_error() {
    assert!(!on_fiber());
    assert_eq!(suspend(), Err(NotOnFiber));
    let mut pool = pool();
    let fiber = Fiber::new(pool.take().unwrap(), || assert!(on_fiber()));
    assert_eq!(fiber.resume(), State::Returned);
    assert!(!on_fiber());
    assert_eq!(suspend(), Err(NotOnFiber));
}

#[test]
fn fibers_nest_and_suspend_the_innermost() {
    fn nest(depth: u32, log: Rc<RefCell<Vec<u32>>>) {
        log.borrow_mut().push(depth);
        if depth < 5 {
            let mut pool = pool();
            let deeper = Rc::clone(&log);
            let inner = Fiber::new(pool.take().unwrap(), move || nest(depth + 1, deeper));
            assert_eq!(inner.resume(), State::Suspended);
            assert!(on_fiber());
            suspend().unwrap();
            assert_eq!(inner.resume(), State::Returned);
        } else {
            suspend().unwrap();
        }
        log.borrow_mut().push(depth);
    }
    let mut pool = pool();
    let log = Rc::new(RefCell::new(Vec::new()));
    let body = Rc::clone(&log);
    let fiber = Fiber::new(pool.take().unwrap(), move || nest(0, body));
    assert_eq!(fiber.resume(), State::Suspended);
    assert!(!on_fiber());
    assert_eq!(*log.borrow(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(fiber.resume(), State::Returned);
    assert_eq!(*log.borrow(), [0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0]);
}

#[test]
fn a_panic_comes_out_of_resume_with_its_payload() {
    let mut pool = pool();
    let drops = Rc::new(Cell::new(0));
    let guard = Dropped(Rc::clone(&drops));
    let fiber = Fiber::new(pool.take().unwrap(), move || {
        let _guard = guard;
        suspend().unwrap();
        panic_any(42u64);
    });
    assert_eq!(fiber.resume(), State::Suspended);
    assert_eq!(drops.get(), 0);
    let payload = catch_unwind(AssertUnwindSafe(|| fiber.resume())).unwrap_err();
    assert_eq!(payload.downcast_ref::<u64>(), Some(&42));
    assert_eq!(drops.get(), 1);
    assert!(fiber.is_done());
    assert!(!on_fiber());

    pool.put(fiber.into_stack().unwrap());
    let again = Fiber::new(pool.take().unwrap(), || suspend().unwrap());
    assert_eq!(again.resume(), State::Suspended);
    assert_eq!(again.resume(), State::Returned);
}

#[test]
fn a_panic_passes_through_nested_fibers() {
    let mut pool = pool();
    let outer = Fiber::new(pool.take().unwrap(), || {
        let mut pool = self::pool();
        let inner = Fiber::new(pool.take().unwrap(), || panic_any("inner"));
        let _ = inner.resume();
    });
    let payload = catch_unwind(AssertUnwindSafe(|| outer.resume())).unwrap_err();
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"inner"));
    assert!(!on_fiber());
}

#[test]
fn resuming_a_finished_fiber_is_refused() {
    let mut pool = pool();
    let fiber = Fiber::new(pool.take().unwrap(), || ());
    assert_eq!(fiber.resume(), State::Returned);
    let payload = catch_unwind(AssertUnwindSafe(|| fiber.resume())).unwrap_err();
    assert_eq!(
        message(&*payload),
        "fiber of pool 'test' resumed after its body ended"
    );
}

#[test]
fn resuming_a_running_fiber_is_refused() {
    let mut pool = pool();
    let own: Rc<Cell<*mut Fiber>> = Rc::new(Cell::new(std::ptr::null_mut()));
    let inside = Rc::clone(&own);
    let mut fiber = Fiber::new(pool.take().unwrap(), move || {
        // SAFETY: not sound, for the caller holds `&mut`; what C code that
        // mixes up its handles would do.
        let _ = unsafe { (*inside.get()).resume() };
    });
    own.set(&raw mut fiber);
    // SAFETY: as above.
    let payload = catch_unwind(AssertUnwindSafe(|| unsafe { (*own.get()).resume() })).unwrap_err();
    assert_eq!(
        message(&*payload),
        "fiber of pool 'test' resumed while it is running"
    );
}

#[test]
fn captured_values_are_dropped_once_however_a_fiber_ends() {
    let drops = Rc::new(Cell::new(0));
    let mut pool = pool();
    let mut fiber = |end: fn()| {
        let guard = Dropped(Rc::clone(&drops));
        Fiber::new(pool.take().unwrap(), move || {
            let _guard = guard;
            end();
        })
    };

    let returned = fiber(|| ());
    assert_eq!(returned.resume(), State::Returned);
    assert_eq!(drops.get(), 1);
    drop(returned);
    assert_eq!(drops.get(), 1);

    let panicked = fiber(|| panic_any(()));
    catch_unwind(AssertUnwindSafe(|| panicked.resume())).unwrap_err();
    assert_eq!(drops.get(), 2);
    drop(panicked);
    assert_eq!(drops.get(), 2);

    drop(fiber(|| ()));
    assert_eq!(drops.get(), 3);

    drop(fiber(|| ()).into_stack().unwrap());
    assert_eq!(drops.get(), 4);

    // SAFETY: nothing is on the stack but the closure.
    drop(unsafe { fiber(|| ()).abandon() });
    assert_eq!(drops.get(), 5);
}

#[test]
fn a_closure_keeps_its_alignment() {
    #[repr(align(256))]
    struct Aligned([u8; 300]);
    let mut pool = pool();
    let value = Aligned([7; 300]);
    let fiber = Fiber::new(pool.take().unwrap(), move || {
        let value = black_box(&value);
        assert_eq!((&raw const *value).addr() % 256, 0);
        assert!(value.0.iter().all(|&byte| byte == 7));
    });
    assert_eq!(fiber.resume(), State::Returned);
}

#[test]
fn a_closure_too_large_for_its_stack_is_refused() {
    let mut pool = StackPool::new(PoolConfig {
        name: "small",
        stack_size: 4096,
        max: 0,
        ..PoolConfig::default()
    });
    let stack = pool.take().unwrap();
    let large = [1u8; 4096];
    let payload = catch_unwind(AssertUnwindSafe(|| {
        Fiber::new(stack, move || assert_eq!(black_box(large)[0], 1));
    }))
    .unwrap_err();
    assert!(message(&*payload).contains("raise PoolConfig::stack_size"));
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn deep_recursion_above_the_guard_is_fine() {
    fn sum(n: u64) -> u64 {
        if n == 0 {
            0
        } else {
            n + black_box(sum(black_box(n - 1)))
        }
    }
    let size = 1 << 20;
    let mut pool = StackPool::new(PoolConfig {
        name: "deep",
        stack_size: size,
        max: 0,
        ..PoolConfig::default()
    });
    let depth = if cfg!(spinlane_asan) { 2_000 } else { 10_000 };
    let fiber = Fiber::new(pool.take().unwrap(), move || {
        assert_eq!(sum(depth), depth * (depth + 1) / 2);
    });
    assert_eq!(fiber.resume(), State::Returned);
    let used = fiber.into_stack().unwrap().high_water();
    assert!((64 * 1024..=size).contains(&used), "{used}");
}

#[test]
fn ten_thousand_fibers_live_at_once() {
    const COUNT: usize = 10_000;
    let mut pool = StackPool::new(PoolConfig {
        name: "many",
        stack_size: 16 * 1024,
        max: COUNT,
        ..PoolConfig::default()
    });
    let sum = Rc::new(Cell::new(0));
    let mut fibers: Vec<Fiber> = (0..COUNT)
        .map(|number| {
            let sum = Rc::clone(&sum);
            Fiber::new(pool.take().unwrap(), move || {
                for _ in 0..3 {
                    suspend().unwrap();
                    sum.set(sum.get() + number);
                }
            })
        })
        .collect();
    for _ in 0..3 {
        assert!(
            fibers
                .iter_mut()
                .all(|fiber| fiber.resume() == State::Suspended)
        );
    }
    assert_eq!(pool.stats().in_use, COUNT);
    for fiber in fibers {
        assert_eq!(fiber.resume(), State::Returned);
        pool.put(fiber.into_stack().unwrap());
    }
    assert_eq!(sum.get(), 3 * COUNT * (COUNT - 1) / 2);
    assert_eq!(pool.stats().idle, COUNT);
}

#[test]
fn a_backtrace_shows_the_body_and_the_resumer() {
    #[inline(never)]
    fn the_resumer(fiber: &mut Fiber) {
        assert_eq!(fiber.resume(), State::Suspended);
        assert_eq!(fiber.resume(), State::Returned);
        black_box(fiber);
    }
    #[inline(never)]
    fn the_body() -> String {
        std::backtrace::Backtrace::force_capture().to_string()
    }
    let text = Rc::new(RefCell::new(String::new()));
    let out = Rc::clone(&text);
    let mut pool = pool();
    let mut fiber = Fiber::new(pool.take().unwrap(), move || {
        suspend().unwrap();
        *out.borrow_mut() = the_body();
    });
    the_resumer(&mut fiber);
    let text = text.borrow();
    let frames = [
        "the_body",
        "spinlane_fiber_entry",
        "the_resumer",
        "__rust_begin_short_backtrace",
    ];
    let mut from = 0;
    for frame in frames {
        let at = text[from..]
            .find(frame)
            .unwrap_or_else(|| panic!("no {frame} in\n{text}"));
        from += at;
    }
}
