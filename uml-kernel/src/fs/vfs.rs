//! Operations on the tree, with the checks of permission that they need: what system calls are made of.

use super::cred::{MAY_EXEC, MAY_READ, MAY_WRITE};
use super::inotify::Mask;
use super::writers::Claim;
use super::{
    Attr, Cap, Creds, File, Found, Inode, Last, Lookup, MountFlags, NewNode, OpenFlags, Path,
    RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, Resolve, SetAttr, Writing, inotify, kind,
};
use crate::base::{Errno, Mutex, Rank, Result, time};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How open(2) was asked.
#[derive(Debug, Clone, Copy)]
pub struct OpenHow {
    /// Flags.
    pub flags: OpenFlags,
    /// Permissions of a new file, with the umask applied.
    pub mode: u32,
}

/// `O_TMPFILE`, both of its bits.
const TMPFILE: OpenFlags = OpenFlags::TMPFILE_BIT.union(OpenFlags::DIRECTORY);

/// Opens a path, or makes a file there.
pub fn open(lookup: &Lookup, path: &[u8], how: OpenHow) -> Result<Arc<File>> {
    let flags = how.flags;
    let follow = !flags.contains(OpenFlags::NOFOLLOW);
    if flags.contains(OpenFlags::PATH) {
        let found = lookup.find(path, follow)?;
        if flags.contains(OpenFlags::DIRECTORY) && !found.inode().attr()?.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let keep = OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW;
        return Ok(File::new(Arc::new(PathOnly), found, flags & keep));
    }
    if flags.contains(OpenFlags::TMPFILE_BIT) && !flags.contains(OpenFlags::DIRECTORY) {
        return Err(Errno::EINVAL);
    }
    if flags.contains(TMPFILE) {
        return open_unnamed(lookup, path, how);
    }
    if !flags.contains(OpenFlags::CREAT) {
        let found = lookup.find(path, follow)?;
        return open_found(lookup, found, flags, follow);
    }
    if flags.contains(OpenFlags::DIRECTORY) {
        return Err(Errno::EINVAL);
    }
    // What ends in a slash would be a directory, and is not made here.
    if path.ends_with(b"/") && matches!(lookup.parent(path)?.1, Last::Name(_, true)) {
        return Err(Errno::EISDIR);
    }
    match lookup.find_or_parent(path, follow && !flags.contains(OpenFlags::EXCL))? {
        Found::There(_) if flags.contains(OpenFlags::EXCL) => Err(Errno::EEXIST),
        Found::There(found) => {
            if found.inode().attr()?.is_dir() {
                return Err(Errno::EISDIR);
            }
            open_found(lookup, found, flags, follow)
        }
        Found::Missing { dir: true, .. } => Err(Errno::EISDIR),
        Found::Missing { parent, name, .. } => {
            match make(lookup, &parent, &name, kind::REG | how.mode & 0o7777, 0, b"") {
                // Opened as it was asked, whatever its own permissions say.
                Ok(path) => open_inode(path, flags - OpenFlags::TRUNC),
                // Another was quicker.
                Err(Errno::EEXIST) if !flags.contains(OpenFlags::EXCL) => {
                    open_found(lookup, lookup.find(path, follow)?, flags, follow)
                }
                Err(e) => Err(e),
            }
        }
    }
}

/// What an O_PATH descriptor can do: nothing.
#[derive(Debug)]
struct PathOnly;

impl super::FileOps for PathOnly {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn open_unnamed(lookup: &Lookup, path: &[u8], how: OpenHow) -> Result<Arc<File>> {
    if !how.flags.writes() {
        return Err(Errno::EINVAL);
    }
    let dir = lookup.find(path, true)?;
    let attr = dir.inode().attr()?;
    if !attr.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    lookup.creds.may(&attr, MAY_WRITE | MAY_EXEC)?;
    dir.check_writable()?;
    let (uid, gid, mode) = lookup.creds.new_owner(&attr, kind::REG | how.mode & 0o7777);
    let inode = dir.inode().create_unnamed(&NewNode { mode, rdev: 0, uid, gid, target: b"" })?;
    let name = format!("#{}", inode.attr()?.ino);
    let dentry = super::Dentry::root(name.as_bytes(), inode);
    dentry.linkable.store(!how.flags.contains(OpenFlags::EXCL), Ordering::Relaxed);
    open_inode(Path { mount: dir.mount, dentry }, how.flags)
}

/// Opens what a path has led to.
pub fn open_found(lookup: &Lookup, path: Path, flags: OpenFlags, follow: bool) -> Result<Arc<File>> {
    let attr = path.inode().attr()?;
    match attr.kind() {
        kind::LNK => return Err(if follow { Errno::EIO } else { Errno::ELOOP }),
        kind::DIR if flags.writes() || flags.intersects(OpenFlags::CREAT | OpenFlags::TRUNC) => {
            return Err(Errno::EISDIR);
        }
        kind::DIR => {}
        _ if flags.contains(OpenFlags::DIRECTORY) => return Err(Errno::ENOTDIR),
        kind::CHR | kind::BLK if path.mount.flags().contains(MountFlags::NODEV) => return Err(Errno::EACCES),
        _ => {}
    }
    let mut want = 0;
    if flags.reads() {
        want |= MAY_READ;
    }
    if flags.writes() || flags.contains(OpenFlags::TRUNC) {
        want |= MAY_WRITE;
        if matches!(attr.kind(), kind::REG | kind::DIR) {
            path.check_writable()?;
        }
    }
    lookup.creds.may(&attr, want)?;
    if flags.contains(OpenFlags::NOATIME) && !lookup.creds.owns(&attr) {
        return Err(Errno::EPERM);
    }
    open_inode(path, flags)
}

fn open_inode(path: Path, flags: OpenFlags) -> Result<Arc<File>> {
    let cut = flags.contains(OpenFlags::TRUNC) && path.inode().attr()?.kind() == kind::REG;
    let file = open_node(path, flags)?;
    file.was_opened();
    if cut {
        inotify::about(&file.path().dentry, Mask::MODIFY);
    }
    Ok(file)
}

fn open_node(path: Path, flags: OpenFlags) -> Result<Arc<File>> {
    let attr = path.inode().attr()?;
    let kept = flags
        - (OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::NOCTTY | OpenFlags::TRUNC | OpenFlags::CLOEXEC);
    match attr.kind() {
        kind::SOCK => Err(Errno::ENXIO),
        kind::FIFO => super::special::open_fifo(path, kept),
        kind::CHR | kind::BLK => super::special::open_device(path, attr, flags - OpenFlags::CLOEXEC),
        kind::DIR => Ok(File::new(Arc::new(super::dirfile::Directory::default()), path, kept)),
        _ => {
            // Before anything is cut.
            let writing = if flags.writes() { Some(Writing::new(&path)?) } else { None };
            let claim = if flags.writes() { Some(Claim::writer(attr.dev, attr.ino)?) } else { None };
            if flags.contains(OpenFlags::TRUNC) && attr.size > 0 {
                let change = SetAttr { size: Some(0), ..SetAttr::default() };
                path.inode().set_attr(&change)?;
            }
            let ops = path.inode().clone().open(kept)?;
            let file = File::new(ops, path, kept);
            if let Some(claim) = claim {
                file.keep(claim);
            }
            if let Some(writing) = writing {
                file.keep_writing(writing);
            }
            Ok(file)
        }
    }
}

/// Where a name is to be made: the directory and the name; EEXIST for what exists already by its form.
pub fn target(lookup: &Lookup, path: &[u8], dir: bool) -> Result<(Path, Vec<u8>)> {
    match lookup.parent(path)? {
        (parent, Last::Name(name, slash)) => {
            if slash && !dir {
                // A slash asks for a directory: what is not there cannot be one, what is there is in the way.
                parent.dentry.child(&name)?;
                return Err(Errno::EEXIST);
            }
            Ok((parent, name))
        }
        _ => Err(Errno::EEXIST),
    }
}

/// Makes a node of any type in a directory.
pub fn make(
    lookup: &Lookup,
    parent: &Path,
    name: &[u8],
    mode: u32,
    rdev: u64,
    target: &[u8],
) -> Result<Path> {
    let attr = parent.inode().attr()?;
    match parent.dentry.child(name) {
        Ok(_) => return Err(Errno::EEXIST),
        Err(Errno::ENOENT) => {}
        Err(e) => return Err(e),
    }
    parent.check_writable()?;
    if parent.dentry.is_deleted() {
        return Err(Errno::ENOENT);
    }
    lookup.creds.may(&attr, MAY_WRITE | MAY_EXEC)?;
    let (uid, gid, mode) = lookup.creds.new_owner(&attr, mode);
    let inode = parent.inode().create(name, &NewNode { mode, rdev, uid, gid, target })?;
    let dentry = parent.dentry.add(name, inode);
    inotify::in_directory(parent.inode(), name, dentry.inode(), Mask::CREATE);
    Ok(Path { mount: parent.mount.clone(), dentry })
}

/// mkdir, mknod and symlink: makes a node at a path.
pub fn make_at(lookup: &Lookup, path: &[u8], mode: u32, rdev: u64, link: &[u8]) -> Result<Path> {
    let is_dir = mode & kind::MASK == kind::DIR;
    let (parent, name) = target(lookup, path, is_dir)?;
    if matches!(mode & kind::MASK, kind::CHR | kind::BLK) && !(rdev == 0 && mode & kind::MASK == kind::CHR) {
        lookup.creds.need(Cap::Mknod)?;
    }
    make(lookup, &parent, &name, mode, rdev, link)
}

/// unlink and rmdir.
pub fn remove(lookup: &Lookup, path: &[u8], dir: bool) -> Result<()> {
    let (parent, last) = lookup.parent(path)?;
    let name = match last {
        Last::Name(name, slash) => {
            if slash && !dir {
                let there = parent.dentry.child(&name)?.inode().attr()?;
                return Err(if there.is_dir() { Errno::EISDIR } else { Errno::ENOTDIR });
            }
            name
        }
        Last::Dot if dir => return Err(if path.ends_with(b".") { Errno::EINVAL } else { Errno::EBUSY }),
        Last::DotDot if dir => return Err(Errno::ENOTEMPTY),
        _ => return Err(Errno::EISDIR),
    };
    let child = parent.dentry.child(&name)?;
    parent.check_writable()?;
    let attr = child.inode().attr()?;
    lookup.creds.may_remove(&parent.inode().attr()?, &attr)?;
    if dir && !attr.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    if !dir && attr.is_dir() {
        return Err(Errno::EISDIR);
    }
    if child.mounts.load(std::sync::atomic::Ordering::Relaxed) > 0 {
        return Err(Errno::EBUSY);
    }
    if dir {
        parent.inode().rmdir(&name)?;
    } else {
        parent.inode().unlink(&name)?;
        inotify::on(child.inode(), Mask::ATTRIB);
    }
    parent.dentry.forget(&name);
    let inode = child.inode().clone();
    // Who watches it hears of its end first, if this was it.
    drop(child);
    inotify::in_directory(parent.inode(), &name, &inode, Mask::DELETE);
    Ok(())
}

/// link(2): another name for a file.
pub fn link(lookup: &Lookup, old: &Path, new_lookup: &Lookup, new: &[u8]) -> Result<()> {
    let (parent, name) = target(new_lookup, new, false)?;
    let attr = old.inode().attr()?;
    if parent.dentry.child(&name).is_ok() {
        return Err(Errno::EEXIST);
    }
    if !Arc::ptr_eq(&old.mount, &parent.mount) {
        return Err(Errno::EXDEV);
    }
    if attr.is_dir() {
        return Err(Errno::EPERM);
    }
    parent.check_writable()?;
    lookup.creds.may(&parent.inode().attr()?, MAY_WRITE | MAY_EXEC)?;
    // A file without names gets one only if it was made to (O_TMPFILE without O_EXCL).
    if attr.nlink == 0 && !old.dentry.linkable.load(Ordering::Relaxed) {
        return Err(Errno::ENOENT);
    }
    parent.inode().link(&name, old.inode())?;
    parent.dentry.add(&name, old.inode().clone());
    inotify::on(old.inode(), Mask::ATTRIB);
    inotify::in_directory(parent.inode(), &name, old.inode(), Mask::CREATE);
    Ok(())
}

/// Held by whoever moves names.
static RENAMES: Mutex<()> = Mutex::new(Rank::Renames, ());

/// rename(2) and renameat2(2).
pub fn rename(from: &Lookup, old: &[u8], to: &Lookup, new: &[u8], flags: u32) -> Result<()> {
    if flags & !(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) != 0
        || flags & RENAME_EXCHANGE != 0 && flags & (RENAME_NOREPLACE | RENAME_WHITEOUT) != 0
    {
        return Err(Errno::EINVAL);
    }
    let (old_dir, old_last) = from.parent(old)?;
    let (new_dir, new_last) = to.parent(new)?;
    if !Arc::ptr_eq(&old_dir.mount, &new_dir.mount) {
        return Err(Errno::EXDEV);
    }
    let (Last::Name(old_name, old_slash), Last::Name(new_name, new_slash)) = (old_last, new_last) else {
        return Err(if flags & RENAME_NOREPLACE != 0 { Errno::EEXIST } else { Errno::EBUSY });
    };
    // What is checked here has to hold until the names are moved, else two moves at once could put a directory below itself: whoever
    // then followed the way up would never end.
    let _lock = RENAMES.lock();
    // One that is gone is in no place that could be checked.
    if old_dir.dentry.is_deleted() || new_dir.dentry.is_deleted() {
        return Err(Errno::ENOENT);
    }
    let source = old_dir.dentry.child(&old_name)?;
    let target = match new_dir.dentry.child(&new_name) {
        Ok(t) => Some(t),
        Err(Errno::ENOENT) => None,
        Err(e) => return Err(e),
    };
    old_dir.check_writable()?;
    if target.is_some() && flags & RENAME_NOREPLACE != 0 {
        return Err(Errno::EEXIST);
    }
    if target.is_none() && flags & RENAME_EXCHANGE != 0 {
        return Err(Errno::ENOENT);
    }
    let attr = source.inode().attr()?;
    if !attr.is_dir() && (old_slash || (new_slash && flags & RENAME_EXCHANGE == 0)) {
        return Err(Errno::ENOTDIR);
    }
    if source.contains(&new_dir.dentry) {
        return Err(Errno::EINVAL);
    }
    if target.as_ref().is_some_and(|t| t.contains(&old_dir.dentry)) {
        return Err(if flags & RENAME_EXCHANGE != 0 { Errno::EINVAL } else { Errno::ENOTEMPTY });
    }
    let busy = |d: &Arc<super::Dentry>| d.mounts.load(std::sync::atomic::Ordering::Relaxed) > 0;
    if busy(&source) || target.as_ref().is_some_and(busy) {
        return Err(Errno::EBUSY);
    }
    if let Some(t) = &target {
        let t_attr = t.inode().attr()?;
        // Two names of one file: nothing is done, and nothing has to be allowed.
        if (attr.ino, attr.dev) == (t_attr.ino, t_attr.dev) {
            return Ok(());
        }
    }
    from.creds.may_remove(&old_dir.inode().attr()?, &attr)?;
    let new_attr = new_dir.inode().attr()?;
    match &target {
        Some(t) => {
            let t_attr = t.inode().attr()?;
            from.creds.may_remove(&new_attr, &t_attr)?;
            if flags & RENAME_EXCHANGE == 0 {
                if attr.is_dir() && !t_attr.is_dir() {
                    return Err(Errno::ENOTDIR);
                }
                if !attr.is_dir() && t_attr.is_dir() {
                    return Err(Errno::EISDIR);
                }
            }
        }
        None => from.creds.may(&new_attr, MAY_WRITE | MAY_EXEC)?,
    }
    // Moving a directory changes its `..`.
    if attr.is_dir() && old_dir != new_dir {
        from.creds.may(&attr, MAY_WRITE)?;
    }
    old_dir.inode().rename(&old_name, new_dir.inode(), &new_name, flags)?;
    let exchange = flags & RENAME_EXCHANGE != 0;
    old_dir.dentry.moved(&old_name, &new_dir.dentry, &new_name, exchange);
    let (from, to) = ((old_dir.inode(), &old_name[..]), (new_dir.inode(), &new_name[..]));
    inotify::moved(source.inode(), from, to);
    if let Some(replaced) = target.as_ref().filter(|_| !exchange) {
        inotify::on(replaced.inode(), Mask::ATTRIB);
    }
    inotify::on(source.inode(), Mask::MOVE_SELF);
    if let Some(other) = target.as_ref().filter(|_| exchange) {
        inotify::moved(other.inode(), to, from);
        inotify::on(other.inode(), Mask::MOVE_SELF);
    }
    Ok(())
}

/// chmod.
pub fn chmod(creds: &Creds, path: &Path, mode: u32) -> Result<()> {
    path.check_writable()?;
    let attr = path.inode().attr()?;
    if attr.kind() == kind::LNK {
        return Err(Errno::EOPNOTSUPP);
    }
    if !creds.owns(&attr) {
        return Err(Errno::EPERM);
    }
    let mut mode = mode & 0o7777;
    if !creds.in_group(attr.gid) && !creds.has(Cap::Fsetid) {
        mode &= !0o2000;
    }
    path.inode().set_attr(&SetAttr { mode: Some(mode), ..SetAttr::default() })?;
    inotify::about(&path.dentry, Mask::ATTRIB);
    Ok(())
}

/// chown; `None` leaves as is.
pub fn chown(creds: &Creds, path: &Path, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    path.check_writable()?;
    let attr = path.inode().attr()?;
    let privileged = creds.has(Cap::Chown);
    let uid_ok = uid.is_none_or(|u| privileged || (creds.fsuid == attr.uid && u == attr.uid));
    let gid_ok =
        gid.is_none_or(|g| privileged || (creds.fsuid == attr.uid && (creds.in_group(g) || g == attr.gid)));
    if !uid_ok || !gid_ok {
        return Err(Errno::EPERM);
    }
    let mut change = SetAttr { uid, gid, ..SetAttr::default() };
    // A program that changes hands is no longer set-user-ID.
    if attr.kind() == kind::REG && attr.mode & 0o6000 != 0 {
        let drop = if attr.mode & 0o2010 == 0o2010 { 0o6000 } else { 0o4000 };
        change.mode = Some(attr.mode & 0o7777 & !drop);
    }
    path.inode().set_attr(&change)?;
    if change.uid.is_some() || change.gid.is_some() || change.mode.is_some() {
        inotify::about(&path.dentry, Mask::ATTRIB);
    }
    Ok(())
}

/// truncate.
pub fn truncate(creds: &Creds, path: &Path, size: u64) -> Result<()> {
    let attr = path.inode().attr()?;
    match attr.kind() {
        kind::DIR => return Err(Errno::EISDIR),
        kind::REG => {}
        _ => return Err(Errno::EINVAL),
    }
    creds.may(&attr, MAY_WRITE)?;
    path.check_writable()?;
    path.inode().set_attr(&SetAttr { size: Some(size), ..SetAttr::default() })?;
    inotify::about(&path.dentry, Mask::MODIFY);
    Ok(())
}

/// A time to be set: as given, or now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// Left as it is.
    Omit,
    /// Now.
    Now,
    /// This.
    To(crate::base::Timespec),
}

/// utimensat.
pub fn set_times(creds: &Creds, path: &Path, atime: SetTime, mtime: SetTime) -> Result<()> {
    if atime == SetTime::Omit && mtime == SetTime::Omit {
        return Ok(());
    }
    path.check_writable()?;
    let attr = path.inode().attr()?;
    let both_now = atime == SetTime::Now && mtime == SetTime::Now;
    if !creds.owns(&attr) {
        if !both_now {
            return Err(Errno::EPERM);
        }
        creds.may(&attr, MAY_WRITE)?;
    }
    let now = time::real();
    let value = |t| match t {
        SetTime::Omit => None,
        SetTime::Now => Some(now),
        SetTime::To(t) => Some(t),
    };
    path.inode().set_attr(&SetAttr { atime: value(atime), mtime: value(mtime), ..SetAttr::default() })?;
    // One time alone is what reading, or writing, changes.
    let event = match (atime, mtime) {
        (SetTime::Omit, _) => Mask::MODIFY,
        (_, SetTime::Omit) => Mask::ACCESS,
        _ => Mask::ATTRIB,
    };
    inotify::about(&path.dentry, event);
    Ok(())
}

/// Permission for an extended attribute by its name (xattr(7)).
pub fn check_xattr(creds: &Creds, inode: &Arc<dyn Inode>, name: &[u8], write: bool) -> Result<()> {
    let attr: Attr = inode.attr()?;
    let want = if write { MAY_WRITE } else { MAY_READ };
    if name == b"user." || name == b"trusted." || name == b"security." {
        return Err(Errno::EINVAL);
    }
    if name.starts_with(b"user.") {
        if !matches!(attr.kind(), kind::REG | kind::DIR) {
            return Err(if write { Errno::EPERM } else { Errno::ENODATA });
        }
        return creds.may(&attr, want);
    }
    if name.starts_with(b"trusted.") {
        return if creds.has(Cap::SysAdmin) {
            Ok(())
        } else {
            Err(if write { Errno::EPERM } else { Errno::ENODATA })
        };
    }
    if name.starts_with(b"security.") {
        return if write { creds.need(Cap::SysAdmin) } else { Ok(()) };
    }
    if name.starts_with(b"system.") {
        return if write && !creds.owns(&attr) { Err(Errno::EPERM) } else { Ok(()) };
    }
    Err(Errno::EOPNOTSUPP)
}

/// Whether openat2's restrictions are known.
pub fn known_resolve(bits: u64) -> Result<Resolve> {
    Resolve::from_bits(bits).ok_or(Errno::EINVAL)
}
