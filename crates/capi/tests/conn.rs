//! `spinlane_conn_*`: the promises of spinlane.h, and the examples that are built on them.

mod support;

use std::process::Command;

use support::{Link, compile, leaf, succeed};

#[test]
fn it_does_what_the_header_says() {
    let (one, two) = (leaf("one.test"), leaf("two.test"));
    let program = compile("tests/c/conn.c", Link::Spinlane, &["-Wpedantic"]);
    let mut command = Command::new(program);
    command.args([&one.certificate, &one.key, &two.certificate, &two.key]);
    succeed(&mut command);
}
