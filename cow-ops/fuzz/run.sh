#!/usr/bin/env bash
# run.sh SECONDS: runs every fuzz target for that long, from the committed corpus on, and prints how many
# executions and crashes there were. 0 only replays the corpus. Fails when anything crashed.
#
# An input that takes a minute has hung; less says only that the machine is busy. New inputs are kept in the target directory, crashes in artifacts/TARGET beside this. FUZZ_DIR is another crate's fuzz folder.
set -u
here=${FUZZ_DIR:-$(cd "$(dirname "$0")" && pwd)}
seconds=${1:?usage: run.sh SECONDS [TARGET...]}
shift
targets=${*:-$(cd "$here/fuzz_targets" && ls | sed 's/\.rs$//')}
export PATH="$HOME/.cargo/bin:$PATH"
export RUSTC_BOOTSTRAP=1 # the sanitizers are behind it in a stable compiler
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$here/target}

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "SKIPPED: fuzzing: cargo fuzz is not installed (cargo install --locked cargo-fuzz)"
    exit 0
fi
cd "$here" || exit 1
sanitizer=address
if ! cargo fuzz build --fuzz-dir . >"$here/.build.log" 2>&1; then
    sanitizer=none
    if ! cargo fuzz build --fuzz-dir . --sanitizer none >"$here/.build.log" 2>&1; then
        cat "$here/.build.log" >&2
        exit 1
    fi
fi
rm -f "$here/.build.log"

failed=0
for target in $targets; do
    found="$CARGO_TARGET_DIR/fuzz-corpus/$target"
    mkdir -p "$found" "artifacts/$target"
    log=$(mktemp)
    if [ "$seconds" = 0 ]; then limit=-runs=0; else limit=-max_total_time=$seconds; fi
    before=$(find "artifacts/$target" -type f | wc -l)
    cargo fuzz run --fuzz-dir . --sanitizer $sanitizer "$target" "$found" "corpus/$target" -- \
        "$limit" -max_len=24576 -timeout=60 -report_slow_units=60 -rss_limit_mb=2048 -print_final_stats=1 >"$log" 2>&1
    status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    crashes=$(($(find "artifacts/$target" -type f | wc -l) - before))
    echo "$target: ${runs:-0} executions, $crashes crashes ($sanitizer sanitizer, ${seconds} s)"
    if [ $status -ne 0 ]; then
        failed=1
        grep -A 1 -E 'panicked at|ERROR: ' "$log" | head -n 6
        echo "log: $log"
    else
        rm -f "$log"
    fi
done
exit $failed
