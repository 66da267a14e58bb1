#!/usr/bin/env bash
# Unpacks nginx and haproxy into .deps/programs, where the tests of crates/capi look for them if the
# machine has none. They are not installed: their packages would start servers, now and at every boot.
set -euo pipefail
cd "$(dirname "$0")/../.."

programs=(nginx haproxy)
packages=(nginx-light haproxy)
folder=.deps/programs

PATH=$PATH:/usr/sbin
missing=()
for index in "${!programs[@]}"; do
    command -v "${programs[index]}" >/dev/null || [ -x "$folder/usr/sbin/${programs[index]}" ] ||
        missing+=("${packages[index]}")
done
((${#missing[@]})) || exit 0

echo "setup: unpacking ${missing[*]} into $folder"
mkdir -p "$folder/archives/partial"
# With what they depend on, as far as this machine lacks it. Needs no privileges.
apt-get install -y -qq --no-install-recommends --download-only -o Debug::NoLocking=1 \
    -o Dir::Cache::archives="$PWD/$folder/archives" "${missing[@]}" >/dev/null
for archive in "$folder"/archives/*.deb; do
    dpkg-deb --extract "$archive" "$folder"
done
rm -r "$folder/archives"
