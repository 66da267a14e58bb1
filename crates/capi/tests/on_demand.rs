//! The lcores that are made on demand, and their device: one for each process, forked ones included.

mod support;

use std::process::Command;

use support::{Link, compile, configuration, identity, succeed, text};

/// The CPUs of this process: `Cpus_allowed_list` of proc(5), such as `0-3,8`.
fn usable_cores() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap();
    let ranges = list.trim().split(',').flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse().unwrap()..=last.parse().unwrap()
    });
    ranges.collect()
}

#[test]
fn a_process_has_one_device_and_its_children_have_their_own() {
    let program = compile("tests/c/on_demand.c", Link::Spinlane, &[]);
    let core = usable_cores()[0];
    let settings = format!("device = lookaside:soft@{core},sleep_us=50");
    let mut command = Command::new(program);
    command.arg("3").arg(identity("p256").key);
    command.env("OPENSSL_CONF", configuration("on-demand", &settings));
    assert_eq!(
        text(&succeed(&mut command).stdout),
        "a child: 1 1 1\n\
         the parent: 1 1 1 1 1\n\
         a child: 1 1 1\n\
         a child: 1 1 1\n\
         the parent: 1 1\n"
    );
}

/// The fresh entropy of a process takes milliseconds.
#[test]
fn a_worker_that_makes_its_lcore_gathers_entropy_then_and_not_in_its_first_handshake() {
    let program = compile("tests/c/forked.c", Link::Spinlane, &[]);
    for key in ["p256", "rsa2048"] {
        let mut command = Command::new(&program);
        command.arg(identity(key).key);
        command.env("OPENSSL_CONF", configuration("forked", "device = soft"));
        let said = text(&succeed(&mut command).stdout);
        if said.starts_with("no seccomp") {
            eprintln!("SKIPPED: this kernel filters no system calls");
            return;
        }
        // The first shows that the second could fail.
        assert_eq!(said, "asked for entropy (signal 31)\nsigned\n", "{key}");
    }
}

#[test]
fn a_device_that_is_none_is_refused_when_the_provider_loads() {
    let cases = [
        (
            "warp",
            "unknown device \"warp\"; there are: auto, mb, soft,",
        ),
        ("lookaside:soft@4095", "crypto core 4095 does not exist"),
        ("lookaside:soft", "@CORE is missing"),
        ("sim:x:soft", "\"x\" is no seed"),
    ];
    for (number, (spec, says)) in cases.into_iter().enumerate() {
        let settings = format!("device = {spec}");
        let mut command = Command::new("openssl");
        let name = format!("no-device-{number}");
        support::with_spinlane(&mut command, &configuration(&name, &settings));
        let output = command.args(["list", "-providers"]).output().unwrap();
        let said = text(&output.stderr);
        assert!(
            said.contains("the provider is not loaded"),
            "{spec}: {said}"
        );
        assert!(said.contains(says), "{spec}: {said}");
        assert!(!text(&output.stdout).contains("name: Spinlane"), "{spec}");
    }
}

#[test]
fn a_crypto_core_outside_the_process_s_cpus_is_refused() {
    if !support::has("taskset") {
        return;
    }
    let cores = usable_cores();
    let (&[own, ..], &[.., other]) = (&cores[..], &cores[..]) else {
        panic!("no CPU: {cores:?}");
    };
    if own == other {
        eprintln!("SKIPPED: one CPU, so that there is none to be kept from");
        return;
    }
    let mut command = Command::new("taskset");
    let settings = format!("device = lookaside:soft@{other}");
    let configuration = configuration("masked", &settings);
    support::with_spinlane(&mut command, &configuration);
    let output = command
        .args(["-c", &own.to_string(), "openssl", "list", "-providers"])
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert!(said.contains("does not exist or is not allowed"), "{said}");
    assert!(said.contains(&format!("usable: [{own}]")), "{said}");
}

#[test]
fn make_install_builds_dpdk_in_where_it_is() {
    let found = Command::new("pkg-config")
        .args(["--exists", "libdpdk"])
        .status()
        .is_ok_and(|status| status.success());
    let mut make = Command::new("make");
    make.args(["--dry-run", "--always-make", "install"]);
    make.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let said = text(&succeed(&mut make).stdout);
    let build = said
        .lines()
        .find(|line| line.contains("--package spinlane-capi"))
        .expect("a build");
    assert_eq!(build.contains("--features dpdk"), found, "{build}");
}
