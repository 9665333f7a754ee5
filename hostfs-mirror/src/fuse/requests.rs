//! The kernel's requests, one method each.

use super::attr::{attr, attr_of, nothing};
use super::{FOR_EVER, Shared, Tree, errno};
use crate::leg::{Change, Make, Result};
use crate::set::{Listed, Node, Wanted, What};
use cow_fuse::attr::{device, from_kernel};
use cow_fuse::control::{ATTRIBUTE, is_ours};
use cow_fuse::served::{self, Served};
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, Notifier, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{FallocateFlags, FileType, Mode, Stat, Timespec, XattrFlags};
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// Takes what a request needs, or answers that it is not to be had.
macro_rules! or_error {
    ($what:expr, $reply:expr) => {
        match $what {
            Ok(value) => value,
            Err(e) => return $reply.error(e),
        }
    };
}

fn entry(told: Result<Listed>, reply: ReplyEntry) {
    match told {
        Ok(told) => reply.entry(&FOR_EVER, &attr_of(&told), Generation(0)),
        Err(e) => reply.error(errno(e)),
    }
}

fn attributes(node: &Node, stat: Result<Stat>, reply: ReplyAttr) {
    match stat {
        Ok(stat) => reply.attr(&FOR_EVER, &attr(node.number(), &stat)),
        Err(e) => reply.error(errno(e)),
    }
}

fn empty<T>(done: Result<T>, reply: ReplyEmpty) {
    match done {
        Ok(_) => reply.ok(),
        Err(e) => reply.error(errno(e)),
    }
}

fn written(done: Result<usize>, reply: ReplyWrite) {
    match done {
        Ok(len) => reply.written(len as u32),
        Err(e) => reply.error(errno(e)),
    }
}

/// The value of an attribute, or how long it is (getxattr(2)).
fn value(found: Result<Vec<u8>>, size: u32, reply: ReplyXattr) {
    match found {
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(e) => reply.error(errno(e)),
    }
}

fn time(wanted: TimeOrNow) -> Wanted {
    match wanted {
        TimeOrNow::Now => Wanted::Now,
        TimeOrNow::SpecificTime(t) => {
            let t = from_kernel(t);
            Wanted::At(Timespec { tv_sec: t.sec, tv_nsec: t.nsec.into() })
        }
    }
}

fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits & 0o7777)
}

impl Served for Tree {
    fn begin(&self) -> Box<dyn Fn(OwnedFd, Notifier) + Send> {
        let shared = self.0.clone();
        Box::new(move |device, notifier| {
            shared.turns.watch(device);
            // Once a session: there is none before.
            let _ = shared.notifier.set(notifier);
        })
    }

    fn sync(&self) -> Box<dyn Fn() + Send> {
        let shared = self.0.clone();
        Box::new(move || shared.set.tidy())
    }

    fn finisher(&self) -> Box<dyn FnOnce() -> std::result::Result<(), String> + Send> {
        let shared = self.0.clone();
        Box::new(move || {
            shared.workers.end();
            shared.set.close()
        })
    }
}

impl Tree {
    /// Does something on another thread: it will wait.
    fn later(&self, job: impl FnOnce(&Shared) + Send + 'static) {
        let shared = Arc::clone(&self.0);
        self.0.workers.run(move || job(&shared));
    }
}

impl Filesystem for Tree {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        served::configure_tree(config);
        served::want(config, InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _turn = self.0.turns.begin();
        let parent = or_error!(self.0.node(parent), reply);
        self.0.set.lookup(&parent, name, |told| match told {
            Err(rustix::io::Errno::NOENT) => reply.entry(&FOR_EVER, &nothing(), Generation(0)),
            told => entry(told, reply),
        });
    }

    fn forget(&self, _req: &Request, node: INodeNo, count: u64) {
        self.0.set.forget(node.0, count);
    }

    fn getattr(&self, _req: &Request, node: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let _turn = self.0.turns.begin();
        let node = or_error!(self.0.node(node), reply);
        self.0.set.stat(&node, |stat| attributes(&node, stat, reply));
    }

    fn setattr(
        &self,
        req: &Request,
        node: INodeNo,
        new_mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let _turn = self.0.turns.begin();
        let node = or_error!(self.0.node(node), reply);
        let change = Change {
            mode: new_mode.map(mode),
            uid,
            gid,
            size,
            // One time for all legs.
            atime: atime.map(|t| time(t).time()),
            mtime: mtime.map(|t| time(t).time()),
        };
        self.0.set.set_attributes(&node, change, req.uid() != 0, |stat| attributes(&node, stat, reply));
    }

    fn readlink(&self, _req: &Request, node: INodeNo, reply: ReplyData) {
        let _turn = self.0.turns.begin();
        let node = or_error!(self.0.node(node), reply);
        self.0.set.read_link(&node, |text| match text {
            Ok(text) => reply.data(text.as_bytes()),
            Err(e) => reply.error(errno(e)),
        });
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let _turn = self.0.turns.begin();
        let parent = or_error!(self.0.node(parent), reply);
        let what = match FileType::from_raw_mode(new_mode) {
            FileType::RegularFile => What::File(mode(new_mode)),
            kind => {
                let (major, minor) = device(rdev);
                What::Other(Make::Node(kind, mode(new_mode), rustix::fs::makedev(major, minor)))
            }
        };
        let owner = self.0.owner(req);
        self.0.set.make(&parent, name, what, mode(umask), owner, |told| entry(told, reply));
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let _turn = self.0.turns.begin();
        let parent = or_error!(self.0.node(parent), reply);
        let what = What::Other(Make::Directory(mode(new_mode)));
        let owner = self.0.owner(req);
        self.0.set.make(&parent, name, what, mode(umask), owner, |told| entry(told, reply));
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.0.turns.begin();
        let parent = or_error!(self.0.node(parent), reply);
        self.0.set.unlink(&parent, name, false, |done| empty(done, reply));
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.0.turns.begin();
        let parent = or_error!(self.0.node(parent), reply);
        self.0.set.unlink(&parent, name, true, |done| empty(done, reply));
    }

    fn symlink(&self, req: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let _turn = self.0.turns.begin();
        let parent = or_error!(self.0.node(parent), reply);
        let what = What::Other(Make::Symlink(target.as_os_str()));
        let owner = self.0.owner(req);
        self.0.set.make(&parent, name, what, Mode::empty(), owner, |told| entry(told, reply));
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let _turn = self.0.turns.begin();
        let from = or_error!(self.0.node(parent), reply);
        let to = or_error!(self.0.node(to), reply);
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        self.0.set.rename((&from, name), (&to, new), flags, |done| empty(done, reply));
    }

    fn link(&self, _req: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _turn = self.0.turns.begin();
        let node = or_error!(self.0.node(node), reply);
        let parent = or_error!(self.0.node(parent), reply);
        self.0.set.link(&node, &parent, name, |told| entry(told, reply));
    }

    /// The kernel asks once, and then opens by itself (FUSE_NO_OPEN_SUPPORT).
    fn open(&self, _req: &Request, _node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    /// The kernel then makes a file with mknod: it is open without another request, and closed without one.
    fn create(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn read(
        &self,
        _req: &Request,
        node: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _turn = self.0.turns.begin();
        let node = or_error!(self.0.node(node), reply);
        self.0.set.read(&node, offset, size as usize, |data| match data {
            Ok(data) => reply.data(data),
            Err(e) => reply.error(errno(e)),
        });
    }

    fn write(
        &self,
        _req: &Request,
        node: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        _open: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let _turn = self.0.turns.begin();
        let node = or_error!(self.0.node(node), reply);
        let kill = flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        self.0.set.write(&node, offset, data, kill, |done| written(done, reply));
    }

    /// Nothing is to be done when a file is closed, and the kernel need not ask again.
    fn flush(&self, _req: &Request, _node: INodeNo, _fh: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _req: &Request, node: INodeNo, _fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        let node = or_error!(self.0.node(node), reply);
        self.later(move |shared| empty(shared.set.sync(&node, datasync), reply));
    }

    fn opendir(&self, _req: &Request, _node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(self.0.handles.open(), FopenFlags::empty());
    }

    fn releasedir(
        &self,
        _req: &Request,
        _node: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.0.handles.close(handle);
        reply.ok();
    }

    fn readdir(&self, _req: &Request, node: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectory) {
        let node = or_error!(self.0.node(node), reply);
        self.0.read_dir(&node, handle, offset, reply);
    }

    fn readdirplus(
        &self,
        _req: &Request,
        node: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let node = or_error!(self.0.node(node), reply);
        self.0.read_dir_plus(&node, handle, offset, reply);
    }

    fn fsyncdir(&self, req: &Request, node: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        self.fsync(req, node, fh, datasync, reply);
    }

    fn statfs(&self, _req: &Request, _node: INodeNo, reply: ReplyStatfs) {
        self.0.set.room(|room| match room {
            Ok(s) => reply.statfs(
                s.f_blocks,
                s.f_bfree,
                s.f_bavail,
                s.f_files,
                s.f_ffree,
                s.f_bsize as u32,
                s.f_namemax as u32,
                s.f_frsize as u32,
            ),
            Err(e) => reply.error(errno(e)),
        });
    }

    fn setxattr(
        &self,
        _req: &Request,
        node: INodeNo,
        name: &OsStr,
        new: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let _turn = self.0.turns.begin();
        let node = or_error!(self.0.node(node), reply);
        if is_ours(name.as_bytes()) {
            return reply.error(Errno::EPERM);
        }
        let flags = XattrFlags::from_bits_retain(flags as u32);
        self.0.set.set_xattr(&node, name, new, flags, |done| empty(done, reply));
    }

    fn getxattr(&self, _req: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let _turn = self.0.turns.begin();
        let node = or_error!(self.0.node(node), reply);
        if name == ATTRIBUTE && node.number() == INodeNo::ROOT.0 {
            return value(Ok(self.0.verdict.attribute().into_bytes()), size, reply);
        }
        self.0.set.xattr(&node, name, |found| value(found, size, reply));
    }

    fn listxattr(&self, req: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        let _turn = self.0.turns.begin();
        let node = or_error!(self.0.node(node), reply);
        let all = req.uid() == 0;
        self.0.set.xattrs(&node, |names| {
            let seen = |name: &&[u8]| all || !name.starts_with(b"trusted.");
            let names = names.map(|names| {
                names.split_inclusive(|byte| *byte == 0).filter(seen).flatten().copied().collect()
            });
            value(names, size, reply);
        });
    }

    fn removexattr(&self, _req: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.0.turns.begin();
        let node = or_error!(self.0.node(node), reply);
        self.0.set.remove_xattr(&node, name, |done| empty(done, reply));
    }

    fn fallocate(
        &self,
        _req: &Request,
        node: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let node = or_error!(self.0.node(node), reply);
        let mode = FallocateFlags::from_bits_retain(mode as u32);
        self.0.set.allocate(&node, mode, offset, length, |done| empty(done, reply));
    }

    fn lseek(&self, _req: &Request, node: INodeNo, _fh: FileHandle, at: i64, whence: i32, reply: ReplyLseek) {
        let node = or_error!(self.0.node(node), reply);
        let data = match whence {
            SEEK_DATA => true,
            SEEK_HOLE => false,
            _ => return reply.error(Errno::EINVAL),
        };
        let at = or_error!(u64::try_from(at).map_err(|_| Errno::ENXIO), reply);
        self.later(move |shared| {
            // What was written through a mapping comes here first: the kernel launders what it drops.
            if let Some(notifier) = shared.notifier.get() {
                let _ = notifier.inval_inode(INodeNo(node.number()), 0, 0);
            }
            shared.set.seek(&node, at, data, |found| match found {
                Ok(at) => reply.offset(at as i64),
                Err(e) => reply.error(errno(e)),
            });
        });
    }

    fn copy_file_range(
        &self,
        _req: &Request,
        from: INodeNo,
        _fh_in: FileHandle,
        offset_in: u64,
        to: INodeNo,
        _fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let from = or_error!(self.0.node(from), reply);
        let to = or_error!(self.0.node(to), reply);
        // So much that its length can be said, and that the watchdog does not take it for hanging.
        let len = len.min(1 << 26) as usize;
        self.0.set.copy((&from, offset_in), (&to, offset_out), len, |done| written(done, reply));
    }
}
