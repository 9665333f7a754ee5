//! Attributes whose values are in inodes of their own: made, replaced, removed, ended with their file; e2fsck finds nothing at each step, and
//! the host's kernel has the same, of what it wrote itself too.

#![allow(clippy::expect_used)]

mod common;
mod tree;

use block_device::HostFile;
use common::{e2fsck, mke2fs};
use ext::{Error, Ext, InodeNumber, NewInode, XattrMode};
use rustix::fs::{XattrFlags, setxattr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const FILE: NewInode = NewInode { mode: 0x81a4, uid: 5, gid: 6, device: (0, 0) };
const SHAPES: &[&[&str]] = &[
    &["-t", "ext4", "-O", "ea_inode"],
    &["-t", "ext4", "-O", "ea_inode", "-b", "1024"],
    &["-t", "ext4", "-O", "ea_inode,inline_data"],
    &["-t", "ext4", "-O", "ea_inode,^metadata_csum", "-I", "128", "-b", "1024"],
];

fn value(n: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| n ^ (at % 251) as u8).collect()
}

/// Mounts, changes, unmounts, and has it checked.
fn step<T>(image: &Path, what: &str, change: impl FnOnce(&Ext) -> T) -> T {
    let ext = Ext::open_rw(Arc::new(HostFile::open(image, false).expect("the image"))).expect("it mounts");
    let out = change(&ext);
    ext.unmount().expect("it unmounts");
    e2fsck(image, what);
    out
}

fn get(ext: &Ext, number: InodeNumber, name: &[u8]) -> Option<Vec<u8>> {
    let all = ext.xattrs(&ext.inode(number).expect("it")).expect("its attributes");
    all.into_iter().find(|x| x.name == name).map(|x| x.value)
}

fn ours(image: &Path) -> tree::Tree {
    tree::of_ext(&Ext::open(Arc::new(HostFile::open(image, true).expect("the image"))).expect("it mounts"))
}

/// Runs something where the host has it mounted; `false` where it may not be.
fn on_host(image: &Path, at: &Path, work: impl FnOnce(&Path)) -> bool {
    std::fs::create_dir_all(at).expect("a directory");
    let done = Command::new("mount").args(["-o", "loop,noatime"]).arg(image).arg(at).output();
    if !done.is_ok_and(|o| o.status.success()) {
        println!("SKIPPED: it cannot be mounted");
        return false;
    }
    work(at);
    Command::new("umount").arg(at).status().expect("umount runs");
    true
}

#[test]
fn values_in_inodes_are_made_and_end() {
    for shape in SHAPES {
        let what = shape.join(" ");
        let dir = tempfile::tempdir().expect("a directory");
        let (image, at) = (dir.path().join("image"), dir.path().join("mnt"));
        mke2fs(&image, shape, "48M");
        let free = step(&image, &what, |ext| ext.free().expect("it"));
        let file = step(&image, &format!("{what}: made"), |ext| {
            let file = ext.make(Ext::ROOT, b"file", &FILE).expect("a file").number;
            for (name, len) in [("user.a", 65536), ("user.b", 5000), ("user.c", 1), ("user.d", 20_000)] {
                ext.set_xattr(file, name.as_bytes(), Some(&value(1, len)), XattrMode::Create).expect("set");
            }
            let many = ext.make(Ext::ROOT, b"many", &FILE).expect("a file").number;
            for n in 0..20 {
                let name = format!("user.{n}");
                ext.set_xattr(many, name.as_bytes(), Some(&value(n, 4500)), XattrMode::Any).expect("set");
            }
            let too_long = ext.set_xattr(file, b"user.e", Some(&value(1, 65537)), XattrMode::Any);
            assert!(matches!(too_long, Err(Error::NoSpace)));
            file
        });
        let theirs = Command::new("debugfs").args(["-R", "ea_get -V /file user.b"]).arg(&image).output();
        assert!(theirs.expect("debugfs runs").stdout.starts_with(&value(1, 5000)), "{what}: debugfs");
        step(&image, &format!("{what}: replaced"), |ext| {
            ext.set_xattr(file, b"user.a", Some(&value(2, 40_000)), XattrMode::Replace).expect("set");
            ext.set_xattr(file, b"user.b", Some(b"short"), XattrMode::Replace).expect("set");
            ext.set_xattr(file, b"user.c", Some(&value(4, 9999)), XattrMode::Replace).expect("set");
            ext.set_xattr(file, b"user.d", None, XattrMode::Any).expect("removed");
        });
        step(&image, &format!("{what}: read"), |ext| {
            assert_eq!(get(ext, file, b"user.a"), Some(value(2, 40_000)));
            assert_eq!(get(ext, file, b"user.b"), Some(b"short".to_vec()));
            assert_eq!(get(ext, file, b"user.c"), Some(value(4, 9999)));
            assert_eq!(get(ext, file, b"user.d"), None);
        });
        let mounted = on_host(&image, &at, |at| {
            tree::compare(&ours(&image), &tree::of_host(at), &what);
            // Of equal values it has one inode, of equal blocks one block.
            for name in ["one", "two", "three"] {
                std::fs::write(at.join(name), name).expect("a file");
                for x in ["user.p", "user.q"] {
                    setxattr(at.join(name), x, &value(7, 30_000), XattrFlags::empty()).expect("set");
                }
                setxattr(at.join(name), "user.same", &value(7, 600), XattrFlags::empty()).expect("set");
            }
            setxattr(at.join("file"), "user.a", b"now short", XattrFlags::empty()).expect("set");
            Command::new("sync").arg("-f").arg(at).status().expect("sync");
            tree::compare(&ours(&image), &tree::of_host(at), &format!("{what}: the host's"));
        });
        if mounted {
            e2fsck(&image, &format!("{what}: the host's"));
            step(&image, &format!("{what}: shared"), |ext| {
                let number = |path: &[u8]| ext.find(path).expect("it").number;
                ext.set_xattr(number(b"one"), b"user.p", None, XattrMode::Any).expect("removed");
                ext.set_xattr(number(b"two"), b"user.new", Some(&value(1, 9000)), XattrMode::Any)
                    .expect("set");
                assert_eq!(get(ext, number(b"three"), b"user.p"), Some(value(7, 30_000)));
            });
            let same = on_host(&image, &at, |at| {
                tree::compare(&ours(&image), &tree::of_host(at), &format!("{what}: shared"));
            });
            assert!(same);
        }
        for name in ["one", "two", "three", "many", "file"] {
            step(&image, &format!("{what}: without {name}"), |ext| {
                if let Ok(inode) = ext.unlink(Ext::ROOT, name.as_bytes()) {
                    ext.release(inode.number).expect("it ends");
                }
            });
        }
        let now = step(&image, &what, |ext| ext.free().expect("it"));
        assert_eq!(now, free, "{what}: all that they had is free again");
    }
}

#[test]
fn without_the_feature_a_large_value_has_no_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = dir.path().join("image");
    mke2fs(&image, &["-t", "ext4"], "16M");
    step(&image, "no room", |ext| {
        let file = ext.make(Ext::ROOT, b"file", &FILE).expect("a file").number;
        let done = ext.set_xattr(file, b"user.a", Some(&value(1, 5000)), XattrMode::Any);
        assert!(matches!(done, Err(Error::NoSpace)));
    });
}

/// A link that is short enough for its inode stays there when a value in an inode is charged to it: the length alone tells, as for Linux
/// (ext4_inode_is_fast_symlink). E2fsck of e2fsprogs 1.47 goes by the blocks, and finds the same wrong with Linux's link as with ours.
#[test]
fn a_short_link_with_a_value_is_as_linux_makes_it() {
    for shape in SHAPES {
        let what = shape.join(" ");
        let dir = tempfile::tempdir().expect("a directory");
        let (own, host, at) = (dir.path().join("own"), dir.path().join("host"), dir.path().join("mnt"));
        let links: [(&str, usize); 3] = [("short", 5), ("longest", 59), ("outside", 60)];
        let target = |len: usize| "t".repeat(len);
        mke2fs(&own, shape, "24M");
        mke2fs(&host, shape, "24M");
        let ext = Ext::open_rw(Arc::new(HostFile::open(&own, false).expect("the image"))).expect("it mounts");
        for (name, len) in links {
            let link =
                ext.symlink(Ext::ROOT, name.as_bytes(), &FILE, target(len).as_bytes()).expect("a link");
            let set = ext.set_xattr(link.number, b"trusted.big", Some(&value(3, 6000)), XattrMode::Create);
            set.expect("set");
        }
        ext.unmount().expect("it unmounts");
        let mounted = on_host(&host, &at, |at| {
            for (name, len) in links {
                let link = at.join(name);
                std::os::unix::fs::symlink(target(len), &link).expect("a link");
                std::os::unix::fs::lchown(&link, Some(FILE.uid), Some(FILE.gid)).expect("an owner");
                rustix::fs::lsetxattr(&link, "trusted.big", &value(3, 6000), XattrFlags::empty())
                    .expect("set");
            }
        });
        if !mounted {
            return;
        }
        let found = |image: &Path| {
            let checked = Command::new("e2fsck").arg("-fn").arg(image).output().expect("e2fsck runs");
            let said = String::from_utf8_lossy(&checked.stdout).into_owned();
            let about = |l: &&str| l.contains("llegal") || l.contains("symlink") || l.contains("Inode");
            // Inodes have other numbers.
            let words = |l: &str| l.replace(|c: char| c.is_ascii_digit(), "");
            said.lines().filter(about).map(words).collect::<Vec<_>>()
        };
        assert_eq!(found(&own), found(&host), "{what}");
        let stat = |image: &Path, name: &str| {
            let said = common::debugfs(image, false, &format!("stat /{name}"));
            let same = |l: &&str| ["User:", "Blockcount", "Fast link"].iter().any(|s| l.contains(s));
            said.lines().filter(same).map(String::from).collect::<Vec<_>>()
        };
        for (name, len) in links {
            assert_eq!(stat(&own, name), stat(&host, name), "{what}: {name}");
            for image in [&own, &host] {
                let ext =
                    Ext::open(Arc::new(HostFile::open(image, true).expect("the image"))).expect("it mounts");
                let link = ext.find(format!("/{name}").as_bytes()).expect("the link");
                assert_eq!(
                    ext.read_link(&link).expect("its target"),
                    target(len).as_bytes(),
                    "{what}: {name}"
                );
                assert_eq!(get(&ext, link.number, b"trusted.big"), Some(value(3, 6000)), "{what}: {name}");
            }
        }
        let same = on_host(&own, &at, |at| {
            tree::compare(&ours(&own), &tree::of_host(at), &what);
        });
        assert!(same);
        // Without the value e2fsck finds nothing, and nothing of it is left.
        step(&own, &format!("{what}: without it"), |ext| {
            for (name, _) in links {
                let link = ext.find(format!("/{name}").as_bytes()).expect("the link").number;
                ext.set_xattr(link, b"trusted.big", None, XattrMode::Any).expect("removed");
            }
        });
    }
}
