//! ext2, ext3 and ext4 over any [`BlockDevice`](block_device::BlockDevice): for the guest kernel, for `cowtool`, for mounts.
//!
//! * [`Ext`]: a mounted file system. [`Inode`]: one of its inodes, parsed and checked.
//! * [`Run`]: where a stretch of a file lies; a page cache asks for these and does the I/O itself.
//! * [`Entry`], [`Xattr`]: what directories and extended attributes hold.
//!
//! Every structure is checked where it is read: by its checksum, where the file system has them, and by its bounds. What is wrong is an
//! [`Error`] that names the inode or block. On-disk shapes: the kernel's Documentation/filesystems/ext4, fs/ext4/ext4.h.
//!
//! Reading is here; writing and the journal are to come: a file system that needs recovery is refused until then.

mod bytes;
mod checksum;
mod dir;
mod error;
mod features;
mod fs;
mod group;
mod inode;
mod map;
mod read;
mod superblock;
mod xattr;

pub use dir::{Entry, FileType};
pub use error::{Error, Result};
pub use features::{Compat, Incompat, RoCompat};
pub use fs::Ext;
pub use group::Group;
pub use inode::{Flags, Inode, InodeNumber, Time};
pub use map::Run;
pub use superblock::Superblock;
pub use xattr::Xattr;
