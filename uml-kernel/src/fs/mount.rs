//! Mounts, and paths, which keep them.

use super::{Dentry, FileSystem, Inode};
use crate::base::{Errno, Mutex, Rank, Result};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

bitflags::bitflags! {
    /// Per-mount flags, the `MS_` values of mount(2).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct MountFlags: u32 {
        /// Read-only.
        const RDONLY = 1;
        /// No set-user-ID.
        const NOSUID = 2;
        /// No devices.
        const NODEV = 4;
        /// No programs.
        const NOEXEC = 8;
        /// No access times.
        const NOATIME = 1024;
        /// No access times of directories.
        const NODIRATIME = 2048;
        /// Access times kept coarsely.
        const RELATIME = 1 << 21;
        /// Internal: its nodes are in no tree, and each is known by its own name (`pipe:[7]`).
        const KERNMOUNT = 1 << 22;
    }
}

/// The names of a file system, shared by all mounts of it. Directories hold their names and these hold their directories: with the last
/// mount the cache lets go of all of them, or the file system would stay for ever.
#[derive(Debug)]
struct Tree {
    top: Arc<Dentry>,
    fs: Weak<dyn FileSystem>,
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.top.cut();
    }
}

/// Of the file systems that are mounted as a whole.
static TREES: Mutex<Vec<Weak<Tree>>> = Mutex::new(Rank::Leaf, Vec::new());

impl Tree {
    /// The tree of a file system, the one that there is already if it is mounted.
    fn of(fs: &Arc<dyn FileSystem>) -> Arc<Tree> {
        let root = Dentry::root(b"/", fs.root());
        // What is let go may be the last of its tree, and is so after the lock.
        let mut others = Vec::new();
        let mut trees = TREES.lock();
        trees.retain(|t| t.strong_count() > 0);
        for tree in trees.iter().filter_map(Weak::upgrade) {
            if std::ptr::addr_eq(tree.fs.as_ptr(), Arc::as_ptr(fs)) {
                drop(trees);
                return tree;
            }
            others.push(tree);
        }
        let tree = Arc::new(Tree { top: root, fs: Arc::downgrade(fs) });
        trees.push(Arc::downgrade(&tree));
        drop(trees);
        tree
    }
}

/// A file system, or a part of one, at a place in the tree.
pub struct Mount {
    id: u64,
    root: Arc<Dentry>,
    // After the root, and before the file system, which may end with it. None where the root is a file by itself.
    tree: Option<Arc<Tree>>,
    fs: Arc<dyn FileSystem>,
    source: String,
    flags: AtomicU32,
    pub(super) at: Mutex<Option<Path>>,
    /// Files open for writing through it.
    writers: AtomicUsize,
    /// How often a path has led into it, and that number, at least 1, when umount2 has marked it with MNT_EXPIRE.
    pub(super) crossed: AtomicU64,
    pub(super) expires: AtomicU64,
}

impl std::fmt::Debug for Mount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.fs.name(), self.id)
    }
}

impl Mount {
    /// A mount of a node that has no place in its file system's tree; it is nowhere.
    pub fn new(fs: Arc<dyn FileSystem>, root: Arc<Dentry>, source: &str, flags: MountFlags) -> Arc<Mount> {
        Mount::make(fs, None, root, source, flags)
    }

    /// A mount of a whole file system, that is nowhere yet.
    pub fn whole(fs: Arc<dyn FileSystem>, source: &str, flags: MountFlags) -> Arc<Mount> {
        let tree = Tree::of(&fs);
        let root = tree.top.clone();
        Mount::make(fs, Some(tree), root, source, flags)
    }

    /// A mount of what a path leads to (MS_BIND), that is nowhere yet.
    pub fn bind(from: &Path) -> Arc<Mount> {
        let Mount { fs, tree, source, .. } = &*from.mount;
        Mount::make(fs.clone(), tree.clone(), from.dentry.clone(), source, from.mount.flags())
    }

    fn make(
        fs: Arc<dyn FileSystem>,
        tree: Option<Arc<Tree>>,
        root: Arc<Dentry>,
        source: &str,
        flags: MountFlags,
    ) -> Arc<Mount> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Mount {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            root,
            tree,
            fs,
            source: source.into(),
            flags: AtomicU32::new(flags.bits()),
            at: Mutex::new(Rank::Leaf, None),
            writers: AtomicUsize::new(0),
            crossed: AtomicU64::new(1),
            expires: AtomicU64::new(0),
        })
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.id
    }
    /// The file system.
    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }
    /// Its root.
    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }
    /// What was mounted, as in /proc/mounts.
    pub fn source(&self) -> &str {
        &self.source
    }
    /// Its flags.
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_retain(self.flags.load(Ordering::SeqCst))
    }
    /// Changes its flags (MS_REMOUNT).
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::SeqCst);
    }
    /// Whether files are open for writing through it.
    pub fn is_written(&self) -> bool {
        self.writers.load(Ordering::SeqCst) > 0
    }
    /// Where it is mounted; `None` for the root of all, and for what is mounted nowhere any more.
    pub fn at(&self) -> Option<Path> {
        self.at.lock().clone()
    }
}

/// That a file is open for writing through a mount, which does not become read-only meanwhile.
#[derive(Debug)]
pub struct Writing(Arc<Mount>);

impl Writing {
    /// EROFS if it is read-only.
    pub fn new(path: &Path) -> Result<Writing> {
        // Counted first: who makes it read-only sets the flag first.
        path.mount.writers.fetch_add(1, Ordering::SeqCst);
        let writing = Writing(path.mount.clone());
        path.check_writable().map(|()| writing)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.writers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A dentry as reached through a mount.
#[derive(Clone)]
pub struct Path {
    // Let go before the mount, with which its tree may end: from the leaves up.
    /// The name in its file system.
    pub dentry: Arc<Dentry>,
    /// The mount.
    pub mount: Arc<Mount>,
}

impl std::fmt::Debug for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}:{:?}", self.mount, self.dentry)
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Path) -> bool {
        Arc::ptr_eq(&self.mount, &other.mount) && Arc::ptr_eq(&self.dentry, &other.dentry)
    }
}

impl Path {
    /// Its inode.
    pub fn inode(&self) -> &Arc<dyn Inode> {
        self.dentry.inode()
    }

    /// EROFS if the mount is read-only.
    pub fn check_writable(&self) -> Result<()> {
        if self.mount.flags().contains(MountFlags::RDONLY) { Err(Errno::EROFS) } else { Ok(()) }
    }

    /// The directory above, through mounts, not above `root`. A root's parent is itself.
    pub fn parent(&self, root: &Path) -> Path {
        let mut here = self.clone();
        loop {
            if here == *root {
                return here;
            }
            if !Arc::ptr_eq(&here.dentry, here.mount.root()) {
                return match here.dentry.parent() {
                    Some(parent) => Path { mount: here.mount, dentry: parent },
                    None => here,
                };
            }
            match here.mount.at() {
                Some(at) => here = at,
                None => return here,
            }
        }
    }

    /// As text, from `root`; `None` if it does not lie below. A deleted name ends in " (deleted)". What is in no tree (a pipe, a
    /// socket) gives its name, without a slash.
    pub fn text(&self, root: &Path) -> Option<Vec<u8>> {
        if self.mount.flags().contains(MountFlags::KERNMOUNT) {
            return Some(self.dentry.name());
        }
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut here = self.clone();
        let deleted = self.dentry.is_deleted();
        while here != *root {
            if Arc::ptr_eq(&here.dentry, here.mount.root()) {
                match here.mount.at() {
                    Some(at) => here = at,
                    None => return None,
                }
            } else {
                let parent = here.dentry.parent()?;
                parts.push(here.dentry.name());
                here.dentry = parent;
            }
        }
        let mut text = Vec::new();
        for part in parts.iter().rev() {
            text.push(b'/');
            text.extend_from_slice(part);
        }
        if text.is_empty() {
            text.push(b'/');
        }
        if deleted {
            text.extend_from_slice(b" (deleted)");
        }
        Some(text)
    }
}
