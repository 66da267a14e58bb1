#!/usr/bin/env bash
# Builds OpenSSL 4.0, from the sources in the crate openssl-src, as shared libraries into
# .deps/openssl4. Takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=400.0.2
prefix=$PWD/.deps/openssl4
[ -x "$prefix/bin/openssl" ] && exit 0

echo "setup: building OpenSSL 4.0 into $prefix"
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
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
cp -r "$(dirname "$manifest")/openssl" "$build/openssl"
cd "$build/openssl"
./Configure --prefix="$prefix" --openssldir="$prefix/ssl" --libdir=lib shared no-module no-tests no-docs >/dev/null
make --silent --jobs "$(nproc)" >/dev/null
make --silent install_sw install_ssldirs >/dev/null
