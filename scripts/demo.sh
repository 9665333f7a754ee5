#!/usr/bin/env bash
# demo.sh: what a session in the real User-Mode Linux changed, and how it is folded back, on real files.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
bin=$top/target/release
rm -rf "$top/demo" && mkdir "$top/demo" && cd "$top/demo"
tar -xJf "$top/fixtures/uml.tar.xz" --strip-components=1 uml/base.img uml/session.cow

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }
PATH=$bin:$PATH

say "A guest of the real UML ran on base.img and left its changes in session.cow. The base lies elsewhere here:"
run cowtool relocate session.cow --base base.img
say "What is it?"
run cowtool info session.cow
say "Where on the disk did the session write?"
run cowtool map session.cow --plot
say "Is it whole?"
run cowtool check session.cow
say "Merge it into a new image, written aside, read back and only then put in place:"
run uml_moo session.cow merged.img
say "Is the result a healthy file system, and the one that the real uml_moo makes?"
run e2fsck -fn merged.img
want=f5eaa0727230b1c5ef07e95aa8585763e9005d7a4328cb58d6570809ef8a0de9
echo "$want  merged.img" | run sha256sum -c -
say "Or merge in place, and keep a way back:"
run uml_moo -d session.cow --keep-undo undo.cow
echo "$want  base.img" | run sha256sum -c -
run uml_moo undo.cow before.img
echo "e7b9674c8b44dd78547f63120239ad804eac634fb7e0114b975c546d3495dd3f  before.img" | run sha256sum -c -
say "And the guest kernel: a command in a jail, over this machine's own files, which it can change as it likes:"
run uml-kernel run -- sh -c 'id -un; rm -rf /etc; ls -d /etc 2>&1; uname -r'
run ls -d /etc
say "All of it is in $top/demo."
