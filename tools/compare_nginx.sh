#!/bin/sh
# New connections per second of `spinlane proxy --backend respond` beside nginx, one core each in turn,
# the same client on another core: RSA-2048, P-256, resumed.
#
#   tools/compare_nginx.sh [SERVER_CORE [CLIENT_CORE [SECONDS]]]      default: 0 1 5
#
# Needs nginx, openssl, taskset and a release build; sets up nothing. A busy-polling server always shows a
# full core, so its own busy cycles are not compared; where the client says that it was idle for next to none
# of its time, it was the limit.
set -eu

server_core=${1:-0} client_core=${2:-1} seconds=${3:-5}
spinlane=${SPINLANE_BIN:-$(dirname "$0")/../target/release/spinlane}
spinlane=$(realpath "$spinlane")
for program in nginx openssl taskset; do
	command -v "$program" >/dev/null || PATH=$PATH:/usr/sbin
	command -v "$program" >/dev/null || { echo "compare_nginx: $program is not installed" >&2; exit 1; }
done
[ -x "$spinlane" ] || { echo "compare_nginx: $spinlane is missing; cargo build --release -p spinlane-tools" >&2; exit 1; }

dir=$(mktemp -d) pid=
cleanup() {
	[ -z "$pid" ] || kill "$pid" 2>/dev/null || true
	rm -rf "$dir"
}
trap cleanup EXIT INT TERM

certificate() { # NAME GENPKEY_ARGUMENTS...
	name=$1; shift
	openssl genpkey "$@" -out "$dir/$name.key" 2>/dev/null
	openssl req -new -x509 -days 2 -subj /CN=localhost -key "$dir/$name.key" -out "$dir/$name.pem"
}
certificate rsa2048 -algorithm RSA -pkeyopt rsa_keygen_bits:2048
certificate p256 -algorithm EC -pkeyopt ec_paramgen_curve:P-256

start_nginx() { # NAME
	cat >"$dir/nginx.conf" <<-END
		daemon off; worker_processes 1; pid $dir/nginx.pid; error_log $dir/error.log;
		events { worker_connections 4096; }
		http { access_log off; server {
			listen 127.0.0.1:18443 ssl; ssl_certificate $dir/$1.pem; ssl_certificate_key $dir/$1.key;
			ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache off; ssl_session_tickets on;
			location / { return 200 "hello from nginx....\n"; } } }
	END
	taskset -c "$server_core" nginx -p "$dir" -c "$dir/nginx.conf" &
	pid=$!
}

start_spinlane() { # NAME
	"$spinlane" proxy --listen 127.0.0.1:18443 --backend respond --cores "$server_core" \
		--cert "$dir/$1.pem" --key "$dir/$1.key" >"$dir/spinlane.out" 2>&1 &
	pid=$!
}

measure() { # CLIENT_ARGUMENTS...; prints connections per second and the client's idle share
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		"$spinlane" bench connect 127.0.0.1:18443 --connections 1 --seconds 0.1 --core "$client_core" >/dev/null 2>&1 && break
		sleep 0.3
	done
	"$spinlane" bench connect 127.0.0.1:18443 --core "$client_core" --seconds "$seconds" --json "$@" |
		sed -E 's/.*"connections_per_s":([0-9]+)[^,]*,.*"client_idle_percent":([0-9]+).*/\1 \2/'
}

stop() {
	kill "$pid" && wait "$pid" 2>/dev/null || true
	pid=
}

# The lcore's own count of the time in which it did something, per connection.
busy() {
	awk '/handshakes \(/ { for (i = 2; i <= NF; i++) if ($i ~ /^handshakes$/) n = $(i - 1) }
		/busy/ { for (i = 1; i <= NF; i++) if ($i == "busy") ms = $(i + 1) }
		END { if (n) printf "%.1f", ms * 1000 / n; else print "-" }' "$dir/spinlane.out"
}

printf '%-18s%12s%12s%8s%14s%14s%16s\n' '' 'nginx/s' 'spinlane/s' ratio 'client idle %' '(nginx, ours)' 'poll busy us'
for run in 'rsa2048 ' 'p256 ' 'p256 --resume'; do
	name=${run%% *} more=${run#* }
	start_nginx "$name"
	theirs=$(measure $more)
	stop
	start_spinlane "$name"
	ours=$(measure $more)
	stop
	printf '%-18s%12s%12s%8s%14s%14s%16s\n' "$run" "${theirs% *}" "${ours% *}" \
		"$(echo "${ours% *} ${theirs% *}" | awk '{ printf "%.2f", $1 / $2 }')" "" "${theirs#* }, ${ours#* }" "$(busy)"
done
