//! A base, a COW file over it, and the same as a qcow2 overlay.

use crate::measure::check;
use crate::pattern::Rng;
use anyhow::{Context, Result, ensure};
use block_device::BlockDevice;
use cow_format::{BaseSpec, BitWriter, Layout, NewCow, Run, Shape, log};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

const CHUNK: usize = 1 << 20;
/// The base's modification time, as the headers record it: any whole second in the past.
const MTIME: u32 = 1_700_000_000;

/// The files of one scenario, all in one directory.
pub(crate) struct Images {
    pub(crate) base: PathBuf,
    pub(crate) cow: PathBuf,
    pub(crate) qcow2: PathBuf,
    /// What a merge has to make.
    merged: PathBuf,
    /// What merges into a new file write.
    pub(crate) out: PathBuf,
    runs: Vec<Run>,
    layout: Layout,
    /// The start of the COW file, up to its bitmap, as it was made.
    header: Vec<u8>,
}

/// Makes a file of `size` random bytes, all stored.
pub(crate) fn make_base(path: &Path, size: u64) -> Result<()> {
    let mut file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    let (mut rng, mut chunk) = (Rng::new(size), vec![0; CHUNK]);
    let mut left = size;
    while left > 0 {
        let n = left.min(CHUNK as u64) as usize;
        rng.fill(&mut chunk[..n]);
        file.write_all(&chunk[..n])?;
        left -= n as u64;
    }
    Ok(())
}

/// Makes a COW file in which `runs` are dirty; with `data` they hold random bytes, otherwise holes.
pub(crate) fn make_cow(path: &Path, base: &Path, runs: &[Run], data: Option<u64>) -> Result<Layout> {
    let size = fs::metadata(base)?.len();
    let spec = BaseSpec { path: base.to_owned(), mtime: MTIME, size, record: None };
    let new = NewCow::create(path, Shape::default(), &spec)?;
    let layout = new.header.layout;
    if let Some(seed) = data {
        let mut rng = Rng::new(seed);
        for_chunks(runs, |offset, chunk| {
            rng.fill(chunk);
            Ok(new.file().write_at(chunk, layout.data_offset + offset)?)
        })?;
    }
    let mut bits = BitWriter::new(new.file(), layout);
    for run in runs {
        bits.mark(*run)?;
    }
    bits.flush()?;
    new.publish(true)?;
    Ok(layout)
}

/// Calls `f` with each offset and a buffer for what lies there, at most 1 MiB at a time.
fn for_chunks(runs: &[Run], mut f: impl FnMut(u64, &mut [u8]) -> Result<()>) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    for run in runs {
        let mut at = run.offset;
        while at < run.end() {
            let n = (run.end() - at).min(CHUNK as u64) as usize;
            f(at, &mut chunk[..n])?;
            at += n as u64;
        }
    }
    Ok(())
}

impl Images {
    /// Makes a COW file over the base in `dir`, which is there already, and what belongs to it.
    ///
    /// The qcow2 overlay has qemu-img's default clusters of 64 KiB. A cluster with one dirty block is stored
    /// whole, as it would be if a guest had written that block.
    pub(crate) fn make(dir: &Path, runs: Vec<Run>, seed: u64, qcow2: bool) -> Result<Self> {
        let file = |name| dir.join(name);
        let (base, cow, merged) = (file("base"), file("disk.cow"), file("merged"));
        let layout = make_cow(&cow, &base, &runs, Some(seed))?;
        let mut header = vec![0; layout.bitmap_offset as usize];
        File::open(&cow)?.read_exact_at(&mut header, 0)?;
        let images =
            Self { base, cow, qcow2: file("disk.qcow2"), merged, out: file("out"), runs, layout, header };
        images.make_merged()?;
        if qcow2 {
            images.make_qcow2()?;
        }
        images.reset()?;
        Ok(images)
    }

    fn make_merged(&self) -> Result<()> {
        fs::copy(&self.base, &self.merged)?;
        let (cow, merged) = (File::open(&self.cow)?, OpenOptions::new().write(true).open(&self.merged)?);
        for_chunks(&self.runs, |offset, chunk| {
            cow.read_exact_at(chunk, self.layout.data_offset + offset)?;
            Ok(merged.write_all_at(chunk, offset)?)
        })
    }

    /// An empty overlay over the merged image, moved onto the base: qemu-img stores what differs.
    fn make_qcow2(&self) -> Result<()> {
        check(
            Command::new("qemu-img")
                .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
                .args([&self.merged, &self.qcow2]),
        )?;
        let mut rebase = Command::new("qemu-img");
        rebase.args(["rebase", "-q", "-f", "qcow2", "-F", "raw", "-b"]).args([&self.base, &self.qcow2]);
        check(&mut rebase).map(drop)
    }

    /// Makes COW file, time stamp and log what they were before the first merge. The base keeps its bytes:
    /// a merge writes the same ones again, for the same price.
    pub(crate) fn reset(&self) -> Result<()> {
        OpenOptions::new().write(true).open(&self.cow)?.write_all_at(&self.header, 0)?;
        let mtime = UNIX_EPOCH + Duration::from_secs(MTIME.into());
        OpenOptions::new().write(true).open(&self.base)?.set_modified(mtime)?;
        for left in [&log::log_path(&self.base), &self.out] {
            match fs::remove_file(left) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Overwrites in the base what a merge will write, so that one that does nothing is found out, and one
    /// that clones finds nothing shared.
    pub(crate) fn scribble(&self) -> Result<()> {
        let base = OpenOptions::new().write(true).open(&self.base)?;
        for_chunks(&self.runs, |offset, chunk| Ok(base.write_all_at(chunk, offset)?))?;
        self.reset()
    }

    /// Compares a merged image with what it has to be.
    pub(crate) fn compare(&self, image: &Path) -> Result<()> {
        let (a, b) = (File::open(&self.merged)?, File::open(image)?);
        let size = a.metadata()?.len();
        ensure!(b.metadata()?.len() == size, "{} has the wrong size", image.display());
        let mut want = vec![0; CHUNK];
        for_chunks(&[Run { offset: 0, len: size }], |offset, chunk| {
            let want = &mut want[..chunk.len()];
            a.read_exact_at(want, offset)?;
            b.read_exact_at(chunk, offset)?;
            ensure!(want == chunk, "{} is wrong in the MiB at {offset}", image.display());
            Ok(())
        })
    }

    /// Bytes that the COW file holds.
    pub(crate) fn dirty(&self) -> u64 {
        self.runs.iter().map(|r| r.len).sum()
    }

    /// Number of runs.
    pub(crate) fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// Gives the space of everything but the base back.
    pub(crate) fn remove(&self) {
        for path in [&self.cow, &self.qcow2, &self.merged, &self.out, &log::log_path(&self.base)] {
            // What was never made is missing, and the rest goes with the directory.
            let _ = fs::remove_file(path);
        }
    }
}
