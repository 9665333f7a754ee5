//! One device of a [`PowerCut`] disk.

use crate::PowerCut;
use block_device::{BlockDevice, check_range};
use std::io;

/// A device, or an open file, of a [`PowerCut`] disk. Clones are the same device.
#[derive(Clone)]
pub struct Device {
    disk: PowerCut,
    id: usize,
}

impl Device {
    pub(crate) fn new(disk: PowerCut, id: usize) -> Self {
        Self { disk, id }
    }

    /// Its place among [`Survivors::device`](crate::Survivors::device).
    pub fn id(&self) -> usize {
        self.id
    }

    /// A copy of what reads see now, power or not.
    pub fn live(&self) -> Vec<u8> {
        self.disk.state().media[self.id].live.clone()
    }

    /// Fills `buf` with what no cut can take away any more.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] past the durable end.
    pub fn read_durable_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.state();
        let durable = &state.media[self.id].durable;
        check_range(offset, buf.len() as u64, durable.len() as u64)?;
        buf.copy_from_slice(&durable[offset as usize..][..buf.len()]);
        Ok(())
    }

    /// Sets the length in bytes; what is added is zeros. Durable with the next flush.
    ///
    /// # Errors
    /// When the power is gone.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let operation = state.begin()?;
        state.media[self.id].set_len(len as usize);
        operation.end()
    }

    fn write(&self, offset: u64, len: u64, change: impl FnOnce(&mut [u8])) -> io::Result<()> {
        let mut state = self.disk.state();
        let size = state.media[self.id].live.len() as u64;
        check_range(offset, len, size)?;
        let operation = state.begin()?;
        state.media[self.id].write(offset as usize..(offset + len) as usize, change);
        operation.end()
    }

    pub(crate) fn is_on(&self, disk: &PowerCut) -> bool {
        self.disk.is_same(disk)
    }
}

impl BlockDevice for Device {
    fn len(&self) -> u64 {
        self.disk.state().media[self.id].live.len() as u64
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.state();
        state.powered()?;
        let live = &state.media[self.id].live;
        check_range(offset, buf.len() as u64, live.len() as u64)?;
        buf.copy_from_slice(&live[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.write(offset, buf.len() as u64, |live| live.copy_from_slice(buf))
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write(offset, len, |live| live.fill(0))
    }

    fn write_zeroes(&self, offset: u64, len: u64, _may_unmap: bool) -> io::Result<()> {
        self.discard(offset, len) // one operation, however long
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let operation = state.begin()?;
        if !operation.is_cut {
            state.media[self.id].flush();
        }
        operation.end()
    }
}
