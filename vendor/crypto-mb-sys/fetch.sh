#!/bin/sh
# Puts Intel's crypto_mb where build.rs finds it: .deps/crypto_mb/{include,lib} at the
# workspace root. Does nothing if the machine has one already, or needs none. Needs python3
# with pip or venv; no root.
set -eu

version=2026.2.0
include_sha256=356e825406c834e31d6490c659494760707064b7bf0fe957fc100e72f0497c51
static_sha256=b4b952a9435f7aab3d1684822f644d586ce5f6bda874e4bfb8c008ee674ca5c5

root=$(cd "$(dirname "$0")/../.." && pwd)
deps=$root/.deps
dest=$deps/crypto_mb

say() { echo "crypto_mb: $*"; }
die() { echo "crypto_mb: $*" >&2; exit 1; }

if [ "$(uname -m)" != x86_64 ]; then
    say "not built for $(uname -m); the soft device serves"
    exit 0
fi
if [ -n "${CRYPTO_MB_DIR:-}" ]; then
    [ -d "$CRYPTO_MB_DIR/include/crypto_mb" ] ||
        die "CRYPTO_MB_DIR=$CRYPTO_MB_DIR has no include/crypto_mb; correct or unset it"
    say "taken from CRYPTO_MB_DIR=$CRYPTO_MB_DIR"
    exit 0
fi
if [ "$(cat "$dest/wheels.sha256" 2>/dev/null)" = "$include_sha256 $static_sha256" ]; then
    say "already in $dest"
    exit 0
fi
# The same places as in build.rs.
for prefix in /usr/local /usr; do
    [ -d "$prefix/include/crypto_mb" ] || continue
    for lib in lib lib64 lib/x86_64-linux-gnu; do
        if [ -e "$prefix/$lib/libcrypto_mb.so" ] || [ -e "$prefix/$lib/libcrypto_mb.a" ]; then
            say "the system's own in $prefix/$lib is used"
            exit 0
        fi
    done
done

command -v python3 >/dev/null || die "python3 is missing; install python3 and python3-pip, then try again"
mkdir -p "$deps"
tmp=$(mktemp -d "$deps/crypto_mb.XXXXXX")
trap 'rm -rf "$tmp"' EXIT

if python3 -m pip --version >/dev/null 2>&1; then
    python=python3
elif python3 -m venv "$tmp/venv" >/dev/null 2>&1; then
    python=$tmp/venv/bin/python
else
    die "python3 has neither pip nor venv; install python3-pip (or python3-venv), then try again"
fi

# fetch NAME SHA256: downloads one wheel, checks it, unpacks it to $tmp/NAME.
fetch() {
    mkdir "$tmp/wheel"
    "$python" -m pip --disable-pip-version-check --quiet download --no-deps --only-binary=:all: \
        --dest "$tmp/wheel" "$1==$version" ||
        die "pip cannot download $1==$version; check the network and pip's index, then try again"
    wheel=$(echo "$tmp"/wheel/*.whl)
    got=$(sha256sum "$wheel" | cut -d ' ' -f 1)
    [ "$got" = "$2" ] || die "$(basename "$wheel") has sha256 $got instead of $2; do not use it"
    "$python" -m zipfile -e "$wheel" "$tmp/$1"
    rm -r "$tmp/wheel"
}
say "downloading ipp-crypto-include and ipp-crypto-static $version"
fetch ipp-crypto-include "$include_sha256"
fetch ipp-crypto-static "$static_sha256"

mkdir -p "$tmp/new/include" "$tmp/new/lib"
mv "$tmp/ipp-crypto-include/ipp_crypto_include-$version.data/data/include/aggregator/crypto_mb" \
    "$tmp/new/include/crypto_mb"
mv "$tmp/ipp-crypto-static/ipp_crypto_static-$version.data/data/lib/libcrypto_mb.a" "$tmp/new/lib/"
mv "$tmp/ipp-crypto-static/ipp_crypto_static-$version.dist-info/LICENSE.txt" "$tmp/new/"
echo "$include_sha256 $static_sha256" >"$tmp/new/wheels.sha256"
# Whole or not at all: an interrupted run leaves no half of it.
rm -rf "$dest"
mv "$tmp/new" "$dest"
say "now in $dest"
