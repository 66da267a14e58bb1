//! The C programs under valgrind's memcheck and helgrind. They take minutes there: `make valgrind` runs them.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{Link, compile, configuration, has, identity, leaf, library_file, scratch, text};

/// Runs every program under `tool`; no process of any may have an error.
fn clean(tool: &str, flags: &[&str]) {
    if !has("valgrind") {
        return;
    }
    let identity = identity("p256");
    let files = [&identity.certificate, &identity.key].map(|file| file.to_str().unwrap());
    let with_files = |last: &'static [&str]| [&files[..], last].concat();

    // Linked with the library.
    let reentry = [
        "free_lcore",
        "free_lcore_in_restart",
        "free_lcore_in_job",
        "everything_else",
        "free_contexts",
        "end_in_restart",
        "end_in_restart_and_start",
        "abandon_in_restart",
    ];
    for name in reentry {
        run(tool, flags, "reentry", Link::Spinlane, &[name]);
    }
    for place in ["key", "exit", "static"] {
        run(
            tool,
            flags,
            "ending_ops",
            Link::Spinlane,
            &[files[0], files[1], place],
        );
        run(
            tool,
            flags,
            "ending_ops",
            Link::Spinlane,
            &[files[0], files[1], place, "lcore"],
        );
    }
    let threads: [&'static [&str]; 5] = [
        &["own_lcores"],
        &["fork_before"],
        &["fork_after"],
        &["thread_exit"],
        &["freed_elsewhere"],
    ];
    for name in threads {
        run(tool, flags, "threads", Link::Spinlane, &with_files(name));
    }
    let (one, two) = (leaf("one.test"), leaf("two.test"));
    let ends = [&one.certificate, &one.key, &two.certificate, &two.key];
    let ends = ends.map(|file| file.to_str().unwrap());
    run(tool, flags, "conn", Link::Spinlane, &ends);
    // Preloaded.
    for program in ["ending", "wait_ctx", "start_job"] {
        run(tool, flags, program, Link::Stock, &[]);
    }
    run(tool, flags, "ssl_callback", Link::Stock, &with_files(&[]));
}

fn run(tool: &str, flags: &[&str], program: &str, link: Link, arguments: &[&str]) {
    let compiled = compile(&format!("tests/c/{program}.c"), link, &[]);
    let what = format!("{program} {}", arguments.last().unwrap_or(&""));
    let folder = scratch().join(format!("{tool} {what}").replace(['/', ' '], "-"));
    fs::create_dir_all(&folder).unwrap();
    let mut valgrind = Command::new("valgrind");
    valgrind.arg(format!("--tool={tool}")).args(flags);
    valgrind.arg(format!("--log-file={}/%p", folder.display()));
    valgrind.arg(format!(
        "--suppressions={}/tests/valgrind.supp",
        env!("CARGO_MANIFEST_DIR")
    ));
    valgrind.arg(compiled).args(arguments);
    // It overflows its stack on purpose.
    valgrind.env("SEE_SKIP", "overflow");
    valgrind.env("OPENSSL_CONF", configuration("valgrind", "device = soft"));
    if link == Link::Stock {
        valgrind.env("LD_PRELOAD", library_file());
    }
    let output = valgrind.output().unwrap();
    assert!(
        output.status.success(),
        "{tool} {what}: {}\n{}",
        text(&output.stderr),
        logs(&folder)
    );
    let (mut processes, mut faulty) = (0, 0);
    for log in fs::read_dir(&folder).unwrap() {
        let log = fs::read_to_string(log.unwrap().path()).unwrap();
        processes += 1;
        faulty += usize::from(!log.contains("ERROR SUMMARY: 0 errors"));
    }
    eprintln!("{tool} {what}: {processes} processes, {faulty} with errors");
    assert!(processes > 0 && faulty == 0, "{}", logs(&folder));
}

fn logs(folder: &Path) -> String {
    let files = fs::read_dir(folder).unwrap();
    let texts = files.map(|file| text(&fs::read(file.unwrap().path()).unwrap()));
    texts.collect()
}

#[test]
#[ignore = "takes minutes; make valgrind runs it"]
fn memcheck() {
    clean("memcheck", &[]);
}

#[test]
#[ignore = "takes minutes; make valgrind runs it"]
fn helgrind() {
    clean("helgrind", &["--history-level=approx"]);
}
