#!/usr/bin/env bash
# What CI checks besides formatting, lints and tests. A step that cannot run says so by name and reason; one
# that finds something ends with an error.
#
#   tools/gate.sh [STEP...]      scripts licences advisories unused loom msrv fuzz asan; default: all
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.deps/cargo/bin:$PATH

skip() { # REASON
    echo "SKIPPED $step: $1"
}

has() { # PROGRAM: whether it is there; says so if not
    command -v "$1" >/dev/null || { skip "$1 is not here; tools/setup/gate.sh fetches it"; return 1; }
}

has_nightly() {
    cargo +nightly --version >/dev/null 2>&1 || { skip "it needs a nightly toolchain; tools/setup/gate.sh fetches it"; return 1; }
}

scripts() {
    has shellcheck || return 0
    git grep --name-only --perl-regexp '\A#!.*\b(ba)?sh$' | xargs shellcheck
}

licences() {
    has cargo-deny || return 0
    cargo deny --all-features check --hide-inclusion-graph bans licenses sources
}

advisories() {
    has cargo-deny || return 0
    # Of its own: out of reach, the database's absence is no finding.
    if ! said=$(cargo deny fetch db 2>&1); then
        skip "RustSec's database cannot be fetched: $(tail -n 1 <<<"$said")"
        return 0
    fi
    cargo deny --all-features check --hide-inclusion-graph --disable-fetch advisories
}

unused() {
    has cargo-machete || return 0
    cargo machete
}

loom() {
    make loom
}

# The oldest Rust that Cargo.toml promises. Tests may need a newer one.
msrv() {
    local version
    version=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    cargo "+$version" --version >/dev/null 2>&1 ||
        { skip "there is no Rust $version; tools/setup/gate.sh fetches it"; return 0; }
    cargo "+$version" check --quiet --locked --workspace --target-dir target/msrv
}

# Every target, and each for a few seconds: that it still builds, starts and finds nothing at once.
fuzz() {
    has_nightly || return 0
    make fuzz fuzz-net FUZZ_SECONDS="${FUZZ_SECONDS:-5}"
}

asan() {
    has_nightly || return 0
    make asan-core
}

steps=("$@")
((${#steps[@]})) || steps=(scripts licences advisories unused loom msrv fuzz asan)
for step in "${steps[@]}"; do
    echo "gate: $step"
    began=$SECONDS
    "$step"
    echo "gate: $step took $((SECONDS - began)) s"
done
