//! Memory that stays with this machine for as long as a run lasts.
//!
//! A virtual machine with free page reporting gives every free block of 2 MiB back to its host within seconds
//! (`mm/page_reporting.c`), and what touches it next pays for it: here 1 s a GiB, and up to 25 s, in which
//! all that was to be measured disappears. One page that is still in use keeps a block from being given
//! back, and the allocator takes broken blocks before whole ones. So: fill a file in memory, and give all of
//! it back but a page of every 256 KiB.

use anyhow::{Context, Result};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

const SHM: &str = "/dev/shm";
const PAGE: u64 = 4 << 10;
const STEP: u64 = 256 << 10;

/// Free memory that is really there; given up on drop.
pub(crate) struct Pool {
    path: PathBuf,
}

impl Pool {
    /// Takes hold of `bytes` of memory, where there is so much; `None` where there is not.
    pub(crate) fn new(bytes: u64) -> Result<Option<Self>> {
        let room = statvfs(SHM).map_or(0, |s| s.f_bavail * s.f_frsize);
        if room < bytes || available_memory() < bytes + (1 << 30) {
            return Ok(None);
        }
        let pool = Self { path: Path::new(SHM).join(format!("cow-bench-pool.{}", std::process::id())) };
        let mut file =
            File::create(&pool.path).with_context(|| format!("creating {}", pool.path.display()))?;
        let chunk = vec![1; STEP as usize];
        for _ in 0..bytes / STEP {
            file.write_all(&chunk)?;
        }
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        for i in 0..bytes / STEP {
            fallocate(&file, punch, i * STEP + PAGE, STEP - PAGE)?;
        }
        Ok(Some(pool))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_file(&self.path) {
            eprintln!("left behind: {}: {e}", self.path.display());
        }
    }
}

fn available_memory() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|l| l.strip_prefix("MemAvailable:")).unwrap_or("");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) << 10
}
