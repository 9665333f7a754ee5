//! Files whose content is made when it is read.

use crate::base::{Errno, Mutex, Rank, Result};
use crate::fs::{File, FileOps, OpenFlags};
use std::any::Any;
use std::sync::Arc;

/// The content of a file.
pub trait Content: Send + Sync {
    /// Called by open(2): the place for checks that the mode cannot express.
    fn check(&self, _flags: OpenFlags) -> Result<()> {
        Ok(())
    }
    /// All of it.
    fn read(&self) -> Result<Vec<u8>> {
        Err(Errno::EIO)
    }
    /// Takes what one write(2) brings; EIO where nothing can be written, as Linux's files of this kind give.
    fn write(&self, _from: &[u8], _at: u64) -> Result<usize> {
        Err(Errno::EIO)
    }
    /// Behaviour of its own, in place of all this.
    fn ops(self: Arc<Self>, _flags: OpenFlags) -> Option<Result<Arc<dyn FileOps>>> {
        None
    }
}

impl Content for String {
    fn read(&self) -> Result<Vec<u8>> {
        Ok(self.clone().into_bytes())
    }
}

/// A file that a function makes.
pub struct Text<F>(pub F);

impl<F: Fn() -> Result<Vec<u8>> + Send + Sync> Content for Text<F> {
    fn read(&self) -> Result<Vec<u8>> {
        (self.0)()
    }
}

/// A file that one function makes and another takes.
pub struct Stored<R, W>(pub R, pub W);

impl<R, W> Content for Stored<R, W>
where
    R: Fn() -> Result<Vec<u8>> + Send + Sync,
    W: Fn(&[u8]) -> Result<()> + Send + Sync,
{
    fn read(&self) -> Result<Vec<u8>> {
        (self.0)()
    }
    fn write(&self, from: &[u8], _at: u64) -> Result<usize> {
        (self.1)(from).map(|()| from.len())
    }
}

/// An open file with made content. A read at the start makes it anew, reads further on go on in what was made then: so one pass over
/// the file is consistent, and programs that keep it open and rewind (top, systemd) see the present. Linux's seq_file does the same.
pub struct Made {
    content: Arc<dyn Content>,
    made: Mutex<Option<Arc<[u8]>>>,
}

impl Made {
    /// Not made yet.
    pub fn new(content: Arc<dyn Content>) -> Arc<Made> {
        Arc::new(Made { content, made: Mutex::new(Rank::Buffer, None) })
    }

    fn bytes(&self, at: u64) -> Result<Arc<[u8]>> {
        let before = self.made.lock().clone();
        if let Some(made) = before.filter(|_| at > 0) {
            return Ok(made);
        }
        // Made without the lock: whoever makes it asks tasks, whose locks come first.
        let fresh: Arc<[u8]> = self.content.read()?.into();
        *self.made.lock() = Some(fresh.clone());
        Ok(fresh)
    }
}

impl FileOps for Made {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn read(&self, _: &File, into: &mut [u8], at: u64) -> Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let bytes = self.bytes(at)?;
        let rest = bytes.get(usize::try_from(at).unwrap_or(usize::MAX)..).unwrap_or_default();
        let n = rest.len().min(into.len());
        into[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write(&self, _: &File, from: &[u8], at: u64) -> Result<usize> {
        self.content.write(from, at)
    }

    fn append(&self, _: &File, from: &[u8]) -> Result<(usize, u64)> {
        self.content.write(from, 0).map(|n| (n, n as u64))
    }

    fn seek_data(&self, _: &File, _: u64, _: bool) -> Result<u64> {
        Err(Errno::EINVAL)
    }

    fn has_end(&self) -> bool {
        false
    }
}

/// An open directory: everything about it is asked of its inode.
pub(super) struct OpenDir;

impl FileOps for OpenDir {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, _: &File, _: &mut [u8], _: u64) -> Result<usize> {
        Err(Errno::EISDIR)
    }
}
