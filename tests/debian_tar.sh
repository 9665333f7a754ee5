#!/usr/bin/env bash
# debian_tar.sh [DIR [COWTOOL]]: a whole Debian root, and what an administrator can put beside it, goes by tar-in into a new ext4 file system of a
# COW file, and by tar-out comes back. The judges: e2fsck, the kernel's own loop mount (every name with all of its attributes, and diff -r), GNU tar
# (its listing of both archives, and what it unpacks). DIR has the root as DIR/tree, and is filled by scripts/make-debian.sh where it is not. Needs
# root, loop devices, attr, acl, python3; 2 GiB of room.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
[ "$(id -u)" = 0 ] || { echo "SKIPPED: debian_tar.sh: not root"; exit 0; }
[ -e /dev/loop-control ] || { echo "SKIPPED: debian_tar.sh: there are no loop devices"; exit 0; }
cowtool=$(realpath "${2:-$top/target/release/cowtool}")
if [ -z "${1:-}" ]; then debian=$(mktemp -d); else debian=$(realpath -m "$1"); fi
[ -d "$debian/tree" ] || "$top/scripts/make-debian.sh" "$debian"
work=$(mktemp -d)
trap 'umount "$work/kernel" 2>/dev/null || true; rm -rf "$work"; [ -n "${1:-}" ] || rm -rf "$debian"' EXIT
cd "$work"
mkdir kernel tree out
say() { printf '%s\n' "$*"; }
# Two listings that must be the same.
same() { diff "$1" "$2" > differs || { head -n 20 differs; say "FAILED: $3"; exit 1; }; say "$3"; }

# The root, and what minbase lacks: devices, attributes, lists, holes, odd names, times and owners.
cp -a "$debian/tree/." tree
mkdir tree/odd
(
    cd tree/odd
    mknod sda b 8 0; mknod far c 300 70000; mkfifo pipe
    truncate -s 300M sparse; printf start | dd of=sparse conv=notrunc status=none; printf middle | dd of=sparse bs=1M seek=200 conv=notrunc status=none
    truncate -s 1M holes-only
    setfattr -n user.comment -v 'with a = and a "' sparse
    setfattr -n user.binary -v 0x000a0d00ff holes-only
    setfattr -n trusted.overlay.opaque -v y .
    cp ../bin/true capable; setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 capable
    echo secret > listed; chmod 640 listed; setfacl -m u:1234:rw,g:99:r listed; mkdir d; setfacl -d -m u:1234:rwx d
    echo one > one; ln one two; ln one d/three; ln -s ../../etc/passwd link
    ln -s "$(printf 'x%.0s' $(seq 300))" longlink
    : > "$(printf 'new\nline \377 \\n')"; mkdir -p "$(printf 'l%.0s' $(seq 200))/$(printf 'm%.0s' $(seq 200))"
    echo deep > "$(printf 'l%.0s' $(seq 200))/$(printf 'm%.0s' $(seq 200))/deep"
    echo far > owner; chown 4000000000:3000000 owner; chmod 7777 owner
    touch -d '1965-03-02 04:05:06.123456789 UTC' before; touch -d '2040-01-01 00:00:00.5 UTC' after
)

# A name a line: all that lstat, the attributes and the content say; hard links by their first name.
cat > listing.py <<'P'
import hashlib, os, stat, sys
top, first, out = os.fsencode(sys.argv[1]), {}, []
for here, dirs, files in os.walk(top):
    dirs.sort()
    for name in sorted(dirs + files):
        p = os.path.join(here, name); s = os.lstat(p); at = os.path.relpath(p, top)
        if at == b"lost+found": continue
        what = [at, oct(s.st_mode), s.st_uid, s.st_gid, s.st_nlink, s.st_rdev, s.st_mtime_ns]
        what += [(x, os.getxattr(p, x, follow_symlinks=False)) for x in sorted(os.listxattr(p, follow_symlinks=False))]
        if not stat.S_ISDIR(s.st_mode): what += [s.st_size, first.setdefault(s.st_ino, at)]
        if stat.S_ISLNK(s.st_mode): what.append(os.readlink(p))
        if stat.S_ISREG(s.st_mode):
            h = hashlib.sha256()
            with open(p, "rb") as f:
                while piece := f.read(1 << 20): h.update(piece)
            what += [h.hexdigest(), "sparse" if s.st_blocks * 512 < s.st_size // 2 else "full"]
        out.append(repr(what))
print("\n".join(out))
P
python3 listing.py tree > tree.list
say "$(wc -l < tree.list) names, $(grep -c "('[a-z]*\." tree.list) with attributes, $(find tree -type f -links +1 | wc -l) hard links, $(find tree -type b -o -type c | wc -l) devices"

gnu() { tar --xattrs --xattrs-include='*' --numeric-owner "$@"; }
# It finds 1965 and 2040 odd.
unpack() { gnu --warning=no-timestamp "$@"; }
gnu --format=posix --sort=name -S -C tree -cf in.tar .
truncate -s 1G base.img; mkfs.ext4 -q -F base.img
"$cowtool" create cow --base base.img --no-identify > /dev/null
say "tar-in:";  time "$cowtool" tar-in cow < in.tar
"$cowtool" commit cow --into merged > /dev/null
e2fsck -fn merged
mount -o loop,ro merged kernel
python3 listing.py kernel > kernel.list
same tree.list kernel.list "the kernel sees the tree: every name, attribute and byte"
# Of devices and pipes it says only that they are some; the listings have compared them.
diff -r --no-dereference --exclude=lost+found tree kernel | grep -v 'special file while\|is a fifo while' > differs || true
same /dev/null differs "diff -r: nothing"
umount kernel

say "tar-out:"; time "$cowtool" tar-out cow > out.tar
# As GNU tar lists them: the same names, in the same order; a directory of the file system's own beside.
list() { tar --numeric-owner --full-time -tvf "$1" | sed 's, \./, ,; s,link to \./,link to ,' | grep -v ' lost+found/$' | sed '/ $/d; s/  */ /g'; }
list in.tar > in.list; list out.tar > out.list
same in.list out.list "GNU tar lists both archives alike: $(wc -l < out.list) names"
unpack --same-owner -C out -xpf out.tar
python3 listing.py out > out.tree.list
same tree.list out.tree.list "what GNU tar unpacks is the tree: every name, attribute and byte"

# And what the kernel has written is read as well.
truncate -s 1G theirs; mkfs.ext4 -q -F theirs
mount -o loop theirs kernel; unpack -C kernel -xpf in.tar; umount kernel
"$cowtool" tar-out theirs > theirs.tar
list theirs.tar > theirs.list
same in.list theirs.list "tar-out of what the kernel and GNU tar have written: alike"
say "done"
