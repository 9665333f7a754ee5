//! The kernel's requests, one method each. What only memory is needed for is answered at once, the rest by a worker.

use super::data::Wanted;
use super::{Files, Reply, Volume};
use crate::attr::{attr, device, number};
use crate::served::{self, Served};
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, INodeNo, InitFlags, KernelConfig,
    LockOwner, Notifier, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

thread_local! {
    /// Where content is read into.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Whoever reads as much as that at once can wait for a worker, if the others then need not wait for him.
const LONG: u32 = 256 << 10;

fn empty(done: Reply<()>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(e) => reply.error(e),
    }
}

/// The value of an attribute, or how long it is (getxattr(2)).
fn value(found: Reply<Vec<u8>>, size: u32, reply: ReplyXattr) {
    match found {
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(e) => reply.error(e),
    }
}

impl Served for Files {
    fn begin(&self) -> Box<dyn Fn(OwnedFd, Notifier) + Send> {
        let volume = self.0.clone();
        Box::new(move |device, notifier| {
            volume.turns.watch(device);
            // Once a session: there is none before.
            let _ = volume.notifier.set(notifier);
        })
    }

    fn finisher(&self) -> Box<dyn FnOnce() -> Result<(), String> + Send> {
        let volume = self.0.clone();
        Box::new(move || volume.finish())
    }

    fn sync(&self) -> Box<dyn Fn() + Send> {
        let volume = self.0.clone();
        // Whether it was done shows at the end.
        Box::new(move || {
            let _ = volume.fsync(INodeNo::ROOT);
        })
    }
}

impl Files {
    /// Has a worker do something with what all requests share.
    fn later(&self, job: impl FnOnce(&Volume) + Send + 'static) {
        let volume = Arc::clone(&self.0);
        self.0.workers.run(move || job(&volume));
    }
}

impl Filesystem for Files {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        served::configure_tree(config);
        served::want(config, InitFlags::FUSE_NO_OPENDIR_SUPPORT);
        if self.0.wants_write_back() {
            served::want(config, InitFlags::FUSE_WRITEBACK_CACHE);
        }
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _turn = self.0.turns.begin();
        self.0.lookup(parent, name, reply);
    }

    fn forget(&self, _req: &Request, node: INodeNo, count: u64) {
        let number = number(node);
        if !self.0.lookups.forget(number, count) {
            return;
        }
        match self.0.is_small(number) {
            true => self.0.end(number),
            false => self.later(move |volume| volume.end(number)),
        }
    }

    fn getattr(&self, _req: &Request, node: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let _turn = self.0.turns.begin();
        match self.0.inode(number(node)) {
            Ok(inode) => reply.attr(&self.0.ttl, &attr(&inode, self.0.settings.owner)),
            Err(e) => reply.error(e),
        }
    }

    fn setattr(
        &self,
        req: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let _turn = self.0.turns.begin();
        let wanted = Wanted { mode, uid, gid, size, atime, mtime, ctime };
        match self.0.set_attr(req.uid(), node, &wanted) {
            Ok(inode) => reply.attr(&self.0.ttl, &attr(&inode, self.0.settings.owner)),
            Err(e) => reply.error(e),
        }
    }

    fn readlink(&self, _req: &Request, node: INodeNo, reply: ReplyData) {
        let _turn = self.0.turns.begin();
        match self.0.read_link(node) {
            Ok(target) => reply.data(&target),
            Err(e) => reply.error(e),
        }
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let _turn = self.0.turns.begin();
        self.0.answer(self.0.make(req, parent, name, (mode, umask, device(rdev))), reply);
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let _turn = self.0.turns.begin();
        let mode = mode & 0o7777 | 0x4000;
        self.0.answer(self.0.make(req, parent, name, (mode, umask, (0, 0))), reply);
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.0.turns.begin();
        empty(self.0.remove(parent, name, false), reply);
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.0.turns.begin();
        empty(self.0.remove(parent, name, true), reply);
    }

    fn symlink(&self, req: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let _turn = self.0.turns.begin();
        self.0.answer(self.0.symlink(req, parent, name, target.as_os_str().as_bytes()), reply);
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
        empty(self.0.rename((parent, name), (to, new), flags.bits()), reply);
    }

    fn link(&self, _req: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _turn = self.0.turns.begin();
        self.0.answer(self.0.link(node, parent, name), reply);
    }

    /// Nothing is to be known of who has a file open: the kernel asks once, and then opens by itself (FUSE_NO_OPEN_SUPPORT).
    fn open(&self, _req: &Request, _node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let _turn = self.0.turns.begin();
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
        let _turn = self.0.turns.begin();
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
        if size >= LONG {
            return self.later(move |volume| read(volume, node, offset, size, reply));
        }
        read(&self.0, node, offset, size, reply);
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
        match self.0.write(node, offset, data, flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID)) {
            Ok(()) => reply.written(data.len() as u32),
            Err(e) => reply.error(e),
        }
    }

    /// Nothing is to be done when a file is closed, and the kernel need not ask again.
    fn flush(&self, _req: &Request, _node: INodeNo, _fh: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        let _turn = self.0.turns.begin();
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _req: &Request, node: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.later(move |volume| empty(volume.fsync(node), reply));
    }

    fn opendir(&self, _req: &Request, _node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let _turn = self.0.turns.begin();
        reply.error(Errno::ENOSYS);
    }

    fn readdir(&self, _req: &Request, node: INodeNo, _fh: FileHandle, offset: u64, reply: ReplyDirectory) {
        let _turn = self.0.turns.begin();
        self.0.read_dir(node, offset, reply);
    }

    fn readdirplus(
        &self,
        _req: &Request,
        node: INodeNo,
        _fh: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let _turn = self.0.turns.begin();
        self.0.read_dir_plus(node, offset, reply);
    }

    fn fsyncdir(&self, _req: &Request, node: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.later(move |volume| empty(volume.fsync(node), reply));
    }

    fn statfs(&self, _req: &Request, _node: INodeNo, reply: ReplyStatfs) {
        let _turn = self.0.turns.begin();
        let (sb, free) = match self.0.ext.free() {
            Ok(free) => (self.0.ext.superblock(), free),
            Err(e) => return reply.error(crate::errno::errno(e)),
        };
        let own = self.0.ext.overhead().min(sb.blocks);
        let available = free.blocks.saturating_sub(sb.reserved_blocks);
        let (files, size) = ((sb.inodes.into(), free.inodes.into()), sb.block_size);
        reply.statfs(sb.blocks - own, free.blocks, available, files.0, files.1, size, 255, size);
    }

    fn setxattr(
        &self,
        req: &Request,
        node: INodeNo,
        name: &OsStr,
        new: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let _turn = self.0.turns.begin();
        empty(self.0.set_xattr(req, node, name.as_bytes(), new, flags), reply);
    }

    fn getxattr(&self, _req: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let _turn = self.0.turns.begin();
        value(self.0.get_xattr(node, name.as_bytes()), size, reply);
    }

    fn listxattr(&self, req: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        let _turn = self.0.turns.begin();
        value(self.0.list_xattrs(req, node), size, reply);
    }

    fn removexattr(&self, _req: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.0.turns.begin();
        empty(self.0.remove_xattr(node, name.as_bytes()), reply);
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
        self.later(move |volume| empty(volume.fallocate(node, offset, length, mode), reply));
    }

    fn lseek(&self, _req: &Request, node: INodeNo, _fh: FileHandle, at: i64, whence: i32, reply: ReplyLseek) {
        self.later(move |volume| {
            // By a worker: the kernel writes to us meanwhile.
            volume.write_back(node);
            match volume.seek(node, at, whence) {
                Ok(found) => reply.offset(found),
                Err(e) => reply.error(e),
            }
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
        self.later(move |volume| match volume.copy((from, offset_in), (to, offset_out), len) {
            Ok(copied) => reply.written(copied),
            Err(e) => reply.error(e),
        });
    }
}

fn read(volume: &Volume, node: INodeNo, offset: u64, size: u32, reply: ReplyData) {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < size as usize {
            buffer.resize(size as usize, 0);
        }
        match volume.read(node, offset, &mut buffer[..size as usize]) {
            Ok(len) => reply.data(&buffer[..len]),
            Err(e) => reply.error(e),
        }
    });
}
