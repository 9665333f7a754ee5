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
