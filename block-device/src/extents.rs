//! Asking a device what it stores, without asking twice.

use crate::{BlockDevice, Extent, ExtentKind};
use std::io;

/// Remembers the last extent of a device. To find where data *ends*, a file system may have to walk all of
/// it (tmpfs does, page by page), so the answer is kept for as long as the questions stay within it.
pub struct Extents<'a> {
    device: &'a dyn BlockDevice,
    start: u64,
    end: u64,
    kind: ExtentKind,
}

impl<'a> Extents<'a> {
    /// For a device that nobody writes to meanwhile, or where what is written need not be noticed.
    pub fn new(device: &'a dyn BlockDevice) -> Self {
        Self { device, start: 0, end: 0, kind: ExtentKind::Data }
    }

    /// The rest of the extent that holds `offset`, as [`BlockDevice::extent`].
    ///
    /// # Errors
    /// Those of [`BlockDevice::extent`].
    pub fn at(&mut self, offset: u64) -> io::Result<Extent> {
        if !(self.start..self.end).contains(&offset) {
            let found = self.device.extent(offset)?;
            (self.start, self.end, self.kind) = (offset, offset + found.len, found.kind);
        }
        Ok(Extent { len: self.end - offset, kind: self.kind })
    }
}
