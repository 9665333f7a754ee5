//! Where the images lie, and on what machine.

use crate::measure::check;
use anyhow::{Context, Result, bail};
use rustix::fs::{statfs, statvfs};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// linux/magic.h.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// A directory of our own, removed on drop.
pub(crate) struct WorkDir {
    path: PathBuf,
    tmpfs: bool,
}

impl WorkDir {
    /// A directory in `wanted`, or where there is room for `need` bytes: in memory first, where figures are
    /// steadiest.
    pub(crate) fn choose(wanted: Option<&Path>, need: u64) -> Result<Self> {
        let fits = |dir: &Path| statvfs(dir).is_ok_and(|s| s.f_bavail * s.f_frsize >= need);
        let parent = match wanted {
            Some(dir) => dir.to_owned(),
            None => ["/dev/shm", "/var/tmp"]
                .map(PathBuf::from)
                .into_iter()
                .find(|d| fits(d))
                .with_context(|| format!("neither /dev/shm nor /var/tmp has {} MiB free", need >> 20))?,
        };
        if !fits(&parent) {
            bail!("{} has no {} MiB free: see --size, --dir", parent.display(), need >> 20);
        }
        let path = parent.join(format!("cow-bench.{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        let path = fs::canonicalize(path)?;
        let tmpfs = statfs(&path)?.f_type as i64 == TMPFS_MAGIC;
        Ok(Self { path, tmpfs })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether making something durable costs anything here.
    pub(crate) fn durable(&self) -> bool {
        !self.tmpfs
    }

    pub(crate) fn describe(&self) -> String {
        match self.tmpfs {
            true => format!(
                "{} (tmpfs: figures are CPU and memory; making things durable costs nothing there)",
                self.path.display()
            ),
            false => format!(
                "{} (a disk: every program's time includes making its output durable, by sync(1) where it does not do so itself)",
                self.path.display()
            ),
        }
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.path) {
            eprintln!("left behind: {}: {e}", self.path.display());
        }
    }
}

/// Processor, kernel and load, for whoever reads the figures later.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .unwrap_or("")
        .trim_matches([' ', '\t', ':']);
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split(' ').take(2).collect::<Vec<_>>().join(" ");
    format!("{cpus} x {model}, Linux {}, load {load}", read("/proc/sys/kernel/osrelease").trim())
}

/// A file system in a file, mounted through a loop device; unmounted on drop.
pub(crate) struct LoopMount {
    image: PathBuf,
    mountpoint: PathBuf,
}

impl LoopMount {
    /// Makes and mounts one with the given `mkfs` command.
    pub(crate) fn new(dir: &WorkDir, mkfs: &[&str], bytes: u64) -> Result<Self> {
        let image = dir.path().join("loop.img");
        let mountpoint = dir.path().join("mnt");
        File::create(&image)?.set_len(bytes)?;
        check(Command::new(mkfs[0]).args(&mkfs[1..]).arg(&image))?;
        fs::create_dir_all(&mountpoint)?;
        check(Command::new("mount").args(["-o", "loop"]).args([&image, &mountpoint]))?;
        Ok(Self { image, mountpoint })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mountpoint
    }
}

impl Drop for LoopMount {
    fn drop(&mut self) {
        if let Err(e) = check(Command::new("umount").arg(&self.mountpoint)) {
            eprintln!("left mounted: {}: {e:#}", self.mountpoint.display());
            return;
        }
        // The work directory goes away as a whole; only the space is wanted back at once.
        let _ = fs::remove_file(&self.image);
    }
}
