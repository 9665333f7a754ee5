#!/usr/bin/env bash
# make-debian.sh DIR: Debian 12 with sysvinit, by debootstrap, as DIR/debian.img; nothing if that is there. Needs root, the network, some minutes.
set -euo pipefail
mkdir -p "$1" && cd "$1"
[ ! -e debian.img ] || exit 0
[ "$(id -u)" = 0 ] || { echo "make-debian.sh: debootstrap needs root" >&2; exit 1; }
command -v debootstrap >/dev/null || apt-get install -y -q --no-install-recommends debootstrap >/dev/null
rm -rf tree hello
# rsyslog's own package has no init script any more: Debian keeps it in orphan-sysvinit-scripts.
debootstrap --variant=minbase --exclude=systemd,systemd-sysv \
    --include=sysvinit-core,sysv-rc,login,passwd,util-linux,e2fsprogs,procps,cron,openssh-client,less,vim-tiny,rsyslog,orphan-sysvinit-scripts,logrotate \
    bookworm tree > debootstrap.log
# What an administrator sets up: a login on the console, no password, where the root is.
chroot tree passwd -d root > /dev/null
sed -i 's/^1:2345:respawn:.*/1:2345:respawn:\/sbin\/getty 38400 tty0/; s/^\([2-6]\):23:respawn/#&/' tree/etc/inittab
echo uml > tree/etc/hostname
echo '127.0.0.1 localhost uml' > tree/etc/hosts
echo '/dev/ubda / ext4 errors=remount-ro 0 1' > tree/etc/fstab
echo '* * * * * root true' > tree/etc/cron.d/every-minute
# A package to install, from files alone.
mkdir -p hello/DEBIAN hello/usr/bin
printf 'Package: hello-uml\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: says hello\n' > hello/DEBIAN/control
printf '#!/bin/sh\necho hello from a package\n' > hello/usr/bin/hello-uml
chmod 755 hello/usr/bin/hello-uml
dpkg-deb -b hello tree/root/hello.deb > /dev/null
mke2fs -q -t ext4 -d tree debian.new 1G
mv debian.new debian.img
