//! File systems on disks: a disk has one at most. Who mounts it again gets the same, if it is of the type and can be written as asked
//! for (get_tree_bdev).

use super::{Disk, Open};
use crate::base::{Errno, Mutex, Rank, Result};
use crate::fs::FileSystem;
use ::block_device::{BlockDevice, Extent};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{Arc, Weak};

struct Mounted {
    number: u64,
    kind: Vec<u8>,
    read_only: bool,
    fs: Weak<dyn FileSystem>,
}

static MOUNTED: Mutex<Vec<Mounted>> = Mutex::new(Rank::Leaf, Vec::new());

/// The file system of a disk: the one there is, or what `make` makes of the disk, which it has alone as long as the file system lives.
pub fn mount(
    disk: &Disk,
    kind: &[u8],
    read_only: bool,
    make: impl FnOnce(&Disk) -> Result<Arc<dyn FileSystem>>,
) -> Result<Arc<dyn FileSystem>> {
    if !read_only && disk.read_only() {
        return Err(Errno::EACCES);
    }
    let there = {
        let mounted = MOUNTED.lock();
        let same = mounted.iter().find(|m| m.number == disk.number && m.fs.strong_count() > 0);
        same.and_then(|m| Some((m.kind == kind && m.read_only == read_only, m.fs.upgrade()?)))
    };
    if let Some((fits, fs)) = there {
        return if fits { Ok(fs) } else { Err(Errno::EBUSY) };
    }
    let open = Open::new(disk, true)?;
    let held = Arc::new(Held { inner: disk.device.clone(), _open: open });
    let fs = make(&disk.through(held))?;
    let mut mounted = MOUNTED.lock();
    mounted.retain(|m| m.fs.strong_count() > 0);
    mounted.push(Mounted { number: disk.number, kind: kind.into(), read_only, fs: Arc::downgrade(&fs) });
    Ok(fs)
}

/// A device that somebody has alone as long as it is used.
struct Held {
    inner: Arc<dyn BlockDevice>,
    _open: Open,
}

impl BlockDevice for Held {
    fn len(&self) -> u64 {
        self.inner.len()
    }
    fn read_only(&self) -> bool {
        self.inner.read_only()
    }
    fn sector_size(&self) -> u32 {
        self.inner.sector_size()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(buf, offset)
    }
    fn read_vectored_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<()> {
        self.inner.read_vectored_at(bufs, offset)
    }
    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.inner.write_vectored_at(bufs, offset)
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.discard(offset, len)
    }
    fn write_zeroes(&self, offset: u64, len: u64, may_unmap: bool) -> io::Result<()> {
        self.inner.write_zeroes(offset, len, may_unmap)
    }
    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }
    fn extent(&self, offset: u64) -> io::Result<Extent> {
        self.inner.extent(offset)
    }
    fn next_data(&self, offset: u64) -> io::Result<u64> {
        self.inner.next_data(offset)
    }
    fn host_file(&self) -> Option<&File> {
        self.inner.host_file()
    }
}
