//! A job that overflows its stack ends the process with a report that names the pool.

use std::hint::black_box;
use std::process::Command;

use spinlane_job as job;

const CHILD: &str = "SPINLANE_JOB_OVERFLOW_CHILD";

#[expect(unconditional_recursion, reason = "that is the point")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth + 1)) + depth)
}

#[test]
fn is_reported_by_name() {
    if std::env::var_os(CHILD).is_some() {
        let _ = job::start(None, || recurse(0) as i32);
        return;
    }
    let test = std::env::current_exe().expect("the test knows its own path");
    let child = Command::new(test)
        .args(["is_reported_by_name", "--exact", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("the test runs itself");
    assert!(!child.status.success());
    let report = String::from_utf8_lossy(&child.stderr).into_owned();
    for part in ["stack overflow", "'jobs'", "spinlane_set_stack_size"] {
        assert!(report.contains(part), "{part} in {report}");
    }
}
