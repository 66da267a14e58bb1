//! What the design allows: which crate may depend on which, where `unsafe` may stand, and
//! that no package is left out of the workspace.
//!
//! # Rules
//! - Normal and build dependencies: those of [`ALLOWED`], and a crate that is not listed there
//!   fails. Nothing depends on a program, on the C library, on the tests or on the benches.
//! - Dev-dependencies: any library below or beside the crate, that is, one that does not
//!   itself depend on the crate. (A crate may name itself, to switch on a feature for its tests.)
//! - `unsafe`: every library and program forbids it, but for those in [`UNSAFE`] (all of it may
//!   be unsafe) and in [`UNSAFE_FILES`] (denied at the root, allowed in these files alone).
//!   Tests and benches are not part of what is shipped and may use it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const FRONT_END: &[&str] = &[
    "spinlane-lcore",
    "spinlane-job",
    "spinlane-cryptodev",
    "spinlane-crypto",
];
/// The contract, and the computing below it.
const CONTRACT: &[&str] = &["spinlane-cryptodev", "spinlane-crypto"];
/// What the facade gathers.
const LIBRARIES: &[&str] = &[
    "spinlane-ring",
    "spinlane-fiber",
    "spinlane-job",
    "spinlane-crypto",
    "spinlane-cryptodev",
    "spinlane-driver-soft",
    "spinlane-driver-mb",
    "spinlane-driver-lookaside",
    "spinlane-driver-dpdk",
    "spinlane-driver-pkcs11",
    "spinlane-driver-sim",
    "spinlane-lcore",
    "spinlane-openssl",
    "spinlane-rustls",
    "spinlane-net",
    "spinlane-dpdk",
];
/// Normal and build dependencies inside the workspace, by package; those of [`ON_TOP`] besides.
const ALLOWED: &[(&str, &[&str])] = &[
    ("spinlane-ring", &[]),
    ("spinlane-tcp", &[]),
    ("spinlane-net", &["spinlane-ring", "spinlane-tcp"]),
    ("spinlane-dpdk", &["spinlane-net", "dpdk-sys"]),
    ("spinlane-fiber", &[]),
    ("spinlane-job", &["spinlane-fiber"]),
    ("spinlane-crypto", &[]),
    ("spinlane-cryptodev", &["spinlane-crypto"]),
    ("spinlane-rsa52", &[]),
    ("spinlane-mlkem", &[]),
    ("crypto-mb-sys", &[]),
    ("dpdk-sys", &[]),
    // A PKCS#11 module for tests, which load it; lanes are its arithmetic.
    (
        "spinlane-pkcs11-shim",
        &[
            "spinlane-cryptodev",
            "spinlane-crypto",
            "spinlane-driver-mb",
        ],
    ),
    ("spinlane-driver-soft", CONTRACT),
    (
        "spinlane-driver-mb",
        &[
            "spinlane-cryptodev",
            "spinlane-crypto",
            "spinlane-rsa52",
            "spinlane-mlkem",
            "crypto-mb-sys",
        ],
    ),
    (
        "spinlane-driver-lookaside",
        &["spinlane-cryptodev", "spinlane-crypto", "spinlane-ring"],
    ),
    (
        "spinlane-driver-dpdk",
        &[
            "spinlane-cryptodev",
            "spinlane-crypto",
            "spinlane-dpdk",
            "dpdk-sys",
        ],
    ),
    (
        "spinlane-driver-pkcs11",
        &["spinlane-crypto", "spinlane-cryptodev", "spinlane-ring"],
    ),
    ("spinlane-driver-sim", CONTRACT),
    (
        "spinlane-lcore",
        &[
            "spinlane-job",
            "spinlane-cryptodev",
            "spinlane-crypto",
            "spinlane-ring",
        ],
    ),
    ("spinlane-openssl", FRONT_END),
    ("spinlane-rustls", FRONT_END),
    ("spinlane", LIBRARIES),
    (
        "spinlane-proxy",
        &["spinlane", "spinlane-net", "spinlane-dpdk"],
    ),
];

/// May depend on the facade and all that it gathers; nothing may depend on these, tests
/// included.
const ON_TOP: &[&str] = &[
    "spinlane-capi",
    "spinlane-tools",
    "spinlane-tests",
    "spinlane-wire",
    "spinlane-bogo",
    "spinlane-benches",
];

/// May be unsafe all over: memory, stacks, and what speaks C.
const UNSAFE: &[&str] = &[
    "spinlane-ring",
    "spinlane-fiber",
    "spinlane-openssl",
    "spinlane-capi",
    "crypto-mb-sys",
    "dpdk-sys",
    "spinlane-pkcs11-shim",
];

/// Files of a package that may allow unsafe code, and how often each (`usize::MAX`: the whole
/// module), relative to its directory; a folder stands for all in it.
const UNSAFE_FILES: &[(&str, &str, usize)] = &[
    ("spinlane-crypto", "src/aws_lc.rs", usize::MAX),
    ("spinlane-crypto", "src/aws_lc/", usize::MAX),
    // The memory of a value that has been dropped.
    ("spinlane-crypto", "src/wiped.rs", 1),
    ("spinlane-driver-mb", "src/ffi.rs", usize::MAX),
    ("spinlane-driver-mb", "src/ffi/", usize::MAX),
    ("spinlane-rsa52", "src/kernel.rs", usize::MAX),
    // Loads, stores, wiping; and the three calls of code that wants what `Cpu` has found.
    ("spinlane-mlkem", "src/simd.rs", usize::MAX),
    ("spinlane-mlkem", "src/kem.rs", 3),
    ("spinlane-mlkem", "src/tests", usize::MAX),
    ("spinlane-dpdk", "src/ffi.rs", usize::MAX),
    ("spinlane-dpdk", "src/ffi/", usize::MAX),
    ("spinlane-driver-dpdk", "src/ffi.rs", usize::MAX),
    ("spinlane-driver-dpdk", "src/ffi/", usize::MAX),
    // Job::abandon, whose contract only its caller can keep, and the job of a function that ended its thread.
    ("spinlane-job", "src/job.rs", 4),
    // What one thread leaves to another: a context that was freed elsewhere, and who may look at one.
    ("spinlane-job", "src/letters.rs", 2),
    ("spinlane-job", "src/pool.rs", 1),
    ("spinlane-job", "src/wait_ctx.rs", 3),
    // The simulation does what SSL_free does to a paused job.
    ("spinlane-tools", "src/sim/world/connection.rs", 1),
    // Calls libspinlane.so as a C program does.
    ("spinlane-tools", "src/bench/c.rs", usize::MAX),
];

struct Package {
    name: String,
    directory: PathBuf,
    /// Normal and build dependencies inside the workspace.
    dependencies: BTreeSet<String>,
    dev_dependencies: BTreeSet<String>,
    /// Root files of its libraries and programs.
    roots: Vec<PathBuf>,
}

/// The packages, as `cargo metadata` has them.
fn workspace() -> (PathBuf, Vec<Package>) {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = array(&metadata["packages"]).iter().map(package).collect();
    (PathBuf::from(text(&metadata["workspace_root"])), packages)
}

fn package(value: &Value) -> Package {
    let inside = |dev: bool| {
        let dependencies = array(&value["dependencies"]).iter();
        dependencies
            .filter(|dependency| dependency["path"].is_string())
            .filter(|dependency| (dependency["kind"] == "dev") == dev)
            .map(|dependency| text(&dependency["name"]).to_owned())
            .collect()
    };
    let shipped = |target: &&Value| {
        let kinds = array(&target["kind"]);
        kinds
            .iter()
            .any(|kind| text(kind).ends_with("lib") || kind == "bin")
    };
    Package {
        name: text(&value["name"]).to_owned(),
        directory: Path::new(text(&value["manifest_path"]))
            .parent()
            .unwrap()
            .to_owned(),
        dependencies: inside(false),
        dev_dependencies: inside(true),
        roots: array(&value["targets"])
            .iter()
            .filter(shipped)
            .map(|target| PathBuf::from(text(&target["src_path"])))
            .collect(),
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Every edge that the rules do not allow.
fn bad_edges(packages: &[Package]) -> Vec<String> {
    let mut bad = Vec::new();
    for package in packages {
        let name = package.name.as_str();
        let Some(allowed) = allowed(name) else {
            bad.push(format!("{name} is not in the list of allowed edges"));
            continue;
        };
        for to in &package.dependencies {
            if !allowed.contains(&to.as_str()) {
                bad.push(format!("{name} depends on {to}"));
            }
        }
        for to in &package.dev_dependencies {
            let circular = to != name && reaches(packages, to, name);
            if ON_TOP.contains(&to.as_str()) || circular {
                bad.push(format!("{name} depends on {to} for its tests"));
            }
        }
    }
    bad
}

/// What a package may depend on; `None` if it is not listed.
fn allowed(name: &str) -> Option<Vec<&'static str>> {
    if ON_TOP.contains(&name) {
        return Some([LIBRARIES, &["spinlane", "spinlane-proxy"]].concat());
    }
    let entry = ALLOWED.iter().find(|(package, _)| *package == name);
    entry.map(|(_, allowed)| allowed.to_vec())
}

/// Whether `from` depends on `to`, directly or not.
fn reaches(packages: &[Package], from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut stack = vec![from];
    while let Some(name) = stack.pop() {
        if name == to {
            return true;
        }
        if seen.insert(name) {
            let package = packages.iter().find(|package| package.name == name);
            stack.extend(
                package
                    .iter()
                    .flat_map(|package| &package.dependencies)
                    .map(String::as_str),
            );
        }
    }
    false
}

/// What is wrong with a package's use of `unsafe`. `roots` and `files` are names, relative to
/// the package, and contents.
fn bad_unsafe(name: &str, roots: &[(String, String)], files: &[(String, String)]) -> Vec<String> {
    if UNSAFE.contains(&name) {
        return Vec::new();
    }
    let exceptions = || UNSAFE_FILES.iter().filter(|(package, ..)| *package == name);
    let wanted = match exceptions().next() {
        None => "#![forbid(unsafe_code)]",
        Some(_) => "#![deny(unsafe_code)]",
    };
    let has = |source: &str, line: &str| source.lines().any(|found| found.trim() == line);
    let mut bad: Vec<_> = roots
        .iter()
        .filter(|(_, source)| !has(source, wanted) && !has(source, "#![forbid(unsafe_code)]"))
        .map(|(file, _)| format!("{name}: {file} lacks {wanted}"))
        .collect();
    for (file, source) in files {
        let limit = exceptions().find(|(_, prefix, _)| file.starts_with(prefix));
        let limit = limit.map_or(0, |(.., limit)| *limit);
        let count = source.lines().filter(|line| allows_unsafe(line)).count();
        if count > limit {
            bad.push(format!(
                "{name}: {file} allows unsafe code {count} times, {limit} allowed"
            ));
        }
    }
    bad
}

fn allows_unsafe(line: &str) -> bool {
    let line = line.trim_start();
    let attribute = line.starts_with("#[") || line.starts_with("#![");
    attribute
        && line.contains("unsafe_code")
        && !line.contains("deny(")
        && !line.contains("forbid(")
}

/// Directories that hold Rust code and are no member of the workspace.
fn not_members(with_code: &[PathBuf], packages: &[Package]) -> Vec<PathBuf> {
    let is_member = |path: &&PathBuf| packages.iter().any(|package| package.directory == **path);
    with_code
        .iter()
        .filter(|path| !is_member(path))
        .cloned()
        .collect()
}

/// Rust files below `directory`, without build outputs.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = directory.read_dir() else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("target") {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Names, relative to `directory`, and contents.
fn read(directory: &Path, files: &[PathBuf]) -> Vec<(String, String)> {
    let relative = |file: &Path| {
        file.strip_prefix(directory)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    files
        .iter()
        .map(|file| (relative(file), std::fs::read_to_string(file).unwrap()))
        .collect()
}

fn assert_none<T: std::fmt::Debug>(bad: &[T]) {
    assert!(bad.is_empty(), "against the design: {bad:#?}");
}

#[test]
fn crates_depend_on_what_the_design_allows() {
    let (_, packages) = workspace();
    assert!(packages.len() >= 10, "metadata was read");
    assert!(
        packages
            .iter()
            .any(|package| package.dependencies.contains("spinlane-fiber"))
    );
    assert_none(&bad_edges(&packages));
}

#[test]
fn unsafe_code_stands_only_where_the_design_allows() {
    let (_, packages) = workspace();
    let mut bad = Vec::new();
    for Package {
        name,
        directory,
        roots,
        ..
    } in &packages
    {
        if ["spinlane-tests", "spinlane-benches"].contains(&name.as_str()) {
            continue;
        }
        assert!(!roots.is_empty(), "{name} has neither library nor program");
        let files = read(directory, &rust_files(&directory.join("src")));
        bad.extend(bad_unsafe(name, &read(directory, roots), &files));
    }
    assert_none(&bad);
}

#[test]
fn every_directory_with_rust_code_is_a_member_of_the_workspace() {
    let (root, packages) = workspace();
    let mut candidates = ["benches", "tests", "tools"]
        .map(|name| root.join(name))
        .to_vec();
    for parent in ["crates", "crates/drivers", "crates/kernels", "vendor"] {
        let entries = root.join(parent).read_dir().unwrap();
        candidates.extend(entries.map(|entry| entry.unwrap().path()));
    }
    let groups = |path: &PathBuf| path.ends_with("drivers") || path.ends_with("kernels");
    candidates.retain(|path| !groups(path) && !rust_files(path).is_empty());
    assert!(candidates.len() >= 10, "directories were read");
    assert_none(&not_members(&candidates, &packages));
}

/// The checks themselves: each finds what it is there for.
mod seeded {
    use super::*;

    fn package(name: &str, dependencies: &[&str], dev_dependencies: &[&str]) -> Package {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Package {
            name: name.to_owned(),
            directory: PathBuf::from(name),
            dependencies: owned(dependencies),
            dev_dependencies: owned(dev_dependencies),
            roots: Vec::new(),
        }
    }

    fn graph() -> Vec<Package> {
        vec![
            package("spinlane-ring", &[], &[]),
            package("spinlane-fiber", &[], &[]),
            package("spinlane-job", &["spinlane-fiber"], &[]),
            package("spinlane-crypto", &[], &["spinlane-crypto"]),
            package("spinlane-cryptodev", &["spinlane-crypto"], &[]),
            package("spinlane-driver-soft", &["spinlane-cryptodev"], &[]),
            package(
                "spinlane-lcore",
                &["spinlane-job", "spinlane-cryptodev"],
                &["spinlane-driver-soft"],
            ),
            package("spinlane-openssl", FRONT_END, &[]),
            package(
                "spinlane",
                &["spinlane-openssl", "spinlane-driver-soft"],
                &[],
            ),
            package("spinlane-tools", &["spinlane"], &[]),
        ]
    }

    /// The edge `from` → `to` added to a good graph.
    fn with_edge(from: &str, to: &str, dev: bool) -> Vec<String> {
        let mut graph = graph();
        let package = graph
            .iter_mut()
            .find(|package| package.name == from)
            .unwrap();
        match dev {
            false => package.dependencies.insert(to.to_owned()),
            true => package.dev_dependencies.insert(to.to_owned()),
        };
        bad_edges(&graph)
    }

    #[test]
    fn a_good_graph_passes() {
        assert_none(&bad_edges(&graph()));
        assert_none(&with_edge("spinlane-lcore", "spinlane-ring", false));
        assert_none(&with_edge("spinlane-openssl", "spinlane-driver-soft", true));
    }

    #[test]
    fn bad_edges_are_named() {
        for (from, to) in [
            ("spinlane-ring", "spinlane-fiber"),
            ("spinlane-job", "spinlane-lcore"),
            ("spinlane-crypto", "spinlane-cryptodev"),
            ("spinlane-cryptodev", "spinlane-ring"),
            ("spinlane-driver-soft", "spinlane-ring"),
            ("spinlane-lcore", "spinlane-openssl"),
            ("spinlane-lcore", "spinlane-driver-soft"),
            ("spinlane-openssl", "spinlane-driver-soft"),
            ("spinlane-openssl", "spinlane-fiber"),
            ("spinlane", "spinlane-tools"),
            ("spinlane-tools", "spinlane-capi"),
        ] {
            assert_eq!(
                with_edge(from, to, false),
                [format!("{from} depends on {to}")]
            );
        }
    }

    #[test]
    fn tests_use_nothing_that_depends_on_their_crate_and_no_program() {
        for (from, to) in [
            ("spinlane-cryptodev", "spinlane-lcore"),
            ("spinlane-fiber", "spinlane"),
            ("spinlane-ring", "spinlane-tools"),
            ("spinlane-ring", "spinlane-capi"),
        ] {
            assert_eq!(
                with_edge(from, to, true),
                [format!("{from} depends on {to} for its tests")]
            );
        }
    }

    #[test]
    fn a_crate_that_is_not_listed_is_named() {
        let bad = bad_edges(&[package("spinlane-novel", &[], &[])]);
        assert_eq!(bad, ["spinlane-novel is not in the list of allowed edges"]);
    }

    fn unsafe_in(name: &str, file: &str, source: &str) -> Vec<String> {
        let file = [(file.to_owned(), source.to_owned())];
        bad_unsafe(name, &[], &file)
    }

    #[test]
    fn a_root_that_forbids_nothing_is_named() {
        let root = |source: &str| [("src/lib.rs".to_owned(), source.to_owned())];
        let bad = |name, source| bad_unsafe(name, &root(source), &[]).len();
        assert_eq!(
            bad("spinlane-lcore", "//! Doc.\n#![forbid(unsafe_code)]\n"),
            0
        );
        assert_eq!(bad("spinlane-lcore", "//! Doc.\n"), 1);
        assert_eq!(bad("spinlane-lcore", "#![deny(unsafe_code)]\n"), 1);
        assert_eq!(bad("spinlane-lcore", "// #![forbid(unsafe_code)]\n"), 1);
        assert_eq!(bad("spinlane-job", "#![deny(unsafe_code)]\n"), 0);
        assert_eq!(bad("spinlane-job", ""), 1);
        assert_eq!(bad("spinlane-ring", ""), 0);
    }

    #[test]
    fn a_file_that_allows_unsafe_code_out_of_place_is_named() {
        let allow = "#[allow(unsafe_code)]\n";
        let expect = "#![expect(unsafe_code, reason = \"speed\")]\n";
        assert_eq!(unsafe_in("spinlane-job", "src/status.rs", allow).len(), 1);
        assert_eq!(unsafe_in("spinlane-job", "src/status.rs", expect).len(), 1);
        assert_eq!(unsafe_in("spinlane-job", "src/job.rs", allow).len(), 0);
        assert_eq!(
            unsafe_in("spinlane-job", "src/job.rs", &allow.repeat(5)).len(),
            1
        );
        assert_eq!(unsafe_in("spinlane-crypto", "src/key.rs", allow).len(), 1);
        assert_eq!(
            unsafe_in("spinlane-crypto", "src/aws_lc/rsa.rs", allow).len(),
            0
        );
        assert_eq!(
            unsafe_in("spinlane-crypto", "src/lib.rs", "#![deny(unsafe_code)]").len(),
            0
        );
    }

    #[test]
    fn a_directory_left_out_of_the_workspace_is_named() {
        let members = [package("crates/ring", &[], &[])];
        let found = ["crates/ring", "benches"].map(PathBuf::from);
        assert_eq!(not_members(&found, &members), [PathBuf::from("benches")]);
    }
}
