//! Bitmap lookups: our cache of chunks against a shared mapping of the file.
//!
//! The cache is there for correctness (see `cow-format/src/bitmap.rs`); this shows what it costs.

use crate::device::open;
use crate::images::make_cow;
use crate::measure::pair;
use crate::pattern::{BLOCK, Rng, Spread, dirty_runs};
use crate::report::{Report, Table, times};
use crate::workdir::WorkDir;
use anyhow::Result;
use cow_format::{bit_run, word_at};
use memmap2::Mmap;
use std::fs::{self, File};
use std::hint::black_box;
use std::path::Path;

const OPS: u64 = 1 << 18;
const ROUNDS: usize = 21;

/// Lookups of single blocks anywhere, and of the runs of each MiB in order.
pub(crate) fn suite(dir: &WorkDir, report: &mut Report) -> Result<()> {
    let columns = ["ns each", "ours", "mmap", "share of mmap speed"];
    let mut table = Table::new("Bitmap lookups: chunk cache against a memory map", &columns);
    for gib in [1, 64] {
        report.progress(&format!("bitmap lookups, {gib} GiB"));
        one(dir.path(), gib, &mut table)?;
    }
    report.table(&table);
    Ok(())
}

fn one(dir: &Path, gib: u64, table: &mut Table) -> Result<()> {
    let size = gib << 30;
    let (base, cow) = (dir.join("sparse-base"), dir.join("lookup.cow"));
    File::create(&base)?.set_len(size)?;
    let layout = make_cow(&cow, &base, &dirty_runs(size, 50, Spread::Scattered, 9), None)?;
    let device = open(&cow, &base, layout)?;
    let map = map(&File::open(&cow)?)?;
    let bitmap = &map[layout.bitmap_offset as usize..layout.bitmap_end() as usize];
    let shift = layout.sector_shift();
    let mapped = |offset: u64, end: u64| {
        let (dirty, sectors) = bit_run(offset >> shift, end >> shift, |w| word_at(bitmap, w as usize));
        (dirty, offset + (sectors << shift))
    };
    // Every chunk and every page once, and the two had better agree.
    for offset in (0..size).step_by(1 << 20) {
        let end = offset + (1 << 20);
        anyhow::ensure!(device.dirty_run(offset, end)? == mapped(offset, end), "lookups differ at {offset}");
    }
    let (mut rng, mut rng2) = (Rng::new(1), Rng::new(2));
    let blocks = size / BLOCK;
    let (a, b, share) = pair(
        ROUNDS,
        || {
            for _ in 0..OPS {
                let offset = rng.below(blocks) * BLOCK;
                black_box(device.dirty_run(offset, offset + BLOCK)?);
            }
            Ok(())
        },
        || {
            for _ in 0..OPS {
                let offset = rng2.below(blocks) * BLOCK;
                black_box(mapped(offset, offset + BLOCK));
            }
            Ok(())
        },
    )?;
    let nanos = |seconds: f64| format!("{:.1}", seconds * 1e9 / OPS as f64);
    table.row(vec![format!("{gib} GiB, 4 KiB anywhere"), nanos(a), nanos(b), times(share)]);
    drop(device);
    fs::remove_file(base)?;
    fs::remove_file(cow)?;
    Ok(())
}

#[allow(unsafe_code)]
fn map(file: &File) -> Result<Mmap> {
    // SAFETY: the file lies in this process's own work directory, and nothing truncates or writes it while
    // the map exists.
    Ok(unsafe { Mmap::map(file) }?)
}
