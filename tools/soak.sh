#!/usr/bin/env bash
# Runs for MINUTES what must not grow: `spinlane sim` with ever new seeds on one core, and resumed handshakes in memory on another, in
# one process each. Says how many ops and handshakes went by, and what memory each process had; ends with an error if a
# rule was broken, an op failed, or a process had more memory in its second half than in its first, a start-up left out.
#
#   tools/soak.sh [MINUTES]      default: 60
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=${1:-60} seconds=$((${1:-60} * 60))
# What a process may have more, in KiB: the allocator's ups and downs, and what the benchmark keeps of each round.
slack=8192 rounds=1
if [[ -z ${SPINLANE_BIN:-} ]]; then
    cargo build --quiet --release --package spinlane-tools
fi
spinlane=${SPINLANE_BIN:-${CARGO_TARGET_DIR:-target}/release/spinlane}
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

number() { # NAME FILE: the first number of that name in a JSON text
    grep -o "\"$1\": *[0-9.]*" "$2" | head -n 1 | grep -o '[0-9.]*$'
}

watch() { # PROCESS FILE: its memory in KiB, ten times a second at first, once later
    local pause=0.1 size
    while size=$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status" 2>/dev/null) && [[ -n $size ]]; do
        echo "$size" >>"$2"
        sleep $pause
        pause=1
    done
}

is_flat() { # WHAT FILE
    awk -v what="$1" -v slack="$slack" '
        { size[NR] = $1 }
        END {
            if (NR < 8) { printf "%s: too few measurements of memory, %d\n", what, NR; exit 1 }
            for (at = int(NR / 8) + 1; at <= NR; at++) {
                half = at <= NR * 9 / 16 ? "first" : "second"
                if (size[at] > most[half]) most[half] = size[at]
            }
            printf "%s: at most %d KiB in the first half, %d in the second\n", what, most["first"], most["second"]
            exit most["second"] > most["first"] + slack
        }' "$2"
}

# How much fits: by a short run of each.
"$spinlane" sim --seeds 0..40 --threads 1 --json >"$dir/sim"
seeds=$(awk -v s="$seconds" -v took="$(number wall_s "$dir/sim")" 'BEGIN { print int(40 * s / took) + 1 }')
began=$EPOCHREALTIME
"$spinlane" bench handshake --resume --cert p256 --handshakes 64 --rounds $rounds --json >"$dir/handshakes"
each=$(awk -v s="$seconds" -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { print int(64 * s / (b - a)) + 64 }')

failed=0
"$spinlane" sim --seeds "1000..$((1000 + seeds))" --threads 1 --json >"$dir/sim" &
sim=$!
"$spinlane" bench handshake --resume --cert p256 --handshakes "$each" --rounds $rounds --json >"$dir/handshakes" &
handshakes=$!
watch $sim "$dir/sim.rss" &
watch $handshakes "$dir/handshakes.rss" &
wait $sim || { echo "sim: a rule was broken"; cat "$dir/sim"; failed=1; }
wait $handshakes || { echo "handshakes: failed"; failed=1; }

echo "sim: $seeds seeds, $(number ops "$dir/sim") ops, $(number failed "$dir/sim") seeds failed"
awk -v rounds="$(number rounds "$dir/handshakes")" -v each="$(number handshakes_per_round "$dir/handshakes")" \
    -v failed="$(number ops_failed "$dir/handshakes")" \
    'BEGIN { printf "handshakes: %d resumed, and as many by each library beside it; %d ops failed\n", rounds * each, failed; exit failed > 0 }' || failed=1
is_flat "memory of sim" "$dir/sim.rss" || failed=1
is_flat "memory of handshakes" "$dir/handshakes.rss" || failed=1
echo "soak: $minutes minutes, $([[ $failed == 0 ]] && echo nothing found || echo FAILED)"
exit $failed
