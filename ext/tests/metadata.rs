//! Blocks of metadata: a damaged one is refused, however often it has been asked for and whatever else it has been; and they are read in few
//! pieces.

#![allow(clippy::expect_used)]

mod common;

use block_device::{BlockDevice, HostFile, MemDevice};
use common::{debugfs, e2fsck, mke2fs};
use ext::{Changes, Ext, InodeNumber, NewInode, Result, XattrMode};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const FILE: NewInode = NewInode { mode: 0x81a4, uid: 0, gid: 0, device: (0, 0) };
const DIRECTORY: NewInode = NewInode { mode: 0x41ed, ..FILE };

fn open_rw(image: &Path) -> Ext {
    Ext::open_rw(Arc::new(HostFile::open(image, false).expect("the image"))).expect("it mounts")
}

/// The number behind a word in what debugfs says of a file.
fn number(stat: &str, word: &str) -> u64 {
    let at = stat.find(word).unwrap_or_else(|| panic!("{word} in {stat}")) + word.len();
    let digits: String = stat[at..].trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

/// A file system with one of each kind of block: a hashed directory, a file with a node of extents, one with a block of attributes.
fn make(image: &Path) -> [InodeNumber; 3] {
    mke2fs(image, &["-t", "ext4", "-b", "1024"], "32M");
    let ext = open_rw(image);
    let many = ext.make(Ext::ROOT, b"many", &DIRECTORY).expect("a directory").number;
    let pieces = ext.make(Ext::ROOT, b"pieces", &FILE).expect("a file").number;
    for n in 0..40 {
        ext.write(pieces, n * 10_240, b"a piece").expect("it is written");
    }
    let marked = ext.make(Ext::ROOT, b"marked", &FILE).expect("a file").number;
    ext.set_xattr(marked, b"user.x", Some(&[7; 700]), XattrMode::Any).expect("an attribute");
    for n in 0..400 {
        ext.link(marked, many, format!("a name {n}").as_bytes()).expect("a name");
    }
    ext.unmount().expect("it unmounts");
    e2fsck(image, "as it is made");
    [many, pieces, marked]
}

#[test]
fn damaged_blocks_are_refused_each_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    let [many, pieces, marked] = make(&image);
    let bytes = std::fs::read(&image).expect("the image");
    let ext = Ext::open(Arc::new(MemDevice::new(bytes.clone()))).expect("it mounts");
    let group = ext.group(0).expect("the first group");
    let inode = ext.inode(many).expect("it");
    let in_directory = |n| ext.run(inode.number, n).expect("it").physical.expect("a block");
    let node = number(&debugfs(&image, false, "stat /pieces"), "(ETB0):");
    let attributes = number(&debugfs(&image, false, "stat /marked"), "File ACL:");
    type Asks = Box<dyn Fn(&Ext) -> Result<()>>;
    let look_up: fn(InodeNumber) -> Asks = |many| {
        Box::new(move |ext| {
            let inode = ext.inode(many)?;
            (0..400).try_for_each(|n| ext.lookup(&inode, format!("a name {n}").as_bytes()).map(drop))
        })
    };
    let per_table_block = 1024 / u64::from(ext.superblock().inode_size);
    let asked: Vec<(&str, u64, Asks)> = vec![
        ("the root of the tree", in_directory(0), look_up(many)),
        ("a leaf", in_directory(1), look_up(many)),
        ("another leaf", in_directory(3), look_up(many)),
        ("a leaf, listed", in_directory(2), Box::new(move |ext| ext.entries(&ext.inode(many)?).map(drop))),
        ("extents", node, Box::new(move |ext| ext.run(pieces, 20).map(drop))),
        ("attributes", attributes, Box::new(move |ext| ext.xattrs(&ext.inode(marked)?).map(drop))),
        (
            "inodes",
            group.inode_table + u64::from(marked - 1) / per_table_block,
            Box::new(move |ext| ext.inode(marked).map(drop)),
        ),
        (
            "the inode bitmap",
            group.inode_bitmap,
            Box::new(|ext| ext.make(Ext::ROOT, b"new", &FILE).map(drop)),
        ),
        (
            "the block bitmap",
            group.block_bitmap,
            Box::new(move |ext| ext.write(marked, 0, b"some bytes").and_then(|_| ext.settle(marked))),
        ),
    ];
    for (what, block, ask) in &asked {
        let open = |bytes: Vec<u8>| Ext::open_rw(Arc::new(MemDevice::new(bytes))).expect("it mounts");
        ask(&open(bytes.clone())).unwrap_or_else(|e| panic!("{what}, intact: {e}"));
        let mut damaged = bytes.clone();
        for at in (0x28..1024).step_by(ext.superblock().inode_size.into()) {
            damaged[*block as usize * 1024 + at] ^= 4;
        }
        let ext = open(damaged);
        for time in 0..3 {
            assert!(ask(&ext).is_err(), "{what}: taken for intact, at time {time}");
        }
    }
    // One inode of a block is damaged: the others are there.
    let mut damaged = bytes;
    let table = group.inode_table as usize * 1024 + (marked as usize - 1) * 256;
    damaged[table + 0x28] ^= 4;
    let ext = Ext::open(Arc::new(MemDevice::new(damaged))).expect("it mounts");
    for number in [Ext::ROOT, many, pieces] {
        ext.inode(number).expect("it is intact");
    }
    assert!(ext.inode(marked).expect_err("it is damaged").to_string().contains("checksum"));
}

#[test]
fn what_is_intact_as_one_thing_is_not_as_another() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    mke2fs(&image, &["-t", "ext4", "-b", "1024"], "32M");
    let ext = open_rw(&image);
    let numbers = [b"a", b"b"].map(|n| ext.make(Ext::ROOT, n, &DIRECTORY).expect("a directory").number);
    ext.unmount().expect("it unmounts");
    let ext = open_rw(&image);
    let first = ext.run(numbers[0], 0).expect("it").physical.expect("a block");
    drop(ext);
    // The other directory claims the same block: word 5 of the map is where its first extent lies.
    debugfs(&image, true, &format!("set_inode_field /b block[5] {first}"));
    let ext = Ext::open(Arc::new(HostFile::open(&image, true).expect("the image"))).expect("it mounts");
    let entries = |n: InodeNumber| ext.entries(&ext.inode(n).expect("an inode"));
    for _ in 0..2 {
        assert_eq!(entries(numbers[0]).expect("its entries").len(), 2);
        assert!(entries(numbers[1]).expect_err("it is another's block").to_string().contains("checksum"));
    }
}

/// Counts how often it is read.
struct Counting(HostFile, AtomicUsize);

impl BlockDevice for Counting {
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn read_only(&self) -> bool {
        self.0.read_only()
    }
    fn sector_size(&self) -> u32 {
        self.0.sector_size()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> std::io::Result<()> {
        self.0.write_at(buf, offset)
    }
    fn discard(&self, offset: u64, len: u64) -> std::io::Result<()> {
        self.0.discard(offset, len)
    }
    fn flush(&self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn a_tree_is_listed_with_few_reads() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    mke2fs(&image, &["-t", "ext4", "-b", "4096", "-N", "8192"], "64M");
    let ext = open_rw(&image);
    let many = ext.make(Ext::ROOT, b"many", &DIRECTORY).expect("a directory").number;
    let made =
        (0..4000).map(|n| ext.make(many, format!("file {n}").as_bytes(), &FILE).expect("a file").number);
    let made: Vec<InodeNumber> = made.collect();
    // Inodes that have been changed in memory stay so when those around them are read.
    ext.unmount().expect("it unmounts");
    let device = Arc::new(Counting(HostFile::open(&image, false).expect("the image"), AtomicUsize::new(0)));
    let ext = Ext::open_rw(device.clone()).expect("it mounts");
    let before = device.1.load(Ordering::SeqCst);
    let changed = [made[0], made[100], made[3999]];
    for number in changed {
        let mode = Some(0o611);
        ext.change(number, &Changes { mode, ..Changes::default() }).expect("it changes");
    }
    for entry in ext.entries(&ext.inode(many).expect("it")).expect("its entries") {
        let mode = ext.inode(entry.inode).expect("an inode").mode & 0o7777;
        assert_eq!(mode == 0o611, changed.contains(&entry.inode), "inode {}", entry.inode);
    }
    // 250 blocks of inodes, some 40 of names.
    let reads = device.1.load(Ordering::SeqCst) - before;
    assert!(reads <= 30, "{reads} reads");
    ext.unmount().expect("it unmounts");
}

#[test]
fn a_plain_directory_uses_the_room_that_names_leave() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    mke2fs(&image, &["-t", "ext4", "-b", "1024", "-O", "^dir_index"], "32M");
    let ext = open_rw(&image);
    let many = ext.make(Ext::ROOT, b"many", &DIRECTORY).expect("a directory").number;
    let one = ext.make(Ext::ROOT, b"one", &FILE).expect("a file").number;
    let name = |n: usize| format!("a name {n:04}").into_bytes();
    (0..2000).for_each(|n| ext.link(one, many, &name(n)).expect("a name"));
    let size = ext.inode(many).expect("it").size;
    for round in 1..4 {
        (0..2000)
            .step_by(3)
            .for_each(|n| drop(ext.unlink(many, &name(n + 2000 * (round - 1))).expect("it goes")));
        (0..2000).step_by(3).for_each(|n| ext.link(one, many, &name(n + 2000 * round)).expect("a name"));
        assert_eq!(ext.inode(many).expect("it").size, size, "round {round}");
    }
    ext.unmount().expect("it unmounts");
    e2fsck(&image, "afterwards");
}
