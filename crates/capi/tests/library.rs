//! The file: what it exports, its name, its header.

mod support;

use std::process::Command;

use support::{Link, compile, library_file, scratch, succeed, text};

#[test]
fn it_exports_the_public_names_and_nothing_else() {
    let mut nm = Command::new("nm");
    nm.args(["--dynamic", "--defined-only", "--format=posix"])
        .arg(library_file());
    let output = text(&succeed(&mut nm).stdout);
    let names: Vec<_> = output
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let public = |name: &&&str| {
        name.starts_with("ASYNC_")
            || name.starts_with("spinlane_")
            || **name == "OSSL_provider_init"
    };
    let others: Vec<_> = names.iter().filter(|name| !public(name)).collect();
    assert!(others.is_empty(), "{others:?} should not be exported");

    let header = include_str!("../include/spinlane.h");
    for name in names.iter().filter(|name| name.starts_with("spinlane_")) {
        assert!(
            header.contains(&format!("{name}(")),
            "spinlane.h lacks {name}"
        );
    }
    let declared = header.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '('));
    let declared = declared.filter_map(|word| Some(word.split_once('(')?.0));
    for name in declared.filter(|word| word.starts_with("spinlane_")) {
        assert!(
            names.contains(&name),
            "{name} is in spinlane.h and not in the library"
        );
    }
    let asynchronous = names
        .iter()
        .filter(|name| name.starts_with("ASYNC_"))
        .count();
    assert_eq!(
        asynchronous, 22,
        "all of <openssl/async.h>, OpenSSL 4.0's included"
    );
}

#[test]
fn it_has_a_soname_and_stays_loaded() {
    let mut readelf = Command::new("readelf");
    readelf.arg("--dynamic").arg(library_file());
    let output = text(&succeed(&mut readelf).stdout);
    assert!(output.contains("[libspinlane.so.0]"), "{output}");
    assert!(output.contains("NODELETE"), "{output}");
}

#[test]
fn the_header_is_clean_c99_and_cxx11() {
    let includes = scratch().join("includes.c");
    std::fs::write(
        &includes,
        "#include <spinlane.h>\n#include <spinlane.h>\nint unused_so_that_it_is_not_empty;\n",
    )
    .unwrap();
    for (compiler, language, standard) in [("gcc", "c", "-std=c99"), ("g++", "c++", "-std=c++11")] {
        let mut command = Command::new(compiler);
        command.args([
            standard,
            "-x",
            language,
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
        ]);
        command.arg("-fsyntax-only").arg("-I");
        command
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/include"))
            .arg(&includes);
        succeed(&mut command);
    }
}

#[test]
fn bad_arguments_are_failures_with_a_text() {
    let program = compile("tests/c/arguments.c", Link::Spinlane, &[]);
    succeed(&mut Command::new(program));
}
