//! The files of an ext file system, as the kernel asks for them.
//!
//! Nobody else changes the disk, so the kernel keeps what it has been told until it changes that itself: attributes, names, names that are
//! not there, content. It writes back by itself, and keeps the times of what it has (FUSE_WRITEBACK_CACHE). Files are opened without asking.

mod data;
mod making;
mod names;
mod requests;
mod xattrs;

use crate::commit::{Committer, Interval};
use crate::control::Verdict;
use crate::errno::errno;
use crate::listing::Listings;
use crate::lookups::Lookups;
use crate::turn::Turns;
use crate::workers::Workers;
use ext::{Changes, Ext, Inode, InodeNumber};
use fuser::{Errno, Notifier};
use parking_lot::RwLock;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// How files are shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// Whose everything seems to be: what is made belongs to whom its directory belongs to, and nobody else can be given anything.
    pub owner: Option<Owner>,
    /// Reading leaves no time behind. Otherwise it does where the last is a day old, or older than a change (relatime).
    pub no_access_times: bool,
    /// Each write(2) comes at once, and not when the kernel writes back.
    pub write_through: bool,
    /// A file system that somebody else may change: nothing is kept for long.
    pub live: bool,
    /// When what has been changed is committed without being asked for.
    pub commit: Interval,
}

/// Longer than any mount lasts.
const FOR_EVER: Duration = Duration::from_secs(365 * 86400);
/// Threads for what waits.
const WORKERS: usize = 8;

/// An ext file system, to be served.
pub struct Files(pub(crate) Arc<Volume>);

/// What all requests share.
pub(crate) struct Volume {
    pub(crate) ext: Arc<Ext>,
    pub(crate) settings: Settings,
    pub(crate) ttl: Duration,
    pub(crate) lookups: Lookups,
    pub(crate) listings: Listings,
    pub(crate) turns: Turns,
    pub(crate) workers: Workers,
    pub(crate) notifier: OnceLock<Notifier>,
    pub(crate) committer: Option<Committer>,
    verdict: Arc<Verdict>,
    /// Held, shared, while an inode ends: who finds no room waits for that.
    ending: RwLock<()>,
}

pub(crate) type Reply<T> = Result<T, Errno>;

impl Files {
    /// The files of an opened file system. Where it is open for writing, a thread begins to commit what will be changed.
    ///
    /// # Errors
    /// When there can be no such thread.
    pub fn new(ext: Ext, settings: Settings, verdict: Arc<Verdict>) -> std::io::Result<Files> {
        let ext = Arc::new(ext);
        let committer = match ext.is_read_only() {
            true => None,
            false => Some(Committer::start(ext.clone(), settings.commit)?),
        };
        let ttl = if settings.live { Duration::from_secs(1) } else { FOR_EVER };
        Ok(Files(Arc::new(Volume {
            ext,
            settings,
            ttl,
            lookups: Lookups::default(),
            listings: Listings::default(),
            turns: Turns::default(),
            workers: Workers::new(WORKERS),
            notifier: OnceLock::new(),
            committer,
            verdict,
            ending: RwLock::new(()),
        })))
    }
}

impl Volume {
    pub(crate) fn attribute(&self) -> String {
        self.verdict.attribute()
    }

    /// Does something that changes the disk. If there is no room, what is just being given back may make some.
    pub(crate) fn change<T>(&self, mut work: impl FnMut(&Ext) -> ext::Result<T>) -> Reply<T> {
        let mut done = work(&self.ext);
        if matches!(done, Err(ext::Error::NoSpace)) {
            drop(self.ending.write());
            done = work(&self.ext);
        }
        if let Some(committer) = &self.committer {
            committer.changed();
        }
        done.map_err(errno)
    }

    pub(crate) fn inode(&self, number: InodeNumber) -> Reply<Inode> {
        self.ext.inode(number).map_err(errno)
    }

    /// Ends an inode that has no name, and that the kernel does not know any more.
    pub(crate) fn end(&self, number: InodeNumber) {
        let _ending = self.ending.read();
        // If that fails, it is on the list of orphans still, and the next mount ends it.
        let _ = self.ext.release(number);
        if let Some(committer) = &self.committer {
            committer.changed();
        }
    }

    /// It has been read: where that is to be seen, and is not yet, it becomes so.
    pub(crate) fn accessed(&self, inode: &Inode) {
        if self.settings.no_access_times || self.committer.is_none() {
            return;
        }
        let now = ext::host_clock();
        let (atime, day) = (inode.atime, 86400);
        if atime > inode.mtime && atime > inode.ctime && now.sec - atime.sec < day {
            return;
        }
        let changes = Changes { atime: Some(now), ctime: Some(inode.ctime), ..Changes::default() };
        // Who reads does not fail for that.
        let _ = self.change(|ext| ext.change(inode.number, &changes));
    }

    /// Everything goes to the disk, and it is clean.
    pub(crate) fn finish(&self) -> Result<(), String> {
        self.workers.end();
        if let Some(committer) = &self.committer {
            committer.end();
        }
        for number in self.lookups.take_nameless() {
            self.end(number);
        }
        let ended = self.ext.unmount();
        match (self.ext.failure(), ended) {
            (Some(why), _) => {
                Err(format!("it could not be committed: {why}; what was synced before is there"))
            }
            (None, Err(e)) => Err(e.to_string()),
            (None, Ok(())) => Ok(()),
        }
    }
}
