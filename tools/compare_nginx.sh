#!/bin/sh
# New connections per second of `spinlane proxy --backend respond` beside nginx: one core each in turn, the same
# client on another core, 64 connections in flight, one small request each; RSA-2048, P-256, P-256 resumed.
#
#   tools/compare_nginx.sh [SERVER_CORE [CLIENT_CORE [SECONDS]]]      default: 0 1 5
#
# Needs openssl, taskset, a release build, and nginx: installed, or unpacked by tools/setup/programs.sh.
# A server that polls always shows a full core, so what both spend on a connection stands beside: nginx's CPU time,
# and of ours the time of polls that found something to do, the lcore's own count (the rest of its turn is TLS and the
# kernel: with the core full, a second over the connections in it). Where the client was idle in next to none of
# its turns, or nginx's core was not full, the client was the limit.
set -eu

server_core=${1:-0} client_core=${2:-1} seconds=${3:-5}
root=$(realpath "$(dirname "$0")/..")
spinlane=${SPINLANE_BIN:-$root/target/release/spinlane}
PATH=$PATH:/usr/sbin:$root/.deps/programs/usr/sbin
for program in nginx openssl taskset "$spinlane"; do
	command -v "$program" >/dev/null || { echo "compare_nginx: $program is missing" >&2; exit 1; }
done
unpacked=$root/.deps/programs/usr/lib/$(uname -m)-linux-gnu

dir=$(mktemp -d) pid=
stop() {
	if [ -n "$pid" ] && kill "$pid" 2>/dev/null; then
		wait "$pid" 2>/dev/null || true
	fi
	pid=
}
trap 'stop; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

certificate() { # NAME GENPKEY_ARGUMENTS...
	name=$1; shift
	openssl genpkey "$@" -out "$dir/$name.key" 2>/dev/null
	openssl req -new -x509 -days 2 -subj /CN=localhost -key "$dir/$name.key" -out "$dir/$name.pem"
}
certificate rsa2048 -algorithm RSA -pkeyopt rsa_keygen_bits:2048
certificate p256 -algorithm EC -pkeyopt ec_paramgen_curve:P-256

start_nginx() { # NAME
	temporary=$(printf "%s_temp_path $dir/%s; " client_body 1 proxy 2 fastcgi 3 uwsgi 4 scgi 5)
	cat >"$dir/nginx.conf" <<-END
		daemon off; master_process off; pid $dir/nginx.pid; error_log $dir/error.log;
		events { worker_connections 4096; }
		http { access_log off; $temporary server {
			listen 127.0.0.1:18443 ssl; ssl_certificate $dir/$1.pem; ssl_certificate_key $dir/$1.key;
			ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache off; ssl_session_tickets on;
			location / { return 200 "hello from nginx....\n"; } } }
	END
	LD_LIBRARY_PATH=$unpacked taskset -c "$server_core" nginx -p "$dir" -c "$dir/nginx.conf" 2>/dev/null &
	pid=$!
}

start_spinlane() { # NAME
	"$spinlane" proxy --listen 127.0.0.1:18443 --backend respond --cores "$server_core" \
		--cert "$dir/$1.pem" --key "$dir/$1.key" >"$dir/spinlane.out" 2>&1 &
	pid=$!
}

connect() {
	RUST_LOG=error "$spinlane" bench connect 127.0.0.1:18443 --core "$client_core" --json "$@"
}

# The server's CPU time so far, in microseconds.
cpu_us() {
	awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); printf "%d", ($12 + $13) * 1000000 / hz }' "/proc/$pid/stat"
}

measure() { # CLIENT_ARGUMENTS...; sets per_s, done, idle and cpu
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		sleep 0.3
		connect --connections 1 --seconds 0.1 >/dev/null 2>&1 && break
	done
	cpu=$(cpu_us)
	connect --seconds "$seconds" "$@" >"$dir/client.json"
	cpu=$(($(cpu_us) - cpu))
	eval "$(sed -E 's/.*"connections_per_s":([0-9]+).*"connections":([0-9]+).*"client_idle_percent":([0-9]+).*/per_s=\1 done=\2 idle=\3/' \
		"$dir/client.json")"
}

# What the lcore counted of busy time per handshake, from its last words.
busy_us() {
	awk '/handshakes \(/ { for (i = 2; i <= NF; i++) if ($i == "handshakes") n = $(i - 1) }
		/busy/ { for (i = 1; i <= NF; i++) if ($i == "busy") ms = $(i + 1) }
		END { if (n) printf "%.1f", ms * 1000 / n; else print "-" }' "$dir/spinlane.out"
}

ratio() {
	awk "BEGIN { printf \"%.2f\", ($1) / ($2) }"
}

printf '%-16s%10s%12s%8s | %14s%12s | %14s%14s\n' '' nginx/s spinlane/s ratio 'nginx CPU us' 'core full %' 'busy polls us' 'client idle %'
for run in 'rsa2048' 'p256' 'p256 --resume'; do
	# Certificate, and the client's arguments.
	# shellcheck disable=SC2086 # words are meant
	set -- $run
	name=$1; shift
	start_nginx "$name"
	measure "$@"
	stop
	# shellcheck disable=SC2154 # measure evaluates them
	theirs=$per_s theirs_idle=$idle theirs_us=$(ratio "$cpu" "$done") full=$(ratio "$cpu" "$seconds * 10000")
	start_spinlane "$name"
	measure "$@"
	stop
	printf '%-16s%10s%12s%8s | %14s%12s | %14s%14s\n' "$run" "$theirs" "$per_s" "$(ratio "$per_s" "$theirs")" \
		"$theirs_us" "$full" "$(busy_us)" "$theirs_idle, $idle"
done
