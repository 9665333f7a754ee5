//! Whole trees: of a directory of the host's, and of a file system that this crate reads.

#![allow(dead_code, clippy::expect_used)]

use ext::{Ext, Inode};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a tree says of one of its names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    mode: u32,
    owner: (u32, u32),
    size: u64,
    links: u64,
    /// Units of 512 bytes.
    blocks: u64,
    /// Seconds and nanoseconds.
    times: [(i64, i64); 2],
    device: u64,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    content: Vec<u8>,
}

pub(crate) type Tree = BTreeMap<Vec<u8>, Seen>;

pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Regular files.
pub(crate) fn files(tree: &Tree) -> Vec<Vec<u8>> {
    tree.iter().filter(|(_, s)| s.mode & 0o170_000 == 0o100_000).map(|(p, _)| p.clone()).collect()
}

pub(crate) fn of_host(dir: &Path) -> Tree {
    let mut out = Tree::new();
    let mut dirs = vec![PathBuf::new()];
    while let Some(here) = dirs.pop() {
        for entry in std::fs::read_dir(dir.join(&here)).expect("a directory").flatten() {
            let path = here.join(entry.file_name());
            if path == Path::new("lost+found") {
                continue;
            }
            let seen = seen_by_host(&dir.join(&path));
            if seen.mode & 0o170_000 == 0o040_000 {
                dirs.push(path.clone());
            }
            out.insert(path.into_os_string().into_vec(), seen);
        }
    }
    out
}

fn seen_by_host(path: &Path) -> Seen {
    let m = path.symlink_metadata().expect("it is there");
    let kind = m.file_type();
    let content = if kind.is_file() {
        std::fs::read(path).expect("its bytes")
    } else if kind.is_symlink() {
        std::fs::read_link(path).expect("its target").into_os_string().into_vec()
    } else {
        Vec::new()
    };
    let mut xattrs = BTreeMap::new();
    let mut names = vec![0; 8192];
    let n = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    for name in names[..n].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0; 65536];
        let n = rustix::fs::lgetxattr(path, name, &mut value).expect("its value");
        value.truncate(n);
        xattrs.insert(name.to_vec(), value);
    }
    Seen {
        mode: m.mode(),
        owner: (m.uid(), m.gid()),
        size: m.size(),
        links: m.nlink(),
        blocks: m.blocks(),
        times: [(m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec())],
        device: m.rdev(),
        xattrs,
        content,
    }
}

pub(crate) fn of_ext(ext: &Ext) -> Tree {
    let mut out = Tree::new();
    let mut dirs = vec![(Vec::new(), ext.inode(Ext::ROOT).expect("the root"))];
    while let Some((here, inode)) = dirs.pop() {
        for entry in ext.entries(&inode).expect("its entries") {
            if matches!(&entry.name[..], b"." | b"..") || here.is_empty() && entry.name == b"lost+found" {
                continue;
            }
            let mut path: Vec<u8> = here.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&entry.name);
            let child = ext.inode(entry.inode).expect("an inode");
            assert_eq!(ext.lookup(&inode, &entry.name).expect("it is found"), entry.inode);
            out.insert(path.clone(), seen_by_ext(ext, &child));
            if child.is_directory() {
                dirs.push((path, child));
            }
        }
    }
    out
}

fn seen_by_ext(ext: &Ext, inode: &Inode) -> Seen {
    let content = if inode.is_regular() {
        let mut bytes = vec![0; inode.size as usize];
        assert_eq!(ext.read(inode.number, 0, &mut bytes).expect("its bytes"), bytes.len());
        bytes
    } else if inode.is_link() {
        ext.read_link(inode).expect("its target")
    } else {
        Vec::new()
    };
    // As stat(2) counts them (ext4_file_getattr).
    let counted = inode.is_regular() && inode.flags.contains(ext::Flags::INLINE_DATA);
    let inline = if counted { inode.size.div_ceil(512) } else { 0 };
    Seen {
        mode: inode.mode.into(),
        owner: (inode.uid, inode.gid),
        size: inode.size,
        links: inode.links.into(),
        blocks: inode.blocks + inline,
        times: [inode.mtime, inode.ctime].map(|t| (t.sec, i64::from(t.nsec))),
        device: inode.device().map_or(0, |(major, minor)| rustix::fs::makedev(major, minor)),
        xattrs: ext.xattrs(inode).expect("its attributes").into_iter().map(|x| (x.name, x.value)).collect(),
        content,
    }
}

pub(crate) fn compare(ours: &Tree, theirs: &Tree, what: &str) {
    let names = |t: &Tree| t.keys().map(|k| String::from_utf8_lossy(k).into_owned()).collect::<Vec<_>>();
    assert_eq!(names(ours), names(theirs), "{what}");
    for (path, seen) in ours {
        let other = &theirs[path];
        let shown = String::from_utf8_lossy(path);
        assert!(seen.content == other.content, "{what}: {shown}: other bytes");
        if seen != other {
            let shortened = |s: &Seen| format!("{s:?}").chars().take(500).collect::<String>();
            panic!("{what}: {shown}:\n{}\n{}", shortened(seen), shortened(other));
        }
    }
}

/// Fills a directory with one of everything, and much of some.
pub(crate) fn make(dir: &Path) {
    let at = |p: &str| dir.join(p);
    let pattern = |len: usize| {
        (0..len as u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .take(len)
            .collect::<Vec<u8>>()
    };
    std::fs::create_dir_all(at("a/b/c")).expect("directories");
    std::fs::write(at("empty"), b"").expect("a file");
    std::fs::write(at("short"), b"hello\n").expect("a file");
    std::fs::write(at("a/large"), pattern(6_000_001)).expect("a file");
    let sparse = std::fs::File::create(at("a/b/sparse")).expect("a file");
    for n in [3u64, 900, 20_000, 50_001] {
        sparse.write_all_at(&pattern(5000), n * 1024).expect("data");
    }
    sparse.set_len(60_000_000).expect("a hole");
    // Space that nothing has been written to; ext2 and ext3 have none.
    let _ = rustix::fs::fallocate(&sparse, rustix::fs::FallocateFlags::KEEP_SIZE, 30_000_000, 500_000);
    let _ = rustix::fs::fallocate(
        &sparse,
        rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE,
        5000,
        1000,
    );
    for (name, target) in
        [("link", "short".to_string()), ("long link", "x/".repeat(200)), ("link60", "z".repeat(60))]
    {
        symlink(target, at(name)).expect("a link");
    }
    std::fs::hard_link(at("short"), at("a/b/hard")).expect("a link");
    std::fs::create_dir(at("many")).expect("a directory");
    for n in 0..2500 {
        std::fs::write(at(&format!("many/file with a name of some length {n}")), n.to_string())
            .expect("a file");
    }
    for n in (0..2500).step_by(3) {
        std::fs::remove_file(at(&format!("many/file with a name of some length {n}"))).expect("it goes");
    }
    std::fs::set_permissions(at("short"), PermissionsExt::from_mode(0o4751)).expect("a mode");
    std::os::unix::fs::lchown(at("a/large"), Some(100_000), Some(70_000)).expect("an owner");
    let _ = Command::new("mknod").arg(at("device")).args(["b", "300", "70000"]).status();
    let set = |path: &str, name: &str, value: &[u8]| {
        rustix::fs::setxattr(at(path), name, value, rustix::fs::XattrFlags::empty())
    };
    set("a/large", "user.small", b"value").expect("an attribute");
    set("a/large", "user.large", &pattern(700)).expect("an attribute");
    set("a", "user.of.directory", b"").expect("an attribute");
    let acl = format!("setfacl -m u:1234:rw,g:77:r '{}'", at("a/b/sparse").display());
    if !Command::new("sh").args(["-c", &acl]).status().is_ok_and(|s| s.success()) {
        println!("SKIPPED: access control lists: setfacl is not there");
    }
    let old = std::time::UNIX_EPOCH + std::time::Duration::new(5_000_000_000, 123_456_789);
    let times = std::fs::FileTimes::new().set_modified(old);
    std::fs::File::options()
        .write(true)
        .open(at("empty"))
        .expect("a file")
        .set_times(times)
        .expect("its times");
}
