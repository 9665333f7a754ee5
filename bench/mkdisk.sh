#!/bin/bash
# mkdisk.sh IMAGE SEQIO BENCH.SH: the disk that `bench disk` boots: this machine's bash, coreutils, tar and git, a tar of 20,000 small files, and the
# work as /bench.sh, which is init.
set -eu
image=$1
t=$(mktemp -d); trap 'rm -rf "$t"' EXIT
mkdir -p "$t"/{bin,dev,etc,proc,root,sys,tmp,usr/share}
for name in bash cat date git mkdir mount rm sleep sync tar; do
    program=$(command -v "$name")
    cp -L "$program" "$t/bin/$name"
    { ldd "$program" 2>/dev/null || true; } | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$t/$(dirname "$library")"; cp -Ln "$library" "$t/$library"
    done
done
ln -s bash "$t/bin/sh"
cp "$2" "$t/bin/seqio"; cp "$3" "$t/bench.sh"; chmod 755 "$t/bench.sh"
echo 'root:x:0:0:root:/root:/bin/bash' > "$t/etc/passwd"
s=$t/tmp/src; mkdir -p "$s"
for i in $(seq 0 199); do mkdir -p "$s/t/d$i"; done
for i in $(seq 20000); do printf '%*s\n' $((i % 7 * 900 + 100)) "$i" > "$s/t/d$((i % 200))/f$i"; done
tar -C "$s" -cf "$t/files.tar" t
rm -rf "$s"
rm -f "$image.new"
mke2fs -q -t ext4 -b 4096 -E root_owner=0:0 -d "$t" "$image.new" 2G
mv "$image.new" "$image"
