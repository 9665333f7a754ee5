#!/usr/bin/env bash
# kill9.sh [ROUNDS]: kills uml_moo with SIGKILL at random moments of a merge, ROUNDS times (20) in each of:
#
#   in place             after the kill the disk, seen through the COW file, is what it was; one more run gives the
#                        merged base
#   in place, undo       the same with --keep-undo; in the end the undo file shows the base as it was
#   new file             after the kill the target is the old content or the finished image; one more run gives the
#                        finished image, and no other file is left
#
# The disk has 320 MiB, 80 MiB of them dirty, in long runs and single sectors; every byte of it can be computed
# (src/scatter.rs), so results are compared with what they have to be, not with another run. The moments are spread
# over the time that an undisturbed run takes. Prints totals; exits 1 on any violation, 2 when it cannot run.
# KILL9_DIR is where the disk goes. Without it that is /dev/shm where 2 GiB are free, or else a temporary directory:
# a killed process loses nothing that it has written, whatever the file system, so a fast one does (what a dead host
# loses is tested with powercut/). KILL9_SEED makes the moments repeatable.
set -u
cd "$(dirname "$0")/.." || exit 2
rounds=${1:-20}
size=320 dirty=80
export PATH="$HOME/.cargo/bin:$PATH"
bin=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release
cargo build --release --quiet -p uml-moo -p cowtool -p whole-program-tests || exit 2
moo=$bin/uml_moo scatter=$bin/scatter
where=${TMPDIR:-/tmp}
shm=$(df --output=avail -m /dev/shm 2>/dev/null | tail -n 1)
[ "${shm:-0}" -lt 2048 ] || [ ! -w /dev/shm ] || where=/dev/shm
dir=$(mktemp -d "${KILL9_DIR:-$where}/kill9.XXXXXX") || exit 2
trap 'rm -rf "$dir"' EXIT
[ -n "${KILL9_SEED:-}" ] && RANDOM=$KILL9_SEED
work=$dir/work
mkdir "$work" "$dir/orig"
cd "$work" || exit 2

violations=0
violation() { # what
    echo "VIOLATION in round $round of \"$mode\", killed after $delay s: $1" >&2
    violations=$((violations + 1))
}

is() { "$scatter" "$1" "$2" $size $dirty 2>/dev/null; }

fresh() {
    rm -rf "${work:?}"/* "$work"/.[!.]*
    cp -p --sparse=always "$dir/orig/base.img" base.img
    cp -p --sparse=always "$dir/orig/top.cow" top.cow
    echo old > new
}

now() { date +%s.%N; }

# The base stands in its place while the COW file is made, which records its path.
"$scatter" base base.img $size $dirty && "$scatter" cow top.cow base.img $size $dirty || exit 2
mv base.img top.cow "$dir/orig/"

# Runs "$@", which is killed after $delay seconds; killed=yes unless it was faster.
kill_in() {
    "$@" > "$dir/out" 2>&1 &
    local pid=$!
    sleep "$delay"
    kill -KILL $pid 2>/dev/null
    { wait $pid; } 2>/dev/null
    local code=$?
    killed=yes
    [ $code = 0 ] && killed=no
    [ $code = 0 ] || [ $code = 137 ] || violation "exit code $code: $(cat "$dir/out")"
}

in_place() { # the options of the merge
    kill_in "$moo" -d top.cow "$@"
    if grep -qs merge-begin base.img.cow-log && ! grep -qs merge-end base.img.cow-log; then
        halfway=$((halfway + 1))
    fi
    "$moo" top.cow peek > "$dir/out" 2>&1 || violation "the disk does not open after the kill: $(cat "$dir/out")"
    is is-merged peek || violation "the disk shows something else after the kill"
    rm -f peek
    if ! "$moo" -d top.cow "$@" > "$dir/out" 2>&1; then
        # Killed between its last step and its end: an undo file is there, and is not made again.
        if [ $# -gt 0 ] && grep -q 'exists: nothing was merged' "$dir/out" && grep -qs merge-end base.img.cow-log; then
            complete=$((complete + 1))
        else
            violation "the next run fails: $(cat "$dir/out")"
        fi
    fi
    is is-merged base.img || violation "the base is not the merged one after one more run"
    if [ $# -gt 0 ]; then
        "$moo" undo.cow restored > "$dir/out" 2>&1 || violation "the undo file does not open: $(cat "$dir/out")"
        is is-base restored || violation "the undo file does not show the base as it was"
    fi
    local left
    left=$(ls -A | grep -v -x -e base.img -e base.img.cow-log -e top.cow -e new -e undo.cow -e restored)
    [ -z "$left" ] || violation "left behind: $left"
}

new_file() {
    kill_in "$moo" top.cow new
    if echo old | cmp -s - new; then
        halfway=$((halfway + 1))
    elif is is-merged new; then
        complete=$((complete + 1))
    else
        violation "the target is neither the old content nor the finished image"
    fi
    is is-base base.img || violation "the base has changed"
    "$moo" top.cow new > "$dir/out" 2>&1 || violation "the next run fails: $(cat "$dir/out")"
    is is-merged new || violation "the target is not the finished image after one more run"
    local left
    left=$(ls -A | grep -v -x -e base.img -e top.cow -e new)
    [ -z "$left" ] || violation "left behind: $left"
}

run_rounds() { # mode, function, options
    mode=$1
    shift
    round=0 delay=0 halfway=0 complete=0
    local kills=0 begun took
    fresh
    begun=$(now)
    case $1 in
        in_place) "$moo" -d top.cow "${@:2}" || exit 2 ;;
        new_file) "$moo" top.cow new || exit 2 ;;
    esac
    took=$(awk "BEGIN { print $(now) - $begun }")
    for round in $(seq "$rounds"); do
        fresh
        # Spread evenly, and at random within each part.
        delay=$(awk "BEGIN { printf \"%.4f\", $took * ($round - 1 + $RANDOM / 32768) / $rounds }")
        "$@"
        [ $killed = yes ] && kills=$((kills + 1))
    done
    case $1 in
        in_place) echo "kill9: $mode: $rounds rounds over $took s, $kills killed, $halfway of them half merged, $complete already complete" ;;
        new_file) echo "kill9: $mode: $rounds rounds over $took s, $kills killed, $halfway with the old target, $complete with the new one" ;;
    esac
    [ $halfway -gt 0 ] || { echo "kill9: $mode: no kill came half way: nothing was tested" >&2; violations=$((violations + 1)); }
}

run_rounds "in place" in_place
run_rounds "in place, undo" in_place --keep-undo undo.cow
run_rounds "new file" new_file
echo "kill9: $((3 * rounds)) rounds, $violations violations"
[ $violations = 0 ]
