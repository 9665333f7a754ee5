//! `uml-kernel`: the command line.

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use uml_kernel::block::Spec;
use uml_kernel::boot::{self, RunOptions};

/// A Linux-ABI kernel that runs as an ordinary program.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one command in a guest whose root is a host directory.
    Run(Run),
    /// Print which system calls there are, as a table: docs/syscalls.md is made from it.
    Syscalls,
}

#[derive(Debug, Args)]
struct Run {
    /// Host directory that is the guest's root, read-only.
    #[arg(long, default_value = "/")]
    root: PathBuf,
    /// Disk whose file system (ext2, ext3, ext4) is the guest's root instead: an image, or a COW file over a base, made if it is not
    /// there. At the end it is unmounted.
    #[arg(long, value_name = "FILE[,BASE]", conflicts_with_all = ["root", "keep"])]
    disk: Option<String>,
    /// Host directory that keeps what the guest changes, as an overlay's upper directory; a second run goes on there.
    /// Without it, changes are in memory and gone at the end.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Let one host directory through: what the guest writes there, it writes on the host. May be given several times.
    #[arg(long, value_name = "PATH")]
    write: Vec<PathBuf>,
    /// Trace system calls: all, or those of the families named.
    #[arg(long, value_name = "FAMILY", num_args = 0..=1, default_missing_value = "all", require_equals = true)]
    strace: Option<String>,
    /// Show the kernel's log on standard error.
    #[arg(long)]
    log: bool,
    /// `mem=SIZE`, `ncpus=N`, `ubdN=FILE[,BASE]`, then `--`, the command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    words: Vec<OsString>,
}

fn size(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_shl(shift)
}

fn main() -> ExitCode {
    let run = match Cli::parse().command {
        Command::Run(run) => run,
        Command::Syscalls => {
            print!("{}", uml_kernel::syscall::table_text());
            return ExitCode::SUCCESS;
        }
    };
    let mut options = RunOptions {
        root: run.root,
        keep: run.keep,
        write: run.write,
        mem: 2 << 30,
        ncpus: 1,
        command: Vec::new(),
        strace: run.strace,
        log: run.log,
        disk_root: run.disk.is_some(),
        disks: Vec::new(),
    };
    if let Some(disk) = &run.disk {
        match Spec::of(0, false, disk) {
            Ok(spec) => options.disks.push(spec),
            Err(e) => return fail(&format!("--disk: {e:#}")),
        }
    }
    let mut words = run.words.into_iter().peekable();
    while let Some(word) = words.peek().and_then(|w| w.to_str()) {
        match word.split_once('=') {
            Some(("mem", value)) => match size(value) {
                Some(bytes) if bytes >= 16 << 20 => options.mem = bytes,
                _ => return fail(&format!("mem={value}: not a size of at least 16M")),
            },
            Some(("ncpus", value)) => match value.parse() {
                Ok(n) if (1..=64).contains(&n) => options.ncpus = n,
                _ => return fail(&format!("ncpus={value}: not a number of 1 to 64")),
            },
            Some((word, value)) => match Spec::parse(word, value) {
                Some(Ok(spec)) if options.disks.iter().all(|d| d.index != spec.index) => {
                    options.disks.push(spec)
                }
                Some(Ok(_)) => return fail(&format!("{word}: there is such a disk already")),
                Some(Err(e)) => return fail(&format!("{e:#}")),
                None => break,
            },
            None => break,
        }
        words.next();
    }
    options.command = words.skip_while(|w| w == "--").collect();
    match boot::run(options) {
        Ok(status) if status & 0x7f == 0 => ExitCode::from((status >> 8) as u8),
        Ok(status) => ExitCode::from(128 + (status & 0x7f) as u8),
        Err(e) => fail(&format!("{e:#}")),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("uml-kernel: {message}");
    ExitCode::from(125)
}
