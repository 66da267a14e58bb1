//! A call from a fiber on the stack of its thread.

use std::cell::Cell;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use spinlane_fiber::{
    Fiber, PoolConfig, StackPool, State, current_record, on_fiber, on_thread_stack, suspend,
};

/// Stacks so small that what runs here does not fit.
fn pool() -> StackPool {
    StackPool::new(PoolConfig {
        stack_size: 16 * 1024,
        ..PoolConfig::default()
    })
}

/// Runs `body` on a fiber of its own.
fn on_a_fiber<T: 'static>(body: impl FnOnce() -> T + 'static) -> T {
    let result = Rc::new(Cell::new(None));
    let place = Rc::clone(&result);
    let fiber = Fiber::new(pool().take().unwrap(), move || place.set(Some(body())));
    while fiber.resume() == State::Suspended {}
    result.take().expect("the body has returned")
}

#[inline(never)]
fn here() -> usize {
    let local = 0u8;
    (&raw const *black_box(&local)).addr()
}

#[inline(never)]
fn deep() -> u64 {
    let frame = black_box([1u8; 256 * 1024]);
    frame.iter().map(|byte| u64::from(*byte)).sum()
}

#[test]
fn outside_a_fiber_it_is_a_call() {
    assert_eq!(on_thread_stack(|| 17), 17);
}

#[test]
fn more_fits_than_on_the_fiber() {
    assert_eq!(on_a_fiber(|| on_thread_stack(deep)), 256 * 1024);
}

#[test]
fn it_runs_below_the_frames_of_the_resumer() {
    let before = here();
    let (inside, on_the_fiber) = on_a_fiber(|| (on_thread_stack(here), here()));
    // AddressSanitizer keeps locals elsewhere.
    if !cfg!(spinlane_asan) {
        assert!(inside.abs_diff(before) < 8192, "{inside:x} {before:x}");
        assert!(inside.abs_diff(on_the_fiber) > 8192);
    }
}

#[test]
fn from_a_fiber_on_a_fiber_it_is_the_threads_stack_too() {
    let nested = || on_a_fiber(|| on_a_fiber(|| on_thread_stack(deep)));
    assert_eq!(on_a_fiber(nested), 256 * 1024);
    // And again when a fiber that was resumed from another one is resumed by the thread.
    let inner = Rc::new(Fiber::new(pool().take().unwrap(), || {
        suspend().unwrap();
        assert_eq!(on_thread_stack(deep), 256 * 1024);
    }));
    let resumed = Rc::clone(&inner);
    assert_eq!(on_a_fiber(move || resumed.resume()), State::Suspended);
    assert_eq!(inner.resume(), State::Returned);
}

#[test]
fn no_fiber_runs_meanwhile_and_the_same_one_after_it() {
    on_a_fiber(|| {
        let record = current_record();
        on_thread_stack(|| {
            assert!(!on_fiber());
            assert!(suspend().is_err());
        });
        assert_eq!(current_record(), record);
        suspend().unwrap();
        assert_eq!(current_record(), record);
    });
}

#[test]
fn fibers_may_be_resumed_from_there() {
    let sum = on_a_fiber(|| {
        on_thread_stack(|| {
            let fiber = Fiber::new(pool().take().unwrap(), || {
                suspend().unwrap();
                assert_eq!(on_thread_stack(deep), 256 * 1024);
            });
            assert_eq!(fiber.resume(), State::Suspended);
            assert_eq!(fiber.resume(), State::Returned);
            on_a_fiber(|| on_thread_stack(|| 3))
        }) + on_thread_stack(|| 4)
    });
    assert_eq!(sum, 7);
}

#[test]
fn a_panic_comes_out_of_it_on_the_fiber() {
    let caught = on_a_fiber(|| {
        let local = black_box([7u8; 100]);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            on_thread_stack(|| panic!("on purpose"))
        }));
        assert!(on_fiber());
        suspend().unwrap();
        assert_eq!(local, [7; 100]);
        *caught.unwrap_err().downcast::<&str>().unwrap()
    });
    assert_eq!(caught, "on purpose");
}

#[test]
fn a_panic_goes_through_the_fiber_to_its_resumer() {
    let fiber = Fiber::new(pool().take().unwrap(), || {
        on_thread_stack(|| panic!("through both"))
    });
    let payload = catch_unwind(AssertUnwindSafe(|| fiber.resume())).unwrap_err();
    assert_eq!(*payload.downcast::<&str>().unwrap(), "through both");
    assert!(!on_fiber());
}

#[test]
fn what_it_borrows_and_returns_may_be_the_fibers() {
    let words = on_a_fiber(|| {
        let mut words = vec!["one".to_owned()];
        let length = on_thread_stack(|| {
            words.push("two".to_owned());
            words.len()
        });
        (words, length)
    });
    assert_eq!(words, (vec!["one".to_owned(), "two".to_owned()], 2));
}

#[test]
fn a_backtrace_taken_there_shows_the_fiber_and_its_resumer() {
    #[inline(never)]
    fn asks_on_the_thread_stack() -> String {
        let text = on_thread_stack(|| std::backtrace::Backtrace::force_capture().to_string());
        black_box(text)
    }
    let text = on_a_fiber(asks_on_the_thread_stack);
    let mut rest = text.as_str();
    for frame in [
        "asks_on_the_thread_stack",
        "a_backtrace_taken_there_shows_the_fiber",
    ] {
        let at = rest
            .find(frame)
            .unwrap_or_else(|| panic!("no {frame} in\n{text}"));
        rest = &rest[at + frame.len()..];
    }
}
