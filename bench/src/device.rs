//! The COW device against plain system calls on a file.

use crate::images::{make_base, make_cow};
use crate::measure::pair;
use crate::pattern::{BLOCK, Rng, Spread, dirty_runs};
use crate::report::{Limit, Report, Table, times};
use crate::workdir::WorkDir;
use anyhow::Result;
use block_device::{BlockDevice, HostFile};
use cow_format::{CowDevice, Run};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Single requests in a block.
const OPS: u64 = 2048;
/// Pairs of blocks; the median of their ratios is what counts.
const ROUNDS: usize = 401;
const SEQUENTIAL: u64 = 1 << 20;

/// Opens a COW disk as the programs do.
pub(crate) fn open(cow: &Path, base: &Path, layout: cow_format::Layout) -> Result<CowDevice> {
    let file = Arc::new(HostFile::open(cow, false)?);
    let base = Arc::new(HostFile::open(base, true)?);
    Ok(CowDevice::new(file, layout, base)?)
}

/// A buffer on a page boundary: where a copy begins in its page can cost more than the device does.
#[repr(align(4096))]
struct Page([u8; BLOCK as usize]);

impl Page {
    fn new() -> Box<Self> {
        Box::new(Self([0x5a; BLOCK as usize]))
    }
}

struct Bench<'a> {
    size: u64,
    dir: &'a Path,
    plain: File,
    table: Table,
    report: &'a mut Report,
}

/// Random and sequential reads and writes, with their goals.
pub(crate) fn suite(size: u64, dir: &WorkDir, report: &mut Report) -> Result<()> {
    report.progress("making the device");
    let dir = dir.path();
    make_base(&dir.join("base"), size)?;
    make_base(&dir.join("plain"), size)?;
    let plain = OpenOptions::new().read(true).write(true).open(dir.join("plain"))?;
    let title = format!("COW device against pread and pwrite, {} MiB", size >> 20);
    let columns = ["us each", "device", "plain", "share of plain speed"];
    let mut bench = Bench { size, dir, plain, table: Table::new(&title, &columns), report };
    bench.reads()?;
    bench.writes()?;
    bench.allocating()?;
    let Bench { table, report, .. } = bench;
    report.table(&table);
    for file in ["base", "plain", "disk.cow"] {
        fs::remove_file(dir.join(file))?;
    }
    Ok(())
}

impl Bench<'_> {
    fn cow(&self, runs: &[Run]) -> Result<CowDevice> {
        let (cow, base) = (self.dir.join("disk.cow"), self.dir.join("base"));
        let layout = make_cow(&cow, &base, runs, Some(3))?;
        open(&cow, &base, layout)
    }

    fn all(&self) -> [Run; 1] {
        [Run { offset: 0, len: self.size }]
    }

    /// Times two kinds of request against each other and adds a row; returns the share of plain speed.
    fn compare(
        &mut self,
        what: &str,
        ops: u64,
        rounds: usize,
        device: impl FnMut() -> Result<()>,
        plain: impl FnMut() -> Result<()>,
    ) -> Result<f64> {
        self.report.progress(what);
        let (a, b, share) = pair(rounds, device, plain)?;
        let micros = |seconds: f64| format!("{:.3}", seconds * 1e6 / ops as f64);
        self.table.row(vec![what.to_owned(), micros(a), micros(b), times(share)]);
        Ok(share)
    }

    fn random_read(&mut self, what: &str, device: &dyn BlockDevice, plain: &File) -> Result<f64> {
        let blocks = self.size / BLOCK;
        let (mut rng, mut page) = (Rng::new(11), Page::new());
        let (mut rng2, mut page2) = (Rng::new(12), Page::new());
        self.compare(
            what,
            OPS,
            ROUNDS,
            || Ok((0..OPS).try_for_each(|_| device.read_at(&mut page.0, rng.below(blocks) * BLOCK))?),
            || Ok((0..OPS).try_for_each(|_| plain.read_exact_at(&mut page2.0, rng2.below(blocks) * BLOCK))?),
        )
    }

    fn sequential_read(&mut self, what: &str, device: &dyn BlockDevice, plain: &File) -> Result<f64> {
        let steps = self.size / SEQUENTIAL;
        let (mut buf, mut buf2) = (vec![0; SEQUENTIAL as usize], vec![0; SEQUENTIAL as usize]);
        self.compare(
            what,
            steps,
            9,
            || Ok((0..steps).try_for_each(|i| device.read_at(&mut buf, i * SEQUENTIAL))?),
            || Ok((0..steps).try_for_each(|i| plain.read_exact_at(&mut buf2, i * SEQUENTIAL))?),
        )
    }

    fn reads(&mut self) -> Result<()> {
        let base = File::open(self.dir.join("base"))?;
        // What the trait object and the range check cost by themselves.
        let host = HostFile::open(&self.dir.join("base"), true)?;
        self.random_read("4 KiB random read, HostFile alone", &host, &base)?;
        let clean = self.cow(&[])?;
        let share = self.random_read("4 KiB random read, clean", &clean, &base)?;
        let goal = "4 KiB random read, clean: share of plain pread";
        self.report.goal(goal, "device", share, Limit::AtLeast(0.9), "");
        self.sequential_read("1 MiB sequential read, clean", &clean, &base)?;
        drop(clean);
        let half = self.cow(&dirty_runs(self.size, 50, Spread::Scattered, 5))?;
        self.random_read("4 KiB random read, 50 % scattered", &half, &base)?;
        self.sequential_read("1 MiB sequential read, 50 % scattered", &half, &base)?;
        drop(half);
        let half = self.cow(&dirty_runs(self.size, 50, Spread::Clustered, 5))?;
        self.sequential_read("1 MiB sequential read, 50 % clustered", &half, &base)?;
        Ok(())
    }

    fn writes(&mut self) -> Result<()> {
        let dirty = self.cow(&self.all())?;
        let plain = self.plain.try_clone()?;
        let (blocks, steps) = (self.size / BLOCK, self.size / SEQUENTIAL);
        let (mut rng, mut rng2) = (Rng::new(21), Rng::new(22));
        let buf = vec![0x5a; SEQUENTIAL as usize];
        let block = &Page::new().0;
        let share = self.compare(
            "4 KiB random write, already dirty",
            OPS,
            ROUNDS,
            || Ok((0..OPS).try_for_each(|_| dirty.write_at(block, rng.below(blocks) * BLOCK))?),
            || Ok((0..OPS).try_for_each(|_| plain.write_all_at(block, rng2.below(blocks) * BLOCK))?),
        )?;
        let goal = "4 KiB write, already dirty: share of plain pwrite";
        self.report.goal(goal, "device", share, Limit::AtLeast(0.85), "");
        self.compare(
            "1 MiB sequential write, already dirty",
            steps,
            9,
            || Ok((0..steps).try_for_each(|i| dirty.write_at(&buf, i * SEQUENTIAL))?),
            || Ok((0..steps).try_for_each(|i| plain.write_all_at(&buf, i * SEQUENTIAL))?),
        )?;
        Ok(())
    }

    /// First writes: a COW disk that is clean each time, against a file that is all hole each time.
    fn allocating(&mut self) -> Result<()> {
        let mut order: Vec<u64> = (0..self.size / BLOCK).map(|i| i * BLOCK).collect();
        let mut rng = Rng::new(31);
        for i in (1..order.len()).rev() {
            order.swap(i, rng.below(i as u64 + 1) as usize);
        }
        let sequential: Vec<u64> = (0..self.size / SEQUENTIAL).map(|i| i * SEQUENTIAL).collect();
        order.truncate(order.len() / 4);
        let buf = vec![0x5a; SEQUENTIAL as usize];
        let cases = [
            ("4 KiB random write, clean before (no flush)", &order, BLOCK, false),
            ("4 KiB random write, clean before (one flush at the end)", &order, BLOCK, true),
            ("1 MiB sequential write, clean before (no flush)", &sequential, SEQUENTIAL, false),
        ];
        for (what, offsets, len, flush) in cases {
            let (dir, size) = (self.dir.to_owned(), self.size);
            let layout = make_cow(&dir.join("disk.cow"), &dir.join("base"), &[], None)?;
            let bytes = &buf[..len as usize];
            let device = || -> Result<()> {
                let (cow, base) = (dir.join("disk.cow"), dir.join("base"));
                make_cow(&cow, &base, &[], None)?;
                let device = open(&cow, &base, layout)?;
                offsets.iter().try_for_each(|o| device.write_at(bytes, *o))?;
                if flush {
                    device.flush()?;
                }
                Ok(())
            };
            let plain = || -> Result<()> {
                let file = File::create(dir.join("sparse"))?;
                file.set_len(size)?;
                offsets.iter().try_for_each(|o| file.write_all_at(bytes, *o))?;
                if flush {
                    file.sync_data()?;
                }
                Ok(())
            };
            self.compare(what, offsets.len() as u64, 5, device, plain)?;
        }
        fs::remove_file(self.dir.join("sparse"))?;
        Ok(())
    }
}
