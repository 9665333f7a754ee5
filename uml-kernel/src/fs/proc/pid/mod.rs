//! /proc/PID and /proc/PID/task/TID.

mod fd;
mod files;
mod limits;
mod maps;
mod mem;
mod mounts;
mod ns;
mod stat;
mod status;
mod write;

pub(super) use ns::Namespaces;
pub(in crate::fs) use status::{mask as cpu_mask, ranges as cpu_ranges};

use super::root::pid_of;
use super::source::Process;
use super::{Context, access, describe, system};
use crate::base::{Errno, Result};
use crate::fs::pseudo::{Content, Dir, Entry, Fixed, Link, Node, Text};
use crate::fs::{OpenFlags, Path, kind};
use std::sync::Arc;

/// A process, or thread, as its files ask about it.
#[derive(Clone)]
struct Ask {
    context: Arc<Context>,
    process: Arc<dyn Process>,
    /// Below `task/`.
    thread: bool,
}

impl Ask {
    /// ESRCH once the process has been reaped.
    fn alive(&self) -> Result<()> {
        if self.process.is_gone() { Err(Errno::ESRCH) } else { Ok(()) }
    }

    /// EACCES unless the asker may look into the process.
    fn may_look(&self) -> Result<()> {
        access::may_look(&*self.context.system, &*self.process)
    }

    /// Root directory of the asker, from which paths are told.
    fn asker_root(&self) -> Option<Path> {
        let system = &self.context.system;
        system.process(system.current()?.0)?.root()
    }

    /// Number of a node: bits 24 and up are the id, bit 23 tells threads apart, `class` and `n` the rest.
    fn ino(&self, class: Class, n: u64) -> u64 {
        PidDir::base(self.process.pid(), self.thread) | (class as u64) << 20 | n & 0xf_ffff
    }

    fn owner(&self) -> (u32, u32) {
        access::owner(&*self.process, false)
    }
}

/// What a node below a process's directory is one of.
#[derive(Clone, Copy)]
enum Class {
    File = 0,
    Fd = 1,
    FdInfo = 2,
    Ns = 3,
    Attr = 4,
}

type Read = fn(&Ask) -> Result<Vec<u8>>;
type Write = fn(&Ask, &[u8]) -> Result<()>;

/// What an entry of a process's directory is.
enum Kind {
    /// Readable by whoever may open it.
    Text(Read),
    /// Readable only by those who may look into the process: checked when it is opened.
    Private(Read),
    Stored(Read, Write),
    Link(fn(&dyn Process) -> Option<Path>),
    Dir(fn(&Ask) -> Arc<dyn Dir>),
    Mem,
    /// A list of mounts, which can be polled for changes.
    Mounts(Read),
}

use Kind::{Private, Stored};

/// Where an entry is found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Both,
    Process,
    Thread,
}

use Where::Both;

/// In Linux's order (fs/proc/base.c, `tgid_base_stuff`).
const ENTRIES: &[(&str, u32, Where, Kind)] = &[
    ("task", 0o555, Where::Process, Kind::Dir(|ask| Arc::new(TaskDir(ask.clone())))),
    ("fd", 0o500, Both, Kind::Dir(|ask| Arc::new(fd::FdDir::new(ask.clone())))),
    ("fdinfo", 0o555, Both, Kind::Dir(|ask| Arc::new(fd::FdDir::info(ask.clone())))),
    ("ns", 0o511, Both, Kind::Dir(|ask| Arc::new(ns::NsDir(ask.clone())))),
    ("net", 0o555, Both, Kind::Dir(net)),
    ("environ", 0o400, Both, Private(|ask| Ok(ask.process.environ()))),
    ("auxv", 0o400, Both, Private(|ask| Ok(ask.process.auxv()))),
    ("status", 0o444, Both, Kind::Text(status::status)),
    ("personality", 0o400, Both, Private(files::personality)),
    ("limits", 0o444, Both, Kind::Text(limits::limits)),
    ("sched", 0o644, Both, Stored(files::sched, |_, _| Ok(()))),
    ("autogroup", 0o644, Where::Process, Stored(files::autogroup, write::autogroup)),
    ("timens_offsets", 0o644, Where::Process, Stored(files::timens_offsets, |_, _| Err(Errno::EACCES))),
    ("comm", 0o644, Both, Stored(files::comm, write::comm)),
    ("syscall", 0o400, Both, Private(files::syscall)),
    ("cmdline", 0o444, Both, Kind::Text(|ask| Ok(ask.process.cmdline()))),
    ("stat", 0o444, Both, Kind::Text(stat::stat)),
    ("statm", 0o444, Both, Kind::Text(stat::statm)),
    ("maps", 0o444, Both, Private(maps::maps)),
    ("children", 0o444, Where::Thread, Kind::Text(files::children)),
    ("numa_maps", 0o444, Both, Private(maps::numa_maps)),
    ("mem", 0o600, Both, Kind::Mem),
    ("cwd", 0o777, Both, Kind::Link(|p| p.cwd())),
    ("root", 0o777, Both, Kind::Link(|p| p.root())),
    ("exe", 0o777, Both, Kind::Link(|p| p.exe())),
    ("mounts", 0o444, Both, Kind::Mounts(mounts::mounts)),
    ("mountinfo", 0o444, Both, Kind::Mounts(mounts::mountinfo)),
    ("mountstats", 0o400, Where::Process, Kind::Text(mounts::mountstats)),
    ("clear_refs", 0o200, Both, Stored(|_| Err(Errno::EINVAL), write::clear_refs)),
    ("smaps", 0o444, Both, Private(maps::smaps)),
    ("smaps_rollup", 0o444, Both, Private(maps::smaps_rollup)),
    ("pagemap", 0o400, Both, Private(|_| Err(Errno::EPERM))),
    ("attr", 0o555, Both, Kind::Dir(attr)),
    ("wchan", 0o444, Both, Kind::Text(files::wchan)),
    ("stack", 0o400, Both, Private(|_| Ok(Vec::new()))),
    ("schedstat", 0o444, Both, Kind::Text(files::schedstat)),
    ("cpuset", 0o444, Both, Kind::Text(|_| Ok(b"/\n".to_vec()))),
    ("cgroup", 0o444, Both, Kind::Text(files::cgroup)),
    ("oom_score", 0o444, Both, Kind::Text(files::oom_score)),
    ("oom_adj", 0o644, Both, Stored(files::oom_adj, write::oom_adj)),
    ("oom_score_adj", 0o644, Both, Stored(files::oom_score_adj, write::oom_score_adj)),
    ("loginuid", 0o644, Both, Stored(files::loginuid, write::loginuid)),
    ("sessionid", 0o444, Both, Kind::Text(files::sessionid)),
    ("coredump_filter", 0o644, Where::Process, Stored(files::coredump_filter, write::coredump_filter)),
    ("io", 0o400, Both, Private(files::io)),
    ("uid_map", 0o644, Both, Stored(files::id_map, write::refused)),
    ("gid_map", 0o644, Both, Stored(files::id_map, write::refused)),
    ("projid_map", 0o644, Both, Stored(files::id_map, write::refused)),
    ("setgroups", 0o644, Both, Stored(|_| Ok(b"allow\n".to_vec()), write::refused)),
    ("timers", 0o444, Where::Process, Kind::Text(|ask| Ok(ask.process.timers().into_bytes()))),
    ("timerslack_ns", 0o666, Where::Process, Stored(files::timer_slack, write::timer_slack)),
];

/// The directory of a process, or of a thread.
pub(super) struct PidDir(Ask);

impl PidDir {
    /// Its node.
    pub(super) fn node(context: &Arc<Context>, process: Arc<dyn Process>, thread: bool) -> Node {
        let (ino, owner) = (PidDir::ino(process.pid(), thread), access::owner(&*process, true));
        let ask = Ask { context: context.clone(), process, thread };
        Node::dir(ino, 0o555, Arc::new(PidDir(ask))).owned(owner).passing()
    }

    /// Its inode number: the last of those that its files could have.
    pub(super) fn ino(pid: i32, thread: bool) -> u64 {
        PidDir::base(pid, thread) | 0xf_ffff
    }

    fn base(pid: i32, thread: bool) -> u64 {
        (pid as u64) << 24 | u64::from(thread) << 23
    }
}

impl Dir for PidDir {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        let wrong = if self.0.thread { Where::Process } else { Where::Thread };
        let found = ENTRIES.iter().position(|e| e.0.as_bytes() == name && e.2 != wrong);
        let found = found.ok_or(Errno::ENOENT)?;
        // Only one who holds the directory gets here when its process is gone.
        self.0.alive()?;
        Ok(node(&self.0, found))
    }

    fn list(&self, from: u64) -> Result<Vec<Entry>> {
        self.0.alive().map_err(|_| Errno::ENOENT)?;
        let wrong = if self.0.thread { Where::Process } else { Where::Thread };
        let all = ENTRIES.iter().enumerate().map(|(n, e)| (n, n as u64 + 3, e));
        let ours = all.filter(|(_, place, e)| *place > from && e.2 != wrong);
        let entry = |(n, place, e): (usize, u64, &(&str, u32, Where, Kind))| Entry {
            name: e.0.into(),
            ino: self.0.ino(Class::File, n as u64),
            kind: match e.3 {
                Kind::Dir(_) => kind::DIR,
                Kind::Link(_) => kind::LNK,
                _ => kind::REG,
            },
            place,
        };
        Ok(ours.map(entry).collect())
    }

    fn subdirs(&self) -> u32 {
        if self.0.thread { 5 } else { 6 }
    }
}

fn node(ask: &Ask, n: usize) -> Node {
    let (_, mode, _, what) = &ENTRIES[n];
    let ino = ask.ino(Class::File, n as u64);
    let file = |content: Arc<dyn Content>| Node::file(ino, *mode, content);
    let node = match what {
        Kind::Text(read) => {
            file(Arc::new(PidFile { ask: ask.clone(), read: *read, write: None, private: false }))
        }
        Private(read) => {
            file(Arc::new(PidFile { ask: ask.clone(), read: *read, write: None, private: true }))
        }
        Stored(read, write) => {
            file(Arc::new(PidFile { ask: ask.clone(), read: *read, write: Some(*write), private: false }))
        }
        Kind::Mounts(read) => file(Arc::new(mounts::MountsFile { ask: ask.clone(), read: *read })),
        Kind::Mem => file(Arc::new(mem::Mem(ask.clone()))),
        Kind::Link(find) => Node::link(ino, Arc::new(PathLink { ask: ask.clone(), find: *find })),
        Kind::Dir(make) => {
            let owner = access::owner(&*ask.process, *mode == 0o555);
            return Node::dir(ino, *mode, make(ask)).owned(owner).passing();
        }
    };
    node.owned(ask.owner()).passing()
}

/// A file of a process.
struct PidFile {
    ask: Ask,
    read: Read,
    write: Option<Write>,
    private: bool,
}

impl Content for PidFile {
    fn check(&self, _: OpenFlags) -> Result<()> {
        self.ask.alive()?;
        if self.private { self.ask.may_look() } else { Ok(()) }
    }
    fn read(&self) -> Result<Vec<u8>> {
        self.ask.alive()?;
        (self.read)(&self.ask)
    }
    fn write(&self, from: &[u8], _at: u64) -> Result<usize> {
        self.ask.alive()?;
        (self.write.ok_or(Errno::EINVAL)?)(&self.ask, from)?;
        Ok(from.len())
    }
}

/// `exe`, `cwd`, `root`: magic links, which lead to the thing itself and not to its name.
struct PathLink {
    ask: Ask,
    find: fn(&dyn Process) -> Option<Path>,
}

impl PathLink {
    fn path(&self) -> Result<Path> {
        self.ask.alive().map_err(|_| Errno::ENOENT)?;
        self.ask.may_look()?;
        (self.find)(&*self.ask.process).ok_or(Errno::ENOENT)
    }
}

impl Link for PathLink {
    fn target(&self) -> Result<Vec<u8>> {
        Ok(describe(&self.path()?, self.ask.asker_root().as_ref()))
    }
    fn jump(&self) -> Option<Result<Path>> {
        Some(self.path())
    }
}

/// `task`: the threads of a process.
struct TaskDir(Ask);

impl Dir for TaskDir {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        let tid = pid_of(name).ok_or(Errno::ENOENT)?;
        let thread = self.0.process.thread(tid).ok_or(Errno::ENOENT)?;
        Ok(PidDir::node(&self.0.context, thread, true))
    }
    fn list(&self, from: u64) -> Result<Vec<Entry>> {
        self.0.alive().map_err(|_| Errno::ENOENT)?;
        let all = self.0.process.threads().into_iter().map(|tid| (tid, tid as u64 + 2));
        Ok(all
            .filter(|(_, place)| *place > from)
            .map(|(tid, place)| Entry {
                name: tid.to_string().into_bytes(),
                ino: PidDir::ino(tid, true),
                kind: kind::DIR,
                place,
            })
            .collect())
    }
    fn subdirs(&self) -> u32 {
        self.0.process.threads().len() as u32
    }
}

/// `attr`: security modules keep labels there. There is none, so reading gives EINVAL, as on Linux without one.
fn attr(ask: &Ask) -> Arc<dyn Dir> {
    let refuse = || Arc::new(Text(|| Err(Errno::EINVAL)));
    let mut dir = Fixed::new();
    for (n, name) in ["current", "prev", "exec", "fscreate", "keycreate", "sockcreate"].iter().enumerate() {
        let mode = if *name == "prev" { 0o444 } else { 0o666 };
        let node = Node::file(ask.ino(Class::Attr, n as u64), mode, refuse());
        dir.put(name, node.owned(ask.owner()).passing());
    }
    Arc::new(dir)
}

/// `net`: there is one network namespace.
fn net(ask: &Ask) -> Arc<dyn Dir> {
    let mut dir = Fixed::new();
    for (n, (name, make)) in system::net::FILES.iter().enumerate() {
        // Numbers below 4096 within bit 19, away from the entries' own.
        dir.put(
            name,
            Node::file(ask.ino(Class::Attr, 0x1000 + n as u64), 0o444, ask.context.text(*make)).passing(),
        );
    }
    Arc::new(dir.with("stat", Fixed::new().node(0o555)))
}
