//! Which inodes are watched, by whom; and those who do something with files say it here.

use super::{Event, Inotify, Mask, count};
use crate::base::{Errno, Mutex, Rank, Result};
use crate::fs::{Dentry, FileSystem, Inode};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Device and number of an inode.
pub(super) type Key = (u64, u64);

struct Watch {
    instance: Weak<Inotify>,
    wd: i32,
    mask: Mask,
    /// It stays what it is as long as it is watched.
    inode: Arc<dyn Inode>,
}

static WATCHES: Mutex<Option<HashMap<Key, Vec<Watch>>>> = Mutex::new(Rank::Leaf, None);
/// How many there are: who reads and writes asks often.
static MANY: AtomicUsize = AtomicUsize::new(0);

/// Whether anything is watched.
pub fn any() -> bool {
    MANY.load(Ordering::Relaxed) > 0
}

fn key(inode: &Arc<dyn Inode>) -> Result<Key> {
    let attr = inode.attr()?;
    Ok((attr.dev, attr.ino))
}

/// Takes watches out of the table, and lets them go after the lock: an inode may end with its watch.
fn take(key: Key, mut which: impl FnMut(&Watch) -> bool) -> Vec<Watch> {
    let mut table = WATCHES.lock();
    let table = table.get_or_insert_with(HashMap::new);
    let Some(list) = table.get_mut(&key) else { return Vec::new() };
    let taken: Vec<Watch> = list.extract_if(.., |w| which(w)).collect();
    if list.is_empty() {
        table.remove(&key);
    }
    MANY.fetch_sub(taken.len(), Ordering::Relaxed);
    taken
}

pub(super) fn add(instance: &Inotify, inode: &Arc<dyn Inode>, mask: Mask) -> Result<i32> {
    let key = key(inode)?;
    let kept = Mask::ALL | Mask::EXCL_UNLINK | Mask::ONESHOT;
    let known = || {
        let mut table = WATCHES.lock();
        let list = table.get_or_insert_with(HashMap::new).get_mut(&key)?;
        let watch = list.iter_mut().find(|w| std::ptr::eq(w.instance.as_ptr(), instance))?;
        if mask.contains(Mask::MASK_CREATE) {
            return Some(Err(Errno::EEXIST));
        }
        watch.mask = if mask.contains(Mask::MASK_ADD) { watch.mask | mask & kept } else { mask & kept };
        Some(Ok(watch.wd))
    };
    if let Some(result) = known() {
        return result;
    }
    if !count(instance.uid, 1) {
        return Err(Errno::ENOSPC);
    }
    let wd = instance.number(key);
    let watch = Watch { instance: instance.me.clone(), wd, mask: mask & kept, inode: inode.clone() };
    MANY.fetch_add(1, Ordering::Relaxed);
    WATCHES.lock().get_or_insert_with(HashMap::new).entry(key).or_default().push(watch);
    Ok(wd)
}

pub(super) fn remove(instance: &Inotify, key: Key, wd: i32) {
    let gone = take(key, |w| w.wd == wd && std::ptr::eq(w.instance.as_ptr(), instance));
    instance.ignored(wd);
    drop(gone);
}

/// An instance is at its end.
pub(super) fn forget<'a>(instance: &Weak<Inotify>, keys: impl Iterator<Item = &'a Key>) {
    for key in keys {
        drop(take(*key, |w| Weak::ptr_eq(&w.instance, instance)));
    }
}

/// Tells those who watch an inode.
fn tell(inode: &Arc<dyn Inode>, event: Mask, name: &[u8], cookie: u32, unlinked: bool) {
    let Ok(key) = key(inode) else { return };
    let kind = event & Mask::ALL;
    let wants = |w: &Watch| {
        w.mask.intersects(kind) && !(unlinked && !name.is_empty() && w.mask.contains(Mask::EXCL_UNLINK))
    };
    let mut told = Vec::new();
    let mut last = false;
    if let Some(list) = WATCHES.lock().as_ref().and_then(|t| t.get(&key)) {
        for watch in list.iter().filter(|w| wants(w)) {
            last |= watch.mask.contains(Mask::ONESHOT);
            told.extend(watch.instance.upgrade().map(|i| (i, watch.wd)));
        }
    }
    // As Linux has it: what happens to a directory itself does not say that it is one.
    let own = Mask::DELETE_SELF | Mask::MOVE_SELF;
    let mask = if event.intersects(own) { event - Mask::ISDIR } else { event };
    for (instance, wd) in told {
        instance.push(Event { wd, mask: mask.bits(), cookie, name: name.to_vec() });
    }
    if last {
        let over = take(key, |w| w.mask.contains(Mask::ONESHOT) && wants(w));
        end(over);
    }
}

fn end(watches: Vec<Watch>) {
    for watch in &watches {
        if let Some(instance) = watch.instance.upgrade() {
            instance.ignored(watch.wd);
        }
    }
}

fn is_dir(inode: &Arc<dyn Inode>) -> Mask {
    match inode.attr() {
        Ok(attr) if attr.is_dir() => Mask::ISDIR,
        _ => Mask::empty(),
    }
}

/// Something has happened to a file: those are told who watch its directory, and those who watch it.
pub fn about(dentry: &Dentry, event: Mask) {
    if !any() {
        return;
    }
    let event = event | is_dir(dentry.inode());
    if let Some(parent) = dentry.parent() {
        tell(parent.inode(), event, &dentry.name(), 0, dentry.is_deleted());
    }
    tell(dentry.inode(), event, b"", 0, false);
}

/// Something has happened to a file whatever its name.
pub fn on(inode: &Arc<dyn Inode>, event: Mask) {
    if any() {
        tell(inode, event | is_dir(inode), b"", 0, false);
    }
}

/// A name was made in a directory, or removed.
pub fn in_directory(dir: &Arc<dyn Inode>, name: &[u8], of: &Arc<dyn Inode>, event: Mask) {
    if any() {
        tell(dir, event | is_dir(of), name, 0, false);
    }
}

/// A name was moved.
pub fn moved(inode: &Arc<dyn Inode>, from: (&Arc<dyn Inode>, &[u8]), to: (&Arc<dyn Inode>, &[u8])) {
    static COOKIES: AtomicU32 = AtomicU32::new(1);
    if !any() {
        return;
    }
    let (cookie, dir) = (COOKIES.fetch_add(1, Ordering::Relaxed), is_dir(inode));
    tell(from.0, Mask::MOVED_FROM | dir, from.1, cookie, false);
    tell(to.0, Mask::MOVED_TO | dir, to.1, cookie, false);
}

/// A file has lost its last name, and nobody has it open any more.
pub fn gone(inode: &Arc<dyn Inode>) {
    if any() {
        tell(inode, Mask::DELETE_SELF, b"", 0, false);
        if let Ok(key) = key(inode) {
            end(take(key, |_| true));
        }
    }
}

/// A file system is mounted nowhere any more.
pub fn unmounted(fs: &Arc<dyn FileSystem>) {
    if !any() {
        return;
    }
    let of_it = |w: &Watch| std::ptr::addr_eq(Arc::as_ptr(&w.inode.file_system()), Arc::as_ptr(fs));
    let keys: Vec<Key> = WATCHES.lock().iter().flat_map(|t| t.keys().copied()).collect();
    for key in keys {
        let over = take(key, of_it);
        for watch in &over {
            if let Some(instance) = watch.instance.upgrade() {
                let mask = Mask::UNMOUNT.bits();
                instance.push(Event { wd: watch.wd, mask, cookie: 0, name: Vec::new() });
            }
        }
        end(over);
    }
}
