//! The benchmark suite: merging against the tools it replaces, the COW device against plain system calls, the guest kernel against
//! the host, the real UML and gVisor.
//!
//! Figures are ratios of work done in one run, by turns, because the machine changes between runs. Goals are
//! printed beside them and never decide the exit status: a shared machine proves nothing by one slow run.

mod cloning;
mod device;
mod disk;
mod images;
mod kernel;
mod lookup;
mod measure;
mod merge;
mod pattern;
mod pool;
mod report;
mod tools;
mod workdir;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use pool::Pool;
use report::Report;
use std::path::PathBuf;
use tools::Tools;
use workdir::WorkDir;

/// Measures merging and the COW device against what they replace
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Args {
    /// What to measure
    #[arg(value_enum, default_value = "all")]
    suite: Suite,

    /// Size of the base that is merged into (512, 64M, 2G)
    #[arg(long, default_value = "2G", value_parser = parse_size)]
    size: u64,

    /// Size of the base on a file system that clones
    #[arg(long, default_value = "4G", value_parser = parse_size)]
    clone_size: u64,

    /// Size of the device for single reads and writes
    #[arg(long, default_value = "1G", value_parser = parse_size)]
    device_size: u64,

    /// Where to work; /dev/shm when it has room, otherwise the directory for temporary files
    #[arg(long)]
    dir: Option<PathBuf>,

    /// Measured rounds after one to warm up; short ones are repeated more often
    #[arg(long, default_value_t = 3)]
    runs: usize,

    /// Dirty shares in percent
    #[arg(long, default_value = "1,10,50", value_delimiter = ',')]
    dirty: Vec<u32>,

    /// Our uml_moo; otherwise it is built
    #[arg(long)]
    ours: Option<PathBuf>,

    /// The real uml_moo
    #[arg(long, default_value = "/usr/bin/uml_moo")]
    real: PathBuf,

    /// Debian's image, to time its boot (scripts/make-debian.sh DIR makes DIR/debian.img)
    #[arg(long, env = "BENCH_DEBIAN")]
    debian: Option<PathBuf>,

    /// Guests at once on one base
    #[arg(long, default_value_t = 20)]
    guests: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    Merge,
    Device,
    Clone,
    Kernel,
    Disk,
    /// Of `disk`, many guests at once alone
    Guests,
    All,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.runs == 0 || args.dirty.iter().any(|p| !(1..=99).contains(p)) {
        bail!("--runs is at least 1, and dirty shares are 1 to 99 percent");
    }
    let wants = |suite| args.suite == suite || args.suite == Suite::All;
    let mut need = 0;
    if wants(Suite::Merge) {
        need = need.max(args.size * 5); // base, merged copy, new file, COW, qcow2
    }
    if wants(Suite::Device) {
        need = need.max(args.device_size * 5);
    }
    if wants(Suite::Clone) {
        need = need.max(args.clone_size * 3);
    }
    measure::catch_signals()?;
    if matches!(args.suite, Suite::Kernel | Suite::Disk | Suite::Guests) {
        let mut report = Report::new()?;
        report.note(&format!("{}.", workdir::machine()));
        match args.suite {
            Suite::Disk => disk::suite(&args, &mut report)?,
            Suite::Guests => disk::guests(&args, &mut report)?,
            _ => kernel::suite(args.runs, &mut report)?,
        }
        return report.finish();
    }
    let dir = WorkDir::choose(args.dir.as_deref(), need)?;
    let mut report = Report::new()?;
    report.note(&format!("Working in {}.", dir.describe()));
    report.progress(&format!("taking hold of {} MiB of memory", need >> 20));
    let pool = Pool::new(need)?;
    if pool.is_none() {
        report.note("Not enough memory to take hold of before measuring: figures are less steady.");
    }
    report.note(&format!("{}.", workdir::machine()));
    if wants(Suite::Merge) || wants(Suite::Clone) {
        let tools = Tools::find(args.ours.as_deref(), &args.real)?;
        report.note(&tools.describe());
        if wants(Suite::Merge) {
            merge::suite(&args, &dir, &tools, &mut report)?;
        }
        if wants(Suite::Clone) {
            cloning::suite(&args, &dir, &tools, &mut report)?;
        }
    }
    if wants(Suite::Device) {
        device::suite(args.device_size, &dir, &mut report)?;
        lookup::suite(&dir, &mut report)?;
    }
    drop(pool);
    if wants(Suite::Kernel) {
        kernel::suite(args.runs, &mut report)?;
    }
    if wants(Suite::Disk) {
        disk::suite(&args, &mut report)?;
    }
    report.note(&format!("{}.", workdir::machine()));
    report.finish()
}

fn parse_size(text: &str) -> Result<u64> {
    let (digits, shift) = match text.char_indices().next_back() {
        Some((i, 'K' | 'k')) => (&text[..i], 10),
        Some((i, 'M' | 'm')) => (&text[..i], 20),
        Some((i, 'G' | 'g')) => (&text[..i], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().with_context(|| format!("\"{text}\" is no size"))?;
    let size = number.checked_shl(shift).filter(|s| s >> shift == number).context("too large")?;
    if size < 16 << 20 || !size.is_multiple_of(pattern::CLUSTER) {
        bail!("at least 16 MiB, in steps of 4 MiB");
    }
    Ok(size)
}
