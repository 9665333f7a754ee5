#!/usr/bin/env bash
# debian.sh [DIR]: Debian 12 with sysvinit, made by debootstrap, boots from a COW disk, works, restarts and halts; then the real UMLs, 6.1 and 7.2,
# and ours boot the same disk in turn, each what the others have left, halted or killed. Needs root (debootstrap), the network, and some
# minutes; DIR keeps the image for the next time.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
dir=${1:-$(mktemp -d)}
mkdir -p "$dir" && cd "$dir"
if [ "$(id -u)" != 0 ]; then echo "SKIPPED: debian.sh: debootstrap needs root"; exit 0; fi
"$top/scripts/make-debian.sh" .
sum=$(sha256sum debian.img)
console="$top/tests/console.py"
words="mem=512M ubd0=session.cow,debian.img root=/dev/ubda con0=fd:0,fd:1 con=null quiet"
prompt=':~# '

# The merged image has what all sessions have written, each a line.
has_trail() {
    local lines
    lines=$(debugfs -R 'cat /root/trail' merged.img 2>/dev/null | grep -c .)
    [ "$lines" = "$trail" ] || { echo "the merged image has $lines lines of $trail"; exit 1; }
    echo "merged.img: /root/trail has all $trail lines"
}

# The disk as whoever stopped has left it: clean, and the base as it was.
healthy() {
    rm -f merged.img
    "$top/target/release/uml_moo" session.cow merged.img
    e2fsck -fn merged.img | tail -1
    has_trail
    echo "$sum" | sha256sum -c -
}

# After a kill: the journal is there to be replayed, and when it has been, nothing is left to mend. On a copy: the next boot is to do it itself.
recoverable() {
    rm -f merged.img
    "$top/target/release/uml_moo" session.cow merged.img
    # E2fsck's 1: it has changed something, which is the journal.
    e2fsck -p merged.img || [ $? = 1 ]
    e2fsck -fn merged.img | tail -1
    has_trail
    echo "$sum" | sha256sum -c -
}

# Who boots: NAME; prints its program and the words of its own.
program() {
    case $1 in
        ours) echo "$top/target/release/uml-kernel" ;;
        6.1) echo linux.uml ;;
        7.2) echo "$uml72" ;;
        7.2-seccomp) echo "$uml72 seccomp=on" ;;
    esac
}

# A session: boots NAME, sees what all before it wrote, writes its own, halts.
turn() {
    echo "=== $1 boots what $last left"
    python3 "$console" "$(program "$1") $words" "login: =>root" "$prompt=>cat trail; echo $1 >> trail; hello-uml" \
        "$prompt=>echo lines=\$(grep -c . trail).; service rsyslog status; halt" | tee turn.log
    grep -q "hello from a package" turn.log
    trail=$((trail + 1))
    grep -q "lines=$trail\." turn.log || { echo "$1 does not see the $((trail - 1)) lines before its own"; exit 1; }
    last=$1
    healthy
}

# The same, but killed while it writes: what was synced has to be there for the next.
killed() {
    echo "=== $1 boots what $last left, and is killed"
    python3 "$console" "$(program "$1") $words" "login: =>root" "$prompt=>cat trail; echo $1 killed >> trail; sync; echo synced-\$((6*7))" \
        "synced-42=>cp -r /usr/share/perl5 /var/tmp/\$(date +%s); while :; do echo \$RANDOM > /var/tmp/f\$RANDOM; done & sleep 3; echo now-\$((6*7))" \
        'now-42=>KILL'
    trail=$((trail + 1))
    last="$1, killed"
    recoverable
}

rm -f session.cow
trail=1 last=ours
# cron's line may come only with the next full minute: waits for it, and for logger's.
python3 "$console" "$(program ours) $words" 'login: =>root' \
    "$prompt=>dpkg -i hello.deb && hello-uml" "$prompt=>apt-get install -y --reinstall ./hello.deb" \
    "$prompt=>useradd -m bob && su - bob -c \"id; echo mine > file; ls -l file\"" \
    "$prompt=>ssh-keygen -q -t ed25519 -N '' -f key && cat key.pub" "$prompt=>service cron status; service rsyslog status" \
    "$prompt=>logger -t probe it is \$((6*7)); until grep 'probe: it is 42' /var/log/syslog; do sleep 0.2; done" \
    "$prompt=>until grep 'CRON.*true' /var/log/syslog; do sleep 1; done" \
    "$prompt=>echo one > trail; reboot" 'login: =>root' "$prompt=>cat trail; hello-uml; ls /home/bob" "$prompt=>shutdown -h now"
healthy
"$top/target/release/cowtool" status session.cow | grep -v ' /var/' || true
real=()
if command -v linux.uml >/dev/null; then real+=(6.1); else echo "SKIPPED: the real linux.uml is not installed (user-mode-linux)"; fi
uml72=$top/bench/out/uml72/linux.uml
[ -x "$uml72" ] || "$top/bench/get_uml72.sh" "${uml72%/*}" || true
if [ -x "$uml72" ]; then real+=(7.2 7.2-seccomp); else echo "SKIPPED: UML 7.2 cannot be fetched"; fi
for name in "${real[@]}"; do turn "$name"; done
turn ours
for name in "${real[@]}"; do
    killed ours
    turn "$name"
    killed "$name"
    turn ours
done
# The merged image is a disk by itself.
for name in "${real[@]}"; do
    echo "=== $name boots the merged image"
    python3 "$console" "$(program "$name") mem=512M ubd0=merged.img root=/dev/ubda con0=fd:0,fd:1 con=null quiet" 'login: =>root' \
        "$prompt=>cat trail; hello-uml; echo lines=\$(grep -c . trail).; ls /home/bob; halt" | tee turn.log
    grep -q "lines=$trail\." turn.log && grep -q "hello from a package" turn.log && grep -q '^file' turn.log
    e2fsck -fn merged.img | tail -1
done
echo "debian.sh: all turns done"
