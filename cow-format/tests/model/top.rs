//! The device under test beside its model: each request is done to both.

use crate::common::{bits_of, random_bytes, read_all};
use crate::world::Op;
use block_device::BlockDevice;
use cow_format::{CowDevice, Layout, parse_device};
use powercut::XorShift;
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

/// One layer while it is the top one.
pub(crate) struct Top {
    file: Arc<dyn BlockDevice>,
    below: Arc<dyn BlockDevice>,
    layout: Layout,
    pub(crate) device: CowDevice,
    /// Sectors that must be dirty.
    pub(crate) dirty: Vec<bool>,
}

impl Top {
    pub(crate) fn open(file: Arc<dyn BlockDevice>, layout: Layout, below: Arc<dyn BlockDevice>) -> Self {
        let device = CowDevice::new(file.clone(), layout, below.clone()).unwrap();
        Self { file, below, layout, device, dirty: vec![false; layout.sectors as usize] }
    }

    fn wrote(&mut self, offset: u64, len: u64) {
        if len > 0 {
            let ss = u64::from(self.layout.sector_size);
            self.dirty[(offset / ss) as usize..(offset + len).div_ceil(ss) as usize].fill(true);
        }
    }

    pub(crate) fn apply(&mut self, op: &Op, model: &mut [u8], rng: &mut XorShift) {
        let size = self.layout.size;
        let place = |offset: u64, len: u64| {
            let offset = offset % size;
            (offset, len.min(size - offset))
        };
        let split = |offset: u64, parts: &[u64]| {
            let mut left = size - offset;
            let cut = |n: &u64| {
                let n = (*n).min(left);
                left -= n;
                n as usize
            };
            parts.iter().map(cut).collect::<Vec<usize>>()
        };
        match op {
            Op::Write { offset, len } => {
                let (offset, len) = place(*offset, *len);
                let bytes = random_bytes(len as usize, rng);
                self.device.write_at(&bytes, offset).unwrap();
                model[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
                self.wrote(offset, len);
            }
            Op::WriteVectored { offset, parts } => {
                let offset = offset % size;
                let parts = split(offset, parts);
                let bytes = random_bytes(parts.iter().sum(), rng);
                let mut rest = &bytes[..];
                let slices: Vec<_> = parts
                    .iter()
                    .map(|n| {
                        let (now, later) = rest.split_at(*n);
                        rest = later;
                        IoSlice::new(now)
                    })
                    .collect();
                self.device.write_vectored_at(&slices, offset).unwrap();
                model[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
                self.wrote(offset, bytes.len() as u64);
            }
            Op::Read { offset, len } => {
                let (offset, len) = place(*offset, *len);
                let mut bytes = vec![0; len as usize];
                self.device.read_at(&mut bytes, offset).unwrap();
                assert!(bytes == model[offset as usize..][..bytes.len()], "{op:?}");
            }
            Op::ReadVectored { offset, parts } => {
                let offset = offset % size;
                let mut bytes: Vec<Vec<u8>> = split(offset, parts).iter().map(|n| vec![0; *n]).collect();
                let mut slices: Vec<_> = bytes.iter_mut().map(|b| IoSliceMut::new(b)).collect();
                self.device.read_vectored_at(&mut slices, offset).unwrap();
                let wanted = &model[offset as usize..][..bytes.iter().map(Vec::len).sum()];
                assert!(bytes.concat() == wanted, "{op:?}");
                // Without a wait, where the host says that there is none; it need not.
                bytes.iter_mut().for_each(|b| b.fill(0x55));
                let mut slices: Vec<_> = bytes.iter_mut().map(|b| IoSliceMut::new(b)).collect();
                let ready = self.device.read_ready_at(&mut slices, offset).unwrap();
                assert!(!ready || bytes.concat() == wanted, "{op:?}: what was ready");
            }
            Op::Discard { offset, len } => {
                let (offset, len) = place(*offset, *len);
                self.device.discard(offset, len).unwrap();
                model[offset as usize..][..len as usize].fill(0);
                self.wrote(offset, len);
            }
            Op::Zeroes { offset, len, may_unmap } => {
                let (offset, len) = place(*offset, *len);
                self.device.write_zeroes(offset, len, *may_unmap).unwrap();
                model[offset as usize..][..len as usize].fill(0);
                self.wrote(offset, len);
            }
            Op::Flush => {
                self.device.flush().unwrap();
                assert!(self.saved() == self.dirty[..], "bits after a flush");
            }
            Op::Reopen => {
                self.device.flush().unwrap();
                assert_eq!(parse_device(&*self.file).unwrap().layout, self.layout);
                self.device = CowDevice::new(self.file.clone(), self.layout, self.below.clone()).unwrap();
            }
        }
    }

    pub(crate) fn saved(&self) -> Vec<bool> {
        bits_of(&read_all(&*self.file), &self.layout)
    }
}
