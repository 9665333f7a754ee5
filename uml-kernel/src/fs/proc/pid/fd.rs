//! /proc/PID/fd and fdinfo (proc_pid_fd(5), proc_pid_fdinfo(5)).

use super::{Ask, Class};
use crate::base::{Errno, Result};
use crate::fs::proc::describe;
use crate::fs::proc::root::pid_of;
use crate::fs::pseudo::{Content, Dir, Entry, Link, Node};
use crate::fs::{File, OpenFlags, Path, kind};
use std::sync::Arc;

/// The descriptors, as links or as files about them.
pub(super) struct FdDir {
    ask: Ask,
    info: bool,
}

impl FdDir {
    pub(super) fn new(ask: Ask) -> FdDir {
        FdDir { ask, info: false }
    }

    pub(super) fn info(ask: Ask) -> FdDir {
        FdDir { ask, info: true }
    }

    fn ino(&self, fd: i32) -> u64 {
        self.ask.ino(if self.info { Class::FdInfo } else { Class::Fd }, fd as u64)
    }
}

impl Dir for FdDir {
    fn lookup(&self, name: &[u8]) -> Result<Node> {
        let fd = pid_of(name).ok_or(Errno::ENOENT)?;
        self.ask.alive().map_err(|_| Errno::ENOENT)?;
        let file = self.ask.process.fd(fd).ok_or(Errno::ENOENT)?;
        let open = Open { ask: self.ask.clone(), fd };
        let node = if self.info {
            Node::file(self.ino(fd), 0o444, Arc::new(open))
        } else {
            let mut node = Node::link(self.ino(fd), Arc::new(open)).sized(64);
            node.mode = 0o100 | u32::from(file.flags().reads()) << 8 | u32::from(file.flags().writes()) << 7;
            node
        };
        Ok(node.owned(self.ask.owner()).passing())
    }

    fn list(&self, from: u64) -> Result<Vec<Entry>> {
        self.ask.alive().map_err(|_| Errno::ENOENT)?;
        self.ask.may_look()?;
        let all = self.ask.process.fds().into_iter().map(|(fd, _)| (fd, fd as u64 + 3));
        let kind = if self.info { kind::REG } else { kind::LNK };
        let entry = |(fd, place): (i32, u64)| Entry {
            name: fd.to_string().into_bytes(),
            ino: self.ino(fd),
            kind,
            place,
        };
        Ok(all.filter(|(_, place)| *place > from).map(entry).collect())
    }
}

/// One open descriptor. It is looked up again for each question: it may have been closed.
struct Open {
    ask: Ask,
    fd: i32,
}

impl Open {
    fn file(&self) -> Result<Arc<File>> {
        self.ask.may_look()?;
        self.ask.process.fd(self.fd).ok_or(Errno::ENOENT)
    }
}

impl Link for Open {
    fn target(&self) -> Result<Vec<u8>> {
        Ok(describe(self.file()?.path(), self.ask.asker_root().as_ref()))
    }
    fn jump(&self) -> Option<Result<Path>> {
        Some(self.file().map(|f| f.path().clone()))
    }
}

impl Content for Open {
    fn check(&self, _: OpenFlags) -> Result<()> {
        self.ask.may_look()
    }
    fn read(&self) -> Result<Vec<u8>> {
        let file = self.file()?;
        let pos = if file.ops().seekable() { *file.pos().lock() } else { 0 };
        let mut flags = file.flags();
        if !flags.contains(OpenFlags::PATH) {
            flags |= OpenFlags::LARGEFILE;
        }
        if self.ask.process.fd_cloexec(self.fd) {
            flags |= OpenFlags::CLOEXEC;
        }
        Ok(format!(
            "pos:\t{pos}\nflags:\t0{:o}\nmnt_id:\t{}\nino:\t{}\n",
            flags.bits(),
            file.path().mount.id(),
            file.attr()?.ino
        )
        .into_bytes())
    }
}
