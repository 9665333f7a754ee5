//! Open files of the host: its page cache is the guest's.

use crate::base::{Errno, Result};
use crate::fs::{File, FileOps, MapSource};
use rustix::fs::{FallocateFlags, SeekFrom};
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A regular file of the host, open.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) fd: Arc<OwnedFd>,
    pub(super) node: Arc<super::Node>,
}

impl FileOps for Content {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _file: &File, into: &mut [u8], at: u64) -> Result<usize> {
        Ok(rustix::io::pread(&*self.fd, into, at)?)
    }

    fn write(&self, _file: &File, from: &[u8], at: u64) -> Result<usize> {
        let n = rustix::io::pwrite(&*self.fd, from, at)?;
        self.node.changed();
        Ok(n)
    }

    fn seek_data(&self, _file: &File, at: u64, data: bool) -> Result<u64> {
        let whence = if data { SeekFrom::Data(at) } else { SeekFrom::Hole(at) };
        Ok(rustix::fs::seek(&*self.fd, whence)?)
    }

    fn map(&self, _file: &File, _shared_write: bool) -> Result<MapSource> {
        Ok(MapSource::Host(self.fd.clone()))
    }

    fn sync(&self, _file: &File, data_only: bool) -> Result<()> {
        if data_only {
            rustix::fs::fdatasync(&*self.fd)?;
        } else {
            rustix::fs::fsync(&*self.fd)?;
        }
        Ok(())
    }

    fn allocate(&self, _file: &File, mode: u32, at: u64, len: u64) -> Result<()> {
        let flags = FallocateFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
        rustix::fs::fallocate(&*self.fd, flags, at, len)?;
        self.node.changed();
        Ok(())
    }
}
