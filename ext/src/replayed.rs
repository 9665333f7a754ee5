//! A device as it will be once its journal is replayed: for those who may not write.

use block_device::BlockDevice;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

pub(crate) struct Replayed {
    device: Arc<dyn BlockDevice>,
    blocks: BTreeMap<u64, Vec<u8>>,
    size: u64,
}

impl Replayed {
    pub(crate) fn new(
        device: Arc<dyn BlockDevice>,
        blocks: BTreeMap<u64, Vec<u8>>,
        size: u32,
    ) -> Arc<Replayed> {
        Arc::new(Replayed { device, blocks, size: size.into() })
    }
}

fn refused() -> io::Error {
    io::Error::from_raw_os_error(30) // EROFS
}

impl BlockDevice for Replayed {
    fn len(&self) -> u64 {
        self.device.len()
    }

    fn read_only(&self) -> bool {
        true
    }

    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.device.read_at(buf, offset)?;
        let end = offset + buf.len() as u64;
        for (block, bytes) in self.blocks.range(offset / self.size..end.div_ceil(self.size)) {
            let (from, upto) = (offset.max(block * self.size), end.min((block + 1) * self.size));
            let within = (from - block * self.size) as usize;
            let len = (upto - from) as usize;
            buf[(from - offset) as usize..][..len].copy_from_slice(&bytes[within..within + len]);
        }
        Ok(())
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(refused())
    }

    fn discard(&self, _: u64, _: u64) -> io::Result<()> {
        Err(refused())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}
