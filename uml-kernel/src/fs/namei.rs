//! From a path to what it names (path_resolution(7)).

use super::cred::{Creds, MAY_EXEC};
use super::{Namespace, Path, kind};
use crate::base::{Errno, Result};
use std::sync::Arc;

/// Symbolic links followed in one resolution (linux/namei.h).
const MAX_LINKS: u32 = 40;
/// Longest name.
pub const NAME_MAX: usize = 255;

bitflags::bitflags! {
    /// Restrictions of openat2(2), same values.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Resolve: u64 {
        /// No crossing of mounts.
        const NO_XDEV = 1;
        /// No magic links.
        const NO_MAGICLINKS = 2;
        /// No symbolic links.
        const NO_SYMLINKS = 4;
        /// Not above the start.
        const BENEATH = 8;
        /// The start is the root.
        const IN_ROOT = 16;
        /// Only from the cache.
        const CACHED = 32;
    }
}

/// From where, and as whom, paths are resolved.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// Mounts.
    pub ns: Arc<Namespace>,
    /// `/`.
    pub root: Path,
    /// Where relative paths begin.
    pub start: Path,
    /// Who asks.
    pub creds: Arc<Creds>,
    /// Restrictions.
    pub resolve: Resolve,
}

impl Lookup {
    /// As root looks, from the root of all.
    pub fn as_root(ns: &Arc<Namespace>) -> Lookup {
        let creds = Arc::new(Creds::user(0, 0, &[]));
        Lookup { ns: ns.clone(), root: ns.root(), start: ns.root(), creds, resolve: Resolve::empty() }
    }
}

/// The last component of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Last {
    /// A name; true if slashes follow, so that it has to be a directory.
    Name(Vec<u8>, bool),
    /// `.`, or the root.
    Dot,
    /// `..`.
    DotDot,
}

struct Walk<'a> {
    how: &'a Lookup,
    here: Path,
    links: u32,
}

impl Lookup {
    /// What a path names; the last component is followed if it is a link and `follow`.
    pub fn find(&self, path: &[u8], follow: bool) -> Result<Path> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let mut walk = self.walk(path)?;
        let last = walk.walk_to_last(path)?;
        walk.step_last(last, follow)?;
        Ok(walk.here)
    }

    /// The directory that a path's last component is to be in, and that component.
    pub fn parent(&self, path: &[u8]) -> Result<(Path, Last)> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let mut walk = self.walk(path)?;
        let last = walk.walk_to_last(path)?;
        Ok((walk.here, last))
    }

    /// For open(O_CREAT): follows links in the last component to where the file is, or is to be.
    pub fn find_or_parent(&self, path: &[u8], follow: bool) -> Result<Found> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let mut walk = self.walk(path)?;
        let mut last = walk.walk_to_last(path)?;
        loop {
            let Last::Name(name, dir) = &last else {
                walk.step_last(last, follow)?;
                return Ok(Found::There(walk.here));
            };
            let parent = walk.here.clone();
            match walk.enter(name, follow, true) {
                Ok(None) => {
                    if *dir && !walk.here.inode().attr()?.is_dir() {
                        return Err(Errno::ENOTDIR);
                    }
                    return Ok(Found::There(walk.here));
                }
                Ok(Some(target)) => last = walk.walk_to_last(&target)?,
                Err(Errno::ENOENT) if walk.here == parent => {
                    return Ok(Found::Missing { parent, name: name.clone(), dir: *dir });
                }
                Err(e) => return Err(e),
            }
        }
    }

    fn walk(&self, path: &[u8]) -> Result<Walk<'_>> {
        let mut walk = Walk { how: self, here: self.start.clone(), links: 0 };
        if path.first() == Some(&b'/') {
            walk.go_to_root()?;
        }
        Ok(walk)
    }

    fn base(&self) -> &Path {
        if self.resolve.contains(Resolve::IN_ROOT) { &self.start } else { &self.root }
    }
}

/// What [`Lookup::find_or_parent`] finds.
#[derive(Debug, Clone)]
pub enum Found {
    /// It exists.
    There(Path),
    /// It does not.
    Missing {
        /// Where it would be.
        parent: Path,
        /// As what.
        name: Vec<u8>,
        /// A slash follows the name.
        dir: bool,
    },
}

impl Walk<'_> {
    fn go_to_root(&mut self) -> Result<()> {
        if self.how.resolve.contains(Resolve::BENEATH) {
            return Err(Errno::EXDEV);
        }
        let root = self.how.base().clone();
        if self.how.resolve.contains(Resolve::NO_XDEV) && !Arc::ptr_eq(&root.mount, &self.here.mount) {
            return Err(Errno::EXDEV);
        }
        self.here = root;
        Ok(())
    }

    /// Walks all components but the last.
    fn walk_to_last(&mut self, path: &[u8]) -> Result<Last> {
        let mut rest = path;
        loop {
            while rest.first() == Some(&b'/') {
                rest = &rest[1..];
            }
            if rest.is_empty() {
                return Ok(Last::Dot);
            }
            let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
            let (name, tail) = rest.split_at(end);
            let more = tail.iter().any(|b| *b != b'/');
            if !more {
                self.check_search()?;
                return Ok(match name {
                    b"." => Last::Dot,
                    b".." => Last::DotDot,
                    _ if name.len() > NAME_MAX => return Err(Errno::ENAMETOOLONG),
                    _ => Last::Name(name.to_vec(), !tail.is_empty()),
                });
            }
            self.component(name)?;
            rest = tail;
        }
    }

    /// Walks one component that is not the last: a directory, or a link to one.
    fn component(&mut self, name: &[u8]) -> Result<()> {
        self.check_search()?;
        match name {
            b"." => Ok(()),
            b".." => self.up(),
            _ => {
                if let Some(target) = self.enter(name, true, false)? {
                    let last = self.walk_to_last(&target)?;
                    self.step_last(last, true)?;
                }
                Ok(())
            }
        }
    }

    fn check_search(&self) -> Result<()> {
        let attr = self.here.inode().attr()?;
        if !attr.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        self.how.creds.may(&attr, MAY_EXEC)
    }

    fn up(&mut self) -> Result<()> {
        let base = self.how.base();
        if self.here == *base {
            return if self.how.resolve.contains(Resolve::BENEATH) { Err(Errno::EXDEV) } else { Ok(()) };
        }
        if self.how.resolve.contains(Resolve::BENEATH) && self.here == self.how.start {
            return Err(Errno::EXDEV);
        }
        let up = self.here.parent(base);
        if self.how.resolve.contains(Resolve::NO_XDEV) && !Arc::ptr_eq(&up.mount, &self.here.mount) {
            return Err(Errno::EXDEV);
        }
        self.here = up;
        Ok(())
    }

    fn step_last(&mut self, last: Last, follow: bool) -> Result<()> {
        match last {
            Last::Dot => Ok(()),
            Last::DotDot => self.up(),
            Last::Name(name, dir) => {
                if let Some(target) = self.enter(&name, follow || dir, false)? {
                    let last = self.walk_to_last(&target)?;
                    self.step_last(last, true)?;
                }
                if dir && !self.here.inode().attr()?.is_dir() {
                    return Err(Errno::ENOTDIR);
                }
                Ok(())
            }
        }
    }

    /// Goes to a name; if that is a link to be followed, gives its target, from where the walk stands then.
    fn enter(&mut self, name: &[u8], follow: bool, creating: bool) -> Result<Option<Vec<u8>>> {
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let dentry = self.here.dentry.child(name)?;
        let next = self.how.ns.cross(Path { mount: self.here.mount.clone(), dentry });
        if self.how.resolve.contains(Resolve::NO_XDEV) && !Arc::ptr_eq(&next.mount, &self.here.mount) {
            return Err(Errno::EXDEV);
        }
        let _ = creating;
        if follow && next.inode().attr()?.kind() == kind::LNK {
            self.links += 1;
            if self.links > MAX_LINKS || self.how.resolve.contains(Resolve::NO_SYMLINKS) {
                return Err(Errno::ELOOP);
            }
            if let Some(jump) = next.inode().jump() {
                if self.how.resolve.intersects(Resolve::NO_MAGICLINKS) {
                    return Err(Errno::ELOOP);
                }
                if self.how.resolve.intersects(Resolve::BENEATH | Resolve::IN_ROOT) {
                    return Err(Errno::EXDEV);
                }
                self.here = jump?;
                return Ok(None);
            }
            let target = next.inode().read_link()?;
            if target.is_empty() {
                return Err(Errno::ENOENT);
            }
            if target[0] == b'/' {
                self.go_to_root()?;
            }
            return Ok(Some(target));
        }
        self.here = next;
        Ok(None)
    }
}
