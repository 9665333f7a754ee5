//! The host kernel's own ext4 reads what this crate has written, and this crate reads what it has: names, modes, owners, times, attributes,
//! bytes. Needs to mount; says so where it may not.

#![allow(clippy::expect_used)]

mod common;
mod session;
mod tree;

use block_device::HostFile;
use common::{SHAPES, e2fsck, mke2fs};
use ext::Ext;
use session::Session;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// A mounted image, unmounted when it is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// `None` where it may not be mounted.
    fn new(image: &Path, at: &'a Path, options: &str) -> Option<Mounted<'a>> {
        std::fs::create_dir_all(at).expect("a directory");
        let options = format!("loop,{options}");
        let done = Command::new("mount").args(["-o", &options]).arg(image).arg(at).output();
        match done {
            Ok(o) if o.status.success() => Some(Mounted(at)),
            Ok(o) => {
                println!("SKIPPED: {}", String::from_utf8_lossy(&o.stderr).trim());
                None
            }
            Err(e) => {
                println!("SKIPPED: mount: {e}");
                None
            }
        }
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

fn ours(image: &Path) -> tree::Tree {
    let ext = Ext::open(Arc::new(HostFile::open(image, true).expect("the image"))).expect("it mounts");
    tree::of_ext(&ext)
}

/// Blocks of what the host may mount: no larger than its pages.
fn mountable() -> impl Iterator<Item = &'static (&'static str, &'static [&'static str])> {
    SHAPES.iter().filter(|(_, a)| !a.contains(&"65536"))
}

#[test]
fn it_reads_what_this_crate_wrote() {
    for (n, (what, arguments)) in mountable().enumerate() {
        let dir = tempfile::tempdir().expect("a directory");
        let (image, at) = (dir.path().join("image"), dir.path().join("mnt"));
        mke2fs(&image, arguments, "96M");
        let mut session = Session::new(100 + n as u64);
        session.part(&image, 1200);
        let Some(mounted) = Mounted::new(&image, &at, "ro") else { return };
        let theirs = tree::of_host(&at);
        drop(mounted);
        tree::compare(&ours(&image), &theirs, what);
    }
}

#[test]
fn this_crate_reads_and_continues_what_it_wrote() {
    for (what, arguments) in mountable() {
        let dir = tempfile::tempdir().expect("a directory");
        let (image, at) = (dir.path().join("image"), dir.path().join("mnt"));
        mke2fs(&image, arguments, "96M");
        let Some(mounted) = Mounted::new(&image, &at, "noatime") else { return };
        tree::make(&at);
        // Files that have no name any more when it crashes: one is small, one is not.
        let nameless: Vec<_> = [100, 3_000_000]
            .iter()
            .map(|len| {
                let path = at.join("nameless");
                std::fs::write(&path, vec![1; *len]).expect("a file");
                let file = std::fs::File::open(&path).expect("it");
                std::fs::remove_file(&path).expect("it goes");
                file
            })
            .collect();
        Command::new("sync").arg("-f").arg(&at).status().expect("sync");
        // As a crash would leave it: some of it only in the journal.
        let crashed = dir.path().join("crashed");
        std::fs::copy(&image, &crashed).expect("a copy");
        let theirs = tree::of_host(&at);
        drop(nameless);
        drop(mounted);
        tree::compare(&ours(&image), &theirs, what);
        if !arguments.contains(&"ext2") && !arguments.contains(&"^has_journal") {
            tree::compare(&ours(&crashed), &theirs, &format!("{what}, not unmounted"));
            let ext = Ext::open_rw(Arc::new(HostFile::open(&crashed, false).expect("the image")));
            ext.unwrap_or_else(|e| panic!("{what}: {e}")).unmount().expect("it unmounts");
            e2fsck(&crashed, &format!("{what}, recovered"));
            tree::compare(&ours(&crashed), &theirs, &format!("{what}, recovered"));
        }
        // Going on where the host stopped.
        let mut paths = tree::files(&theirs);
        paths.truncate(300);
        let ext =
            Ext::open_rw(Arc::new(HostFile::open(&image, false).expect("the image"))).expect("it mounts");
        for (n, path) in paths.iter().enumerate() {
            let number = ext.find(path).expect("a file").number;
            match n % 3 {
                0 => drop(ext.write(number, 12_345, b"more").expect("it is written")),
                1 => drop(ext.truncate(number, 7).expect("it is cut")),
                _ => {
                    let (dir, name) = tree::split(path);
                    let parent = ext.find(dir).expect("a directory").number;
                    let inode = ext.unlink(parent, name).expect("it goes");
                    if inode.links == 0 {
                        ext.release(inode.number).expect("it ends");
                    }
                }
            }
        }
        ext.unmount().expect("it unmounts");
        e2fsck(&image, &format!("{what}, gone on"));
        let Some(mounted) = Mounted::new(&image, &at, "ro") else { return };
        let theirs = tree::of_host(&at);
        drop(mounted);
        tree::compare(&ours(&image), &theirs, &format!("{what}, gone on"));
    }
}
