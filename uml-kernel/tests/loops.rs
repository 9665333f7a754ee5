//! Loop devices: by the host's own losetup, mount, mkfs.ext4, e2fsck and sfdisk, on a disk of the guest's whose root is ext4. So what is
//! mounted from a loop device is an ext in an ext.

#![allow(clippy::expect_used)]

mod image;
mod session;

use image::text;
use session::Disk;
use std::process::{Command, Stdio};
use std::time::Duration;

const PROGRAMS: &[&str] = &[
    "bash",
    "cat",
    "cp",
    "dd",
    "e2fsck",
    "grep",
    "head",
    "ls",
    "losetup",
    "mkdir",
    "mkfs.ext4",
    "mount",
    "rm",
    "sfdisk",
    "sha256sum",
    "sleep",
    "stat",
    "sync",
    "truncate",
    "umount",
];

fn disk() -> Disk {
    let disk = Disk::new(PROGRAMS, &["-t", "ext4"]);
    // What reads its own mount table.
    std::os::unix::fs::symlink("/proc/self/mounts", disk.path("tree/etc/mtab")).expect("a link");
    disk
}

const MOUNTED: &str = "
set -e
exec 2>&1
truncate -s 24M /root/image
mkfs.ext4 -q /root/image
mount -o loop /root/image /mnt
losetup -n -O NAME,SIZELIMIT,OFFSET,AUTOCLEAR,RO,BACK-FILE
grep loop /proc/partitions /proc/mounts
cd /mnt
for n in 1 2 3 4 5 6 7 8 9; do mkdir d$n; cp /bin/bash d$n/bash; done
head -c 100000 /bin/bash > part; sync
sha256sum < part
rm -r d3 d4
cd /
losetup -d /dev/loop0; losetup -n -O NAME
umount /mnt
losetup -n -O NAME
e2fsck -fn /root/image > /root/checked; echo $?
mount -o loop,ro /root/image /mnt
ls /mnt
head -c 100000 /bin/bash | sha256sum; sha256sum < /mnt/part
(echo x > /mnt/no) || true
losetup -n -O NAME,RO
umount /mnt
";

#[test]
fn mounted_and_let_go() {
    let disk = disk();
    let said = disk.run("s.cow,base.img", MOUNTED);
    let lines: Vec<&str> = said.lines().collect();
    let squeezed = |n: usize| lines[n].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeezed(0), "/dev/loop0 0 0 1 0 /root/image", "{said}");
    assert_eq!(squeezed(1), "/proc/partitions: 7 0 24576 loop0", "{said}");
    assert!(lines[2].starts_with("/proc/mounts:/dev/loop0 /mnt ext4 rw"), "{said}");
    assert_eq!(lines[4], "/dev/loop0", "it ends with the unmount: {said}");
    assert_eq!(lines[6], "0", "e2fsck: {said}");
    assert_eq!(&lines[7..16], &["d1", "d2", "d5", "d6", "d7", "d8", "d9", "lost+found", "part"], "{said}");
    assert!(lines[3] == lines[16] && lines[16] == lines[17], "{said}");
    assert!(lines[18].contains("Read-only file system"), "{said}");
    assert_eq!(squeezed(19), "/dev/loop0 1", "{said}");
    let image = disk.flat("s.cow", "flat.img");
    image::debugfs(&image, &format!("dump /root/image {}", disk.path("inner.img").display()));
    let inner = disk.path("inner.img");
    let checked = image::output("e2fsck", &["-fn", inner.to_str().expect("a path")]);
    assert!(checked.status.success(), "{}", text(&checked.stdout));
    assert!(image::debugfs(&inner, "stat /d9/bash").contains("Type: regular"));
}

const DIVIDED: &str = r"
set -e
exec 2>&1
truncate -s 40M /tmp/image
printf '1M,8M\n9M,16M\n,\n' | sfdisk -q /tmp/image
losetup -P -f --show /tmp/image
cat /proc/partitions | grep loop
ls /sys/block/loop0 | grep loop0p
mkfs.ext4 -q -F /dev/loop0p2
mount -t ext4 /dev/loop0p2 /mnt
cp /bin/bash /mnt/bash
(losetup -o 9M --sizelimit 16M -f --show /tmp/image)
(sfdisk -q --delete /dev/loop0 3) || echo busy
umount /mnt
e2fsck -fn /dev/loop1 > /tmp/checked; echo $?
losetup -d /dev/loop1
sfdisk -q --delete /dev/loop0 2
cat /proc/partitions | grep loop
# Devices on devices, and on a disk.
losetup /dev/loop4 /dev/loop0p1; losetup /dev/loop5 /dev/loop4
(losetup /dev/loop4 /dev/loop5) || echo refused
mkfs.ext4 -q -F /dev/loop5; mount -t ext4 /dev/loop5 /mnt; echo deep > /mnt/file
truncate -s 4M /mnt/image; mkfs.ext4 -q /mnt/image; mkdir /tmp/m; mount -o loop /mnt/image /tmp/m; echo deeper > /tmp/m/file; sync
umount /tmp/m; umount /mnt
losetup -d /dev/loop4; losetup -d /dev/loop5; losetup -D
losetup -n -O NAME
mount -o loop,offset=1M,sizelimit=8M /tmp/image /mnt; cat /mnt/file; umount /mnt
losetup /dev/loop20 /tmp/image; ls -l /dev/loop20 /dev/loop-control
";

#[test]
fn partitions_and_devices_on_devices() {
    let disk = disk();
    let said = disk.run("s.cow,base.img", DIVIDED);
    let squeezed: Vec<String> =
        said.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let lines: Vec<&str> = squeezed.iter().map(String::as_str).collect();
    assert_eq!(lines[0], "/dev/loop0", "{said}");
    assert_eq!(
        &lines[1..5],
        &["7 0 40960 loop0", "259 0 8192 loop0p1", "259 1 16384 loop0p2", "259 2 15360 loop0p3"],
        "{said}"
    );
    assert_eq!(&lines[5..9], &["loop0p1", "loop0p2", "loop0p3", "/dev/loop1"], "{said}");
    assert!(lines[9].ends_with("Device or resource busy"), "{said}");
    assert_eq!(&lines[11..14], &["0", "7 0 40960 loop0", "259 0 8192 loop0p1"], "{said}");
    assert!(lines[14].ends_with("busy") && lines[15..17] == ["refused", "deep"], "{said}");
    assert!(lines[17].starts_with("crw-------") && lines[17].contains(" 10, 237 "), "{said}");
    assert!(lines[18].starts_with("brw-rw----") && lines[18].contains(" 7, 20 "), "{said}");
}

/// Killed while it writes through a loop device: what was synced above is there, and nothing is damaged, above or below.
#[test]
fn what_was_synced_through_it_survives_a_kill() {
    let disk = disk();
    disk.run("base.cow,base.img", "truncate -s 20M /root/image && mkfs.ext4 -q /root/image");
    image::flatten(&disk.path("base.cow"), &disk.path("with.img"));
    let script = "mount -o loop /root/image /mnt; n=0; while :; do n=$((n+1)); head -c $((n * 37 % 5000)) /bin/bash > /mnt/f$n;
        rm -f /mnt/f$((n-20)); sync /mnt/f$n /mnt; echo $n; echo $n > /root/other$((n % 5)); done";
    let mut synced = 0;
    for round in 0..5 {
        let cow = format!("k{round}.cow");
        let mut kernel = disk.kernel(&format!("{cow},with.img"), script);
        let mut child = kernel.stdout(Stdio::piped()).spawn().expect("it runs");
        let out = child.stdout.take().expect("its output");
        let reader = std::thread::spawn(move || {
            use std::io::BufRead as _;
            let lines = std::io::BufReader::new(out).lines().map_while(Result::ok);
            lines.filter_map(|l| l.parse::<u32>().ok()).last()
        });
        std::thread::sleep(Duration::from_millis(1100 + 170 * round));
        child.kill().expect("it is killed");
        child.wait().expect("its end");
        let last = reader.join().expect("lines").unwrap_or(0);
        synced += last;
        // Twice: the first mount recovers it.
        let look = "mount -o loop /root/image /mnt && cd /mnt && for f in f*; do stat -c '%n %s' $f; done; cd /; umount /mnt;
            e2fsck -fn /root/image > /tmp/checked 2>&1 || cat /tmp/checked";
        let said = disk.run(&cow, look);
        for n in last.saturating_sub(18).max(1)..=last {
            let line = format!("f{n} {}\n", n * 37 % 5000);
            assert!(said.contains(&line), "round {round}: file {n} of {last} is missing:\n{said}");
        }
        assert!(!said.contains("e2fsck") && !said.contains("WARNING"), "{said}");
        std::fs::remove_file(disk.flat(&cow, "k.img")).expect("it goes");
    }
    println!("{synced} files synced, none lost");
    assert!(synced > 0);
}

/// The guest's end unmounts what is on a loop device before what is below it.
#[test]
fn the_end_of_the_guest_unmounts_from_above() {
    let disk = disk();
    let script = "truncate -s 8M /root/image; mkfs.ext4 -q /root/image; mount -o loop /root/image /mnt; echo kept > /mnt/file";
    disk.run("s.cow,base.img", script);
    let image = disk.flat("s.cow", "flat.img");
    let inner = disk.path("inner.img");
    image::debugfs(&image, &format!("dump /root/image {}", inner.display()));
    let checked = image::output("e2fsck", &["-fn", inner.to_str().expect("a path")]);
    assert!(
        checked.status.success() && !text(&checked.stderr).contains("WARNING"),
        "{}",
        text(&checked.stdout)
    );
    assert_eq!(image::debugfs(&inner, "cat /file"), "kept\n");
}

/// Errors, flags, sysfs: the host's loop devices give the same answers.
#[test]
fn answers_are_those_of_the_host() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/loop_ioctls.py");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("file");
    std::fs::write(&path, vec![0; 4 << 20]).expect("a file");
    let path = path.to_str().expect("a path");
    let script = format!("head -c 4M /dev/zero > {path}; python3 {script} {path}");
    // In the host's directory, so that the path is the same; what is written there stays in memory.
    let guest =
        Command::new(env!("CARGO_BIN_EXE_uml-kernel")).args(["run", "--", "sh", "-c", &script]).output();
    let guest = guest.expect("it runs");
    assert!(guest.status.success(), "{}{}", text(&guest.stdout), text(&guest.stderr));
    let said = text(&guest.stdout);
    assert!(said.contains("\nset ok\nset again EBUSY\n") && said.ends_with("clear ok\n"), "{said}");
    if !image::output("losetup", &["-f"]).status.success() {
        eprintln!("SKIPPED: the comparison with the host: no loop devices here");
        return;
    }
    let host = image::output("sh", &["-c", &script]);
    if !host.status.success() {
        eprintln!("SKIPPED: the comparison with the host: {}", text(&host.stderr));
        return;
    }
    assert_eq!(said, text(&host.stdout));
}
