#!/usr/bin/env bash
# mount_kill9.sh [ROUNDS] [COWTOOL]: kills a mount with SIGKILL while sqlite commits in it, so many times (50). Each time the COW file must open, each
# row whose commit sqlite had acknowledged must be there, the database whole, and e2fsck find nothing after recovery. Needs root, sqlite3, e2fsprogs.
set -eu
rounds=${1:-50}
cowtool=$(realpath "${2:-$(dirname "$0")/../target/release/cowtool}")
[ -e /dev/fuse ] || { echo "SKIPPED: mount_kill9: /dev/fuse is not there" >&2; exit 0; }
[ "$(id -u)" = 0 ] || { echo "SKIPPED: mount_kill9: not root" >&2; exit 0; }
dir=$(mktemp -d); cd "$dir"
trap 'umount -l "$dir/mnt" 2>/dev/null || true; rm -rf "$dir"' EXIT
mkdir mnt; truncate -s 64M base; mkfs.ext4 -q -F base
"$cowtool" create cow --base base --no-identify >/dev/null
"$cowtool" mount cow mnt --rw
sqlite3 mnt/db 'pragma journal_mode=wal; create table t(n integer primary key, text)' >/dev/null
"$cowtool" umount mnt
rows=0
for round in $(seq "$rounds"); do
    "$cowtool" mount cow mnt --rw
    server=$(getfattr --only-values -n system.cowtool.daemon mnt | cut -d' ' -f1)
    # Not "delete": there sqlite (unixDelete) takes it for done if it cannot open the directory to sync it, which is so once the server is killed.
    modes=(wal truncate persist); mode=${modes[round % 3]}
    # Each commit is printed once sqlite has acknowledged it; an error of the dead mount ends it.
    (echo "pragma journal_mode=$mode; pragma synchronous=extra;"
     for i in $(seq 1 2000); do n=$((rows + i)); echo "insert into t values($n, hex(randomblob(200))); select 'row $n';"; done) |
        sqlite3 -bail mnt/db > acknowledged 2>/dev/null &
    load=$!
    sleep "0.$((RANDOM % 8 + 1))"
    kill -KILL "$server"
    wait "$load" || true
    # Until it has let its files go: gone, or a zombie.
    while grep -qs '^State:.[^ZX]' "/proc/$server/status"; do sleep 0.02; done
    "$cowtool" umount mnt 2>/dev/null && { echo "round $round: umount says that a killed mount is durable"; exit 1; }
    last=$(grep -a '^row ' acknowledged | tail -n 1 | cut -d' ' -f2); last=${last:-$rows}
    "$cowtool" check cow >/dev/null
    # As it is after the kill: recovered by e2fsck in a merged copy, and then clean.
    rm -f merged; "$cowtool" commit cow --into merged >/dev/null
    e2fsck -fy merged >/dev/null 2>&1 || [ $? = 1 ]
    e2fsck -fn merged >e2fsck.log 2>&1 || { cat e2fsck.log; exit 1; }
    # And recovered by ours.
    "$cowtool" mount cow mnt --rw 2>/dev/null
    [ "$(sqlite3 mnt/db 'pragma integrity_check')" = ok ] || { echo "round $round: the database is damaged"; exit 1; }
    there=$(sqlite3 mnt/db "select count(*) from t where n <= $last")
    [ "$there" = "$last" ] || { echo "round $round ($mode): $last rows were acknowledged, $there are there; the last is $(sqlite3 mnt/db "select max(n) from t")"; exit 1; }
    rows=$(sqlite3 mnt/db 'select max(n) from t'); rows=${rows:-0}
    "$cowtool" umount mnt
done
echo "$rounds kills: $rows rows, none that was acknowledged is lost; e2fsck clean after each"
