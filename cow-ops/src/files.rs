//! Which files differ between two disks: their ext file systems, read side by side. Nothing is written: a journal that needs recovery is
//! replayed in memory.

use crate::error::{Error, Result};
use block_device::{BlockDevice, Observer};
use ext::{Ext, Flags, Inode, InodeNumber};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// What became of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
    /// It is what another name was, which is gone.
    Renamed,
    /// It is there in both, and differs.
    Changed,
}

/// What differs of something that is there in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Its type.
    Type,
    /// Its bytes, its target, or its device number.
    Content,
    /// Permissions.
    Mode,
    /// Owner or group.
    Owner,
    /// Time of its last change; told only where its content is the same.
    Time,
    /// Extended attributes, access control lists.
    Xattr,
    /// It is another file of that name, or has other names besides.
    Links,
}

/// One name that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its path, from the root, as text.
    pub path: String,
    /// What became of it.
    pub fate: Fate,
    /// The name that it had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What differs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub what: Vec<What>,
    /// Its type: `file`, `directory`, `link` and so on.
    pub kind: &'static str,
    /// Bytes of a regular file, before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<(Option<u64>, Option<u64>)>,
}

/// What is found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// By path.
    pub changes: Vec<Change>,
    /// The file system was not unmounted: what is told is what recovery will make of it.
    pub recovered: bool,
}

type Names = BTreeMap<Vec<u8>, InodeNumber>;

/// One of the two sides.
struct Side {
    ext: Ext,
    names: Names,
    inodes: HashMap<InodeNumber, Inode>,
}

/// A directory of a damaged file system may lead into itself.
const DEEPEST: usize = 4096;

impl Side {
    fn read(device: Arc<dyn BlockDevice>, path: &Path, observer: &dyn Observer) -> Result<Side> {
        let failed = |source| Error::Files { path: path.to_owned(), source };
        let ext = Ext::open(device).map_err(failed)?;
        let root = ext.inode(Ext::ROOT).map_err(failed)?;
        let mut side = Side { ext, names: Names::new(), inodes: HashMap::from([(Ext::ROOT, root)]) };
        let mut dirs = vec![(Vec::new(), Ext::ROOT, 0)];
        while let Some((here, number, depth)) = dirs.pop() {
            if observer.cancelled() {
                return Err(Error::Cancelled(""));
            }
            let inode = side.inodes[&number].clone();
            for entry in side.ext.entries(&inode).map_err(failed)? {
                if matches!(&entry.name[..], b"." | b"..") {
                    continue;
                }
                let child = [&here[..], b"/", &entry.name].concat();
                let known = side.inodes.contains_key(&entry.inode);
                if !known {
                    let inode = side.ext.inode(entry.inode).map_err(failed)?;
                    if inode.is_directory() && depth < DEEPEST {
                        dirs.push((child.clone(), entry.inode, depth + 1));
                    }
                    side.inodes.insert(entry.inode, inode);
                }
                side.names.insert(child, entry.inode);
            }
        }
        Ok(side)
    }
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn kind(inode: &Inode) -> &'static str {
    match inode.kind() {
        0x8000 => "file",
        0x4000 => "directory",
        0xa000 => "link",
        0x2000 => "character device",
        0x6000 => "block device",
        0x1000 => "fifo",
        0xc000 => "socket",
        _ => "unknown",
    }
}

fn size(inode: &Inode) -> Option<u64> {
    inode.is_regular().then_some(inode.size)
}

/// Compares the files of `new` with those of `old`, which it was made from.
///
/// # Errors
/// [`Error::Files`] where one of them is no ext file system, or damaged; [`Error::Cancelled`].
pub fn status(
    old: (&Path, Arc<dyn BlockDevice>),
    new: (&Path, Arc<dyn BlockDevice>),
    observer: &dyn Observer,
) -> Result<Status> {
    let a = Side::read(old.1, old.0, observer)?;
    let b = Side::read(new.1, new.0, observer)?;
    let failed = |source| Error::Files { path: new.0.to_owned(), source };
    let mut changes = Vec::new();
    let gone: Names =
        a.names.iter().filter(|(p, _)| !b.names.contains_key(*p)).map(|(p, n)| (p.clone(), *n)).collect();
    let mut moved: HashMap<InodeNumber, &Vec<u8>> = HashMap::new();
    for (path, number) in &gone {
        moved.entry(*number).or_insert(path);
    }
    let mut taken: Vec<&Vec<u8>> = Vec::new();
    for (path, number) in &b.names {
        if observer.cancelled() {
            return Err(Error::Cancelled(""));
        }
        let inode = &b.inodes[number];
        let before = a.names.get(path).map(|n| &a.inodes[n]);
        if let Some(before) = before {
            let what = differences(&a, before, &b, inode).map_err(failed)?;
            if !what.is_empty() {
                let sizes = (size(before), size(inode));
                let size = (sizes != (None, None)).then_some(sizes);
                let kind = kind(inode);
                changes.push(Change { path: text(path), fate: Fate::Changed, from: None, what, kind, size });
            }
            continue;
        }
        // The same inode, by its number and its generation, under a name that is gone.
        let from = moved.get(number).filter(|_| {
            a.inodes.get(number).is_some_and(|i| i.generation == inode.generation && i.kind() == inode.kind())
        });
        match from {
            Some(from) if !taken.contains(from) => {
                taken.push(from);
                // What lies in a directory that was moved has moved with it.
                if under_same_move(path, from, &b.names, &a.names) {
                    continue;
                }
                let what = differences(&a, &a.inodes[number], &b, inode).map_err(failed)?;
                let sizes = (size(&a.inodes[number]), size(inode));
                let size = (sizes != (None, None)).then_some(sizes);
                let from = Some(text(from));
                changes.push(Change {
                    path: text(path),
                    fate: Fate::Renamed,
                    from,
                    what,
                    kind: kind(inode),
                    size,
                });
            }
            _ => {
                let size = size(inode).map(|s| (None, Some(s)));
                changes.push(Change {
                    path: text(path),
                    fate: Fate::Added,
                    from: None,
                    what: Vec::new(),
                    kind: kind(inode),
                    size,
                });
            }
        }
    }
    for (path, number) in &gone {
        if taken.contains(&path) {
            continue;
        }
        let inode = &a.inodes[number];
        let size = size(inode).map(|s| (Some(s), None));
        let what = Vec::new();
        changes.push(Change {
            path: text(path),
            fate: Fate::Deleted,
            from: None,
            what,
            kind: kind(inode),
            size,
        });
    }
    changes.sort_by(|x, y| x.path.cmp(&y.path));
    Ok(Status { changes, recovered: b.ext.was_recovered() })
}

/// Whether a name has moved only because its directory has.
fn under_same_move(path: &[u8], from: &[u8], new: &Names, old: &Names) -> bool {
    let split = |p: &[u8]| p.iter().rposition(|b| *b == b'/').map(|at| (p[..at].to_vec(), p[at..].to_vec()));
    let (Some((to_dir, to_name)), Some((from_dir, from_name))) = (split(path), split(from)) else {
        return false;
    };
    let same = new.get(&to_dir).is_some() && new.get(&to_dir) == old.get(&from_dir);
    same && to_name == from_name && to_dir != from_dir
}

fn differences(a: &Side, old: &Inode, b: &Side, new: &Inode) -> std::result::Result<Vec<What>, ext::Error> {
    let mut what = Vec::new();
    if old.kind() != new.kind() {
        return Ok(vec![What::Type]);
    }
    // Nothing changes an inode without its ctime: most are done here.
    let same_inode = old.number == new.number && old.generation == new.generation;
    if same_inode && old.ctime == new.ctime && old.mtime == new.mtime && old.size == new.size {
        return Ok(what);
    }
    let content = match new.kind() {
        0x8000 => !same_bytes(a, old, b, new)?,
        0xa000 => a.ext.read_link(old)? != b.ext.read_link(new)?,
        0x2000 | 0x6000 => old.device() != new.device(),
        _ => false,
    };
    let mut add = |differs: bool, one: What| {
        if differs {
            what.push(one);
        }
    };
    add(content, What::Content);
    add(old.mode != new.mode, What::Mode);
    add((old.uid, old.gid) != (new.uid, new.gid), What::Owner);
    add(!content && !new.is_directory() && old.mtime != new.mtime, What::Time);
    add(a.ext.xattrs(old)? != b.ext.xattrs(new)?, What::Xattr);
    add(!new.is_directory() && old.links != new.links, What::Links);
    Ok(what)
}

fn same_bytes(a: &Side, old: &Inode, b: &Side, new: &Inode) -> std::result::Result<bool, ext::Error> {
    const PIECE: usize = 1 << 20;
    if old.size != new.size {
        return Ok(false);
    }
    let inline = old.flags.contains(Flags::INLINE_DATA) || new.flags.contains(Flags::INLINE_DATA);
    let block = u64::from(a.ext.superblock().block_size);
    let same_blocks = block == u64::from(b.ext.superblock().block_size);
    let (mut x, mut y) = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = 0;
    while at < new.size {
        let mut n = PIECE.min((new.size - at) as usize);
        if !inline && same_blocks {
            // Holes in both read the same.
            let (p, q) = (a.ext.run(old.number, at / block)?, b.ext.run(new.number, at / block)?);
            if p.physical.is_none() && q.physical.is_none() {
                at = (p.logical + p.len.min(q.len)).saturating_mul(block);
                continue;
            }
            n = n.min(usize::try_from(p.len.min(q.len).saturating_mul(block)).unwrap_or(n));
        }
        a.ext.read(old.number, at, &mut x[..n])?;
        b.ext.read(new.number, at, &mut y[..n])?;
        if x[..n] != y[..n] {
            return Ok(false);
        }
        at += n as u64;
    }
    Ok(true)
}
