//! `spinlane_conn_*`: the promises of spinlane.h, and the examples that are built on them.

mod support;

use std::process::Command;

use support::servers::{Running, curl, free_port};
use support::{Link, compile, has, leaf, succeed};

#[test]
fn it_does_what_the_header_says() {
    let (one, two) = (leaf("one.test"), leaf("two.test"));
    let program = compile("tests/c/conn.c", Link::Spinlane, &["-Wpedantic"]);
    let mut command = Command::new(program);
    command.args([&one.certificate, &one.key, &two.certificate, &two.key]);
    succeed(&mut command);
}

#[test]
fn libssl_needs_no_callback_and_devices_are_counted() {
    let leaf = leaf("one.test");
    let program = compile("tests/c/attach.c", Link::Spinlane, &["-Wpedantic"]);
    succeed(Command::new(program).args([&leaf.certificate, &leaf.key]));
}

#[test]
fn a_device_seals_records_in_bursts() {
    let leaf = leaf("one.test");
    let program = compile("tests/c/records.c", Link::Spinlane, &["-Wpedantic"]);
    succeed(Command::new(program).args([&leaf.certificate, &leaf.key]));
}

#[test]
fn forty_lines_serve_curl() {
    let source = include_str!("../examples/hello.c");
    assert!(source.lines().count() <= 40, "{}", source.lines().count());
    if !has("curl") {
        return;
    }
    let leaf = leaf("localhost");
    let port = free_port();
    let mut command = Command::new(compile("examples/hello.c", Link::Spinlane, &["-std=c99"]));
    command.args([&leaf.certificate, &leaf.key]);
    let mut server = Running::start(command.arg(port.to_string()), port);
    for _ in 0..3 {
        curl(port, &leaf.certificate);
    }
    server.stop();
}
