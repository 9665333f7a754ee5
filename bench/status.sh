#!/usr/bin/env bash
# status.sh COWTOOL [WORK]: which files a session changed, on a base of 2 GiB with 50,000 files of which 1 % is dirty: `cowtool status`, against what
# there was before: `qemu-img compare`, a loop mount of both disks, `diff -r`. As root, for the loop mounts; else only what needs none is measured.
# Each is run five times on a warm page cache; the median is told, and the ratio.
set -eu
cowtool=$(realpath "$1")
work=${2:-$(mktemp -d)}
mkdir -p "$work"
cd "$work"
files=50000 directories=500 changed=500

if [ ! -e base.img ]; then
    echo "making the base in $work" >&2
    mkdir tree
    python3 - "$files" "$directories" <<'P'
import os, random, sys
files, directories = map(int, sys.argv[1:])
random.seed(1)
block = random.randbytes(1 << 20)
for d in range(directories):
    path = f"tree/d{d % 20}/s{d}"
    os.makedirs(path)
    for f in range(files // directories):
        size = min(int(random.lognormvariate(9.3, 1.2)), 1 << 20)
        at = random.randrange(1 << 18)
        with open(f"{path}/f{f}", "wb") as out:
            out.write(block[at:at + size])
P
    truncate -s 2G base.img
    mke2fs -q -t ext4 -d tree base.img
    rm -r tree
fi
if [ ! -e session.cow ]; then
    "$cowtool" create session.cow --base base.img > made.txt
    # 1 % of the disk, 20 MiB: a file in a hundred is written anew, some are removed, moved, changed in their attributes.
    mkdir new
    python3 - "$changed" <<'P'
import os, random, sys
random.seed(2)
for n in range(int(sys.argv[1])):
    d, f = random.randrange(500), random.randrange(100)
    os.makedirs(f"new/d{d % 20}/s{d}", exist_ok=True)
    with open(f"new/d{d % 20}/s{d}/f{f}", "wb") as out:
        out.write(random.randbytes(random.randrange(20000, 60000)))
P
    "$cowtool" put session.cow new/* / > put.txt
    for d in 3 77 200; do "$cowtool" rm session.cow "/d$((d % 20))/s$d/f5" >> put.txt; done
    rm -r new
fi
"$cowtool" info session.cow | grep dirty

# The median of five, in milliseconds; what is printed goes to a file.
median() {
    for _ in 1 2 3 4 5; do
        start=$(date +%s%N)
        "$@" > out.txt 2>&1 || true
        echo $((($(date +%s%N) - start) / 10000))
    done | sort -n | sed -n '3s/\(..\)$/.\1/p'
}
drops() { sync; echo 3 > /proc/sys/vm/drop_caches; }

# What git status is to a tree: by mount and diff of both trees.
by_mount() {
    qemu-img compare -f raw -F raw base.img merged.img
    mount -o loop,ro,noload base.img a
    mount -o loop,ro,noload merged.img b
    diff -rq --no-dereference a b
    umount a b
}
[ -e merged.img ] || "$cowtool" convert session.cow --into merged.img --to raw > /dev/null
mkdir -p a b
"$cowtool" status session.cow > status.txt
ours=$(median "$cowtool" status session.cow)
echo "status                            $ours ms, $(wc -l < status.txt) files"
qemu=$(median qemu-img compare -f raw -F raw base.img merged.img)
echo "qemu-img compare alone            $qemu ms"
if [ "$(id -u)" != 0 ]; then
    echo "SKIPPED: loop mounts need root"
    exit 0
fi
if ! mount -o loop,ro,noload base.img a 2>/dev/null; then
    echo "SKIPPED: this host gives no loop device"
    exit 0
fi
umount a
theirs=$(median by_mount)
echo "compare, two mounts, diff -r      $theirs ms, $(grep -c ^Files out.txt) files"
awk -v a="$ours" -v b="$theirs" 'BEGIN { printf "ratio %.4f (%.0f times as fast)\n", a / b, b / a }'
if drops 2>/dev/null; then
    start=$(date +%s%N); "$cowtool" status session.cow > /dev/null; mid=$(date +%s%N)
    drops; start2=$(date +%s%N); by_mount > /dev/null 2>&1 || true; end=$(date +%s%N)
    echo "caches cold: status $(((mid - start) / 1000000)) ms, the other $(((end - start2) / 1000000)) ms"
fi
