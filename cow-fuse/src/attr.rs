//! Inodes and times as the kernel wants them.

use crate::files::Owner;
use ext::{Ext, Inode, InodeNumber, Time};
use fuser::{FileAttr, FileType, Generation, INodeNo};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the kernel calls an inode: its root is 1, ours 2, and nothing else is 1 or 2.
pub(crate) fn node(number: InodeNumber) -> INodeNo {
    if number == Ext::ROOT { INodeNo::ROOT } else { INodeNo(number.into()) }
}

/// The inode that the kernel means.
pub(crate) fn number(node: INodeNo) -> InodeNumber {
    match node {
        INodeNo::ROOT => Ext::ROOT,
        // Numbers come from us, and are no longer than ours.
        INodeNo(other) => other as InodeNumber,
    }
}

pub(crate) fn generation(inode: &Inode) -> Generation {
    Generation(inode.generation.into())
}

/// What the kind in a mode is.
pub fn file_type(mode: u16) -> FileType {
    match mode & 0xf000 {
        0x4000 => FileType::Directory,
        0xa000 => FileType::Symlink,
        0x2000 => FileType::CharDevice,
        0x6000 => FileType::BlockDevice,
        0x1000 => FileType::NamedPipe,
        0xc000 => FileType::Socket,
        _ => FileType::RegularFile,
    }
}

/// What stat(2) says of an inode. `owner` stands for whoever it belongs to, if given.
pub(crate) fn attr(inode: &Inode, owner: Option<Owner>) -> FileAttr {
    let (uid, gid) = owner.map_or((inode.uid, inode.gid), |o| (o.uid, o.gid));
    let (major, minor) = inode.device().unwrap_or_default();
    // What is kept in the inode is counted all the same (ext4_file_getattr): programs take a file without blocks for a hole.
    let inline = inode.is_regular() && inode.flags.contains(ext::Flags::INLINE_DATA);
    let within = if inline { inode.size.div_ceil(512) } else { 0 };
    FileAttr {
        ino: INodeNo(inode.number.into()),
        size: inode.size,
        blocks: inode.blocks + within,
        atime: to_system(inode.atime),
        mtime: to_system(inode.mtime),
        ctime: to_system(inode.ctime),
        crtime: inode.crtime.map_or(UNIX_EPOCH, to_system),
        kind: file_type(inode.mode),
        perm: inode.mode & 0o7777,
        nlink: inode.links.into(),
        uid,
        gid,
        rdev: device_number(major, minor),
        // A page: what the kernel reads and writes, whatever the blocks on the disk.
        blksize: 4096,
        flags: 0,
    }
}

/// A device as the kernel wants it: new_encode_dev (linux/kdev_t.h).
pub fn device_number(major: u32, minor: u32) -> u32 {
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}

/// Major and minor number of a device as the kernel sends it.
pub fn device(rdev: u32) -> (u32, u32) {
    ((rdev & 0xf_ff00) >> 8, rdev & 0xff | rdev >> 12 & 0xf_ff00)
}

fn to_system(t: Time) -> SystemTime {
    system_time(t.sec, t.nsec)
}

/// A time for the kernel: seconds since 1970, and nanoseconds after those.
pub fn system_time(sec: i64, nsec: u32) -> SystemTime {
    match u64::try_from(sec) {
        Ok(sec) => UNIX_EPOCH + Duration::new(sec, nsec),
        Err(_) => UNIX_EPOCH - Duration::from_secs(sec.unsigned_abs()) + Duration::from_nanos(nsec.into()),
    }
}

/// A time that the kernel has sent.
pub fn from_kernel(t: SystemTime) -> Time {
    match t.duration_since(UNIX_EPOCH) {
        Ok(d) => Time { sec: d.as_secs() as i64, nsec: d.subsec_nanos() },
        // fuser 0.18 takes the nanoseconds away where they are to be added (time.rs, "TODO: 1_000_000_000 - nsec").
        Err(before) => {
            let d = before.duration();
            Time { sec: -(d.as_secs() as i64), nsec: d.subsec_nanos() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_come_back() {
        for (major, minor) in [(1, 3), (8, 1), (259, 70_000), (0xfff, 0xf_ffff)] {
            assert_eq!(device(device_number(major, minor)), (major, minor));
        }
    }

    #[test]
    fn times_before_1970() {
        let t = to_system(Time { sec: -2, nsec: 800_000_000 });
        assert_eq!(UNIX_EPOCH.duration_since(t).ok(), Some(Duration::from_millis(1200)));
    }
}
