//! How files differ, line by line: from the changes that `status` finds.

mod lines;
mod quote;

use crate::data::each_piece;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::paths::tidy;
use crate::status::{Change, Fate, Status, What};
use crate::walk::{Step, walk};
use block_device::Observer;
use ext::Inode;
use serde::Serialize;
use std::collections::HashSet;

/// Files longer than this are not compared by lines.
const LONGEST: u64 = 64 << 20;
/// Bytes in which a NUL makes a file binary, as git has it.
const LOOKED_AT: usize = 8000;

/// How much of a file's text has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lines {
    /// Its path, as text.
    pub path: String,
    /// Lines that are new.
    pub added: u64,
    /// Lines that are gone.
    pub deleted: u64,
    /// It is no text: nothing is counted.
    pub binary: bool,
}

/// Keeps the changes at some paths and below them; all, if there are none.
pub fn only(status: &mut Status, paths: &[Vec<u8>]) {
    if !paths.is_empty() {
        let paths = Paths::of(paths);
        status.changes.retain(|c| paths.meet(c));
    }
}

/// Paths, with all that is below each.
pub(crate) struct Paths(Vec<Vec<u8>>);

impl Paths {
    pub(crate) fn of(paths: &[Vec<u8>]) -> Paths {
        Paths(paths.iter().map(|p| tidy(p)).collect())
    }

    pub(crate) fn hold(&self, path: &[u8]) -> bool {
        self.0.iter().any(|p| match path.strip_prefix(&p[..]) {
            Some(rest) => rest.is_empty() || rest[0] == b'/' || p == b"/",
            None => false,
        })
    }

    /// Whether a change is about them: with the name it has, or the one it had.
    pub(crate) fn meet(&self, change: &Change) -> bool {
        self.hold(&change.raw) || change.raw_from.as_ref().is_some_and(|from| self.hold(from))
    }
}

/// The side of a change that is looked at: a regular file, or a link.
struct Side {
    path: Vec<u8>,
    inode: Option<Inode>,
}

impl Side {
    fn of(image: &Image, path: &[u8], number: Option<u32>) -> Result<Side> {
        let inode = number.map(|n| image.ext.inode(n)).transpose().map_err(image.at(path))?;
        let inode = inode.filter(|i| i.is_regular() || i.is_link());
        Ok(Side { path: path.to_vec(), inode })
    }

    /// What it holds; `None` for what is too long, or no text.
    fn text(&self, image: &Image) -> Result<Option<Vec<u8>>> {
        let Some(inode) = &self.inode else { return Ok(Some(Vec::new())) };
        if inode.is_link() {
            return image.ext.read_link(inode).map(Some).map_err(image.at(&self.path));
        }
        if inode.size > LONGEST {
            return Ok(None);
        }
        let mut bytes = vec![0; inode.size as usize];
        each_piece(image, &self.path, inode, &mut |at, piece| {
            bytes[at as usize..][..piece.len()].copy_from_slice(piece);
            Ok(())
        })?;
        let binary = bytes[..bytes.len().min(LOOKED_AT)].contains(&0);
        Ok((!binary).then_some(bytes))
    }

    /// As git has modes: 100644, 100755, 120000.
    fn mode(&self) -> Option<u32> {
        let inode = self.inode.as_ref()?;
        Some(match (inode.is_link(), inode.mode & 0o111) {
            (true, _) => 0o120_000,
            (false, 0) => 0o100_644,
            (false, _) => 0o100_755,
        })
    }
}

/// One change, with both sides.
struct Change2<'a> {
    change: &'a Change,
    old: Side,
    new: Side,
}

fn sides<'a>(old: &Image, new: &Image, change: &'a Change) -> Result<Option<Change2<'a>>> {
    let from = change.raw_from.as_deref().unwrap_or(&change.raw);
    let (before, after) = change.inodes;
    let (a, b) = (Side::of(old, from, before)?, Side::of(new, &change.raw, after)?);
    // Directories, devices and the like have no text, and a patch no way to say them.
    let told = a.inode.is_some() || b.inode.is_some();
    Ok(told.then_some(Change2 { change, old: a, new: b }))
}

/// Whether its text can differ.
fn may_differ(change: &Change) -> bool {
    let content = |w: &What| matches!(w, What::Content | What::Type);
    matches!(change.fate, Fate::Added | Fate::Deleted) || change.what.iter().any(content)
}

/// Counts the lines of all changes.
///
/// # Errors
/// Those of reading; [`Error::Cancelled`].
pub fn stat(old: &Image, new: &Image, status: &Status, observer: &dyn Observer) -> Result<Vec<Lines>> {
    let mut out = Vec::new();
    for change in &status.changes {
        if observer.cancelled() {
            return Err(Error::Cancelled(""));
        }
        let Some(both) = sides(old, new, change)? else { continue };
        let mut lines = Lines { path: change.path.clone(), added: 0, deleted: 0, binary: false };
        if may_differ(change) {
            match (both.old.text(old)?, both.new.text(new)?) {
                (Some(a), Some(b)) => (lines.deleted, lines.added) = lines::count(&a, &b),
                _ => lines.binary = true,
            }
        }
        out.push(lines);
    }
    Ok(out)
}

/// Hands out a patch of each change, in the form of git's, which `patch -p1` takes: names that are new or gone, renamed files, links, and
/// whether they may be run, too. What is no text is named only.
///
/// # Errors
/// Those of reading, those of `take`; [`Error::Cancelled`].
pub fn patch(
    old: &Image,
    new: &Image,
    status: &Status,
    observer: &dyn Observer,
    take: &mut dyn FnMut(&[u8]),
) -> Result<()> {
    let mut all = status.changes.clone();
    for change in status.changes.iter().filter(|c| c.fate == Fate::Renamed && c.kind == "directory") {
        moved_along(new, change, status, observer, &mut all)?;
    }
    all.sort_by(|a, b| a.raw.cmp(&b.raw));
    for change in &all {
        if observer.cancelled() {
            return Err(Error::Cancelled(""));
        }
        let Some(both) = sides(old, new, change)? else { continue };
        let parts = match both.old.inode.as_ref().zip(both.new.inode.as_ref()) {
            // From a file to a link, or the reverse: one goes, the other comes.
            Some((a, b)) if a.kind() != b.kind() => {
                let none = |path: &[u8]| Side { path: path.to_vec(), inode: None };
                let (gone, come) = (none(&both.new.path), none(&both.old.path));
                vec![
                    Change2 { change, old: both.old, new: gone },
                    Change2 { change, old: come, new: both.new },
                ]
            }
            _ => vec![both],
        };
        for part in parts {
            take(&one_patch(old, new, &part)?);
        }
    }
    Ok(())
}

/// Adds the files that have moved only because a directory has: a patch knows no directories.
fn moved_along(
    new: &Image,
    directory: &Change,
    status: &Status,
    observer: &dyn Observer,
    out: &mut Vec<Change>,
) -> Result<()> {
    let told: HashSet<&[u8]> = status
        .changes
        .iter()
        .filter(|c| c.fate != Fate::Deleted && c.raw != directory.raw)
        .map(|c| &c.raw[..])
        .collect();
    let from = directory.raw_from.as_deref().unwrap_or_default();
    walk(new, &directory.raw, observer, &mut |node| {
        if told.contains(&node.path[..]) {
            let moves_itself = |c: &&Change| c.raw == node.path && c.fate != Fate::Changed;
            return Ok(if status.changes.iter().any(|c| moves_itself(&c)) { Step::Past } else { Step::Into });
        }
        if !node.inode.is_directory() {
            let inode = Some(&node.inode);
            let before = [from, &node.path[directory.raw.len()..]].concat();
            let change = Change::new(node.path.clone(), Fate::Renamed, inode, inode);
            out.push(change.renamed_from(&before));
        }
        Ok(Step::Into)
    })
}

fn one_patch(old: &Image, new: &Image, both: &Change2<'_>) -> Result<Vec<u8>> {
    let (a, b) = (quote::name(b"a", &both.old.path), quote::name(b"b", &both.new.path));
    let mut head = format!("diff --git {a} {b}\n");
    let mut differs = may_differ(both.change);
    match (both.old.mode(), both.new.mode()) {
        (None, Some(mode)) => head += &format!("new file mode {mode:o}\n"),
        (Some(mode), None) => head += &format!("deleted file mode {mode:o}\n"),
        (Some(x), Some(y)) if x != y => head += &format!("old mode {x:o}\nnew mode {y:o}\n"),
        _ => {}
    }
    let both_there = both.old.inode.is_some() && both.new.inode.is_some();
    if both_there && both.old.path != both.new.path {
        let (from, to) = (quote::name(b"", &both.old.path), quote::name(b"", &both.new.path));
        head += &format!("rename from {from}\nrename to {to}\n");
    }
    let mut body = Vec::new();
    if differs {
        let none = "/dev/null".to_owned();
        let from = if both.old.inode.is_some() { &a } else { &none };
        let to = if both.new.inode.is_some() { &b } else { &none };
        match (both.old.text(old)?, both.new.text(new)?) {
            (Some(x), Some(y)) => {
                let hunks = lines::unified(&x, &y);
                differs = !hunks.is_empty();
                if differs {
                    body.extend_from_slice(format!("--- {from}\n+++ {to}\n").as_bytes());
                    body.extend_from_slice(&hunks);
                }
            }
            _ => body.extend_from_slice(format!("Binary files {from} and {to} differ\n").as_bytes()),
        }
    }
    // An owner, a time: nothing that a patch could say.
    if !differs && head.lines().count() == 1 {
        return Ok(Vec::new());
    }
    Ok([head.as_bytes(), &body].concat())
}
