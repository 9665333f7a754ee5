//! Inodes: what a file system is made of.

use super::{FileOps, Path};
use crate::base::{Errno, Result, Timespec};
use std::any::Any;
use std::sync::Arc;

bitflags::bitflags! {
    /// Flags of open(2), x86-64 values (asm-generic/fcntl.h).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct OpenFlags: u32 {
        /// Writing only.
        const WRONLY = 0o1;
        /// Reading and writing.
        const RDWR = 0o2;
        /// Create if absent.
        const CREAT = 0o100;
        /// Fail if present.
        const EXCL = 0o200;
        /// Do not become the controlling terminal.
        const NOCTTY = 0o400;
        /// Cut to nothing.
        const TRUNC = 0o1000;
        /// Write at the end.
        const APPEND = 0o2000;
        /// Do not block.
        const NONBLOCK = 0o4000;
        /// Data is durable when written.
        const DSYNC = 0o10000;
        /// SIGIO.
        const ASYNC = 0o20000;
        /// Bypass the page cache.
        const DIRECT = 0o40000;
        /// Accepted, always on.
        const LARGEFILE = 0o100000;
        /// Must be a directory.
        const DIRECTORY = 0o200000;
        /// The last component is not followed.
        const NOFOLLOW = 0o400000;
        /// Leave the access time.
        const NOATIME = 0o1000000;
        /// Close on exec; a flag of the descriptor.
        const CLOEXEC = 0o2000000;
        /// `O_SYNC` without `O_DSYNC`.
        const SYNC_BIT = 0o4000000;
        /// A path only.
        const PATH = 0o10000000;
        /// A file without a name; with DIRECTORY.
        const TMPFILE_BIT = 0o20000000;
    }
}

impl OpenFlags {
    /// Whether reading is asked for.
    pub fn reads(self) -> bool {
        !self.contains(OpenFlags::WRONLY)
    }
    /// Whether writing is asked for.
    pub fn writes(self) -> bool {
        self.intersects(OpenFlags::WRONLY | OpenFlags::RDWR)
    }
}

/// File types, `S_IF*` of the mode.
pub mod kind {
    /// Mask of the type.
    pub const MASK: u32 = 0o170000;
    /// Socket.
    pub const SOCK: u32 = 0o140000;
    /// Symbolic link.
    pub const LNK: u32 = 0o120000;
    /// Regular file.
    pub const REG: u32 = 0o100000;
    /// Block device.
    pub const BLK: u32 = 0o060000;
    /// Directory.
    pub const DIR: u32 = 0o040000;
    /// Character device.
    pub const CHR: u32 = 0o020000;
    /// FIFO.
    pub const FIFO: u32 = 0o010000;
}

/// What stat(2) tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attr {
    /// Number of the device that holds it.
    pub dev: u64,
    /// Number of the inode.
    pub ino: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device file.
    pub rdev: u64,
    /// Bytes.
    pub size: u64,
    /// Units of 512 bytes.
    pub blocks: u64,
    /// Preferred unit of I/O.
    pub blksize: u32,
    /// Last access.
    pub atime: Timespec,
    /// Last change of content.
    pub mtime: Timespec,
    /// Last change of anything.
    pub ctime: Timespec,
    /// Birth, zero if unknown.
    pub btime: Timespec,
}

impl Attr {
    /// The type bits of the mode.
    pub fn kind(&self) -> u32 {
        self.mode & kind::MASK
    }
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == kind::DIR
    }
}

/// Changes to attributes; `None` leaves as is. Permission is checked by the caller; the inode sets ctime.
#[derive(Debug, Clone, Copy, Default)]
pub struct SetAttr {
    /// Permissions, without the type.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length; cut or extended with zeros.
    pub size: Option<u64>,
    /// Access time.
    pub atime: Option<Timespec>,
    /// Modification time.
    pub mtime: Option<Timespec>,
}

/// A node to be made. The caller has applied the umask and chosen the owner.
#[derive(Debug, Clone, Copy)]
pub struct NewNode<'a> {
    /// Type and permissions; any type, directories and links too.
    pub mode: u32,
    /// Device number, for device files.
    pub rdev: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Target, for symbolic links.
    pub target: &'a [u8],
}

/// One entry of a directory, other than `.` and `..`, which the caller adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name.
    pub name: Vec<u8>,
    /// Its inode number.
    pub ino: u64,
    /// Type bits of its mode; 0 if unknown.
    pub kind: u32,
    /// Where the entry after it is found: any value over 2 that stays valid while the directory changes.
    pub next: u64,
}

/// `renameat2` flags.
pub const RENAME_NOREPLACE: u32 = 1;
/// Swap the two.
pub const RENAME_EXCHANGE: u32 = 2;
/// Leave a whiteout.
pub const RENAME_WHITEOUT: u32 = 4;

/// `setxattr` flags: fail if it exists, fail if it does not.
pub const XATTR_CREATE: u32 = 1;
/// As above.
pub const XATTR_REPLACE: u32 = 2;

/// What statfs(2) tells.
#[derive(Debug, Clone, Copy, Default)]
pub struct StatFs {
    /// Magic number (linux/magic.h).
    pub magic: u64,
    /// Bytes of a block.
    pub bsize: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free ones.
    pub bfree: u64,
    /// Free to users.
    pub bavail: u64,
    /// Inodes.
    pub files: u64,
    /// Free ones.
    pub ffree: u64,
    /// Longest name.
    pub namelen: u64,
}

/// A mounted instance of a file system.
pub trait FileSystem: Send + Sync {
    /// Its type, as in /proc/mounts.
    fn name(&self) -> &'static str;
    /// Its root.
    fn root(&self) -> Arc<dyn Inode>;
    /// Its device number.
    fn dev(&self) -> u64;
    /// Its figures.
    fn statfs(&self) -> Result<StatFs>;
    /// Whether names may be kept in the dentry cache; not where they come and go by themselves.
    fn cacheable(&self) -> bool {
        true
    }
    /// Whether others change it meanwhile: what a name stands for is then asked each time, whatever is kept.
    fn changes_by_itself(&self) -> bool {
        false
    }
    /// Makes everything durable.
    fn sync(&self) -> Result<()> {
        Ok(())
    }
    /// Becomes read-only, or writable again (MS_REMOUNT); EBUSY while somebody writes.
    fn remount(&self, _read_only: bool) -> Result<()> {
        Ok(())
    }
    /// Whether nothing can be written to it, however it is mounted.
    fn is_read_only(&self) -> bool {
        false
    }
    /// Options for /proc/mounts, beginning with a comma.
    fn options(&self) -> String {
        String::new()
    }
}

/// A file, directory, link, device or other node of a file system. Permissions are checked by the callers, by `attr`; existence,
/// types and emptiness by the inode.
pub trait Inode: Send + Sync + 'static {
    /// Its attributes.
    fn attr(&self) -> Result<Attr>;
    /// The file system it belongs to.
    fn file_system(&self) -> Arc<dyn FileSystem>;
    /// For downcasts by its own file system.
    fn as_any(&self) -> &dyn Any;
    /// Changes attributes.
    fn set_attr(&self, _change: &SetAttr) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Finds a name in this directory (never `.`, `..`, empty, or with a slash).
    fn lookup(&self, _name: &[u8]) -> Result<Arc<dyn Inode>> {
        Err(Errno::ENOTDIR)
    }
    /// Whether the name that led here may be kept in the dentry cache. In a file system whose names come and go by themselves some
    /// stay: /proc/sys does, /proc/42 does not.
    fn lasting(&self) -> bool {
        self.file_system().cacheable()
    }
    /// Makes a node; EEXIST if the name is taken.
    fn create(&self, _name: &[u8], _new: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        Err(Errno::EPERM)
    }
    /// Makes a regular file without a name, which `link` can give it one.
    fn create_unnamed(&self, _new: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Gives `target`, of the same file system, another name.
    fn link(&self, _name: &[u8], _target: &Arc<dyn Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Removes a name that is not a directory's (EISDIR).
    fn unlink(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Removes an empty directory (ENOTDIR, ENOTEMPTY).
    fn rmdir(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Moves a name to another directory of the same file system, by the rules of rename(2).
    fn rename(&self, _name: &[u8], _to: &Arc<dyn Inode>, _to_name: &[u8], _flags: u32) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// The target of a symbolic link.
    fn read_link(&self) -> Result<Vec<u8>> {
        Err(Errno::EINVAL)
    }
    /// Where a magic link of /proc leads, without a path.
    fn jump(&self) -> Option<Result<Path>> {
        None
    }
    /// Gives entries from position `from` (0 at first, then a `next`), until `emit` returns false or there are no more.
    fn entries(&self, _from: u64, _emit: &mut dyn FnMut(DirEntry) -> bool) -> Result<()> {
        Err(Errno::ENOTDIR)
    }
    /// Whether `entries` gives all entries whatever the position: the open directory then keeps the list, and numbers it.
    fn entries_are_a_list(&self) -> bool {
        false
    }
    /// Opens its content. Devices, FIFOs and sockets are opened by the VFS, which knows them by their attributes.
    fn open(self: Arc<Self>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Err(Errno::ENXIO)
    }
    /// An extended attribute; ENODATA.
    fn xattr(&self, _name: &[u8]) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Sets one, with `XATTR_` flags.
    fn set_xattr(&self, _name: &[u8], _value: &[u8], _flags: u32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Removes one.
    fn remove_xattr(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// The names of all.
    fn xattrs(&self) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }
    /// A place for the one pipe that a FIFO's openers share, or a socket's listener. `None` where the file system has no such.
    fn anchor(&self) -> Option<&Anchor> {
        None
    }
}

/// Something that openers of one inode share: set by the first, kept for the others.
#[derive(Default)]
pub struct Anchor(pub parking_lot::Mutex<Option<std::sync::Weak<dyn Any + Send + Sync>>>);

impl std::fmt::Debug for Anchor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Anchor")
    }
}

impl Anchor {
    /// The shared thing, made if nobody has it.
    pub fn get_or_make<T: Any + Send + Sync>(&self, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
        let mut slot = self.0.lock();
        if let Some(found) =
            slot.as_ref().and_then(std::sync::Weak::upgrade).and_then(|a| a.downcast::<T>().ok())
        {
            return found;
        }
        let made = make();
        let weak: std::sync::Weak<T> = Arc::downgrade(&made);
        *slot = Some(weak);
        made
    }
    /// The shared thing, if somebody has it.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.lock().as_ref().and_then(std::sync::Weak::upgrade).and_then(|a| a.downcast::<T>().ok())
    }
}

/// Makes a device number, as glibc's makedev(3).
pub const fn makedev(major: u64, minor: u64) -> u64 {
    (major & 0xffff_f000) << 32 | (major & 0xfff) << 8 | (minor & 0xffff_ff00) << 12 | (minor & 0xff)
}

/// Major number of a device.
pub const fn major(dev: u64) -> u64 {
    (dev >> 32 & 0xffff_f000) | (dev >> 8 & 0xfff)
}

/// Minor number of a device.
pub const fn minor(dev: u64) -> u64 {
    (dev >> 12 & 0xffff_ff00) | (dev & 0xff)
}

/// A device number for a file system without a device, as Linux's `get_anon_bdev`.
pub fn anonymous_dev() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(20);
    makedev(0, NEXT.fetch_add(1, Ordering::Relaxed))
}
