//! Two trees on the host, byte by byte and attribute by attribute. Holes may differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What is at a path.
#[derive(PartialEq, Eq)]
struct Object {
    mode: u32,
    owner: (u32, u32),
    links: u64,
    mtime: (i64, i64),
    atime: (i64, i64),
    device: u64,
    content: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Object { mode, owner, links, mtime, atime, device, content, xattrs } = self;
        let sum = hostfs_mirror::state::manifest::sum(content);
        write!(
            f,
            "mode {mode:o} owner {owner:?} links {links} mtime {mtime:?} atime {atime:?} device {device} "
        )?;
        write!(f, "{} bytes with sum {sum:x} {xattrs:?}", content.len())
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tree {
    objects: BTreeMap<PathBuf, Object>,
    /// Names of one file.
    groups: BTreeSet<BTreeSet<PathBuf>>,
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65536];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut all = BTreeMap::new();
    for name in names[..len].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0; 65536];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("read");
        all.insert(name.to_vec(), value[..len].to_vec());
    }
    all
}

/// Reads without leaving a time behind: another name of the same file is looked at later.
fn read(path: &Path) -> Vec<u8> {
    let flags = rustix::fs::OFlags::NOATIME.bits() as i32;
    let mut file = fs::File::options().read(true).custom_flags(flags).open(path).expect("opened");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("read");
    bytes
}

fn look(root: &Path) -> Tree {
    let (mut tree, mut todo) = (Tree::default(), vec![PathBuf::new()]);
    let mut names: BTreeMap<u64, BTreeSet<PathBuf>> = BTreeMap::new();
    while let Some(path) = todo.pop() {
        let whole = root.join(&path);
        // Before anything is read: reading has a time too.
        let m: Metadata = fs::symlink_metadata(&whole).expect("there");
        let kind = m.file_type();
        let content = match kind {
            k if k.is_file() => read(&whole),
            k if k.is_symlink() => fs::read_link(&whole).expect("read").as_os_str().as_bytes().to_vec(),
            _ => Vec::new(),
        };
        if kind.is_dir() {
            for entry in fs::read_dir(&whole).expect("listed") {
                let name = entry.expect("listed").file_name();
                // The set's own times are no part of the tree; neither is what it keeps.
                if !(path.as_os_str().is_empty() && name == hostfs_mirror::state::NAME) {
                    todo.push(path.join(name));
                }
            }
        } else {
            names.entry(m.ino()).or_default().insert(path.clone());
        }
        let special = kind.is_block_device() || kind.is_char_device();
        let object = Object {
            mode: m.mode(),
            owner: (m.uid(), m.gid()),
            links: m.nlink(),
            mtime: (m.mtime(), m.mtime_nsec()),
            atime: (m.atime(), m.atime_nsec()),
            device: if special { m.rdev() } else { 0 },
            content,
            xattrs: xattrs(&whole),
        };
        tree.objects.insert(path, object);
    }
    tree.groups = names.into_values().collect();
    tree
}

/// The legs hold the same.
pub(crate) fn assert_equal(legs: &[PathBuf]) {
    compare(legs.iter().map(|leg| look(leg)).collect(), legs);
}

/// The same, but for access times: a leg that was brought up to date was read from, and what was only read meanwhile it has not missed.
pub(crate) fn assert_equal_but_access(legs: &[PathBuf]) {
    let mut trees: Vec<Tree> = legs.iter().map(|leg| look(leg)).collect();
    trees.iter_mut().flat_map(|tree| tree.objects.values_mut()).for_each(|object| object.atime = (0, 0));
    compare(trees, legs);
}

fn compare(trees: Vec<Tree>, legs: &[PathBuf]) {
    for (leg, tree) in legs.iter().zip(&trees).skip(1) {
        for (path, object) in &trees[0].objects {
            let other = tree.objects.get(path);
            assert!(other == Some(object), "{}: {}:\n{object:?}\n{other:?}", leg.display(), path.display());
        }
        assert_eq!(trees[0].objects.len(), tree.objects.len(), "{} has more", leg.display());
        assert_eq!(trees[0].groups, tree.groups, "hard links of {}", leg.display());
    }
}
