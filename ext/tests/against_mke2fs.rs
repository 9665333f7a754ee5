//! Images that `mke2fs -d` makes of a directory tree: every name, mode, owner, time, link, attribute and byte has to be there.

#![allow(clippy::expect_used)]

use block_device::HostFile;
use ext::{Ext, Inode};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// A tree with one of everything. mke2fs 1.47.0 loses a hole at a file's end where it makes inline data.
fn tree(dir: &Path, hole_at_end: bool) {
    let at = |p: &str| dir.join(p);
    std::fs::create_dir_all(at("a/b/c")).expect("directories");
    std::fs::write(at("empty"), b"").expect("a file");
    std::fs::write(at("short"), b"hello\n").expect("a file");
    std::fs::write(at("inline100"), vec![b'i'; 100]).expect("a file");
    let pattern = |len: usize| {
        (0..len as u32)
            .flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes())
            .take(len)
            .collect::<Vec<u8>>()
    };
    std::fs::write(at("a/block"), pattern(4096)).expect("a file");
    std::fs::write(at("a/large"), pattern(6_000_001)).expect("a file");
    // Holes, before, between and behind data.
    let sparse = std::fs::File::create(at("a/b/sparse")).expect("a file");
    for n in [3u64, 900, 20_000, 50_001] {
        sparse.write_all_at(&pattern(5000), n * 1024).expect("data");
    }
    if hole_at_end {
        sparse.set_len(60_000_000).expect("a hole");
    }
    symlink("short", at("link")).expect("a link");
    symlink("x/".repeat(200), at("longlink")).expect("a link");
    symlink("y".repeat(59), at("link59")).expect("a link");
    symlink("z".repeat(60), at("link60")).expect("a link");
    std::fs::hard_link(at("short"), at("a/b/hard")).expect("a link");
    std::fs::create_dir(at("many")).expect("a directory");
    for n in 0..3000 {
        std::fs::write(at(&format!("many/file with a name of some length {n}")), n.to_string())
            .expect("a file");
    }
    std::fs::write(at(&"n".repeat(255)), b"long name").expect("a file");
    std::fs::set_permissions(at("short"), PermissionsExt::from_mode(0o4751)).expect("a mode");
    let _ = Command::new("mknod").arg(at("device")).args(["b", "300", "70000"]).status();
    let _ = Command::new("mkfifo").arg(at("fifo")).status();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(at("a/block"), Some(100_000), Some(70_000)).expect("an owner");
    }
    let set = |path: &str, name: &str, value: &[u8]| {
        rustix::fs::setxattr(at(path), name, value, rustix::fs::XattrFlags::empty())
    };
    if let Err(e) = set("a/block", "user.small", b"value") {
        println!("SKIPPED: extended attributes: {e}");
        return;
    }
    set("a/block", "user.large", &pattern(700)).expect("an attribute");
    set("a", "user.of.directory", b"").expect("an attribute");
    let acl = "setfacl -m u:1234:rw,g:77:r";
    let done = Command::new("sh").args(["-c", &format!("{acl} {}", at("a/large").display())]).status();
    if !done.is_ok_and(|s| s.success()) {
        println!("SKIPPED: access control lists: setfacl is not there");
    }
}

/// What a tree says of one of its names.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    mode: u32,
    owner: (u32, u32),
    size: u64,
    links: u64,
    /// In seconds: mke2fs keeps no more.
    mtime: i64,
    device: u64,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    content: Vec<u8>,
}

fn host(dir: &Path, path: &Path, out: &mut BTreeMap<PathBuf, Seen>) {
    let m = path.symlink_metadata().expect("it is there");
    let kind = m.file_type();
    let content = if kind.is_file() {
        std::fs::read(path).expect("its bytes")
    } else if kind.is_symlink() {
        std::fs::read_link(path).expect("its target").as_os_str().as_bytes().to_vec()
    } else {
        Vec::new()
    };
    let mut xattrs = BTreeMap::new();
    let mut names = vec![0; 4096];
    let n = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    for name in names[..n].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0; 65536];
        let n = rustix::fs::lgetxattr(path, name, &mut value).expect("its value");
        value.truncate(n);
        xattrs.insert(name.to_vec(), value);
    }
    let seen = Seen {
        mode: m.mode(),
        owner: (m.uid(), m.gid()),
        size: if kind.is_dir() { 0 } else { m.size() },
        links: if kind.is_dir() { 0 } else { m.nlink() },
        mtime: m.mtime(),
        device: m.rdev(),
        xattrs,
        content,
    };
    out.insert(path.strip_prefix(dir).expect("inside").to_path_buf(), seen);
    if kind.is_dir() {
        for entry in std::fs::read_dir(path).expect("a directory").flatten() {
            host(dir, &entry.path(), out);
        }
    }
}

fn ours(ext: &Ext, inode: &Inode, path: &Path, out: &mut BTreeMap<PathBuf, Seen>) {
    let content = if inode.is_regular() {
        let mut bytes = vec![0; inode.size as usize];
        assert_eq!(ext.read(inode.number, 0, &mut bytes).expect("its bytes"), bytes.len());
        bytes
    } else if inode.is_link() {
        ext.read_link(inode).expect("its target")
    } else {
        Vec::new()
    };
    let directory = inode.is_directory();
    let device = inode.device().map_or(0, |(major, minor)| rustix::fs::makedev(major, minor));
    let seen = Seen {
        mode: inode.mode.into(),
        owner: (inode.uid, inode.gid),
        size: if directory { 0 } else { inode.size },
        links: if directory { 0 } else { inode.links.into() },
        mtime: inode.mtime.sec,
        device,
        xattrs: ext.xattrs(inode).expect("its attributes").into_iter().map(|x| (x.name, x.value)).collect(),
        content,
    };
    out.insert(path.to_path_buf(), seen);
    if directory {
        for entry in ext.entries(inode).expect("its entries") {
            if entry.name != b"." && entry.name != b".." && entry.name != b"lost+found" {
                let child = ext.inode(entry.inode).expect("an inode");
                let name = std::ffi::OsStr::from_bytes(&entry.name);
                ours(ext, &child, &path.join(name), out);
            }
        }
    }
}

fn compare(arguments: &[&str]) {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, image) = (dir.path().join("tree"), dir.path().join("image"));
    std::fs::create_dir(&source).expect("a directory");
    tree(&source, !arguments.contains(&"inline_data"));
    let made = Command::new("mke2fs")
        .args(["-q", "-F", "-E", "root_owner=0:0", "-d"])
        .arg(&source)
        .args(arguments)
        .arg(&image)
        .arg("400M")
        .output()
        .expect("mke2fs runs");
    assert!(made.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&made.stderr));
    let checked = Command::new("e2fsck").arg("-fn").arg(&image).output().expect("e2fsck runs");
    assert!(checked.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&checked.stdout));
    let ext = Ext::open(Arc::new(HostFile::open(&image, true).expect("the image"))).expect("it mounts");
    let (mut wanted, mut found) = (BTreeMap::new(), BTreeMap::new());
    host(&source, &source, &mut wanted);
    let root = ext.inode(Ext::ROOT).expect("the root");
    ours(&ext, &root, Path::new(""), &mut found);
    // The root is the image's own; what mke2fs says of its times is not the tree's.
    for all in [&mut wanted, &mut found] {
        all.remove(Path::new(""));
    }
    let names = |all: &BTreeMap<PathBuf, Seen>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&wanted), "{arguments:?}");
    for (path, seen) in &found {
        let other = &wanted[path];
        assert!(seen.content == other.content, "{arguments:?}: {}: other bytes", path.display());
        if seen != other {
            let shortened = |s: &Seen| format!("{s:?}").chars().take(600).collect::<String>();
            panic!("{arguments:?}: {}:\n{}\n{}", path.display(), shortened(seen), shortened(other));
        }
    }
}

#[test]
fn ext4_as_debian_makes_it() {
    compare(&["-t", "ext4"]);
    compare(&["-t", "ext4", "-b", "1024"]);
}

#[test]
fn ext4_in_other_shapes() {
    compare(&["-t", "ext4", "-O", "inline_data"]);
    compare(&["-t", "ext4", "-O", "^metadata_csum,uninit_bg,^64bit"]);
    compare(&["-t", "ext4", "-O", "meta_bg,^resize_inode", "-b", "1024"]);
    compare(&["-t", "ext4", "-I", "128", "-O", "^metadata_csum"]);
    compare(&["-t", "ext4", "-b", "65536", "-N", "8192"]);
}

#[test]
fn ext2_and_ext3() {
    compare(&["-t", "ext2"]);
    compare(&["-t", "ext2", "-b", "1024"]);
    compare(&["-t", "ext3", "-b", "2048"]);
}
