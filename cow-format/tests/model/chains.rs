//! Chains of devices against a vector of bytes.

use crate::bitmaps::{naive_segments, runs, runs_of, segments};
use crate::common::{VERSIONS, bits_of, header, random_bytes, read_all};
use crate::top::Top;
use crate::world::{Op, Plan, Storage, World, world};
use block_device::{BlockDevice, ExtentKind, MemDevice};
use cow_format::{CowDevice, Layout, Version, parse_device};
use powercut::XorShift;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Extents follow each other to the end, and holes read as zeros.
fn check_extents(device: &dyn BlockDevice, model: &[u8]) {
    let mut at = 0;
    while at < device.len() {
        let extent = device.extent(at).unwrap();
        assert!(extent.len > 0 && at + extent.len <= device.len(), "{extent:?} at {at}");
        if extent.kind == ExtentKind::Hole {
            let bytes = &model[at as usize..][..extent.len as usize];
            assert!(bytes.iter().all(|b| *b == 0), "{extent:?} at {at} holds data");
        }
        at += extent.len;
    }
    assert!(device.extent(device.len()).is_err());
}

fn check_world(world: &World) {
    let mut rng = XorShift::new(world.seed);
    let storage = Storage { dir: world.on_host.then(|| tempfile::tempdir().unwrap()) };
    // Half of a base on the host is a hole.
    let written = if world.on_host { world.size / 2 } else { world.size };
    let base = storage.keep("base", &random_bytes(written as usize, &mut rng), world.size);
    let mut model = read_all(&*base);
    let mut below = base.clone();
    let mut files: Vec<(Arc<dyn BlockDevice>, Layout)> = Vec::new();
    for (i, plan) in world.layers.iter().enumerate() {
        let header = header(plan.version, world.size, plan.sector_size, plan.alignment);
        let mut head = header.encode();
        head.resize(header.layout.data_offset as usize, 0);
        let l = &header.layout;
        if !l.mapped_sectors.is_multiple_of(8) {
            head[l.bitmap_end() as usize - 1] = 0xff << (l.mapped_sectors % 8); // these mean nothing
        }
        let file = storage.keep(&format!("cow{i}"), &head, header.layout.file_len());
        let mut top = Top::open(file.clone(), header.layout, below.clone());
        for op in &plan.ops {
            top.apply(op, &mut model, &mut rng);
        }
        top.device.flush().unwrap();
        assert!(top.saved() == top.dirty, "bits of layer {i}");
        assert!(read_all(&top.device) == model, "layer {i} and below");
        files.insert(0, (file, header.layout));
        below = Arc::new(top.device);
    }
    drop(below);

    let mut device = base;
    for (file, layout) in files.iter().rev() {
        device = Arc::new(CowDevice::new(file.clone(), *layout, device).unwrap());
    }
    assert!(read_all(&*device) == model, "all layers, opened again");
    check_extents(&*device, &model);
    let bits: Vec<_> = files.iter().map(|(f, l)| (bits_of(&read_all(&**f), l), *l)).collect();
    for ((file, layout), (bits, _)) in files.iter().zip(&bits) {
        assert_eq!(runs(&**file, *layout), runs_of(bits, layout));
    }
    for depth in 0..=files.len() {
        let naive = naive_segments(&bits[..depth], world.size);
        assert_eq!(segments(&files[..depth], world.size), naive, "the first {depth} layers");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_chain_is_a_vector_of_bytes(world in world()) {
        check_world(&world);
    }
}

/// Each form once by itself, whatever the property test has come upon.
#[test]
fn every_form_by_itself() {
    let ops = |rng: &mut XorShift| {
        (0..40)
            .map(|i| {
                let (offset, len) = (rng.next_u64() >> 32, rng.below(9000));
                match i % 5 {
                    0 | 1 => Op::Write { offset, len },
                    2 => Op::WriteVectored { offset, parts: (0..5).map(|_| rng.below(2000)).collect() },
                    3 => Op::Discard { offset, len },
                    _ => Op::Reopen,
                }
            })
            .collect()
    };
    let mut rng = XorShift::new(1);
    for version in VERSIONS {
        for sector_size in [512, 4096, 16384] {
            for on_host in [false, true] {
                let layers = vec![Plan { version, sector_size, alignment: 4096, ops: ops(&mut rng) }];
                let size = 8 * u64::from(sector_size) * 3 - 100;
                check_world(&World { size, on_host, seed: rng.next_u64(), layers });
            }
        }
    }
}

/// The defect of versions 1 and 2: the last sectors have no bit. They show the base and cannot be written.
#[test]
fn sectors_without_a_bit() {
    for version in VERSIONS.iter().filter(|v| !matches!(v, Version::V3 | Version::V3Broken)) {
        for sectors in [3u64, 8, 11, 20] {
            let size = sectors * 512;
            let mut raw = header(*version, 4096 * 4, 512, 512).encode();
            let size_at = if *version == Version::V2 { 4108 } else { 268 };
            let big = raw[..4] == *b"OOOM";
            let bytes = if big { size.to_be_bytes() } else { size.to_le_bytes() };
            raw[size_at..size_at + 8].copy_from_slice(&bytes);
            raw.resize(16384, 0);
            let file: Arc<dyn BlockDevice> = Arc::new(MemDevice::new(raw));
            let layout = parse_device(&*file).unwrap().layout;
            let mapped = sectors / 8 * 8;
            assert_eq!((layout.size, layout.mapped_sectors), (size, mapped));
            let base = random_bytes(size as usize, &mut XorShift::new(sectors));
            let open =
                || CowDevice::new(file.clone(), layout, Arc::new(MemDevice::new(base.clone()))).unwrap();
            let device = open();
            let mut model = base.clone();
            for sector in 0..sectors {
                let result = device.write_at(&[sector as u8; 100], sector * 512 + 7);
                if sector < mapped {
                    result.unwrap();
                    model[sector as usize * 512 + 7..][..100].fill(sector as u8);
                } else {
                    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::Unsupported);
                    assert!(device.discard(sector * 512, 512).is_err());
                    assert!(device.write_vectored_at(&[IoSlice::new(&[1])], sector * 512).is_err());
                }
            }
            if sectors > mapped {
                assert!(device.write_at(&vec![1; size as usize], 0).is_err(), "not even in part");
            }
            assert!(read_all(&device) == model);
            device.flush().unwrap();
            let bits = bits_of(&read_all(&*file), &layout);
            assert_eq!(bits, vec![true; mapped as usize]);
            assert_eq!(runs(&*file, layout), runs_of(&bits, &layout));
            drop(device);
            let device = open();
            assert!(read_all(&device) == model);
            check_extents(&device, &model);
        }
    }
}
