#!/bin/sh
# Two builds of the program `spinlane` beside each other: handshakes of both front-ends and rustls records, in turns on
# one core. Prints NEW's rate over OLD's: the median of the turns, and their range.
#
#   tools/compare_builds.sh OLD NEW [CORE [TURNS]]      default: 1 9
#
# OLD and NEW are binaries, such as target/release/spinlane of two worktrees. The host's speed drifts: a turn runs both
# within a second or two, and which goes first alternates. Turns during which either was preempted do not count.
set -eu

[ $# -ge 2 ] || { sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
old=$1 new=$2 core=${3:-1} turns=${4:-9}
for binary in "$old" "$new"; do
	[ -x "$binary" ] || { echo "compare_builds: $binary is no program" >&2; exit 1; }
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

# Runs a benchmark of BINARY and prints its rates, a line each; nothing if it was preempted.
rates() { # BINARY ARGUMENTS...
	RUST_LOG=error "$@" --core "$core" --json >"$dir/json" || exit 1
	python3 - "$dir/json" <<-'END'
		import json, sys
		report = json.load(open(sys.argv[1]))
		if not report.get("preempted") and "handshakes_per_s" in report:
		    print("handshakes", report["handshakes_per_s"])
		for row in report.get("rows", []):
		    print(row["operation"], row["record_bytes"], row["spinlane_gb_s"])
	END
}

compare() { # ARGUMENTS...
	: >"$dir/pairs"
	turn=0
	while [ $turn -lt "$turns" ]; do
		if [ $((turn % 2)) -eq 0 ]; then
			rates "$old" "$@" >"$dir/old"; rates "$new" "$@" >"$dir/new"
		else
			rates "$new" "$@" >"$dir/new"; rates "$old" "$@" >"$dir/old"
		fi
		[ -s "$dir/old" ] && [ -s "$dir/new" ] && paste -d' ' "$dir/old" "$dir/new" >>"$dir/pairs"
		turn=$((turn + 1))
	done
	python3 - "$dir/pairs" "$*" <<-'END'
		import statistics, sys
		ratios = {}
		for line in open(sys.argv[1]):
		    words = line.split()
		    half = len(words) // 2
		    what = " ".join(words[:half - 1])
		    ratios.setdefault(what, []).append(float(words[-1]) / float(words[half - 1]))
		if not ratios:
		    print(f"{sys.argv[2]:<58}no turn without preemption")
		for what, all_of in ratios.items():
		    print(f"{sys.argv[2]:<58}{what:<16}{statistics.median(all_of):6.3f}"
		          f"  ({min(all_of):.3f}-{max(all_of):.3f}, {len(all_of)} turns)")
	END
}

for cert in rsa2048 p256; do
	for tls in openssl rustls; do
		compare bench handshake --tls $tls --cert $cert --protocol 1.3 --rounds 10
	done
done
compare bench records
