//! Directories: reading them, working in them; mounts.

use super::{Args, Entry, full, partial};
use crate::base::{Errno, Result};
use crate::fs::inotify::{self, Mask};
use crate::fs::{Cap, MAY_EXEC, Mount, MountFlags, Path, Unmount, dirfile, kind};
use crate::mm::Packer;
use crate::task::Ctx;
use std::sync::Arc;

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_getdents64, "getdents64", |ctx, [fd, at, len, ..]| getdents(ctx, fd, at, len, true)),
    full(libc::SYS_getdents, "getdents", |ctx, [fd, at, len, ..]| getdents(ctx, fd, at, len, false)),
    full(libc::SYS_getcwd, "getcwd", |ctx, [at, len, ..]| {
        let fs = ctx.fs.inner.lock().clone();
        if fs.cwd.dentry.is_deleted() {
            return Err(Errno::ENOENT);
        }
        let mut text = fs.cwd.text(&fs.root).unwrap_or_else(|| b"(unreachable)/".to_vec());
        text.push(0);
        if text.len() > crate::mm::PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if text.len() > len as usize {
            return Err(Errno::ERANGE);
        }
        ctx.put(at, &text)?;
        Ok(text.len() as u64)
    }),
    full(libc::SYS_chdir, "chdir", |ctx, [path, ..]| {
        let path = super::path::find(ctx, libc::AT_FDCWD, path, 0)?;
        go(ctx, path)
    }),
    full(libc::SYS_fchdir, "fchdir", |ctx, [fd, ..]| {
        let path = ctx.any_file(fd)?.path().clone();
        go(ctx, path)
    }),
    full(libc::SYS_chroot, "chroot", |ctx, [path, ..]| {
        let path = super::path::find(ctx, libc::AT_FDCWD, path, 0)?;
        searchable(ctx, &path)?;
        ctx.creds().need(Cap::SysChroot)?;
        let before = std::mem::replace(&mut ctx.fs.inner.lock().root, path);
        drop(before);
        Ok(0)
    }),
    full(libc::SYS_umask, "umask", |ctx, [mask, ..]| {
        let mut fs = ctx.fs.inner.lock();
        Ok(std::mem::replace(&mut fs.umask, mask as u32 & 0o777).into())
    }),
    partial(libc::SYS_mount, "mount", "propagation has no effect; file systems of this kernel only", mount),
    full(libc::SYS_umount2, "umount2", umount),
];

fn searchable(ctx: &Ctx, path: &Path) -> Result<()> {
    let attr = path.inode().attr()?;
    if attr.kind() != kind::DIR {
        return Err(Errno::ENOTDIR);
    }
    ctx.creds().may(&attr, MAY_EXEC)
}

fn go(ctx: &mut Ctx, path: Path) -> Result<u64> {
    searchable(ctx, &path)?;
    let before = std::mem::replace(&mut ctx.fs.inner.lock().cwd, path);
    // Not under the lock: a file system may end with it.
    drop(before);
    Ok(0)
}

fn getdents(ctx: &mut Ctx, fd: u64, at: u64, len: u64, new: bool) -> Result<u64> {
    let file = ctx.file(fd)?;
    let room = (len as usize).min(1 << 20);
    let mut out = Packer::new();
    let mut pos = *file.pos().lock();
    let mut full = false;
    dirfile::entries(&file, pos, &mut |entry| {
        let head = if new { 19 } else { 18 };
        let size = (head + entry.name.len() + if new { 1 } else { 2 }).next_multiple_of(8);
        if out.0.len() + size > room {
            full = true;
            return false;
        }
        let end = out.0.len() + size;
        let kind = (entry.kind >> 12) as u8;
        let mut p = std::mem::take(&mut out).u64(entry.ino).u64(entry.next).u16(size as u16);
        if new {
            p = p.bytes(&[kind]);
        }
        p = p.bytes(&entry.name).pad(end);
        if !new {
            p.0[end - 1] = kind;
        }
        out = p;
        pos = entry.next;
        true
    })?;
    if out.0.is_empty() && full {
        return Err(Errno::EINVAL);
    }
    ctx.put(at, &out.0)?;
    *file.pos().lock() = pos;
    file.tell(Mask::ACCESS);
    Ok(out.0.len() as u64)
}

fn mount(ctx: &mut Ctx, [source, target, kind, flags, data, _]: Args) -> Result<u64> {
    const REMOUNT: u64 = 32;
    const BIND: u64 = 4096;
    const MOVE: u64 = 8192;
    const PROPAGATION: u64 = (1 << 17) | (1 << 18) | (1 << 19) | (1 << 20);
    let memory = ctx.memory();
    let text = |at: u64| if at == 0 { Ok(Vec::new()) } else { memory.string(at, 4096) };
    let (source, kind, data) = (text(source)?, text(kind)?, text(data)?);
    ctx.creds().need(Cap::SysAdmin)?;
    let target = super::path::find(ctx, libc::AT_FDCWD, target, 0)?;
    let ns = ctx.fs.inner.lock().ns.clone();
    let wanted = MountFlags::from_bits_truncate(flags as u32);
    if flags & REMOUNT != 0 {
        if !Arc::ptr_eq(&target.dentry, target.mount.root()) {
            return Err(Errno::EINVAL);
        }
        let whole = flags & BIND == 0;
        if wanted.contains(MountFlags::RDONLY) {
            return ns.make_read_only(&target.mount, wanted, whole).map(|()| 0);
        }
        if whole {
            target.mount.fs().remount(false)?;
        }
        target.mount.set_flags(wanted);
        return Ok(0);
    }
    if flags & BIND != 0 {
        let from = ctx.find(libc::AT_FDCWD, &source, true)?;
        if from.inode().attr()?.is_dir() != target.inode().attr()?.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        return ns.mount(Mount::bind(&from), target).map(|()| 0);
    }
    if flags & PROPAGATION != 0 {
        return Ok(0);
    }
    if flags & MOVE != 0 {
        let from = ctx.find(libc::AT_FDCWD, &source, true)?;
        if !Arc::ptr_eq(&from.dentry, from.mount.root()) {
            return Err(Errno::EINVAL);
        }
        if from.inode().attr()?.is_dir() != target.inode().attr()?.is_dir() {
            return Err(Errno::EINVAL);
        }
        ns.move_mount(&from.mount, target)?;
        return Ok(0);
    }
    if !target.inode().attr()?.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    let fs: Arc<dyn crate::fs::FileSystem> = match &kind[..] {
        b"ext2" | b"ext3" | b"ext4" => {
            let attr = ctx.find(libc::AT_FDCWD, &source, true)?.inode().attr()?;
            if attr.kind() != crate::fs::kind::BLK {
                return Err(Errno::ENOTBLK);
            }
            let disk = crate::block::find(attr.rdev).ok_or(Errno::ENXIO)?;
            let read_only = wanted.contains(MountFlags::RDONLY);
            crate::block::mount(&disk, &kind, read_only, |disk| {
                Ok(crate::fs::extfs::ExtFs::mount(&kind, disk, read_only)?)
            })?
        }
        _ => crate::fs::special::make_fs(&kind, &data)?,
    };
    ns.mount(Mount::whole(fs, &String::from_utf8_lossy(&source), wanted), target).map(|()| 0)
}

fn umount(ctx: &mut Ctx, [target, flags, ..]: Args) -> Result<u64> {
    const NOFOLLOW: i32 = 8;
    if flags & !0xf != 0 {
        return Err(Errno::EINVAL);
    }
    ctx.creds().need(Cap::SysAdmin)?;
    let follow = if flags as i32 & NOFOLLOW != 0 { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    let target = super::path::find(ctx, libc::AT_FDCWD, target, follow)?;
    if !Arc::ptr_eq(&target.dentry, target.mount.root()) {
        return Err(Errno::EINVAL);
    }
    let (ns, root) = {
        let fs = ctx.fs.inner.lock();
        (fs.ns.clone(), Arc::ptr_eq(&fs.root.mount, &target.mount))
    };
    let how = match flags as i32 & (libc::MNT_DETACH | libc::MNT_EXPIRE | libc::MNT_FORCE) {
        f if f & libc::MNT_EXPIRE == 0 => {
            if f & libc::MNT_DETACH != 0 {
                Unmount::Detach
            } else {
                Unmount::Unused
            }
        }
        libc::MNT_EXPIRE if !root => Unmount::Expire,
        _ => return Err(Errno::EINVAL),
    };
    if root && how == Unmount::Unused {
        // It cannot go while somebody has it as root; so it is at least clean (do_umount_root).
        return ns.make_read_only(&target.mount, target.mount.flags(), true).map(|()| 0);
    }
    let fs = target.mount.fs().clone();
    let going = target.mount.clone();
    drop(target);
    ns.unmount(&going, how)?;
    drop(going);
    if !ns.mounts().iter().any(|m| Arc::ptr_eq(m.fs(), &fs)) {
        inotify::unmounted(&fs);
    }
    Ok(0)
}
