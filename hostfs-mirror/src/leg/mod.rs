//! A leg: one of the places where the tree is kept.
//!
//! All that a set does to a leg goes through [`Leg`], so that a test can put one that fails, stalls or lies in its place. An object is a
//! descriptor (O_PATH, or of an open file): names are only ever looked up in a directory's descriptor, never from the host's root, and
//! no symbolic link is followed.

mod local;
pub(crate) mod umask;

pub use local::Local;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{FallocateFlags, FileType, Mode, OFlags, RenameFlags, Stat, StatVfs, Timespec, XattrFlags};
use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::path::Path;

/// Failures are the kernel's: what a leg said is what may reach the caller.
pub type Result<T> = std::result::Result<T, rustix::io::Errno>;

bitflags::bitflags! {
    /// What a leg can keep.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Capabilities: u32 {
        /// Extended attributes of users.
        const XATTR = 1;
        /// POSIX access control lists.
        const ACL = 1 << 1;
        /// RENAME_EXCHANGE and RENAME_NOREPLACE.
        const RENAME_FLAGS = 1 << 2;
        /// Files with holes.
        const HOLES = 1 << 3;
        /// Owners other than who mounts.
        const OWNERS = 1 << 4;
    }
}

/// An owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What is made, other than a regular file that is opened at once.
#[derive(Debug, Clone, Copy)]
pub enum Make<'a> {
    /// A directory.
    Directory(Mode),
    /// A regular file, a FIFO, a socket or a device: its mode with the kind in it, and its device.
    Node(FileType, Mode, u64),
    /// A symbolic link to that text.
    Symlink(&'a OsStr),
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: OsString,
    /// What it is, if the file system says so.
    pub kind: FileType,
    /// Its inode on this leg.
    pub ino: u64,
}

/// A change of attributes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change {
    /// Permissions.
    pub mode: Option<Mode>,
    /// User.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length.
    pub size: Option<u64>,
    /// Time of last access.
    pub atime: Option<Timespec>,
    /// Time of last modification.
    pub mtime: Option<Timespec>,
}

/// One place where the tree is kept. Errors are the leg's own errno.
#[expect(clippy::missing_errors_doc)]
pub trait Leg: Send + Sync + Debug {
    /// How people call it: the path that it was added by.
    fn name(&self) -> &Path;
    /// What it can keep.
    fn capabilities(&self) -> Capabilities;
    /// The directory that is the tree's root.
    fn root(&self) -> BorrowedFd<'_>;

    /// An object by its path beneath the root ("" is the root). No symbolic link is followed.
    fn resolve(&self, path: &Path) -> Result<OwnedFd>;
    /// An object by its name in a directory, and its attributes.
    fn lookup(&self, parent: BorrowedFd<'_>, name: &OsStr) -> Result<(OwnedFd, Stat)>;
    /// Its attributes.
    fn stat(&self, object: BorrowedFd<'_>) -> Result<Stat>;
    /// When it was made, in ns since 1970; 0 where the file system does not know. With its inode number: which object it is for good.
    fn birth(&self, object: BorrowedFd<'_>) -> Result<i64>;
    /// Opens the content of a file, or of a directory.
    fn open(&self, object: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd>;
    /// Makes a regular file, which must not be there, and opens it for reading and writing.
    fn create(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        mode: Mode,
        owner: Option<Owner>,
    ) -> Result<(OwnedFd, Stat)>;
    /// Makes something else.
    fn make(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        what: Make<'_>,
        owner: Option<Owner>,
    ) -> Result<(OwnedFd, Stat)>;
    /// Gives an object another name.
    fn link(&self, object: BorrowedFd<'_>, parent: BorrowedFd<'_>, name: &OsStr) -> Result<()>;
    /// Removes a name: a directory's, or another's.
    fn unlink(&self, parent: BorrowedFd<'_>, name: &OsStr, directory: bool) -> Result<()>;
    /// Renames.
    fn rename(
        &self,
        from: (BorrowedFd<'_>, &OsStr),
        to: (BorrowedFd<'_>, &OsStr),
        flags: RenameFlags,
    ) -> Result<()>;
    /// The text of a symbolic link.
    fn read_link(&self, object: BorrowedFd<'_>) -> Result<OsString>;
    /// The entries of a directory without "." and "..".
    fn list(&self, directory: BorrowedFd<'_>) -> Result<Vec<Entry>>;
    /// Changes attributes: first the length, then owner, mode and times.
    fn change(&self, object: BorrowedFd<'_>, change: &Change) -> Result<()>;

    /// An extended attribute.
    fn xattr(&self, object: BorrowedFd<'_>, name: &OsStr) -> Result<Vec<u8>>;
    /// The names of the extended attributes, each with a NUL behind it.
    fn xattrs(&self, object: BorrowedFd<'_>) -> Result<Vec<u8>>;
    /// Sets an extended attribute.
    fn set_xattr(&self, object: BorrowedFd<'_>, name: &OsStr, value: &[u8], flags: XattrFlags) -> Result<()>;
    /// Removes an extended attribute.
    fn remove_xattr(&self, object: BorrowedFd<'_>, name: &OsStr) -> Result<()>;

    /// Reads as much as there is.
    fn read(&self, file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> Result<usize>;
    /// Writes as much as goes. Less than all only where the next byte would have failed.
    fn write(&self, file: BorrowedFd<'_>, data: &[u8], offset: u64) -> Result<usize>;
    /// As fallocate(2).
    fn allocate(&self, file: BorrowedFd<'_>, mode: FallocateFlags, offset: u64, len: u64) -> Result<()>;
    /// As lseek(2) with SEEK_DATA, or SEEK_HOLE.
    fn seek(&self, file: BorrowedFd<'_>, offset: u64, data: bool) -> Result<u64>;
    /// As copy_file_range(2), on one leg.
    fn copy(
        &self,
        from: BorrowedFd<'_>,
        from_offset: u64,
        to: BorrowedFd<'_>,
        to_offset: u64,
        len: usize,
    ) -> Result<usize>;
    /// As fsync(2), or fdatasync(2).
    fn sync(&self, file: BorrowedFd<'_>, data_only: bool) -> Result<()>;
    /// As syncfs(2).
    fn sync_all(&self) -> Result<()>;
    /// Room and what is used.
    fn room(&self) -> Result<StatVfs>;
}
