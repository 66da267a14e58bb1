//! Callbacks that free what the poll which makes them uses, and end the job that is being restarted.

mod support;

use std::process::Command;

use support::{Link, compile, succeed, text};

fn tries(name: &str) {
    let program = compile("tests/c/reentry.c", Link::Spinlane, &[]);
    let output = succeed(Command::new(program).arg(name).env_remove("OPENSSL_CONF"));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn an_lcore_is_not_freed_by_a_callback() {
    tries("free_lcore");
}

#[test]
fn nor_by_a_callback_of_a_restart_poll() {
    tries("free_lcore_in_restart");
}

#[test]
fn nor_by_a_job() {
    tries("free_lcore_in_job");
}

#[test]
fn all_else_may_be_done_in_a_callback() {
    tries("everything_else");
}

#[test]
fn a_callback_frees_every_wait_context() {
    tries("free_contexts");
}

#[test]
fn a_callback_ends_the_job_that_is_restarted() {
    tries("end_in_restart");
}

#[test]
fn and_starts_another_in_its_place() {
    tries("end_in_restart_and_start");
}

#[test]
fn a_callback_abandons_the_job_that_is_restarted() {
    tries("abandon_in_restart");
}

#[test]
fn a_refusal_is_remembered_until_somebody_asks() {
    tries("retry_later");
}
