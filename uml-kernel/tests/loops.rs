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
    assert_eq!(&lines[6..14], &["d1", "d2", "d5", "d6", "d7", "d8", "d9", "lost+found"], "{said}");
    assert!(lines[3] == lines[15] && lines[15] == lines[16], "{said}");
    assert!(lines[17].contains("Read-only file system"), "{said}");
    assert_eq!(squeezed(18), "/dev/loop0 1", "{said}");
    let image = disk.flat("s.cow", "flat.img");
    image::debugfs(&image, &format!("dump /root/image {}", disk.path("inner.img").display()));
    let inner = disk.path("inner.img");
    let checked = image::output("e2fsck", &["-fn", inner.to_str().expect("a path")]);
    assert!(checked.status.success(), "{}", text(&checked.stdout));
    assert!(image::debugfs(&inner, "stat /d9/bash").contains("Type: regular"));
}
