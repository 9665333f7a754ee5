#!/usr/bin/env bash
# mount.sh [DIR]: mounts of cowtool beside fuse2fs, the kernel's loop mount, and qemu-storage-daemon's FUSE export, in one run, in turns; the least of three
# rounds, and ratios. Needs root, fuse2fs, fio, qemu-system-common (qemu-storage-daemon). Works in /dev/shm, or in DIR.
set -eu
cowtool=$(realpath "${COWTOOL:-$(dirname "$0")/../target/release/cowtool}")
work=$(mktemp -d -p "${1:-/dev/shm}"); cd "$work"
[ -e /dev/fuse ] && [ "$(id -u)" = 0 ] || { echo "SKIPPED: mount.sh: /dev/fuse is not there, or not root" >&2; exit 0; }
trap 'umount -l "$work/m" 2>/dev/null || true; kill $qsd 2>/dev/null || true; rm -rf "$work"' EXIT
qsd=; rounds=${ROUNDS:-3}
mkdir m
truncate -s 2G base; mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 base
python3 - <<'P'
import io, random, tarfile
r = random.Random(5)
with tarfile.open('small.tar', 'w') as t:
    for n in range(20000):
        i = tarfile.TarInfo(f'tree/d{n % 200:03}/f{n:05}'); i.size = n % 7 * 900 + 100; i.mode = 0o644; i.mtime = 1600000000 + n
        t.addfile(i, io.BytesIO(r.randbytes(i.size)))
P
now() { date +%s%N; }
# NAME COMMAND...: milliseconds, kept if they are the least.
declare -A best
timed() { local name=$1 begun; shift; begun=$(now); "$@"; local ms=$((($(now) - begun) / 1000000)); note "$name" "$ms"; }
note() { [ -n "${best[$1]:-}" ] && [ "${best[$1]}" -le "$2" ] || best[$1]=$2; }
drop() { sync; echo 1 > /proc/sys/vm/drop_caches; }
start() {
    case $1 in
        ours) rm -f cow; "$cowtool" create cow --base base --no-identify >/dev/null; "$cowtool" mount cow m --rw ;;
        fuse2fs) cp --sparse=always base image; fuse2fs image m -o rw 2>/dev/null ;;
        loop) cp --sparse=always base image; mount -o loop image m ;;
    esac
}
stop() { case $1 in ours) "$cowtool" umount m ;; *) umount m; while pgrep -x fuse2fs >/dev/null; do sleep 0.1; done ;; esac; }
write_all() { dd if=/dev/zero of=m/bulk bs=1M count=512 conv=fsync status=none; }
read_all() { dd if=m/bulk of=/dev/null bs=1M status=none; }
for _ in $(seq "$rounds"); do
    for who in ours fuse2fs loop; do
        start $who
        timed "untar $who" tar -xf small.tar -C m
        timed "rm $who" rm -r m/tree
        [ $who = fuse2fs ] || { timed "write $who" write_all; drop; timed "read $who" read_all; }
        stop $who
    done
done
# 4 KiB at random places of the disk as a file, past the page cache: the median in ns.
p50() { fio --name=r --filename="$1" --rw="$2" --bs=4k --direct=1 --ioengine=psync --size=512M --runtime=4 --time_based --randseed=3 --output-format=json 2>/dev/null |
    python3 -c 'import json,sys; j=json.load(sys.stdin)["jobs"][0]; print(max(int(j[k]["clat_ns"].get("percentile",{}).get("50.000000",0)) for k in ("read","write")))'; }
for _ in $(seq "$rounds"); do
    for rw in randread randwrite; do
        rm -f cow; "$cowtool" create cow --base base --no-identify >/dev/null; "$cowtool" mount cow m --rw --disk
        note "$rw ours" "$(p50 m/disk $rw)"; "$cowtool" umount m
        rm -f q.qcow2 disk; qemu-img create -q -f qcow2 -F raw -b "$work/base" q.qcow2; touch disk
        qemu-storage-daemon --blockdev file,node-name=f,filename=q.qcow2 --blockdev qcow2,node-name=q,file=f \
            --export fuse,id=e,node-name=q,mountpoint="$work/disk",writable=on & qsd=$!
        while ! grep -q "$work/disk" /proc/mounts; do sleep 0.1; done
        note "$rw qsd" "$(p50 disk $rw)"; kill $qsd; wait $qsd 2>/dev/null || true; qsd=
    done
done
ratio() { awk "BEGIN { printf \"%.2f\", $1 / $2 }"; }
echo "| | ours | other | ratio | goal |"; echo "| --- | ---: | ---: | ---: | --- |"
for other in fuse2fs loop; do
    a=${best[untar ours]} b=${best[untar $other]}; goal=; [ $other = loop ] || goal="at least 3"
    echo "| untar of 20,000 files, ms; $other | $a | $b | $(ratio $b $a) | $goal |"
    a=${best[rm ours]} b=${best[rm $other]}; echo "| rm -r of them, ms; $other | $a | $b | $(ratio $b $a) | |"
done
for what in write read; do
    a=${best[$what ours]} b=${best[$what loop]}
    echo "| bulk $what, 512 MiB, ms; loop | $a | $b | $(ratio $b $a) | at least 0.6 |"
done
for rw in randread randwrite; do
    a=${best[$rw ours]} b=${best[$rw qsd]}
    echo "| --disk, 4 KiB $rw, p50, ns; qemu-storage-daemon | $a | $b | $(ratio $a $b) | at most 1 |"
done
