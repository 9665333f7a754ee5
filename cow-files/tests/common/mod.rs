//! What the tests share: images that mke2fs makes, the host kernel's mount of them, and trees as the host sees them.
#![allow(dead_code)]

use block_device::Unobserved;
use cow_ops::{BaseFormat, Content, Create};
use rustix::fs::{lgetxattr, llistxattr};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::UNIX_EPOCH;

/// Held by each test: a program that another one starts has, between its fork and its exec, all that is open here, locks too.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"))
}

#[track_caller]
pub(crate) fn must(program: &str, args: &[&str]) -> String {
    let output = run(program, args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An image with a file system of these options, with the content of a directory.
pub(crate) fn image(path: &Path, mib: u64, options: &[&str], from: &Path) {
    // A new inode: the loop device of the last mount may be on its way out still.
    let _ = fs::remove_file(path);
    fs::File::create(path).unwrap().set_len(mib << 20).unwrap();
    let mut args = vec!["-q", "-F", "-d", text(from)];
    args.extend(options);
    args.push(text(path));
    must("mke2fs", &args);
}

#[track_caller]
pub(crate) fn sound(image: &Path) {
    let output = run("e2fsck", &["-fn", text(image)]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// A COW file on a base that shows what a changed copy of it does.
pub(crate) fn cow(path: &Path, base: &Path, changed: Option<&Path>) {
    let how = Create {
        shape: Default::default(),
        base_format: BaseFormat::Raw,
        new_base: None,
        content: changed.map_or(Content::Clean, |c| Content::CopyOf(c.to_owned())),
        identify: false,
        replace: true,
    };
    cow_ops::create(path, base, &how, &Unobserved).unwrap();
}

/// What a COW file shows, as a raw image.
pub(crate) fn flat(cow: &Path, into: &Path) {
    let _ = fs::remove_file(into);
    let how = cow_ops::merge::NewFileMerge { all: true, ..Default::default() };
    cow_ops::merge::merge_new(cow, into, &how, &Unobserved).unwrap();
}

/// An image that the host's kernel has mounted.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// `None` where the host does not let us; why is printed.
    pub(crate) fn new(image: &Path, at: PathBuf, options: &str) -> Option<Mount> {
        fs::create_dir_all(&at).unwrap();
        let options = format!("loop,{options}");
        let output = run("mount", &["-t", "ext4", "-o", &options, text(image), text(&at)]);
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            eprintln!("SKIPPED: no loop mount here (root is needed): {}", why.trim());
            return None;
        }
        Some(Mount(at))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let done = run("umount", &[text(&self.0)]);
        assert!(done.status.success() || std::thread::panicking(), "umount: {done:?}");
    }
}

/// One name, as the host sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) ino: u64,
    pub(crate) born: u128,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) size: u64,
    pub(crate) links: u64,
    pub(crate) mtime: (i64, i64),
    pub(crate) rdev: u64,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Bytes of a file, target of a link.
    pub(crate) content: Vec<u8>,
}

impl Seen {
    pub(crate) fn is_dir(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// What tells a file from another at two times.
    pub(crate) fn identity(&self) -> (u64, u128, u32) {
        (self.ino, self.born, self.mode & 0o170_000)
    }
}

pub(crate) type Tree = BTreeMap<Vec<u8>, Seen>;

/// All below a directory; paths from it on, with a slash at their begin.
pub(crate) fn tree(root: &Path) -> Tree {
    let mut out = Tree::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let inside = &path.as_os_str().as_bytes()[root.as_os_str().len()..];
        let name = if inside.is_empty() { b"/".to_vec() } else { inside.to_vec() };
        let mut seen = Seen {
            ino: meta.ino(),
            born: meta.created().map_or(0, |t| t.duration_since(UNIX_EPOCH).unwrap().as_nanos()),
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            size: meta.size(),
            links: meta.nlink(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            rdev: meta.rdev(),
            xattrs: xattrs(&path),
            content: Vec::new(),
        };
        if meta.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            (seen.size, seen.links) = (0, 0);
        } else if meta.is_file() {
            seen.content = fs::read(&path).unwrap();
        } else if meta.is_symlink() {
            seen.content = fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec();
        }
        out.insert(name, seen);
    }
    out
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65536];
    let Ok(len) = llistxattr(path, &mut names[..]) else { return BTreeMap::new() };
    let all = names[..len].split(|b| *b == 0).filter(|n| !n.is_empty());
    all.map(|name| {
        let mut value = vec![0; 65536];
        let len = lgetxattr(path, std::ffi::OsStr::from_bytes(name), &mut value[..]).unwrap();
        (name.to_vec(), value[..len].to_vec())
    })
    .collect()
}

/// The same trees but for what a copy cannot keep.
#[track_caller]
pub(crate) fn expect_copy(copy: &Tree, of: &Tree, directory_times: bool) {
    let plain = |tree: &Tree| -> Tree {
        let strip = |(path, seen): (&Vec<u8>, &Seen)| {
            let mut seen = Seen { ino: 0, born: 0, ..seen.clone() };
            if seen.is_dir() && !directory_times || path == b"/" {
                seen.mtime = (0, 0);
            }
            (path.clone(), seen)
        };
        tree.iter().map(strip).collect()
    };
    let (a, b) = (plain(copy), plain(of));
    for (path, seen) in &b {
        let name = String::from_utf8_lossy(path);
        let there = a.get(path).unwrap_or_else(|| panic!("{name} is missing"));
        if there != seen {
            let brief =
                |s: &Seen| Seen { content: s.content[..s.content.len().min(40)].to_vec(), ..s.clone() };
            panic!("{name}: {:?}\nis to be {:?}", brief(there), brief(seen));
        }
    }
    let more: Vec<_> = a.keys().filter(|p| !b.contains_key(*p)).map(|p| String::from_utf8_lossy(p)).collect();
    assert!(more.is_empty(), "too much: {more:?}");
}

/// A small generator (xorshift) for seeded tests.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    /// Lines of text.
    pub(crate) fn lines(&mut self, n: usize) -> Vec<u8> {
        (0..n).flat_map(|_| format!("line {}\n", self.below(1000)).into_bytes()).collect()
    }
}

/// A directory with some of everything.
pub(crate) fn sample(root: &Path, rng: &mut Rng) {
    for d in 0..12 {
        let dir = root.join(format!("d{}/s{d}", d % 4));
        fs::create_dir_all(&dir).unwrap();
        for f in 0..10 {
            let lines = rng.below(200);
            fs::write(dir.join(format!("f{f}")), rng.lines(lines)).unwrap();
        }
    }
    fs::write(root.join("d0/large"), rng.bytes(300_000)).unwrap();
    fs::write(root.join("d1/empty"), b"").unwrap();
    fs::hard_link(root.join("d0/s0/f1"), root.join("d1/hard")).unwrap();
    std::os::unix::fs::symlink("s0/f1", root.join("d0/link")).unwrap();
    std::os::unix::fs::symlink(format!("/{}", "x".repeat(200)), root.join("d0/long")).unwrap();
    must("mkfifo", &[text(&root.join("d2/fifo"))]);
}
