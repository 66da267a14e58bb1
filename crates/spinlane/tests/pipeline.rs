//! The embedding example runs to its end, on lcores that DPDK launches.
#![cfg(feature = "dpdk")]

use std::path::PathBuf;
use std::process::Command;

/// The example, built by cargo in this test's own profile, as it is not where one test alone is asked for.
fn example() -> PathBuf {
    // <target>/<profile>/deps/<this test>
    let test = std::env::current_exe().unwrap();
    let output = test.ancestors().nth(2).unwrap();
    let profile = match output.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--example", "pipeline"]);
    cargo.args(["--features", "dpdk", "--profile", profile, "--target-dir"]);
    cargo.arg(output.parent().unwrap());
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status();
    assert!(built.unwrap().success(), "{cargo:?}");
    output.join("examples/pipeline")
}

#[test]
fn a_dpdk_application_embeds_us() {
    let output = Command::new(example()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    for lcore in 0..2 {
        let line = format!("lcore {lcore}: Ok(100) packets signed and sent");
        assert!(said.contains(&line), "{said}{errors}");
    }
}
