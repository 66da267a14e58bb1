#!/usr/bin/env bash
# The proxy's own tests once more, over packets: each proxy on a port of DPDK's (net_af_packet on one end of a virtual cable), its clients
# on the kernel's TCP at the other end. In a network namespace of its own, where backends have the loopback. Needs CAP_NET_ADMIN.
# Usage: tools/test_packets.sh [TEST…]
set -euo pipefail
cd "$(dirname "$0")/.."
tests=("$@")
[ $# -gt 0 ] || tests=(proxy_relay proxy_ends proxy_faults proxy_arrivals proxy_tls proxy_tickets proxy_rustls proxy_backend proxy_load)
# What `ethtool -K … tx off tso off gso off` does: on a virtual cable the kernel leaves checksums and the cutting of segments to nobody.
offloads_off='
import array, fcntl, socket, struct, sys
for command in (0x17, 0x1F, 0x24):
    value = array.array("I", [command, 0])
    request = struct.pack("16sP", sys.argv[1].encode(), value.buffer_info()[0])
    fcntl.ioctl(socket.socket(), 0x8946, request)
'
namespace=spinlane-packets-$$
inside() { ip netns exec "$namespace" "$@"; }
if ! ip netns add "$namespace" 2>/dev/null; then
	echo "SKIPPED tools/test_packets.sh: no network namespace (CAP_NET_ADMIN is needed)" >&2
	exit 0
fi
trap 'ip netns del "$namespace"' EXIT
inside ip link set dev lo up
inside ip link add slport type veth peer name slcable
for end in slport slcable; do
	inside python3 -c "$offloads_off" "$end"
	inside ip link set dev "$end" up
done
inside ip addr add 10.77.0.1/24 dev slcable
export SPINLANE_TEST_NETWORK="--port net_af_packet0,iface=slport --ip 10.77.0.2/24 --listen 10.77.0.2:8443 --backend-via kernel --metrics 127.0.0.1:0"
# Left out, as they look at what only the kernel's TCP on the loopback has: a socket's state in /proc/net/tcp; and that all of an upload
# has left before its client resets the connection, which a window of ten segments does not let it.
skip=(--skip key_updates_after_our_end_cost_nothing_of_the_answer --skip an_upload_arrives_whole_though_its_client_does_not_wait)
for test in "${tests[@]}"; do
	inside cargo test --quiet --package spinlane-tests --features dpdk --test "$test" -- "${skip[@]}"
done
