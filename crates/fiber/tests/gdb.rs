//! gdb sees from a fiber's body into the function that resumed it.
//!
//! Needs gdb and leave to trace a process; without them it says so and passes.

use std::hint::black_box;
use std::io::Write;
use std::process::Command;

use spinlane_fiber::{Fiber, PoolConfig, StackPool, State};

const CASE: &str = "SPINLANE_FIBER_GDB";

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fiber_test_body() {
    black_box(());
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fiber_test_resumer() {
    let mut pool = StackPool::new(PoolConfig::default());
    let fiber = Fiber::new(pool.take().unwrap(), || {
        fiber_test_body();
        black_box(());
    });
    assert_eq!(fiber.resume(), State::Returned);
}

/// Runs as a test in the parent too, where it does nothing.
#[test]
fn child() {
    if std::env::var_os(CASE).is_some() {
        fiber_test_resumer();
    }
}

#[test]
fn gdb_crosses_the_switch() {
    let output = Command::new("gdb")
        .args([
            "-nx",
            "-batch",
            "-ex",
            "set confirm off",
            "-ex",
            "set startup-with-shell off",
        ])
        .args([
            "-ex",
            "break fiber_test_body",
            "-ex",
            "run",
            "-ex",
            "backtrace",
            "-ex",
            "kill",
        ])
        .arg("--args")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--test-threads=1"])
        .env(CASE, "1")
        .output();
    let why = match &output {
        Err(error) => format!("gdb does not run: {error}"),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    let text = output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    if !text.contains("Breakpoint 1, ") {
        // Not eprintln!, which the test harness keeps to itself.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED gdb_crosses_the_switch: {}",
            why.trim()
        );
        return;
    }
    let mut from = 0;
    for frame in [
        "fiber_test_body",
        "signal handler called",
        "fiber_test_resumer",
        "gdb::child",
    ] {
        let at = text[from..]
            .find(frame)
            .unwrap_or_else(|| panic!("no {frame} in\n{text}"));
        from += at;
    }
}
