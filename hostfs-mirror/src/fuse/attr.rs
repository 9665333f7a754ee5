//! Attributes as the kernel wants them.

use crate::set::Listed;
use cow_fuse::attr::{device_number, file_type, system_time};
use fuser::{FileAttr, FileType, INodeNo};
use rustix::fs::{FileType as Kind, Stat, major, minor};
use std::time::UNIX_EPOCH;

/// What stat(2) says of a node.
pub(crate) fn attr(number: u64, s: &Stat) -> FileAttr {
    FileAttr {
        ino: INodeNo(number),
        size: s.st_size as u64,
        blocks: s.st_blocks as u64,
        atime: system_time(s.st_atime, s.st_atime_nsec as u32),
        mtime: system_time(s.st_mtime, s.st_mtime_nsec as u32),
        ctime: system_time(s.st_ctime, s.st_ctime_nsec as u32),
        crtime: UNIX_EPOCH,
        kind: file_type((s.st_mode & 0xf000) as u16),
        perm: (s.st_mode & 0o7777) as u16,
        nlink: u32::try_from(s.st_nlink).unwrap_or(u32::MAX),
        uid: s.st_uid,
        gid: s.st_gid,
        rdev: device_number(major(s.st_rdev), minor(s.st_rdev)),
        // A page: what the kernel reads and writes.
        blksize: 4096,
        flags: 0,
    }
}

pub(crate) fn attr_of(told: &Listed) -> FileAttr {
    attr(told.node.number(), &told.stat)
}

/// A name that is not there, which the kernel is to remember.
pub(crate) fn nothing() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// What an entry of a directory is.
pub(crate) fn entry_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::CharacterDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}
