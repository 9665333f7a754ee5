//! Attributes of files and file systems.

use super::{Args, Entry, full};
use crate::base::{Errno, Result, Timespec};
use crate::fs::{Attr, MountFlags, PATH_EMPTY, Path, StatFs, major, minor};
use crate::mm::Packer;
use crate::task::Ctx;

const CWD: i32 = libc::AT_FDCWD;

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_stat, "stat", |ctx, [path, at, ..]| stat(ctx, CWD, path, at, 0)),
    full(libc::SYS_lstat, "lstat", |ctx, [path, at, ..]| stat(ctx, CWD, path, at, libc::AT_SYMLINK_NOFOLLOW)),
    full(libc::SYS_newfstatat, "newfstatat", |ctx, [fd, path, at, flags, ..]| {
        let flags = flags as i32;
        if flags & !(libc::AT_SYMLINK_NOFOLLOW | PATH_EMPTY | libc::AT_NO_AUTOMOUNT) != 0 {
            return Err(Errno::EINVAL);
        }
        stat(ctx, fd as i32, path, at, flags)
    }),
    full(libc::SYS_fstat, "fstat", |ctx, [fd, at, ..]| {
        let attr = ctx.any_file(fd)?.attr()?;
        ctx.put(at, &bytes(&attr))?;
        Ok(0)
    }),
    full(libc::SYS_statx, "statx", statx),
    full(libc::SYS_statfs, "statfs", |ctx, [path, at, ..]| {
        let path = super::path::find(ctx, CWD, path, 0)?;
        statfs(ctx, &path, at)
    }),
    full(libc::SYS_fstatfs, "fstatfs", |ctx, [fd, at, ..]| {
        let path = ctx.any_file(fd)?.path().clone();
        statfs(ctx, &path, at)
    }),
];

fn time(p: Packer, t: Timespec) -> Packer {
    p.i64(t.sec).i64(t.nsec)
}

/// `struct stat` (arch/x86/include/uapi/asm/stat.h).
fn bytes(a: &Attr) -> Vec<u8> {
    let p = Packer::new().u64(a.dev).u64(a.ino).u64(a.nlink.into()).u32(a.mode).u32(a.uid).u32(a.gid).u32(0);
    let p = p.u64(a.rdev).u64(a.size).u64(a.blksize.into()).u64(a.blocks);
    time(time(time(p, a.atime), a.mtime), a.ctime).pad(144).0
}

fn stat(ctx: &mut Ctx, dirfd: i32, path: u64, at: u64, flags: i32) -> Result<u64> {
    let attr = super::path::find(ctx, dirfd, path, flags)?.inode().attr()?;
    ctx.put(at, &bytes(&attr))?;
    Ok(0)
}

fn statx(ctx: &mut Ctx, [fd, path, flags, mask, at, _]: Args) -> Result<u64> {
    const BASIC: u32 = 0x7ff;
    const BTIME: u32 = 0x800;
    const MNT_ID: u32 = 0x1000;
    const MOUNT_ROOT: u64 = 0x2000;
    let flags = flags as i32;
    const SYNC: i32 = 0x6000;
    if flags & !(libc::AT_SYMLINK_NOFOLLOW | PATH_EMPTY | libc::AT_NO_AUTOMOUNT | SYNC) != 0
        || flags & SYNC == SYNC
        || mask & 0x8000_0000 != 0
    {
        return Err(Errno::EINVAL);
    }
    let path = super::path::find(ctx, fd as i32, path, flags)?;
    let a = path.inode().attr()?;
    let mut got = BASIC | MNT_ID;
    if a.btime != Timespec::default() {
        got |= BTIME;
    }
    let root = std::sync::Arc::ptr_eq(&path.dentry, path.mount.root());
    let time = |p: Packer, t: Timespec| p.i64(t.sec).u32(t.nsec as u32).u32(0);
    let dev = |p: Packer, d: u64| p.u32(major(d) as u32).u32(minor(d) as u32);
    let p = Packer::new().u32(got).u32(a.blksize).u64(if root { MOUNT_ROOT } else { 0 });
    let p = p.u32(a.nlink).u32(a.uid).u32(a.gid).u16(a.mode as u16).u16(0);
    let p = p.u64(a.ino).u64(a.size).u64(a.blocks).u64(MOUNT_ROOT);
    let p = time(time(time(time(p, a.atime), a.btime), a.ctime), a.mtime);
    let p = dev(dev(p, a.rdev), a.dev).u64(path.mount.id());
    ctx.put(at, &p.pad(256).0)?;
    Ok(0)
}

fn statfs(ctx: &mut Ctx, path: &Path, at: u64) -> Result<u64> {
    const VALID: u64 = 0x20;
    let s: StatFs = path.mount.fs().statfs()?;
    let flags = path.mount.flags();
    let mut bits = VALID;
    for (flag, bit) in [
        (MountFlags::RDONLY, 1),
        (MountFlags::NOSUID, 2),
        (MountFlags::NODEV, 4),
        (MountFlags::NOEXEC, 8),
        (MountFlags::NOATIME, 1024),
        (MountFlags::NODIRATIME, 2048),
        (MountFlags::RELATIME, 4096),
    ] {
        if flags.contains(flag) {
            bits |= bit;
        }
    }
    let p = Packer::new()
        .u64(s.magic)
        .u64(s.bsize)
        .u64(s.blocks)
        .u64(s.bfree)
        .u64(s.bavail)
        .u64(s.files)
        .u64(s.ffree);
    let p = p.u64(path.mount.fs().dev()).u64(s.namelen).u64(s.bsize).u64(bits).pad(120);
    ctx.put(at, &p.0)?;
    Ok(0)
}
