#!/usr/bin/env bash
# Runs `make test`, or another command, on Debian 13: in a bare root that debootstrap makes once.
#
#   tools/debian13.sh [FOLDER [COMMAND ...]]      default: /var/tmp/spinlane-debian13 make test
#
# Needs root and debootstrap. This machine lends the root its sources, its Rust toolchain and the certificates that
# it trusts; what is installed and built stays in FOLDER. The packages come from debootstrap's default mirror.
set -euo pipefail

tree=$(realpath "$(dirname "$0")/..")
folder=$(realpath -m "${1:-/var/tmp/spinlane-debian13}")
command=("${@:2}")
((${#command[@]})) || command=(make test)
root=$folder/root

fail() { echo "debian13: $*" >&2; exit 1; }
((EUID == 0)) || fail "needs root, for debootstrap and chroot"
command -v debootstrap >/dev/null || fail "debootstrap is missing; install it"
cargo=${CARGO_HOME:-$HOME/.cargo} rustup=${RUSTUP_HOME:-$HOME/.rustup}
[ -x "$cargo/bin/cargo" ] || fail "$cargo has no bin/cargo; install a toolchain with rustup"

if [ ! -e "$folder/root.made" ]; then
    rm -rf "$root"
    mkdir -p "$folder"
    debootstrap --variant=minbase --include=make trixie "$root"
    touch "$folder/root.made"
fi

# Its own .deps and target: what is built depends on the libraries there.
mkdir -p "$root/spinlane" "$root/etc/ssl/certs" "$root/root"/{.cargo,.rustup} "$folder"/{deps,target} "$tree"/{.deps,target}
cp --dereference /etc/resolv.conf /etc/hosts "$root/etc"
cp --dereference /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs"

# In a mount namespace, which takes every mount away when the command ends.
export root tree folder cargo rustup
# shellcheck disable=SC2016 # for the shell within
exec unshare --mount bash -euc '
    mount --rbind /dev "$root/dev"
    mount --rbind /sys "$root/sys"
    mount -t proc proc "$root/proc"
    mount --bind "$cargo" "$root/root/.cargo"
    mount --bind "$rustup" "$root/root/.rustup"
    mount --bind "$tree" "$root/spinlane"
    mount --bind "$folder/deps" "$root/spinlane/.deps"
    mount --bind "$folder/target" "$root/spinlane/target"
    exec chroot "$root" env --chdir=/spinlane HOME=/root CARGO_HOME=/root/.cargo RUSTUP_HOME=/root/.rustup LC_ALL=C.UTF-8 \
        PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
' bash "${command[@]}"
