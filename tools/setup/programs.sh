#!/usr/bin/env bash
# Unpacks nginx, haproxy, apache and php into .deps/programs, where the tests of crates/capi look for them if
# the machine has none. They are not installed: their packages would start servers, now and at every boot.
set -euo pipefail
cd "$(dirname "$0")/../.."

programs=(nginx haproxy apache2 php)
packages=(nginx-light haproxy apache2-bin php-cli)
folder=.deps/programs

PATH=$PATH:/usr/sbin
missing=()
for index in "${!programs[@]}"; do
    # Debian's php is called by its version, and by a link that only an installation makes.
    command -v "${programs[index]}" >/dev/null ||
        compgen -G "$folder/usr/*bin/${programs[index]}*" >/dev/null ||
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
