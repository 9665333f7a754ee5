//! `uml-kernel`: the command line.

use anyhow::{Context as _, Result, anyhow};
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use uml_kernel::block::Spec;
use uml_kernel::boot::cmdline::{self, CommandLine};
use uml_kernel::boot::{self, RunOptions};
use uml_kernel::task::End;

/// What is not the beginning of a kernel's command line.
const SUBCOMMANDS: [&str; 3] = ["run", "syscalls", "help"];

/// A Linux-ABI kernel that runs as an ordinary program: with options of a kernel it boots a disk, with `run` it runs one command.
#[derive(Debug, Parser)]
#[command(version, about, after_help = kernel_options(), override_usage = "uml-kernel ubd0=FILE [OPTION]...\n       uml-kernel run [OPTION]... -- COMMAND")]
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
    /// `mem=SIZE`, `ncpus=N`, `ubdN=FILE[,BASE]`, `hostfs=DIR`, then `--`, the command and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    words: Vec<OsString>,
}

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    // Anything but a subcommand or a flag is the command line of a kernel that boots.
    let first = words.first().and_then(|w| w.to_str()).unwrap_or("--help");
    let boots = first.starts_with("--strace") || !first.starts_with('-') && !SUBCOMMANDS.contains(&first);
    let ended = match boots {
        true => boot_with(words),
        false => match Cli::parse().command {
            Command::Run(run) => run_with(run),
            Command::Syscalls => {
                print!("{}", uml_kernel::syscall::table_text());
                return ExitCode::SUCCESS;
            }
        },
    };
    match ended {
        Ok(End::Exited(status)) if status & 0x7f == 0 => ExitCode::from((status >> 8) as u8),
        Ok(End::Exited(status)) => ExitCode::from(128 + (status & 0x7f) as u8),
        Ok(End::Signal(signal)) => ExitCode::from(128 + signal as u8),
        Ok(End::Halted | End::Restart) => ExitCode::SUCCESS,
        // As the real UML has it.
        Ok(End::Panic(_)) => ExitCode::FAILURE,
        Err(e) => {
            uml_kernel::console::terminal::restore();
            eprintln!("uml-kernel: {e:#}");
            ExitCode::from(125)
        }
    }
}

fn boot_with(words: Vec<OsString>) -> Result<End> {
    let words = words.into_iter().map(|w| w.into_string().map_err(|w| anyhow!("{w:?}: not UTF-8")));
    boot::boot(&CommandLine::parse(&words.collect::<Result<Vec<_>>>()?)?)
}

fn run_with(run: Run) -> Result<End> {
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
        hostfs: None,
    };
    if let Some(disk) = &run.disk {
        options.disks.push(Spec::of(0, false, disk).context("--disk")?);
    }
    let mut words = run.words.into_iter().peekable();
    while let Some((key, value)) = words.peek().and_then(|w| w.to_str()).and_then(|w| w.split_once('=')) {
        let RunOptions { mem, ncpus, disks, hostfs, .. } = &mut options;
        if !cmdline::machine_word(key, value, mem, ncpus, disks, hostfs)? {
            break;
        }
        words.next();
    }
    options.command = words.skip_while(|w| w == "--").collect();
    boot::run(options)
}

/// Each option of the kernel's command line, explained.
fn kernel_options() -> String {
    let mut text = String::from("Booting: uml-kernel OPTION... [-- ARGUMENT OF INIT...]\n");
    for (option, says) in cmdline::OPTIONS {
        text += &format!("  {option:<18} {says}\n");
    }
    text + "What is none of these goes to init: into its environment if it has a =, else as an argument."
}
