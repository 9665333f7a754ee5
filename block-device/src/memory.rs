//! A device in memory, for tests, fuzzing, and data that never needs a file.

use crate::{BlockDevice, check_range};
use std::io::{self, IoSliceMut};
use std::sync::{PoisonError, RwLock};

/// A device whose bytes are a vector. Flush is a no-op: nothing here outlives the process.
#[derive(Debug, Default)]
pub struct MemDevice {
    bytes: RwLock<Vec<u8>>,
}

impl MemDevice {
    /// A device that holds `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: RwLock::new(bytes) }
    }

    /// A copy of everything it holds now.
    pub fn snapshot(&self) -> Vec<u8> {
        self.bytes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl BlockDevice for MemDevice {
    fn len(&self) -> u64 {
        self.bytes.read().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        check_range(offset, buf.len() as u64, bytes.len() as u64)?;
        buf.copy_from_slice(&bytes[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn read_ready_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<bool> {
        self.read_vectored_at(bufs, offset).map(|()| true)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        check_range(offset, buf.len() as u64, bytes.len() as u64)?;
        bytes[offset as usize..][..buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        check_range(offset, len, bytes.len() as u64)?;
        bytes[offset as usize..][..len as usize].fill(0);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
