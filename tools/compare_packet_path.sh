#!/usr/bin/env bash
# The proxy on packets beside the proxy on the kernel's sockets, the same build, adjacent runs; and TCP alone.
#
# Packets: two processes, a DPDK memory interface (memif) between them, our stack at both ends. Sockets: the loopback of a network namespace
# of its own. The server has one core and is saturated; what is printed is what it reached, and the ratio of the two.
# Usage: tools/compare_packet_path.sh [SECONDS] [ROUNDS] [SERVER_CORE] [CLIENT_CORE]
# Needs CAP_NET_ADMIN for the namespace, and python3.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-3}
rounds=${2:-3}
server_core=${3:-0}
client_core=${4:-1}
spinlane=${SPINLANE_BIN:-target/release/spinlane}
namespace=spinlane-compare-$$
dir=$(mktemp -d)
# One socket per run: a server leaves its own behind.
memif() { echo "net_memif0,role=$1,id=0,socket=$dir/$2.sock,socket-abstract=no,rsize=11,bsize=2048"; }
ip netns add "$namespace"
server=
stop() {
	if [ -n "$server" ]; then
		kill "$server" 2>/dev/null || true
		wait "$server" 2>/dev/null || true
	fi
	server=
}
trap 'stop; ip netns del "$namespace"; rm -rf "$dir"' EXIT
export RUST_LOG=error
inside() { ip netns exec "$namespace" "$@"; }
inside ip link set dev lo up
inside sh -c 'echo 1024 65000 >/proc/sys/net/ipv4/ip_local_port_range; echo 512 >/proc/sys/net/ipv4/tcp_max_tw_buckets; echo 4096 >/proc/sys/net/core/somaxconn'

field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$dir/json" "$1"; }
client() {
	inside "$spinlane" bench "$@" --core "$client_core" --seconds "$seconds" --json >"$dir/json" 2>"$dir/client.log" ||
		{ cat "$dir/client.log" "$dir/server.log" >&2; stop; exit 1; }
}
# Waits until the server says that it serves.
await() {
	for _ in $(seq 200); do
		grep -q "$1" "$dir/server.log" && return
		sleep 0.05
	done
	cat "$dir/server.log" >&2
	stop
	exit 1
}
serve() {
	: >"$dir/server.log"
	# Not by `inside`: the process is to be the program.
	ip netns exec "$namespace" "$spinlane" "$@" >"$dir/server.log" 2>&1 &
	server=$!
}

packets=(--ip 10.9.0.2/24 --mac 02:00:00:00:09:02)
far=(--ip 10.9.0.1/24 --mac 02:00:00:00:09:01)

# tls_packets CERT RESUME…: new connections per second of the proxy on packets.
tls_packets() {
	local run=$RANDOM$RANDOM
	serve proxy --port "$(memif server $run)" "${packets[@]}" --listen 10.9.0.2:443 --backend respond --cores "$server_core" --self-signed "$1"
	await "listens on"
	client connect 10.9.0.2:443 --port "$(memif client $run)" "${far[@]}" "${@:2}"
	stop
	field connections_per_s
}
tls_sockets() {
	serve proxy --listen 127.0.0.1:18443 --backend respond --cores "$server_core" --self-signed "$1"
	await "listens on"
	client connect 127.0.0.1:18443 "${@:2}"
	stop
	field connections_per_s
}
# CPU us per connection of a server of TCP alone. It ends by itself, after the client.
tcp_packets() {
	local run=$RANDOM$RANDOM
	serve bench tcp serve 10.9.0.2:80 --port "$(memif server $run)" "${packets[@]}" --connections 4096 --core "$server_core" --seconds "$seconds" --json
	sleep 2
	client tcp load 10.9.0.2:80 --port "$(memif client $run)" "${far[@]}"
	wait "$server"; server=
	grep '^{' "$dir/server.log" >"$dir/json"
	field cpu_us_per_connection
}
tcp_sockets() {
	serve bench tcp serve 127.0.0.1:18080 --connections 4096 --core "$server_core" --seconds "$seconds" --json
	sleep 0.5
	client tcp load 127.0.0.1:18080
	wait "$server"; server=
	grep '^{' "$dir/server.log" >"$dir/json"
	field cpu_us_per_connection
}
compare() {
	local kind=$2
	for _ in $(seq "$rounds"); do
		ours=$("${kind}_packets" "${@:3}")
		kernel=$("${kind}_sockets" "${@:3}")
		python3 -c 'import sys; name, more, ours, kernel = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
ratio = ours / kernel if more == "tls" else kernel / ours
print(f"{name}: packets {ours:.1f}, sockets {kernel:.1f}, ratio {ratio:.2f}")' "$1" "$kind" "$ours" "$kernel"
	done
}
grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //'
compare "P-256, full, connections/s" tls p256
compare "P-256, resumed, connections/s" tls p256 --resume
compare "RSA-2048, full, connections/s" tls rsa2048
compare "TCP alone, 1 KB and 1 KB, CPU us per connection" tcp
