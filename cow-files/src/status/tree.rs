//! Both trees, side by side: for disks of which nothing tells where they can differ.

use super::{Change, Compare, Fate};
use crate::error::Result;
use crate::image::Image;
use crate::walk::{Step, walk};
use block_device::Observer;
use ext::{Inode, InodeNumber};
use std::collections::{BTreeMap, HashMap, HashSet};

type Tree = BTreeMap<Vec<u8>, Inode>;

fn read(image: &Image, observer: &dyn Observer) -> Result<Tree> {
    let mut tree = Tree::new();
    walk(image, b"/", observer, &mut |node| {
        tree.insert(node.path.clone(), node.inode.clone());
        Ok(Step::Into)
    })?;
    Ok(tree)
}

/// All changes, in no order. What is renamed is found where both are one file system: only there an inode's number says something.
pub(crate) fn changes(compare: &Compare<'_>, observer: &dyn Observer) -> Result<Vec<Change>> {
    let (old, new) = (read(compare.old, observer)?, read(compare.new, observer)?);
    let one = compare.old.ext.superblock().uuid == compare.new.ext.superblock().uuid;
    let mut gone: HashMap<InodeNumber, Vec<&Vec<u8>>> = HashMap::new();
    for (path, inode) in old.iter().rev().filter(|(path, _)| one && !new.contains_key(*path)) {
        gone.entry(inode.number).or_default().push(path);
    }
    let (mut out, mut taken) = (Vec::new(), HashSet::new());
    for (path, inode) in &new {
        if let Some(before) = old.get(path) {
            let what = compare.differences(path, before, inode)?;
            if !what.is_empty() {
                let change = Change::new(path.clone(), Fate::Changed, Some(before), Some(inode));
                out.push(change.with(what));
            }
            continue;
        }
        let is_same = |from: &&Vec<u8>| {
            let before = &old[*from];
            before.generation == inode.generation && before.kind() == inode.kind()
        };
        let from = gone.get_mut(&inode.number).and_then(|all| {
            let at = all.iter().position(is_same)?;
            Some(all.remove(at))
        });
        let Some(from) = from else {
            out.push(Change::new(path.clone(), Fate::Added, None, Some(inode)));
            continue;
        };
        taken.insert(from);
        let before = &old[from];
        let what = compare.differences(path, before, inode)?;
        // What lies in a directory that was moved has moved with it.
        if moved_along(path, from, &old, &new) {
            if !what.is_empty() {
                let change = Change::new(path.clone(), Fate::Changed, Some(before), Some(inode)).with(what);
                out.push(change.at(path.clone(), Some(from.clone())));
            }
            continue;
        }
        let change = Change::new(path.clone(), Fate::Renamed, Some(before), Some(inode));
        out.push(change.with(what).renamed_from(from));
    }
    let deleted = old.iter().filter(|(path, _)| !new.contains_key(*path) && !taken.contains(*path));
    out.extend(deleted.map(|(path, inode)| Change::new(path.clone(), Fate::Deleted, Some(inode), None)));
    Ok(out)
}

/// Whether a name has moved only because its directory has.
fn moved_along(path: &[u8], from: &[u8], old: &Tree, new: &Tree) -> bool {
    let (Some((to_dir, to_name)), Some((from_dir, from_name))) =
        (crate::paths::split(path), crate::paths::split(from))
    else {
        return false;
    };
    let number = |tree: &Tree, path: &[u8]| tree.get(path).map(|i| i.number);
    let same = number(new, to_dir).is_some() && number(new, to_dir) == number(old, from_dir);
    same && to_name == from_name && to_dir != from_dir
}
