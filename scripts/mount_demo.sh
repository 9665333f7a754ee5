#!/usr/bin/env bash
# mount_demo.sh [COWTOOL]: an ordinary user mounts the session of the fixtures, looks, changes, unmounts; then root has the host's own kernel mount what
# it has become, and compares. What it prints is the transcript: $ is the user, # is root. Fails where anything is not as docs/mount.md promises.
# Needs root (for the kernel's side, and to be somebody else), fusermount3, /dev/fuse for everybody, loop devices.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
cowtool=$(realpath "${1:-$top/target/release/cowtool}")
skip() { echo "SKIPPED: mount_demo: $1" >&2; exit 0; }
[ "$(id -u)" = 0 ] || skip "not root"
command -v fusermount3 >/dev/null || skip "no fusermount3 (Debian: fuse3)"
[ -e /dev/fuse ] || skip "/dev/fuse is not there"
[ "$(stat -c %a /dev/fuse)" = 666 ] || skip "/dev/fuse is not for everybody (chmod 666 /dev/fuse)"
[ -e /dev/loop-control ] || skip "there are no loop devices"

user=cowdemo
made=""
id -u "$user" >/dev/null 2>&1 || { useradd --no-create-home --shell /bin/bash "$user"; made=yes; }
dir=$(mktemp -d)
finish() {
    runuser -u "$user" -- fusermount3 -qu "$dir/mnt" 2>/dev/null || true
    umount "$dir/kernel" 2>/dev/null || true
    rm -rf "$dir"
    [ -z "$made" ] || userdel "$user"
}
trap finish EXIT
chmod 755 "$dir"; cd "$dir"
tar --extract --xz --no-same-owner --strip-components=1 --file "$top/fixtures/uml.tar.xz"
mkdir bin mnt other kernel
cp "$cowtool" bin/cowtool; PATH=$dir/bin:$PATH
# The base is not the user's: he can read it, and that is enough.
cowtool relocate session.cow --base base.img >/dev/null
chown "$user:" . session.cow mnt other; chmod 444 base.img
base=$(sha256sum base.img); before=$(sha256sum session.cow)

fail() { echo "FAILED: $1" >&2; exit 1; }
# What the user types, and what he sees.
user() { printf '$ %s\n' "$1"; runuser -u "$user" -- bash -euo pipefail -c "$1"; }
# The same, where it must be refused: with this text.
refused() {
    printf '$ %s\n' "$2"
    said=$(runuser -u "$user" -- bash -c "$2" 2>&1) && fail "it is let in: $2"
    echo "$said"
    grep -q "$1" <<<"$said" || fail "not the words expected: $1"
}
root() { printf '# %s\n' "$1"; bash -euo pipefail -c "$1"; }
# Unseen: all names with what lstat says of them, and all content, as the user has it in mnt, or root in kernel.
names='cd DIR; find . -path ./lost+found -prune -o -printf "%P %M %n %U:%G %s %T@ %l\n" | sort'
content='cd DIR; find . -path ./lost+found -prune -o -type f -print0 | sort -z | xargs -0 sha256sum'

user 'id -un; ls -l base.img session.cow | cut -d" " -f 1,3,4'
user 'cowtool mount session.cow mnt'
user 'grep "$PWD/mnt " /proc/mounts | cut -d" " -f 3,4'
user 'ls mnt mnt/tree; cat mnt/new.txt'
user 'cat mnt/logs/log00.txt | head -n 2; stat -c "%A %u:%g %n" mnt/logs/log2[12].txt'
refused 'Read-only file system' 'echo more >> mnt/logs/log00.txt'
refused 'Permission denied' 'cat mnt/logs/log21.txt'
user 'cowtool umount mnt'
echo "$before" | sha256sum --quiet -c - || fail "a look has changed the COW file"

user 'cowtool mount session.cow mnt --rw --map-owner'
user 'echo changed > mnt/new.txt; mkdir mnt/mine; mv mnt/logs/log00.txt mnt/mine/; rm mnt/big.bin; ln -s mine/log00.txt mnt/first'
user 'head -c 500000 /dev/urandom > mnt/mine/random; sha256sum mnt/mine/random | cut -c 1-16; sync mnt/mine'
refused 'in use by cowtool (pid' 'cowtool mount session.cow other'
user 'cowtool umount mnt'
user 'cowtool status session.cow | grep -e mine -e first -e big -e new.txt'
echo "$base" | sha256sum --quiet -c - || fail "the base has changed"

runuser -u "$user" -- bin/cowtool mount session.cow mnt
runuser -u "$user" -- bash -euc "${names/DIR/mnt}" > names.ours
runuser -u "$user" -- bin/cowtool umount mnt
runuser -u "$user" -- bin/cowtool mount session.cow mnt --map-owner
runuser -u "$user" -- bash -euc "${content/DIR/mnt}" > content.ours
runuser -u "$user" -- bin/cowtool umount mnt

root 'cowtool commit session.cow --into merged'
root 'e2fsck -fn merged | tail -n 1'
root 'mount -o loop,ro merged kernel'
root 'ls kernel kernel/mine; cat kernel/new.txt; sha256sum kernel/mine/random | cut -c 1-16; stat -c "%A %u:%g %n" kernel/mine kernel/logs/log2[12].txt'
bash -euc "${names/DIR/kernel}" > names.kernel
bash -euc "${content/DIR/kernel}" > content.kernel
diff names.ours names.kernel || fail "the kernel sees other names"
diff content.ours content.kernel || fail "the kernel sees other content"
root 'umount kernel'
grep -qF "$dir" /proc/mounts && fail "a mount is left"
# One that has ended and waits for init to hear of it is none.
ps -u "$user" -o stat= | grep -v Z && fail "a process is left"
echo "(the kernel's mount and the user's are alike: $(wc -l < names.kernel) names, $(wc -l < content.kernel) files)"
