#!/usr/bin/env bash
# Installs what building and testing need and this machine lacks: Debian packages, programs to serve
# with, and crypto_mb.
# Does nothing, and asks nobody's network, where all is there.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Building: a C compiler, libssl. Testing: its program, curl, and a cross compiler and an emulator
# for the fibers of aarch64; cmake and abidiff for what C programs are promised. crypto_mb comes with pip.
packages=(
    build-essential pkg-config libssl-dev
    openssl curl procps python3 python3-pip python3-venv cmake abigail-tools
    gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
)

# Installs those of the packages named that this machine lacks.
install() {
    local package missing=() as_root=()
    for package in "$@"; do
        dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
            missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if ((EUID != 0)); then
        command -v sudo >/dev/null || {
            echo "setup: ${missing[*]} are missing; install them as root, or install sudo" >&2
            return 1
        }
        as_root=(sudo)
    fi
    echo "setup: installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

install "${packages[@]}" || exit 1
# The device dpdk: libclang for bindgen, and DPDK with its drivers, unless there is one already.
dpdk=(libclang-dev)
pkg-config --exists libdpdk || dpdk+=(libdpdk-dev)
install "${dpdk[@]}" || echo "setup: no DPDK; the device dpdk will be left out" >&2

# What one or two tests use, and skip if it is not there.
install softhsm2 || echo "setup: no softhsm2; the tests of PKCS#11 tokens will be skipped" >&2
install valgrind || echo "setup: no valgrind; make valgrind will run nothing" >&2
tools/setup/programs.sh || echo "setup: no nginx or haproxy; the tests that serve by them will be skipped" >&2
tools/setup/asynctest.sh || echo "setup: no asynctest.c; the test that compiles it will be skipped" >&2

command -v cargo >/dev/null || {
    echo "setup: no Rust toolchain; install one with rustup, 1.89 or newer" >&2
    exit 1
}

if [ "$(uname -m)" = x86_64 ]; then
    vendor/crypto-mb-sys/fetch.sh
fi
