//! A directory of the host as a file system: opened once, resolved beneath that descriptor one name at a time, no link
//! followed by the host: docs/hostfs.md.

mod content;
mod inode;
mod node;
mod owner;
mod started;

pub use owner::Owners;
pub use started::{Options, Started, mount, start};

use super::{FileSystem, Inode, StatFs, anonymous_dev};
use crate::base::blocking::blocking;
use crate::base::{Errno, Mutex, Rank, Result};
use node::Node;
use rustix::fs::{Mode, OFlags};
use std::collections::{HashMap, VecDeque};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Weak};

/// What may be done with a host directory, and how it looks.
#[derive(Debug, Clone)]
pub struct Access {
    /// The guest may change it.
    pub writable: bool,
    /// Others change it meanwhile: what is there is asked of the host at each step.
    pub shared: bool,
    /// What is there stays: files only grow.
    pub append: bool,
    /// Whose the files are.
    pub owners: Owners,
    /// Options for /proc/mounts, beginning with a comma.
    pub text: String,
}

impl Access {
    /// Nothing is ever changed, by nobody.
    pub fn read_only() -> Access {
        Access { writable: false, shared: false, append: false, owners: Owners::AsIs, text: String::new() }
    }

    /// The guest's alone, which may change it; what the host refuses is kept in attributes.
    pub fn kept() -> Access {
        Access { writable: true, owners: Owners::Recorded, ..Access::read_only() }
    }
}

/// A host directory.
#[derive(Debug)]
pub struct HostFs {
    access: Access,
    root: Mutex<Option<Arc<Node>>>,
    /// The devices of the host's that were met.
    devs: Mutex<HashMap<u64, Dev>>,
    dev: u64,
    /// The root's device on the host.
    host_dev: u64,
    /// Inodes in use, by the host's device and number: hard links are one.
    inodes: Mutex<HashMap<(u64, u64), Weak<Node>>>,
    /// Nodes that have a descriptor, the oldest first.
    open: Mutex<VecDeque<Weak<Node>>>,
}

/// A device of the host's.
#[derive(Debug, Clone, Copy)]
struct Dev {
    /// The number that the guest sees.
    seen: u64,
    /// Its files speak for the host's kernel, and are not opened.
    closed: bool,
    /// It is in memory: nobody waits for it.
    memory: bool,
}

/// Descriptors that one file system keeps, beside those of open files.
const MANY: usize = 400;

/// File systems whose files are not content but the host's kernel, and this program in it: linux/magic.h.
const CLOSED: [u64; 14] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6265_6570, // configfs
    0xcafe_4a11, // bpf
    0xde5e_81e4, // efivarfs
    0xf97c_ff8c, // selinuxfs
    0x4249_4e4d, // binfmt_misc
    0x6e73_6673, // nsfs
    0x1980_0202, // mqueue
];
/// tmpfs and ramfs.
const MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Whether what a descriptor is of must not be opened.
fn is_closed(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(CLOSED.contains(&(rustix::fs::fstatfs(fd)?.f_type as u64)))
}

impl HostFs {
    /// Opens a directory of the host by its path there.
    pub fn open(dir: &Path, access: Access) -> Result<Arc<HostFs>> {
        let fd = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        HostFs::of(fd, access)
    }

    /// A directory of the host that is open; EACCES for one of the kernel's own file systems.
    fn of(fd: OwnedFd, access: Access) -> Result<Arc<HostFs>> {
        let dev = anonymous_dev();
        let host_dev = rustix::fs::fstat(&fd)?.st_dev;
        let fs = Arc::new(HostFs {
            access,
            root: Mutex::new(Rank::Leaf, None),
            devs: Mutex::new(Rank::Leaf, HashMap::new()),
            dev,
            host_dev,
            inodes: Mutex::new(Rank::Leaf, HashMap::new()),
            open: Mutex::new(Rank::Leaf, VecDeque::new()),
        });
        if fs.met(host_dev, &fd)?.closed {
            return Err(Errno::EACCES);
        }
        *fs.root.lock() = Some(Node::root(&fs, fd));
        Ok(fs)
    }

    /// A node has opened a descriptor: another, that has had its one for long, gives it up.
    fn opened(&self, node: &Weak<Node>) -> Option<Arc<Node>> {
        let mut open = self.open.lock();
        open.push_back(node.clone());
        if open.len() <= MANY { None } else { open.pop_front()?.upgrade() }
    }

    /// A device of the host's, if it was met.
    fn dev_of(&self, host: u64) -> Option<Dev> {
        self.devs.lock().get(&host).copied()
    }

    /// A device of the host's, of which a descriptor is open.
    fn met(&self, host: u64, fd: &OwnedFd) -> Result<Dev> {
        use std::os::fd::AsFd as _;
        if let Some(dev) = self.dev_of(host) {
            return Ok(dev);
        }
        let kind = rustix::fs::fstatfs(fd)?.f_type as u64;
        let seen = if host == self.host_dev { self.dev } else { anonymous_dev() };
        let dev = Dev { seen, closed: is_closed(fd.as_fd())?, memory: MEMORY.contains(&kind) };
        Ok(*self.devs.lock().entry(host).or_insert(dev))
    }
}

impl FileSystem for HostFs {
    fn name(&self) -> &'static str {
        "hostfs"
    }

    fn root(&self) -> Arc<dyn Inode> {
        match self.root.lock().clone() {
            Some(root) => root,
            None => unreachable!("set by open"),
        }
    }

    fn dev(&self) -> u64 {
        self.dev
    }

    fn changes_by_itself(&self) -> bool {
        self.access.shared
    }

    fn is_read_only(&self) -> bool {
        !self.access.writable
    }

    fn statfs(&self) -> Result<StatFs> {
        let root = self.root.lock().clone();
        let s = match root {
            Some(root) => rustix::fs::fstatfs(root.directory()?)?,
            None => return Ok(StatFs::default()),
        };
        Ok(StatFs {
            magic: 0x00c0_ffee,
            bsize: s.f_bsize as u64,
            blocks: s.f_blocks,
            bfree: s.f_bfree,
            bavail: s.f_bavail,
            files: s.f_files,
            ffree: s.f_ffree,
            namelen: 255,
        })
    }

    fn sync(&self) -> Result<()> {
        if !self.access.writable {
            return Ok(());
        }
        let root = self.root.lock().clone().ok_or(Errno::ESTALE)?;
        // A path descriptor does not do.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(root.directory()?, ".", flags, Mode::empty())?;
        Ok(blocking(|| rustix::fs::syncfs(&dir))?)
    }

    fn options(&self) -> String {
        self.access.text.clone()
    }
}
