#!/usr/bin/env bash
# Fetches OpenSSL's own test of its asynchronous jobs, test/asynctest.c of its source package, into
# .deps/openssl, where a test of crates/capi looks for it. Asks the package servers that this machine is
# set up with, for sources, by lists and caches of its own: needs no privileges and changes nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=$PWD/.deps/openssl
[ -f "$folder/asynctest.c" ] && exit 0

echo "setup: fetching test/asynctest.c of the source package openssl"
mkdir -p "$folder"
apt=$(mktemp -d)
trap 'rm -rf "$apt"' EXIT
mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/parts"
# The same servers, for sources in place of packages; those of the distribution only.
codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
    if [ ! -f "$list" ] || ! grep -q "$codename" "$list"; then
        continue
    fi
    sed -E 's/^deb /deb-src /; s/^Types: .*/Types: deb-src/' "$list" >"$apt/parts/$(basename "$list")"
done
own=(-o Dir::State="$apt/state" -o Dir::Cache="$apt/cache" -o Dir::Etc::sourcelist=/dev/null
    -o Dir::Etc::sourceparts="$apt/parts" -o APT::Sandbox::User=)
apt-get "${own[@]}" -qq update
cd "$apt"
# The newest that the servers have; the test has not changed within a release series.
for version in $(apt-cache "${own[@]}" showsrc openssl | sed -n 's/^Version: //p' | sort --version-sort --reverse); do
    apt-get "${own[@]}" -qq --download-only --tar-only source "openssl=$version" 2>/dev/null && break
    rm -f openssl_*
done
tar --extract --to-stdout --wildcards --file openssl_*.orig.tar.* '*/test/asynctest.c' >asynctest.c
mv asynctest.c "$folder"
