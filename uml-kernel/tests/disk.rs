//! A guest whose root is on a disk: a COW file over an image that `mke2fs -d` made. A session changes it, the guest ends; e2fsck finds
//! nothing, and a second guest sees what the first has done. When the kernel is killed in the middle, what was synced is there.

#![allow(clippy::expect_used)]

mod image;
mod session;

use image::{output, text};
use session::Disk;
use std::process::Stdio;
use std::time::Duration;

/// Programs of the host's that the image gets, with their libraries.
const PROGRAMS: &[&str] = &[
    "bash",
    "cat",
    "cp",
    "df",
    "dd",
    "head",
    "ls",
    "ln",
    "mkdir",
    "mv",
    "rm",
    "sha256sum",
    "sleep",
    "stat",
    "sync",
    "mount",
    "umount",
];

const SESSION: &str = "
set -e
mkdir /root/dir /root/gone
for n in 1 2 3 4 5 6 7 8 9; do echo line $n > /root/dir/file$n; done
cp /bin/cat /root/cat2; /root/cat2 /root/dir/file3
ln -s dir/file4 /root/link; ln /root/dir/file5 /root/hard
head -c 700000 /bin/bash > /root/part; sha256sum < /root/part
mv /root/dir/file1 /root/moved; rm /root/dir/file2; rm -r /root/gone
dd if=/bin/bash of=/root/part bs=1000 seek=300 count=7 conv=notrunc status=none
exec 5> /root/open; echo more >&5; rm /root/open; echo and more >&5
cat /root/link /root/hard /root/moved; ls /root /root/dir; sha256sum < /root/part
";

#[test]
fn a_session_on_a_cow_disk() {
    for shape in [&["-t", "ext4"][..], &["-t", "ext4", "-b", "4096"], &["-t", "ext3"], &["-t", "ext2"]] {
        let disk = Disk::new(PROGRAMS, shape);
        let base = std::fs::read(disk.path("base.img")).expect("the base");
        let said = disk.run("s.cow,base.img", SESSION);
        assert!(said.starts_with("line 3\n") && said.contains("line 4\nline 5\nline 1\n"), "{said}");
        assert!(base == std::fs::read(disk.path("base.img")).expect("the base"), "the base has changed");
        // The host's ext reads what was said.
        let image = disk.flat("s.cow", "flat.img");
        let debugfs = |request: &str| image::debugfs(&image, request);
        assert_eq!(debugfs("cat /root/moved"), "line 1\n");
        assert_eq!(
            debugfs("cat /root/cat2").len(),
            text(&std::fs::read(disk.path("tree/bin/cat")).expect("it")).len()
        );
        let again = "cat /root/link /root/hard /root/moved; ls /root /root/dir; sha256sum < /root/part";
        let second = disk.run("s.cow", again);
        assert!(said.ends_with(&second), "{said}\n{second}");
        // The image itself, without a COW file.
        assert_eq!(disk.run("flat.img", again), second);
    }
}

#[test]
fn a_second_disk_is_mounted() {
    let disk = Disk::new(PROGRAMS, &["-t", "ext4"]);
    let other = disk.path("other.img");
    let made = output("mke2fs", &["-q", "-F", "-t", "ext4", other.to_str().expect("a path"), "20M"]);
    assert!(made.status.success());
    let script = "mount -t ext4 /dev/ubdb /mnt && echo x > /mnt/file && ls /mnt && umount /mnt && ls /mnt && ls -l /dev/ubda";
    let said = disk.run("s.cow,base.img ubd1=other.img", script);
    assert!(said.starts_with("file\nlost+found\nbrw-rw----") && said.contains("98, 0"), "{said}");
    let checked = output("e2fsck", &["-fn", other.to_str().expect("a path")]);
    assert!(checked.status.success(), "{}", text(&checked.stdout));
    assert_eq!(text(&output("debugfs", &["-R", "cat /file", other.to_str().expect("a path")]).stdout), "x\n");
}

#[test]
fn what_was_synced_survives_a_kill() {
    let disk = Disk::new(PROGRAMS, &["-t", "ext4"]);
    // Every other file is durable by fsync, the rest because each write of it is (O_DSYNC).
    let script = r#"n=0; while :; do n=$((n+1)); size=$((n * 37 % 5000))
        rm -f /root/f$((n-20))
        if [ $((n % 2)) = 0 ]; then head -c $size /bin/bash > /root/f$n; sync /root/f$n
        else dd if=/bin/bash of=/root/f$n bs=$size count=1 oflag=dsync status=none; fi
        sync /root; echo $n; done"#;
    let mut synced = 0u32;
    for round in 0..8 {
        let cow = format!("k{round}.cow");
        let mut child =
            disk.kernel(&format!("{cow},base.img"), script).stdout(Stdio::piped()).spawn().expect("it runs");
        let out = child.stdout.take().expect("its output");
        let reader = std::thread::spawn(move || {
            use std::io::BufRead as _;
            std::io::BufReader::new(out)
                .lines()
                .map_while(Result::ok)
                .filter_map(|l| l.parse::<u32>().ok())
                .last()
        });
        std::thread::sleep(Duration::from_millis(700 + 130 * round));
        child.kill().expect("it is killed");
        child.wait().expect("its end");
        let last = reader.join().expect("lines").unwrap_or(0);
        synced += last;
        let said = disk.run(&cow, "cd /root; for f in f*; do stat -c '%n %s' $f; done");
        let size = |n: u32| format!("f{n} {}\n", n * 37 % 5000);
        for n in last.saturating_sub(18).max(1)..=last {
            assert!(said.contains(&size(n)), "round {round}: file {n} of {last} is missing:\n{said}");
        }
        disk.flat(&cow, &format!("k{round}.img"));
        std::fs::remove_file(disk.path(&format!("k{round}.img"))).expect("it goes");
    }
    println!("{synced} files synced, none lost");
    assert!(synced > 0);
}

#[test]
fn a_change_is_committed_after_some_seconds() {
    let disk = Disk::new(PROGRAMS, &["-t", "ext4"]);
    let script = "echo soon > /root/soon; sleep 10; echo late > /root/late; echo go; sleep 60";
    let mut child = disk.kernel("s.cow,base.img", script).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().expect("its output"));
    std::io::BufRead::read_line(&mut out, &mut line).expect("a line");
    assert_eq!(line, "go\n");
    child.kill().expect("it is killed");
    child.wait().expect("its end");
    let said = disk.run("s.cow", "cat /root/soon; ls /root");
    assert!(said.starts_with("soon\nsoon\n"), "{said}");
}

/// A file that is mapped lies in memory, which counts: `mem=` holds for what comes from a disk, too.
#[test]
fn mapped_files_count_as_memory() {
    let disk = Disk::new(PROGRAMS, &["-t", "ext4"]);
    // Each program that runs is mapped whole.
    let script =
        "for n in 1 2 3 4 5 6 7 8 9; do cp /bin/bash /root/b$n; head -c 12000000 /dev/zero >> /root/b$n; done
        for n in 1 2 3 4 5 6 7 8 9; do /root/b$n -c 'sleep 2' & done; sleep 1; cat /proc/meminfo";
    let said = disk.run("s.cow,base.img", script);
    let free = said.lines().find_map(|l| l.strip_prefix("MemFree:")).expect("a line");
    let free: u64 = free.trim().trim_end_matches(" kB").parse().expect("a number");
    let all = 2 << 20;
    assert!(free < all - 9 * 12_000, "{free} of {all} KiB are free");
}
