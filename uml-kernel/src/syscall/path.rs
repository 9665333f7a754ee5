//! Making, removing and renaming names; permissions, owners, times; extended attributes.

use super::{Args, Entry, full};
use crate::base::{Errno, Result, Timespec};
use crate::fs::inotify::{self, Mask};
use crate::fs::vfs::{self, SetTime};
use crate::fs::{MAY_WRITE, PATH_EMPTY, Path, kind};
use crate::mm::Unpacker;
use crate::task::Ctx;
use crate::task::signal::{SI_USER, SigInfo};

const CWD: i32 = libc::AT_FDCWD;

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_mkdir, "mkdir", |ctx, [path, mode, ..]| {
        make(ctx, CWD, path, kind::DIR | mode as u32 & 0o1777, 0)
    }),
    full(libc::SYS_mkdirat, "mkdirat", |ctx, [fd, path, mode, ..]| {
        make(ctx, fd as i32, path, kind::DIR | mode as u32 & 0o1777, 0)
    }),
    full(libc::SYS_mknod, "mknod", |ctx, [path, mode, dev, ..]| mknod(ctx, CWD, path, mode, dev)),
    full(libc::SYS_mknodat, "mknodat", |ctx, [fd, path, mode, dev, ..]| {
        mknod(ctx, fd as i32, path, mode, dev)
    }),
    full(libc::SYS_symlink, "symlink", |ctx, [target, path, ..]| symlink(ctx, target, CWD, path)),
    full(libc::SYS_symlinkat, "symlinkat", |ctx, [target, fd, path, ..]| {
        symlink(ctx, target, fd as i32, path)
    }),
    full(libc::SYS_unlink, "unlink", |ctx, [path, ..]| remove(ctx, CWD, path, false)),
    full(libc::SYS_rmdir, "rmdir", |ctx, [path, ..]| remove(ctx, CWD, path, true)),
    full(libc::SYS_unlinkat, "unlinkat", |ctx, [fd, path, flags, ..]| {
        if flags as i32 & !libc::AT_REMOVEDIR != 0 {
            return Err(Errno::EINVAL);
        }
        remove(ctx, fd as i32, path, flags != 0)
    }),
    full(libc::SYS_link, "link", |ctx, [old, new, ..]| link(ctx, [CWD as u64, old, CWD as u64, new, 0, 0])),
    full(libc::SYS_linkat, "linkat", link),
    full(libc::SYS_rename, "rename", |ctx, [old, new, ..]| rename(ctx, CWD, old, CWD, new, 0)),
    full(libc::SYS_renameat, "renameat", |ctx, [fd, old, fd2, new, ..]| {
        rename(ctx, fd as i32, old, fd2 as i32, new, 0)
    }),
    full(libc::SYS_renameat2, "renameat2", |ctx, [fd, old, fd2, new, flags, _]| {
        rename(ctx, fd as i32, old, fd2 as i32, new, flags as u32)
    }),
    full(libc::SYS_readlink, "readlink", |ctx, [path, at, len, ..]| readlink(ctx, CWD, path, at, len)),
    full(libc::SYS_readlinkat, "readlinkat", |ctx, [fd, path, at, len, ..]| {
        readlink(ctx, fd as i32, path, at, len)
    }),
    full(libc::SYS_access, "access", |ctx, [path, mode, ..]| access(ctx, CWD, path, mode, 0)),
    full(libc::SYS_faccessat, "faccessat", |ctx, [fd, path, mode, ..]| access(ctx, fd as i32, path, mode, 0)),
    full(libc::SYS_faccessat2, "faccessat2", |ctx, [fd, path, mode, flags, ..]| {
        access(ctx, fd as i32, path, mode, flags)
    }),
    full(libc::SYS_chmod, "chmod", |ctx, [path, mode, ..]| chmod(ctx, CWD, path, mode, 0)),
    full(libc::SYS_fchmodat, "fchmodat", |ctx, [fd, path, mode, ..]| chmod(ctx, fd as i32, path, mode, 0)),
    full(libc::SYS_fchmodat2, "fchmodat2", |ctx, [fd, path, mode, flags, ..]| {
        chmod(ctx, fd as i32, path, mode, flags)
    }),
    full(libc::SYS_fchmod, "fchmod", |ctx, [fd, mode, ..]| {
        let path = ctx.file(fd)?.path().clone();
        vfs::chmod(&ctx.creds(), &path, mode as u32).map(|()| 0)
    }),
    full(libc::SYS_chown, "chown", |ctx, [path, uid, gid, ..]| chown(ctx, CWD, path, uid, gid, 0)),
    full(libc::SYS_lchown, "lchown", |ctx, [path, uid, gid, ..]| {
        chown(ctx, CWD, path, uid, gid, libc::AT_SYMLINK_NOFOLLOW as u64)
    }),
    full(libc::SYS_fchownat, "fchownat", |ctx, [fd, path, uid, gid, flags, _]| {
        chown(ctx, fd as i32, path, uid, gid, flags)
    }),
    full(libc::SYS_fchown, "fchown", |ctx, [fd, uid, gid, ..]| {
        let path = ctx.file(fd)?.path().clone();
        vfs::chown(&ctx.creds(), &path, id(uid), id(gid)).map(|()| 0)
    }),
    full(libc::SYS_truncate, "truncate", |ctx, [path, size, ..]| {
        if (size as i64) < 0 {
            return Err(Errno::EINVAL);
        }
        let path = find(ctx, CWD, path, 0)?;
        check_size(ctx, size)?;
        vfs::truncate(&ctx.creds(), &path, size).map(|()| 0)
    }),
    full(libc::SYS_ftruncate, "ftruncate", |ctx, [fd, size, ..]| {
        if (size as i64) < 0 {
            return Err(Errno::EINVAL);
        }
        let file = ctx.file(fd)?;
        if file.check_write().is_err() || file.attr()?.kind() != kind::REG {
            return Err(Errno::EINVAL);
        }
        check_size(ctx, size)?;
        file.inode().set_attr(&crate::fs::SetAttr { size: Some(size), ..Default::default() })?;
        file.tell(Mask::MODIFY);
        Ok(0)
    }),
    full(libc::SYS_utimensat, "utimensat", utimensat),
    full(libc::SYS_utimes, "utimes", |ctx, [path, at, ..]| utimes(ctx, CWD, path, at)),
    full(libc::SYS_futimesat, "futimesat", |ctx, [fd, path, at, ..]| utimes(ctx, fd as i32, path, at)),
    full(libc::SYS_utime, "utime", |ctx, [path, at, ..]| {
        let (mut a, mut m) = (SetTime::Now, SetTime::Now);
        if at != 0 {
            let mut b = [0; 16];
            ctx.read(at, &mut b)?;
            let mut u = Unpacker(&b);
            a = SetTime::To(Timespec { sec: u.i64(), nsec: 0 });
            m = SetTime::To(Timespec { sec: u.i64(), nsec: 0 });
        }
        let path = find(ctx, CWD, path, 0)?;
        vfs::set_times(&ctx.creds(), &path, a, m).map(|()| 0)
    }),
    full(libc::SYS_getxattr, "getxattr", |ctx, a| {
        let p = find(ctx, CWD, a[0], 0)?;
        get_xattr(ctx, &p, a)
    }),
    full(libc::SYS_lgetxattr, "lgetxattr", |ctx, a| {
        let p = find(ctx, CWD, a[0], libc::AT_SYMLINK_NOFOLLOW)?;
        get_xattr(ctx, &p, a)
    }),
    full(libc::SYS_fgetxattr, "fgetxattr", |ctx, a| {
        let p = ctx.file(a[0])?.path().clone();
        get_xattr(ctx, &p, a)
    }),
    full(libc::SYS_setxattr, "setxattr", |ctx, a| {
        let p = find(ctx, CWD, a[0], 0)?;
        set_xattr(ctx, &p, a)
    }),
    full(libc::SYS_lsetxattr, "lsetxattr", |ctx, a| {
        let p = find(ctx, CWD, a[0], libc::AT_SYMLINK_NOFOLLOW)?;
        set_xattr(ctx, &p, a)
    }),
    full(libc::SYS_fsetxattr, "fsetxattr", |ctx, a| {
        let p = ctx.file(a[0])?.path().clone();
        set_xattr(ctx, &p, a)
    }),
    full(libc::SYS_listxattr, "listxattr", |ctx, a| {
        let p = find(ctx, CWD, a[0], 0)?;
        list_xattr(ctx, &p, a)
    }),
    full(libc::SYS_llistxattr, "llistxattr", |ctx, a| {
        let p = find(ctx, CWD, a[0], libc::AT_SYMLINK_NOFOLLOW)?;
        list_xattr(ctx, &p, a)
    }),
    full(libc::SYS_flistxattr, "flistxattr", |ctx, a| {
        let p = ctx.file(a[0])?.path().clone();
        list_xattr(ctx, &p, a)
    }),
    full(libc::SYS_removexattr, "removexattr", |ctx, a| {
        let p = find(ctx, CWD, a[0], 0)?;
        remove_xattr(ctx, &p, a)
    }),
    full(libc::SYS_lremovexattr, "lremovexattr", |ctx, a| {
        let p = find(ctx, CWD, a[0], libc::AT_SYMLINK_NOFOLLOW)?;
        remove_xattr(ctx, &p, a)
    }),
    full(libc::SYS_fremovexattr, "fremovexattr", |ctx, a| {
        let p = ctx.file(a[0])?.path().clone();
        remove_xattr(ctx, &p, a)
    }),
];

/// SIGXFSZ and EFBIG for a length over RLIMIT_FSIZE.
fn check_size(ctx: &Ctx, size: u64) -> Result<()> {
    if size <= ctx.task.process.limit(libc::RLIMIT_FSIZE) {
        return Ok(());
    }
    ctx.signal_self(SigInfo::user(libc::SIGXFSZ, SI_USER, ctx.task.process.pid, 0));
    Err(Errno::EFBIG)
}

/// What a path in the guest's memory names; `AT_SYMLINK_NOFOLLOW` and `AT_EMPTY_PATH` in `flags`.
pub(super) fn find(ctx: &Ctx, dirfd: i32, path: u64, flags: i32) -> Result<Path> {
    let path = if path == 0 && flags & PATH_EMPTY != 0 { Vec::new() } else { ctx.path(path)? };
    if path.is_empty() && flags & PATH_EMPTY != 0 {
        if dirfd == CWD {
            return Ok(ctx.fs.inner.lock().cwd.clone());
        }
        return Ok(ctx.any_file(dirfd as u64)?.path().clone());
    }
    ctx.find(dirfd, &path, flags & libc::AT_SYMLINK_NOFOLLOW == 0)
}

/// A path, and from where it is resolved.
fn lookup(ctx: &Ctx, dirfd: i32, path: u64) -> Result<(crate::fs::Lookup, Vec<u8>)> {
    let path = ctx.path(path)?;
    let dirfd = if path.first() == Some(&b'/') { CWD } else { dirfd };
    Ok((ctx.lookup(dirfd)?, path))
}

fn make(ctx: &mut Ctx, dirfd: i32, path: u64, mode: u32, dev: u64) -> Result<u64> {
    let (lookup, path) = lookup(ctx, dirfd, path)?;
    let mode = mode & !ctx.fs.inner.lock().umask;
    vfs::make_at(&lookup, &path, mode, dev, b"").map(|_| 0)
}

fn mknod(ctx: &mut Ctx, dirfd: i32, path: u64, mode: u64, dev: u64) -> Result<u64> {
    let mut mode = mode as u32;
    match mode & kind::MASK {
        0 => mode |= kind::REG,
        kind::REG | kind::FIFO | kind::SOCK | kind::CHR | kind::BLK => {}
        kind::DIR => return Err(Errno::EPERM),
        _ => return Err(Errno::EINVAL),
    }
    // The 32 bits of the old encoding, which dev_t has in its lower half.
    let dev = dev & 0xffff_ffff;
    make(ctx, dirfd, path, mode & (kind::MASK | 0o7777), dev)
}

fn symlink(ctx: &mut Ctx, target: u64, dirfd: i32, path: u64) -> Result<u64> {
    let target = ctx.path(target)?;
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    let (lookup, path) = lookup(ctx, dirfd, path)?;
    vfs::make_at(&lookup, &path, kind::LNK | 0o777, 0, &target).map(|_| 0)
}

fn remove(ctx: &mut Ctx, dirfd: i32, path: u64, dir: bool) -> Result<u64> {
    let (lookup, path) = lookup(ctx, dirfd, path)?;
    vfs::remove(&lookup, &path, dir).map(|()| 0)
}

fn link(ctx: &mut Ctx, [fd, old, fd2, new, flags, _]: Args) -> Result<u64> {
    let flags = flags as i32;
    if flags & !(libc::AT_SYMLINK_FOLLOW | PATH_EMPTY) != 0 {
        return Err(Errno::EINVAL);
    }
    let nofollow = if flags & libc::AT_SYMLINK_FOLLOW == 0 { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    let old = find(ctx, fd as i32, old, nofollow | flags & PATH_EMPTY)?;
    let (lookup, new) = lookup(ctx, fd2 as i32, new)?;
    vfs::link(&lookup, &old, &lookup, &new).map(|()| 0)
}

fn rename(ctx: &mut Ctx, fd: i32, old: u64, fd2: i32, new: u64, flags: u32) -> Result<u64> {
    let (from, old) = lookup(ctx, fd, old)?;
    let (to, new) = lookup(ctx, fd2, new)?;
    vfs::rename(&from, &old, &to, &new, flags).map(|()| 0)
}

fn readlink(ctx: &mut Ctx, dirfd: i32, path: u64, at: u64, len: u64) -> Result<u64> {
    if len as i32 <= 0 {
        return Err(Errno::EINVAL);
    }
    let bytes = ctx.path(path)?;
    let path = if bytes.is_empty() {
        match ctx.any_file(dirfd as u64) {
            Ok(file) => file.path().clone(),
            Err(_) => return Err(Errno::ENOENT),
        }
    } else {
        ctx.find(dirfd, &bytes, false)?
    };
    if path.inode().attr()?.kind() != kind::LNK {
        return Err(if bytes.is_empty() { Errno::ENOENT } else { Errno::EINVAL });
    }
    let target = path.inode().read_link()?;
    let n = target.len().min(len as usize);
    ctx.put(at, &target[..n])?;
    Ok(n as u64)
}

fn access(ctx: &mut Ctx, dirfd: i32, path: u64, mode: u64, flags: u64) -> Result<u64> {
    let flags = flags as i32;
    if mode & !7 != 0 || flags & !(libc::AT_EACCESS | libc::AT_SYMLINK_NOFOLLOW | PATH_EMPTY) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = find(ctx, dirfd, path, flags)?;
    let attr = path.inode().attr()?;
    let want = mode as u32;
    if want & MAY_WRITE != 0 && matches!(attr.kind(), kind::REG | kind::DIR | kind::LNK) {
        path.check_writable()?;
    }
    let mut creds = (*ctx.creds()).clone();
    if flags & libc::AT_EACCESS == 0 {
        // As the real user would be.
        creds.fsuid = creds.uid;
        creds.fsgid = creds.gid;
        creds.effective = if creds.uid == 0 { creds.permitted } else { 0 };
    }
    creds.may(&attr, want).map(|()| 0)
}

fn at_flags(flags: u64) -> Result<i32> {
    let flags = flags as i32;
    if flags & !(libc::AT_SYMLINK_NOFOLLOW | PATH_EMPTY) != 0 { Err(Errno::EINVAL) } else { Ok(flags) }
}

fn chmod(ctx: &mut Ctx, dirfd: i32, path: u64, mode: u64, flags: u64) -> Result<u64> {
    let path = find(ctx, dirfd, path, at_flags(flags)?)?;
    vfs::chmod(&ctx.creds(), &path, mode as u32).map(|()| 0)
}

fn id(value: u64) -> Option<u32> {
    (value as u32 != !0).then_some(value as u32)
}

fn chown(ctx: &mut Ctx, dirfd: i32, path: u64, uid: u64, gid: u64, flags: u64) -> Result<u64> {
    let path = find(ctx, dirfd, path, at_flags(flags)?)?;
    vfs::chown(&ctx.creds(), &path, id(uid), id(gid)).map(|()| 0)
}

fn utimensat(ctx: &mut Ctx, [fd, path, times, flags, ..]: Args) -> Result<u64> {
    let flags = at_flags(flags)?;
    let (mut a, mut m) = (SetTime::Now, SetTime::Now);
    if times != 0 {
        let mut b = [0; 32];
        ctx.read(times, &mut b)?;
        let mut u = Unpacker(&b);
        let mut one = || {
            let t = Timespec { sec: u.i64(), nsec: u.i64() };
            match t.nsec {
                libc::UTIME_NOW => Ok(SetTime::Now),
                libc::UTIME_OMIT => Ok(SetTime::Omit),
                0..1_000_000_000 => Ok(SetTime::To(t)),
                _ => Err(Errno::EINVAL),
            }
        };
        (a, m) = (one()?, one()?);
    }
    let path = if path == 0 {
        if fd as i32 == CWD {
            return Err(Errno::EFAULT);
        }
        ctx.any_file(fd)?.path().clone()
    } else {
        find(ctx, fd as i32, path, flags)?
    };
    vfs::set_times(&ctx.creds(), &path, a, m).map(|()| 0)
}

fn utimes(ctx: &mut Ctx, dirfd: i32, path: u64, at: u64) -> Result<u64> {
    let (mut a, mut m) = (SetTime::Now, SetTime::Now);
    if at != 0 {
        let mut b = [0; 32];
        ctx.read(at, &mut b)?;
        let mut u = Unpacker(&b);
        let mut one = || {
            let (sec, us) = (u.i64(), u.i64());
            if (0..1_000_000).contains(&us) {
                Ok(SetTime::To(Timespec { sec, nsec: us * 1000 }))
            } else {
                Err(Errno::EINVAL)
            }
        };
        (a, m) = (one()?, one()?);
    }
    let path = find(ctx, dirfd, path, 0)?;
    vfs::set_times(&ctx.creds(), &path, a, m).map(|()| 0)
}

fn xattr_name(ctx: &Ctx, at: u64) -> Result<Vec<u8>> {
    match ctx.memory().string(at, 256) {
        Ok(name) if !name.is_empty() => Ok(name),
        Ok(_) | Err(Errno::ENAMETOOLONG) => Err(Errno::ERANGE),
        Err(e) => Err(e),
    }
}

fn put_sized(ctx: &mut Ctx, at: u64, size: u64, bytes: &[u8]) -> Result<u64> {
    if size == 0 {
        return Ok(bytes.len() as u64);
    }
    if (size as usize) < bytes.len() {
        return Err(Errno::ERANGE);
    }
    ctx.put(at, bytes)?;
    Ok(bytes.len() as u64)
}

fn get_xattr(ctx: &mut Ctx, path: &Path, [_, name, at, size, ..]: Args) -> Result<u64> {
    let name = xattr_name(ctx, name)?;
    vfs::check_xattr(&ctx.creds(), path.inode(), &name, false)?;
    let value = path.inode().xattr(&name)?;
    put_sized(ctx, at, size, &value)
}

fn set_xattr(ctx: &mut Ctx, path: &Path, [_, name, at, size, flags, _]: Args) -> Result<u64> {
    if flags & !3 != 0 {
        return Err(Errno::EINVAL);
    }
    let name = xattr_name(ctx, name)?;
    if size > 65536 {
        return Err(Errno::E2BIG);
    }
    let mut value = vec![0; size as usize];
    ctx.read(at, &mut value)?;
    path.check_writable()?;
    vfs::check_xattr(&ctx.creds(), path.inode(), &name, true)?;
    path.inode().set_xattr(&name, &value, flags as u32)?;
    inotify::about(&path.dentry, Mask::ATTRIB);
    Ok(0)
}

fn list_xattr(ctx: &mut Ctx, path: &Path, [_, at, size, ..]: Args) -> Result<u64> {
    let trusted = ctx.creds().has(crate::fs::Cap::SysAdmin);
    let mut bytes = Vec::new();
    for name in path.inode().xattrs()? {
        if trusted || !name.starts_with(b"trusted.") {
            bytes.extend_from_slice(&name);
            bytes.push(0);
        }
    }
    put_sized(ctx, at, size, &bytes)
}

fn remove_xattr(ctx: &mut Ctx, path: &Path, [_, name, ..]: Args) -> Result<u64> {
    let name = xattr_name(ctx, name)?;
    path.check_writable()?;
    vfs::check_xattr(&ctx.creds(), path.inode(), &name, true)?;
    path.inode().remove_xattr(&name)?;
    inotify::about(&path.dentry, Mask::ATTRIB);
    Ok(0)
}
