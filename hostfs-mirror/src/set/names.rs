//! Names: finding, making, linking, removing and renaming them.

use super::flight::{Answers, fly};
use super::judge;
use super::node::{Access, Descriptor, Node, ROOT};
use super::opened::Opened;
use super::roster::Roster;
use super::{Set, path_in};
use crate::leg::{Entry, Make, Owner, Result, umask};
use crate::state::{self, Kind, Region};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// What somebody is told of an object.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The object, which he is then to forget.
    pub node: Arc<Node>,
    /// Its attributes; the inode number in it is a leg's.
    pub stat: Stat,
}

/// What is to be made.
#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    /// A regular file.
    File(Mode),
    /// Something else.
    Other(Make<'a>),
}

/// A name that is about to be taken away on one leg after the other: the node that had it.
#[derive(Default)]
struct Victim(OnceLock<Arc<Node>>);

impl Victim {
    /// Makes sure that what had the name can be reached without it.
    fn hold(&self, set: &Set, roster: &Roster, leg: usize, parent: &Opened, name: &OsStr) -> Result<Stat> {
        let (fd, stat) = roster.members[leg].leg()?.lookup(parent.as_fd(), name)?;
        if self.0.get().is_none()
            && let Some(node) = set.nodes.of(leg, &stat)
        {
            let _ = self.0.set(node);
        }
        if let Some(node) = self.0.get() {
            set.nodes.learn(node, leg, &stat);
            node.keep(leg, Descriptor { fd: Arc::new(Opened::new(fd)), access: Access::Path });
        }
        Ok(stat)
    }

    /// The name is gone.
    fn lost(&self, set: &Set, parent: &Arc<Node>, name: &OsStr, stat: &Stat) {
        if let Some(node) = self.0.get() {
            node.is_gone_from(parent, name);
            if node.is_directory() || stat.st_nlink <= 1 {
                node.nameless.store(true, Ordering::Release);
                set.nodes.frees();
            }
        }
    }
}

impl Set {
    /// Whether a name is of the set's own, which nobody else sees.
    pub(crate) fn is_hidden(parent: &Node, name: &OsStr) -> bool {
        parent.number() == ROOT && name == state::NAME
    }

    /// An object's descriptor on a leg, found by its name where it was not known there.
    pub(crate) fn object(&self, roster: &Roster, node: &Node, leg: usize) -> Result<Arc<Opened>> {
        if let Some(known) = node.descriptor(leg) {
            return Ok(known.fd);
        }
        let from = roster.members[leg].leg()?;
        if node.number() == ROOT {
            let root = from.resolve("".as_ref())?;
            return Ok(node
                .keep(leg, Descriptor { fd: Arc::new(Opened::new(root)), access: Access::Path })
                .fd);
        }
        let place = node.place().ok_or(Errno::STALE)?;
        let parent = self.object(roster, &place.parent, leg)?;
        let found = from.lookup(parent.as_fd(), &place.name).and_then(|(fd, stat)| {
            let same = FileType::from_raw_mode(stat.st_mode) == node.kind();
            let same = same && self.nodes.is_the_same(node, leg, &stat);
            if same { Ok((fd, stat)) } else { Err(Errno::STALE) }
        });
        let (fd, stat) = match (found, node.descriptor(leg)) {
            (Ok(found), _) => found,
            // It is just being renamed: who does that has it.
            (Err(_), Some(known)) => return Ok(known.fd),
            (Err(e), None) => return Err(e),
        };
        self.nodes.learn(node, leg, &stat);
        Ok(node.keep(leg, Descriptor { fd: Arc::new(Opened::new(fd)), access: Access::Path }).fd)
    }

    /// A descriptor for its content.
    pub(crate) fn content(
        &self,
        roster: &Roster,
        node: &Node,
        leg: usize,
        access: Access,
    ) -> Result<Arc<Opened>> {
        if let Some(known) = node.descriptor(leg)
            && known.access >= access
        {
            return Ok(known.fd);
        }
        let (object, from) = (self.object(roster, node, leg)?, roster.members[leg].leg()?);
        let open = |flags| from.open(object.as_fd(), flags);
        let (fd, access) = match open(OFlags::RDWR) {
            Ok(fd) => (fd, Access::Write),
            // Somebody else's disk, mounted for reading; a file that its owner may not write.
            Err(_) if access == Access::Read => (open(OFlags::RDONLY)?, Access::Read),
            Err(e) => return Err(e),
        };
        Ok(node.keep(leg, Descriptor { fd: Arc::new(Opened::new(fd)), access }).fd)
    }

    /// Asks one leg after the other, until one has not failed.
    pub(crate) fn ask<T: Send>(
        &self,
        roster: &Roster,
        each: impl Fn(usize) -> Result<T> + Sync,
        finish: impl FnOnce(Result<(usize, T)>) + Send,
    ) {
        if roster.live.is_empty() {
            return finish(Err(Errno::IO));
        }
        let enough = |answer: &Result<T>| answer.as_ref().err().is_none_or(|e| !judge::is_failure(*e));
        fly(self.route(roster), each, enough, |answers| finish(self.heard(answers)));
    }

    /// The legs asked before the one that has answered have failed.
    fn heard<T>(&self, mut answers: Answers<T>) -> Result<(usize, T)> {
        let last = answers.pop().ok_or(Errno::IO)?;
        // That a leg does not know an object is no failure of a read: it came back after the object had lost its name.
        let failed = answers.iter().filter_map(|(leg, a)| Some((*leg, *a.as_ref().err()?)));
        let failed: Vec<_> = failed.filter(|(_, e)| *e != Errno::STALE).collect();
        match last {
            (leg, Err(e)) if judge::is_failure(e) => {
                answers.push((leg, Err(e)));
                // All have: nobody can say which is right.
                judge::judge(answers).answer?.pop().ok_or(Errno::IO)
            }
            (leg, answer) => {
                if !failed.is_empty() {
                    self.fence(&failed)?;
                }
                Ok((leg, answer?))
            }
        }
    }

    /// Finds a name.
    pub fn lookup(&self, parent: &Arc<Node>, name: &OsStr, reply: impl FnOnce(Result<Listed>) + Send) {
        if Set::is_hidden(parent, name) {
            return reply(Err(Errno::NOENT));
        }
        self.make_room();
        let gate = self.gate.read();
        let roster = self.roster();
        self.follow_primary(&roster);
        let find = |leg: usize| {
            let directory = self.object(&roster, parent, leg)?;
            roster.members[leg].leg()?.lookup(directory.as_fd(), name)
        };
        self.ask(&roster, find, |answer| {
            let told = answer.and_then(|(leg, (fd, stat))| {
                let descriptor = Descriptor { fd: Arc::new(Opened::new(fd)), access: Access::Path };
                Ok(Listed { node: self.nodes.tell(parent, name, [(leg, stat, descriptor)])?, stat })
            });
            drop(gate);
            reply(told);
        });
    }

    /// Finds several names of one directory; nothing for one that is not there.
    pub fn lookup_many(
        &self,
        parent: &Arc<Node>,
        names: &[&OsStr],
        reply: impl FnOnce(Result<Vec<Option<Listed>>>) + Send,
    ) {
        self.make_room();
        let gate = self.gate.read();
        let roster = self.roster();
        self.follow_primary(&roster);
        let find = |leg: usize| {
            let (directory, on) = (self.object(&roster, parent, leg)?, roster.members[leg].leg()?);
            let find = |name: &&OsStr| match on.lookup(directory.as_fd(), name) {
                Err(Errno::NOENT) => Ok(None),
                found => found.map(Some),
            };
            names.iter().map(find).collect::<Result<Vec<_>>>()
        };
        self.ask(&roster, find, |answer| {
            let told = answer.and_then(|(leg, found)| {
                let tell = |(name, found): (&&OsStr, Option<(OwnedFd, Stat)>)| {
                    let Some((fd, stat)) = found else { return Ok(None) };
                    let descriptor = Descriptor { fd: Arc::new(Opened::new(fd)), access: Access::Path };
                    let node = self.nodes.tell(parent, name, [(leg, stat, descriptor)])?;
                    Ok(Some(Listed { node, stat }))
                };
                names.iter().zip(found).map(tell).collect()
            });
            drop(gate);
            reply(told);
        });
    }

    /// The entries of a directory, without "." and "..".
    pub fn list(&self, directory: &Arc<Node>, reply: impl FnOnce(Result<Vec<Entry>>) + Send) {
        let gate = self.gate.read();
        let roster = self.roster();
        let list = |leg: usize| {
            let object = self.object(&roster, directory, leg)?;
            roster.members[leg].leg()?.list(object.as_fd())
        };
        self.ask(&roster, list, |answer| {
            self.was_read(directory);
            drop(gate);
            reply(answer.map(|(_, mut entries)| {
                entries.retain(|entry| !Set::is_hidden(directory, &entry.name));
                entries
            }));
        });
    }

    /// The text of a symbolic link.
    pub fn read_link(&self, node: &Arc<Node>, reply: impl FnOnce(Result<OsString>) + Send) {
        let gate = self.gate.read();
        let roster = self.roster();
        let read = |leg: usize| {
            let object = self.object(&roster, node, leg)?;
            roster.members[leg].leg()?.read_link(object.as_fd())
        };
        self.ask(&roster, read, |answer| {
            self.was_read(node);
            drop(gate);
            reply(answer.map(|(_, text)| text));
        });
    }

    /// Makes something, with the umask of who asks, for `owner`.
    pub fn make(
        &self,
        parent: &Arc<Node>,
        name: &OsStr,
        what: What<'_>,
        mask: Mode,
        owner: Option<Owner>,
        reply: impl FnOnce(Result<Listed>) + Send,
    ) {
        if Set::is_hidden(parent, name) {
            return reply(Err(Errno::PERM));
        }
        let change = match self.change(&[parent]) {
            Ok(change) => change,
            Err(e) => return reply(Err(e)),
        };
        let roster = change.roster.clone();
        let make = |leg: usize| {
            let (directory, on) = (self.object(&roster, parent, leg)?, roster.members[leg].leg()?);
            umask::set(mask);
            self.with_room(|| match what {
                What::File(mode) => on.create(directory.as_fd(), name, mode, owner),
                What::Other(make) => on.make(directory.as_fd(), name, make, owner),
            })
        };
        let access = if matches!(what, What::File(_)) { Access::Write } else { Access::Path };
        let all = |_: &_| false;
        fly(self.route(&roster), make, all, |answers| {
            let path = || path_in(parent, name);
            let told = self.settle(answers, || made(parent, path())).and_then(|good| {
                let stat = good.first().map(|(_, (_, stat))| *stat).ok_or(Errno::IO)?;
                let found = good.into_iter().map(|(leg, (fd, stat))| {
                    (leg, stat, Descriptor { fd: Arc::new(Opened::new(fd)), access })
                });
                let node = self.nodes.tell(parent, name, found)?;
                self.is_dirty(&node);
                Ok(Listed { node, stat })
            });
            drop(change);
            reply(told);
        });
    }

    /// Gives an object another name.
    pub fn link(
        &self,
        node: &Arc<Node>,
        parent: &Arc<Node>,
        name: &OsStr,
        reply: impl FnOnce(Result<Listed>) + Send,
    ) {
        if Set::is_hidden(parent, name) {
            return reply(Err(Errno::PERM));
        }
        let change = match self.change(&[node, parent]) {
            Ok(change) => change,
            Err(e) => return reply(Err(e)),
        };
        let roster = change.roster.clone();
        let link = |leg: usize| {
            let (object, directory) = (self.object(&roster, node, leg)?, self.object(&roster, parent, leg)?);
            let on = roster.members[leg].leg()?;
            on.link(object.as_fd(), directory.as_fd(), name)?;
            on.stat(object.as_fd())
        };
        fly(
            self.route(&roster),
            link,
            |_| false,
            |answers| {
                let regions = || {
                    let mut regions = made(parent, path_in(parent, name));
                    regions.push(Region::one(node.path()));
                    regions
                };
                let told = self.settle(answers, regions).and_then(|good| {
                    let stat = good.first().map(|(_, stat)| *stat).ok_or(Errno::IO)?;
                    node.is_at(parent, name);
                    node.nameless.store(false, Ordering::Release);
                    node.known.fetch_add(1, Ordering::Relaxed);
                    Ok(Listed { node: node.clone(), stat })
                });
                drop(change);
                reply(told);
            },
        );
    }

    /// Removes a name: a directory's, or another's.
    pub fn unlink(
        &self,
        parent: &Arc<Node>,
        name: &OsStr,
        directory: bool,
        reply: impl FnOnce(Result<()>) + Send,
    ) {
        if Set::is_hidden(parent, name) {
            return reply(Err(Errno::NOENT));
        }
        let change = match self.change(&[parent]) {
            Ok(change) => change,
            Err(e) => return reply(Err(e)),
        };
        let (roster, victim) = (change.roster.clone(), Victim::default());
        let unlink = |leg: usize| {
            let from = self.object(&roster, parent, leg)?;
            let stat = victim.hold(self, &roster, leg, &from, name)?;
            roster.members[leg].leg()?.unlink(from.as_fd(), name, directory)?;
            Ok(stat)
        };
        fly(
            self.route(&roster),
            unlink,
            |_| false,
            |answers| {
                let done = self.settle(answers, || made(parent, path_in(parent, name)));
                if let Ok(good) = &done
                    && let Some((_, stat)) = good.first()
                {
                    victim.lost(self, parent, name, stat);
                }
                drop(change);
                reply(done.map(drop));
            },
        );
    }

    /// Renames, or exchanges two names.
    pub fn rename(
        &self,
        from: (&Arc<Node>, &OsStr),
        to: (&Arc<Node>, &OsStr),
        flags: RenameFlags,
        reply: impl FnOnce(Result<()>) + Send,
    ) {
        if Set::is_hidden(from.0, from.1) || Set::is_hidden(to.0, to.1) {
            return reply(Err(Errno::PERM));
        }
        let change = match self.change(&[from.0, to.0]) {
            Ok(change) => change,
            Err(e) => return reply(Err(e)),
        };
        let roster = change.roster.clone();
        let (moved, replaced) = (Victim::default(), Victim::default());
        if let Err(e) = self.mark_rename(&roster, from, to) {
            drop(change);
            return reply(Err(e));
        }
        let rename = |leg: usize| {
            let (here, there) = (self.object(&roster, from.0, leg)?, self.object(&roster, to.0, leg)?);
            let on = roster.members[leg].leg()?;
            moved.hold(self, &roster, leg, &here, from.1)?;
            let stat = match replaced.hold(self, &roster, leg, &there, to.1) {
                Ok(stat) => Some(stat),
                Err(Errno::NOENT) => None,
                Err(e) => return Err(e),
            };
            on.rename((here.as_fd(), from.1), (there.as_fd(), to.1), flags)?;
            Ok(stat)
        };
        fly(
            self.route(&roster),
            rename,
            |_| false,
            |answers| {
                let regions = || {
                    let (old, new) = (path_in(from.0, from.1), path_in(to.0, to.1));
                    [from.0.path(), to.0.path()]
                        .map(Region::one)
                        .into_iter()
                        .chain([old, new].map(Region::subtree))
                        .collect()
                };
                let done = self.settle(answers, regions);
                if let Ok(good) = &done {
                    let stat = good.first().and_then(|(_, stat)| *stat);
                    let same = moved.0.get().zip(replaced.0.get()).is_some_and(|(a, b)| Arc::ptr_eq(a, b));
                    match stat {
                        // Two names of one file: nothing happens (rename(2)).
                        Some(_) if same => {}
                        Some(_) if flags.contains(RenameFlags::EXCHANGE) => {
                            moved.0.get().inspect(|node| node.has_moved(from, to));
                            replaced.0.get().inspect(|node| node.has_moved(to, from));
                        }
                        stat => {
                            if let Some(stat) = stat {
                                replaced.lost(self, to.0, to.1, &stat);
                            }
                            moved.0.get().inspect(|node| node.has_moved(from, to));
                        }
                    }
                }
                drop(change);
                reply(done.map(drop));
            },
        );
    }

    /// A directory that moves takes what is beneath with it: both places are marked as a whole.
    fn mark_rename(
        &self,
        roster: &Arc<Roster>,
        from: (&Arc<Node>, &OsStr),
        to: (&Arc<Node>, &OsStr),
    ) -> Result<()> {
        let Some(&primary) = roster.live.first() else { return Err(Errno::ROFS) };
        let directory = |(parent, name): (&Arc<Node>, &OsStr)| {
            let object = self.object(roster, parent, primary).ok()?;
            let (_, stat) = roster.members[primary].leg().ok()?.lookup(object.as_fd(), name).ok()?;
            (FileType::from_raw_mode(stat.st_mode) == FileType::Directory).then_some(())
        };
        if directory(from).is_none() && directory(to).is_none() {
            return Ok(());
        }
        self.mark_path(roster, path_in(from.0, from.1), Kind::Subtree)?;
        self.mark_path(roster, path_in(to.0, to.1), Kind::Subtree)
    }

    /// Where another leg has become the primary, the nodes that are known have to be known by what they are on that one, so that a
    /// look-up finds them.
    pub(crate) fn follow_primary(&self, roster: &Roster) {
        let Some(&primary) = roster.live.first() else { return };
        if self.primary.swap(primary as u64, Ordering::AcqRel) == primary as u64 {
            return;
        }
        for node in self.nodes.all() {
            // What cannot be found there will say so when it is used.
            let _ = self.object(roster, &node, primary);
        }
    }
}

/// What a leg misses that was not there when something was made, or removed.
fn made(parent: &Node, path: std::path::PathBuf) -> Vec<Region> {
    vec![Region::one(parent.path()), Region::subtree(path)]
}
