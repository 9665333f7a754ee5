#!/usr/bin/env bash
# big.sh [SIZE_GIB [DIRTY_MIB]]: merges a sparse base of 100 GiB with 1 GiB dirty, half of it in single sectors, into
# a new file and in place, and prints how long that took and how much memory it needed at most. Exits 1 when that
# is 10 MB or more, when holes were filled, or when any byte is wrong; 2 when it cannot run. BIG_DIR is where the
# files go (a temporary directory otherwise): it needs about 8 times DIRTY_MIB of space, and a file system with holes.
set -u
cd "$(dirname "$0")/.." || exit 2
gib=${1:-100} dirty=${2:-1024}
size=$((gib * 1024))
export PATH="$HOME/.cargo/bin:$PATH"
bin=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release
cargo build --release --quiet -p uml-moo -p whole-program-tests || exit 2
dir=$(mktemp -d "${BIG_DIR:-${TMPDIR:-/tmp}}/big.XXXXXX") || exit 2
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 2
free=$(df --output=avail -m . | tail -n 1)
if [ "$free" -lt $((8 * dirty)) ]; then
    echo "SKIPPED: big.sh: $free MiB free in $dir, $((8 * dirty)) needed: set BIG_DIR"
    exit 2
fi
"$bin/scatter" base base.img $size "$dirty" && "$bin/scatter" cow top.cow base.img $size "$dirty" || exit 2
bad=0
merge() { # what, result, arguments
    local what=$1 result=$2
    shift 2
    local begun=$SECONDS memory took used
    if ! "$bin/peak" memory "$bin/uml_moo" "$@"; then
        echo "big: $what: failed"
        bad=1
        return
    fi
    memory=$(cat memory) took=$((SECONDS - begun))
    used=$(du -m "$result" | cut -f 1)
    echo "big: $what: $gib GiB, $dirty MiB dirty: $took s, $((memory / 1000)) kB of memory at most, result $used MiB on disk"
    [ "$memory" -lt 10000000 ] || { echo "big: $what: 10 MB of memory or more"; bad=1; }
    [ "$used" -lt $((8 * dirty)) ] || { echo "big: $what: holes were filled"; bad=1; }
    "$bin/scatter" is-merged "$result" $size "$dirty" || bad=1
}
merge "new file" new top.cow new
rm -f new
merge "in place" base.img -d top.cow
exit $bad
