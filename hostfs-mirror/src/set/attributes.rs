//! Attributes, extended attributes, and room.

use super::Set;
use super::flight::fly;
use super::node::{Access, Node};
use super::opened::Opened;
use super::roster::Roster;
use crate::leg::{Capabilities, Change, Leg, Result};
use rustix::fd::AsFd;
use rustix::fs::{FileType, Mode, Stat, StatVfs, Timespec, XattrFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A time that is to be set.
#[derive(Debug, Clone, Copy)]
pub enum Wanted {
    /// When it is set: the same on all legs.
    Now,
    /// This.
    At(Timespec),
}

impl Wanted {
    pub(crate) fn time(self) -> Timespec {
        match self {
            Wanted::Now => rustix::time::clock_gettime(rustix::time::ClockId::Realtime),
            Wanted::At(time) => time,
        }
    }
}

/// Takes away what lets a program run as somebody else, as writing to it does.
pub(crate) fn kill_privileges(on: &dyn Leg, object: &Opened) -> Result<()> {
    let stat = on.stat(object.as_fd())?;
    let mut gone = stat.st_mode & 0o4000;
    // Without the group's right to run it, the bit means something else.
    if stat.st_mode & 0o010 != 0 {
        gone |= stat.st_mode & 0o2000;
    }
    if gone == 0 || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(());
    }
    let mode = Some(Mode::from_raw_mode(stat.st_mode & !gone));
    on.change(object.as_fd(), &Change { mode, ..Change::default() })
}

impl Set {
    /// Attributes. The inode number in them is a leg's.
    pub fn stat(&self, node: &Arc<Node>, reply: impl FnOnce(Result<Stat>) + Send) {
        let gate = self.gate.read();
        let roster = self.roster();
        let stat = |leg: usize| {
            let object = self.object(&roster, node, leg)?;
            roster.members[leg].leg()?.stat(object.as_fd())
        };
        self.ask(&roster, stat, |answer| {
            drop(gate);
            reply(answer.map(|(_, stat)| stat));
        });
    }

    /// Changes attributes: mode and owner as given, a length, times. `kill` takes away set-user-id bits after a change of length.
    pub fn set_attributes(
        &self,
        node: &Arc<Node>,
        wanted: Change,
        kill: bool,
        reply: impl FnOnce(Result<Stat>) + Send,
    ) {
        self.alter(
            node,
            |roster, leg| {
                let on = roster.members[leg].leg()?;
                let object = match wanted.size {
                    Some(_) => self.content(roster, node, leg, Access::Write)?,
                    None => self.object(roster, node, leg)?,
                };
                on.change(object.as_fd(), &wanted)?;
                if kill && wanted.size.is_some() {
                    kill_privileges(on, &object)?;
                }
                on.stat(object.as_fd())
            },
            |done| {
                if let Some(size) = wanted.size {
                    self.resized(node, size);
                }
                reply(done);
            },
        );
    }

    /// Does something to one node on all legs. The answer is the first leg's.
    pub(crate) fn alter<T: Send>(
        &self,
        node: &Arc<Node>,
        each: impl Fn(&Roster, usize) -> Result<T> + Sync,
        finish: impl FnOnce(Result<T>) + Send,
    ) {
        let change = match self.change(&[node]) {
            Ok(change) => change,
            Err(e) => return finish(Err(e)),
        };
        let roster = change.roster.clone();
        fly(
            self.route(&roster),
            |leg| each(&roster, leg),
            |_| false,
            |answers| {
                let done = self.settle(node.without_strangers(answers), || node.regions());
                // Its manifest has its attributes too.
                node.rewritten.store(true, Ordering::Release);
                finish(done.and_then(|mut good| match good.is_empty() {
                    true => Err(Errno::IO),
                    false => Ok(good.swap_remove(0).1),
                }));
                drop(change);
            },
        );
    }

    /// An extended attribute.
    pub fn xattr(&self, node: &Arc<Node>, name: &OsStr, reply: impl FnOnce(Result<Vec<u8>>) + Send) {
        let gate = self.gate.read();
        let roster = self.roster();
        let get = |leg: usize| {
            let object = self.object(&roster, node, leg)?;
            roster.members[leg].leg()?.xattr(object.as_fd(), name)
        };
        self.ask(&roster, get, |answer| {
            drop(gate);
            reply(answer.map(|(_, value)| value));
        });
    }

    /// The names of its extended attributes, each with a NUL behind it.
    pub fn xattrs(&self, node: &Arc<Node>, reply: impl FnOnce(Result<Vec<u8>>) + Send) {
        let gate = self.gate.read();
        let roster = self.roster();
        let get = |leg: usize| {
            let object = self.object(&roster, node, leg)?;
            roster.members[leg].leg()?.xattrs(object.as_fd())
        };
        self.ask(&roster, get, |answer| {
            drop(gate);
            reply(answer.map(|(_, names)| names));
        });
    }

    /// Whether all live legs can keep something: what one of them cannot, the set cannot.
    fn can(&self, what: Capabilities) -> bool {
        let roster = self.roster();
        let mut live = roster.live.iter().filter_map(|leg| roster.members[*leg].leg.as_ref());
        live.all(|leg| leg.capabilities().contains(what))
    }

    fn can_keep_xattr(&self, name: &OsStr) -> bool {
        let acl = name.as_encoded_bytes().starts_with(b"system.posix_acl_");
        self.can(if acl { Capabilities::ACL } else { Capabilities::XATTR })
    }

    /// Sets an extended attribute.
    pub fn set_xattr(
        &self,
        node: &Arc<Node>,
        name: &OsStr,
        value: &[u8],
        flags: XattrFlags,
        reply: impl FnOnce(Result<()>) + Send,
    ) {
        if !self.can_keep_xattr(name) {
            return reply(Err(Errno::OPNOTSUPP));
        }
        let set = |roster: &Roster, leg: usize| {
            let object = self.object(roster, node, leg)?;
            roster.members[leg].leg()?.set_xattr(object.as_fd(), name, value, flags)
        };
        self.alter(node, set, reply);
    }

    /// Removes an extended attribute.
    pub fn remove_xattr(&self, node: &Arc<Node>, name: &OsStr, reply: impl FnOnce(Result<()>) + Send) {
        if !self.can_keep_xattr(name) {
            return reply(Err(Errno::OPNOTSUPP));
        }
        let remove = |roster: &Roster, leg: usize| {
            let object = self.object(roster, node, leg)?;
            roster.members[leg].leg()?.remove_xattr(object.as_fd(), name)
        };
        self.alter(node, remove, reply);
    }

    /// Room and what is used: of the leg that has the least left.
    pub fn room(&self, reply: impl FnOnce(Result<StatVfs>) + Send) {
        // What has just lost its last name is room already, to whoever asks.
        for _ in 0..10 {
            if self.nodes.is_freeing() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
        let roster = self.roster();
        let room = |leg: usize| roster.members[leg].leg()?.room();
        fly(
            self.route(&roster),
            room,
            |_| false,
            |answers| {
                let all = answers.into_iter().filter_map(|(_, answer)| answer.ok());
                let least = all.min_by_key(|room| room.f_bavail.saturating_mul(room.f_frsize));
                reply(least.ok_or(Errno::IO));
            },
        );
    }
}
