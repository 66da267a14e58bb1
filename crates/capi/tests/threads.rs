//! Threads and processes: an lcore for each, made by the program or on demand.

mod support;

use std::path::PathBuf;
use std::process::Command;

use support::{Link, compile, configuration, identity, succeed, text};

fn tries(name: &str, configuration: Option<PathBuf>, program: PathBuf) {
    let identity = identity("p256");
    let mut command = Command::new(program);
    command
        .arg(&identity.certificate)
        .arg(&identity.key)
        .arg(name);
    match configuration {
        Some(file) => command.env("OPENSSL_CONF", file),
        None => command.env_remove("OPENSSL_CONF"),
    };
    let output = succeed(&mut command);
    assert_eq!(text(&output.stderr), "");
}

fn program() -> PathBuf {
    compile("tests/c/threads.c", Link::Spinlane, &[])
}

#[test]
fn several_threads_each_with_its_own_lcore() {
    tries("own_lcores", None, program());
}

#[test]
fn a_thread_without_lcore_gets_one_with_its_first_op() {
    tries("on_demand", Some(configuration("on-demand", "")), program());
}

#[test]
fn or_an_error_that_says_so() {
    tries(
        "explicit",
        Some(configuration("explicit", "lcore = explicit")),
        program(),
    );
}

#[test]
fn a_program_that_only_asks_again_is_served() {
    tries(
        "asks_again",
        Some(configuration("asks-again", "device = soft")),
        program(),
    );
}

#[test]
fn without_a_callback_nothing_pauses() {
    tries("in_place", Some(configuration("in-place", "")), program());
}

#[test]
fn a_fork_before_the_first_lcore_works() {
    tries("fork_before", None, program());
}

#[test]
fn a_fork_after_it_is_an_error_that_says_so() {
    tries("fork_after", None, program());
}

#[test]
fn a_thread_that_exits_frees_what_it_had() {
    let flags = ["-fsanitize=leak"];
    let source = "tests/c/threads.c";
    tries("thread_exit", None, compile(source, Link::Spinlane, &flags));
}

#[test]
fn paused_connections_are_freed_on_another_thread() {
    tries("freed_elsewhere", None, program());
}
