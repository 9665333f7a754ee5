//! What the integration tests share: disks with a flat model of what they must show, a reader of COW files
//! that shares nothing with the library's own but the header, and the real tools.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)] // every test file uses its own part

#[path = "../../../cow-format/tests/common/mod.rs"]
mod memory;

use block_device::Unobserved;
use cow_format::{Chain, Header, Layout, OpenOptions, Shape};
use cow_ops::{BaseFormat, Content, Create, create};
pub(crate) use memory::{VERSIONS, bits_of, random_bytes};
use powercut::XorShift;
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::rc::{Rc, Weak};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// Shapes to try of every version: the real tools' own, and the others that make a difference.
pub(crate) fn shapes() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for version in VERSIONS {
        for (sector_size, alignment) in [(512, 4096), (4096, 4096), (1024, 512)] {
            shapes.push(Shape { version, sector_size, alignment });
        }
    }
    shapes
}

/// A directory of its own for each test, removed with it.
///
/// Tests that have one run one at a time: a program that a test starts has, until it executes, the open files
/// of every other test, and their locks with them.
pub(crate) struct Place {
    dir: TempDir,
    _turn: Rc<MutexGuard<'static, ()>>,
}

static TURN: Mutex<()> = Mutex::new(());
thread_local! {
    /// The turn of this thread's test, which may have several places.
    static MINE: RefCell<Weak<MutexGuard<'static, ()>>> = const { RefCell::new(Weak::new()) };
}

impl Place {
    pub(crate) fn new() -> Self {
        let turn = MINE.with_borrow_mut(|mine| {
            mine.upgrade().unwrap_or_else(|| {
                let turn = Rc::new(TURN.lock().unwrap_or_else(PoisonError::into_inner));
                *mine = Rc::downgrade(&turn);
                turn
            })
        });
        // Its real path, so that paths in headers compare equal.
        let dir = tempfile::tempdir_in(fs::canonicalize(std::env::temp_dir()).unwrap()).unwrap();
        Self { dir, _turn: turn }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a raw image and returns its path.
    pub(crate) fn raw(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Names of what is in it, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The real tools' files, unpacked: `base.img` with the time stamp that the COW files have recorded, and
    /// the COW files, which now name that base.
    pub(crate) fn with_fixtures() -> Self {
        let place = Self::new();
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/uml.tar.xz");
        let mut tar = Command::new("tar");
        run(tar.arg("xJf").arg(archive).arg("-C").arg(place.dir()).arg("--strip-components=1"));
        for name in place.names().iter().filter(|n| n.ends_with(".cow") && *n != "qemu-v2.cow") {
            point_at(&place.path(name), &place.path("base.img"));
        }
        place
    }
}

/// The names of the fixtures that our library reads.
pub(crate) const FIXTURES: [&str; 8] = [
    "session.cow",
    "killed.cow",
    "v1-le.cow",
    "v1-be.cow",
    "v2.cow",
    "v3-align512.cow",
    "v3-ss4096.cow",
    "v3-broken64.cow",
];

/// Names another base in a header, and touches nothing else.
pub(crate) fn point_at(cow: &Path, base: &Path) {
    let header = header(cow);
    let moved = header.with_backing(base, header.mtime).unwrap();
    patch(cow, 0, &moved.encode());
}

/// A COW disk and what it must show.
pub(crate) struct Disk {
    pub(crate) cow: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

impl Disk {
    /// A new COW file on `base`, which must now contain `bytes`.
    pub(crate) fn on(cow: PathBuf, base: &Path, how: &Create, bytes: &[u8]) -> Self {
        create(&cow, base, how, &Unobserved).unwrap();
        let disk = Self { cow, bytes: bytes.to_vec() };
        disk.check("just made");
        disk
    }

    /// Writes through the library, and flushes.
    pub(crate) fn write(&mut self, changes: &[(u64, Vec<u8>)]) {
        let chain = Chain::open(&self.cow, &OpenOptions { writable: 1, ..OpenOptions::default() }).unwrap();
        let device = chain.device(0).unwrap();
        for (offset, bytes) in changes {
            device.write_at(bytes, *offset).unwrap();
            self.bytes[*offset as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        device.flush().unwrap();
    }

    /// Some writes of every size up to 50,000 bytes, all over the first `share` of the disk.
    pub(crate) fn scribble(&mut self, seed: u64, share: f64) {
        let mut rng = XorShift::new(seed);
        let end = (self.bytes.len() as f64 * share) as u64;
        let mut changes = Vec::new();
        for _ in 0..12 {
            let offset = rng.below(end);
            let most = [40, 700, 5000, 50_000][rng.below(4) as usize];
            let len = (rng.below(most) + 1).min(end - offset);
            changes.push((offset, random(len, rng.next_u64())));
        }
        self.write(&changes);
    }

    /// It opens, and shows what it must.
    pub(crate) fn check(&self, when: &str) {
        let shown = view(&self.cow);
        same(&shown, &self.bytes, &format!("{} {when}", self.cow.display()));
        same(&merged(&self.cow), &self.bytes, &format!("{} {when}, read by hand", self.cow.display()));
    }
}

/// Fails with the first byte that differs.
pub(crate) fn same(found: &[u8], want: &[u8], what: &str) {
    assert_eq!(found.len(), want.len(), "{what}: size");
    if found != want {
        let at = found.iter().zip(want).position(|(a, b)| a != b).unwrap();
        panic!("{what}: byte {at} is {:#04x} instead of {:#04x}", found[at], want[at]);
    }
}

/// A plain COW file on a raw base, with its identity.
pub(crate) fn plain(shape: Shape) -> Create {
    Create {
        shape,
        base_format: BaseFormat::Raw,
        new_base: None,
        content: Content::Clean,
        identify: true,
        replace: false,
    }
}

/// The same on a COW layer.
pub(crate) fn layered() -> Create {
    Create { base_format: BaseFormat::Cow, ..plain(Shape::default()) }
}

/// What the disk shows through the library.
pub(crate) fn view(cow: &Path) -> Vec<u8> {
    let chain = Chain::open(cow, &OpenOptions::default()).unwrap();
    let device = chain.device(0).unwrap();
    let mut bytes = vec![0; device.len() as usize];
    device.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// What the disk shows, by the format page: one sector after the other, down to a raw base.
pub(crate) fn merged(cow: &Path) -> Vec<u8> {
    let header = header(cow);
    let is_cow =
        cow_format::Layer::read(std::sync::Arc::new(block_device::HostFile::open(cow, true).unwrap()))
            .unwrap()
            .record
            .valid()
            .is_some_and(|r| r.base_is_cow);
    let base = cow.parent().unwrap().join(&header.backing);
    let mut bytes = if is_cow { merged(&base) } else { fs::read(&base).unwrap() };
    overlay(&fs::read(cow).unwrap(), &header.layout, &mut bytes);
    bytes
}

/// Lays the dirty sectors of a COW file over `below`.
pub(crate) fn overlay(file: &[u8], layout: &Layout, below: &mut [u8]) {
    for (i, _) in bits_of(file, layout).iter().enumerate().filter(|(_, dirty)| **dirty) {
        let start = i * layout.sector_size as usize;
        let end = (start + layout.sector_size as usize).min(layout.size as usize);
        let data = layout.data_offset as usize;
        below[start..end].copy_from_slice(&file[data + start..data + end]);
    }
}

pub(crate) fn dirty_sectors(cow: &Path) -> usize {
    bits_of(&fs::read(cow).unwrap(), &header(cow).layout).iter().filter(|dirty| **dirty).count()
}

pub(crate) fn header(cow: &Path) -> Header {
    let mut prefix = Vec::new();
    File::open(cow).unwrap().take(cow_format::MAX_HEADER_LEN as u64).read_to_end(&mut prefix).unwrap();
    Header::parse(&prefix, fs::metadata(cow).unwrap().len()).unwrap()
}

/// Bytes that are never zero in the first half, and have some stretches of zeros in the second.
pub(crate) fn image(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = random(len as u64, seed);
    let mut rng = XorShift::new(seed ^ 0xff);
    for _ in 0..6 {
        let at = len / 2 + rng.below(len as u64 / 2) as usize;
        let end = len.min(at + rng.below(len as u64 / 8) as usize);
        bytes[at..end].fill(0);
    }
    bytes
}

pub(crate) fn random(len: u64, seed: u64) -> Vec<u8> {
    random_bytes(len as usize, &mut XorShift::new(seed))
}

/// Overwrites bytes of a file, past its end too, behind the library's back.
pub(crate) fn patch(path: &Path, offset: u64, bytes: &[u8]) {
    File::options().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

/// Puts bytes at the end of a file.
pub(crate) fn append(path: &Path, bytes: &[u8]) {
    File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

pub(crate) fn truncate(path: &Path, len: u64) {
    File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// Sets a file's modification time, in seconds since 1970.
pub(crate) fn set_mtime(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

pub(crate) fn mtime(path: &Path) -> u64 {
    fs::metadata(path).unwrap().mtime() as u64
}

/// Bytes that a file takes on the host's disk.
pub(crate) fn space(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

/// Runs a program that must succeed.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The path of a program, or a line that says what is skipped without it.
pub(crate) fn tool(name: &str, skipped: &str) -> Option<PathBuf> {
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&dirs).map(|d| d.join(name)).find(|p| p.is_file());
    if found.is_none() {
        println!("SKIPPED: {skipped}: {name} is not installed");
    }
    found
}

/// The real `uml_moo`, which is not the one that this workspace builds.
pub(crate) fn real_moo(skipped: &str) -> Option<PathBuf> {
    let path = PathBuf::from("/usr/bin/uml_moo");
    if path.is_file() {
        return Some(path);
    }
    println!("SKIPPED: {skipped}: the real uml_moo (Debian's uml-utilities) is not installed");
    None
}
