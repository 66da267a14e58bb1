#!/usr/bin/env bash
# The search for secrets in the time of operations, in pieces of half a minute on one core, added up; writes the tables of
# docs/side-channels.md to standard output. Goes on where it was stopped if DIR is the same.
#
#   tools/side_channels.sh [CORE [MEASUREMENTS [FEW [DIR]]]]      default: 1 1000000 100000 target/side-channels
#
# FEW is for RSA and for ECDSA keys, which take a millisecond each. With PAUSE=SECONDS others get the core in between.
#
# Needs a release build (cargo build --release --package spinlane-tools; cargo test --release --no-run --package spinlane-rsa52)
# and the right to use real-time priorities. Takes 15 minutes, and an hour and a half where FEW is 10^6.
set -euo pipefail
cd "$(dirname "$0")/.."
core=${1:-1} wanted=${2:-1000000} few=${3:-100000} dir=${4:-target/side-channels}
spinlane=${SPINLANE_BIN:-target/release/spinlane}
mkdir -p "$dir"
pinned() { chrt -f 1 taskset -c "$core" "$@"; }

are_there() { # COUNT WANTED WHAT SAID: whether they are; ends the search where nothing was counted.
    [[ $1 =~ ^[0-9]+$ ]] || { printf 'side_channels: %s: %s\n' "$3" "${4:-nothing was said}" >&2; exit 1; }
    [ "$1" -ge "$2" ]
}

subject() { # NAME MEASUREMENTS: until all are there. (A leak is said in the table.)
    local row
    while :; do
        row=$(pinned "$spinlane" timing --subject "$1" --measurements "$2" --seconds 25 --core "$core" --tally "$dir" || true)
        row=$(tail -n 1 <<<"$row")
        are_there "$(cut -d '|' -f 4 <<<"$row" | tr -d ' ')" "$2" "$1" "$row" && break
        sleep "${PAUSE:-3}"
    done
    echo "$row"
}

echo "$(date -u +%F), $(grep -m 1 'model name' /proc/cpuinfo | cut -d : -f 2 | xargs), core $core, load $(cut -d ' ' -f 1 /proc/loadavg)."
echo
echo '| what is varied | device | measurements | median in ns | random less fixed in ns | abs(t) | control | control'"'"'s abs(t) |'
echo '|---|---|---|---|---|---|---|---|'
for name in naive-comparison aes-128-gcm-tag aes-256-gcm-tag chacha20-poly1305-tag premaster-padding pkcs1-v1.5-padding \
    x25519-keygen-scalar x25519-derive-scalar ml-kem-768-key ml-kem-768-ciphertext ecdsa-p256-nonce; do
    subject "$name" "$wanted"
done
for name in ecdsa-p256-key rsa2048-message; do
    subject "$name" "$few"
done

echo
echo '| RSA lanes, what is varied | measurements and largest abs(t) |'
echo '|---|---|'
test=$(cargo test --release --package spinlane-rsa52 --lib --no-run --message-format json |
    grep -o '"executable":"[^"]*"' | head -n 1 | cut -d '"' -f 4)
while :; do
    said=$(RSA52_TALLY=$dir/rsa52 RSA52_MEASUREMENTS=$((few < 12000 ? few : 12000)) pinned "$test" --ignored --nocapture \
        --test-threads 1 an_operation_takes 2>&1 || true)
    are_there "$(grep -o 'Nothing: [0-9]*' <<<"$said" | cut -d ' ' -f 2)" "$few" "RSA lanes" "$said" && break
    sleep "${PAUSE:-3}"
done
grep -oE '(KeyBits\(0\)|Message|Nothing): .*' <<<"$said" | sed -E 's/^([^:]*): (.*)/| \1 | \2 |/; s/\|t\|/abs(t)/'
