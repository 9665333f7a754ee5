//! The promise of `docs/crash-order.md`, with the power cut at every operation: no acknowledged flush is lost,
//! and no bit is seen without its data.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use block_device::{BlockDevice, MemDevice};
use common::{bits_of, clean_file, header, random_bytes};
use cow_format::{ByteOrder, CowDevice, Header, Version, parse_device};
use powercut::{ATOM, Device, PowerCut, Survivors, XorShift, every_cut};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

const SEEDS: u64 = 6;

/// The disk as its user sees it, and for each atom the values it may have after a cut: the one it had at the
/// last acknowledged flush, and all later ones.
struct Model {
    now: Vec<u8>,
    allowed: Vec<Vec<Vec<u8>>>,
}

impl Model {
    fn new(base: &[u8]) -> Self {
        let mut model = Self { now: base.to_vec(), allowed: Vec::new() };
        model.flushed();
        model
    }

    fn flushed(&mut self) {
        self.allowed = self.now.chunks(ATOM as usize).map(|atom| vec![atom.to_vec()]).collect();
    }

    /// A change is begun: from now on its result may be found.
    fn change(&mut self, offset: usize, bytes: &[u8]) {
        self.now[offset..offset + bytes.len()].copy_from_slice(bytes);
        let atom = ATOM as usize;
        for i in offset / atom..(offset + bytes.len()).div_ceil(atom) {
            let value = &self.now[i * atom..self.now.len().min((i + 1) * atom)];
            self.allowed[i].push(value.to_vec());
        }
    }

    fn check(&self, found: &[u8], context: &dyn Fn() -> String) {
        assert_eq!(found.len(), self.now.len());
        for (i, atom) in found.chunks(ATOM as usize).enumerate() {
            assert!(
                self.allowed[i].iter().any(|v| v == atom),
                "{}: bytes from {} on are none of the {} that may be there; found {:02x?}…",
                context(),
                i * ATOM as usize,
                self.allowed[i].len(),
                &atom[..8]
            );
        }
    }
}

/// One form of disk to try.
struct Case {
    name: &'static str,
    seed: u64,
    steps: u64,
    /// From the bottom up.
    layers: Vec<Header>,
    base: Vec<u8>,
}

impl Case {
    fn new(name: &'static str, steps: u64, layers: Vec<Header>) -> Self {
        let size = layers[0].layout.size as usize;
        let seed = name.bytes().fold(size as u64, |n, b| n.rotate_left(5) ^ u64::from(b));
        Self { name, seed, steps, base: random_bytes(size, &mut XorShift::new(seed)), layers }
    }

    fn base(&self) -> Arc<dyn BlockDevice> {
        Arc::new(MemDevice::new(self.base.clone()))
    }

    /// The disk as the surviving files show it, opened as a tool would open them.
    fn reopen(&self, left: &Survivors) -> Vec<u8> {
        let mut device = self.base();
        for (id, header) in self.layers.iter().enumerate() {
            let file = MemDevice::new(left.device(id).to_vec());
            let layout = parse_device(&file).unwrap().layout;
            assert_eq!(layout, header.layout);
            device = Arc::new(CowDevice::new(Arc::new(file), layout, device).unwrap());
        }
        let mut bytes = vec![0; self.base.len()];
        device.read_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// Fills one layer after the other, and returns what was promised when the power went or the work ended.
    fn run(&self, disk: &PowerCut) -> Model {
        let mut rng = XorShift::new(self.seed ^ 1);
        let mut model = Model::new(&self.base);
        let files: Vec<Device> = self.layers.iter().map(|h| disk.device(clean_file(h))).collect();
        let mut below = self.base();
        for (header, file) in self.layers.iter().zip(&files) {
            let open = || CowDevice::new(Arc::new(file.clone()), header.layout, below.clone()).unwrap();
            let mut device = open();
            for step in 0..self.steps {
                if step % 16 == 15 {
                    // Dropped with a flush that nobody answers for; what is live must be there all the same.
                    drop(device);
                    device = open();
                }
                if self.step(&device, &mut model, &mut rng).is_err() {
                    assert!(disk.is_cut(), "only the power ends this");
                    return model;
                }
            }
            if device.flush().is_err() {
                return model;
            }
            model.flushed();
            below = Arc::new(device);
        }
        model
    }

    fn step(&self, device: &CowDevice, model: &mut Model, rng: &mut XorShift) -> io::Result<()> {
        let size = self.base.len() as u64;
        let mut offset = rng.below(size);
        let mut len = match rng.below(4) {
            0 => rng.below(100) + 1,
            1 => rng.below(3000) + 1,
            2 => ATOM << rng.below(5),
            _ => rng.below(40_000) + 1,
        };
        if rng.chance(1, 2) {
            let unit = if rng.chance(1, 2) { ATOM } else { u64::from(device.sector_size()) };
            (offset, len) = (offset / unit * unit, len.next_multiple_of(unit));
        }
        let len = len.min(size - offset) as usize;
        let at = offset as usize;
        match rng.below(12) {
            0..=5 => {
                let bytes = random_bytes(len, rng);
                model.change(at, &bytes);
                device.write_at(&bytes, offset)
            }
            6 => {
                model.change(at, &vec![0; len]);
                device.discard(offset, len as u64)
            }
            7 => {
                model.change(at, &vec![0; len]);
                device.write_zeroes(offset, len as u64, rng.chance(1, 2))
            }
            8 | 9 => {
                let mut bytes = vec![0; len];
                device.read_at(&mut bytes, offset)?;
                assert!(bytes == model.now[at..at + len], "{}: {len} bytes at {at} read back", self.name);
                Ok(())
            }
            _ => {
                device.flush()?;
                model.flushed();
                Ok(())
            }
        }
    }

    fn sweep(&self) {
        let mut dirty = 0;
        let tally = every_cut(
            SEEDS,
            |disk| self.run(disk),
            |model, left, cut| {
                model.check(&self.reopen(left), &|| format!("{} after {cut:?}", self.name));
                for (id, header) in self.layers.iter().enumerate() {
                    dirty += bits_of(left.device(id), &header.layout).iter().filter(|d| **d).count();
                }
            },
        );
        assert!(tally.cuts > self.steps / 2, "{tally}");
        assert!(dirty > 0, "nothing was ever saved");
        println!("{}: {tally}, {dirty} dirty bits", self.name);
    }
}

#[test]
fn v3_with_sectors_of_512() {
    Case::new("v3/512", 150, vec![header(Version::V3, 60_000, 512, 4096)]).sweep();
}

#[test]
fn v3_with_sectors_of_4096() {
    Case::new("v3/4096", 150, vec![header(Version::V3, 150_100, 4096, 4096)]).sweep();
}

/// More sectors than one chunk of the bitmap has, and the smallest alignment a disk's atoms allow.
#[test]
fn v3_with_a_bitmap_of_two_chunks() {
    let size = (4096 * 8 + 40) * 512 - 100;
    let mut case = Case::new("v3/two chunks", 14, vec![header(Version::V3, size, 512, 512)]);
    case.base[..16_000_000].fill(7); // cheap to compare; the workload still covers all of it
    case.sweep();
}

#[test]
fn v3_broken() {
    Case::new("v3-broken/1024", 120, vec![header(Version::V3Broken, 50_001, 1024, 4096)]).sweep();
}

#[test]
fn v1_both_ways_round() {
    let size = 128 * 512;
    Case::new("v1-le", 120, vec![header(Version::V1(ByteOrder::Little), size, 512, 0x200)]).sweep();
    Case::new("v1-be", 120, vec![header(Version::V1(ByteOrder::Big), size - 77, 512, 0x200)]).sweep();
}

#[test]
fn v2() {
    Case::new("v2", 120, vec![header(Version::V2, 32 * 4096 - 300, 4096, 512)]).sweep();
}

#[test]
fn a_chain_of_two() {
    let layers = vec![header(Version::V3, 50_000, 512, 4096), header(Version::V3, 50_000, 4096, 4096)];
    Case::new("chain", 75, layers).sweep();
}

/// A file that, whenever it has been synced, lets somebody write to the disk above before the caller goes on.
struct Meddled {
    file: Device,
    above: OnceLock<Weak<CowDevice>>,
    syncs: AtomicU64,
}

impl BlockDevice for Meddled {
    fn len(&self) -> u64 {
        self.file.len()
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(buf, offset)
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.discard(offset, len)
    }
    fn flush(&self) -> io::Result<()> {
        self.file.flush()?;
        let sync = self.syncs.fetch_add(1, Ordering::Relaxed);
        if let Some(above) = self.above.get().and_then(Weak::upgrade) {
            above.write_at(&[sync as u8 + 1; 1024], (8 + 3 * sync) * ATOM)?;
        }
        Ok(())
    }
}

/// A write between the two syncs of a flush: its data is in neither the first sync nor, as yet, the second, so
/// the bitmap that is saved between them must not have its bit.
#[test]
fn a_write_in_the_middle_of_a_flush() {
    let header = header(Version::V3, 64 * ATOM, 512, 512);
    let case = Case::new("meddled", 0, vec![header.clone()]);
    let scenario = |disk: &PowerCut| {
        let file = Arc::new(Meddled {
            file: disk.device(clean_file(&header)),
            above: OnceLock::new(),
            syncs: AtomicU64::new(0),
        });
        let device = Arc::new(CowDevice::new(file.clone(), header.layout, case.base()).unwrap());
        file.above.get_or_init(|| Arc::downgrade(&device));
        let mut model = Model::new(&case.base);
        for turn in 0..4u8 {
            let bytes = [0x80 + turn; 700];
            let offset = usize::from(turn) * 300;
            model.change(offset, &bytes);
            if device.write_at(&bytes, offset as u64).and_then(|()| device.flush()).is_err() {
                break;
            }
            model.flushed();
        }
        // What the meddler writes is never promised, whenever it came.
        for sync in 0..file.syncs.load(Ordering::Relaxed) {
            model.change((8 + 3 * sync as usize) * 512, &[sync as u8 + 1; 1024]);
        }
        model
    };
    let check = |model: &Model, left: &Survivors, cut| {
        model.check(&case.reopen(left), &|| format!("meddled after {cut:?}"));
    };
    println!("meddled: {}", every_cut(16, scenario, check));
}

/// Several threads write and flush, each its own sectors, and the power goes at some operation: each thread's
/// own acknowledged flushes hold, whatever the others were doing.
#[test]
fn threads_keep_what_each_was_promised() {
    const THREADS: u64 = 4;
    let header = header(Version::V3, 64 << 10, 512, 512);
    let mut checked = 0;
    for round in 0..400u64 {
        let mut rng = XorShift::new(round);
        let base = random_bytes(64 << 10, &mut rng);
        let disk = PowerCut::new();
        let file = disk.device(clean_file(&header));
        disk.cut_at(10 + rng.below(150));
        let device =
            CowDevice::new(Arc::new(file.clone()), header.layout, Arc::new(MemDevice::new(base.clone())))
                .unwrap();
        let work = |thread: u64| {
            let mut rng = XorShift::new(round * THREADS + thread);
            let mut model = Model::new(&base);
            loop {
                // Every fourth atom is this thread's.
                let at = (rng.below(32) * THREADS + thread) * ATOM;
                let bytes = random_bytes(1 + rng.below(ATOM) as usize, &mut rng);
                model.change(at as usize, &bytes);
                if device.write_at(&bytes, at).is_err() {
                    return model;
                }
                if rng.chance(1, 3) {
                    match device.flush() {
                        Ok(()) => model.flushed(),
                        Err(_) => return model,
                    }
                }
            }
        };
        let models: Vec<Model> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|t| scope.spawn(move || work(t))).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        for mode in powercut::Survive::modes(SEEDS) {
            let left = disk.survivors(mode);
            let found = MemDevice::new(left.device(file.id()).to_vec());
            let again =
                CowDevice::new(Arc::new(found), header.layout, Arc::new(MemDevice::new(base.clone())))
                    .unwrap();
            let mut bytes = vec![0; base.len()];
            again.read_at(&mut bytes, 0).unwrap();
            // One model from all: each thread's atoms as that thread knows them.
            let allowed = (0..base.len() / ATOM as usize)
                .map(|i| models[i % THREADS as usize].allowed[i].clone())
                .collect();
            let whole = Model { now: base.clone(), allowed };
            whole.check(&bytes, &|| format!("round {round}, {mode:?}"));
            checked += 1;
        }
    }
    println!("threads: {checked} survivors of 400 cuts");
}
