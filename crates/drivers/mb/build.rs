//! Writes the assembly that `src/ffi/edwards.rs` includes.

#[path = "generator/edwards.rs"]
mod edwards;

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=generator");
    let Some(out_dir) = env::var_os("OUT_DIR") else {
        panic!("cargo sets OUT_DIR");
    };
    let file = PathBuf::from(out_dir).join("edwards.s");
    if let Err(error) = fs::write(&file, edwards::assembly()) {
        panic!("cannot write {}: {error}", file.display());
    }
}
