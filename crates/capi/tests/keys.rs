//! Keys under the preload are what they are without it, whoever made them and whatever was signed or
//! verified before: export, encodings, checks, operations, and the error queue, which calls of this
//! library that succeed leave empty too.

mod support;

use std::process::Command;

use support::{Link, compile, configuration, scratch, succeed, text, with_spinlane};

/// Runs tests/c/keys.c with the library and without, and compares line by line.
fn same_as_stock(before: &str) {
    let program = compile("tests/c/keys.c", Link::Stock, &[]);
    let run = |name: &str| {
        let mut command = Command::new(&program);
        command
            .arg(before)
            .arg(scratch().join(format!("{before}-{name}.pem")));
        if name == "spinlane" {
            with_spinlane(&mut command, &configuration("keys", ""));
        }
        let output = succeed(&mut command);
        (text(&output.stdout), text(&output.stderr))
    };
    let (stock, _) = run("stock");
    let (ours, errors) = run("spinlane");
    let differing: Vec<_> = stock
        .lines()
        .zip(ours.lines())
        .filter(|(a, b)| a != b)
        .collect();
    assert!(
        differing.is_empty(),
        "{} answers differ (stock, ours), first: {:#?}\n{errors}",
        differing.len(),
        &differing[..differing.len().min(20)]
    );
    assert_eq!(stock.lines().count(), ours.lines().count());
    assert!(stock.lines().count() > 10_000, "{stock}");
}

#[test]
fn keys_that_nobody_bound_are_as_in_stock_openssl() {
    same_as_stock("first");
}

#[test]
fn keys_that_nobody_bound_are_as_in_stock_openssl_after_signatures() {
    same_as_stock("sign");
}

#[test]
fn keys_that_nobody_bound_are_as_in_stock_openssl_after_verifications() {
    same_as_stock("verify");
}

#[test]
fn what_succeeds_leaves_no_entry_on_the_error_queue() {
    let program = compile("tests/c/errors.c", Link::Spinlane, &[]);
    for place in ["own", "default"] {
        let mut command = Command::new(&program);
        command
            .arg(place)
            .arg(scratch().join(format!("{place}.pem")));
        if place == "default" {
            command.env("OPENSSL_CONF", configuration("errors", ""));
        }
        let said = text(&succeed(&mut command).stdout);
        assert!(said.ends_with(" calls, 0 found\n"), "{said}");
    }
}
