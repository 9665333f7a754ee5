//! A disk as one file, `disk`, in a directory of its own: for programs that want an image, and for a loop mount of file systems that are not
//! understood here.

use crate::control::{self, Verdict};
use crate::errno::of_io;
use crate::files::Owner;
use crate::served::{self, Served};
use crate::turn::Turns;
use crate::workers::Workers;
use block_device::{BlockDevice, ExtentKind};
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, Notifier, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The file.
const NAME: &str = "disk";
const FILE: INodeNo = INodeNo(2);
const TTL: Duration = Duration::from_secs(365 * 86400);
const WORKERS: usize = 8;
/// Who reads as much as that can wait for a worker.
const LONG: u32 = 256 << 10;

const KEEP_SIZE: i32 = 1;
const PUNCH_HOLE: i32 = 2;
const ZERO_RANGE: i32 = 16;
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A disk, to be served as a file.
pub struct Disk(Arc<Shared>);

struct Shared {
    device: Arc<dyn BlockDevice>,
    owner: Owner,
    since: SystemTime,
    /// Somebody else may write to it: the kernel is to keep nothing.
    live: bool,
    turns: Turns,
    workers: Workers,
    verdict: Arc<Verdict>,
}

impl Disk {
    /// The disk as a file of `owner`'s. Of one that is `live`, which somebody else may change, nothing is kept.
    pub fn new(device: Arc<dyn BlockDevice>, owner: Owner, live: bool, verdict: Arc<Verdict>) -> Disk {
        let (turns, workers) = (Turns::default(), Workers::new(WORKERS));
        Disk(Arc::new(Shared { device, owner, since: SystemTime::now(), live, turns, workers, verdict }))
    }
}

impl Shared {
    fn attr(&self, node: INodeNo) -> FileAttr {
        let directory = node == INodeNo::ROOT;
        let size = if directory { 0 } else { self.device.len() };
        let write = if self.device.read_only() { 0 } else { 0o200 };
        FileAttr {
            ino: node,
            size,
            blocks: size.div_ceil(512),
            atime: self.since,
            mtime: self.since,
            ctime: self.since,
            crtime: self.since,
            kind: if directory { FileType::Directory } else { FileType::RegularFile },
            perm: if directory { 0o555 } else { 0o400 | write },
            nlink: if directory { 2 } else { 1 },
            uid: self.owner.uid,
            gid: self.owner.gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn ttl(&self) -> Duration {
        if self.live { Duration::ZERO } else { TTL }
    }

    fn read(&self, offset: u64, size: u32, reply: ReplyData) {
        let len = self.device.len().saturating_sub(offset).min(size.into()) as usize;
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < len {
                buffer.resize(len, 0);
            }
            match self.device.read_at(&mut buffer[..len], offset) {
                Ok(()) => reply.data(&buffer[..len]),
                Err(e) => reply.error(of_io(&e)),
            }
        });
    }

    fn seek(&self, at: i64, whence: i32) -> Result<i64, Errno> {
        let (at, len) = (u64::try_from(at).map_err(|_| Errno::ENXIO)?, self.device.len());
        if at >= len {
            return Err(Errno::ENXIO);
        }
        if whence == SEEK_DATA {
            let next = self.device.next_data(at).map_err(|e| of_io(&e))?;
            return if next < len { Ok(next as i64) } else { Err(Errno::ENXIO) };
        }
        if whence != SEEK_HOLE {
            return Err(Errno::EINVAL);
        }
        let mut here = at;
        while here < len {
            let extent = self.device.extent(here).map_err(|e| of_io(&e))?;
            if extent.kind == ExtentKind::Hole {
                break;
            }
            here += extent.len;
        }
        Ok(here as i64)
    }

    fn fallocate(&self, offset: u64, length: u64, mode: i32) -> io::Result<()> {
        let length = length.min(self.device.len().saturating_sub(offset));
        match mode & !KEEP_SIZE {
            PUNCH_HOLE => self.device.discard(offset, length),
            ZERO_RANGE => self.device.write_zeroes(offset, length, false),
            // All of a disk is there.
            0 => Ok(()),
            _ => Err(io::Error::from_raw_os_error(Errno::EOPNOTSUPP.code())),
        }
    }
}

fn empty(done: io::Result<()>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(e) => reply.error(of_io(&e)),
    }
}

impl Served for Disk {
    fn begin(&self) -> Box<dyn Fn(OwnedFd, Notifier) + Send> {
        let shared = self.0.clone();
        Box::new(move |device, _| shared.turns.watch(device))
    }

    fn sync(&self) -> Box<dyn Fn() + Send> {
        let shared = self.0.clone();
        // Whether it was done shows at the end.
        Box::new(move || drop(shared.device.flush()))
    }

    fn finisher(&self) -> Box<dyn FnOnce() -> Result<(), String> + Send> {
        let shared = self.0.clone();
        Box::new(move || {
            shared.workers.end();
            shared.device.flush().map_err(|e| e.to_string())
        })
    }
}

impl Filesystem for Disk {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        served::configure(config);
        served::want(config, InitFlags::FUSE_NO_OPENDIR_SUPPORT);
        served::want(config, InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP);
        if !self.0.device.read_only() {
            served::want(config, InitFlags::FUSE_WRITEBACK_CACHE);
        }
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match (parent, name.to_str()) {
            (INodeNo::ROOT, Some(NAME)) => reply.entry(&self.0.ttl(), &self.0.attr(FILE), Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _req: &Request, node: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let _turn = self.0.turns.begin();
        reply.attr(&self.0.ttl(), &self.0.attr(node));
    }

    /// Times are not kept, and its length is what it is.
    fn setattr(
        &self,
        _req: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let _turn = self.0.turns.begin();
        let attr = self.0.attr(node);
        if mode.is_some() || uid.is_some() || gid.is_some() || size.is_some_and(|s| s != attr.size) {
            return reply.error(Errno::EPERM);
        }
        reply.attr(&self.0.ttl(), &attr);
    }

    fn open(&self, _req: &Request, _node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.0.live {
            true => reply.opened(FileHandle(0), fuser::FopenFlags::FOPEN_DIRECT_IO),
            false => reply.error(Errno::ENOSYS),
        }
    }

    fn opendir(&self, _req: &Request, _node: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn readdir(
        &self,
        _req: &Request,
        _node: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let names = [(INodeNo::ROOT, "."), (INodeNo::ROOT, ".."), (FILE, NAME)];
        for (at, (node, name)) in names.into_iter().enumerate().skip(offset as usize) {
            let kind = if node == FILE { FileType::RegularFile } else { FileType::Directory };
            if reply.add(node, at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn read(
        &self,
        _req: &Request,
        _node: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _turn = self.0.turns.begin();
        if size >= LONG {
            let shared = self.0.clone();
            return self.0.workers.run(move || shared.read(offset, size, reply));
        }
        self.0.read(offset, size, reply);
    }

    fn write(
        &self,
        _req: &Request,
        _node: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write: WriteFlags,
        _open: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let _turn = self.0.turns.begin();
        let len = self.0.device.len().saturating_sub(offset).min(data.len() as u64) as usize;
        if len == 0 && !data.is_empty() {
            return reply.error(Errno::ENOSPC);
        }
        match self.0.device.write_at(&data[..len], offset) {
            Ok(()) => reply.written(len as u32),
            Err(e) => reply.error(of_io(&e)),
        }
    }

    fn flush(&self, _req: &Request, _node: INodeNo, _fh: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _req: &Request, _node: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let shared = self.0.clone();
        self.0.workers.run(move || empty(shared.device.flush(), reply));
    }

    fn fsyncdir(&self, req: &Request, node: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        self.fsync(req, node, fh, datasync, reply);
    }

    fn statfs(&self, _req: &Request, _node: INodeNo, reply: ReplyStatfs) {
        reply.statfs(self.0.device.len() / 4096, 0, 0, 2, 0, 4096, 255, 4096);
    }

    fn getxattr(&self, _req: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let value = self.0.verdict.attribute();
        match size as usize {
            _ if node != INodeNo::ROOT || name.to_str() != Some(control::ATTRIBUTE) => {
                reply.error(Errno::ENODATA)
            }
            0 => reply.size(value.len() as u32),
            size if size < value.len() => reply.error(Errno::ERANGE),
            _ => reply.data(value.as_bytes()),
        }
    }

    fn fallocate(
        &self,
        _req: &Request,
        _node: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let shared = self.0.clone();
        self.0.workers.run(move || empty(shared.fallocate(offset, length, mode), reply));
    }

    fn lseek(
        &self,
        _req: &Request,
        _node: INodeNo,
        _fh: FileHandle,
        at: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        match self.0.seek(at, whence) {
            Ok(found) => reply.offset(found),
            Err(e) => reply.error(e),
        }
    }
}
