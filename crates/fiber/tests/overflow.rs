//! An overflow is reported by name, any other fault is not.
//!
//! Each case runs this test binary again, as a child that is to die.

use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use spinlane_fiber::{Fiber, PoolConfig, StackPool, install_overflow_handler};

const CASE: &str = "SPINLANE_FIBER_OVERFLOW_CASE";

#[expect(unconditional_recursion, reason = "that is the point")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth + 1)) + depth)
}

fn pool() -> StackPool {
    StackPool::new(PoolConfig {
        name: "jobs",
        stack_size: 64 * 1024,
        max: 0,
        remedy: "give it more",
    })
}

fn overflow() {
    let mut pool = pool();
    let fiber = Fiber::new(pool.take().unwrap(), || {
        recurse(0);
    });
    let _ = fiber.resume();
}

fn wild_read() {
    let mut pool = pool();
    let fiber = Fiber::new(pool.take().unwrap(), || {
        let nowhere = black_box(8usize) as *const u8;
        // SAFETY: none: this is the fault to be seen.
        black_box(unsafe { nowhere.read_volatile() });
    });
    let _ = fiber.resume();
}

unsafe extern "C" fn earlier_handler(_: libc::c_int) {
    const SEEN: &[u8] = b"earlier handler\n";
    // SAFETY: a live buffer; _exit is async-signal-safe.
    unsafe {
        libc::write(2, SEEN.as_ptr().cast(), SEEN.len());
        libc::_exit(7)
    }
}

/// Runs as a test in the parent too, where it does nothing.
#[test]
fn child() {
    let Ok(case) = std::env::var(CASE) else {
        return;
    };
    if case == "chained" {
        // SAFETY: an async-signal-safe handler of the right type.
        unsafe { libc::signal(libc::SIGSEGV, earlier_handler as *const () as usize) };
    }
    install_overflow_handler();
    install_overflow_handler();
    match case.as_str() {
        "overflow" => overflow(),
        // A thread that std did not start has no alternate stack of its own.
        "foreign thread" => on_foreign_thread(),
        "wild read" | "chained" => wild_read(),
        _ => panic!("no case {case}"),
    }
}

fn on_foreign_thread() {
    extern "C" fn start(_: *mut libc::c_void) -> *mut libc::c_void {
        overflow();
        std::ptr::null_mut()
    }
    let mut thread: libc::pthread_t = 0;
    // SAFETY: `start` has the type asked for and takes no argument.
    unsafe {
        libc::pthread_create(&mut thread, std::ptr::null(), start, std::ptr::null_mut());
        libc::pthread_join(thread, std::ptr::null_mut());
    }
}

fn run(case: &str) -> (Output, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CASE, case)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, text)
}

const REPORT: &str = "spinlane: stack overflow: fiber stack of pool 'jobs' (65536 bytes) \
                      exhausted; give it more\n";

#[test]
fn an_overflow_is_reported_by_the_name_of_its_pool() {
    for case in ["overflow", "foreign thread"] {
        let (output, text) = run(case);
        assert!(text.contains(REPORT), "{case}: {text}");
        assert_eq!(
            output.status.signal(),
            Some(libc::SIGABRT),
            "{case}: {text}"
        );
    }
}

#[test]
fn another_fault_on_a_fiber_is_no_overflow() {
    let (output, text) = run("wild read");
    assert!(!text.contains("stack overflow"), "{text}");
    assert!(!output.status.success());
    if !cfg!(spinlane_asan) {
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{text}");
    }
}

#[test]
fn another_fault_goes_to_the_earlier_handler() {
    let (output, text) = run("chained");
    assert!(text.contains("earlier handler"), "{text}");
    assert!(!text.contains("stack overflow"), "{text}");
    assert_eq!(output.status.code(), Some(7));
}
