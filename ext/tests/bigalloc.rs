//! File systems that are allocated in clusters are read as the host's kernel reads them; they are not written.

#![allow(clippy::expect_used)]

mod common;
mod tree;

use block_device::HostFile;
use common::{e2fsck, mke2fs};
use ext::{Error, Ext};
use std::process::Command;
use std::sync::Arc;

const SHAPES: &[&[&str]] = &[
    &["-t", "ext4", "-O", "bigalloc"],
    &["-t", "ext4", "-O", "bigalloc", "-b", "1024", "-C", "4096"],
    &["-t", "ext4", "-O", "bigalloc", "-b", "4096", "-C", "32768"],
    &["-t", "ext4", "-O", "bigalloc,inline_data,^metadata_csum,uninit_bg", "-b", "4096", "-C", "8192"],
    &["-t", "ext4", "-O", "bigalloc,meta_bg,^resize_inode", "-b", "1024", "-C", "16384"],
];

#[test]
fn a_tree_in_clusters_is_the_hosts() {
    for shape in SHAPES {
        let dir = tempfile::tempdir().expect("a directory");
        let (image, at) = (dir.path().join("image"), dir.path().join("mnt"));
        std::fs::create_dir(&at).expect("a directory");
        mke2fs(&image, shape, "300M");
        let mount = |options: &str| {
            let mounted =
                Command::new("mount").args(["-o", options]).arg(&image).arg(&at).output().expect("it runs");
            print!("{}", String::from_utf8_lossy(&mounted.stderr));
            mounted.status.success()
        };
        if !mount("loop,noatime") {
            println!("SKIPPED: it cannot be mounted");
            return;
        }
        tree::make(&at);
        // It crosses groups, and clusters that are in part holes.
        std::fs::write(at.join("large"), (0..100_000_000u32).map(|n| (n >> 10) as u8).collect::<Vec<_>>())
            .expect("a file");
        let umount = || Command::new("umount").arg(&at).status().expect("umount runs");
        assert!(umount().success());
        e2fsck(&image, &format!("{shape:?}"));
        assert!(mount("loop,ro"));
        let (theirs, figures) = (tree::of_host(&at), rustix::fs::statfs(&at).expect("its figures"));
        assert!(umount().success());
        let open = |read_only| Arc::new(HostFile::open(&image, read_only).expect("the image"));
        let ext = Ext::open(open(true)).unwrap_or_else(|e| panic!("{shape:?}: {e}"));
        println!("{shape:?}");
        let _ = std::fs::copy(&image, "/tmp/big.img");
        tree::compare(&tree::of_ext(&ext), &theirs, &format!("{shape:?}"));
        assert_eq!(ext.free().expect("what is free").blocks, figures.f_bfree, "{shape:?}");
        let all = ext.superblock().blocks - ext.overhead();
        assert_eq!(all, figures.f_blocks, "{shape:?}");
        let refused = Ext::open_rw(open(false)).expect_err("it is refused");
        assert!(matches!(refused, Error::Unsupported(ref what) if what.contains("bigalloc")), "{refused}");
    }
}
