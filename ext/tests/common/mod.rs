//! Images, and what e2fsprogs says of them.

#![allow(dead_code, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

/// Makes an image.
pub(crate) fn mke2fs(image: &Path, arguments: &[&str], size: &str) {
    let made = Command::new("mke2fs")
        .args(["-q", "-F", "-E", "root_owner=0:0"])
        .args(arguments)
        .arg(image)
        .arg(size)
        .output()
        .expect("mke2fs runs");
    assert!(made.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&made.stderr));
}

/// Checks an image as it is; nothing may be wrong.
pub(crate) fn e2fsck(image: &Path, what: &str) {
    let checked = Command::new("e2fsck").arg("-fn").arg(image).output().expect("e2fsck runs");
    assert!(checked.status.success(), "{what}:\n{}", String::from_utf8_lossy(&checked.stdout));
}

/// What debugfs says to a command.
pub(crate) fn debugfs(image: &Path, write: bool, command: &str) -> String {
    let mut debugfs = Command::new("debugfs");
    if write {
        debugfs.arg("-w");
    }
    let done = debugfs.args(["-R", command]).arg(image).output().expect("debugfs runs");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Shapes of file systems: a name, and how mke2fs makes them.
pub(crate) const SHAPES: &[(&str, &[&str])] = &[
    ("ext4", &["-t", "ext4"]),
    ("ext4, 1 KiB", &["-t", "ext4", "-b", "1024"]),
    ("ext4, inline data", &["-t", "ext4", "-O", "inline_data"]),
    ("ext4, old checksums", &["-t", "ext4", "-O", "^metadata_csum,uninit_bg,^64bit"]),
    ("ext4, meta_bg", &["-t", "ext4", "-O", "meta_bg,^resize_inode", "-b", "1024"]),
    ("ext4, small inodes", &["-t", "ext4", "-I", "128", "-O", "^metadata_csum"]),
    ("ext4, 64 KiB", &["-t", "ext4", "-b", "65536", "-N", "8192"]),
    ("ext4, orphan file", &["-t", "ext4", "-O", "orphan_file"]),
    ("ext4, no journal", &["-t", "ext4", "-O", "^has_journal"]),
    ("ext3", &["-t", "ext3"]),
    ("ext3, 1 KiB", &["-t", "ext3", "-b", "1024"]),
    ("ext2", &["-t", "ext2"]),
    ("ext2, 1 KiB", &["-t", "ext2", "-b", "1024"]),
    ("ext4, 4 KiB", &["-t", "ext4", "-b", "4096"]),
    ("ext4, values in inodes", &["-t", "ext4", "-O", "ea_inode"]),
];
