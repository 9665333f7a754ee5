//! A tree, from the top: each directory before what is in it, in the order of names.

use crate::error::{Error, Result};
use crate::image::Image;
use crate::paths::join;
use block_device::Observer;
use ext::Inode;
use std::collections::HashSet;

/// One name.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its path in the image, from the root.
    pub path: Vec<u8>,
    /// Directories between it and where the walk began.
    pub depth: usize,
    /// What it is.
    pub inode: Inode,
}

/// Where a walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Into it, if it is a directory.
    Into,
    /// Past it.
    Past,
}

/// Calls `visit` with `path` and all that is below it. A directory that a damaged file system has in two places is entered once.
///
/// # Errors
/// Those of reading, those of `visit`, and [`Error::Cancelled`].
pub fn walk(
    image: &Image,
    path: &[u8],
    observer: &dyn Observer,
    visit: &mut dyn FnMut(&Node) -> Result<Step>,
) -> Result<()> {
    let mut left = vec![Node { path: path.to_vec(), depth: 0, inode: image.find(path)? }];
    let mut entered = HashSet::new();
    while let Some(node) = left.pop() {
        if observer.cancelled() {
            return Err(Error::Cancelled(""));
        }
        let step = visit(&node)?;
        if step == Step::Past || !node.inode.is_directory() || !entered.insert(node.inode.number) {
            continue;
        }
        let failed = image.at(&node.path);
        let mut names = image.ext.entries(&node.inode).map_err(&failed)?;
        names.retain(|e| !matches!(&e.name[..], b"." | b".."));
        names.sort_by(|a, b| b.name.cmp(&a.name));
        for entry in names {
            let path = join(&node.path, &entry.name);
            let inode = image.ext.inode(entry.inode).map_err(image.at(&path))?;
            left.push(Node { path, depth: node.depth + 1, inode });
        }
    }
    Ok(())
}
