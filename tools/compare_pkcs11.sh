#!/bin/sh
# New TLS 1.3 connections per second with keys on a PKCS#11 token that takes 5 ms per signature: `spinlane proxy`
# with 32 sessions beside nginx with one worker, which signs on the same token by OpenSSL's engine for PKCS#11.
#
#   tools/compare_pkcs11.sh [SERVER_CORE [CLIENT_CORE [SECONDS]]]      default: 0 1 5
#
# The token is SoftHSM2 behind the module of tests/pkcs11-shim, which adds the time, and computes in AVX-512 lanes in
# SoftHSM2's place, since a token's arithmetic is not done by the machine it serves. Its threads run on both
# cores. Beside stand the proxy with the same key in a file, which is the core's own limit, and the goal: nine tenths
# of that limit, or of 32 sessions / 5 ms = 6400 a second less a tenth, whichever is less.
#
# Needs openssl, taskset, softhsm2-util. Builds the proxy and that module, and has tools/setup unpack nginx and the engine; where
# nginx cannot be had its columns are empty. $SPINLANE_BIN is a proxy that is built already, with the module beside it.
set -eu

server_core=${1:-0} client_core=${2:-1} seconds=${3:-5} latency_us=5000 sessions=32
root=$(realpath "$(dirname "$0")/..")
if [ -z "${SPINLANE_BIN:-}" ]; then
	cargo build --quiet --release --manifest-path "$root/Cargo.toml" --package spinlane-tools --package spinlane-pkcs11-shim
fi
for part in programs pkcs11; do
	"$root/tools/setup/$part.sh" >&2 || echo "compare_pkcs11: tools/setup/$part.sh failed" >&2
done
spinlane=${SPINLANE_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/spinlane}
shim=$(dirname "$spinlane")/libspinlane_pkcs11_shim.so
softhsm=/usr/lib/softhsm/libsofthsm2.so
PATH=$PATH:/usr/sbin:$root/.deps/programs/usr/sbin
for program in openssl taskset softhsm2-util "$spinlane"; do
	command -v "$program" >/dev/null || { echo "compare_pkcs11: $program is missing" >&2; exit 1; }
done
for file in "$shim" "$softhsm"; do
	[ -e "$file" ] || { echo "compare_pkcs11: $file is missing" >&2; exit 1; }
done
unpacked=$root/.deps/programs/usr/lib/$(uname -m)-linux-gnu
engine=
for folder in "$unpacked" "/usr/lib/$(uname -m)-linux-gnu"; do
	[ -e "$folder/engines-3/pkcs11.so" ] && engine=$folder/engines-3/pkcs11.so
done
has_nginx=yes
if ! command -v nginx >/dev/null || [ -z "$engine" ]; then
	has_nginx=
	echo "compare_pkcs11: SKIPPED nginx: it, or the engine pkcs11, is missing; tools/setup/programs.sh and" \
		"tools/setup/pkcs11.sh unpack them" >&2
fi

dir=$(mktemp -d) pid=
stop() {
	if [ -n "$pid" ] && kill "$pid" 2>/dev/null; then
		wait "$pid" 2>/dev/null || true
	fi
	pid=
}
trap 'stop; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM

mkdir "$dir/tokens" "$dir/card"
echo "directories.tokendir = $dir/tokens" >"$dir/softhsm2.conf"
(umask 077 && echo 1234 >"$dir/pin")
export SOFTHSM2_CONF="$dir/softhsm2.conf" PKCS11_SHIM_MODULE=$softhsm PKCS11_SHIM_CARD="$dir/card"
export PKCS11_SHIM_FAULTS="latency_us=$latency_us"
softhsm2-util --init-token --free --label web --pin 1234 --so-pin 12345678 >/dev/null

certificate() { # NAME ID GENPKEY_ARGUMENTS...
	name=$1 id=$2; shift 2
	openssl genpkey "$@" -out "$dir/$name.key" 2>/dev/null
	openssl req -new -x509 -days 2 -subj /CN=localhost -key "$dir/$name.key" -out "$dir/$name.pem"
	softhsm2-util --import "$dir/$name.key" --token web --label "$name" --id "$id" --pin 1234 >/dev/null
}
certificate rsa2048 01 -algorithm RSA -pkeyopt rsa_keygen_bits:2048
certificate p256 02 -algorithm EC -pkeyopt ec_paramgen_curve:P-256
# As the card reads them: PKCS#1, and the scalar, which begins at the eighth byte of RFC 5915's encoding.
openssl rsa -in "$dir/rsa2048.key" -traditional -outform DER -out "$dir/card/rsa2048.key" 2>/dev/null
openssl ec -in "$dir/p256.key" -outform DER 2>/dev/null | tail -c +8 | head -c 32 >"$dir/card/p256.key"

start_nginx() { # NAME
	cat >"$dir/openssl.cnf" <<-END
		openssl_conf = init
		[init]
		engines = engines
		[engines]
		pkcs11 = pkcs11
		[pkcs11]
		engine_id = pkcs11
		dynamic_path = $engine
		MODULE_PATH = $shim
		PIN = 1234
		init = 1
	END
	temporary=$(printf "%s_temp_path $dir/%s; " client_body 1 proxy 2 fastcgi 3 uwsgi 4 scgi 5)
	cat >"$dir/nginx.conf" <<-END
		daemon off; master_process off; pid $dir/nginx.pid; error_log $dir/error.log;
		env SOFTHSM2_CONF; env PKCS11_SHIM_MODULE; env PKCS11_SHIM_CARD; env PKCS11_SHIM_FAULTS;
		events { worker_connections 4096; }
		http { access_log off; $temporary server {
			listen 127.0.0.1:18443 ssl; ssl_certificate $dir/$1.pem;
			ssl_certificate_key "engine:pkcs11:pkcs11:token=web;object=$1;type=private";
			ssl_protocols TLSv1.3; ssl_session_cache off; ssl_session_tickets on;
			location / { return 200 "hello from nginx....\n"; } } }
	END
	OPENSSL_CONF="$dir/openssl.cnf" LD_LIBRARY_PATH=$unpacked taskset -c "$server_core" \
		nginx -p "$dir" -c "$dir/nginx.conf" 2>"$dir/nginx.out" &
	pid=$!
}

start_spinlane() { # NAME KEY ARGUMENTS...
	name=$1 key=$2; shift 2
	"$spinlane" proxy --listen 127.0.0.1:18443 --backend respond --cores "$server_core" --min-protocol 1.3 \
		--cert "$dir/$name.pem" --key "$key" --token-sessions "$sessions" --token-cores "$server_core,$client_core" \
		"$@" >"$dir/spinlane.out" 2>&1 &
	pid=$!
}

measure() { # CONNECTIONS; leaves connections per second in $rate, and stops the server
	serves=
	for _ in $(seq 100); do
		sleep 0.3
		connect 1 0.1 >/dev/null 2>&1 && serves=yes && break
		kill -0 "$pid" 2>/dev/null || break
	done
	if [ -z "$serves" ]; then
		echo "compare_pkcs11: the server does not serve:" >&2
		tail -n 20 "$dir/spinlane.out" "$dir/nginx.out" "$dir/error.log" >&2 2>/dev/null || true
		exit 1
	fi
	rate=$(connect "$1" "$seconds" | sed -E 's/.*"connections_per_s":([0-9]+).*/\1/')
	stop
}

connect() { # CONNECTIONS SECONDS
	RUST_LOG=error "$spinlane" bench connect 127.0.0.1:18443 --core "$client_core" --json --connections "$1" --seconds "$2"
}

printf '%-10s%10s%12s%8s | %12s%8s%10s | %14s\n' '' nginx/s spinlane/s ratio 'key in file' goal 'of goal' unverified
for name in rsa2048 p256; do
	uri="pkcs11:token=web;object=$name?module-path=$shim&pin-source=file:$dir/pin"
	theirs=-
	if [ -n "$has_nginx" ]; then
		start_nginx "$name"
		measure 64
		theirs=$rate
	fi
	start_spinlane "$name" "$uri"
	measure 128
	ours=$rate
	start_spinlane "$name" "$uri" --no-token-verify
	measure 128
	unverified=$rate
	start_spinlane "$name" "$dir/$name.key"
	measure 128
	limit=$rate
	awk -v name="$name" -v theirs="$theirs" -v ours="$ours" -v limit="$limit" -v unverified="$unverified" \
		-v token="$((sessions * 1000000 / latency_us))" 'BEGIN {
			goal = (limit < token * 0.9 ? limit : token * 0.9) * 0.9
			ratio = theirs + 0 ? sprintf("%.1f", ours / theirs) : "-"
			printf "%-10s%10s%12s%8s | %12s%8.0f%10.2f | %14s\n", name, theirs, ours, ratio, limit, goal, ours / goal, unverified }'
done
