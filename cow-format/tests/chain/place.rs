//! A raw base with COW files on it, and what may befall them.

use crate::common::random_bytes;
use block_device::HostFile;
use cow_format::{BaseSpec, Chain, Error, Fingerprint, Layer, NewCow, OpenOptions, Record, Shape, identity};
use powercut::XorShift;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

pub(crate) const SIZE: u64 = 128 << 10;

/// A directory with one raw base in it.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) base: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        fs::write(&base, random_bytes(SIZE as usize, &mut XorShift::new(1))).unwrap();
        Self { dir, base }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A COW file on `base`, with this record; its mtime is the base's own.
    pub(crate) fn cow_on(&self, name: &str, base: &Path, record: Option<Record>) -> PathBuf {
        let mtime = fs::metadata(base).map_or(0, |m| m.mtime() as u32);
        let spec = BaseSpec { path: base.to_owned(), mtime, size: SIZE, record };
        NewCow::create(&self.path(name), Shape::default(), &spec).unwrap().publish(false).unwrap();
        self.path(name)
    }

    /// As a real tool makes it: nothing but the time stamp to go by.
    pub(crate) fn plain(&self, name: &str) -> PathBuf {
        self.cow_on(name, &self.base, None)
    }

    /// With the identity of the raw base.
    pub(crate) fn identified(&self, name: &str) -> PathBuf {
        self.cow_on(name, &self.base, Some(record_of(&self.base)))
    }

    /// On another COW file, which must open.
    pub(crate) fn above(&self, name: &str, below: &Path) -> PathBuf {
        let chain = open(below).unwrap();
        let device = chain.device(0).unwrap();
        let (root, fingerprint) = identity::identify(&chain.top().file, &*device, true, |_, _| {}).unwrap();
        self.cow_on(name, below, Some(Record { root: Some(root), base_is_cow: true, fingerprint }))
    }
}

pub(crate) fn record_of(base: &Path) -> Record {
    let file = HostFile::open(base, true).unwrap();
    let (root, fingerprint) = identity::identify(&file, &file, true, |_, _| {}).unwrap();
    Record { root: Some(root), base_is_cow: false, fingerprint }
}

pub(crate) fn open(cow: &Path) -> Result<Chain, Error> {
    Chain::open(cow, &OpenOptions::default())
}

pub(crate) fn open_writable(cow: &Path, writable: usize) -> Result<Chain, Error> {
    Chain::open(cow, &OpenOptions { writable, ..OpenOptions::default() })
}

pub(crate) fn open_ignoring(cow: &Path) -> Result<Chain, Error> {
    Chain::open(cow, &OpenOptions { ignore_mismatch: true, ..OpenOptions::default() })
}

pub(crate) fn set_mtime(path: &Path, seconds: i64, nanoseconds: u32) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
}

/// Changes one byte and puts the time of modification back. Returns once the file system shows another time of
/// change: before Linux 6.13 that takes a tick of the clock.
pub(crate) fn change_behind_the_clock(path: &Path) {
    let before = fs::metadata(path).unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[77] ^= 1;
    loop {
        fs::write(path, &bytes).unwrap();
        set_mtime(path, before.mtime(), before.mtime_nsec() as u32);
        let now = fs::metadata(path).unwrap();
        assert_eq!((now.mtime(), now.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
        if Fingerprint::of(&now) != Fingerprint::of(&before) {
            return;
        }
    }
}

pub(crate) fn write(cow: &Path, offset: u64, bytes: &[u8]) {
    let chain = open_writable(cow, 1).unwrap();
    let device = chain.device(0).unwrap();
    device.write_at(bytes, offset).unwrap();
    device.flush().unwrap();
}

/// Names the base another way.
pub(crate) fn rename_base(cow: &Path, base: &Path) {
    let mut layer = Layer::read(Arc::new(HostFile::open(cow, false).unwrap())).unwrap();
    layer.set_base(base, layer.header.mtime, layer.record.valid()).unwrap();
}

pub(crate) fn content(chain: &Chain) -> Vec<u8> {
    let mut bytes = vec![0; chain.size() as usize];
    chain.device(0).unwrap().read_at(&mut bytes, 0).unwrap();
    bytes
}

pub(crate) fn text(result: Result<Chain, Error>) -> String {
    result.map(|c| c.matches).unwrap_err().to_string()
}
