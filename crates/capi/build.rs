//! Names the library for the dynamic linker. What it exports is not said here: rustc gives the
//! linker a version script with the `no_mangle` names of all crates in it and `local: *`. Versions
//! are left out on purpose: a symbol with a version of ours would not answer libssl's
//! reference to `ASYNC_start_job@OPENSSL_3.0.0`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libspinlane.so.0");
    // Fibers, handlers of signals and of forks, and thread-local data stay behind when libcrypto unloads
    // a provider module.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
