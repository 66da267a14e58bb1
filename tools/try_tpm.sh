#!/usr/bin/env bash
# `spinlane proxy` with keys in a TPM, by tpm2-pkcs11 over swtpm, a TPM in software: TLS 1.3 by ECDSA P-256 and by RSA-PSS, TLS 1.2 by
# PKCS#1 v1.5; then the TPM is killed and started again under the proxy. Prints what came of each, and ends with an error if
# one was not served.
#
#   tools/try_tpm.sh      needs swtpm swtpm-tools tpm2-tools libtpm2-pkcs11-1 opensc openssl curl, and `cargo build --release -p spinlane-tools`
set -euo pipefail
cd "$(dirname "$0")/.."

spinlane=${SPINLANE_BIN:-$PWD/target/release/spinlane}
module=$(compgen -G '/usr/lib/*/libtpm2_pkcs11.so.1' || true)
for program in swtpm swtpm_setup tpm2_flushcontext pkcs11-tool openssl curl "$spinlane" "${module:-libtpm2_pkcs11.so.1}"; do
    command -v "$program" >/dev/null || [[ -e $program ]] || { echo "try_tpm: $program is missing" >&2; exit 1; }
done

dir=$(mktemp -d) port=23210 proxy=
stop() {
    [[ -z $proxy ]] || kill "$proxy" 2>/dev/null || true
    [[ ! -e $dir/tpm.pid ]] || kill "$(cat "$dir/tpm.pid")" 2>/dev/null || true
    rm -rf "$dir"
}
trap stop EXIT
trap 'exit 1' INT TERM

start_tpm() {
    swtpm socket --tpm2 --tpmstate "dir=$dir/state" --server type=tcp,port=$port,bindaddr=127.0.0.1 \
        --ctrl type=tcp,port=$((port + 1)),bindaddr=127.0.0.1 --flags not-need-init,startup-clear --daemon --pid "file=$dir/tpm.pid"
}

# The module keeps no objects in the TPM between its calls; the tools do, and there is no resource manager to take them out.
tool() {
    pkcs11-tool --module "$module" "$@" >"$dir/tool.out" 2>&1 || { cat "$dir/tool.out" >&2; exit 1; }
    tpm2_flushcontext -t
}

mkdir "$dir/state" "$dir/store"
export TPM2TOOLS_TCTI=swtpm:host=127.0.0.1,port=$port TPM2_PKCS11_TCTI=swtpm:host=127.0.0.1,port=$port
export TPM2_PKCS11_STORE=$dir/store TPM2_PKCS11_LOG_LEVEL=0 TSS2_LOG=all+none
swtpm_setup --tpm2 --tpmstate "$dir/state" --createek --overwrite >/dev/null
start_tpm
tool --slot-index 0 --init-token --label web --so-pin 12345678
tool --token-label web --login --login-type so --so-pin 12345678 --init-pin --pin 1234
(umask 077 && echo 1234 >"$dir/pin")

# Certificates for keys that never leave the TPM: issued by a throw-away authority for the public keys that it shows.
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=ca -keyout "$dir/ca.key" -out "$dir/ca.pem" 2>/dev/null
openssl req -new -key "$dir/ca.key" -subj /CN=localhost -out "$dir/csr" 2>/dev/null
echo subjectAltName=DNS:localhost >"$dir/names"
arguments=()
certificate() { # NAME ID KEY_TYPE
    tool --token-label web --login --pin 1234 --keypairgen --key-type "$3" --label "$1" --id "$2"
    tool --token-label web --read-object --type pubkey --id "$2" -o "$dir/$1.der"
    openssl pkey -pubin -inform DER -in "$dir/$1.der" -out "$dir/$1.pub"
    openssl x509 -req -in "$dir/csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -force_pubkey "$dir/$1.pub" -days 2 \
        -extfile "$dir/names" -out "$dir/$1.pem" 2>/dev/null
    arguments+=(--cert "$dir/$1.pem" --key "pkcs11:token=web;object=$1;type=private?module-path=$module&pin-source=file:$dir/pin")
}
certificate p256 01 EC:prime256v1
certificate rsa2048 02 rsa:2048

"$spinlane" proxy --listen 127.0.0.1:$((port + 2)) --metrics 127.0.0.1:$((port + 3)) --token-sessions 2 "${arguments[@]}" \
    >"$dir/proxy.out" 2>&1 &
proxy=$!
for _ in $(seq 300); do
    grep -q 'listens on' "$dir/proxy.out" && break
    kill -0 "$proxy" 2>/dev/null || { cat "$dir/proxy.out" >&2; exit 1; }
    sleep 0.2
done

answers() { # S_CLIENT_ARGUMENTS...
    printf 'GET / HTTP/1.0\r\n\r\n' |
        timeout 60 openssl s_client -connect 127.0.0.1:$((port + 2)) -quiet -ign_eof "$@" 2>/dev/null | grep -q '200 OK'
}
serves() { # WHAT S_CLIENT_ARGUMENTS...
    local what=$1
    shift
    answers "$@" || { echo "$what: not served"; tail -n 20 "$dir/proxy.out"; exit 1; }
    echo "$what: served"
}
serves 'TLS 1.3, ECDSA P-256' -sigalgs ECDSA+SHA256
serves 'TLS 1.3, RSA-PSS' -sigalgs RSA-PSS+SHA256
serves 'TLS 1.2, RSA PKCS#1 v1.5' -tls1_2 -sigalgs RSA+SHA256

tpm=$(cat "$dir/tpm.pid")
kill "$tpm"
while kill -0 "$tpm" 2>/dev/null; do sleep 0.1; done
! answers -sigalgs ECDSA+SHA256 || { echo 'served without a TPM'; exit 1; }
echo 'TPM killed: not served'
start_tpm
for _ in $(seq 60); do
    answers -sigalgs ECDSA+SHA256 && break
    sleep 0.5
done
serves 'TPM started again, ECDSA P-256' -sigalgs ECDSA+SHA256
curl -s "http://127.0.0.1:$((port + 3))/metrics" | grep -E 'name="(sessions_opened|sessions_lost|token_away|module_restarts|retries)"' |
    sed -E 's/.*name="([a-z_]*)"\} /  \1 /'
