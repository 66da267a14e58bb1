#!/usr/bin/env bash
# Compares what spinlane.h promises with what it promised at the last release: a program that was built then must still
# run. New functions, and new fields at the end of structures that begin with their size, are no break.
#
#     tools/check_abi.sh            compares
#     tools/check_abi.sh --record   takes the header as it is for the promise, for a release
set -euo pipefail
cd "$(dirname "$0")/.."
baseline=crates/capi/abi/spinlane.abi
header=crates/capi/include/spinlane.h
command -v abidiff >/dev/null || {
    echo "check-abi: abidiff is not here; apt-get install abigail-tools fetches it" >&2
    exit 1
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# The header alone, as a library: a variable for each function, of its type. (Of the library itself abidiff would see
# what the header hides.)
{
    echo '#include <spinlane.h>'
    grep -oE '\bspinlane_[a-z0-9_]+\(' "$header" | tr -d '(' | sort -u | while read -r name; do
        if grep -qE "^[a-z].*[ *]$name\(" "$header"; then
            echo "__typeof__($name) *promise_$name;"
        fi
    done
} >"$folder/promise.c"
cc -g -fno-eliminate-unused-debug-types -shared -fPIC -I crates/capi/include "$folder/promise.c" -o "$folder/libpromise.so"
abidw --no-corpus-path --no-comp-dir-path --no-show-locs --short-locs --out-file "$folder/spinlane.abi" "$folder/libpromise.so"
if [ "${1:-}" = --record ]; then
    cp "$folder/spinlane.abi" "$baseline"
    echo "check-abi: recorded $(grep -c '<elf-symbol' "$baseline") functions"
    exit 0
fi
abidiff --no-added-syms --suppressions crates/capi/abi/grows.ini "$baseline" "$folder/spinlane.abi" || {
    echo "check-abi: spinlane.h breaks programs that were built with the last release; see above" >&2
    exit 1
}
echo "check-abi: $(grep -c '<elf-symbol' "$folder/spinlane.abi") functions, none changed that was released"
