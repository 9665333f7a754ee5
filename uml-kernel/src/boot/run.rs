//! `uml-kernel run`: one command, on a host directory.

use super::first::{self, Around};
use super::machine::Machine;
use super::restart::AfterPanic;
use crate::base::Errno;
use crate::fs::anon::{self, AnonKind};
use crate::fs::stream::{HostStream, StreamFile};
use crate::fs::tty::{Tty, TtyFile};
use crate::fs::{Creds, FdTable, File, Lookup, Namespace, OpenFlags, Resolve};
use crate::platform::sys;
use crate::task::{Ctx, End, Options, exec};
use anyhow::{Context as _, Result};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

/// What `run` was asked for.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Host directory that is the guest's root.
    pub root: PathBuf,
    /// Memory limit in bytes.
    pub mem: u64,
    /// Host directory that keeps what the guest changes; in memory without one.
    pub keep: Option<PathBuf>,
    /// Host directories that the guest may write to.
    pub write: Vec<PathBuf>,
    /// vCPUs.
    pub ncpus: usize,
    /// Command and arguments.
    pub command: Vec<std::ffi::OsString>,
    /// Trace system calls of these families.
    pub strace: Option<String>,
    /// Show the kernel's log.
    pub log: bool,
    /// Disks; the first is the root, if `disk` is set.
    pub disks: Vec<crate::block::Spec>,
    /// The root is on the first disk, not a directory.
    pub disk_root: bool,
    /// Host directory beneath which the guest may mount.
    pub hostfs: Option<crate::fs::hostfs::Started>,
}

/// Runs the command; how the guest has ended.
pub fn run(options: RunOptions) -> Result<End> {
    crate::base::log::to_stderr(options.log);
    let host_cpus = sys::allowed_cpus();
    let cmdline = format!("mem={} ncpus={}", options.mem, options.ncpus);
    let machine = Machine {
        mem: options.mem,
        ncpus: options.ncpus,
        options: Options { strace: options.strace.clone(), cmdline },
        after_panic: AfterPanic::default(),
        hostfs: options.hostfs.clone(),
    };
    let kernel = machine.start()?;
    let terminal = super::terminal::take()?;
    for spec in &options.disks {
        crate::block::attach(spec)?;
    }
    let ns = super::tree::for_command(&options)?;
    first::kernel_as_init(options.mem)?;
    let first = first_task(&options, ns, terminal.as_ref())?;
    machine.run(kernel, first, &host_cpus)
}

fn first_task(options: &RunOptions, ns: Arc<Namespace>, terminal: Option<&Arc<Tty>>) -> Result<Ctx> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let groups: Vec<u32> = rustix::process::getgroups()?.iter().map(|g| g.as_raw()).collect();
    let creds = Arc::new(Creds::user(uid, gid, &groups));
    let root = ns.root();
    let mut lookup =
        Lookup { ns: ns.clone(), root: root.clone(), start: root.clone(), creds, resolve: Resolve::empty() };
    let cwd =
        std::env::current_dir().map(|d| d.into_os_string().into_vec()).unwrap_or_else(|_| b"/".to_vec());
    let cwd = lookup.find(&cwd, true).unwrap_or(root);
    lookup.start = cwd.clone();
    let args: Vec<Vec<u8>> = options.command.iter().map(|a| a.clone().into_vec()).collect();
    let name = args.first().cloned().context("no command")?;
    let path =
        which(&lookup, &name).map_err(|e| anyhow::anyhow!("{}: {e}", String::from_utf8_lossy(&name)))?;
    let found = lookup.find(&path, true)?;
    let env = std::env::vars_os().map(|(k, v)| [k.into_vec(), v.into_vec()].join(&b'='));
    let request = exec::Request {
        lookup: lookup.clone(),
        path: found,
        name: path.clone(),
        unreachable: false,
        args,
        env: env.collect(),
    };
    let files = Arc::new(FdTable::default());
    for fd in 0..3 {
        use std::os::fd::AsFd as _;
        let host = match fd {
            0 => std::io::stdin().as_fd().try_clone_to_owned(),
            1 => std::io::stdout().as_fd().try_clone_to_owned(),
            _ => std::io::stderr().as_fd().try_clone_to_owned(),
        };
        let Ok(host) = host else { continue };
        if let Some(tty) = terminal.filter(|_| rustix::termios::isatty(&host)) {
            // As an open of the terminal by its name would give it, so that ttyname(3) finds it.
            let path = lookup.find(b"/dev/pts/0", true)?;
            let ops = TtyFile::open(tty.clone())?;
            files.add(File::new(ops, path, OpenFlags::RDWR), false)?;
            continue;
        }
        let kind = if rustix::termios::isatty(&host) { crate::fs::kind::CHR } else { crate::fs::kind::FIFO };
        let path = anon::new_path(AnonKind::Pipe, kind | 0o600, uid, gid);
        // As the host has it: a pipe's end is read from or written to, not both.
        let flags = rustix::fs::fcntl_getfl(&host).map_or(OpenFlags::RDWR, |f| {
            OpenFlags::from_bits_truncate(f.bits()) & (OpenFlags::RDWR | OpenFlags::WRONLY)
        });
        let ops = Arc::new(StreamFile(HostStream::new(host)?));
        files.add(File::new(ops, path, flags), false)?;
    }
    let root = lookup.root.clone();
    let around = Around { mem: options.mem, ns, root, cwd, files };
    let ctx = first::task(request, around, Some(1))?;
    if let Some(tty) = terminal {
        let pid = ctx.task.process.pid;
        tty.set_session(pid, pid);
    }
    Ok(ctx)
}

/// Finds a command as a shell does.
fn which(lookup: &Lookup, name: &[u8]) -> Result<Vec<u8>, Errno> {
    if name.contains(&b'/') {
        return Ok(name.to_vec());
    }
    let path =
        std::env::var_os("PATH").map(OsStringExt::into_vec).unwrap_or_else(|| b"/usr/bin:/bin".to_vec());
    for dir in path.split(|b| *b == b':') {
        let full = [dir, b"/", name].concat();
        if let Ok(found) = lookup.find(&full, true) {
            let attr = found.inode().attr()?;
            if attr.kind() == crate::fs::kind::REG && lookup.creds.may(&attr, crate::fs::MAY_EXEC).is_ok() {
                return Ok(full);
            }
        }
    }
    Err(Errno::ENOENT)
}
