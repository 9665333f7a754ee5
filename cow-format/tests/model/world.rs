//! What the property test tries: chains of every form, requests to each of their layers, and where their
//! files lie.

use crate::common::{STALE, VERSIONS};
use block_device::{BlockDevice, HostFile, MemDevice};
use cow_format::Version;
use proptest::prelude::*;
use std::sync::Arc;

/// A request; offsets are taken modulo what the device has, lengths cut at its end.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Write { offset: u64, len: u64 },
    WriteVectored { offset: u64, parts: Vec<u64> },
    Read { offset: u64, len: u64 },
    ReadVectored { offset: u64, parts: Vec<u64> },
    Discard { offset: u64, len: u64 },
    Zeroes { offset: u64, len: u64, may_unmap: bool },
    Flush,
    Reopen,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) version: Version,
    pub(crate) sector_size: u32,
    pub(crate) alignment: u32,
    pub(crate) ops: Vec<Op>,
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) size: u64,
    pub(crate) on_host: bool,
    pub(crate) seed: u64,
    /// From the bottom up.
    pub(crate) layers: Vec<Plan>,
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![0u64..700, Just(512), Just(4096), Just(16384), 0u64..70_000];
    // Anywhere, at a sector of some size, or just beside one.
    let offset = prop_oneof![
        any::<u32>().prop_map(u64::from),
        (0u64..400).prop_map(|n| n * 512),
        (0u64..60, 0u64..3).prop_map(|(n, d)| (n * 4096 + d).saturating_sub(1)),
    ];
    let parts = prop::collection::vec(prop_oneof![0u64..5, 0u64..600, Just(512), 0u64..9000], 0..7);
    let at = (offset.clone(), len);
    prop_oneof![
        6 => at.clone().prop_map(|(offset, len)| Op::Write { offset, len }),
        3 => (offset.clone(), parts.clone()).prop_map(|(offset, parts)| Op::WriteVectored { offset, parts }),
        2 => at.clone().prop_map(|(offset, len)| Op::Read { offset, len }),
        3 => (offset, parts).prop_map(|(offset, parts)| Op::ReadVectored { offset, parts }),
        2 => at.clone().prop_map(|(offset, len)| Op::Discard { offset, len }),
        2 => (at, any::<bool>()).prop_map(|((offset, len), may_unmap)| Op::Zeroes { offset, len, may_unmap }),
        1 => Just(Op::Flush),
        1 => Just(Op::Reopen),
    ]
}

pub(crate) fn world() -> impl Strategy<Value = World> {
    let plan = (
        prop::sample::select(VERSIONS.to_vec()),
        prop::sample::select(vec![512u32, 4096, 16384]),
        prop::sample::select(vec![8u32, 512, 4096]),
        prop::collection::vec(op(), 0..25),
    )
        .prop_map(|(version, sector_size, alignment, ops)| Plan { version, sector_size, alignment, ops });
    (1u64..150_000, any::<bool>(), any::<u64>(), prop::collection::vec(plan, 1..5)).prop_map(
        |(size, on_host, seed, layers)| {
            let cuts_short = |p: &&Plan| !matches!(p.version, Version::V3 | Version::V3Broken);
            // Versions 1 and 2 have bits for sectors in eights only; the last one may still be a partial one.
            let size = match layers.iter().filter(cuts_short).map(|p| p.sector_size).max() {
                Some(ss) => size.next_multiple_of(8 * u64::from(ss)) - size % 512,
                None => size,
            };
            World { size, on_host, seed, layers }
        },
    )
}

/// Where the files of one world lie.
pub(crate) struct Storage {
    pub(crate) dir: Option<tempfile::TempDir>,
}

impl Storage {
    pub(crate) fn keep(&self, name: &str, head: &[u8], len: u64) -> Arc<dyn BlockDevice> {
        match &self.dir {
            Some(dir) => {
                let path = dir.path().join(name);
                std::fs::write(&path, head).unwrap();
                let file = HostFile::open(&path, false).unwrap();
                file.set_len(len).unwrap(); // the rest is a hole
                Arc::new(file)
            }
            None => {
                let mut bytes = head.to_vec();
                bytes.resize(len as usize, STALE);
                Arc::new(MemDevice::new(bytes))
            }
        }
    }
}
