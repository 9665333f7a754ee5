//! ext2, ext3 and ext4 over any [`BlockDevice`](block_device::BlockDevice): for the guest kernel, for `cowtool`, for mounts.
//!
//! * [`Ext`]: a mounted file system. [`Inode`]: one of its inodes, parsed and checked.
//! * [`Run`]: where a stretch of a file lies; a page cache asks for these and does the I/O itself.
//! * [`Entry`], [`Xattr`]: what directories and extended attributes hold.
//!
//! Every structure is checked where it is read: by its checksum, where the file system has them, and by its bounds. What is wrong is an
//! [`Error`] that names the inode or block. On-disk shapes: the kernel's Documentation/filesystems/ext4, fs/ext4/ext4.h.
//!
//! How it works: docs/ext.md.

mod alloc;
mod blockmap;
mod bytes;
mod cache;
mod checksum;
mod core;
mod delayed;
mod dir;
mod dir_block;
mod dir_write;
mod dx;
mod error;
mod extents;
mod features;
mod fs;
mod group;
mod hash;
mod inode;
mod inodes;
mod journal;
mod map;
mod mmp;
mod mount;
mod names;
mod operations;
mod orphans;
mod read;
mod rename;
mod replayed;
mod room;
mod space;
mod stamps;
mod superblock;
mod survey;
mod transaction;
mod write;
mod xattr;
mod xattr_inode;
mod xattr_write;

pub use dir::{Entry, FileType};
pub use error::{Error, Result};
pub use features::{Compat, Incompat, RoCompat};
pub use fs::{Ext, Free};
pub use group::{Group, GroupFlags};
pub use inode::{Flags, Inode, InodeNumber, Time};
pub use inodes::NewInode;
pub use map::Run;
pub use mmp::Mounter;
pub use mount::{Clock, host_clock};
pub use operations::Changes;
pub use rename::RenameFlags;
pub use space::Space;
pub use superblock::Superblock;
pub use xattr::Xattr;
pub use xattr_write::XattrMode;
