//! Objects of the tree: one node is the same object on all legs.

use super::flight::Answers;
use super::opened::Opened;
use crate::leg::Result;
use crate::state::{Region, manifest};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use std::collections::hash_map::Entry;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a node's descriptor on a leg is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Access {
    /// O_PATH.
    Path,
    Read,
    Write,
}

/// A node's descriptor on one leg.
#[derive(Debug, Clone)]
pub(crate) struct Descriptor {
    pub(crate) fd: Arc<Opened>,
    pub(crate) access: Access,
}

/// Where a node is, or was last.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) parent: Arc<Node>,
    pub(crate) name: OsString,
}

/// What its content should be.
#[derive(Debug, Default)]
pub(crate) enum Sums {
    /// Nobody has looked into the manifest yet.
    #[default]
    Unknown,
    /// So, block by block, as far as is known: what the manifest said, and what has been written since.
    Known(Known),
}

/// Checksums by the number of the block.
pub(crate) type Known = FxHashMap<u64, Sum>;

/// The checksum of a block's first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) sum: u32,
    pub(crate) len: usize,
    /// It is of what was read from a leg, and not of what was to be written.
    pub(crate) read: bool,
}

impl Sum {
    pub(crate) fn of(block: &[u8]) -> Sum {
        Sum { sum: manifest::sum(block), len: block.len(), read: false }
    }

    /// Whether a block begins with what it should. One that is too short has lost something.
    pub(crate) fn is_of(self, block: &[u8]) -> bool {
        block.get(..self.len).is_some_and(|bytes| manifest::sum(bytes) == self.sum)
    }
}

impl Place {
    fn is(&self, parent: &Arc<Node>, name: &OsStr) -> bool {
        Arc::ptr_eq(&self.parent, parent) && self.name == name
    }
}

/// An object.
#[derive(Debug)]
pub struct Node {
    number: u64,
    kind: FileType,
    /// The names by which it is known, the last one found first.
    places: RwLock<Vec<Place>>,
    descriptors: Box<[RwLock<Option<Descriptor>>]>,
    /// Held by who changes it: so that all legs see changes in the same order.
    pub(crate) changing: Mutex<()>,
    /// The period in which this directory was marked in the intent maps.
    pub(crate) marked: AtomicU64,
    /// It was changed, or read, and has to be looked after before its directory's mark is cleared.
    pub(crate) dirty: AtomicBool,
    /// Its content was changed: the manifests do not know it.
    pub(crate) rewritten: AtomicBool,
    /// What its content should be.
    pub(crate) sums: Mutex<Sums>,
    /// How often the kernel has been told of it.
    pub(crate) known: AtomicU64,
    /// No name leads to it any more.
    pub(crate) nameless: AtomicBool,
}

impl Node {
    fn new(number: u64, kind: FileType, place: Option<Place>, legs: usize) -> Node {
        Node {
            number,
            kind,
            places: RwLock::new(place.into_iter().collect()),
            descriptors: (0..legs).map(|_| RwLock::default()).collect(),
            changing: Mutex::new(()),
            marked: AtomicU64::new(0),
            dirty: AtomicBool::new(false),
            rewritten: AtomicBool::new(false),
            sums: Mutex::default(),
            known: AtomicU64::new(0),
            nameless: AtomicBool::new(false),
        }
    }

    /// Its inode number in the mounted tree.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What it is.
    pub fn kind(&self) -> FileType {
        self.kind
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// A name that it has; the root has none, and neither has one whose known names are gone.
    pub(crate) fn place(&self) -> Option<Place> {
        self.places.read().first().cloned()
    }

    /// It was given this name, or is found by it.
    pub(crate) fn is_at(&self, parent: &Arc<Node>, name: &OsStr) {
        if self.places.read().iter().any(|p| p.is(parent, name)) {
            return;
        }
        let new = Place { parent: parent.clone(), name: name.to_owned() };
        let mut places = self.places.write();
        if self.is_directory() {
            places.clear();
        }
        places.insert(0, new);
    }

    /// It has lost this name.
    pub(crate) fn is_gone_from(&self, parent: &Arc<Node>, name: &OsStr) {
        self.places.write().retain(|p| !p.is(parent, name));
    }

    /// It has another name now.
    pub(crate) fn has_moved(&self, from: (&Arc<Node>, &OsStr), to: (&Arc<Node>, &OsStr)) {
        self.is_gone_from(from.0, from.1);
        self.is_at(to.0, to.1);
    }

    /// A path of it beneath the root. That of one without a name that is known is the root's.
    pub fn path(&self) -> PathBuf {
        let mut names = Vec::new();
        let mut place = self.place();
        while let Some(Place { parent, name }) = place {
            names.push(name);
            place = parent.place();
        }
        names.iter().rev().collect()
    }

    /// Of what has no name, a leg that came back later has nothing: it is not asked.
    pub(crate) fn without_strangers<T>(&self, answers: Answers<T>) -> Answers<T> {
        if !self.nameless.load(Ordering::Acquire) || answers.iter().all(|(_, answer)| answer.is_err()) {
            return answers;
        }
        answers.into_iter().filter(|(_, a)| !matches!(a, Err(Errno::STALE))).collect()
    }

    /// What a leg misses that was not there when this was changed.
    pub(crate) fn regions(&self) -> Vec<Region> {
        if self.nameless.load(Ordering::Acquire) {
            return Vec::new();
        }
        // Where it is nobody knows, but that it is somewhere.
        let lost = self.number != ROOT && self.places.read().is_empty();
        vec![if lost { Region::whole() } else { Region::one(self.path()) }]
    }

    /// The directory whose mark in the intent maps covers it: its own, or itself.
    pub(crate) fn directory(self: &Arc<Self>) -> Arc<Node> {
        if self.is_directory() {
            return self.clone();
        }
        let mut node = self.clone();
        while let Some(place) = node.place() {
            node = place.parent;
            if node.is_directory() {
                break;
            }
        }
        node
    }

    /// Its descriptor on a leg, if there is one.
    pub(crate) fn descriptor(&self, leg: usize) -> Option<Descriptor> {
        self.descriptors[leg].read().clone()
    }

    /// Keeps a descriptor, unless there is a better one.
    pub(crate) fn keep(&self, leg: usize, new: Descriptor) -> Descriptor {
        let mut slot = self.descriptors[leg].write();
        match &*slot {
            Some(old) if old.access >= new.access => old.clone(),
            _ => {
                *slot = Some(new.clone());
                new
            }
        }
    }

    /// Closes its descriptors, if it can be found by its name again.
    pub(crate) fn close(&self) {
        let found = self.number == ROOT || !self.places.read().is_empty();
        if found && !self.nameless.load(Ordering::Acquire) {
            self.let_go_of_all();
        }
    }

    /// Closes all of its descriptors.
    fn let_go_of_all(&self) {
        self.descriptors.iter().for_each(|slot| *slot.write() = None);
    }

    /// Lets go of what it has of a leg.
    pub(crate) fn let_go(&self, leg: usize) {
        *self.descriptors[leg].write() = None;
    }
}

/// One of a leg's inodes: the leg, its device, its number.
type Inode = (usize, u64, u64);

fn inode(leg: usize, stat: &Stat) -> Inode {
    (leg, stat.st_dev, stat.st_ino)
}

/// All nodes that somebody knows.
#[derive(Debug)]
pub(crate) struct Nodes {
    root: Arc<Node>,
    legs: usize,
    table: Mutex<Table>,
    /// Files without a name that are just being closed, and when the last one was.
    freeing: AtomicU64,
    freed: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Table {
    by_number: FxHashMap<u64, Arc<Node>>,
    by_inode: FxHashMap<Inode, u64>,
    inodes: FxHashMap<u64, Vec<Inode>>,
    next: u64,
}

/// Numbers that no leg gave begin here.
const OWN_NUMBERS: u64 = 1 << 62;
/// The root's.
pub(crate) const ROOT: u64 = 1;

impl Nodes {
    pub(crate) fn new(legs: usize) -> Nodes {
        let root = Arc::new(Node::new(ROOT, FileType::Directory, None, legs));
        let mut table = Table { next: OWN_NUMBERS, ..Table::default() };
        table.by_number.insert(ROOT, root.clone());
        Nodes { root, legs, table: Mutex::new(table), freeing: AtomicU64::new(0), freed: Mutex::new(None) }
    }

    pub(crate) fn root(&self) -> &Arc<Node> {
        &self.root
    }

    pub(crate) fn get(&self, number: u64) -> Option<Arc<Node>> {
        if number == ROOT {
            return Some(self.root.clone());
        }
        self.table.lock().by_number.get(&number).cloned()
    }

    /// The node of an inode of a leg's.
    pub(crate) fn of(&self, leg: usize, stat: &Stat) -> Option<Arc<Node>> {
        let table = self.table.lock();
        let node = table.by_number.get(table.by_inode.get(&inode(leg, stat))?)?;
        (node.kind == FileType::from_raw_mode(stat.st_mode)).then(|| node.clone())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.table.lock().by_number.len()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Node>> {
        self.table.lock().by_number.values().cloned().collect()
    }

    /// The node of an object that was found, or made, on these legs in this place; the kernel is about to be told of it once more.
    pub(crate) fn tell(
        &self,
        parent: &Arc<Node>,
        name: &OsStr,
        found: impl IntoIterator<Item = (usize, Stat, Descriptor)>,
    ) -> Result<Arc<Node>> {
        let mut table = self.table.lock();
        let mut node: Option<Arc<Node>> = None;
        for (leg, stat, descriptor) in found {
            let key = inode(leg, &stat);
            let kind = FileType::from_raw_mode(stat.st_mode);
            let node = match &node {
                Some(node) => node,
                None => node.insert(table.find_or_make(key, kind, parent, name, self.legs)),
            };
            table.know(key, node.number);
            node.keep(leg, descriptor);
        }
        let node = node.ok_or(Errno::NOENT)?;
        node.known.fetch_add(1, Ordering::Relaxed);
        drop(table);
        node.is_at(parent, name);
        Ok(node)
    }

    /// Whether an inode is the one that a node is known to be on a leg; where that is not known, it is.
    pub(crate) fn is_the_same(&self, node: &Node, leg: usize, stat: &Stat) -> bool {
        let table = self.table.lock();
        let known = table.inodes.get(&node.number).and_then(|keys| keys.iter().find(|key| key.0 == leg));
        known.is_none_or(|key| *key == inode(leg, stat))
    }

    /// A known node has been found on one more leg.
    pub(crate) fn learn(&self, node: &Node, leg: usize, stat: &Stat) {
        let mut table = self.table.lock();
        let key = inode(leg, stat);
        if !table.by_number.contains_key(&node.number) {
            return;
        }
        if table.by_inode.insert(key, node.number).is_none() {
            table.inodes.entry(node.number).or_default().push(key);
        }
    }

    /// The kernel has forgotten `count` of what it was told.
    pub(crate) fn forget(&self, number: u64, count: u64) {
        if number == ROOT {
            return;
        }
        let mut table = self.table.lock();
        let Some(node) = table.by_number.get(&number).cloned() else { return };
        if node.known.fetch_sub(count, Ordering::Relaxed) > count {
            return;
        }
        let nameless = node.nameless.load(Ordering::Acquire);
        // One that is to be put in order yet is the same object if it is looked up before that.
        if nameless || !node.dirty.load(Ordering::Acquire) {
            table.remove(number);
        }
        // Descriptors are not closed under this lock: where the last one goes, so does the file.
        drop(table);
        if nameless {
            self.freeing.fetch_add(1, Ordering::AcqRel);
            node.let_go_of_all();
            self.frees();
            self.freeing.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Those of these nodes that nobody knows any more.
    pub(crate) fn let_forgotten_go(&self, nodes: &[Arc<Node>]) {
        let mut table = self.table.lock();
        for node in nodes {
            let is_over = node.known.load(Ordering::Relaxed) == 0 && !node.dirty.load(Ordering::Acquire);
            // Its number may have been given to another one since.
            let has = table.by_number.get(&node.number).is_some_and(|known| Arc::ptr_eq(known, node));
            if is_over && has && node.number != ROOT {
                table.remove(node.number);
            }
        }
    }

    /// What has lost its last name is given back soon: the kernel says when.
    pub(crate) fn frees(&self) {
        *self.freed.lock() = Some(Instant::now());
    }

    /// Whether files are just being given back, or were a moment ago: there may be room again soon.
    pub(crate) fn is_freeing(&self) -> bool {
        self.freeing.load(Ordering::Acquire) > 0
            || self.freed.lock().is_some_and(|at| at.elapsed() < Duration::from_millis(500))
    }

    /// Nothing that is known of a leg holds any longer.
    pub(crate) fn let_go(&self, leg: usize) {
        let mut table = self.table.lock();
        table.by_inode.retain(|key, _| key.0 != leg);
        for keys in table.inodes.values_mut() {
            keys.retain(|key| key.0 != leg);
        }
        for node in table.by_number.values() {
            node.let_go(leg);
        }
    }
}

impl Table {
    /// An inode of a leg is that node, unless it is known to be another.
    fn know(&mut self, key: Inode, number: u64) {
        if let Entry::Vacant(new) = self.by_inode.entry(key) {
            new.insert(number);
            self.inodes.entry(number).or_default().push(key);
        }
    }

    fn remove(&mut self, number: u64) {
        self.by_number.remove(&number);
        for key in self.inodes.remove(&number).unwrap_or_default() {
            if self.by_inode.get(&key) == Some(&number) {
                self.by_inode.remove(&key);
            }
        }
    }

    fn find_or_make(
        &mut self,
        key: Inode,
        kind: FileType,
        parent: &Arc<Node>,
        name: &OsStr,
        legs: usize,
    ) -> Arc<Node> {
        // An inode number that was given away anew, while the object that had it is still known, is another kind of object, or one without
        // a name.
        if let Some(node) = self.by_inode.get(&key).and_then(|number| self.by_number.get(number))
            && node.kind == kind
        {
            return node.clone();
        }
        let number = match key.2 {
            ino if ino > ROOT && ino < OWN_NUMBERS && !self.by_number.contains_key(&ino) => ino,
            _ => {
                self.next += 1;
                self.next
            }
        };
        let place = Place { parent: parent.clone(), name: name.to_owned() };
        let node = Arc::new(Node::new(number, kind, Some(place), legs));
        self.by_number.insert(number, node.clone());
        node
    }
}
