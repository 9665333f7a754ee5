#!/bin/bash
# The work of `bench disk`, as init of a guest or in a chroot on a loop mount. `job` (the kernel's command line gives it to init's environment) says
# which; results are lines "NAME NUMBER".
export PATH=/bin HOME=/root
[ -e /proc/uptime ] || mount -t proc proc /proc
mount -o remount,rw / 2>/dev/null
cd /root || exit 9
cold() { sync; echo 3 > /proc/sys/vm/drop_caches; } 2>/dev/null
T() { local s e; s=$(date +%s%N); "${@:2}" >/dev/null 2>/root/err || echo "failed: $1: $(head -c 200 /root/err 2>/dev/null)"; e=$(date +%s%N); echo "$1 $(((e - s) / 1000000))"; }
io() { local out; out=$(seqio "$2" f "$3" "$4" $5 2>&1); set -- "$1" $out; echo "$1 $4"; }
case $job in
    io)
        io write write 512 1024
        cold
        io read read 512 1024
        io randwrite randwrite 64 4 direct
        io randread randread 64 4 direct
        rm f ;;
    files)
        T untar tar xf /files.tar
        export GIT_CONFIG_NOSYSTEM=1
        { git init -q t && git -C t add .; } >/dev/null 2>&1 || echo "failed: git add"
        T status git -C t status
        cold
        T status-cold git -C t status
        T rm rm -r t
        cold
        T untar-cold tar xf /files.tar
        cold
        T rm-cold rm -r t ;;
    cpu)
        echo "ready 1"
        read -r _
        i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done
        echo "done 1" ;;
esac
[ $$ = 1 ] || exit 0
sync
mount -o remount,ro / 2>/dev/null
echo o > /proc/sysrq-trigger
sleep 10
