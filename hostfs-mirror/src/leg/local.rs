//! A local directory as a leg: a disk of any kind, a network mount.

use super::{Capabilities, Change, Entry, Leg, Make, Owner, Result};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs;
use rustix::fs::{
    AtFlags, CWD, Dir, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, SeekFrom,
    Stat, StatVfs, StatxFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use rustix::path::DecInt;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Beneath the root, with no help from links of any kind.
const JAIL: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_SYMLINKS);
/// An attribute's value is no longer (XATTR_SIZE_MAX), and neither is the list of their names (XATTR_LIST_MAX).
const XATTR_MAX: usize = 65_536;
const OMIT: Timespec = Timespec { tv_sec: 0, tv_nsec: fs::UTIME_OMIT };

/// A directory, opened once.
#[derive(Debug)]
pub struct Local {
    name: PathBuf,
    root: OwnedFd,
    /// /proc/self/fd: what is known by a descriptor alone is opened, and its attributes reached, through it.
    descriptors: OwnedFd,
    capabilities: Capabilities,
}

impl Local {
    /// Opens a directory as a leg.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(path: &Path) -> Result<Local> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::openat(CWD, path, flags, Mode::empty())?;
        let descriptors = fs::openat(CWD, "/proc/self/fd", flags, Mode::empty())?;
        let mut leg = Local { name: path.to_owned(), root, descriptors, capabilities: Capabilities::all() };
        leg.capabilities = leg.find_capabilities();
        Ok(leg)
    }

    fn find_capabilities(&self) -> Capabilities {
        let mut found = Capabilities::all();
        let lacks = |name: &str| self.xattr(self.root(), OsStr::new(name)) == Err(Errno::OPNOTSUPP);
        found.set(Capabilities::XATTR, !lacks("user.hostfs-mirror"));
        found.set(Capabilities::ACL, !lacks("system.posix_acl_access"));
        found.set(Capabilities::OWNERS, rustix::process::geteuid().is_root());
        found
    }

    /// A path by which a descriptor's own object is reached, symbolic link or not.
    fn magic(object: BorrowedFd<'_>) -> String {
        format!("/proc/self/fd/{}", object.as_raw_fd())
    }

    /// Gives what has just been made to its owner, unless it has that one already.
    fn give(
        &self,
        parent: BorrowedFd<'_>,
        made: BorrowedFd<'_>,
        stat: Stat,
        owner: Option<Owner>,
    ) -> Result<Stat> {
        let Some(owner) = owner else { return Ok(stat) };
        if (stat.st_uid, stat.st_gid) == (owner.uid, owner.gid) {
            return Ok(stat);
        }
        // A directory with the set-group-id bit hands its group down.
        let inherits = fs::fstat(parent)?.st_mode & 0o2000 != 0;
        let gid = (!inherits).then_some(owner.gid);
        let mode = Mode::from_raw_mode(stat.st_mode);
        let change = Change {
            uid: Some(owner.uid),
            gid,
            // What chown(2) takes away.
            mode: (stat.st_mode & 0o6000 != 0 && FileType::from_raw_mode(stat.st_mode) != FileType::Symlink)
                .then_some(mode),
            ..Change::default()
        };
        self.change(made, &change)?;
        self.stat(made)
    }
}

/// All of a value, whose length is not known before.
fn whole(mut get: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match get(&mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < XATTR_MAX => buffer.resize(XATTR_MAX, 0),
            Err(e) => return Err(e),
        }
    }
}

impl Leg for Local {
    fn name(&self) -> &Path {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    fn resolve(&self, path: &Path) -> Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat2(&self.root, path, flags, Mode::empty(), JAIL)
    }

    fn lookup(&self, parent: BorrowedFd<'_>, name: &OsStr) -> Result<(OwnedFd, Stat)> {
        let object =
            fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let stat = fs::fstat(&object)?;
        Ok((object, stat))
    }

    fn stat(&self, object: BorrowedFd<'_>) -> Result<Stat> {
        fs::fstat(object)
    }

    fn birth(&self, object: BorrowedFd<'_>) -> Result<i64> {
        let found = fs::statx(object, "", AtFlags::EMPTY_PATH, StatxFlags::BTIME)?;
        let known = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
        let time = found.stx_btime.tv_sec.saturating_mul(1_000_000_000) + i64::from(found.stx_btime.tv_nsec);
        Ok(if known { time } else { 0 })
    }

    fn open(&self, object: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd> {
        let name = DecInt::from_fd(object);
        fs::openat(&self.descriptors, name, flags | OFlags::CLOEXEC | OFlags::LARGEFILE, Mode::empty())
    }

    fn create(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        mode: Mode,
        owner: Option<Owner>,
    ) -> Result<(OwnedFd, Stat)> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(parent, name, flags | OFlags::LARGEFILE, mode)?;
        let stat = fs::fstat(&file)?;
        let stat = self.give(parent, file.as_fd(), stat, owner)?;
        Ok((file, stat))
    }

    fn make(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        what: Make<'_>,
        owner: Option<Owner>,
    ) -> Result<(OwnedFd, Stat)> {
        match what {
            Make::Directory(mode) => fs::mkdirat(parent, name, mode)?,
            Make::Node(kind, mode, device) => fs::mknodat(parent, name, kind, mode, device)?,
            Make::Symlink(target) => fs::symlinkat(target, parent, name)?,
        }
        let (object, stat) = self.lookup(parent, name)?;
        let stat = self.give(parent, object.as_fd(), stat, owner)?;
        Ok((object, stat))
    }

    fn link(&self, object: BorrowedFd<'_>, parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        // By the descriptor's name in /proc, which an ordinary user may follow too (linkat(2), O_TMPFILE).
        fs::linkat(&self.descriptors, DecInt::from_fd(object), parent, name, AtFlags::SYMLINK_FOLLOW)
    }

    fn unlink(&self, parent: BorrowedFd<'_>, name: &OsStr, directory: bool) -> Result<()> {
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        fs::unlinkat(parent, name, flags)
    }

    fn rename(
        &self,
        from: (BorrowedFd<'_>, &OsStr),
        to: (BorrowedFd<'_>, &OsStr),
        flags: RenameFlags,
    ) -> Result<()> {
        if flags.is_empty() {
            return fs::renameat(from.0, from.1, to.0, to.1);
        }
        fs::renameat_with(from.0, from.1, to.0, to.1, flags)
    }

    fn read_link(&self, object: BorrowedFd<'_>) -> Result<OsString> {
        let target = fs::readlinkat(object, "", Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    fn list(&self, directory: BorrowedFd<'_>) -> Result<Vec<Entry>> {
        let opened = self.open(directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        for entry in Dir::new(opened)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                let (name, kind, ino) = (OsStr::from_bytes(name).to_owned(), entry.file_type(), entry.ino());
                entries.push(Entry { name, kind, ino });
            }
        }
        Ok(entries)
    }

    fn change(&self, object: BorrowedFd<'_>, change: &Change) -> Result<()> {
        if let Some(size) = change.size {
            match fs::ftruncate(object, size) {
                // A descriptor that is not open for writing.
                Err(Errno::BADF | Errno::INVAL) => {
                    fs::ftruncate(self.open(object, OFlags::WRONLY)?, size)?;
                }
                done => done?,
            }
        }
        if change.uid.is_some() || change.gid.is_some() {
            let (uid, gid) = (change.uid.map(Uid::from_raw), change.gid.map(Gid::from_raw));
            fs::chownat(object, "", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        if let Some(mode) = change.mode {
            fs::chmodat(&self.descriptors, DecInt::from_fd(object), mode, AtFlags::empty())?;
        }
        if change.atime.is_some() || change.mtime.is_some() {
            let times = Timestamps {
                last_access: change.atime.unwrap_or(OMIT),
                last_modification: change.mtime.unwrap_or(OMIT),
            };
            fs::utimensat(object, "", &times, AtFlags::EMPTY_PATH)?;
        }
        Ok(())
    }

    fn xattr(&self, object: BorrowedFd<'_>, name: &OsStr) -> Result<Vec<u8>> {
        let path = Self::magic(object);
        whole(|buffer| fs::getxattr(path.as_str(), name, buffer))
    }

    fn xattrs(&self, object: BorrowedFd<'_>) -> Result<Vec<u8>> {
        let path = Self::magic(object);
        whole(|buffer| fs::listxattr(path.as_str(), buffer))
    }

    fn set_xattr(&self, object: BorrowedFd<'_>, name: &OsStr, value: &[u8], flags: XattrFlags) -> Result<()> {
        fs::setxattr(Self::magic(object), name, value, flags)
    }

    fn remove_xattr(&self, object: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        fs::removexattr(Self::magic(object), name)
    }

    fn read(&self, file: BorrowedFd<'_>, into: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match rustix::io::pread(file, &mut into[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(len) => done += len,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write(&self, file: BorrowedFd<'_>, data: &[u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        while done < data.len() {
            match rustix::io::pwrite(file, &data[done..], offset + done as u64) {
                Ok(len) if len > 0 => done += len,
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) if done > 0 => break,
                Ok(_) => return Err(Errno::IO),
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn allocate(&self, file: BorrowedFd<'_>, mode: FallocateFlags, offset: u64, len: u64) -> Result<()> {
        fs::fallocate(file, mode, offset, len)
    }

    fn seek(&self, file: BorrowedFd<'_>, offset: u64, data: bool) -> Result<u64> {
        fs::seek(file, if data { SeekFrom::Data(offset) } else { SeekFrom::Hole(offset) })
    }

    fn copy(
        &self,
        from: BorrowedFd<'_>,
        from_offset: u64,
        to: BorrowedFd<'_>,
        to_offset: u64,
        len: usize,
    ) -> Result<usize> {
        let (mut from_offset, mut to_offset) = (from_offset, to_offset);
        fs::copy_file_range(from, Some(&mut from_offset), to, Some(&mut to_offset), len)
    }

    fn sync(&self, file: BorrowedFd<'_>, data_only: bool) -> Result<()> {
        if data_only { fs::fdatasync(file) } else { fs::fsync(file) }
    }

    fn sync_all(&self) -> Result<()> {
        // syncfs(2) takes no O_PATH.
        fs::syncfs(self.open(self.root(), OFlags::RDONLY | OFlags::DIRECTORY)?)
    }

    fn room(&self) -> Result<StatVfs> {
        fs::fstatvfs(&self.root)
    }
}
