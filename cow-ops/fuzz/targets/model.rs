//! The flat model of the `device` target: an array of bytes.

use crate::device::writable;
use block_device::BlockDevice;
use cow_format::{CowDevice, Layout};
use std::io;

/// What the device has to show.
pub(crate) struct Model {
    bytes: Vec<u8>,
    layout: Layout,
    file_len: u64,
}

impl Model {
    /// The disk that a COW file shows, one sector at a time.
    pub(crate) fn read(file: &[u8], layout: Layout, base: &dyn BlockDevice) -> Self {
        let mut bytes = vec![0; layout.size as usize];
        base.read_at(&mut bytes, 0).expect("the base is in memory");
        for sector in 0..layout.mapped_sectors {
            if file[(layout.bitmap_offset + sector / 8) as usize] >> (sector % 8) & 1 == 1 {
                let start = sector * u64::from(layout.sector_size);
                let end = (start + u64::from(layout.sector_size)).min(layout.size);
                let stored = (layout.data_offset + start) as usize..(layout.data_offset + end) as usize;
                bytes[start as usize..end as usize].copy_from_slice(&file[stored]);
            }
        }
        Self { bytes, layout, file_len: file.len() as u64 }
    }

    /// A range, if it lies in the device.
    pub(crate) fn range(&self, at: u64, len: u64) -> Option<&[u8]> {
        let end = at.checked_add(len).filter(|end| *end <= self.layout.size)?;
        Some(&self.bytes[at as usize..end as usize])
    }

    /// The whole device shows the whole model.
    pub(crate) fn same(&self, device: &CowDevice) {
        self.same_near(device, 0, self.layout.size);
    }

    /// So does a range, with a few sectors around it.
    pub(crate) fn same_near(&self, device: &CowDevice, at: u64, len: u64) {
        let around = 2 * u64::from(self.layout.sector_size);
        let start = at.saturating_sub(around).min(self.layout.size);
        let end = at.saturating_add(len).saturating_add(around).min(self.layout.size);
        let mut found = vec![0; (end - start) as usize];
        device.read_at(&mut found, start).expect("a read within the device");
        let want = &self.bytes[start as usize..end as usize];
        if found == want {
            return;
        }
        if let Some(i) = found.iter().zip(want).position(|(a, b)| a != b) {
            let (has, wants) = (found[i], want[i]);
            panic!("byte {} is {has:#04x} instead of {wants:#04x}", start + i as u64);
        }
    }

    /// A write of one value returned `done`. Where it can be done, it was; where the file is too short for it,
    /// or has no bits, it may have been done in part, and nothing outside it changed.
    pub(crate) fn written(
        &mut self,
        at: u64,
        len: u64,
        value: u8,
        done: &io::Result<()>,
        device: &CowDevice,
    ) {
        if self.range(at, len).is_some() {
            let range = at as usize..(at + len) as usize;
            if done.is_ok() {
                self.bytes[range].fill(value);
            } else {
                assert!(!writable(&self.layout, self.file_len, at, len), "{len} bytes at {at}: {done:?}");
                let mut found = vec![0; range.len()];
                device.read_at(&mut found, at).expect("a read within the device");
                let old = &mut self.bytes[range];
                assert!(found.iter().zip(&*old).all(|(new, old)| *new == value || new == old));
                old.copy_from_slice(&found);
            }
        } else {
            assert!(done.is_err(), "{len} bytes at {at}, past the end");
        }
        self.same_near(device, at, len);
    }
}
