//! Several threads on one device. The races are real ones: the storage below gives way to other threads at
//! every request, and devices are made anew often, since a sector is copied up only once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use block_device::{BlockDevice, MemDevice};
use common::{STALE, clean_file, header, random_bytes, read_all};
use cow_format::{CowDevice, Header, Version};
use powercut::{PowerCut, XorShift};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

const THREADS: u64 = 4;

/// Memory that lets others run before and after each request.
struct Yielding(MemDevice);

impl Yielding {
    fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self(MemDevice::new(bytes)))
    }
}

fn yielding<T>(request: impl FnOnce() -> T) -> T {
    thread::yield_now();
    let result = request();
    thread::yield_now();
    result
}

impl BlockDevice for Yielding {
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        yielding(|| self.0.read_at(buf, offset))
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        yielding(|| self.0.write_at(buf, offset))
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        yielding(|| self.0.discard(offset, len))
    }
    fn flush(&self) -> io::Result<()> {
        yielding(|| self.0.flush())
    }
}

fn open(header: &Header, file: &Arc<Yielding>, base: &[u8]) -> CowDevice {
    CowDevice::new(file.clone(), header.layout, Yielding::new(base.to_vec())).unwrap()
}

/// Byte ranges of one thread each, 100 to 700 bytes, in no order, so that most sectors have several owners.
fn pieces(size: u64, rng: &mut XorShift) -> Vec<Vec<(u64, u64)>> {
    let mut owned: Vec<Vec<(u64, u64)>> = (0..THREADS).map(|_| Vec::new()).collect();
    let mut at = 0;
    while at < size {
        let len = (100 + rng.below(600)).min(size - at);
        let of = &mut owned[rng.below(THREADS) as usize];
        of.insert(rng.below(of.len() as u64 + 1) as usize, (at, len));
        at += len;
    }
    owned
}

/// Partial writes to sectors that others write parts of, with readers and flushers beside them.
fn share_sectors(version: Version, size: u64, sector_size: u32, round: u64) {
    let header = header(version, size, sector_size, 4096);
    let mut rng = XorShift::new(round);
    // The base has the top bit set everywhere and what is written too: neither zeros nor stale bytes have.
    let base: Vec<u8> = random_bytes(size as usize, &mut rng).iter().map(|b| b | 0x80).collect();
    let owned = pieces(size, &mut rng);
    let file = Yielding::new(clean_file(&header));
    let device = open(&header, &file, &base);
    let done = AtomicBool::new(false);
    let value = |piece: (u64, u64), turn: u8| -> Vec<u8> {
        (piece.0..piece.0 + piece.1).map(|i| base[i as usize] ^ turn).collect()
    };
    thread::scope(|scope| {
        let writers: Vec<_> = owned
            .iter()
            .map(|mine| {
                scope.spawn(|| {
                    for (i, piece) in mine.iter().enumerate() {
                        for turn in 1..=1 + i as u8 % 2 {
                            let want = value(*piece, turn);
                            device.write_at(&want, piece.0).unwrap();
                            let mut found = vec![0; want.len()];
                            device.read_at(&mut found, piece.0).unwrap();
                            assert!(found == want, "{piece:?} read back by its only writer");
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                device.flush().unwrap();
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let seen = read_all(&device);
                let wrong = seen.iter().zip(&base).position(|(a, b)| (a ^ b) > 2);
                assert_eq!(wrong, None, "a byte that nobody ever wrote (stale is {STALE:#x})");
            }
        });
        let ended: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|e| e.unwrap());
    });
    let mut model = vec![0; size as usize];
    for mine in &owned {
        for (i, piece) in mine.iter().enumerate() {
            let last = value(*piece, 1 + i as u8 % 2);
            model[piece.0 as usize..][..last.len()].copy_from_slice(&last);
        }
    }
    assert!(read_all(&device) == model, "round {round}");
    device.flush().unwrap();
    drop(device);
    assert!(read_all(&open(&header, &file, &base)) == model, "round {round}, opened again");
}

#[test]
fn parts_of_shared_sectors_all_arrive() {
    for round in 0..25 {
        share_sectors(Version::V3, 60_000, 4096, round);
        share_sectors(Version::V3, 30_001, 512, round);
        share_sectors(Version::V2, 8 * 16384, 16384, round);
    }
}

/// A write of a part of a sector copies the rest from the base. It must not put that over what another thread
/// writes or zeroes there at the same moment.
#[test]
fn copying_up_overwrites_nobody() {
    let header = header(Version::V3, 64 * 4096, 4096, 4096);
    for round in 0..60u64 {
        let base = random_bytes(64 * 4096, &mut XorShift::new(round));
        let file = Yielding::new(clean_file(&header));
        let device = open(&header, &file, &base);
        let start = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                for sector in 0..64 {
                    start.wait();
                    device.write_at(&[1; 10], sector * 4096 + 100).unwrap();
                }
            });
            scope.spawn(|| {
                for sector in 0..64 {
                    start.wait();
                    match (sector + round) % 3 {
                        0 => device.write_at(&[0; 4096], sector * 4096).unwrap(),
                        1 => device.discard(sector * 4096, 4096).unwrap(),
                        _ => device.write_zeroes(sector * 4096, 4096, false).unwrap(),
                    }
                }
            });
        });
        let found = read_all(&device);
        for (i, sector) in found.chunks(4096).enumerate() {
            let (part, rest) = (&sector[100..110], [&sector[..100], &sector[110..]].concat());
            assert!(rest.iter().all(|b| *b == 0), "round {round}: sector {i} has bytes of the base");
            assert!(part == [1; 10] || part == [0; 10], "round {round}: sector {i}: {part:?}");
        }
    }
}

/// A flush that was answered holds for the caller's own writes, however many threads set bits in the same
/// chunk of the bitmap meanwhile.
#[test]
fn a_flush_saves_the_bits_of_its_caller() {
    const EACH: u64 = 4000;
    let header = header(Version::V3, 2 * THREADS * EACH * 512, 512, 4096);
    let layout = header.layout;
    let disk = PowerCut::new();
    let file = disk.device(clean_file(&header));
    let base = Arc::new(MemDevice::new(vec![7; layout.size as usize]));
    let device = CowDevice::new(Arc::new(file.clone()), layout, base).unwrap();
    let lost = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (device, file, lost) = (&device, &file, &lost);
            scope.spawn(move || {
                for i in 0..EACH {
                    let sector = i * THREADS + thread;
                    device.write_at(&[9; 512], sector * 512).unwrap();
                    device.flush().unwrap();
                    let (mut byte, mut data) = ([0], [0; 512]);
                    file.read_durable_at(&mut byte, layout.bitmap_offset + sector / 8).unwrap();
                    file.read_durable_at(&mut data, layout.data_offset + sector * 512).unwrap();
                    let saved = byte[0] >> (sector % 8) & 1 == 1 && data == [9; 512];
                    lost.fetch_add(u64::from(!saved), Ordering::Relaxed);
                }
            });
        }
        // Bits of the same chunks from threads that never wait for a flush.
        let device = &device;
        scope.spawn(move || {
            for sector in THREADS * EACH..2 * THREADS * EACH {
                device.write_at(&[9; 512], sector * 512).unwrap();
            }
        });
    });
    let lost = lost.into_inner();
    assert_eq!(lost, 0, "writes lost after a flush that was answered, of {}", THREADS * EACH);
}
