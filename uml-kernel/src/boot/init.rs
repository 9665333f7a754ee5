//! Booting: a disk is the root, and its init the first process.

use super::cmdline::CommandLine;
use super::first::{self, Around};
use super::machine::Machine;
use crate::base::Errno;
use crate::fs::tty::{self, TtyFile};
use crate::fs::{FdTable, File, Lookup, Namespace, OpenFlags};
use crate::platform::sys;
use crate::task::{Ctx, End, Options, exec};
use anyhow::{Context as _, Result, bail};
use std::sync::Arc;

/// What is tried where the command line names none (kernel_init of Linux).
const INITS: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];

/// Boots; how the guest has ended.
pub fn boot(line: &CommandLine) -> Result<End> {
    let host_cpus = sys::allowed_cpus();
    let machine = Machine {
        mem: line.mem,
        ncpus: line.ncpus,
        options: Options { strace: line.strace.clone(), cmdline: line.text.clone() },
        after_panic: line.panic,
        hostfs: line.hostfs.clone(),
    };
    if !line.quiet {
        crate::base::log::to_console();
    }
    crate::log!("uml-kernel version {}", env!("CARGO_PKG_VERSION"));
    crate::log!("Kernel command line: {}", line.text);
    let kernel = machine.start()?;
    crate::console::start(&line.lines, &line.console)?;
    let console = crate::fs::tty::console();
    for spec in &line.disks {
        crate::block::attach(spec)?;
    }
    if line.disks.is_empty() && line.root_type != "hostfs" {
        bail!("no disk: ubd0=FILE or ubd0=COW,BASE says which holds the root (--help names all options)");
    }
    let ns = super::tree::for_boot(line)?;
    if let Err(e) = console {
        crate::log!("Warning: unable to open an initial console: {e}");
    }
    if let Err(e) = crate::mconsole::start(line.umid.as_deref(), line.uml_dir.as_deref()) {
        match line.umid {
            Some(_) => return Err(e),
            // Nobody has asked for it.
            None => crate::log!("There is no management console: {e:#}"),
        }
    }
    let first = init(line, &ns)?;
    machine.run(kernel, first, &host_cpus)
}

/// The task of the first program that can be started.
fn init(line: &CommandLine, ns: &Arc<Namespace>) -> Result<Ctx> {
    let lookup = Lookup::as_root(ns);
    let root = &lookup.root;
    let named: Vec<&str> = match &line.init {
        Some(init) => vec![init],
        None => INITS.to_vec(),
    };
    for name in &named {
        let path = match lookup.find(name.as_bytes(), true) {
            Ok(path) => path,
            Err(Errno::ENOENT) if line.init.is_none() => continue,
            Err(e) => bail!("init={name}: {e}"),
        };
        let arguments = line.init_arguments.iter().map(|a| a.clone().into_bytes());
        let request = exec::Request {
            lookup: lookup.clone(),
            path,
            name: name.as_bytes().to_vec(),
            unreachable: false,
            args: std::iter::once(name.as_bytes().to_vec()).chain(arguments).collect(),
            env: environment(line),
        };
        crate::log!("Run {name} as init process");
        let around = Around {
            mem: line.mem,
            ns: ns.clone(),
            root: root.clone(),
            cwd: root.clone(),
            files: console_files(&lookup)?,
        };
        return first::task(request, around, None).with_context(|| format!("cannot start {name}"));
    }
    bail!("no working init found: none of {}; init=PATH names another", named.join(", "))
}

/// HOME and TERM as Linux sets them, and what the command line says; a later word takes the place of an earlier one.
fn environment(line: &CommandLine) -> Vec<Vec<u8>> {
    let term = match rustix::termios::isatty(std::io::stdin()) {
        true => std::env::var("TERM").unwrap_or_else(|_| "linux".into()),
        false => "linux".into(),
    };
    let mut all = vec!["HOME=/".to_string(), format!("TERM={term}")];
    for word in &line.init_environment {
        let name = word.split('=').next().unwrap_or(word);
        all.retain(|w| w.split('=').next() != Some(name));
        all.push(word.clone());
    }
    all.into_iter().map(String::into_bytes).collect()
}

/// Standard input, output and error: /dev/console, if there is one.
fn console_files(lookup: &Lookup) -> Result<Arc<FdTable>> {
    let files = Arc::new(FdTable::default());
    let (Ok(tty), Ok(path)) = (tty::console(), lookup.find(b"/dev/console", true)) else { return Ok(files) };
    let file = File::new(TtyFile::open(tty)?, path, OpenFlags::RDWR);
    for _ in 0..3 {
        files.add(file.clone(), false)?;
    }
    Ok(files)
}
