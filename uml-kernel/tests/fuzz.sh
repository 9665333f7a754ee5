#!/usr/bin/env bash
# fuzz.sh [SECONDS [SEED]]: random system calls of a hostile guest, many runs of the kernel one after the other, in turn as
# the caller and as nobody. What must hold: no panic, no hang, no stub left behind, nothing changed outside.
# KERNEL and GUEST_TESTS name the programs; without them they are built.
set -u
seconds=${1:-60} seed=${2:-1}
here=$(cd "$(dirname "$0")/../.." && pwd)
if [ -z "${KERNEL:-}" ]; then
    (cd "$here" && cargo build --quiet -p uml-kernel) || exit 1
    KERNEL=${CARGO_TARGET_DIR:-$here/target}/debug/uml-kernel
fi
if [ -z "${GUEST_TESTS:-}" ]; then
    make --no-print-directory -C "$here" guest-tests || exit 1
    GUEST_TESTS=$here/target/guest-tests/x86_64-unknown-linux-gnu/release/guest-tests
fi

dir=$(mktemp -d) && chmod 755 "$dir" || exit 1
# A subshell that is killed before it has forgotten its parent's traps would take the directory away.
trap '[ $BASHPID != $$ ] || rm -rf "$dir"' EXIT
mkdir -p "$dir"/root/{bin,dev,etc,proc,sys,tmp}
chmod 1777 "$dir/root/tmp"
cp "$GUEST_TESTS" "$dir/root/bin/guest-tests"
cp "$KERNEL" "$dir/uml-kernel"
echo root:x:0:0:: > "$dir/root/etc/passwd"
echo secret > "$dir/secret" && chmod 600 "$dir/secret"
outside() { (cd "$dir" && find . -path ./log -prune -o -printf '%p %y %m %U %G %s %T@ %l\n' | sort && cat root/etc/passwd secret); }
mkdir "$dir/log"
before=$(outside)

runs=0 children=0 failures=0 killed=0
fail() {
    failures=$((failures + 1))
    echo "FAILED: $* (run $runs, kernel seed $1)"
    grep 'child seed\|sane\|do not end' "$dir/log/out" | tail -n 4
    grep -v 'uml_kernel::\|  at \|^ *[0-9]*: \|is not there' "$dir/log/err" | head
    grep -v 'is not there' "$dir/log/err" | tail -n 5
    grep -A1 'uml_kernel::' "$dir/log/err" | head -n 16
}

as=()
end=$((SECONDS + seconds))
while [ $SECONDS -lt $end ]; do
    runs=$((runs + 1)) this=$((seed * 100000 + runs))
    # Short enough that a driver which was stopped by its children costs little.
    left=$((end - SECONDS)) && [ $left -le 150 ] || left=150
    as=()
    if [ "$(id -u)" = 0 ] && [ $((runs % 2)) = 0 ] && command -v setpriv > /dev/null; then
        as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    fi
    (cd "$dir" && exec timeout -v -s QUIT -k 2 $((left + 60)) "${as[@]}" ./uml-kernel run --log --root "$dir/root" mem=512M ncpus=2 -- \
        /bin/guest-tests fuzz --guest --seconds "$left" --seed "$this" < /dev/null > "$dir/log/out" 2> "$dir/log/err") &
    pid=$!
    # The stubs have a session of their own, that the first one began: how to find those that stay behind.
    sid=
    for _ in $(seq 100); do
        kernel=$(ps -o pid= --ppid $pid | tr -d ' ')
        [ -n "$kernel" ] && sid=$(ps -o sid= --ppid "$kernel" 2> /dev/null | awk -v k="$kernel" 'NR == 1 && $1 != k { print $1 }')
        [ -n "$sid" ] && [ "$sid" != "$(ps -o sid= -p $$ | tr -d ' ')" ] && break
        sleep 0.01
    done
    wait $pid
    status=$?
    # As nobody, the driver and its children have one user, and a child may rightly send it a signal that ends or stops it.
    if [ ${#as[@]} != 0 ] && grep -q '^ *[0-9]* *2 guest-tests .* stopped$' "$dir/log/err"; then killed=$((killed + 1))
    elif grep -q '^timeout: sending' "$dir/log/err"; then fail "$this" "hung" && cat "$dir/log/err"
    elif grep -q 'panicked' "$dir/log/err"; then fail "$this" panic
    elif [ ${#as[@]} != 0 ] && [ $status -gt 128 ] && [ $status -le 192 ]; then killed=$((killed + 1))
    elif [ $status != 0 ]; then fail "$this" "the kernel's exit status is $status"
    fi
    children=$((children + $(grep -c '^ended ' "$dir/log/out")))
    if [ -n "$sid" ]; then
        for _ in $(seq 50); do
            stay=$(ps -s "$sid" -o pid=,stat=,comm= | grep -cv ' Z')
            [ "$stay" = 0 ] && break
            sleep 0.1
        done
        if [ "$stay" != 0 ]; then
            fail "$this" "$stay stubs stay behind"
            ps -s "$sid" -o pid=,stat=,wchan=,comm=
            ps -s "$sid" -o pid= | xargs -r kill -9
        fi
    fi
    [ "$(outside)" = "$before" ] || { fail "$this" "outside files changed"; diff <(echo "$before") <(outside) | head; break; }
    [ $failures -ge 10 ] && break
done
echo "fuzz.sh: seed $seed, $runs runs, $children children, $killed drivers ended or stopped by a child, $failures failures"
[ $failures = 0 ]
