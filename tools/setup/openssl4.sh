#!/usr/bin/env bash
# Builds OpenSSL 4.0, from the sources in the crate openssl-src, as shared libraries into
# .deps/openssl4. Takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=400.0.2
prefix=$PWD/.deps/openssl4
[ -x "$prefix/bin/openssl" ] && exit 0

echo "setup: building OpenSSL 4.0 into $prefix"
# Kept if it fails, so that the next try goes on.
build=$prefix/build
# A package that depends on the crate and does nothing, so that cargo fetches it and checks its hash.
mkdir -p "$build/package/src"
cat >"$build/package/Cargo.toml" <<EOF
[package]
name = "fetch"
version = "0.0.0"
edition = "2021"
[dependencies]
openssl-src = "=$version"
[workspace]
EOF
: >"$build/package/src/lib.rs"
cargo fetch --quiet --manifest-path "$build/package/Cargo.toml"
manifest=$(cargo metadata --quiet --format-version 1 --manifest-path "$build/package/Cargo.toml" |
    tr ',' '\n' | sed -n 's/.*"manifest_path":"\(.*openssl-src-.*\)".*/\1/p')
cp -r --no-clobber "$(dirname "$manifest")/openssl" "$build"
cd "$build/openssl"
# The crate leaves out what makes linker scripts for shared libraries: one that exports all.
printf '%s\n' 'print "OPENSSL_4.0.0 { global: *; };\n";' >util/mkdef.pl
[ -f Makefile ] || ./Configure --prefix="$prefix" --openssldir="$prefix/ssl" --libdir=lib shared no-module no-tests no-docs >/dev/null
make --silent --jobs "$(nproc)" >/dev/null 2>&1 || make --silent
make --silent install_sw >/dev/null
cd "$prefix"
mkdir -p ssl
# As much of a configuration as `openssl req` asks for, also with -x509; the crate has none.
cat >ssl/openssl.cnf <<EOF
[req]
distinguished_name = name
x509_extensions = ca
[name]
[ca]
basicConstraints = critical, CA:TRUE
EOF
rm -rf build
