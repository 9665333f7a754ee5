//! What counts usage is read, and not written: the counts stay right.

#![allow(clippy::expect_used)]

mod common;

use block_device::HostFile;
use common::{e2fsck, mke2fs};
use ext::Ext;
use std::sync::Arc;

#[test]
fn a_file_system_with_quota_is_for_reading() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    for (features, name) in [("quota", "quota"), ("quota,project", "project")] {
        mke2fs(&image, &["-t", "ext4", "-O", features], "16M");
        let before = std::fs::read(&image).expect("the image");
        let open = |read_only| Arc::new(HostFile::open(&image, read_only).expect("the image"));
        let refused = Ext::open_rw(open(false)).expect_err("it is refused").to_string();
        assert!(refused.contains(name), "{refused}");
        let ext = Ext::open(open(true)).expect("it is read");
        assert!(!ext.entries(&ext.inode(Ext::ROOT).expect("the root")).expect("its entries").is_empty());
        assert!(before == std::fs::read(&image).expect("the image"), "{features}: it is as it was");
        e2fsck(&image, features);
    }
}
