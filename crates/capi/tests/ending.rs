//! Operations at the end of a thread or of the process, when thread-local data is gone.

mod support;

use std::process::Command;

use support::{Link, compile, identity, succeed, text};

/// With and without an lcore that the thread made before; with and without a log, which has thread-local data
/// of its own.
fn works_at(place: &str) {
    let identity = identity("p256");
    let program = compile("tests/c/ending_ops.c", Link::Spinlane, &[]);
    for lcore in [None, Some("lcore")] {
        for log in [None, Some("debug")] {
            let mut command = Command::new(&program);
            command
                .args([&identity.certificate, &identity.key])
                .arg(place)
                .args(lcore);
            command
                .env_remove("OPENSSL_CONF")
                .env_remove("SPINLANE_LOG");
            command.envs(log.map(|level| ("SPINLANE_LOG", level)));
            let output = succeed(&mut command);
            assert_eq!(text(&output.stdout), "done\n", "{command:?}");
            if log.is_none() {
                assert_eq!(text(&output.stderr), "", "{command:?}");
            }
        }
    }
}

#[test]
fn in_a_destructor_of_thread_specific_data() {
    works_at("key");
}

#[test]
fn in_a_handler_of_exit() {
    works_at("exit");
}

#[test]
fn in_a_destructor_of_static_data() {
    works_at("static");
}
