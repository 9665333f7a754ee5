//! A host directory, read-only: the least that runs programs. Goes when the host directory driver is in.
use super::*;
use crate::base::{Errno, Result, Timespec};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;

pub struct MiniFs { root: Arc<OwnedFd>, dev: u64 }
struct Node { fs: Arc<MiniFs>, fd: Arc<OwnedFd> }

impl MiniFs {
    pub fn open(dir: &std::path::Path) -> Result<Arc<MiniFs>> {
        let fd = rustix::fs::open(dir, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Arc::new(MiniFs { root: Arc::new(fd), dev: anonymous_dev() }))
    }
}
struct Fs(Arc<MiniFs>);
impl FileSystem for Fs {
    fn name(&self) -> &'static str { "hostfs" }
    fn root(&self) -> Arc<dyn Inode> { Arc::new(Node { fs: self.0.clone(), fd: self.0.root.clone() }) }
    fn dev(&self) -> u64 { self.0.dev }
    fn statfs(&self) -> Result<StatFs> { Ok(StatFs { magic: 0x00c0_ffee, bsize: 4096, namelen: 255, ..StatFs::default() }) }
}
pub fn open(dir: &std::path::Path) -> Result<Arc<dyn FileSystem>> { Ok(Arc::new(Fs(MiniFs::open(dir)?))) }

impl Inode for Node {
    fn attr(&self) -> Result<Attr> {
        let s = rustix::fs::fstat(&self.fd)?;
        let t = |sec: i64, nsec: u64| Timespec { sec, nsec: nsec as i64 };
        Ok(Attr { dev: self.fs.dev, ino: s.st_ino, mode: s.st_mode, nlink: s.st_nlink as u32, uid: s.st_uid, gid: s.st_gid,
            rdev: s.st_rdev, size: s.st_size as u64, blocks: s.st_blocks as u64, blksize: s.st_blksize as u32,
            atime: t(s.st_atime, s.st_atime_nsec), mtime: t(s.st_mtime, s.st_mtime_nsec), ctime: t(s.st_ctime, s.st_ctime_nsec), btime: Timespec::default() })
    }
    fn file_system(&self) -> Arc<dyn FileSystem> { Arc::new(Fs(self.fs.clone())) }
    fn as_any(&self) -> &dyn Any { self }
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let fd = rustix::fs::openat(&self.fd, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Arc::new(Node { fs: self.fs.clone(), fd: Arc::new(fd) }))
    }
    fn read_link(&self) -> Result<Vec<u8>> { Ok(rustix::fs::readlinkat(&self.fd, "", Vec::new())?.into_bytes()) }
    fn entries(&self, from: u64, emit: &mut dyn FnMut(DirEntry) -> bool) -> Result<()> {
        let fd = rustix::fs::openat(&self.fd, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        for (n, e) in rustix::fs::Dir::read_from(fd)?.enumerate() {
            let e = e?;
            let name = e.file_name().to_bytes();
            if name == b"." || name == b".." || (n as u64 + 3) <= from { continue; }
            if !emit(DirEntry { name: name.to_vec(), ino: e.ino(), kind: e.file_type().as_raw_mode(), next: n as u64 + 3 }) { break; }
        }
        Ok(())
    }
    fn open(self: Arc<Self>, _: OpenFlags) -> Result<Arc<dyn FileOps>> {
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&*self.fd));
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Arc::new(Content(Arc::new(fd))))
    }
}
struct Content(Arc<OwnedFd>);
impl FileOps for Content {
    fn as_any(&self) -> &dyn Any { self }
    fn read(&self, _: &File, into: &mut [u8], at: u64) -> Result<usize> { Ok(rustix::io::pread(&*self.0, into, at)?) }
    fn map(&self, _: &File, _: bool) -> Result<MapSource> { Ok(MapSource::Host(self.0.clone())) }
    fn sync(&self, _: &File, _: bool) -> Result<()> { Ok(()) }
}
/// A host descriptor as it is: the guest's standard files without a terminal.
pub struct HostStream(pub OwnedFd);
impl FileOps for HostStream {
    fn as_any(&self) -> &dyn Any { self }
    fn read(&self, _: &File, into: &mut [u8], _: u64) -> Result<usize> { let _ = AtFlags::empty(); Ok(rustix::io::read(&self.0, into)?) }
    fn write(&self, _: &File, from: &[u8], _: u64) -> Result<usize> { Ok(rustix::io::write(&self.0, from)?) }
    fn seekable(&self) -> bool { false }
}
