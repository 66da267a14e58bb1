//! C programs that look at every promise of the man pages, run twice: with Spinlane ahead of libcrypto,
//! where each must be kept, and with OpenSSL alone, so that every difference is seen. CONFORMANCE.md
//! has a row for each promise; this test compares it with what the programs print.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use support::{Link, compile, identity, library_file, succeed, text};

/// What OpenSSL 3.0 alone does otherwise: where the man page is silent or forbids the call, OpenSSL
/// crashes or goes on with what is wrong.
const STOCK_DIFFERS: &[&str] = &[
    "block left",
    "null job",
    "null ret",
    "null func",
    "null ctx",
    "null get_wait_ctx",
    "nested",
    "other thread",
    "stale",
    "overflow",
    "null set_wait_fd",
    "null get_fd",
    "null get_all_fds",
    "null get_changed_fds",
    "null clear_fd",
    "null set_callback",
    "null get_callback",
    "null set_status",
    "null get_status",
    "null places",
    "double free",
    "free under job",
    "free paused",
    "static destructor",
    "pthread_exit in job",
    "pthread_cancel in job",
    "changed elsewhere",
    "freed elsewhere",
];

/// What a program printed: by case and promise, whether it was kept.
type Seen = BTreeMap<(String, String), String>;

fn see(program: &str, arguments: &[&Path], spinlane: bool) -> Seen {
    let compiled = compile(&format!("tests/c/{program}.c"), Link::Stock, &[]);
    let mut command = Command::new(compiled);
    command.args(arguments).env_remove("OPENSSL_CONF");
    if spinlane {
        command.env("LD_PRELOAD", library_file());
    }
    let output = text(&succeed(&mut command).stdout);
    let lines = output.lines().map(|line| {
        let mut parts = line.split(" | ").map(str::to_owned);
        let mut next = || {
            parts
                .next()
                .unwrap_or_else(|| panic!("{line:?} has three parts"))
        };
        ((next(), next()), next())
    });
    lines.collect()
}

fn compare(program: &str, arguments: &[&Path]) {
    let ours = see(program, arguments, true);
    let stock = see(program, arguments, false);
    assert!(ours.len() > 10, "{program} printed next to nothing");
    for ((case, promise), kept) in &ours {
        let wanted = match (case.as_str(), promise.as_str()) {
            // Named on stderr, then an abort: there is nothing to return to.
            ("overflow", "ends by itself") => "signal 6",
            _ => "yes",
        };
        assert_eq!(kept, wanted, "{program}: {case}: {promise}");
    }
    for case in ours.keys().map(|(case, _)| case) {
        let of = |seen: &Seen| -> Vec<_> {
            let lines = seen.iter().filter(|((its, _), _)| its == case);
            lines
                .map(|((_, promise), kept)| (promise.clone(), kept.clone()))
                .collect()
        };
        let differs = of(&ours) != of(&stock);
        let expected = STOCK_DIFFERS.contains(&case.as_str());
        assert_eq!(
            differs,
            expected,
            "{program}: {case}: with Spinlane {:?}, with OpenSSL alone {:?}",
            of(&ours),
            of(&stock)
        );
    }
    let table = include_str!("../CONFORMANCE.md");
    for (case, promise) in ours
        .keys()
        .filter(|(_, promise)| promise != "ends by itself")
    {
        let row = format!("| {promise} | {program}: {case} |");
        assert!(table.contains(&row), "CONFORMANCE.md lacks: {row}");
    }
}

#[test]
fn async_start_job_3() {
    compare("start_job", &[]);
}

#[test]
fn async_wait_ctx_new_3() {
    compare("wait_ctx", &[]);
}

#[test]
fn ssl_set_async_callback_3() {
    let identity = identity("p256");
    compare("ssl_callback", &[&identity.certificate, &identity.key]);
}

#[test]
fn ends_and_other_threads() {
    compare("ending", &[]);
}

/// OpenSSL's own test of its jobs, compiled against libspinlane.so.
#[test]
fn asynctest() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.deps/openssl/asynctest.c");
    if !source.exists() {
        eprintln!("SKIPPED: asynctest.c is not here; tools/setup/asynctest.sh fetches it");
        return;
    }
    let mut test = Command::new(compile(
        source.to_str().unwrap(),
        Link::Spinlane,
        &["-Wno-unused-parameter"],
    ));
    let output = succeed(test.env("LD_DEBUG", "bindings").env("LD_BIND_NOW", "1"));
    assert!(
        text(&output.stdout).contains("PASS"),
        "{}",
        text(&output.stdout)
    );
    let bindings = text(&output.stderr);
    for name in ["ASYNC_start_job", "ASYNC_pause_job", "ASYNC_WAIT_CTX_new"] {
        let bound = |line: &str| {
            line.contains("/asynctest")
                && line.contains("libspinlane.so.0 [0]")
                && line.contains(&format!("`{name}'"))
        };
        assert!(
            bindings.lines().any(bound),
            "{name} is not bound to the library"
        );
    }
}
