#!/usr/bin/env bash
# Installs what tools/gate.sh runs and this machine lacks: shellcheck from Debian, cargo-deny and cargo-machete, which
# are built under .deps/cargo. Where one cannot be had, its step is skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."

as_root=()
((EUID == 0)) || as_root=(sudo)
command -v shellcheck >/dev/null ||
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends shellcheck >/dev/null ||
    echo "setup: no shellcheck" >&2

for tool in cargo-deny@0.20.2 cargo-machete@0.9.2; do
    name=${tool%@*} version=${tool#*@}
    [[ -x .deps/cargo/bin/$name ]] && continue
    cargo install --debug --quiet --locked --root .deps/cargo --version "$version" "$name" || echo "setup: no $name" >&2
done
