//! The command line of `uml_moo`: the old one, in any order, and what is new.

use clap::Parser;
use std::path::PathBuf;

const AFTER: &str = "\
Without -d, NEW appears complete, verified and durable, or is left as it was.
With -d, an interrupted merge is finished by running the same command again.
SIGUSR1 prints how far it is. Exit status: 0 done, 1 anything else.";

/// Merges a COW disk into a new image, or (-d) into its backing file.
#[derive(Debug, Parser)]
#[command(name = "uml_moo", version, after_help = AFTER, override_usage = "uml_moo [OPTIONS] COW NEW\n       uml_moo [OPTIONS] -d COW")]
pub(crate) struct Options {
    /// Merge in place: the backing file is changed
    #[arg(short = 'd', long = "destructive")]
    pub(crate) in_place: bool,

    /// Use this backing file, whatever the COW header names (one made in a chroot, for example)
    #[arg(short, long, value_name = "BACKING")]
    pub(crate) backing: Option<PathBuf>,

    /// Merge all layers of a chain down to the raw base, not only the top one
    #[arg(long)]
    pub(crate) all: bool,

    /// With -d: keep what is overwritten, as a COW file that shows the backing file as it was
    #[arg(long, value_name = "FILE", requires = "in_place")]
    pub(crate) keep_undo: Option<PathBuf>,

    /// Go on although the backing file has changed, or other COW files need it as it is
    #[arg(long)]
    pub(crate) force: bool,

    /// Say what would be done, and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    /// Do not read the new file back to compare it
    #[arg(long)]
    pub(crate) no_verify: bool,

    /// Take no locks: merge a disk that is in use, as it happens to be at each moment
    #[arg(short = 'U', long)]
    pub(crate) unlocked: bool,

    /// Show progress even where standard error is no terminal
    #[arg(long)]
    pub(crate) progress: bool,

    /// Print progress and the result as JSON lines on standard output
    #[arg(long)]
    pub(crate) json: bool,

    /// The COW file
    #[arg(value_name = "COW")]
    pub(crate) cow: PathBuf,

    /// The new image
    #[arg(value_name = "NEW", required_unless_present = "in_place", conflicts_with = "in_place")]
    pub(crate) new: Option<PathBuf>,
}
