#!/usr/bin/env bash
# Breaks a copy of this tree on purpose, one thing at a time, and runs the gate's step that should notice. Prints a table of what
# shellcheck disable=SC2016,SC2317  # programs for sed; functions that are called by name
# was broken and what caught it; ends with an error if something was not caught, or if a step fails on what is sound.
#
#   tools/break_gate.sh [STEP...]      default: all
#
# Each step is asked about one package, by the tools and flags with which the gate asks about all: its verdict is what is tried here.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD copy=$PWD/target/broken
export CARGO_TARGET_DIR=$root/target/break PATH=$root/.deps/cargo/bin:$PATH
msrv=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
nightly=x86_64-unknown-linux-gnu
ring=crates/ring/src

# The tree as committed, in a repository of its own: steps ask git for their files.
rm -rf "$copy"
mkdir -p "$copy"
git archive HEAD | tar -x -C "$copy"
trap 'rm -rf "$copy"' EXIT
cd "$copy"
git init --quiet
git add --all

wanted=("$@") bad=0
printf '| step | what was broken | what said so |\n|---|---|---|\n'

broken() { # STEP WHAT FILE SED_PROGRAM SAYS COMMAND...
    local step=$1 what=$2 file=$3 program=$4 says=$5 out
    shift 5
    ((${#wanted[@]} == 0)) || [[ " ${wanted[*]} " == *" $step "* ]] || return 0
    out=$(mktemp)
    if ! "$@" >"$out" 2>&1; then
        echo "| $step | nothing: it fails on the sound tree | $(tail -n 1 "$out") |"
        bad=1
    elif grep -q "^SKIPPED" "$out"; then
        echo "| $step | $what | $(grep -m 1 ^SKIPPED "$out") |"
    else
        sed -i "$program" "$file"
        git diff --quiet && { echo "break_gate: $step changes nothing" >&2; exit 1; }
        if "$@" >"$out" 2>&1; then
            echo "| $step | $what | NOTHING |"
            bad=1
        else
            # In the tool's own words; a failure of another kind shows.
            echo "| $step | $what | \`$(grep -m 1 -o -E "$says" "$out" || echo "something else: $(tail -n 1 "$out")")\` |" | sed "s|$copy/||"
        fi
        git checkout --quiet -- .
    fi
    rm "$out"
}

flags() { # RUSTFLAGS COMMAND...
    RUSTFLAGS=$1 "${@:2}"
}

doc() {
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --package spinlane-ring
}

broken formatting 'a space too many' $ring/error.rs '$a fn  broken() {}' 'Diff in .*error.rs' \
    cargo fmt --package spinlane-ring -- --check
broken lints 'a `return` that is needless' $ring/error.rs '$a pub(crate) fn broken() -> u8 { return 1; }' 'unneeded `return` statement' \
    cargo clippy --quiet --package spinlane-ring --all-targets -- -D warnings
broken documentation 'a link to nothing' $ring/lib.rs '1i //! [`nowhere`]' 'unresolved link to `nowhere`' doc
broken scripts 'a variable without quotes' tools/figures.sh '$a rm -r $HOME' 'SC2086' tools/gate.sh scripts
broken licences 'a licence that is not allowed' deny.toml '/"MIT"/d' 'error\[rejected\]' tools/gate.sh licences
broken unused 'a dependency that nothing uses' crates/ring/Cargo.toml '/^thiserror/a libc.workspace = true' 'spinlane-ring -- .*' tools/gate.sh unused
broken tests 'an end that is dropped is said to be there' $ring/shared.rs 's/self.abandoned.load(/!self.abandoned.load(/' 'test .* FAILED' \
    cargo test --package spinlane-ring --test contract
broken loom 'a Release that is Relaxed' $ring/shared.rs 's/self.tail.store(tail, Ordering::Release)/self.tail.store(tail, Ordering::Relaxed)/' \
    'Causality violation.*' flags '--cfg loom' cargo test --package spinlane-ring --release --test loom
broken msrv "a function that Rust $msrv does not have" $ring/error.rs '$a pub(crate) fn broken() { let _ = 1_u32.checked_sub_signed(1); }' \
    'use of unstable library feature.*' cargo "+$msrv" check --package spinlane-ring
broken fuzz 'a panic in the parser, for one kind of frame' crates/net/src/ethernet.rs \
    '/^pub(crate) fn parse/a assert_ne!(bytes.get(12..14), Some(\&[0x88, 0xcc][..]));' 'panicked at .*ethernet.rs' \
    make --no-print-directory fuzz-net FUZZ_SECONDS=20
broken asan 'a read of one byte behind a buffer' crates/fiber/src/wipe.rs \
    '/fn note(/a let eight = vec![1_u8; 8]; std::hint::black_box(unsafe { *eight.as_ptr().add(8) });' 'heap-buffer-overflow' \
    flags '-Zsanitizer=address --cfg spinlane_asan' cargo +nightly test --target $nightly --package spinlane-fiber --test fiber
broken tsan 'a Release that is Relaxed' $ring/shared.rs 's/self.tail.store(tail, Ordering::Release)/self.tail.store(tail, Ordering::Relaxed)/' \
    'data race' flags '-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer' \
    cargo +nightly test --target $nightly --package spinlane-ring --test stress
exit $bad
