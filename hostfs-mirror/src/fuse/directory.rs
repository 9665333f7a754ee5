//! Directories that are open: their entries, as they were when reading began.

use super::attr::{attr_of, entry_type};
use super::{FOR_EVER, Shared, errno};
use crate::leg::Entry;
use crate::set::Node;
use fuser::{Errno, FileHandle, FileType, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many are looked up for one answer.
const BATCH: usize = 128;

type Entries = Arc<Vec<Entry>>;

/// What is open.
#[derive(Debug, Default)]
pub(super) struct Handles {
    next: AtomicU64,
    entries: Mutex<FxHashMap<u64, Entries>>,
}

impl Handles {
    pub(super) fn open(&self) -> FileHandle {
        FileHandle(self.next.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(super) fn close(&self, handle: FileHandle) {
        self.entries.lock().remove(&handle.0);
    }
}

impl Shared {
    /// Gives the entries to `then`: those of the last time, unless it is the beginning.
    fn entries(
        &self,
        node: &Arc<Node>,
        handle: FileHandle,
        offset: u64,
        then: impl FnOnce(Result<Entries, Errno>) + Send,
    ) {
        if offset > 0
            && let Some(known) = self.handles.entries.lock().get(&handle.0).cloned()
        {
            return then(Ok(known));
        }
        self.set.list(node, |entries| {
            let entries = entries.map(Arc::new).map_err(errno);
            if let Ok(entries) = &entries {
                self.handles.entries.lock().insert(handle.0, entries.clone());
            }
            then(entries);
        });
    }

    pub(super) fn read_dir(
        &self,
        node: &Arc<Node>,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.entries(node, handle, offset, |entries| {
            let entries = match entries {
                Ok(entries) => entries,
                Err(e) => return reply.error(e),
            };
            for (at, name) in [(0, "."), (1, "..")] {
                if offset <= at && reply.add(number_of(node, at), at + 1, FileType::Directory, name) {
                    return reply.ok();
                }
            }
            let first = offset.saturating_sub(2) as usize;
            for (at, entry) in entries.iter().enumerate().skip(first) {
                let kind = entry_type(entry.kind);
                if reply.add(INodeNo(entry.ino), at as u64 + 3, kind, &entry.name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    pub(super) fn read_dir_plus(
        &self,
        node: &Arc<Node>,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.entries(node, handle, offset, |entries| {
            let entries = match entries {
                Ok(entries) => entries,
                Err(e) => return reply.error(e),
            };
            for (at, name) in [(0, "."), (1, "..")] {
                // The kernel takes no more of these two than that they are there.
                let attr = fuser::FileAttr {
                    ino: number_of(node, at),
                    kind: FileType::Directory,
                    ..super::attr::nothing()
                };
                let (ino, none) = (number_of(node, at), std::time::Duration::ZERO);
                if offset <= at && reply.add(ino, at + 1, name, &none, &attr, Generation(0)) {
                    return reply.ok();
                }
            }
            self.add_batch(node, &entries, offset.saturating_sub(2) as usize, reply);
        });
    }

    /// Adds entries, as many as there is room for, from the one with that number on.
    fn add_batch(&self, node: &Arc<Node>, entries: &[Entry], first: usize, mut reply: ReplyDirectoryPlus) {
        let end = (first + BATCH).min(entries.len());
        let names: Vec<_> =
            entries.get(first..end).unwrap_or_default().iter().map(|e| e.name.as_os_str()).collect();
        self.set.lookup_many(node, &names, |found| {
            let found = match found {
                Ok(found) => found,
                Err(e) => return reply.error(errno(e)),
            };
            let (mut full, mut some) = (false, false);
            for (at, (name, told)) in names.iter().zip(found).enumerate() {
                // Gone since it was listed.
                let Some(told) = told else { continue };
                let (ino, next) = (INodeNo(told.node.number()), (first + at) as u64 + 3);
                full = full || reply.add(ino, next, name, &FOR_EVER, &attr_of(&told), Generation(0));
                some = true;
                if full {
                    self.set.forget(told.node.number(), 1);
                }
            }
            // Nothing at all would mean the end.
            if !some && end < entries.len() {
                return self.add_batch(node, entries, end, reply);
            }
            reply.ok();
        });
    }
}

/// The number behind "." and "..". Of the latter the kernel knows better.
fn number_of(node: &Node, at: u64) -> INodeNo {
    INodeNo(if at == 0 { node.number() } else { 1 })
}
