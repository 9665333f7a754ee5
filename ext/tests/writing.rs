//! A random session on each shape of file system, kept in a model beside it: after each part e2fsck finds nothing, and what is read is
//! what the model has, by this crate and, where it may be mounted, by the host's kernel.

#![allow(clippy::expect_used)]

mod common;
mod session;

use common::{SHAPES, e2fsck, mke2fs};
use session::Session;

fn run(from: usize, step: usize) {
    for (n, (what, arguments)) in SHAPES.iter().enumerate().filter(|(n, _)| n % step == from) {
        let dir = tempfile::tempdir().expect("a directory");
        let image = dir.path().join("image");
        mke2fs(&image, arguments, "96M");
        let mut session = Session::new(n as u64 + 1);
        for part in 0..4 {
            session.part(&image, 400);
            e2fsck(&image, &format!("{what}, part {part}"));
            session.compare(&image, &format!("{what}, part {part}"));
        }
        session.empty(&image);
        e2fsck(&image, &format!("{what}, emptied"));
    }
}

#[test]
fn sessions_one() {
    run(0, 2);
}

#[test]
fn sessions_two() {
    run(1, 2);
}

/// So many names that the hash tree of their directory has two levels.
#[test]
fn a_directory_of_many_names() {
    use block_device::HostFile;
    use ext::{Ext, NewInode};
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    for (what, arguments) in
        [("ext4", &["-t", "ext4", "-b", "1024"][..]), ("ext3", &["-t", "ext3", "-b", "1024"])]
    {
        mke2fs(&image, &[arguments, &["-N", "30000"]].concat(), "96M");
        let open = || Ext::open_rw(std::sync::Arc::new(HostFile::open(&image, false).expect("the image")));
        let ext = open().expect("it mounts");
        let new = NewInode { mode: 0x81a4, uid: 0, gid: 0, device: (0, 0) };
        let many =
            ext.make(Ext::ROOT, b"many", &NewInode { mode: 0x41ed, ..new }).expect("a directory").number;
        let first = ext.make(many, b"first", &new).expect("a file").number;
        let name = |n: u32| format!("{n} is the name {}", "x".repeat(n as usize % 60)).into_bytes();
        for n in 0..24_000 {
            ext.link(first, many, &name(n)).expect("a name");
        }
        ext.unmount().expect("it unmounts");
        e2fsck(&image, what);
        let ext = open().expect("it mounts");
        let mut root = [0; 64];
        ext.read(many, 0, &mut root).expect("its first block");
        assert_eq!(root[0x1e], 1, "{what}: levels of the tree");
        for n in (0..24_000).step_by(2) {
            ext.unlink(many, &name(n)).expect("it goes");
        }
        let inode = ext.inode(many).expect("it");
        for n in 0..24_000 {
            assert_eq!(ext.lookup(&inode, &name(n)).is_ok(), n % 2 == 1, "{what}: {n}");
        }
        ext.unmount().expect("it unmounts");
        e2fsck(&image, what);
    }
}
