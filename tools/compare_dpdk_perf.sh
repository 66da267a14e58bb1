#!/bin/sh
# Records sealed per second by `spinlane speed --device dpdk:DRIVER` beside dpdk-test-crypto-perf: the same driver,
# algorithm, sizes, bursts and core, by turns within the same minute.
#
#   tools/compare_dpdk_perf.sh [DRIVER [ALGORITHM [CORE [ROUNDS]]]]   default: crypto_aesni_gcm aes-128-gcm 1 5
#
# Needs dpdk-test-crypto-perf (package dpdk or dpdk-dev) and a release build with `--features dpdk`. The first core
# is DPDK's main lcore, which waits; CORE must be another, and idle: dpdk-test-crypto-perf counts the time on the
# clock, `spinlane speed` that of its thread. The best round of each stands for it, as whatever else runs on the core
# only ever slows it down; one of dpdk-test-crypto-perf's is 500,000 ops, which of 64 bytes take as long as one of the
# rounds of which ours is the median.
set -eu

driver=${1:-crypto_aesni_gcm} algorithm=${2:-aes-128-gcm} core=${3:-1} rounds=${4:-5}
sizes=64,1024,16384 bursts=1,8,32
root=$(realpath "$(dirname "$0")/..")
spinlane=${SPINLANE_BIN:-$root/target/release/spinlane}
for program in dpdk-test-crypto-perf "$spinlane"; do
	command -v "$program" >/dev/null || { echo "compare_dpdk_perf: $program is missing" >&2; exit 1; }
done
case $algorithm in
aes-128-gcm) theirs=aes-gcm key=16 ;;
aes-256-gcm) theirs=aes-gcm key=32 ;;
chacha20-poly1305) theirs=chacha20-poly1305 key=32 ;;
*) echo "compare_dpdk_perf: $algorithm is not aes-128-gcm, aes-256-gcm or chacha20-poly1305" >&2; exit 1 ;;
esac
[ "$core" != 0 ] || { echo "compare_dpdk_perf: core 0 is for DPDK's main lcore; give another" >&2; exit 1; }

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
export RUNTIME_DIRECTORY="$dir"

if [ "$(awk '/HugePages_Free/ { print $2 }' /proc/meminfo)" -gt 0 ]; then
	memory="--in-memory"
else
	memory="--no-huge -m 512 --no-shconf"
fi

perf() {
	# shellcheck disable=SC2086 # several arguments
	dpdk-test-crypto-perf -l "0,$core" $memory --no-pci --iova-mode=va --file-prefix="perf$$" --vdev "$driver" -- \
		--devtype "$driver" --ptest throughput --optype aead --aead-algo "$theirs" --aead-op encrypt \
		--aead-key-sz "$key" --aead-iv-sz 12 --aead-aad-sz 16 --digest-sz 16 --pool-sz 2048 --desc-nb 1024 \
		--total-ops 500000 --buffer-sz "$sizes" --burst-sz "$bursts" --csv-friendly 2>"$dir/error" ||
		{ cat "$dir/error" >&2; exit 1; }
}

speed() {
	"$spinlane" speed --device "dpdk:$driver" --algorithm "$algorithm" --size "$sizes" --burst "$bursts" \
		--core "$core" --seconds 0.3 2>"$dir/error" || { cat "$dir/error" >&2; exit 1; }
}

round=0
while [ "$round" -lt "$rounds" ]; do
	perf >"$dir/perf"
	# lcore id, buffer size, burst, enqueued, dequeued, failed twice, millions of ops per second, …
	awk -F, '/^[0-9]/ { print $2, $3, "perf", $8 * 1e6 }' "$dir/perf" >>"$dir/figures"
	speed >"$dir/speed"
	# device, algorithm, size, burst, ops per second, …; OpenSSL is the eighth after the lanes' fill
	awk '$1 ~ /^dpdk:/ { print $3, $4, "speed", $5; print $3, $4, "evp", $9 }' "$dir/speed" >>"$dir/figures"
	round=$((round + 1))
done

echo "$driver, $algorithm, core $core, best of $rounds rounds; ns per record"
sort -s -n -k1,1 -k2,2 "$dir/figures" | awk '
	function row() {
		if (size != "") printf "%7d %6d %14.1f %12.1f %12.1f %10.2f %10.2f\n", size, burst, 1e9 / best["perf"], \
			1e9 / best["speed"], 1e9 / best["evp"], best["speed"] / best["perf"], best["speed"] / best["evp"]
		delete best
	}
	BEGIN { printf "%7s %6s %14s %12s %12s %10s %10s\n", "bytes", "burst", "crypto-perf", "spinlane", "EVP", \
		"to perf", "to EVP" }
	$1 != size || $2 != burst { row(); size = $1; burst = $2 }
	$4 > best[$3] { best[$3] = $4 }
	END { row() }'
