//! Changes of a session, made again on a copy of its base. The copy's inodes have the numbers that they have in the base: a name of the base is
//! found by its directory's number, wherever that directory has moved to.
//!
//! The order: what moves is put aside, from the deepest name up; what is gone goes; what is new comes, from the top down, what was put aside in its new
//! place among it; then contents and attributes; last, what has no name left ends. So no step finds a name taken that is to become free.

use super::inode::{attributes, dress, fill};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::make::{self, NewFile};
use crate::paths::{split, text};
use crate::status::{Change, Compare, Fate, What};
use block_device::Observer;
use ext::{Ext, Inode, InodeNumber, RenameFlags};
use std::collections::{HashMap, HashSet};

/// Makes the changes. What could not be as in the session is told.
pub(super) fn apply(
    base: &Image,
    session: &Image,
    to: &Image,
    changes: &[Change],
    observer: &dyn Observer,
) -> Result<Vec<String>> {
    let mut work = Work {
        base,
        session,
        to,
        new: HashMap::new(),
        nameless: HashSet::new(),
        touched: HashMap::new(),
        warnings: Vec::new(),
    };
    let by_depth = |c: &&Change| std::cmp::Reverse(depth(c.raw_from.as_deref().unwrap_or(&c.raw)));
    let mut moved: Vec<&Change> = changes.iter().filter(|c| c.fate == Fate::Renamed).collect();
    moved.sort_by_key(by_depth);
    let aside = moved
        .into_iter()
        .enumerate()
        .map(|(n, c)| Ok((c.raw.clone(), work.put_aside(n, c)?)))
        .collect::<Result<HashMap<_, _>>>()?;
    let mut gone: Vec<&Change> =
        changes.iter().filter(|c| c.fate == Fate::Deleted || is_replaced(c)).collect();
    gone.sort_by_key(by_depth);
    for change in gone {
        work.remove(change)?;
    }
    for change in changes {
        if observer.cancelled() {
            return Err(Error::Cancelled(": nothing was made"));
        }
        match change.fate {
            Fate::Renamed => work.put_back(change, aside.get(&change.raw))?,
            Fate::Added => work.add(change)?,
            Fate::Changed if is_replaced(change) => work.add(change)?,
            _ => {}
        }
    }
    for change in changes.iter().filter(|c| matches!(c.fate, Fate::Changed | Fate::Renamed)) {
        if observer.cancelled() {
            return Err(Error::Cancelled(": nothing was made"));
        }
        if !is_replaced(change) {
            work.change(change)?;
        }
    }
    work.finish()?;
    Ok(work.warnings)
}

fn depth(path: &[u8]) -> usize {
    path.iter().filter(|b| **b == b'/').count()
}

/// Whether a name leads to another file than before, that is not a directory in both.
fn is_replaced(change: &Change) -> bool {
    let other = change.inodes.0 != change.inodes.1 || change.what.contains(&What::Type);
    let directory = change.kind == "directory" && !change.what.contains(&What::Type);
    change.fate == Fate::Changed && other && !directory
}

struct Work<'a> {
    base: &'a Image,
    session: &'a Image,
    to: &'a Image,
    /// Of inodes that the session made: which they are in the copy.
    new: HashMap<InodeNumber, InodeNumber>,
    /// Inodes of the copy that have lost names.
    nameless: HashSet<InodeNumber>,
    /// Directories of the copy that names came to or went from, and which they are in the session.
    touched: HashMap<InodeNumber, Option<InodeNumber>>,
    warnings: Vec<String>,
}

impl Work<'_> {
    /// Where a name of the base is in the copy: its directory and the name there.
    fn place_before<'p>(&self, path: &'p [u8]) -> Result<(InodeNumber, &'p [u8])> {
        let (parent, name) = split(path).ok_or_else(|| self.base.at(path)(ext::Error::Invalid))?;
        Ok((self.base.find(parent)?.number, name))
    }

    fn inode_after(&self, change: &Change) -> Result<Inode> {
        let number = change.inodes.1.ok_or_else(|| self.session.at(&change.raw)(ext::Error::NotFound))?;
        self.session.ext.inode(number).map_err(self.session.at(&change.raw))
    }

    /// Whether an inode of the session's is one that the base had.
    fn is_old(&self, inode: &Inode) -> bool {
        let number = inode.number;
        if number > self.base.ext.superblock().inodes {
            return false;
        }
        self.base.ext.inode(number).is_ok_and(|o| {
            o.links > 0
                && o.generation == inode.generation
                && o.kind() == inode.kind()
                && (o.crtime.is_none() || inode.crtime.is_none() || o.crtime == inode.crtime)
        })
    }

    /// The inode of the copy that is this one of the session's, if it is there already.
    fn twin(&self, inode: &Inode) -> Option<InodeNumber> {
        let known = self.new.get(&inode.number).copied();
        known.or_else(|| self.is_old(inode).then_some(inode.number)).filter(|n| {
            // It may have been removed.
            self.to
                .ext
                .inode(*n)
                .is_ok_and(|i| i.kind() == inode.kind() && (i.links > 0 || self.nameless.contains(n)))
        })
    }

    /// Where a name of the session's is to be in the copy; directories above it are made if they are not there.
    fn place_after<'p>(&mut self, path: &'p [u8]) -> Result<(InodeNumber, &'p [u8])> {
        let (parent, name) = split(path).ok_or_else(|| self.session.at(path)(ext::Error::Invalid))?;
        let directory = self.directory(parent)?;
        let after = self.session.find(parent)?.number;
        self.touched.insert(directory, Some(after));
        Ok((directory, name))
    }

    fn directory(&mut self, path: &[u8]) -> Result<InodeNumber> {
        let inode = self.session.find(path)?;
        if let Some(twin) = self.twin(&inode) {
            return Ok(twin);
        }
        // Another one of that name, of the base's, is as good: the session has made it anew.
        if let Ok(there) = self.to.find(path)
            && there.is_directory()
        {
            return Ok(there.number);
        }
        let (parent, name) = self.place_after(path)?;
        let a = attributes(self.session, path, &inode)?;
        let (made, _) = make::directory(&self.to.ext, parent, name, &a).map_err(self.to.at(path))?;
        self.new.insert(inode.number, made);
        self.touched.insert(made, Some(inode.number));
        Ok(made)
    }

    fn put_aside(&mut self, n: usize, change: &Change) -> Result<Vec<u8>> {
        let from = change.raw_from.as_deref().unwrap_or(&change.raw);
        let (parent, name) = self.place_before(from)?;
        let aside = format!(".cowtool.{n}.{}", std::process::id()).into_bytes();
        self.touched.entry(parent).or_insert(None);
        let moved = self.to.ext.rename((parent, name), (Ext::ROOT, &aside), RenameFlags::NOREPLACE);
        moved.map_err(self.to.at(from))?;
        Ok(aside)
    }

    fn put_back(&mut self, change: &Change, aside: Option<&Vec<u8>>) -> Result<()> {
        let Some(aside) = aside else { return Ok(()) };
        let (parent, name) = self.place_after(&change.raw)?;
        let failed = self.to.at(&change.raw);
        // What has the name is something that was not taken to be removed.
        match make::existing(&self.to.ext, parent, name).map_err(&failed)? {
            Some(there) if there.is_directory() => {
                return Err(Error::Refused(format!(
                    "{} would take the name of a directory that was to stay: take its change too",
                    text(&change.raw)
                )));
            }
            _ => {}
        }
        let gone = self.to.ext.rename((Ext::ROOT, aside), (parent, name), RenameFlags::empty());
        if let Some(gone) = gone.map_err(&failed)? {
            self.nameless.insert(gone.number);
        }
        Ok(())
    }

    /// A name of the base's goes. What it named stays for now: another name may be coming.
    fn remove(&mut self, change: &Change) -> Result<()> {
        let (parent, name) = self.place_before(change.raw_from.as_deref().unwrap_or(&change.raw))?;
        let failed = self.to.at(&change.raw);
        let ext = &self.to.ext;
        let Some(there) = make::existing(ext, parent, name).map_err(&failed)? else { return Ok(()) };
        let gone = match there.is_directory() {
            true => ext.rmdir(parent, name),
            false => ext.unlink(parent, name),
        };
        match gone {
            Ok(inode) => {
                self.nameless.insert(inode.number);
                self.touched.entry(parent).or_insert(None);
                Ok(())
            }
            Err(ext::Error::NotEmpty) => {
                let path = text(&change.raw);
                self.warnings.push(format!("{path} stays: something in it was not taken to be removed"));
                Ok(())
            }
            Err(e) => Err(failed(e)),
        }
    }

    fn add(&mut self, change: &Change) -> Result<()> {
        let inode = self.inode_after(change)?;
        if inode.is_directory() {
            return self.directory(&change.raw).map(drop);
        }
        let (parent, name) = self.place_after(&change.raw)?;
        let (ext, path) = (&self.to.ext, &change.raw);
        let twin = self.twin(&inode);
        if let Some(twin) = twin {
            // The link takes it off the list of those without a name.
            make::put_under(ext, twin, parent, name).map_err(self.to.at(path))?;
            return self.bring(&inode, twin, path);
        }
        let a = attributes(self.session, path, &inode)?;
        let number = match inode.kind() {
            0x8000 => {
                let new = NewFile::begin(self.to, parent, path, &a)?;
                fill(self.session, &inode, self.to, new.number, path)?;
                new.finish_under(parent, name, inode.size, &a)?
            }
            0xa000 => {
                let target = self.session.ext.read_link(&inode).map_err(self.session.at(path))?;
                make::special(ext, parent, name, &a, &target).map_err(self.to.at(path))?
            }
            _ => make::special(ext, parent, name, &a, b"").map_err(self.to.at(path))?,
        };
        self.new.insert(inode.number, number);
        dress(self.session, &inode, self.to, number, path)
    }

    fn change(&mut self, change: &Change) -> Result<()> {
        let inode = self.inode_after(change)?;
        let number = match self.twin(&inode) {
            Some(twin) => twin,
            None if inode.is_directory() => self.to.find(&change.raw)?.number,
            None => return Ok(()),
        };
        self.bring(&inode, number, &change.raw)
    }

    /// Gives an inode of the copy what the session's has and the base's had not.
    fn bring(&mut self, inode: &Inode, number: InodeNumber, path: &[u8]) -> Result<()> {
        let before = self.to.ext.inode(number).map_err(self.to.at(path))?;
        let (ask, blocks) = (crate::Ask { directory_times: true }, None);
        let what =
            Compare { old: self.to, new: self.session, blocks, ask }.differences(path, &before, inode)?;
        if what.contains(&What::Content) && inode.is_regular() {
            fill(self.session, inode, self.to, number, path)?;
        }
        if what.iter().any(|w| *w != What::Links) {
            dress(self.session, inode, self.to, number, path)?;
        }
        Ok(())
    }

    /// What has no name left ends, and directories get the times that the session gave them.
    fn finish(&mut self) -> Result<()> {
        for number in std::mem::take(&mut self.nameless) {
            let failed = |e| self.to.failed(e);
            if self.to.ext.inode(number).is_ok_and(|i| i.links == 0) {
                self.to.ext.release(number).map_err(failed)?;
            }
        }
        for (number, after) in std::mem::take(&mut self.touched) {
            let after = after.or_else(|| {
                let same = self.session.ext.inode(number).ok()?;
                (same.is_directory() && self.is_old(&same)).then_some(number)
            });
            let Some(after) = after else { continue };
            let inode = self.session.ext.inode(after).map_err(|e| self.session.failed(e))?;
            let times = ext::Changes {
                mtime: Some(inode.mtime),
                ctime: Some(inode.ctime),
                ..ext::Changes::default()
            };
            if self.to.ext.inode(number).is_ok_and(|i| i.is_directory() && i.links > 0) {
                self.to.ext.change(number, &times).map_err(|e| self.to.failed(e))?;
            }
        }
        Ok(())
    }
}
