#!/usr/bin/env bash
# make-base.sh IMAGE: a small root file system from this machine's own programs: bash, coreutils, mount, and an init that is a shell
# script. No network, no root.
set -eu
image=$1
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{bin,sbin,dev,etc,proc,root,sys,tmp,mnt,srv/www}
for name in bash setsid cat chmod cp date df echo grep head id ls mkdir mount mv rm sed sha256sum sleep sort sync tail touch umount uname wc; do
    program=$(command -v "$name" || true)
    case $program in /*) ;; *) continue ;; esac
    cp -L "$program" "$tree/bin/$name"
    # What it is linked with, at the paths where its loader looks.
    { ldd "$program" 2>/dev/null || true; } | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$tree/$(dirname "$library")"
        cp -Ln "$library" "$tree/$library" 2>/dev/null || true
    done
done
ln -s bash "$tree/bin/sh"
printf 'root:x:0:0:root:/root:/bin/bash\n' > "$tree/etc/passwd"
printf 'demo\n' > "$tree/etc/hostname"
printf '<h1>It works</h1>\n' > "$tree/srv/www/index.html"
printf 'Remove me.\n' > "$tree/srv/www/old.html"
cat > "$tree/sbin/init" <<'INIT'
#!/bin/bash
# The first process: mounts, runs a shell on the console, and powers off when that ends.
export PATH=/bin HOME=/root PS1='guest# '
mount -t proc proc /proc
mount -o remount,rw /
cd /root
setsid -c bash --norc --noediting -i < /dev/tty0 > /dev/tty0 2>&1
sync
mount -o remount,ro /
echo o > /proc/sysrq-trigger
sleep 10
INIT
chmod 755 "$tree/sbin/init"
rm -f "$image"
mke2fs -q -t ext4 -L demo -E root_owner=0:0 -d "$tree" "$image" 96M
