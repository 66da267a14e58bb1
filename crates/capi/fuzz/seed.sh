#!/usr/bin/env bash
# Makes the corpora that fuzzing starts from, in the folder given: keys of every kind, fresh, since none
# belong into a repository, and a few parameters.
set -euo pipefail
corpus=$1
mkdir -p "$corpus"/{calls,keys,params,uri}

seed() { # KIND NAME OPTION...
    local name=$2 kind=$1
    shift 2
    [ -f "$corpus/keys/$name.pem" ] && return
    openssl genpkey -quiet -algorithm "$kind" "$@" -out "$corpus/$name.pem" 2>/dev/null ||
        openssl genpkey -algorithm "$kind" "$@" -out "$corpus/$name.pem" 2>/dev/null
    { printf '\1' && cat "$corpus/$name.pem"; } >"$corpus/keys/$name.pem"
    { printf '\0' && openssl pkey -in "$corpus/$name.pem" -outform DER; } >"$corpus/keys/$name.der"
    rm "$corpus/$name.pem"
}
seed RSA rsa2048 -pkeyopt rsa_keygen_bits:2048
seed RSA rsa1024 -pkeyopt rsa_keygen_bits:1024
seed RSA rsa3primes -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_primes:3
seed RSA-PSS pss -pkeyopt rsa_keygen_bits:2048
seed EC p256 -pkeyopt ec_paramgen_curve:P-256
seed EC p256explicit -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit
seed EC p384 -pkeyopt ec_paramgen_curve:P-384
seed ED25519 ed25519
seed X25519 x25519

# A group, a public key and a scalar for EC; a pad mode and a digest for a signature; settings.
printf '\0\1\11\4\204\12\5\4abcd\13\2\4\1\2\3\4' >"$corpus/params/ec"
printf '\1\0\17\4\202\15\4\200' >"$corpus/params/pss"
printf '\7\0yes\0explicit\0soft' >"$corpus/params/settings"

# Every attribute of a PKCS#11 URI.
printf 'pkcs11:token=a%%20b;manufacturer=c;serial=;model=1.0;library-manufacturer=d;library-version=3;library-description=e;object=f;type=private;id=%%01%%FF;slot-manufacturer=g;slot-description=h;slot-id=327?pin-source=file:/etc/pin&module-name=m&module-path=/m.so' >"$corpus/uri/all"
printf 'pkcs11:object=f?pin-source=env:PIN' >"$corpus/uri/env"
printf 'pkcs11:?pin-value=1' >"$corpus/uri/pin"
