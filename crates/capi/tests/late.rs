//! The library in a process that began without it: loaded by openssl.cnf, by dlopen, by Python's ctypes, by a
//! plugin that is linked to it. Operations complete in place then, and the log says so, once.

mod support;

use std::path::Path;
use std::process::Command;

use support::{Link, compile, configuration, has, library_file, scratch, succeed, text};

/// What the log says, once.
const IN_PLACE: &str = "operations are computed in place";

/// Runs it without preload; it must succeed and say that ops are computed in place.
fn works(command: &mut Command) -> String {
    command.env_remove("LD_PRELOAD").env("SPINLANE_LOG", "info");
    let output = succeed(command);
    let log = text(&output.stderr);
    assert_eq!(log.matches(IN_PLACE).count(), 1, "{command:?}: {log}");
    assert!(log.contains("preload"), "it says what to do: {log}");
    log
}

#[test]
fn by_openssl_cnf() {
    let program = compile("tests/c/late.c", Link::Stock, &[]);
    let configuration = configuration("late", "pause-without-callback = yes");
    let log = works(Command::new(program).env("OPENSSL_CONF", configuration));
    assert!(log.contains("kind=x25519-derive"), "{log}");
}

#[test]
fn by_openssl_cnf_of_the_openssl_program() {
    let mut openssl = Command::new("openssl");
    openssl.args([
        "genpkey",
        "-algorithm",
        "X25519",
        "-propquery",
        "provider=spinlane",
        "-out",
    ]);
    openssl.arg(scratch().join("late.key"));
    openssl.env("OPENSSL_CONF", configuration("late-openssl", ""));
    works(&mut openssl);
}

#[test]
fn by_dlopen() {
    let program = compile("tests/c/late.c", Link::Stock, &[]);
    let mut command = Command::new(program);
    works(command.arg(library_file()).env_remove("OPENSSL_CONF"));
}

/// With little left of the room that glibc keeps for libraries which want theirs in the static block.
#[test]
fn where_there_is_no_room_for_static_thread_local_data() {
    let program = compile("tests/c/late.c", Link::Stock, &[]);
    let mut command = Command::new(program);
    command.env("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=0");
    works(command.arg(library_file()).env_remove("OPENSSL_CONF"));
}

/// With Python's own libssl, which is bound to libcrypto; the library is in no scope that others search.
#[test]
fn by_ctypes() {
    if !has("python3") {
        return;
    }
    let script = "import ctypes, sys, ssl\n\
                  library = ctypes.CDLL(sys.argv[1])\n\
                  library.spinlane_libctx.restype = ctypes.c_void_p\n\
                  library.spinlane_lcore_create.restype = ctypes.c_void_p\n\
                  assert library.spinlane_libctx()\n\
                  assert library.spinlane_lcore_create()\n\
                  print(ssl._ssl.__file__)\n\
                  print(library.spinlane_verify_binding())\n";
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(library_file());
    python.env_remove("LD_PRELOAD").env_remove("OPENSSL_CONF");
    let said = text(&succeed(python.env("SPINLANE_LOG", "warn")).stdout);
    let mut lines = said.lines();
    let [theirs, ours] = [Path::new(lines.next().unwrap()), &library_file()]
        .map(|file| text(&succeed(Command::new("ldd").arg(file)).stdout));
    if libssl(&theirs) != libssl(&ours) {
        eprintln!("SKIPPED: python3 is linked to another libssl than the library");
        return;
    }
    assert_eq!(lines.next(), Some("0"), "libssl is bound to libcrypto");
}

/// The line of ldd's that says where libssl is.
fn libssl(listed: &str) -> Option<&str> {
    let line = listed.lines().find(|line| line.contains("libssl.so"))?;
    line.split(" (").next()
}

#[test]
fn by_a_plugin_that_is_linked_to_it() {
    let plugin = compile("tests/c/plugin.c", Link::Spinlane, &["-shared", "-fPIC"]);
    let program = compile("tests/c/late.c", Link::Stock, &[]);
    let mut command = Command::new(program);
    works(command.arg(plugin).env_remove("OPENSSL_CONF"));
}

/// What made it fail: a reference that wants the library's thread-local data in the block which is laid out when
/// the program starts.
#[test]
fn nothing_in_it_wants_static_thread_local_data() {
    let output = succeed(Command::new("readelf").arg("-dW").arg(library_file()));
    assert!(!text(&output.stdout).contains("STATIC_TLS"));
}
