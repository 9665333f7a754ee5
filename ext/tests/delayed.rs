//! Delayed allocation: what is written waits, and nobody can tell but by where it lies.

#![allow(clippy::expect_used)]

mod common;

use block_device::{HostFile, MemDevice};
use common::{debugfs, e2fsck, mke2fs};
use ext::{Changes, Error, Ext, InodeNumber, NewInode, RenameFlags, Time};
use std::path::Path;
use std::sync::Arc;

const FILE: NewInode = NewInode { mode: 0x81a4, uid: 0, gid: 0, device: (0, 0) };

fn open(image: &Path) -> Ext {
    Ext::open_rw(Arc::new(HostFile::open(image, false).expect("the image"))).expect("it mounts")
}

fn new(ext: &Ext, name: &[u8]) -> InodeNumber {
    ext.make(Ext::ROOT, name, &FILE).expect("a file").number
}

fn all(ext: &Ext, number: InodeNumber) -> Vec<u8> {
    let mut bytes = vec![0; ext.inode(number).expect("it").size as usize];
    assert_eq!(ext.read(number, 0, &mut bytes).expect("its bytes"), bytes.len());
    bytes
}

#[test]
fn files_written_in_turns_lie_apart() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    for kind in ["ext2", "ext4"] {
        mke2fs(&image, &["-t", kind, "-b", "4096"], "96M");
        let ext = open(&image);
        let files = [new(&ext, b"one"), new(&ext, b"two"), new(&ext, b"three")];
        for n in 0..1024 {
            for number in files {
                ext.write(number, n * 4096, &[number as u8; 4096]).expect("it is written");
            }
        }
        ext.unmount().expect("it unmounts");
        e2fsck(&image, kind);
        for name in ["one", "two", "three"] {
            // What lies where, by debugfs; the blocks of an ext2 map are among the data, four megabytes need one of two levels.
            let blocks = debugfs(&image, false, &format!("blocks /{name}"));
            let blocks: Vec<u64> = blocks.split_whitespace().map(|b| b.parse().expect("a number")).collect();
            assert!(blocks.len() >= 1024, "{kind}: {} blocks", blocks.len());
            let breaks = blocks.windows(2).filter(|w| w[1] != w[0] + 1).count();
            assert!(breaks <= 4, "{kind}: {name} lies in {} pieces", breaks + 1);
        }
    }
}

#[test]
fn what_is_removed_is_never_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    mke2fs(&image, &["-t", "ext4", "-b", "1024"], "16M");
    let ext = open(&image);
    let free = ext.free().expect("it is known");
    let (gone, emptied) = (new(&ext, b"gone"), new(&ext, b"emptied"));
    for number in [gone, emptied] {
        ext.write(number, 0, &b"never to be seen ".repeat(1000)).expect("it is written");
    }
    assert_eq!(ext.free().expect("it is known").blocks, free.blocks - 34, "what waits is not free");
    assert_eq!(ext.inode(gone).expect("it").blocks, 34);
    ext.truncate(emptied, 0).expect("it is cut");
    let inode = ext.unlink(Ext::ROOT, b"gone").expect("it goes");
    ext.release(inode.number).expect("it ends");
    ext.unmount().expect("it unmounts");
    e2fsck(&image, "removed");
    let bytes = std::fs::read(&image).expect("the image");
    assert!(!bytes.windows(16).any(|w| w == b"never to be seen"));
}

#[test]
fn what_waits_is_read_and_replaced_as_if_it_lay_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    for arguments in
        [["-t", "ext4", "-b", "1024"], ["-t", "ext4", "-b", "4096"], ["-t", "ext3", "-b", "1024"]]
    {
        mke2fs(&image, &arguments, "64M");
        let ext = open(&image);
        let number = new(&ext, b"file");
        let (mut model, mut seed) = (Vec::new(), 7u64);
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        for n in 0..3000u32 {
            let at = random(300_000) as usize;
            match random(40) {
                0 => ext.settle(number).expect("it gets its place"),
                1 => ext.sync().expect("it is durable"),
                2 if !model.is_empty() => {
                    model.resize(at, 0);
                    ext.truncate(number, at as u64).expect("it is cut");
                }
                _ => {
                    let piece = vec![n as u8 | 1; 1 + random(9000) as usize];
                    let end = at + piece.len();
                    model.resize(model.len().max(end), 0);
                    model[at..end].copy_from_slice(&piece);
                    let inode = ext.write(number, at as u64, &piece).expect("it is written");
                    assert_eq!(inode.size, model.len() as u64);
                }
            }
            let from = random(model.len() as u64 + 1) as usize;
            let mut read = vec![0xff; random(20_000) as usize];
            let len = ext.read(number, from as u64, &mut read).expect("it is read");
            assert!(read[..len] == model[from..][..len] && len == read.len().min(model.len() - from), "{n}");
        }
        assert!(all(&ext, number) == model);
        ext.unmount().expect("it unmounts");
        e2fsck(&image, arguments[1]);
        let shown = dir.path().join("shown");
        debugfs(&image, false, &format!("dump /file {}", shown.display()));
        assert!(std::fs::read(&shown).expect("debugfs") == model, "debugfs reads something else");
    }
}

#[test]
fn times_that_are_set_after_a_write_stay() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    mke2fs(&image, &["-t", "ext4"], "16M");
    let ext = open(&image);
    let number = new(&ext, b"file");
    let first = ext.write(number, 0, b"some bytes").expect("it is written").mtime;
    assert_eq!(ext.inode(number).expect("it").mtime, first);
    let then = Time { sec: 1_000_000_000, nsec: 5 };
    let changed =
        ext.change(number, &Changes { mtime: Some(then), ..Changes::default() }).expect("it is set");
    assert_eq!((changed.mtime, changed.size), (then, 10));
    ext.sync().expect("it is durable");
    let inode = ext.inode(number).expect("it");
    assert_eq!((inode.mtime, inode.size), (then, 10));
    assert!(inode.ctime > then);
}

/// Who is told that there is no room can do something; who is told nothing relies on it.
#[test]
fn room_is_promised_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    mke2fs(&image, &["-t", "ext4", "-b", "1024", "-m", "0"], "8M");
    let ext = open(&image);
    let mut files = Vec::new();
    'full: for n in 0.. {
        let Ok(inode) = ext.make(Ext::ROOT, format!("file {n}").as_bytes(), &FILE) else { break };
        for at in 0..40 {
            match ext.write(inode.number, at * 1000, &[n as u8; 1000]) {
                Ok(_) => {}
                Err(Error::NoSpace) => {
                    files.push((inode.number, n as u8, at * 1000));
                    break 'full;
                }
                Err(e) => panic!("{e}"),
            }
        }
        files.push((inode.number, n as u8, 40_000));
    }
    ext.sync().expect("all that was taken has a place");
    for (number, byte, len) in files {
        let bytes = all(&ext, number);
        // Of the write that there was no room for, a part may be there.
        assert!(bytes.len() as u64 >= len && bytes == vec![byte; bytes.len()], "file {byte}");
    }
    ext.unmount().expect("it unmounts");
    e2fsck(&image, "full");
}

/// A new version that took the old one's name: after a crash there is the one or the other, without fsync.
#[test]
fn a_file_that_replaces_another_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    mke2fs(&image, &["-t", "ext4"], "16M");
    let device = Arc::new(MemDevice::new(std::fs::read(&image).expect("the image")));
    let ext = Ext::open_rw(device.clone()).expect("it mounts");
    ext.write(new(&ext, b"file"), 0, b"old").expect("it is written");
    ext.sync().expect("it is durable");
    ext.write(new(&ext, b"file.new"), 0, b"another").expect("it is written");
    let (from, to) = ((Ext::ROOT, &b"file.new"[..]), (Ext::ROOT, &b"file"[..]));
    ext.rename(from, to, RenameFlags::empty()).expect("it is renamed");
    // Another file's fsync commits the rename, and is all that happens before the crash.
    ext.fsync(new(&ext, b"other")).expect("it is durable");
    let after = Ext::open(device).expect("it is recovered");
    assert_eq!(all(&after, after.find(b"file").expect("it").number), b"another");
    assert!(matches!(after.find(b"file.new"), Err(Error::NotFound)));
}
