//! The command line of `cowtool`. The COW file comes first; what it relates to is an option.

pub(crate) mod files;

use clap::{Args, Parser, Subcommand, ValueEnum};
use cli_common::Format;
use cow_format::{ByteOrder, DEFAULT_ALIGNMENT, DEFAULT_SECTOR_SIZE, Shape, Version};
use cow_ops::BaseFormat;
use std::path::PathBuf;

/// Looks into COW disks of User-Mode Linux, compares, checks, converts, moves, shrinks and stacks them.
#[derive(Debug, Parser)]
#[command(name = "cowtool", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Form of the output
    #[arg(long, value_enum, default_value_t, global = true, value_name = "FORM")]
    pub(crate) output: Format,

    /// Show progress even where standard error is no terminal (as JSON lines with --output=json)
    #[arg(long, global = true)]
    pub(crate) progress: bool,

    /// This process serves a mount: it tells who started it that it is there
    #[arg(long, hide = true)]
    pub(crate) served: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Create(Create),
    Info(One),
    Map(Map),
    Check(Check),
    Diff(files::Diff),
    Compare(Two),
    Status(Status),
    Ls(files::Ls),
    Cat(files::Cat),
    Find(files::Find),
    Extract(files::Extract),
    Put(files::Put),
    Rm(files::Rm),
    Merge(files::Merge),
    TarOut(files::TarOut),
    TarIn(files::TarIn),
    Commit(Commit),
    Convert(Convert),
    Rebase(Rebase),
    Relocate(Relocate),
    Compact(One),
    Snapshot(Snapshot),
    Revert(Revert),
    Serve(Serve),
    Verify(One),
    Identify(Identify),
    Locks(One),
    Mount(Mount),
    Umount(Umount),
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

/// One COW file.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// The COW file
    pub(crate) cow: PathBuf,
}

/// Make a COW file: on a base, on a new empty base, or from a changed copy of the base
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The COW file to make
    pub(crate) cow: PathBuf,
    /// The base
    #[arg(long, required_unless_present = "size")]
    pub(crate) base: Option<PathBuf>,
    /// What the base is, where it begins like a COW file
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) base_format: Option<BaseFormatArg>,
    /// Make an empty, sparse base of this size first (COW.base, or the name given by --base): 10G, 512M, …
    #[arg(long, value_parser = parse_size)]
    pub(crate) size: Option<u64>,
    /// Start from this changed copy of the base: only the sectors that differ are taken
    #[arg(long, value_name = "IMAGE", conflicts_with = "size")]
    pub(crate) from: Option<PathBuf>,
    /// Do not compute the identity of the base
    #[arg(long)]
    pub(crate) no_identify: bool,
    /// Replace an existing file
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) shape: ShapeArgs,
}

/// Header version and layout of a new COW file.
#[derive(Debug, Args)]
pub(crate) struct ShapeArgs {
    /// Header version
    #[arg(
        id = "format_version",
        long = "format-version",
        value_enum,
        default_value = "v3",
        value_name = "VERSION"
    )]
    pub(crate) version: VersionArg,
    /// Unit of the bitmap in bytes; the real driver knows 512 only
    #[arg(long, default_value_t = DEFAULT_SECTOR_SIZE, value_name = "BYTES")]
    pub(crate) sector_size: u32,
    /// Alignment of bitmap and data in bytes (v3)
    #[arg(long, default_value_t = DEFAULT_ALIGNMENT, value_name = "BYTES")]
    pub(crate) alignment: u32,
}

impl ShapeArgs {
    pub(crate) fn shape(&self) -> Shape {
        let version = match self.version {
            VersionArg::V1Le => Version::V1(ByteOrder::Little),
            VersionArg::V1Be => Version::V1(ByteOrder::Big),
            VersionArg::V2 => Version::V2,
            VersionArg::V3 => Version::V3,
        };
        Shape { version, sector_size: self.sector_size, alignment: self.alignment }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum VersionArg {
    /// Version 1, little-endian
    V1Le,
    /// Version 1, big-endian
    V1Be,
    /// Version 2
    V2,
    /// Version 3, the current one
    V3,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum BaseFormatArg {
    /// A raw image, whatever it begins with
    Raw,
    /// A COW file: another layer
    Cow,
}

pub(crate) fn base_format(arg: Option<BaseFormatArg>) -> BaseFormat {
    match arg {
        None => BaseFormat::Unsaid,
        Some(BaseFormatArg::Raw) => BaseFormat::Raw,
        Some(BaseFormatArg::Cow) => BaseFormat::Cow,
    }
}

/// List the dirty runs, or draw where they lie
#[derive(Debug, Args)]
pub(crate) struct Map {
    /// The COW file
    pub(crate) cow: PathBuf,
    /// Draw a picture
    #[arg(long)]
    pub(crate) plot: bool,
}

/// Check that a COW file is whole: exit 0 clean, 1 could not check, 2 corrupt, 3 leaks
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The COW file
    pub(crate) cow: PathBuf,
    /// Put right what can be put right without changing what the disk shows
    #[arg(long)]
    pub(crate) repair: bool,
    /// Take no locks: look at a disk that is in use
    #[arg(short = 'U', long)]
    pub(crate) unlocked: bool,
}

/// Compare two disks: exit 0 same, 1 different, 2 trouble
#[derive(Debug, Args)]
pub(crate) struct Two {
    /// A COW file or a raw image
    pub(crate) a: PathBuf,
    /// Another one; without it, what is below A
    pub(crate) b: Option<PathBuf>,
    /// Take no locks
    #[arg(short = 'U', long)]
    pub(crate) unlocked: bool,
}

/// List the files that a session has changed: added, deleted, renamed, changed, and what of them
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The COW file; it and what is below it hold an ext2, ext3 or ext4 file system
    pub(crate) cow: PathBuf,
    #[command(flatten)]
    pub(crate) which: files::Which,
    /// Tell of directories whose time alone has changed, too
    #[arg(long)]
    pub(crate) directory_times: bool,
}

/// Merge a COW file into what is below it, or into a new file (as uml_moo does)
#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// The COW file
    pub(crate) cow: PathBuf,
    /// Make this new file instead of changing what is below
    #[arg(long, value_name = "NEW")]
    pub(crate) into: Option<PathBuf>,
    /// Merge all layers of a chain
    #[arg(long)]
    pub(crate) all: bool,
    /// Keep what is overwritten, as a COW file that shows the base as it was
    #[arg(long, value_name = "FILE", conflicts_with = "into")]
    pub(crate) keep_undo: Option<PathBuf>,
    /// Go on although the base has changed, or other COW files need it as it is
    #[arg(long)]
    pub(crate) force: bool,
    /// Say what would be done, and change nothing
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Convert between COW, raw and qcow2, and between header versions, byte orders and sector sizes
#[derive(Debug, Args)]
pub(crate) struct Convert {
    /// A COW file, a qcow2 image or a raw image
    pub(crate) source: PathBuf,
    /// The file to make
    #[arg(long, short)]
    pub(crate) into: PathBuf,
    /// Its form
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) to: FormArg,
    /// Base of a new COW file, or of a qcow2 image that stands on one
    #[arg(long)]
    pub(crate) base: Option<PathBuf>,
    /// What that base is, where it begins like a COW file
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) base_format: Option<BaseFormatArg>,
    #[command(flatten)]
    pub(crate) shape: ShapeArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FormArg {
    /// A flat image
    Raw,
    /// A qcow2 image; from a COW file, an overlay on the same raw base
    Qcow2,
    /// A qcow2 image that stands by itself
    Qcow2Flat,
    /// A COW file
    Cow,
}

/// Put a COW file onto another base; what the new base lacks is copied into it
#[derive(Debug, Args)]
pub(crate) struct Rebase {
    /// The COW file
    pub(crate) cow: PathBuf,
    /// The new base
    #[arg(long)]
    pub(crate) base: PathBuf,
    /// What the new base is, where it begins like a COW file
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) base_format: Option<BaseFormatArg>,
    /// Change the header only: the new base is known to hold the same
    #[arg(long)]
    pub(crate) header_only: bool,
}

/// Record where the base is after it was moved
#[derive(Debug, Args)]
pub(crate) struct Relocate {
    /// The COW file
    pub(crate) cow: PathBuf,
    /// The base
    #[arg(long, required_unless_present = "search")]
    pub(crate) base: Option<PathBuf>,
    /// Look for it in this directory and below
    #[arg(long, value_name = "DIR", conflicts_with = "base")]
    pub(crate) search: Vec<PathBuf>,
}

/// Freeze the disk as it is, and go on in a new layer under the same name
#[derive(Debug, Args)]
pub(crate) struct Snapshot {
    /// The COW file
    pub(crate) cow: PathBuf,
    /// Name of the frozen layer (default: COW.1, COW.2, …)
    #[arg(long, value_name = "FILE")]
    pub(crate) frozen: Option<PathBuf>,
}

/// Go back to the last snapshot: what was written since is dropped
#[derive(Debug, Args)]
pub(crate) struct Revert {
    /// The COW file
    pub(crate) cow: PathBuf,
    /// Keep the base where it is, and empty the COW file
    #[arg(long)]
    pub(crate) empty: bool,
    /// Go on although other COW files stand on the frozen layer
    #[arg(long)]
    pub(crate) force: bool,
}

/// Serve a disk to clients of NBD: qemu, nbdcopy, nbdfuse, the kernel's own
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// A COW file or a raw image
    pub(crate) disk: PathBuf,
    /// Listen at this Unix socket (default: DISK.sock)
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Listen at this TCP port; 0 takes a free one. The port of NBD is 10809
    #[arg(long, value_name = "N", conflicts_with = "socket")]
    pub(crate) port: Option<u16>,
    /// Address to listen at
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1", requires = "port")]
    pub(crate) bind: std::net::IpAddr,
    /// Serve the one client at standard input and output, then end
    #[arg(long, conflicts_with_all = ["socket", "port"])]
    pub(crate) stdio: bool,
    /// Only over TLS, with server-cert.pem and server-key.pem from this directory. Where it has a ca-cert.pem, clients need a
    /// certificate that it signed
    #[arg(long, value_name = "DIR")]
    pub(crate) tls: Option<PathBuf>,
    /// Let clients write
    #[arg(long)]
    pub(crate) rw: bool,
    /// Serve this partition, by its number, in place of the disk; or, with "all", each under its number besides the disk
    #[arg(long, value_name = "N|all", value_parser = parse_partition)]
    pub(crate) partition: Option<Partition>,
    /// Name to serve it by; NAME=base serves what is below a COW file, NAME=PATH another disk. The first is the default of clients
    #[arg(long, value_name = "NAME[=WHAT]")]
    pub(crate) export: Vec<String>,
    /// What is below the COW file, whatever its header names
    #[arg(short, long, value_name = "PATH")]
    pub(crate) base: Option<PathBuf>,
    /// Connections at a time; one more is closed at once
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000))]
    pub(crate) max_connections: usize,
    /// Take no locks: look at a disk that is in use. What is served may be half old, half new
    #[arg(short = 'U', long, conflicts_with = "rw")]
    pub(crate) unlocked: bool,
}

/// What of a disk is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Partition {
    /// The one of this number; 0 is the whole disk.
    One(u32),
    /// Each, and the whole disk.
    All,
}

fn parse_partition(text: &str) -> Result<Partition, String> {
    match text {
        "all" => Ok(Partition::All),
        number => number.parse().map(Partition::One).map_err(|_| "a number is wanted, or \"all\"".to_owned()),
    }
}

/// Compute the identity of the base and record it, so that it is recognised when it was moved or touched
#[derive(Debug, Args)]
pub(crate) struct Identify {
    /// The COW file
    pub(crate) cow: PathBuf,
    /// Take the base as it is now for the right one
    #[arg(long)]
    pub(crate) force: bool,
}

/// Mount the files inside, or with --disk the disk as one file: without booting it, and without root where fusermount3 is installed
#[derive(Debug, Clone, Args)]
pub(crate) struct Mount {
    /// A COW file or a raw image
    pub(crate) cow: PathBuf,
    /// Where: an empty directory
    pub(crate) dir: PathBuf,
    /// Nothing is written: what is there without --rw
    #[arg(long, conflicts_with = "rw")]
    pub(crate) ro: bool,
    /// Changes are written into the COW file
    #[arg(long)]
    pub(crate) rw: bool,
    /// Changes are written into this new COW file, on top: the session stays as it was
    #[arg(long, value_name = "SCRATCH", requires = "rw")]
    pub(crate) new: Option<PathBuf>,
    /// The disk as one file, DIR/disk: for any file system
    #[arg(long)]
    pub(crate) disk: bool,
    /// Partition to mount, by its number; 0 for the whole disk. Without it the only one that can be meant
    #[arg(long, value_name = "N")]
    pub(crate) partition: Option<u32>,
    /// What is below the COW file, whatever its header names
    #[arg(short, long, value_name = "PATH")]
    pub(crate) base: Option<PathBuf>,
    /// Stay, and do not go into the background
    #[arg(short, long)]
    pub(crate) foreground: bool,
    /// Let others than you in (user_allow_other in /etc/fuse.conf, unless you are root)
    #[arg(long)]
    pub(crate) allow_other: bool,
    /// All files are yours; what you make belongs to whom its directory belongs to
    #[arg(long)]
    pub(crate) map_owner: bool,
    /// Take no locks: look at the disk of a running guest, with what that means
    #[arg(short = 'U', long, conflicts_with = "rw")]
    pub(crate) unlocked: bool,
    /// Options as mount(8) has them, with commas between: ro, rw, noexec, noatime, commit=SECONDS, …
    #[arg(short, value_name = "OPTIONS")]
    pub(crate) options: Vec<String>,
}

/// Unmount, and return when everything is durable
#[derive(Debug, Args)]
pub(crate) struct Umount {
    /// Where it is mounted
    pub(crate) dir: PathBuf,
    /// Detach it now, although somebody has something open in it; what he still writes is waited for
    #[arg(short, long)]
    pub(crate) lazy: bool,
}

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].trim_end_matches("iB").trim_end_matches('B') {
        "" => 0,
        "K" | "k" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        unit => return Err(format!("unknown unit \"{unit}\": K, M, G and T are known")),
    };
    let number: u64 = digits.parse().map_err(|_| "a number is needed, such as 10G".to_owned())?;
    number.checked_mul(1 << shift).filter(|n| *n > 0).ok_or_else(|| "impossible size".to_owned())
}
