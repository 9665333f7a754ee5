//! What can be asked of the management console; the words are the real one's (arch/um/drivers/mconsole_kern.c of Linux).

use crate::base::{log, sched};
use crate::block;
use crate::console::{self, Kind, Line};
use crate::fs::proc::source::System as _;
use crate::fs::{File, Lookup, Mount, MountFlags, Namespace, OpenFlags, special};
use crate::task::procfs::KernelSystem;
use crate::task::{End, dump, kernel, keys};

const HELP: &str = "Commands:
    version - Get kernel version
    help - Print this message
    halt - Halt UML
    reboot - Reboot UML
    config <dev>=<config> - Add a new device to UML; same syntax as command line
    config <dev> - Query the configuration of a device
    remove <dev> - Remove a device from UML
    sysrq <letter> - Performs the SysRq action controlled by the letter
    cad - invoke the Ctrl-Alt-Del handler
    stop - pause the UML; it will do nothing until it receives a 'go'
    go - continue the UML after a 'stop'
    log <string> - make UML enter <string> into the kernel log
    proc <file> - returns the contents of the UML's /proc/<file>
    stack <pid> - returns the stack of the specified pid
";

/// An answer: text, or why not.
pub(super) type Answer = Result<String, String>;

/// Carries a command out.
pub(super) fn carry_out(request: &str) -> Answer {
    let request = request.trim();
    let (command, rest) = request.split_once(char::is_whitespace).unwrap_or((request, ""));
    let rest = rest.trim();
    match command {
        "version" => Ok(version()),
        "help" => Ok(HELP.into()),
        "halt" => {
            kernel().finish(End::Halted);
            Ok(String::new())
        }
        "reboot" => {
            kernel().finish(End::Restart);
            Ok(String::new())
        }
        "config" => match rest.split_once('=') {
            Some((device, value)) => configure(device, value),
            None => show(rest),
        },
        "remove" => remove(rest),
        "sysrq" => match rest.bytes().next() {
            Some(key) => Ok(sysrq(key)),
            None => Err("sysrq <letter>".into()),
        },
        "cad" => {
            keys::ctrl_alt_del();
            Ok(String::new())
        }
        "stop" if sched::pause(true) => Ok("stopped".into()),
        "stop" => Err("Already stopped".into()),
        "go" if sched::pause(false) => Ok(String::new()),
        "go" => Err("Not stopped".into()),
        "log" => {
            crate::log!("{rest}");
            Ok(String::new())
        }
        "proc" => proc_file(rest),
        "stack" => {
            let pid = rest.parse().map_err(|_| "Please specify a pid".to_string())?;
            dump::task(pid).ok_or_else(|| "Couldn't find task".into())
        }
        _ => Err("Unknown command".into()),
    }
}

fn version() -> String {
    let uts = KernelSystem.uts();
    let host = String::from_utf8_lossy(&uts.nodename).into_owned();
    format!("{} {host} {} {} {}", uts.sysname, uts.release, uts.version, uts.machine)
}

/// What the key had to say.
fn sysrq(key: u8) -> String {
    let before = log::next_seq();
    keys::sysrq(key);
    let mut said = String::new();
    let mut seq = before;
    while let Some(record) = log::from(seq) {
        said += &record.text;
        said.push('\n');
        seq = record.seq + 1;
    }
    said
}

fn configure(device: &str, value: &str) -> Answer {
    if device == "mem" {
        let bytes = crate::boot::cmdline::size(value).filter(|b| *b >= 16 << 20);
        kernel().usage.set_limit(bytes.ok_or("not a size of at least 16M")?);
        return Ok(String::new());
    }
    if let Some(key) = console::key(device) {
        let (kind, number) = numbered(key)?;
        let line = Line::parse(value).map_err(|e| format!("{e:#}"))?;
        return match console::configure(kind, number, &line) {
            true => Ok(String::new()),
            false => Err("there is no such line".into()),
        };
    }
    let spec = block::Spec::parse(device, value).ok_or("Bad configuration option")?;
    spec.and_then(|spec| block::replace(&spec)).map_err(|e| format!("{e:#}"))?;
    Ok(String::new())
}

fn show(device: &str) -> Answer {
    if device == "mem" {
        return Ok(kernel().usage.limit().to_string());
    }
    if let Some(key) = console::key(device) {
        let (kind, number) = numbered(key)?;
        return console::shown(kind, number).ok_or_else(|| "there is no such line".into());
    }
    block::shown(device).ok_or_else(|| "Bad configuration option".into())
}

fn remove(device: &str) -> Answer {
    if let Some(key) = console::key(device) {
        let (kind, number) = numbered(key)?;
        console::configure(kind, number, &Line::both(console::Channel::None));
        return Ok(String::new());
    }
    block::detach(device).map(|()| String::new()).map_err(|e| format!("{e:#}"))
}

fn numbered(key: anyhow::Result<(Kind, Option<usize>)>) -> Result<(Kind, usize), String> {
    let (kind, number) = key.map_err(|e| format!("{e:#}"))?;
    Ok((kind, number.ok_or("which one? They have numbers")?))
}

/// A file below the guest's /proc, as root reads it.
fn proc_file(name: &str) -> Answer {
    // What goes on for ever is cut.
    const MOST: usize = 4 << 20;
    let read = || -> crate::base::Result<Vec<u8>> {
        let fs = special::make_fs(b"proc", b"")?;
        let ns = Namespace::new(Mount::whole(fs, "proc", MountFlags::empty()));
        let lookup = Lookup::as_root(&ns);
        let path = lookup.find(format!("/{}", name.trim_start_matches('/')).as_bytes(), true)?;
        if path.inode().attr()?.is_dir() {
            return Err(crate::base::Errno::EISDIR);
        }
        let flags = OpenFlags::NONBLOCK;
        let file = File::new(path.inode().clone().open(flags)?, path, flags);
        let mut all = Vec::new();
        let mut piece = vec![0; 64 << 10];
        while all.len() < MOST {
            match file.read(&mut piece)? {
                0 => break,
                n => all.extend(&piece[..n]),
            }
        }
        Ok(all)
    };
    match read() {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) => Err(format!("Failed to open /proc/{name}: {e}")),
    }
}
