#!/usr/bin/env bash
# Unpacks OpenSSL's engine for PKCS#11 (libp11) into .deps/programs, for tools/compare_pkcs11.sh. Needs no privileges.
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=.deps/programs
compgen -G "$folder/usr/lib/*/engines-3/pkcs11.so" >/dev/null && exit 0
compgen -G "/usr/lib/*/engines-3/pkcs11.so" >/dev/null && exit 0

echo "setup: unpacking libengine-pkcs11-openssl into $folder"
archives=$(mktemp -d)
trap 'rm -rf "$archives"' EXIT
mkdir -p "$folder"
(cd "$archives" && apt-get -qq -o APT::Sandbox::User= download libengine-pkcs11-openssl)
for archive in "$archives"/*.deb; do
    dpkg-deb --extract "$archive" "$folder"
done
