//! /proc/PID/mounts, mountinfo, mountstats (proc_pid_mounts(5), proc_pid_mountinfo(5); fs/proc_namespace.c).

use super::Ask;
use crate::base::wait::Events;
use crate::base::{Errno, Result};
use crate::fs::pseudo::{Content, Made};
use crate::fs::{File, FileOps, Mount, MountFlags, Namespace, OpenFlags, Path, PollTable, major, minor};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What could be taken for the end of a field, as three octal digits.
fn escape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => out.extend(format!("\\{byte:03o}").bytes()),
            _ => out.push(*byte),
        }
    }
    out
}

fn access(read_only: bool) -> &'static str {
    if read_only { "ro" } else { "rw" }
}

fn flags_text(flags: MountFlags) -> String {
    let names = [
        (MountFlags::NOSUID, ",nosuid"),
        (MountFlags::NODEV, ",nodev"),
        (MountFlags::NOEXEC, ",noexec"),
        (MountFlags::NOATIME, ",noatime"),
        (MountFlags::NODIRATIME, ",nodiratime"),
        (MountFlags::RELATIME, ",relatime"),
    ];
    names.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name).collect()
}

/// The mounts that the process sees below its root, with where they are.
fn seen(ask: &Ask) -> Result<Vec<(Arc<Mount>, Vec<u8>)>> {
    let (Some(ns), Some(root)) = (ask.process.namespace(), ask.process.root()) else {
        return Err(Errno::EINVAL);
    };
    let place = |mount: Arc<Mount>| {
        let top = Path { dentry: mount.root().clone(), mount: mount.clone() };
        top.text(&root).map(|at| (mount, escape(&at)))
    };
    Ok(ns.mounts().into_iter().filter_map(place).collect())
}

pub(super) fn mounts(ask: &Ask) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for (mount, at) in seen(ask)? {
        out.extend(escape(mount.source().as_bytes()));
        out.push(b' ');
        out.extend(at);
        let (fs, flags) = (mount.fs(), mount.flags());
        let access = access(flags.contains(MountFlags::RDONLY) || fs.is_read_only());
        let line = format!(" {} {access}{}{} 0 0\n", fs.name(), flags_text(flags), fs.options());
        out.extend(line.bytes());
    }
    Ok(out)
}

/// The mounted part of the file system: the path of the mount's root from the file system's.
fn part(mount: &Mount) -> Vec<u8> {
    let mut names = Vec::new();
    let mut at = mount.root().clone();
    while let Some(parent) = at.parent() {
        names.push(at.name());
        at = parent;
    }
    let mut out = Vec::new();
    for name in names.iter().rev() {
        out.push(b'/');
        out.extend(escape(name));
    }
    if out.is_empty() { b"/".to_vec() } else { out }
}

/// Options of the mount stand before the dash, those of the file system behind it. No mount propagates to another here.
pub(super) fn mountinfo(ask: &Ask) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for (mount, at) in seen(ask)? {
        let (fs, flags) = (mount.fs(), mount.flags());
        // What is mounted nowhere is its own parent.
        let parent = mount.at().map_or(mount.id(), |at| at.mount.id());
        let (major, minor) = (major(fs.dev()), minor(fs.dev()));
        out.extend(format!("{} {parent} {major}:{minor} ", mount.id()).bytes());
        out.extend(part(&mount));
        out.push(b' ');
        out.extend(at);
        out.extend(
            format!(" {}{} - {} ", access(flags.contains(MountFlags::RDONLY)), flags_text(flags), fs.name())
                .bytes(),
        );
        out.extend(escape(mount.source().as_bytes()));
        let access = access(flags.contains(MountFlags::RDONLY) || fs.is_read_only());
        out.extend(format!(" {access}{}\n", fs.options()).bytes());
    }
    Ok(out)
}

pub(super) fn mountstats(ask: &Ask) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for (mount, at) in seen(ask)? {
        out.extend(b"device ");
        out.extend(escape(mount.source().as_bytes()));
        out.extend(b" mounted on ");
        out.extend(at);
        out.extend(format!(" with fstype {}\n", mount.fs().name()).bytes());
    }
    Ok(out)
}

/// `mounts` or `mountinfo`.
pub(super) struct MountsFile {
    pub(super) ask: Ask,
    pub(super) read: super::Read,
}

impl Content for MountsFile {
    fn read(&self) -> Result<Vec<u8>> {
        self.ask.alive()?;
        (self.read)(&self.ask)
    }
    fn ops(self: Arc<Self>, _: OpenFlags) -> Option<Result<Arc<dyn FileOps>>> {
        // Without a namespace, of a zombie, it cannot be opened.
        let Some(ns) = self.ask.process.namespace() else { return Some(Err(Errno::EINVAL)) };
        let seen = AtomicU64::new(ns.changes());
        Some(Ok(Arc::new(Watched { text: Made::new(self), ns, seen })))
    }
}

/// An open list of mounts. poll(2) tells of a change by POLLERR and POLLPRI, once for each (`mounts_poll`); systemd and libmount rest on it.
struct Watched {
    text: Arc<Made>,
    ns: Arc<Namespace>,
    seen: AtomicU64,
}

impl FileOps for Watched {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn read(&self, file: &File, into: &mut [u8], at: u64) -> Result<usize> {
        self.text.read(file, into, at)
    }
    fn poll(&self, _: &File, table: Option<&mut dyn PollTable>) -> Events {
        if let Some(table) = table {
            table.add(self.ns.watchers());
        }
        let now = self.ns.changes();
        let news = self.seen.swap(now, Ordering::AcqRel) != now;
        if news { Events::READ | Events::PRI | Events::ERR } else { Events::READ }
    }
}
