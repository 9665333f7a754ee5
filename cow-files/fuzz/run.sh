#!/usr/bin/env bash
# run.sh SECONDS [TARGET...]: as cow-ops/fuzz/run.sh, with the targets of this folder.
here=$(cd "$(dirname "$0")" && pwd)
FUZZ_DIR=$here exec "$here/../../cow-ops/fuzz/run.sh" "$@"
