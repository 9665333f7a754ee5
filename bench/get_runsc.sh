#!/bin/bash
# get_runsc.sh DIR: unpacks the newest gVisor that Debian has (sid's runsc) into DIR/runsc, without touching what is installed
# (Debian 12's knows no systrap). A static program. Needs apt.
set -eu
dir=$(mkdir -p "$1" && cd "$1" && pwd); a=$dir/apt; mkdir -p "$a/lists/partial" "$a/cache/archives/partial"
uri=$(grep -rhoE '(https?|mirror)[^ ]*/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | head -n 1 | tr -d ' ')
echo "deb $uri sid main" > "$a/sources.list"
opt=(-o Dir::State::Lists="$a/lists" -o Dir::Etc::SourceList="$a/sources.list" -o Dir::Etc::SourceParts=/nonexistent -o Dir::Cache="$a/cache")
apt-get "${opt[@]}" update -q >"$a/log" 2>&1 || { tail -n 3 "$a/log"; exit 1; }
(cd "$a" && apt-get "${opt[@]}" download runsc >>log 2>&1 && dpkg -x runsc_*.deb root)
cp "$a/root/usr/bin/runsc" "$dir/runsc"
echo "$dir/runsc is $("$dir/runsc" --version | head -n 1)"
