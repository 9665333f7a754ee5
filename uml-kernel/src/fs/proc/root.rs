//! The directory /proc: fixed entries, and one for each process.

use super::pid::PidDir;
use super::source::IpcTable;
use super::{Context, sysctl, system};
use crate::base::{Errno, Result};
use crate::fs::kind;
use crate::fs::pseudo::{Dir, Entry, Fixed, Link, Node, Stored, Text};
use crate::fs::{Cap, kmsg};
use std::sync::Arc;

/// Where the processes begin in the listing (Linux's FIRST_PROCESS_ENTRY).
const FIRST_PROCESS: u64 = 256;

struct RootDir {
    context: Arc<Context>,
    fixed: Fixed,
}

/// The root of a procfs.
pub(super) fn root(context: Arc<Context>) -> Node {
    let fixed = entries(&context);
    Node::dir(1, 0o555, Arc::new(RootDir { context, fixed }))
}

impl Dir for RootDir {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        match pid_of(name) {
            Some(pid) => {
                let process = self.context.system.process(pid).ok_or(Errno::ENOENT)?;
                Ok(PidDir::node(&self.context, process, false))
            }
            None => self.fixed.lookup(name),
        }
    }

    fn list(&self, from: u64) -> Result<Vec<Entry>> {
        let mut all = self.fixed.list(from.min(FIRST_PROCESS))?;
        let pids = self.context.system.pids().into_iter().map(|pid| (pid, FIRST_PROCESS + pid as u64));
        all.extend(pids.filter(|(_, place)| *place > from).map(|(pid, place)| Entry {
            name: pid.to_string().into_bytes(),
            ino: PidDir::ino(pid, false),
            kind: kind::DIR,
            place,
        }));
        Ok(all)
    }

    fn subdirs(&self) -> u32 {
        self.fixed.subdirs() + self.context.system.pids().len() as u32
    }
}

/// A process id, as a name: digits only, and no leading zero.
pub(super) fn pid_of(name: &[u8]) -> Option<i32> {
    let digits = !name.is_empty() && name.iter().all(u8::is_ascii_digit);
    if !digits || (name[0] == b'0' && name.len() > 1) {
        return None;
    }
    std::str::from_utf8(name).ok()?.parse().ok()
}

/// `self` and `thread-self`.
struct SelfLink {
    context: Arc<Context>,
    thread: bool,
}

impl Link for SelfLink {
    fn target(&self) -> Result<Vec<u8>> {
        let (tgid, tid) = self.context.system.current().ok_or(Errno::ENOENT)?;
        Ok(if self.thread { format!("{tgid}/task/{tid}") } else { tgid.to_string() }.into_bytes())
    }
}

fn entries(context: &Arc<Context>) -> Fixed {
    let mut all = Fixed::new();
    let links: [(&str, bool); 2] = [("self", false), ("thread-self", true)];
    for (name, thread) in links {
        let link = Arc::new(SelfLink { context: context.clone(), thread });
        all.put(name, Node::link(crate::fs::pseudo::next_ino(), link));
    }
    for (name, mode, make) in system::FILES {
        all = all.file(name, *mode, context.text(*make));
    }
    let ipc = |table: IpcTable| {
        let context = context.clone();
        Arc::new(Text(move || Ok(system::ipc(&*context.system, table).into_bytes())))
    };
    let sysvipc = Fixed::new()
        .file("msg", 0o444, ipc(IpcTable::Msg))
        .file("sem", 0o444, ipc(IpcTable::Sem))
        .file("shm", 0o444, ipc(IpcTable::Shm));
    let tty = Fixed::new()
        .text("drivers", system::TTY_DRIVERS)
        .text("ldiscs", "n_tty       0\nn_null     27\n")
        .dir("driver", Fixed::new())
        .dir("ldisc", Fixed::new());
    let pressure = ["cpu", "io", "memory"]
        .iter()
        .fold(Fixed::new(), |dir, name| dir.file(name, 0o644, Arc::new(system::PRESSURE.to_string())));
    let sysrq = {
        let context = context.clone();
        move |from: &[u8]| {
            context.system.creds().need(Cap::SysAdmin)?;
            if let Some(key) = from.first() {
                context.system.sysrq(*key);
            }
            Ok(())
        }
    };
    all.link("mounts", "self/mounts")
        .link("net", "self/net")
        .file("kmsg", 0o400, Arc::new(kmsg::ProcKmsg::new()))
        .file("sysrq-trigger", 0o200, Arc::new(Stored(|| Err(Errno::EIO), sysrq)))
        .with("sys", sysctl::tree(context))
        .dir("sysvipc", sysvipc)
        .dir("tty", tty)
        .dir("pressure", pressure)
        .dir("bus", Fixed::new())
        .dir("driver", Fixed::new())
        .dir("fs", Fixed::new())
        .dir("irq", Fixed::new())
        .dir("acpi", Fixed::new())
}
