//! The power is cut at every write of a session. Afterwards the file system mounts, e2fsck finds nothing that recovery had not to do, and
//! what was committed is there.

#![allow(clippy::expect_used)]

mod common;

use block_device::HostFile;
use common::{e2fsck, mke2fs};
use ext::{Ext, NewInode, RenameFlags, Result, XattrMode};
use powercut::{Cut, PowerCut, Survivors, Tally, every_cut};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const FILE: NewInode = NewInode { mode: 0x81a4, uid: 0, gid: 0, device: (0, 0) };
const DIRECTORY: NewInode = NewInode { mode: 0x41ed, ..FILE };

/// An attribute too large for a block of 1 KiB.
const HELD: &[u8] = b"user.held";

/// Names, and what they hold, that were there at the last commit that returned.
type Promised = BTreeMap<Vec<u8>, Vec<u8>>;

fn content(n: usize) -> Vec<u8> {
    (0..n * 700 + 10).map(|i| (i * 7 + n) as u8 | 1).collect()
}

/// A session that makes files, renames and removes them, and keeps in `promised` what its last commit made sure.
fn session(image: &[u8], disk: &PowerCut, promised: &mut Promised) -> Result<()> {
    let ext = Ext::open_rw(Arc::new(disk.device(image.to_vec())))?;
    let mut now = Promised::new();
    let dir = ext.make(Ext::ROOT, b"dir", &DIRECTORY)?.number;
    for n in 0..9 {
        let name = format!("dir/file {n}").into_bytes();
        let inode = ext.make(dir, &name[4..], &FILE)?.number;
        let bytes = content(n);
        // In pieces, so that there is something to put behind something.
        for (at, piece) in bytes.chunks(1500).enumerate() {
            ext.write(inode, at as u64 * 1500, piece)?;
        }
        now.insert(name, bytes);
        if n % 3 == 1 {
            ext.sync()?;
            promised.clone_from(&now);
        }
        if n % 4 == 3 {
            let old = format!("dir/file {}", n - 1).into_bytes();
            let new = format!("moved {n}").into_bytes();
            ext.rename((dir, &old[4..]), (Ext::ROOT, &new), RenameFlags::empty())?;
            let bytes = now.remove(&old).expect("it is there");
            now.insert(new, bytes);
            let gone = format!("dir/file {}", n - 3).into_bytes();
            let inode = ext.unlink(dir, &gone[4..])?;
            ext.release(inode.number)?;
            now.remove(&gone);
            ext.sync()?;
            promised.clone_from(&now);
        }
    }
    ext.unmount()?;
    promised.clone_from(&now);
    Ok(())
}

/// A directory's blocks become those of a file: the journal has old entries for them still.
fn reuse(image: &[u8], disk: &PowerCut, promised: &mut Promised) -> Result<()> {
    let ext = Ext::open_rw(Arc::new(disk.device(image.to_vec())))?;
    let dir = ext.make(Ext::ROOT, b"dir", &DIRECTORY)?.number;
    let names: Vec<Vec<u8>> = (0..40).map(|n| format!("{n} {}", "x".repeat(200)).into_bytes()).collect();
    for name in &names {
        ext.make(dir, name, &FILE)?;
    }
    ext.sync()?;
    for name in &names {
        let inode = ext.unlink(dir, name)?;
        ext.release(inode.number)?;
    }
    let inode = ext.rmdir(Ext::ROOT, b"dir")?;
    ext.release(inode.number)?;
    ext.sync()?;
    // All there is.
    let (inode, piece) = (ext.make(Ext::ROOT, b"large", &FILE)?.number, vec![b'x'; 100_000]);
    let mut size = 0;
    loop {
        match ext.write(inode, size, &piece) {
            Ok(_) => size += piece.len() as u64,
            Err(ext::Error::NoSpace) => break,
            Err(e) => return Err(e),
        }
    }
    let size = ext.inode(inode)?.size;
    ext.sync()?;
    promised.insert(b"large".to_vec(), vec![b'x'; size as usize]);
    ext.make(Ext::ROOT, b"last", &DIRECTORY)?;
    ext.sync()
}

/// Files named "held ..." have what they hold in an attribute as well, in an inode of its own: made, replaced, and ended with its file.
fn values(image: &[u8], disk: &PowerCut, promised: &mut Promised) -> Result<()> {
    let ext = Ext::open_rw(Arc::new(disk.device(image.to_vec())))?;
    let mut now = Promised::new();
    for n in 3..10 {
        let name = format!("held {n}").into_bytes();
        let (inode, bytes) = (ext.make(Ext::ROOT, &name, &FILE)?.number, content(n));
        ext.set_xattr(inode, HELD, Some(&content(n + 1)), XattrMode::Create)?;
        ext.set_xattr(inode, HELD, Some(&bytes), XattrMode::Replace)?;
        ext.write(inode, 0, &bytes)?;
        now.insert(name, bytes);
        if n % 2 == 1 {
            let gone = format!("held {}", n - 1).into_bytes();
            if now.remove(&gone).is_some() {
                let inode = ext.unlink(Ext::ROOT, &gone)?;
                ext.release(inode.number)?;
            }
        }
        ext.sync()?;
        promised.clone_from(&now);
    }
    ext.unmount()
}

/// What was promised must be there; a name that has gone after that may have been renamed or removed since.
fn check(image: &Path, promised: &Promised, what: &str) {
    let ext = Ext::open(Arc::new(HostFile::open(image, true).expect("the image"))).expect("it mounts");
    let mut missing = 0;
    for (name, bytes) in promised {
        match ext.find(name) {
            Ok(inode) => {
                let mut read = vec![0; inode.size as usize];
                ext.read(inode.number, 0, &mut read).expect("its bytes");
                assert!(read == *bytes, "{what}: {} holds other bytes", String::from_utf8_lossy(name));
                if name.starts_with(b"held") {
                    let all = ext.xattrs(&inode).expect("its attributes");
                    assert!(all.iter().any(|x| x.name == HELD && x.value == *bytes), "{what}: the attribute");
                }
            }
            Err(ext::Error::NotFound) => missing += 1,
            Err(e) => panic!("{what}: {e}"),
        }
    }
    // Between two commits at most one file is renamed, and one removed.
    assert!(missing <= 2, "{what}: {missing} files are missing");
}

type Scenario = fn(&[u8], &PowerCut, &mut Promised) -> Result<()>;

fn sweep(session: Scenario, arguments: &[&str], step: u64) -> Tally {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    mke2fs(&image, arguments, "10M");
    let fresh = std::fs::read(&image).expect("the image");
    let mut count = 0;
    let scenario = |disk: &PowerCut| {
        let mut promised = Promised::new();
        if let Err(e) = session(&fresh, disk, &mut promised) {
            assert!(disk.is_cut(), "{e}");
        }
        promised
    };
    every_cut(1, scenario, |promised: &Promised, survivors: &Survivors, cut: Cut| {
        count += 1;
        if count % step != 0 {
            return;
        }
        let what = format!("{arguments:?}: {cut:?}");
        std::fs::write(&image, survivors.device(0)).expect("the image");
        // Not mounted again: the journal is replayed in memory.
        check(&image, promised, &what);
        // e2fsck's recovery comes to the same.
        let other = dir.path().join("other");
        std::fs::copy(&image, &other).expect("a copy");
        let fix = |more: &[&str]| {
            Command::new("e2fsck").arg("-fy").args(more).arg(&other).output().expect("e2fsck runs")
        };
        let mut fixed = fix(&[]);
        if fixed.status.code() == Some(8) && arguments.contains(&"-g") {
            // A superblock half written; where its copy is, with such groups, e2fsck has to be told.
            fixed = fix(&["-b", "1024", "-B", "4096"]);
        }
        let said = String::from_utf8_lossy(&fixed.stdout).into_owned();
        assert!(fixed.status.code().is_some_and(|c| c <= 1), "{what}:\n{said}");
        check(&other, promised, &format!("{what}, after e2fsck"));
        // And ours.
        let ext = Ext::open_rw(Arc::new(HostFile::open(&image, false).expect("the image")))
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        ext.unmount().expect("it unmounts");
        e2fsck(&image, &what);
        check(&image, promised, &format!("{what}, mounted"));
    })
}

#[test]
fn ext4_with_checksums() {
    println!("{}", sweep(session, &["-t", "ext4", "-b", "1024"], 2));
}

#[test]
fn ext4_with_larger_blocks() {
    println!("{}", sweep(session, &["-t", "ext4", "-b", "4096", "-g", "1024", "-J", "size=4"], 2));
}

#[test]
fn ext3() {
    println!("{}", sweep(session, &["-t", "ext3", "-b", "1024"], 2));
}

#[test]
fn values_in_inodes() {
    println!("{}", sweep(values, &["-t", "ext4", "-b", "1024", "-O", "ea_inode"], 2));
}

#[test]
fn blocks_of_directories_that_become_files() {
    println!("{}", sweep(reuse, &["-t", "ext4", "-b", "1024", "-N", "64"], 2));
    println!("{}", sweep(reuse, &["-t", "ext3", "-b", "1024", "-N", "64"], 2));
}
