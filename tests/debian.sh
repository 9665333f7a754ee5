#!/usr/bin/env bash
# debian.sh [DIR]: Debian 12 with sysvinit, made by debootstrap, boots from a COW disk, works, restarts and halts; the real linux.uml boots
# the same disk, and ours what that has left. Needs root (debootstrap), the network, and some minutes; DIR keeps the image for the next time.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
dir=${1:-$(mktemp -d)}
mkdir -p "$dir" && cd "$dir"
if [ "$(id -u)" != 0 ]; then echo "SKIPPED: debian.sh: debootstrap needs root"; exit 0; fi
command -v debootstrap >/dev/null || apt-get install -y -q --no-install-recommends debootstrap >/dev/null
if [ ! -e debian.img ]; then
    rm -rf tree
    debootstrap --variant=minbase --exclude=systemd,systemd-sysv \
        --include=sysvinit-core,sysv-rc,login,passwd,util-linux,e2fsprogs,procps,cron,openssh-client,less,vim-tiny \
        bookworm tree > debootstrap.log
    # What an administrator sets up: a login on the console, no password, where the root is.
    chroot tree passwd -d root > /dev/null
    sed -i 's/^1:2345:respawn:.*/1:2345:respawn:\/sbin\/getty 38400 tty0/; s/^\([2-6]\):23:respawn/#&/' tree/etc/inittab
    echo uml > tree/etc/hostname
    echo '/dev/ubda / ext4 errors=remount-ro 0 1' > tree/etc/fstab
    # A package to install, from files alone.
    mkdir -p hello/DEBIAN hello/usr/bin
    printf 'Package: hello-uml\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: says hello\n' > hello/DEBIAN/control
    printf '#!/bin/sh\necho hello from a package\n' > hello/usr/bin/hello-uml
    chmod 755 hello/usr/bin/hello-uml
    dpkg-deb -b hello tree/root/hello.deb > /dev/null
    mke2fs -q -t ext4 -d tree debian.img 1G
fi
sum=$(sha256sum debian.img)
healthy() {
    rm -f merged.img
    "$top/target/release/uml_moo" session.cow merged.img
    e2fsck -fn merged.img | tail -1
    echo "$sum" | sha256sum -c -
}
console="$top/tests/console.py"
words="mem=512M ubd0=session.cow,debian.img root=/dev/ubda con0=fd:0,fd:1 con=null quiet"
rm -f session.cow
python3 "$console" "$top/target/release/uml-kernel $words" 'login: =>root' \
    ':~# =>dpkg -i hello.deb && hello-uml' ':~# =>apt-get install -y --reinstall ./hello.deb' \
    ':~# =>useradd -m bob && su - bob -c "id; echo mine > file; ls -l file"' \
    ':~# =>ssh-keygen -q -t ed25519 -N "" -f key && cat key.pub' ':~# =>service cron status' \
    ':~# =>echo one > one; reboot' 'login: =>root' ':~# =>cat one; hello-uml; ls /home/bob' ':~# =>shutdown -h now'
healthy
"$top/target/release/cowtool" status session.cow | grep -v ' /var/' || true
if command -v linux.uml >/dev/null; then
    python3 "$console" "linux.uml $words" 'login: =>root' ':~# =>cat one; hello-uml; echo two > two; sync; halt'
    healthy
    python3 "$console" "$top/target/release/uml-kernel $words" 'login: =>root' ':~# =>cat one two; halt'
    healthy
else
    echo "SKIPPED: the real linux.uml is not installed (user-mode-linux)"
fi
