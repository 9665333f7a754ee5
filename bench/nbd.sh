#!/usr/bin/env bash
# nbd.sh [SECONDS [ROUNDS]]: latency of 4 KiB random requests, one at a time, over a Unix socket: `cowtool serve` against nbdkit with its
# cow filter on the same base. Both take turns; per kind the median of the rounds' p50, in microseconds, and the ratio. COWTOOL names the
# program, DIR where the disks lie.
set -eu
seconds=${1:-4} rounds=${2:-5}
cowtool=${COWTOOL:-$(cd "$(dirname "$0")/.." && pwd)/target/release/cowtool}
for tool in nbdkit fio python3; do
    command -v $tool >/dev/null || { echo "SKIPPED: NBD latency: $tool is not installed"; exit 0; }
done
fio --enghelp | grep -qw nbd || { echo "SKIPPED: NBD latency: this fio has no nbd engine"; exit 0; }

dir=$(mktemp -d "${DIR:-/var/tmp}/nbd-bench.XXXXXX")
servers=""
finish() {
    for pid in $servers; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$dir"
}
trap finish EXIT

size=256
# Bytes that are there, and in memory: neither the disk of this machine nor holes are measured.
dd if=/dev/urandom of="$dir/base.img" bs=1M count=$size status=none
"$cowtool" create "$dir/session.cow" --base "$dir/base.img" --no-identify >/dev/null
"$cowtool" serve "$dir/session.cow" --rw --socket "$dir/ours" >/dev/null &
servers="$servers $!"
TMPDIR="$dir" nbdkit -f --unix "$dir/nbdkit" --filter=cow file "$dir/base.img" &
servers="$servers $!"
for socket in ours nbdkit; do
    for _ in $(seq 100); do [ -S "$dir/$socket" ] && break; sleep 0.05; done
done

# p50 SERVER KIND SEED: microseconds
p50() {
    fio --name=x --ioengine=nbd --uri="nbd+unix:///?socket=$dir/$1" --rw="$2" --bs=4k --iodepth=1 --randseed="$3" \
        --time_based --runtime="$seconds" --ramp_time=1 --size=${size}m --output-format=json 2>/dev/null |
        python3 -c '
import json, sys
text = sys.stdin.read()
job = json.loads(text[text.index("{"):])["jobs"][0]
side = job["read"] if job["read"]["total_ios"] else job["write"]
print(side["clat_ns"]["percentile"]["50.000000"] / 1000)'
}

echo "4 KiB random, one at a time, p50 in microseconds ($rounds rounds of $seconds s)"
for kind in randread randwrite; do
    : >"$dir/ours.$kind"
    : >"$dir/nbdkit.$kind"
    for round in $(seq "$rounds"); do
        for server in ours nbdkit; do p50 $server $kind "$round" >>"$dir/$server.$kind"; done
    done
    python3 - "$kind" "$dir/ours.$kind" "$dir/nbdkit.$kind" <<'P'
import statistics, sys
kind, *files = sys.argv[1:]
ours, nbdkit = ([float(x) for x in open(f).read().split()] for f in files)
a, b = statistics.median(ours), statistics.median(nbdkit)
print(f"{kind:10} cowtool {a:7.1f} ({min(ours):.1f} to {max(ours):.1f})   nbdkit --filter=cow {b:7.1f} ({min(nbdkit):.1f} to {max(nbdkit):.1f})   ratio {a / b:.2f}")
P
done
