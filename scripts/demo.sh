#!/usr/bin/env bash
# demo.sh: the main job, on this machine's own programs; then the same tools on files of the real User-Mode Linux.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
bin=$top/target/release
rm -rf "$top/demo" && mkdir "$top/demo" && cd "$top/demo"
PATH=$bin:$top/scripts:$PATH:/usr/sbin:/sbin

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }
# A guest, with these lines typed on its console. Without the lines it is yours to type in.
guest() {
    printf '$ %s\n' "$1"
    local command=$1
    shift
    { sleep 1; for line in "$@"; do printf '%s\n' "$line"; sleep 0.4; done; } | $command
}

say "A small base image, from this machine's own programs:"
run make-base.sh base.img
sum=$(sha256sum base.img)
say "A guest boots from a new COW disk over it; a session changes files; its shell ends, and it powers off:"
guest "uml-kernel mem=256M ubd0=session.cow,base.img root=/dev/ubda con=null" \
    "uname -sr; id -un; df /" \
    "echo '<h1>It works, and changed</h1>' > /srv/www/index.html" \
    "rm /srv/www/old.html; mkdir /srv/www/img; head -c 100000 /bin/bash > /srv/www/img/logo" \
    "mv /etc/hostname /etc/nodename; chmod 700 /root; ls -l /srv/www" \
    "exit"
say "The base is as it was; what is the COW file, and which files has the session changed?"
echo "$sum" | run sha256sum -c -
run cowtool info session.cow
run cowtool status session.cow
say "Merge it into a new image, written aside, read back and only then put in place; is that a healthy file system?"
run uml_moo session.cow merged.img
run e2fsck -fn merged.img
say "The merged image boots, and shows the changes:"
guest "uml-kernel mem=256M ubd0=merged.img root=/dev/ubda con=null" \
    "cat /srv/www/index.html /etc/nodename; ls /srv/www /srv/www/img; ls -d /srv/www/old.html" \
    "exit"

say "A guest of the real UML left its changes in a file like that. The base lies elsewhere here:"
mkdir real && cd real
tar -xJf "$top/fixtures/uml.tar.xz" --strip-components=1 uml/base.img uml/session.cow
run cowtool relocate session.cow --base base.img
run cowtool status session.cow
say "Where on the disk did it write? Is it whole?"
run cowtool map session.cow --plot
run cowtool check session.cow
say "Merged, it is what the real uml_moo makes of it; in place too, with a way back:"
run uml_moo session.cow merged.img
want=f5eaa0727230b1c5ef07e95aa8585763e9005d7a4328cb58d6570809ef8a0de9
echo "$want  merged.img" | run sha256sum -c -
run uml_moo -d session.cow --keep-undo undo.cow
echo "$want  base.img" | run sha256sum -c -
run uml_moo undo.cow before.img
echo "e7b9674c8b44dd78547f63120239ad804eac634fb7e0114b975c546d3495dd3f  before.img" | run sha256sum -c -

say "And one command in a jail, over this machine's own files, which it can change as it likes:"
run uml-kernel run -- sh -c 'id -un; rm -rf /etc; ls -d /etc 2>&1; uname -r'
run ls -d /etc
say "All of it is in $top/demo."
