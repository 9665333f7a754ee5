//! The nodes that /dev begins with, as devtmpfs and udev leave them.

use super::tmpfs::TmpFs;
use super::{FileSystem as _, Inode, NewNode, kind, makedev};
use crate::base::{Errno, Result};
use std::sync::{Arc, OnceLock};

/// The group of terminals, by its number in every distribution (udev's rule gives them to it).
const GROUP_TTY: u32 = 5;

/// Name, mode, major, minor, group.
const DEVICES: [(&str, u32, u64, u64, u32); 8] = [
    ("null", 0o666, 1, 3, 0),
    ("zero", 0o666, 1, 5, 0),
    ("full", 0o666, 1, 7, 0),
    ("random", 0o666, 1, 8, 0),
    ("urandom", 0o666, 1, 9, 0),
    ("kmsg", 0o644, 1, 11, 0),
    ("tty", 0o666, 5, 0, GROUP_TTY),
    ("ptmx", 0o666, 5, 2, GROUP_TTY),
];

/// Only root's, before a login takes it.
const CONSOLE: (u32, u64, u64) = (0o600, 5, 1);

/// Where other file systems are mounted.
const DIRS: [(&str, u32); 3] = [("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o1777)];

/// Links that programs expect.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];

/// The one there is, whoever mounts it.
pub fn instance() -> Result<Arc<TmpFs>> {
    static INSTANCE: OnceLock<Arc<TmpFs>> = OnceLock::new();
    if let Some(fs) = INSTANCE.get() {
        return Ok(fs.clone());
    }
    let fs = TmpFs::new("devtmpfs", 16 << 20, 0o755, 0, 0);
    populate(&fs.root())?;
    Ok(INSTANCE.get_or_init(|| fs).clone())
}

/// Its directory.
pub fn root() -> Result<Arc<dyn Inode>> {
    Ok(instance()?.root())
}

/// Makes the nodes in a directory, of a tmpfs say. What is there already stays as it is.
pub fn populate(dir: &Arc<dyn Inode>) -> Result<()> {
    let node = |mode, rdev, gid, target| NewNode { mode, rdev, uid: 0, gid, target };
    for (name, mode, major, minor, gid) in DEVICES {
        make(dir, name, &node(kind::CHR | mode, makedev(major, minor), gid, b""))?;
    }
    let (mode, major, minor) = CONSOLE;
    make(dir, "console", &node(kind::CHR | mode, makedev(major, minor), 0, b""))?;
    for (name, mode) in DIRS {
        make(dir, name, &node(kind::DIR | mode, 0, 0, b""))?;
    }
    for (name, target) in LINKS {
        make(dir, name, &node(kind::LNK | 0o777, 0, 0, target.as_bytes()))?;
    }
    Ok(())
}

/// Adds a device that was found later: a disk, a terminal. False if there is such a name.
pub fn add_device(dir: &Arc<dyn Inode>, name: &str, kind_and_mode: u32, rdev: u64, gid: u32) -> Result<bool> {
    make(dir, name, &NewNode { mode: kind_and_mode, rdev, uid: 0, gid, target: b"" })
}

fn make(dir: &Arc<dyn Inode>, name: &str, node: &NewNode<'_>) -> Result<bool> {
    match dir.create(name.as_bytes(), node) {
        Ok(_) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Attr, FileSystem};
    use std::any::Any;
    use std::collections::BTreeMap;

    type Nodes = BTreeMap<Vec<u8>, (u32, u64, Vec<u8>)>;

    #[derive(Default)]
    struct Fake(parking_lot::Mutex<Nodes>);

    impl Inode for Fake {
        fn attr(&self) -> Result<Attr> {
            Err(Errno::EIO)
        }
        fn file_system(&self) -> Arc<dyn FileSystem> {
            unreachable!()
        }
        fn as_any(&self) -> &dyn Any {
            self
        }
        fn create(&self, name: &[u8], new: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
            let there = self.0.lock().insert(name.into(), (new.mode, new.rdev, new.target.into()));
            if there.is_some() { Err(Errno::EEXIST) } else { Ok(Arc::new(Fake::default())) }
        }
    }

    #[test]
    fn twice_is_as_good_as_once() {
        let fake = Arc::new(Fake::default());
        let dir: Arc<dyn Inode> = fake.clone();
        populate(&dir).unwrap();
        populate(&dir).unwrap();
        let made = fake.0.lock();
        assert_eq!(made.len(), 17);
        assert_eq!(made[&b"null"[..]], (kind::CHR | 0o666, makedev(1, 3), vec![]));
        assert_eq!(made[&b"fd"[..]].2, b"/proc/self/fd");
    }
}
