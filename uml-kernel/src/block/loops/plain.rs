//! A file as a device that has no number and no special file: what a swap file is used as.

use super::failure;
use super::worker::Backing;
use crate::base::Result;
use crate::fs::File;
use ::block_device::{BlockDevice, check_range};
use std::io;
use std::sync::Arc;

struct Plain {
    backing: Backing,
    len: u64,
}

/// The device. The file is open as long as it is there; a thread does its I/O, as that of a loop device's.
pub fn of_file(file: Arc<File>) -> Result<Arc<dyn BlockDevice>> {
    let backing = Backing::start(file, "swap")?;
    Ok(Arc::new(Plain { len: backing.len()?, backing }))
}

impl BlockDevice for Plain {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(offset, buf.len() as u64, self.len)?;
        self.backing.read(buf, offset).map_err(failure)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        check_range(offset, buf.len() as u64, self.len)?;
        self.backing.write(buf, offset).map_err(failure)
    }

    fn discard(&self, _offset: u64, _len: u64) -> io::Result<()> {
        // Its blocks are to stay.
        Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
    }

    fn flush(&self) -> io::Result<()> {
        self.backing.flush().map_err(failure)
    }
}
