//! What keeps a disk mounted, and when it is let go: by the host's own mount, umount, losetup and e2fsck in a guest. Who may unmount what
//! is compared with the host's kernel in `guest-tests mounts`.

#![allow(clippy::expect_used)]

mod image;
mod session;

use image::text;
use session::Disk;

const PROGRAMS: &[&str] = &[
    "bash",
    "cat",
    "cp",
    "e2fsck",
    "grep",
    "losetup",
    "ls",
    "mkdir",
    "mkfs.ext4",
    "mount",
    "rm",
    "sleep",
    "sync",
    "touch",
    "truncate",
    "umount",
];

/// A root, and a second disk with nothing on it.
fn disk() -> Disk {
    let disk = Disk::new(PROGRAMS, &["-t", "ext4"]);
    std::os::unix::fs::symlink("/proc/self/mounts", disk.path("tree/etc/mtab")).expect("a link");
    let made = image::output(
        "mke2fs",
        &["-q", "-t", "ext4", disk.path("other.img").to_str().expect("a path"), "20M"],
    );
    assert!(made.status.success(), "{}", text(&made.stderr));
    disk
}

const DISKS: &str = "s.cow,base.img ubd1=other.img";

fn check(disk: &Disk) {
    for image in [disk.path("other.img"), disk.flat("s.cow", "flat.img")] {
        let checked = image::output("e2fsck", &["-fn", image.to_str().expect("a path")]);
        assert!(checked.status.success(), "{}", text(&checked.stdout));
    }
}

/// Each line is a reason; `busy` says whether umount has refused.
const REASONS: &str = r#"
exec 2>&1
busy() { if umount /mnt; then echo "$1: unmounted"; mount -t ext4 /dev/ubdb /mnt; else echo "$1: kept"; fi; }
mount -t ext4 /dev/ubdb /mnt
cp /bin/sleep /mnt/sleep; mkdir -p /mnt/a/b/c; truncate -s 4M /mnt/image; mkfs.ext4 -q -F /mnt/image
exec 5< /mnt/a; busy file; exec 5<&-; busy closed
cd /mnt/a/b/c; busy directory; cd /
(cd /mnt/a; for n in 1 2 3; do (cd b/c; ls; cat /mnt/none) > /dev/null; done); busy left
/mnt/sleep 60 & busy program; kill $!; wait $!; busy ended
mkdir -p /mnt/below /tmp/m; mount -t tmpfs t /mnt/below; busy below; umount /mnt/below
losetup /dev/loop3 /mnt/image; busy loop; losetup -d /dev/loop3
mount -o loop /mnt/image /tmp/m; busy "mounted loop"; umount /tmp/m
mount --bind /mnt/a /tmp/m; exec 6< /tmp/m/b; busy "bound elsewhere"; umount /tmp/m || exec 6<&-; umount /tmp/m
for n in 1 2 3 4 5 6 7 8 9; do (cd /mnt; /mnt/sleep 0); (cd /mnt; ls -R > /dev/null) & wait $!; umount /mnt || echo "round $n"; mount -t ext4 /dev/ubdb /mnt; done
umount /mnt; e2fsck -fn /dev/ubdb > /tmp/checked 2>&1 || cat /tmp/checked
"#;

#[test]
fn what_is_used_is_kept() {
    let disk = disk();
    let said = disk.run(DISKS, REASONS);
    let verdicts: Vec<&str> =
        said.lines().filter(|l| l.contains(": kept") || l.contains(": unmounted")).collect();
    let expected = [
        "file: kept",
        "closed: unmounted",
        "directory: kept",
        "left: unmounted",
        "program: kept",
        "ended: unmounted",
        "below: kept",
        "loop: kept",
        "mounted loop: kept",
        "bound elsewhere: unmounted",
    ];
    assert_eq!(verdicts, expected, "{said}");
    assert!(!said.contains("round") && !said.contains("e2fsck"), "{said}");
    check(&disk);
}

/// A lazily unmounted disk goes on for those who have it, and is clean and free when they are done.
const LAZY: &str = r#"
exec 2>&1
free() { if ! mkfs.ext4 -n /dev/ubdb > /tmp/made 2>&1; then echo "$1: held"; elif e2fsck -fn /dev/ubdb > /tmp/checked 2>&1; then echo "$1: clean"; else cat /tmp/checked; fi; }
mount -t ext4 /dev/ubdb /mnt; mkdir -p /mnt/deep/er /mnt/t; mount -t tmpfs t /mnt/t
exec 5> /mnt/deep/er/file; echo one >&5; (cd /mnt/deep; ls; ls er; cat none) > /dev/null 2>&1
umount -l /mnt; grep -c /mnt /proc/mounts; ls /mnt; free open
echo two >&5; exec 5>&-
free closed
mount -t ext4 /dev/ubdb /mnt; cat /mnt/deep/er/file
cd /mnt/deep/er; umount -l /mnt; cat file; ls ../../; mount -t ext4 /dev/ubdb /mnt; echo three > file; cat /mnt/deep/er/file; rm /mnt/deep/er/file; ls; echo gone
umount /mnt; free inside; cd /; free left
mount -t ext4 /dev/ubdb /mnt; exec 6> /mnt/unnamed; rm /mnt/unnamed; truncate -s 1M /proc/self/fd/6; umount -l /mnt; exec 6>&-; free unnamed
mount -t ext4 /dev/ubdb /mnt; truncate -s 4M /mnt/image; mkfs.ext4 -q -F /mnt/image; mkdir /tmp/m; mount -o loop /mnt/image /tmp/m
cd /tmp/m; umount -l /mnt; umount -l /tmp/m; touch x; losetup -n -O NAME; cd /; losetup -n -O NAME; free loop
mount -t ext4 /dev/ubdb /mnt; exec 7> /mnt/at-the-end; echo text >&7; umount -l /mnt
"#;

#[test]
fn what_is_detached_is_let_go_with_its_last_user() {
    let disk = disk();
    let said = disk.run(DISKS, LAZY);
    let expected = "0\nopen: held\nclosed: clean\none\ntwo\none\ntwo\ndeep\nlost+found\nt\nthree\ngone\n\
        inside: held\nleft: clean\nunnamed: clean\n/dev/loop0\nloop: clean\n";
    assert_eq!(said, expected);
    check(&disk);
    let other = disk.path("other.img");
    assert_eq!(image::debugfs(&other, "cat /at-the-end"), "text\n");
}

const READ_ONLY: &str = r#"
exec 2>&1
mount -t ext4 /dev/ubdb /mnt
try() { if mount -o remount,ro /mnt; then echo "$1: read-only"; mount -o remount,rw /mnt; else echo "$1: refused"; fi; }
exec 5> /mnt/file; try written; exec 5>&-; exec 5< /mnt/file; try read; rm /mnt/file; try unnamed; exec 5<&-; try closed
mount -o remount,ro /mnt; e2fsck -fn /dev/ubdb > /tmp/checked 2>&1 && echo clean
umount /mnt
umount / && echo root; (echo x > /no) || true
"#;

#[test]
fn what_is_written_stays_writable() {
    let disk = disk();
    let said = disk.run(DISKS, READ_ONLY);
    let lines: Vec<&str> =
        said.lines().filter(|l| !l.starts_with("mount:") && !l.trim().starts_with("dmesg")).collect();
    let expected =
        ["written: refused", "read: read-only", "unnamed: refused", "closed: read-only", "clean", "root"];
    assert_eq!(&lines[..6], expected, "{said}");
    assert!(lines[6].ends_with("Read-only file system"), "{said}");
    check(&disk);
}
