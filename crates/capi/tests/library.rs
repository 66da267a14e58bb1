//! The file: what it exports, its name, its header.

mod support;

use std::fs;
use std::process::Command;

use support::{Link, compile, has, library, library_file, scratch, succeed, text};

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
            || ["OSSL_provider_init", "OSSL_LIB_CTX_set0_default"].contains(*name)
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

/// Compiles with every warning an error, and links with the library alone.
fn build(compiler: &str, standard: &str, source: &str) -> std::path::PathBuf {
    let crate_dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = scratch().join(format!("{}{standard}", source.replace('/', "-")));
    let mut command = Command::new(compiler);
    command.args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"]);
    command
        .arg(crate_dir.join("include"))
        .arg(crate_dir.join(source));
    command.arg("-L").arg(library());
    command.arg(format!("-Wl,-rpath,{}", library().display()));
    succeed(command.arg("-lspinlane").arg("-o").arg(&program));
    program
}

#[test]
fn strict_c99_and_cxx_programs_are_built_and_run() {
    succeed(&mut Command::new(build(
        "g++",
        "-std=c++11",
        "tests/c/plain.cc",
    )));
    let usage = Command::new(build("gcc", "-std=c99", "examples/hello.c")).output();
    let usage = usage.unwrap();
    assert_eq!(usage.status.code(), Some(1));
    assert!(text(&usage.stderr).starts_with("usage: hello"), "{usage:?}");
}

#[test]
fn cmake_finds_the_package() {
    if !has("cmake") {
        return;
    }
    // As `make install` lays it out.
    let prefix = scratch().join("prefix");
    let package = prefix.join("lib/cmake/spinlane");
    fs::create_dir_all(&package).unwrap();
    let crate_dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for (link, to) in [
        ("lib/libspinlane.so", library_file()),
        ("lib/libspinlane.so.0", library_file()),
        ("include", crate_dir.join("include")),
    ] {
        let _ = fs::remove_file(prefix.join(link));
        std::os::unix::fs::symlink(to, prefix.join(link)).unwrap();
    }
    for part in ["config", "config-version"] {
        let template = fs::read_to_string(crate_dir.join(format!("spinlane-{part}.cmake.in")));
        let text = template
            .unwrap()
            .replace("@VERSION@", env!("CARGO_PKG_VERSION"));
        fs::write(package.join(format!("spinlane-{part}.cmake")), text).unwrap();
    }
    let project = scratch().join("project");
    fs::create_dir_all(&project).unwrap();
    let configure = |wanted: &str| {
        let lists = format!(
            "cmake_minimum_required(VERSION 3.13)\nproject(hello C)\nfind_package(spinlane {wanted} REQUIRED)\n\
             add_executable(hello {}/examples/hello.c)\ntarget_link_libraries(hello spinlane::spinlane)\n",
            crate_dir.display()
        );
        fs::write(project.join("CMakeLists.txt"), lists).unwrap();
        let mut cmake = Command::new("cmake");
        cmake
            .arg("-S")
            .arg(&project)
            .arg("-B")
            .arg(project.join("build"));
        cmake.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display()));
        cmake.arg("-Dspinlane_DIR=").output().unwrap()
    };
    let refused = configure("99.0");
    assert!(!refused.status.success(), "there is no version 99");
    let found = configure(env!("CARGO_PKG_VERSION"));
    assert!(found.status.success(), "{}", text(&found.stderr));
    succeed(
        Command::new("cmake")
            .arg("--build")
            .arg(project.join("build")),
    );
    let usage = Command::new(project.join("build/hello")).output().unwrap();
    assert!(text(&usage.stderr).starts_with("usage: hello"), "{usage:?}");
}

#[test]
fn the_abi_is_that_of_the_last_release() {
    if !has("abidiff") {
        return;
    }
    succeed(&mut Command::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tools/check_abi.sh"
    )));
}

#[test]
fn bad_arguments_are_failures_with_a_text() {
    let program = compile("tests/c/arguments.c", Link::Spinlane, &[]);
    succeed(&mut Command::new(program));
}
