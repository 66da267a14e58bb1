#!/usr/bin/env bash
# Other people's TLS tools against the proxy with both libraries and against the stock libraries; what differs without an
# explanation fails. Writes docs/wire.md if all tools were there.
#
#   [TLSFUZZER=DIR] tools/wire.sh [--tools LIST] [--libraries LIST] [--scripts PATTERN]
#
# testssl.sh and sslscan come from Debian, tlslite-ng from PyPI; no registry has tlsfuzzer, so give a checkout of it.
# Takes 30 to 60 minutes; nothing leaves this machine.
set -euo pipefail
root=$(realpath "$(dirname "$0")/..")
cd "$root"
for program in openssl python3 testssl sslscan; do
    command -v "$program" >/dev/null || { echo "wire: $program is missing: apt-get install openssl python3-venv testssl.sh sslscan" >&2; exit 1; }
done
work=$root/target/wire
mkdir -p "$work"
[ -x "$work/venv/bin/python" ] || python3 -m venv "$work/venv"
# A version that speaks ML-KEM, which needs kyber-py, and that tlsfuzzer asks for.
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'tlslite-ng==0.9.0b2' kyber-py
cargo build --release --package spinlane-tools --package spinlane-wire
certificates=$(mktemp -d)
trap 'rm -rf "$certificates"' EXIT
certificate() { # NAME REQUEST_ARGUMENTS...
    local name=$1
    shift
    openssl req -x509 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost "$@" \
        -keyout "$certificates/$name.key" -out "$certificates/$name.pem" 2>/dev/null
}
certificate rsa -newkey rsa:2048
certificate p256 -newkey ec -pkeyopt ec_paramgen_curve:P-256
if [ -n "${TLSFUZZER:-}" ]; then
    TLSFUZZER=$(realpath "$TLSFUZZER")
    TLSFUZZER_VERSION=${TLSFUZZER_VERSION:-$(git -C "$TLSFUZZER" rev-parse --short HEAD 2>/dev/null || echo 'of unknown version')}
    export TLSFUZZER TLSFUZZER_VERSION
fi
"$work/venv/bin/python" tests/wire/wire.py --root "$root" --certificates "$certificates" --work "$work" "$@"
