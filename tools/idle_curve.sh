#!/usr/bin/env bash
# New connections per second of `spinlane proxy` (P-256, one core) with 0, 2,000, 8,000 and 12,000 idle connections open, as far
# as file descriptors allow, interleaved, and then with 64, 512 and 4,096 connections in flight: the curves in docs/figures.md.
#
#   tools/idle_curve.sh [CORE] [CLIENT_CORE] [ROUNDS] [SECONDS]
#
# On a machine with two cores nothing else should run. SPINLANE_BIN names another program than target/release/spinlane.
set -euo pipefail

core=${1:-0} client_core=${2:-1} rounds=${3:-3} seconds=${4:-3}
cd "$(dirname "$0")/.."
program=${SPINLANE_BIN:-target/release/spinlane}
[ -x "$program" ] || { echo "$program is missing: cargo build --release" >&2; exit 1; }
ulimit -n "$(ulimit -Hn)"
# Of one address the kernel finds a port soon as long as half of them are free.
most=$(($(ulimit -n) - 1000))
[ "$most" -lt 12000 ] || most=12000

log=$(mktemp) proxy=
trap '[ -z "$proxy" ] || kill "$proxy" 2>/dev/null || true; rm -f "$log"' EXIT
"$program" proxy --listen 127.0.0.1:0 --cores "$core" --max-connections 150000 --idle-timeout 100000 >"$log" 2>&1 &
proxy=$!
until port=$(grep -om1 '127.0.0.1:[0-9]*' "$log"); do
    kill -0 "$proxy" 2>/dev/null || { cat "$log"; exit 1; }
    sleep 0.1
done

# New connections/s with IDLE open and FLIGHT in flight. The proxy polls, so that its time is all of the
# time: what a connection costs is told where the client has found something to do in few of its turns.
measure() {
    "$program" bench connect "$port" --core "$client_core" --idle "$1" --connections "$2" --seconds "$seconds"
}
for ((round = 0; round < rounds; round++)); do
    for idle in 0 2000 8000 "$most"; do
        printf '%6d idle, 64 in flight: ' "$idle"
        measure "$idle" 64
    done
    for flight in 64 512 4096; do
        printf '     0 idle, %d in flight: ' "$flight"
        measure 0 "$flight"
    done
done
