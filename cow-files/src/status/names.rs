//! From inodes to paths, without a walk from the root. A directory knows its parent; a file does not, and is looked for where Linux puts files:
//! in the directories of its own block group first.

use crate::error::{Error, Result};
use crate::image::Image;
use crate::paths::join;
use block_device::Observer;
use ext::{Ext, FileType, InodeNumber};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Link {
    pub(crate) directory: InodeNumber,
    pub(crate) name: Vec<u8>,
}

/// A directory of a damaged file system may lead into itself.
const DEEPEST: usize = 4096;

/// The directories in a directory, and their names.
type Children = HashMap<InodeNumber, Vec<u8>>;

/// The paths of one file system; what was found is kept.
pub(crate) struct Names<'a> {
    image: &'a Image,
    paths: HashMap<InodeNumber, Option<Vec<u8>>>,
    children: HashMap<InodeNumber, Children>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(image: &'a Image) -> Self {
        let paths = HashMap::from([(Ext::ROOT, Some(b"/".to_vec()))]);
        Names { image, paths, children: HashMap::new() }
    }

    /// The path of a name; `None` if its directory has none.
    pub(crate) fn path(&mut self, link: &Link) -> Result<Option<Vec<u8>>> {
        Ok(self.directory(link.directory)?.map(|directory| join(&directory, &link.name)))
    }

    /// The path of a directory; `None` if none leads to it.
    pub(crate) fn directory(&mut self, number: InodeNumber) -> Result<Option<Vec<u8>>> {
        let mut up = Vec::new();
        let mut here = number;
        let mut path = loop {
            if let Some(known) = self.paths.get(&here) {
                break known.clone();
            }
            let found = if up.len() < DEEPEST { self.above(here)? } else { None };
            let Some((parent, name)) = found else {
                self.paths.insert(here, None);
                break None;
            };
            up.push((here, name));
            here = parent;
        };
        for (number, name) in up.into_iter().rev() {
            path = path.map(|above| join(&above, &name));
            self.paths.insert(number, path.clone());
        }
        Ok(path)
    }

    /// The parent of a directory, and the name it has there.
    pub(crate) fn above(&mut self, number: InodeNumber) -> Result<Option<(InodeNumber, Vec<u8>)>> {
        let ext = &self.image.ext;
        let failed = |e| self.image.failed(e);
        let parent = match ext.lookup(&ext.inode(number).map_err(failed)?, b"..") {
            Ok(parent) => parent,
            Err(ext::Error::NotFound) => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        if let Entry::Vacant(children) = self.children.entry(parent) {
            let mut all = Children::new();
            let directory = ext.inode(parent).map_err(failed)?;
            ext.each_entry(&directory, &mut |name, inode, kind| {
                if matches!(kind, FileType::Directory | FileType::Unknown) && !matches!(name, b"." | b"..") {
                    all.insert(inode, name.to_vec());
                }
            })
            .map_err(failed)?;
            children.insert(all);
        }
        Ok(self.children[&parent].get(&number).map(|name| (parent, name.clone())))
    }

    /// All names of some inodes that are no directories, by how many each has. Those of `known` are not told again.
    pub(crate) fn of_files(
        &self,
        mut wanted: HashMap<InodeNumber, u32>,
        known: &HashSet<Link>,
        observer: &dyn Observer,
    ) -> Result<Vec<(InodeNumber, Link)>> {
        let mut found = Vec::new();
        let per_group = self.image.ext.superblock().inodes_per_group;
        let mut groups: Vec<u64> = wanted.keys().map(|n| u64::from((n - 1) / per_group)).collect();
        groups.sort_unstable();
        groups.dedup();
        let all = 0..self.image.ext.superblock().groups();
        let others: Vec<u64> = all.filter(|g| groups.binary_search(g).is_err()).collect();
        for group in groups.into_iter().chain(others) {
            if wanted.is_empty() {
                break;
            }
            self.look_in(group, &mut wanted, known, &mut found, observer)?;
        }
        Ok(found)
    }

    fn look_in(
        &self,
        group: u64,
        wanted: &mut HashMap<InodeNumber, u32>,
        known: &HashSet<Link>,
        found: &mut Vec<(InodeNumber, Link)>,
        observer: &dyn Observer,
    ) -> Result<()> {
        let ext = &self.image.ext;
        let mut directories = Vec::new();
        let mut note = |number, mode| {
            if mode & 0xf000 == 0x4000 {
                directories.push(number);
            }
        };
        ext.each_named_inode(group, &mut note).map_err(|e| self.image.failed(e))?;
        for directory in directories {
            if wanted.is_empty() {
                return Ok(());
            }
            if observer.cancelled() {
                return Err(Error::Cancelled(""));
            }
            let inode = ext.inode(directory).map_err(|e| self.image.failed(e))?;
            ext.each_entry(&inode, &mut |name, inode, _| {
                let Some(left) = wanted.get_mut(&inode) else { return };
                let link = Link { directory, name: name.to_vec() };
                if known.contains(&link) {
                    return;
                }
                found.push((inode, link));
                *left -= 1;
                if *left == 0 {
                    wanted.remove(&inode);
                }
            })
            .map_err(|e| self.image.failed(e))?;
        }
        Ok(())
    }
}
