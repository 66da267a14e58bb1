#!/usr/bin/env bash
# Runs every command that docs/figures.md quotes, and prints date, machine, each command and what it printed. What
# cannot run says so. Takes about half an hour; nothing else should run meanwhile.
#
#   tools/figures.sh [CORE [CLIENT_CORE]] >FILE      default: 1 0
#
# Needs a release build, with `--features dpdk` for DPDK's lines; SPINLANE_BIN names another binary.
set -uo pipefail # without -e: one that fails keeps no other
cd "$(dirname "$0")/.." || exit

core=${1:-1} client_core=${2:-0}
spinlane=${SPINLANE_BIN:-target/release/spinlane}
[ -x "$spinlane" ] || { echo "figures: $spinlane is missing; cargo build --release --package spinlane-tools" >&2; exit 1; }

run() { # COMMAND...: on the core, with its output
    printf '\n$ %s\n' "$*"
    RUST_LOG=error taskset --cpu-list "$core" "$@" 2>&1 || echo "SKIPPED or failed: status $?"
}

anywhere() { # COMMAND...: which pins itself
    printf '\n$ %s\n' "$*"
    RUST_LOG=error "$@" 2>&1 || echo "SKIPPED or failed: status $?"
}

date --utc '+%F %H:%M UTC'
uname -srm
sed -n 's/^model name.*: //p' /proc/cpuinfo | sort | uniq --count
openssl version
git describe --always --dirty
uptime

handshake=("$spinlane" bench handshake --protocol 1.3 --core "$core")
for options in "--tls rustls --cert p256 --group x25519mlkem768 --suite aes128" "--tls rustls --cert p256 --group x25519" \
    "--tls rustls --cert p256 --suite aes256" "--tls rustls --cert p256 --suite aes128" "--tls rustls --cert p256" \
    "--tls rustls --cert p256 --resume" "--tls rustls --cert rsa2048" "--tls openssl --cert rsa2048" \
    "--tls openssl --cert p256" "--tls openssl --cert rsa2048 --connections 1" "--tls openssl --cert p256 --connections 1"; do
    read -ra words <<<"$options"
    anywhere "${handshake[@]}" "${words[@]}"
done
anywhere tools/compare_nginx.sh "$core" "$client_core" 3
anywhere tools/idle_curve.sh "$core" "$client_core" 3
anywhere "$spinlane" bench records --core "$core"
anywhere "$spinlane" bench records --device dpdk:crypto_aesni_gcm --volume 2 --rounds 7 --core "$core"
anywhere "$spinlane" bench memory --connections 10000
anywhere tools/compare_dpdk_perf.sh crypto_aesni_gcm aes-128-gcm "$core"
anywhere "$spinlane" speed --device dpdk:crypto_openssl --algorithm rsa2048 --core "$core"
anywhere "$spinlane" speed --device mb --burst 8 --core "$core"
anywhere "$spinlane" speed --check-peers --core "$core"
run cargo bench --quiet --package spinlane-driver-mb
run cargo bench --quiet --package spinlane-mlkem
run cargo bench --quiet --package spinlane-driver-dpdk --features null
run cargo bench --quiet --package spinlane-benches
run cargo bench --quiet --package spinlane-capi
anywhere cargo run --quiet --release --package spinlane-net --features sim --example losses
anywhere cargo test --quiet --release --package spinlane-dpdk --features dpdk --test losses -- --ignored --nocapture
run cargo test --quiet --release --package spinlane-net --lib measured -- --ignored --nocapture --test-threads 1
