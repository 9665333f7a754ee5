//! Options of what works on the files inside a disk.

use clap::Args;
use cow_files::{How, Owner, parse_owner};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Where the files are.
#[derive(Debug, Args)]
pub(crate) struct Where {
    /// The COW file, or a raw image; it holds an ext2, ext3 or ext4 file system
    pub(crate) image: PathBuf,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Which file system of it, and how it is opened.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// What is below a COW file, whatever its header names
    #[arg(short, long, value_name = "PATH")]
    pub(crate) base: Option<PathBuf>,
    /// Number of the partition that is meant, 0 for the whole disk (default: the only one that can be)
    #[arg(long, value_name = "N")]
    pub(crate) partition: Option<u32>,
    /// Take no locks: what is read may change meanwhile
    #[arg(short = 'U', long)]
    pub(crate) unlocked: bool,
}

impl Which {
    pub(crate) fn how(&self) -> How {
        How { unlocked: self.unlocked, base: self.base.clone(), partition: self.partition }
    }
}

/// The COW file that is written into.
#[derive(Debug, Args)]
pub(crate) struct Into {
    /// The COW file; it holds an ext2, ext3 or ext4 file system
    pub(crate) cow: PathBuf,
    /// What is below it, whatever its header names
    #[arg(short, long, value_name = "PATH")]
    pub(crate) base: Option<PathBuf>,
    /// Number of the partition that is meant, 0 for the whole disk (default: the only one that can be)
    #[arg(long, value_name = "N")]
    pub(crate) partition: Option<u32>,
}

impl Into {
    pub(crate) fn how(&self) -> How {
        How { unlocked: false, base: self.base.clone(), partition: self.partition }
    }
}

/// List files inside a disk
#[derive(Debug, Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    pub(crate) at: Where,
    /// What to list
    #[arg(default_value = "/")]
    pub(crate) paths: Vec<OsString>,
    /// With type, permissions, owner, size and time
    #[arg(short, long)]
    pub(crate) long: bool,
    /// And all that is below
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// A directory itself, not what is in it
    #[arg(short, long)]
    pub(crate) directory: bool,
}

/// Print files that are inside a disk
#[derive(Debug, Args)]
pub(crate) struct Cat {
    #[command(flatten)]
    pub(crate) at: Where,
    /// Their paths; links are followed
    #[arg(required = true)]
    pub(crate) paths: Vec<OsString>,
}

/// Look for files inside a disk
#[derive(Debug, Args)]
pub(crate) struct Find {
    #[command(flatten)]
    pub(crate) at: Where,
    /// Where to begin
    #[arg(default_value = "/")]
    pub(crate) paths: Vec<OsString>,
    /// Names that fit this pattern of the shell's
    #[arg(long, value_name = "PATTERN")]
    pub(crate) name: Option<String>,
    /// Of this type only: f, d, l, c, b, p, s
    #[arg(long = "type", value_name = "TYPE", value_parser = ["f", "d", "l", "c", "b", "p", "s"])]
    pub(crate) kind: Option<String>,
}

/// Take files out of a disk, with all that is below them
#[derive(Debug, Args)]
pub(crate) struct Extract {
    #[command(flatten)]
    pub(crate) at: Where,
    /// Their paths inside
    #[arg(required = true)]
    pub(crate) paths: Vec<OsString>,
    /// The directory that they go into, made if it is not there
    #[arg(short = 'C', long, value_name = "DIR", default_value = ".")]
    pub(crate) into: PathBuf,
    /// Replace files that are there
    #[arg(short, long)]
    pub(crate) force: bool,
    /// All belongs to the caller (without this, root keeps the owners)
    #[arg(long)]
    pub(crate) no_owner: bool,
}

/// Put files and directories into a disk; what they replace is replaced in one step
#[derive(Debug, Args)]
pub(crate) struct Put {
    #[command(flatten)]
    pub(crate) at: Into,
    /// Files and directories here, and last the path inside
    #[arg(required = true, num_args = 2.., value_names = ["SOURCE", "TARGET"])]
    pub(crate) paths: Vec<OsString>,
    /// Whom they belong to there, by number (default: to whom they belong here)
    #[arg(long, value_name = "UID:GID", value_parser = parse_owner)]
    pub(crate) owner: Option<Owner>,
    /// Permissions of the files, in octal
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    pub(crate) mode: Option<u16>,
}

/// Remove files from a disk
#[derive(Debug, Args)]
pub(crate) struct Rm {
    #[command(flatten)]
    pub(crate) at: Into,
    /// Their paths inside
    #[arg(required = true)]
    pub(crate) paths: Vec<OsString>,
    /// Directories too, with all that is in them
    #[arg(short, long)]
    pub(crate) recursive: bool,
}

/// Compare two disks, by bytes or by files: exit 0 same, 1 different, 2 trouble
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// A COW file or a raw image; of files, the older side
    pub(crate) a: PathBuf,
    /// Another one; without it, what is below A (which then is the older side)
    pub(crate) b: Option<PathBuf>,
    /// Take no locks
    #[arg(short = 'U', long)]
    pub(crate) unlocked: bool,
    /// Tell which files differ, and how
    #[arg(long)]
    pub(crate) files: bool,
    /// Only these files, and what is below them (with --files)
    #[arg(requires = "files")]
    pub(crate) paths: Vec<OsString>,
    /// As a patch, which patch -p1 takes (with --files)
    #[arg(short, long, requires = "files", conflicts_with = "stat")]
    pub(crate) patch: bool,
    /// How many lines of each are new, and gone (with --files)
    #[arg(long, requires = "files")]
    pub(crate) stat: bool,
    /// Number of the partition that is meant, 0 for the whole disk (with --files)
    #[arg(long, value_name = "N", requires = "files")]
    pub(crate) partition: Option<u32>,
    /// Tell of directories whose time alone has changed, too (with --files)
    #[arg(long, requires = "files")]
    pub(crate) directory_times: bool,
}

impl Diff {
    pub(crate) fn two(&self) -> super::Two {
        super::Two { a: self.a.clone(), b: self.b.clone(), unlocked: self.unlocked }
    }
}

/// Keep a part of a session: a new image with the changes of some files (uml_moo and commit take all)
#[derive(Debug, Args)]
#[group(id = "choice", required = true, multiple = false, args = ["only", "exclude"])]
pub(crate) struct Merge {
    /// The COW file
    pub(crate) cow: PathBuf,
    #[command(flatten)]
    pub(crate) which: Which,
    /// The image to make; one that is there is replaced when the new one is complete
    #[arg(long, value_name = "NEW")]
    pub(crate) into: PathBuf,
    /// Only the changes at these paths, and below them
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) only: Vec<OsString>,
    /// All changes but those at these paths, and below them
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) exclude: Vec<OsString>,
    /// What the new image is: raw, or a COW file on the same base
    #[arg(long, value_enum, default_value = "raw", value_name = "FORM")]
    pub(crate) to: MergeForm,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum MergeForm {
    /// A flat image
    Raw,
    /// A COW file on the same base
    Cow,
}

/// Write files of a disk as an archive of tar's, with owners, times, attributes, links and holes
#[derive(Debug, Args)]
pub(crate) struct TarOut {
    #[command(flatten)]
    pub(crate) at: Where,
    /// Their paths inside
    #[arg(default_value = "/")]
    pub(crate) paths: Vec<OsString>,
    /// The archive (default: standard output)
    #[arg(short, long, value_name = "ARCHIVE")]
    pub(crate) file: Option<PathBuf>,
}

/// Put the content of an archive of tar's into a disk
#[derive(Debug, Args)]
pub(crate) struct TarIn {
    #[command(flatten)]
    pub(crate) at: Into,
    /// The directory inside that it goes into
    #[arg(default_value = "/")]
    pub(crate) target: OsString,
    /// The archive (default: standard input)
    #[arg(short, long, value_name = "ARCHIVE")]
    pub(crate) file: Option<PathBuf>,
}

fn parse_mode(text: &str) -> Result<u16, String> {
    let mode = u16::from_str_radix(text, 8).ok().filter(|m| *m <= 0o7777);
    mode.ok_or_else(|| "permissions in octal are wanted, such as 644".to_owned())
}

/// Paths inside an image are bytes.
pub(crate) fn bytes(paths: &[OsString]) -> Vec<Vec<u8>> {
    paths.iter().map(|p| p.clone().into_vec()).collect()
}
