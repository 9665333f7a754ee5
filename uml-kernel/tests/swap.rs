//! Swap: util-linux's mkswap and swapon on disks, and programs that need more memory than `mem=` gives (`swap_load.c`).

#![allow(clippy::expect_used)]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

const PAGE: u64 = 4096;

fn output(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A directory with the program, as `load`, and a swap area, `swap.img`. The guest's root is the host's: the host's own tools run.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("a directory"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/swap_load.c");
        let load = place.path("load");
        let made = Command::new("cc").args(["-O1", "-pthread", source, "-o"]).arg(load).output();
        let made = made.expect("there is a C compiler");
        assert!(made.status.success(), "{}", text(&made.stderr));
        place.area("swap.img", 256 << 20);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file with a swap area in it.
    fn area(&self, name: &str, len: u64) {
        let path = self.path(name);
        File::create(&path).expect("a file").set_len(len).expect("its length");
        let made = output("mkswap", &[path.to_str().expect("a path")]);
        assert!(made.status.success(), "{}", text(&made.stderr));
    }

    /// A guest of 64 MB with these disks, in which `load` is the program.
    fn guest(&self, words: &[&str], script: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uml-kernel"));
        command.current_dir(self.0.path()).args(["run", "--log", "mem=64M"]).args(words);
        command.args(["--", "bash", "-c", script]);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.0.path().display()));
        command.env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str], script: &str) -> (String, String) {
        let Output { stdout, stderr, .. } = self.guest(words, script).output().expect("it runs");
        (text(&stdout), text(&stderr))
    }
}

/// A script that calls swapon past util-linux, which looks at headers and for holes itself: result and errno.
fn call(path: &str) -> String {
    format!(
        "python3 -c 'import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.swapon(b\"{path}\", 0), ctypes.get_errno())'"
    )
}

/// Ends with the test.
struct Running(Child, BufReader<ChildStdout>);

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let out = BufReader::new(child.stdout.take().expect("its output"));
        Running(child, out)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    fn tell(&mut self) {
        self.0.stdin.as_mut().expect("its input").write_all(b"\n").expect("it reads");
    }

    /// What else it says, and what the kernel has logged.
    fn end(mut self) -> (String, String) {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.1, &mut rest).expect("text");
        let child = std::mem::replace(&mut self.0, Command::new("true").spawn().expect("it runs"));
        (rest, text(&child.wait_with_output().expect("its end").stderr))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const ALL: &str = "filled\nforked\ncalls\nthreads\nlocked\nmoved\nchanged\ndone\n";

#[test]
fn a_program_has_more_memory_than_there_is() {
    let place = Place::new();
    let script = "swapon /dev/ubdb && load all 150 && cat /proc/swaps && swapoff /dev/ubdb && cat /proc/swaps && free -k";
    for cpus in ["ncpus=1", "ncpus=2"] {
        let (out, log) = place.run(&[cpus, "ubd1=swap.img"], script);
        let rest = out.strip_prefix(ALL).unwrap_or_else(|| panic!("{cpus}: {out}\n{log}"));
        assert!(rest.contains("/dev/ubdb                               partition\t262140\t\t"), "{rest}");
        assert_eq!(rest.matches("Filename").count(), 2, "{rest}");
        assert!(rest.contains("Mem:           65536") && rest.contains("Swap:              0"), "{rest}");
        assert!(!log.contains("Out of memory") && log.contains("Adding 262140k swap on /dev/ubdb"), "{log}");
    }
    let (out, log) = place.run(&["ubd1=swap.img"], "load all 150; echo status $?");
    assert_eq!(out, "status 137\n");
    assert!(log.contains("Out of memory: Killed process"), "{log}");
}

#[test]
fn programs_that_crowd_each_other_out_keep_what_they_have() {
    let place = Place::new();
    let script = "swapon /dev/ubdb
        for n in 1 2; do load all 55 > /tmp/$n; done & for n in 3 4; do load all 55 > /tmp/$n; done; wait
        cat /tmp/1 /tmp/2 /tmp/3 /tmp/4";
    let (out, log) = place.run(&["ncpus=2", "ubd1=swap.img"], script);
    assert_eq!(out, ALL.repeat(4), "{log}");
}

#[test]
fn two_areas_are_filled_by_priority_and_emptied_one_by_one() {
    let place = Place::new();
    place.area("small.img", 30 << 20);
    place.area("tiny.img", 2 << 20);
    let script = "swapon -p 3 /dev/ubdb; swapon -p 10 /dev/ubdc; swapon /dev/ubdd; swapon --show=NAME,PRIO --noheadings
        mkfifo /tmp/in; exec 3<> /tmp/in; exec 4<> <(:)
        load hold 110 < /tmp/in > /tmp/out & while ! grep -q holding /tmp/out; do sleep 0.05; done
        used() { while read name type size used priority; do [ $name = $1 ] && echo $used; done < /proc/swaps; }
        kb() { awk \"/$1/ {n += \\$2} END {print n}\" $2; }
        echo full $(( $(used /dev/ubdc) * 10 / 30716 )) $(used /dev/ubdd)
        for try in 1 2 3 4 5 6 7 8 9; do out=$(kb VmSwap: /proc/$!/status); [ $(kb ^Swap: /proc/$!/smaps) = $out ] && break; done
        [ $try -lt 9 ] && [ $out -gt 30000 ] && echo told
        [ $(( $(kb SwapTotal: /proc/meminfo) - $(kb SwapFree: /proc/meminfo) )) -ge $out ] && echo summed
        swapoff /dev/ubdc && echo off; used /dev/ubdc
        swapoff /dev/ubdb; echo status $?; [ $(used /dev/ubdb) -gt 0 ] && echo there
        echo > /tmp/in; wait; cat /tmp/out
        swapoff -a; echo status $?; cat /proc/swaps; free -k";
    let (out, log) = place.run(&["ncpus=2", "ubd1=swap.img", "ubd2=small.img", "ubd3=tiny.img"], script);
    let begins = "/dev/ubdc   10\n/dev/ubdb    3\n/dev/ubdd   -2\nfull 9 0\ntold\nsummed\noff\nstatus 2\nthere\nholding swapped\nverified swapped\ndone\nstatus 0\nFilename";
    assert!(out.starts_with(begins) && out.contains("Swap:              0"), "{out}\n{log}");
    assert!(log.contains("swapoff failed: Cannot allocate memory"), "{log}");
}

#[test]
fn calls_are_refused_as_on_linux() {
    let place = Place::new();
    let ext = place.path("ext.img");
    File::create(&ext).expect("a file").set_len(8 << 20).expect("its length");
    assert!(output("mkfs.ext4", &["-qF", ext.to_str().expect("a path")]).status.success());
    let script = "mkdir /tmp/m; mount /dev/ubdc /tmp/m; load errors; umount /tmp/m
        mkswap /dev/ubdb 2>&1 | grep -o 'will not.*'
        mount /dev/ubdb /tmp/m 2> /dev/null || echo not mounted
        swapoff /dev/ubdb; swapon /dev/ubde 2>&1 | grep -o Permission.*
        swapon -L name; swapon --show=NAME --noheadings";
    let named = place.path("named.img");
    File::create(&named).expect("a file").set_len(1 << 20).expect("its length");
    assert!(output("mkswap", &["-L", "name", named.to_str().expect("a path")]).status.success());
    place.area("fixed.img", 1 << 20);
    let disks = ["ubd1=swap.img", "ubd2=ext.img", "ubd3=named.img", "ubd4r=fixed.img"];
    let (out, log) = place.run(&disks, script);
    let expected = "flags: EINVAL\nmissing: ENOENT\ndirectory: EINVAL\ncharacter: EINVAL\nnull: EFAULT\nnot on: EINVAL\non: 0\n\
        twice: EBUSY\nalone: EBUSY\nmounted: EBUSY\nuser on: EPERM\nuser off: EPERM\nuser flags: EINVAL\n\
        will not make swapspace\nnot mounted\nPermission denied\n/dev/ubdd\n";
    assert_eq!(out, expected, "{log}");
}

#[test]
fn damaged_headers_are_refused_with_a_line() {
    let place = Place::new();
    place.area("bad.img", 1 << 20);
    let whole = std::fs::read(place.path("bad.img")).expect("it is read");
    let damages: [(u64, &[u8], &str); 6] = [
        (PAGE - 10, b"SWAPSPACE3", "no swap signature"),
        (1024, &[9], "swap header version 9 is not known"),
        (1028, &[0; 4], "the swap area is empty"),
        (1028, &[0xff; 4], "the swap area is longer than the device"),
        (1032, &[0xff; 4], "the list of bad pages is damaged"),
        (1032, &[1], "the list of bad pages is damaged"),
    ];
    for (at, bytes, why) in damages {
        std::fs::write(place.path("bad.img"), &whole).expect("it is written");
        let file = File::options().write(true).open(place.path("bad.img")).expect("it");
        file.write_all_at(bytes, at).expect("it is written");
        let call = format!("{}; cat /proc/swaps", call("/dev/ubdb"));
        let (out, log) = place.run(&["ubd1=bad.img"], &call);
        assert_eq!(out.lines().next(), Some("-1 22"), "{why}: {out}{log}");
        assert_eq!(out.lines().count(), 2, "{out}");
        assert!(log.contains(&format!("swapon: /dev/ubdb: {why}")), "{why}: {log}");
    }
}

/// The guest's own end of what the host does: `bad_luck.rs` has the file systems.
#[test]
fn what_cannot_be_read_back_is_sigbus_and_efault() {
    let place = Place::new();
    let mut guest = Running::start(place.guest(&["ubd1=swap.img"], "swapon /dev/ubdb; exec load bus 100"));
    assert_eq!(guest.line(), "holding");
    File::options().write(true).open(place.path("swap.img")).expect("it").set_len(8192).expect("it is cut");
    guest.tell();
    let (out, log) = guest.end();
    assert_eq!(out, "Bad address\nSIGBUS\n", "{log}");
    assert!(log.contains("swap: read error on /dev/ubdb at page"), "{log}");
    assert!(log.contains("cannot read from disk ubdb (\"swap.img\")"), "{log}");
}

/// Unmounted whatever becomes of the test.
struct Tmpfs(PathBuf);

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_device_that_takes_no_more_is_left_alone() {
    let place = Place::new();
    let full = Tmpfs(place.path("full"));
    std::fs::create_dir(&full.0).expect("a directory");
    let at = full.0.to_str().expect("a path");
    if !output("mount", &["-t", "tmpfs", "-o", "size=16m", "none", at]).status.success() {
        return println!("SKIPPED: a tmpfs cannot be mounted here");
    }
    place.area("full/swap.img", 256 << 20);
    // What had gone out before is there; what does not fit anywhere is the OOM killer's.
    let script = "swapon /dev/ubdb; mkfifo /tmp/in; exec 3<> /tmp/in
        load hold 55 < /tmp/in > /tmp/out & while ! grep -q holding /tmp/out; do sleep 0.05; done
        echo -900 > /proc/$!/oom_score_adj
        load hold 150; echo status $?; echo > /tmp/in; wait; cat /tmp/out";
    let (out, log) = place.run(&["ubd1=full/swap.img"], script);
    assert!(out.starts_with("status 137\nholding ") && out.ends_with("\ndone\n"), "{out}\n{log}");
    assert_eq!(
        (out.matches("verified").count(), log.matches("Out of memory").count()),
        (1, 1),
        "{out}\n{log}"
    );
    assert!(log.contains("nothing more goes there") && log.contains("make room there"), "{log}");
}

#[test]
fn a_loop_device_over_a_file_in_ext4_and_a_file_in_it() {
    let place = Place::new();
    let ext = place.path("ext.img");
    let check = || {
        let checked = output("e2fsck", &["-fn", ext.to_str().expect("a path")]);
        assert!(checked.status.success(), "{}", text(&checked.stdout));
    };
    File::create(&ext).expect("a file").set_len(300 << 20).expect("its length");
    assert!(output("mkfs.ext4", &["-qF", ext.to_str().expect("a path")]).status.success());
    let begin = "mkdir /tmp/m; mount /dev/ubdb /tmp/m; cd /tmp/m; ";
    let script = format!(
        "{begin} dd if=/dev/zero of=s bs=1M count=200 2> /dev/null; chmod 600 s; cd /
        losetup /dev/loop0 /tmp/m/s; mkswap /dev/loop0 > /dev/null; swapon /dev/loop0; load all 80
        losetup -d /dev/loop0; swapoff /dev/loop0; losetup -a; umount /tmp/m && echo unmounted"
    );
    let (out, log) = place.run(&["ncpus=2", "ubd1=ext.img"], &script);
    assert_eq!(out, format!("{ALL}unmounted\n"), "{log}");
    check();
    // With a mount in use, which is unmounted none the less when the guest ends, with memory in it.
    let script = format!(
        "{begin} mkswap s > /dev/null; truncate -s 1M holes; mkswap holes > /dev/null 2>&1; chmod 600 holes
        swapon s; {}; swapon s 2>&1 | grep -o busy; load all 80
        mkfifo /tmp/in; exec 3<> /tmp/in; load hold 100 < /tmp/in > /tmp/out & while ! grep holding /tmp/out; do sleep 0.05; done
        cd /; umount /tmp/m 2>&1 | grep -o busy; cat /proc/swaps",
        call("holes")
    );
    let (out, log) = place.run(&["ncpus=2", "ubd1=ext.img"], &script);
    let rest = out
        .strip_prefix("-1 22\nbusy\n")
        .and_then(|o| o.strip_prefix(ALL))
        .unwrap_or_else(|| panic!("{out}\n{log}"));
    assert!(rest.starts_with("holding swapped\nbusy\nFilename"), "{rest}\n{log}");
    assert!(rest.contains("/tmp/m/s                                file\t\t204796\t\t"), "{rest}");
    assert!(log.contains("swapon: /tmp/m/holes: it has holes"), "{log}");
    check();
}
