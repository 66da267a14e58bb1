//! Runs the assembly text for aarch64 under qemu-user, driven from C.
//!
//! Needs aarch64-linux-gnu-gcc and qemu-aarch64 (Debian: gcc-aarch64-linux-gnu,
//! libc6-dev-arm64-cross, qemu-user); without them it says so and passes.

use std::io::Write;
use std::path::Path;
use std::process::Command;

const COMPILER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";

fn is_missing(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_err()
}

#[test]
fn the_aarch64_switch_keeps_its_promises() {
    for program in [COMPILER, EMULATOR] {
        if is_missing(program) {
            // Not eprintln!, which the test harness keeps to itself.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED the_aarch64_switch_keeps_its_promises: no {program}; install \
                 gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user"
            );
            return;
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aarch64-harness");
    let compiled = Command::new(COMPILER)
        .args([
            "-std=c11",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-static",
            "-fexceptions",
            "-o",
        ])
        .arg(&program)
        .args([
            "tests/aarch64/harness.c",
            "tests/aarch64/regs.s",
            "src/arch/aarch64.s",
        ])
        .current_dir(root)
        .output()
        .expect("the compiler runs");
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );

    let ran = Command::new(EMULATOR)
        .arg(&program)
        .output()
        .expect("the emulator runs");
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(text.contains("200000 switches, 0 failures"), "{text}");
}
