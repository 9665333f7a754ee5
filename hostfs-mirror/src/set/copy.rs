//! Making what is at a path of one leg equal to what others have there.
//!
//! Each step leaves a leg on which the same work, done again from the start, ends the same: whoever calls takes a path off his list only
//! when it is done and durable.

use super::blocks::Sources;
use super::compare::attributes;
use super::limit::Limit;
use super::links::Links;
use super::side::{Error, Object, Result, Side};
use crate::fail;
use crate::leg::{Change, Make, Owner};
use crate::state::{Kind, Region};
use rustix::fd::AsFd;
use rustix::fs::{FileType, Mode, Timespec, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// What work on legs came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Report {
    /// Objects that were looked at.
    pub objects: u64,
    /// Bytes that were compared.
    pub bytes_read: u64,
    /// Bytes that differed, and were written.
    pub bytes_written: u64,
    /// Objects that were made or changed.
    pub changed: u64,
    /// Objects that were removed.
    pub removed: u64,
    /// Wrong bytes that were found: the leg, the path, and where in it.
    pub wrong: Vec<Wrong>,
    /// What nobody can decide but the administrator.
    pub undecided: Vec<Undecided>,
}

/// Wrong bytes on a leg.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Wrong {
    /// On which leg.
    pub leg: PathBuf,
    /// In which file.
    pub path: PathBuf,
    /// From which byte.
    pub offset: u64,
    /// Whether they are right now.
    pub healed: bool,
}

/// A path at which no checksum says which leg is right.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Undecided {
    /// Where.
    pub path: PathBuf,
    /// What is known.
    pub why: String,
}

/// Somebody who keeps others from changing an object while it is copied: a mounted set.
pub trait Hold: Sync {
    /// Does something while nobody changes the object at the path.
    fn hold(&self, path: &Path, work: &mut dyn FnMut());
}

/// Nobody else is there.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

impl Hold for Alone {
    fn hold(&self, _: &Path, work: &mut dyn FnMut()) {
        work();
    }
}

/// Does something that has a result while an object is held.
pub(crate) fn held(hold: &dyn Hold, path: &Path, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let (mut work, mut done) = (Some(work), Ok(()));
    hold.hold(path, &mut || {
        if let Some(work) = work.take() {
            done = work();
        }
    });
    done
}

/// Makes one leg equal to others.
pub(crate) struct Copier<'a, 'b> {
    /// Who is right, the first before all: it says what there is, and the others help where its bytes are wrong.
    pub(crate) from: &'b [Side<'a>],
    pub(crate) to: Side<'a>,
    pub(crate) generation: u64,
    /// Whether a file is left alone if both manifests say the same of it.
    pub(crate) trust: bool,
    pub(crate) hold: &'b dyn Hold,
    pub(crate) limit: &'b mut Limit<'a>,
    pub(crate) report: &'b mut Report,
    pub(crate) links: Links,
    /// Directories whose times changed as their entries were made.
    pub(crate) touched: BTreeSet<PathBuf>,
}

impl<'a, 'b> Copier<'a, 'b> {
    /// One that trusts no manifest, where nobody else has the leg.
    pub(crate) fn new(
        from: &'b [Side<'a>],
        to: Side<'a>,
        generation: u64,
        limit: &'b mut Limit<'a>,
        report: &'b mut Report,
    ) -> Copier<'a, 'b> {
        let (links, touched) = (Links::default(), BTreeSet::new());
        Copier { from, to, generation, trust: false, hold: &Alone, limit, report, links, touched }
    }
}

impl<'a> Copier<'a, '_> {
    fn source(&self) -> Side<'a> {
        self.from[0]
    }

    /// A region of a missed log: an object, or a tree.
    pub(crate) fn region(&mut self, region: &Region) -> Result<()> {
        match region.kind {
            Kind::One => self.one(&region.path),
            Kind::Entries => self.entries(&region.path, false),
            Kind::Subtree => self.tree(&region.path),
        }?;
        self.settle_times()
    }

    /// A region of an intent map: a directory's own entries, or a tree.
    pub(crate) fn intent(&mut self, region: &Region) -> Result<()> {
        match region.kind {
            Kind::One | Kind::Entries => self.entries(&region.path, false),
            Kind::Subtree => self.tree(&region.path),
        }?;
        self.settle_times()
    }

    /// Everything at a path and beneath.
    fn tree(&mut self, path: &Path) -> Result<()> {
        self.one(path)?;
        if self.source().find(path)?.is_some_and(|o| o.is_dir()) { self.entries(path, true) } else { Ok(()) }
    }

    /// What is in a directory; `deep`, what is in those in it too. What is missing is made before what is too much is removed:
    /// something that was renamed is never without a copy.
    fn entries(&mut self, path: &Path, deep: bool) -> Result<()> {
        let right = self.source().find(path)?.filter(|o| o.is_dir());
        self.one(path)?;
        let Some(right) = right else { return Ok(()) };
        let names = self.source().names(path, &right)?;
        for name in &names {
            let child = path.join(name);
            let deep = deep || !self.is_filled(&child)?;
            let done = if deep { self.tree(&child) } else { self.one(&child) };
            self.note(done)?;
        }
        let names: BTreeSet<OsString> = names.into_iter().collect();
        let Some(there) = self.to.find(path)? else { return Ok(()) };
        for name in self.to.names(path, &there)?.into_iter().filter(|n| !names.contains(n)) {
            let child = path.join(name);
            held(self.hold, &child, || match self.source().find(&child)? {
                None => self.remove(&child),
                Some(_) => Ok(()),
            })?;
        }
        self.touched.insert(path.to_owned());
        Ok(())
    }

    /// Whether a directory of a directory is there with all that was in it. One that was made here gets its times only after its
    /// entries: with other times than it should have, it was not finished.
    fn is_filled(&self, path: &Path) -> Result<bool> {
        let Some(right) = self.source().find(path)?.filter(Object::is_dir) else { return Ok(true) };
        Ok(self.to.find(path)?.is_some_and(|o| o.is_dir() && o.mtime() == right.mtime()))
    }

    /// What nobody can decide is reported, and the rest goes on.
    pub(crate) fn note(&mut self, done: Result<()>) -> Result<()> {
        match done {
            Err(Error::Undecided { path, why }) => {
                self.report.undecided.push(Undecided { path, why });
                Ok(())
            }
            done => done,
        }
    }

    /// The object at a path: a directory with its attributes only.
    pub(crate) fn one(&mut self, path: &Path) -> Result<()> {
        let before = self.report.changed;
        let done = held(self.hold, path, || self.one_held(path));
        // However many steps that took.
        self.report.changed = self.report.changed.min(before + 1);
        done
    }

    fn one_held(&mut self, path: &Path) -> Result<()> {
        self.limit.advance(0)?;
        self.report.objects += 1;
        let Some(right) = self.source().find(path)? else { return self.remove_missing(path) };
        self.make_parent(path)?;
        let mut there = self.to.find(path)?;
        let linked = !right.is_dir() && right.stat.st_nlink > 1;
        let names =
            if linked { self.links.names_of(&self.source(), path, &right)? } else { vec![path.to_owned()] };
        if let Some(found) = &there
            && !self.can_stay(&right, found, path, &names)?
        {
            self.remove(path)?;
            there = None;
        }
        if there.is_none() && linked {
            there = self.link_from(&right, path, &names)?;
        }
        let there = match there {
            Some(found) => found,
            None => self.make(path, &right)?,
        };
        if right.is_dir() {
            self.touched.insert(path.to_owned());
            return Ok(());
        }
        if right.is_file() {
            self.content(path, &right, &there)?;
        }
        self.attributes(path, &right)?;
        for name in names.iter().filter(|n| *n != path) {
            self.link_to(&right, path, name)?;
        }
        Ok(())
    }

    /// Whether what is there can become what is right, without another name of it changing too.
    fn can_stay(&self, right: &Object, there: &Object, path: &Path, names: &[PathBuf]) -> Result<bool> {
        if right.kind() != there.kind() {
            return Ok(false);
        }
        if there.is_dir() {
            return Ok(true);
        }
        if !there.is_file() {
            let differ = attributes((&self.source(), right), (&self.to, there), path)?;
            use super::compare::Difference::{Device, Target};
            if differ.contains(&Target) || differ.contains(&Device) {
                return Ok(false);
            }
        }
        self.has_only(there, names)
    }

    /// Whether an object of the leg has no other names than these.
    fn has_only(&self, there: &Object, names: &[PathBuf]) -> Result<bool> {
        if there.stat.st_nlink == 1 {
            return Ok(true);
        }
        let mut count = 0;
        for name in names {
            count += u64::from(self.to.find(name)?.is_some_and(|o| o.stat.st_ino == there.stat.st_ino));
        }
        Ok(count >= there.stat.st_nlink)
    }

    /// Another name of the object is there already: this one is linked to it.
    fn link_from(&mut self, right: &Object, path: &Path, names: &[PathBuf]) -> Result<Option<Object>> {
        for name in names.iter().filter(|n| *n != path) {
            if let Some(found) = self.to.find(name)?
                && self.can_stay(right, &found, name, names)?
            {
                self.link(&found, path)?;
                return self.to.find(path);
            }
        }
        Ok(None)
    }

    /// Another name of an object that is right now.
    fn link_to(&mut self, right: &Object, path: &Path, name: &Path) -> Result<()> {
        let (Some(base), found) = (self.to.find(path)?, self.to.find(name)?) else { return Ok(()) };
        if found.as_ref().is_some_and(|o| o.stat.st_ino == base.stat.st_ino)
            || self.source().find(name)?.is_none_or(|o| o.stat.st_ino != right.stat.st_ino)
        {
            return Ok(());
        }
        self.make_parent(name)?;
        if found.is_some() {
            self.remove(name)?;
        }
        self.link(&base, name)
    }

    fn link(&mut self, base: &Object, name: &Path) -> Result<()> {
        let (parent, last) = self.parent_of(name)?;
        fail::point("copy-link").map_err(self.to.failed(name))?;
        self.to.leg.link(base.fd.as_fd(), parent.fd.as_fd(), &last).map_err(self.to.failed(name))?;
        self.report.changed += 1;
        Ok(())
    }

    fn parent_of(&mut self, path: &Path) -> Result<(Object, OsString)> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let object = self.to.find(parent)?.ok_or_else(|| self.to.failed(parent)(Errno::NOENT))?;
        self.touched.insert(parent.to_owned());
        Ok((object, path.file_name().unwrap_or(OsStr::new("")).to_owned()))
    }

    /// The directories on the way to a path.
    fn make_parent(&mut self, path: &Path) -> Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        if self.to.find(parent)?.is_some_and(|o| o.is_dir()) {
            return Ok(());
        }
        self.make_parent(parent)?;
        if self.to.find(parent)?.is_some() {
            self.remove(parent)?;
        }
        if let Some(right) = self.source().find(parent)? {
            self.make(parent, &right)?;
            self.touched.insert(parent.to_owned());
        }
        Ok(())
    }

    fn make(&mut self, path: &Path, right: &Object) -> Result<Object> {
        let (parent, name) = self.parent_of(path)?;
        fail::point("copy-make").map_err(self.to.failed(path))?;
        let (source, leg) = (self.source(), self.to.leg);
        // What is not for everybody is not for everybody while it is made either.
        let mode = Mode::from_raw_mode(right.stat.st_mode & 0o700);
        let owner = self.owner(right);
        let made = match right.kind() {
            FileType::RegularFile => leg.create(parent.fd.as_fd(), &name, mode, owner),
            FileType::Directory => leg.make(parent.fd.as_fd(), &name, Make::Directory(mode), owner),
            FileType::Symlink => {
                let text = source.leg.read_link(right.fd.as_fd()).map_err(source.failed(path))?;
                leg.make(parent.fd.as_fd(), &name, Make::Symlink(&text), owner)
            }
            kind => leg.make(parent.fd.as_fd(), &name, Make::Node(kind, mode, right.stat.st_rdev), owner),
        };
        let (fd, stat) = made.map_err(self.to.failed(path))?;
        self.report.changed += 1;
        Ok(Object { fd, stat })
    }

    fn owner(&self, right: &Object) -> Option<Owner> {
        let owners = self.to.leg.capabilities().contains(crate::leg::Capabilities::OWNERS);
        owners.then_some(Owner { uid: right.stat.st_uid, gid: right.stat.st_gid })
    }

    fn content(&mut self, path: &Path, right: &Object, there: &Object) -> Result<()> {
        if self.trust
            && let (Some(a), Some(b)) = (self.source().known(path, right)?, self.to.known(path, there)?)
            && a.sums == b.sums
        {
            return self.limit.advance(right.size());
        }
        let others: Vec<_> = self.from[1..].iter().copied().chain([self.to]).collect();
        let sources = Sources::open(path, (self.source(), right), &others)?;
        let copied = sources.copy_to(&self.to, there, self.limit)?;
        self.report.bytes_read += copied.read;
        self.report.bytes_written += copied.written;
        self.report.changed += u64::from(copied.written > 0);
        let wrong = copied.wrong.into_iter();
        self.report.wrong.extend(wrong.map(|(leg, offset)| Wrong {
            leg,
            path: path.to_owned(),
            offset,
            healed: false,
        }));
        // Its times first: what is learned speaks of the file as it will be.
        self.attributes(path, right)?;
        self.to.learn(path, self.generation, copied.sums)
    }

    /// Owner, mode, extended attributes, and times last.
    fn attributes(&mut self, path: &Path, right: &Object) -> Result<()> {
        let Some(there) = self.to.find(path)? else { return Ok(()) };
        let source = self.source();
        let differ = attributes((&source, right), (&self.to, &there), path)?;
        let fd = there.fd.as_fd();
        use super::compare::Difference::{Mode as OfMode, Mtime, Owner as OfOwner, Xattrs};
        let of = |what| differ.contains(&what);
        if !(of(OfMode) || of(OfOwner) || of(Xattrs) || of(Mtime)) {
            return Ok(());
        }
        fail::point("copy-attributes").map_err(self.to.failed(path))?;
        let owner = self.owner(right).filter(|_| of(OfOwner));
        // A change of owner takes bits of the mode away, so that comes after it.
        let mode = (of(OfMode) || owner.is_some()) && right.kind() != FileType::Symlink;
        let change = Change {
            uid: owner.map(|o| o.uid),
            gid: owner.map(|o| o.gid),
            mode: mode.then(|| Mode::from_raw_mode(right.stat.st_mode & 0o7777)),
            ..Change::default()
        };
        self.to.leg.change(fd, &change).map_err(self.to.failed(path))?;
        if of(Xattrs) {
            self.xattrs(path, right, &there)?;
        }
        let time = |s, ns| Timespec { tv_sec: s, tv_nsec: ns };
        let times = Change {
            atime: Some(time(right.stat.st_atime, right.stat.st_atime_nsec as i64)),
            mtime: Some(time(right.stat.st_mtime, right.stat.st_mtime_nsec as i64)),
            ..Change::default()
        };
        self.to.leg.change(fd, &times).map_err(self.to.failed(path))?;
        self.report.changed += 1;
        Ok(())
    }

    fn xattrs(&self, path: &Path, right: &Object, there: &Object) -> Result<()> {
        let wanted = self.source().xattrs(path, right.fd.as_fd())?;
        let found = self.to.xattrs(path, there.fd.as_fd())?;
        for (name, _) in found.iter().filter(|(n, _)| wanted.iter().all(|(w, _)| w != n)) {
            self.to.leg.remove_xattr(there.fd.as_fd(), name).map_err(self.to.failed(path))?;
        }
        for (name, value) in wanted.iter().filter(|w| !found.contains(w)) {
            let set = self.to.leg.set_xattr(there.fd.as_fd(), name, value, XattrFlags::empty());
            set.map_err(self.to.failed(path))?;
        }
        Ok(())
    }

    /// Directories' times, after their entries: the deepest first.
    fn settle_times(&mut self) -> Result<()> {
        for path in std::mem::take(&mut self.touched).into_iter().rev() {
            if let Some(right) = self.source().find(&path)?.filter(|o| o.is_dir()) {
                self.attributes(&path, &right)?;
            }
        }
        Ok(())
    }

    /// The leg that is right has nothing there: the highest directory of the path that it has not is what is too much.
    fn remove_missing(&mut self, path: &Path) -> Result<()> {
        let mut gone = path;
        while let Some(parent) = gone.parent() {
            if self.source().find(parent)?.is_some_and(|o| o.is_dir()) {
                break;
            }
            gone = parent;
        }
        if self.to.find(gone)?.is_some() { self.remove(gone) } else { Ok(()) }
    }

    /// Removes an object, and all that is in it.
    fn remove(&mut self, path: &Path) -> Result<()> {
        let Some(object) = self.to.find(path)? else { return Ok(()) };
        if path.as_os_str().is_empty() {
            return Err(Error::Undecided {
                path: path.to_owned(),
                why: "the leg that is right has no root".to_owned(),
            });
        }
        if object.is_dir() {
            for name in self.to.names(path, &object)? {
                self.remove(&path.join(name))?;
            }
        }
        let (parent, name) = self.parent_of(path)?;
        fail::point("copy-remove").map_err(self.to.failed(path))?;
        if object.is_file() && object.stat.st_nlink == 1 {
            let key = self.to.key(path, &object)?;
            self.to.manifest.lock().remove(&[key]).map_err(|e| self.to.state_failed(e))?;
        }
        self.to.leg.unlink(parent.fd.as_fd(), &name, object.is_dir()).map_err(self.to.failed(path))?;
        self.report.removed += 1;
        Ok(())
    }
}
