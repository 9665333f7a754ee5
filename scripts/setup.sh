#!/usr/bin/env bash
# setup.sh demo|test|bench: sees to it that everything a target needs is there. Installs Debian packages where it
# may; otherwise names exactly what is missing, and how to get it, and fails.
set -u
need_rust=1.95
case "${1:-test}" in
    demo) packages="gcc libc6-dev e2fsprogs xz-utils" ;;
    *) packages="gcc libc6-dev e2fsprogs xz-utils uml-utilities user-mode-linux qemu-utils busybox-static util-linux procps tmux vim less make musl-tools acl attr patch xfsprogs btrfs-progs dosfstools fdisk gawk sqlite3 git python3 perl xvfb xterm nbdkit libnbd-bin python3-libnbd fio fuse3 fuse2fs stress-ng openssl mandoc man-db" ;;
esac
# What unpacks the newest real UML for any C library.
[ "${1:-}" != bench ] || packages="$packages patchelf"

missing=""
for p in $packages; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
if [ -n "$missing" ]; then
    run=""
    [ "$(id -u)" = 0 ] || { sudo -n true 2>/dev/null && run=sudo; }
    if [ "$(id -u)" = 0 ] || [ -n "$run" ]; then
        echo "installing:$missing" >&2
        $run apt-get update -q >/dev/null &&
            $run env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null ||
            { echo "apt-get could not install:$missing" >&2; exit 1; }
    else
        echo "missing packages; as root: apt-get install$missing" >&2
        exit 1
    fi
fi

export PATH="$HOME/.cargo/bin:$PATH"
if ! command -v cargo >/dev/null && [ "$(id -u)" = 0 ] && apt-cache show rustup >/dev/null 2>&1; then
    echo "installing: rustup" >&2
    apt-get install -y -q rustup >/dev/null && rustup default stable >/dev/null 2>&1
fi
have=$(rustc --version 2>/dev/null | cut -d' ' -f2)
if [ -z "$have" ] || [ "$(printf '%s\n%s\n' "$need_rust" "$have" | sort -V | head -n 1)" != "$need_rust" ]; then
    echo "missing: Rust $need_rust or newer (found: ${have:-none}); get it with rustup: apt-get install rustup (Debian 13), then rustup default stable" >&2
    exit 1
fi
