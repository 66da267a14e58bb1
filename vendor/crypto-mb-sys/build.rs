//! Finds crypto_mb, checks the declarations of `src/lib.rs` against its headers, and links it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::exit;

/// Where a library stands below its prefix; the same places as in `fetch.sh`.
const LIB_DIRS: [&str; 3] = ["lib", "lib64", "lib/x86_64-linux-gnu"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=abi_check.c");
    println!("cargo::rerun-if-env-changed=CRYPTO_MB_DIR");
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() != Ok("x86_64") {
        return;
    }
    let (include, lib_dir) = find().unwrap_or_else(|error| {
        eprintln!("crypto-mb-sys: {error}");
        exit(1);
    });
    println!("cargo::rerun-if-changed={}", include.display());
    println!(
        "cargo::rerun-if-changed={}",
        lib_dir.join("libcrypto_mb.a").display()
    );

    // Compiles to nothing: it fails where a declaration differs.
    cc::Build::new()
        .file("abi_check.c")
        .include(&include)
        .define("BN_OPENSSL_DISABLE", None)
        .flag("-std=gnu11")
        .compile("crypto_mb_abi_check");

    println!("cargo::rustc-link-search=native={}", lib_dir.display());
    let kind = if lib_dir.join("libcrypto_mb.a").exists() {
        "static"
    } else {
        "dylib"
    };
    println!("cargo::rustc-link-lib={kind}=crypto_mb");
    // Its variants on BIGNUMs, which nobody calls, share objects with those that are called.
    println!("cargo::rustc-link-lib=dylib=crypto");
}

/// Directories of the headers and of the library.
fn find() -> Result<(PathBuf, PathBuf), String> {
    if let Some(dir) = env::var_os("CRYPTO_MB_DIR") {
        return at(Path::new(&dir)).ok_or_else(|| {
            format!(
                "CRYPTO_MB_DIR={} has no include/crypto_mb with a library; correct or unset it",
                dir.display()
            )
        });
    }
    let manifest =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?);
    [
        manifest.join("../../.deps/crypto_mb"),
        "/usr/local".into(),
        "/usr".into(),
    ]
    .iter()
    .find_map(|prefix| at(prefix))
    .ok_or_else(|| "Intel's crypto_mb is missing; run `make setup` in the workspace root".into())
}

fn at(prefix: &Path) -> Option<(PathBuf, PathBuf)> {
    let include = prefix.join("include");
    let lib = LIB_DIRS
        .iter()
        .map(|dir| prefix.join(dir))
        .find(|dir| dir.join("libcrypto_mb.a").exists() || dir.join("libcrypto_mb.so").exists())?;
    include.join("crypto_mb").is_dir().then_some((include, lib))
}
