//! Names that came, went, and stayed, from the inodes that differ: a directory that has not changed has the names it had.

use super::inodes::{Pair, Pairs, of};
use super::names::{Link, Names};
use super::{Change, Compare, Fate};
use crate::error::Result;
use crate::image::Image;
use block_device::Observer;
use ext::{Inode, InodeNumber};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What the changed directories tell.
#[derive(Default)]
struct Links {
    gone: Vec<(Link, InodeNumber)>,
    new: Vec<(Link, InodeNumber)>,
    /// The name is there as before, and leads elsewhere: from where, to where.
    replaced: Vec<(Link, InodeNumber, InodeNumber)>,
}

/// All changes, in no order.
pub(crate) fn changes(compare: &Compare<'_>, pairs: &Pairs, observer: &dyn Observer) -> Result<Vec<Change>> {
    let links = Links::of(compare, pairs)?;
    let mut work = Work {
        compare,
        pairs,
        before: Names::new(compare.old),
        after: Names::new(compare.new),
        out: Vec::new(),
    };
    work.moved(&links)?;
    for (link, from, to) in &links.replaced {
        let (old, new) = (work.old_inode(*from)?, work.new_inode(*to)?);
        let what = compare.differences(&link.name, &old, &new)?;
        if !what.is_empty() {
            work.tell(link, Change::new(Vec::new(), Fate::Changed, Some(&old), Some(&new)).with(what))?;
        }
    }
    work.stayed(&links, observer)?;
    Ok(work.out)
}

fn entries(image: &Image, inode: Option<&Inode>) -> Result<BTreeMap<Vec<u8>, InodeNumber>> {
    let mut out = BTreeMap::new();
    if let Some(inode) = inode.filter(|i| i.is_directory()) {
        let add = &mut |name: &[u8], number, _| {
            if !matches!(name, b"." | b"..") {
                out.insert(name.to_vec(), number);
            }
        };
        image.ext.each_entry(inode, add).map_err(|e| image.failed(e))?;
    }
    Ok(out)
}

impl Links {
    fn of(compare: &Compare<'_>, pairs: &Pairs) -> Result<Links> {
        let mut links = Links::default();
        for (directory, pair) in pairs {
            let mut old = entries(compare.old, pair.old.as_ref())?;
            let new = entries(compare.new, pair.new.as_ref())?;
            let link = |name| Link { directory: *directory, name };
            for (name, to) in new {
                // Only of the same directory are names the same.
                let from = pair.same().and_then(|_| old.remove(&name));
                match from {
                    None => links.new.push((link(name), to)),
                    Some(from) if from != to => links.replaced.push((link(name), from, to)),
                    // The same number; another file, if the one before was removed.
                    Some(from) if pairs.get(&to).is_some_and(|p| p.same().is_none()) => {
                        links.replaced.push((link(name), from, to));
                    }
                    Some(_) => {}
                }
            }
            links.gone.extend(old.into_iter().map(|(name, from)| (link(name), from)));
        }
        Ok(links)
    }
}

struct Work<'a> {
    compare: &'a Compare<'a>,
    pairs: &'a Pairs,
    before: Names<'a>,
    after: Names<'a>,
    out: Vec<Change>,
}

impl Work<'_> {
    fn inode(
        image: &Image,
        pair: Option<&Pair>,
        of_pair: fn(&Pair) -> Option<&Inode>,
        n: InodeNumber,
    ) -> Result<Inode> {
        match pair.and_then(of_pair) {
            Some(inode) => Ok(inode.clone()),
            None => image.ext.inode(n).map_err(|e| image.failed(e)),
        }
    }

    fn old_inode(&self, number: InodeNumber) -> Result<Inode> {
        Self::inode(self.compare.old, self.pairs.get(&number), |p| p.old.as_ref(), number)
    }

    fn new_inode(&self, number: InodeNumber) -> Result<Inode> {
        Self::inode(self.compare.new, self.pairs.get(&number), |p| p.new.as_ref(), number)
    }

    /// Names that are there in one only, and what has moved from one to another.
    fn moved(&mut self, links: &Links) -> Result<()> {
        let mut paths: BTreeMap<Vec<u8>, (Option<InodeNumber>, Option<InodeNumber>)> = BTreeMap::new();
        for (link, number) in &links.gone {
            if let Some(path) = self.before.path(link)? {
                paths.entry(path).or_default().0 = Some(*number);
            }
        }
        for (link, number) in &links.new {
            if let Some(path) = self.after.path(link)? {
                paths.entry(path).or_default().1 = Some(*number);
            }
        }
        let mut free: HashMap<InodeNumber, Vec<&[u8]>> = HashMap::new();
        for (path, ends) in paths.iter().rev() {
            if let (Some(number), None) = ends {
                free.entry(*number).or_default().push(path);
            }
        }
        let mut taken: HashSet<Vec<u8>> = HashSet::new();
        for (path, ends) in &paths {
            let (from, to) = match ends {
                (from, Some(to)) => (*from, *to),
                _ => continue,
            };
            let new = self.new_inode(to)?;
            if let Some(from) = from {
                self.changed(path.clone(), &self.old_inode(from)?, &new)?;
                continue;
            }
            let source = if self.is_same(to)? { free.get_mut(&to).and_then(Vec::pop) } else { None };
            let change = match source {
                None => Change::new(path.clone(), Fate::Added, None, Some(&new)),
                Some(source) => {
                    taken.insert(source.to_vec());
                    let old = self.old_inode(to)?;
                    let what = self.compare.differences(path, &old, &new)?;
                    let change = Change::new(path.clone(), Fate::Renamed, Some(&old), Some(&new));
                    change.with(what).renamed_from(source)
                }
            };
            self.out.push(change);
        }
        for (path, ends) in &paths {
            if let ((Some(number), None), false) = (ends, taken.contains(path)) {
                let old = self.old_inode(*number)?;
                self.out.push(Change::new(path.clone(), Fate::Deleted, Some(&old), None));
            }
        }
        Ok(())
    }

    /// Whether what has a number is what had it.
    fn is_same(&self, number: InodeNumber) -> Result<bool> {
        match self.pairs.get(&number) {
            Some(pair) => Ok(pair.same().is_some()),
            // It has not changed at all: its name alone has.
            None => Ok(of(&self.compare.old.ext, number).map_err(|e| self.compare.old.failed(e))?.is_some()),
        }
    }

    fn changed(&mut self, path: Vec<u8>, old: &Inode, new: &Inode) -> Result<()> {
        let what = self.compare.differences(&path, old, new)?;
        if !what.is_empty() {
            self.out.push(Change::new(path, Fate::Changed, Some(old), Some(new)).with(what));
        }
        Ok(())
    }

    /// Tells a change of what has the same name in the same directory as before, wherever that is.
    fn tell(&mut self, link: &Link, change: Change) -> Result<()> {
        if let Some(path) = self.after.path(link)? {
            let before = self.before.path(link)?;
            self.out.push(change.at(path, before));
        }
        Ok(())
    }

    /// What differs and has the names that it had.
    fn stayed(&mut self, links: &Links, observer: &dyn Observer) -> Result<()> {
        let mut told: HashSet<Link> = links.new.iter().map(|(link, _)| link.clone()).collect();
        told.extend(links.replaced.iter().map(|(link, ..)| link.clone()));
        let mut names: HashMap<InodeNumber, u32> = HashMap::new();
        let new = links.new.iter().map(|(_, to)| to);
        for to in new.chain(links.replaced.iter().map(|(_, _, to)| to)) {
            *names.entry(*to).or_default() += 1;
        }
        let (mut found, mut wanted) = (HashMap::new(), HashMap::new());
        for (number, pair) in self.pairs {
            let Some((old, new)) = pair.same() else { continue };
            let left = u32::from(new.links).saturating_sub(names.get(number).copied().unwrap_or(0));
            let what = self.compare.differences(b"", old, new)?;
            if what.is_empty() || left == 0 {
                continue;
            }
            let change = Change::new(Vec::new(), Fate::Changed, Some(old), Some(new)).with(what);
            if !new.is_directory() {
                wanted.insert(*number, left);
                found.insert(*number, change);
            } else if names.get(number).is_none() {
                match self.after.above(*number)?.filter(|_| *number != ext::Ext::ROOT) {
                    Some((directory, name)) => self.tell(&Link { directory, name }, change)?,
                    None if *number == ext::Ext::ROOT => self.out.push(change.at(b"/".to_vec(), None)),
                    None => {}
                }
            }
        }
        for (number, link) in self.after.of_files(wanted, &told, observer)? {
            if let Some(change) = found.get(&number) {
                self.tell(&link, change.clone())?;
            }
        }
        Ok(())
    }
}
