#!/usr/bin/env bash
# Installs what tools/gate.sh runs and this machine lacks: shellcheck from Debian, cargo-deny and cargo-machete, which
# are built under .deps/cargo, and two toolchains from rustup: the oldest that is promised, and a nightly one for sanitizers and
# fuzzing. Where one cannot be had, its step is skipped, and says so.
set -euo pipefail
cd "$(dirname "$0")/../.."

as_root=()
((EUID == 0)) || as_root=(sudo)
command -v shellcheck >/dev/null ||
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends shellcheck >/dev/null ||
    echo "setup: no shellcheck" >&2

for tool in cargo-deny@0.20.2 cargo-machete@0.9.2; do
    name=${tool%@*} version=${tool#*@}
    [[ -x .deps/cargo/bin/$name ]] && continue
    cargo install --debug --quiet --locked --root .deps/cargo --version "$version" "$name" || echo "setup: no $name" >&2
done

for toolchain in "$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)" nightly; do
    cargo "+$toolchain" --version >/dev/null 2>&1 && continue
    rustup toolchain install "$toolchain" --profile minimal --no-self-update >/dev/null 2>&1 || echo "setup: no Rust $toolchain" >&2
done
