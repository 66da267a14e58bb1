//! Fibers: what resume, suspend and the ends of a fiber promise.
#![allow(unused)]

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use spinlane_fiber::{Fiber, NotOnFiber, PoolConfig, StackPool, State, on_fiber, suspend};

fn pool() -> StackPool {
    StackPool::new(PoolConfig {
        name: "test",
        ..PoolConfig::default()
    })
}

#[test]
fn body_runs_until_it_suspends_and_goes_on_where_it_stopped() {
    let mut pool = pool();
    let steps = Rc::new(RefCell::new(Vec::new()));
    let log = Rc::clone(&steps);
    let mut fiber = Fiber::new(pool.take().unwrap(), move || {
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
}

#[test]
fn a_backtrace_shows_the_body_and_the_resumer() {
    #[inline(never)]
    fn resumer_of_backtrace(fiber: &mut Fiber) {
        assert_eq!(fiber.resume(), State::Returned);
        std::hint::black_box(fiber);
    }
    #[inline(never)]
    fn body_of_backtrace() -> String {
        std::backtrace::Backtrace::force_capture().to_string()
    }
    let text = Rc::new(RefCell::new(String::new()));
    let out = Rc::clone(&text);
    let mut fiber = Fiber::new(pool().take().unwrap(), move || {
        *out.borrow_mut() = body_of_backtrace()
    });
    resumer_of_backtrace(&mut fiber);
    let text = text.borrow();
    println!("{text}");
    let body = text
        .find("body_of_backtrace")
        .expect("no frame of the body");
    let resumer = text
        .find("resumer_of_backtrace")
        .expect("no frame of the resumer");
    let test = text
        .rfind("a_backtrace_shows_the_body_and_the_resumer")
        .expect("no frame of the test");
    assert!(body < resumer && resumer < test);
}

#[test]
fn a_panic_comes_out_of_resume_with_its_payload() {
    let mut pool = pool();
    let mut fiber = Fiber::new(pool.take().unwrap(), || std::panic::panic_any(42u64));
    let payload = catch_unwind(AssertUnwindSafe(|| fiber.resume())).unwrap_err();
    assert_eq!(payload.downcast_ref::<u64>(), Some(&42));
    assert!(fiber.is_done());
    pool.put(fiber.into_stack().unwrap());
}
