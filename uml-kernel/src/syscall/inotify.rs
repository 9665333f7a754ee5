//! Notices of what happens to files.

use super::events::descriptor_flags;
use super::{Args, Entry, full};
use crate::base::{Errno, Result};
use crate::fs::MAY_READ;
use crate::fs::inotify::{Inotify, Mask};
use crate::task::Ctx;

pub(super) const TABLE: &[Entry] = &[
    full(libc::SYS_inotify_init, "inotify_init", |ctx, _| init(ctx, 0)),
    full(libc::SYS_inotify_init1, "inotify_init1", |ctx, [flags, ..]| init(ctx, flags as u32)),
    full(libc::SYS_inotify_add_watch, "inotify_add_watch", add),
    full(libc::SYS_inotify_rm_watch, "inotify_rm_watch", |ctx, [fd, wd, ..]| {
        let file = ctx.file(fd)?;
        file.ops_as::<Inotify>().ok_or(Errno::EINVAL)?.remove(wd as i32).map(|()| 0)
    }),
];

fn init(ctx: &mut Ctx, flags: u32) -> Result<u64> {
    let (flags, cloexec) = descriptor_flags(flags)?;
    let file = Inotify::file(ctx.creds().uid, flags)?;
    ctx.files.add(file, cloexec).map(|fd| fd as u64)
}

fn add(ctx: &mut Ctx, [fd, path, mask, ..]: Args) -> Result<u64> {
    let mask = Mask::from_bits_truncate(mask as u32);
    if mask.is_empty() {
        return Err(Errno::EINVAL);
    }
    let file = ctx.file(fd)?;
    if mask.contains(Mask::MASK_ADD | Mask::MASK_CREATE) {
        return Err(Errno::EINVAL);
    }
    let instance = file.ops_as::<Inotify>().ok_or(Errno::EINVAL)?;
    let follow = if mask.contains(Mask::DONT_FOLLOW) { libc::AT_SYMLINK_NOFOLLOW } else { 0 };
    let path = super::path::find(ctx, libc::AT_FDCWD, path, follow)?;
    let attr = path.inode().attr()?;
    if mask.contains(Mask::ONLYDIR) && !attr.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    ctx.creds().may(&attr, MAY_READ)?;
    instance.add(path.inode(), mask).map(|wd| wd as u64)
}
