//! The command line of `hostfs-mirror`. A set is named by its name or by the path of one of its legs.

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Makes mirror sets, mounts them, and says how they are.
#[derive(Debug, Parser)]
#[command(name = "hostfs-mirror", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// This process serves a mount: it tells who started it that it is there
    #[arg(long, hide = true)]
    pub(crate) served: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Create(Create),
    Mount(Mount),
    Umount(Umount),
    Status(Status),
    Fence(Leg),
    Online(Leg),
    Add(Add),
    Remove(Remove),
    Replace(Replace),
    Resync(Resync),
    Scrub(Scrub),
    Verify(Scrub),
    Explain(Explain),
    #[command(subcommand)]
    SplitBrain(SplitBrain),
    Import(Import),
    Export(Export),
    Events(One),
    Metrics(Metrics),
    Doctor(Doctor),
    /// Print completions for a shell
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one a command into a directory
    Man {
        /// Directory to write the pages to
        dir: Option<PathBuf>,
    },
}

/// Make a set of directories, which must be empty
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name
    pub(crate) name: String,
    /// The directories that are to hold the tree, one copy each
    #[arg(required = true)]
    pub(crate) legs: Vec<PathBuf>,
    /// With fewer live legs nothing can be written
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) min_legs: u8,
}

/// Mount a set
#[derive(Debug, Args)]
pub(crate) struct Mount {
    /// The set: its name, or the path of a leg
    pub(crate) set: PathBuf,
    /// Where to
    pub(crate) dir: PathBuf,
    /// Stay in the foreground
    #[arg(short, long)]
    pub(crate) foreground: bool,
    /// A leg that does not answer for so many seconds is fenced
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub(crate) timeout: Duration,
    /// With fewer live legs nothing can be written (this time; otherwise what the set was made with)
    #[arg(long, value_name = "N")]
    pub(crate) min_legs: Option<u8>,
    /// Read from this leg while it is live, by its number
    #[arg(long, value_name = "LEG")]
    pub(crate) primary: Option<usize>,
    /// Read from this leg only when no other is live
    #[arg(long, value_name = "LEG")]
    pub(crate) write_mostly: Vec<usize>,
    /// Write nothing
    #[arg(short, long)]
    pub(crate) read_only: bool,
    /// Let other users in
    #[arg(long)]
    pub(crate) allow_other: bool,
    /// Options of mount(8): ro, allow_other, suid, dev, noexec
    #[arg(short = 'o', value_name = "OPTIONS")]
    pub(crate) options: Vec<String>,
}

/// Unmount a set, and wait until all its legs are in order
#[derive(Debug, Args)]
pub(crate) struct Umount {
    /// Where it is mounted
    pub(crate) dir: PathBuf,
    /// Detach it although something in it is open
    #[arg(short, long)]
    pub(crate) lazy: bool,
}

/// Say how a set is, or all sets
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The set: its name, or the path of a leg
    pub(crate) set: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A leg of a set: fence takes it out, online takes it in again
#[derive(Debug, Args)]
pub(crate) struct Leg {
    /// The set: its name, or the path of a leg
    pub(crate) set: PathBuf,
    /// The leg: its number, its path or its identity
    pub(crate) leg: String,
}

/// How long work is done, and said.
#[derive(Debug, Args)]
pub(crate) struct Work {
    /// At most so much a second is read and written: 20M, 1G
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    pub(crate) rate: Option<u64>,
    /// Run this command for everything that is found or done; it gets EVENT, SET, LEG and PATH_IN_SET in its environment
    #[arg(long, value_name = "CMD")]
    pub(crate) on_event: Option<String>,
    /// Show progress even where standard error is no terminal
    #[arg(long)]
    pub(crate) progress: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Add a leg: it gets everything, and is live then
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The set: its name, or the path of a leg
    pub(crate) set: PathBuf,
    /// The directory
    pub(crate) leg: PathBuf,
    /// What is in the directory is made like the others, and is lost where it differs
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// It is read from only when no other is live
    #[arg(long)]
    pub(crate) write_mostly: bool,
    #[command(flatten)]
    pub(crate) work: Work,
}

/// Take a leg out of a set: its files stay, and it is a plain directory then
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The set: its name, or the path of a leg
    pub(crate) set: PathBuf,
    /// The leg: its number, its path or its identity
    pub(crate) leg: String,
}

/// Put another directory in the place of a leg: it gets everything before the old one goes
#[derive(Debug, Args)]
pub(crate) struct Replace {
    /// The set: its name, or the path of a leg
    pub(crate) set: PathBuf,
    /// The leg that goes: its number, its path or its identity
    pub(crate) old: String,
    /// The directory that comes
    pub(crate) new: PathBuf,
    #[command(flatten)]
    pub(crate) work: Work,
}

/// Bring legs up to date by what they missed
#[derive(Debug, Args)]
pub(crate) struct Resync {
    /// The set: its name, or the path of a leg
    pub(crate) set: PathBuf,
    /// The leg: its number, its path or its identity; without it, all that are behind
    pub(crate) leg: Option<String>,
    #[command(flatten)]
    pub(crate) work: Work,
}

/// Read all legs and hold them against their checksums; scrub heals what is wrong, verify only looks
#[derive(Debug, Args)]
pub(crate) struct Scrub {
    /// The set: its name, or the path of a leg
    pub(crate) set: PathBuf,
    /// Only what is at this path of the tree, and beneath
    #[arg(default_value = "/")]
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) work: Work,
}

/// Say which leg is right at a path, and why
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The set: its name, or the path of a leg
    pub(crate) set: PathBuf,
    /// The path in the tree
    pub(crate) path: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where legs went different ways, and which is to be right there
#[derive(Debug, Subcommand)]
pub(crate) enum SplitBrain {
    /// List the paths
    List(One),
    /// Give all legs what one of them has at a path (/ for everything); also what scrub cannot decide
    Choose {
        /// The set: its name, or the path of a leg
        set: PathBuf,
        /// The path in the tree
        path: PathBuf,
        /// The leg that is right there: its number, its path or its identity
        leg: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Make a set of a directory and what is in it; further legs get a copy
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The name of the new set
    pub(crate) name: String,
    /// The directory whose content is adopted
    pub(crate) dir: PathBuf,
    /// Empty directories that are to be legs too
    pub(crate) legs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) work: Work,
}

/// Make plain directories of all legs: the set is no more, and every live leg has everything
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The set: its name, or the path of a leg
    pub(crate) set: PathBuf,
}

/// One set
#[derive(Debug, Args)]
pub(crate) struct One {
    /// The set: its name, or the path of a leg
    pub(crate) set: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Numbers about sets, as Prometheus reads them
#[derive(Debug, Args)]
pub(crate) struct Metrics {
    /// The set: its name, or the path of a leg; without it, all that are known
    pub(crate) set: Option<PathBuf>,
}

/// Look for legs, say what is wrong with each set, and write down where they are
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Directories that are legs, or have legs in them
    pub(crate) places: Vec<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        _ => return Err("K, M, G and T are understood".into()),
    };
    let number: f64 = digits.parse().map_err(|_| "a number of bytes is needed, as in 20M".to_owned())?;
    let bytes = number * (1u64 << unit) as f64;
    if bytes >= 1.0 { Ok(bytes as u64) } else { Err("more than nothing is needed".into()) }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is needed".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(d) if d >= Duration::from_millis(100) => Ok(d),
        _ => Err("at least 0.1 is needed".into()),
    }
}

/// The command line; of mount(8)'s helper, `mount.hostfs-mirror SET DIR -o …`, what it would be.
pub(crate) fn arguments() -> Vec<OsString> {
    let mut all: Vec<_> = std::env::args_os().collect();
    let name = all.first().and_then(|first| std::path::Path::new(first).file_name()).map(ToOwned::to_owned);
    if name.is_some_and(|name| name == "mount.hostfs-mirror") {
        all.insert(1, "mount".into());
    }
    all
}
