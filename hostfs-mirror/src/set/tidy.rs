//! What is put in order some seconds after a change: times that differ between legs, manifests, and the marks in the intent maps.
//!
//! A *period* ends: directories have to be marked anew from then on. What was changed in it is made durable everywhere, then known by
//! checksums, and then its marks are cleared, unless the new period has set them again.

use super::flight::fly;
use super::node::{Access, Node, Sum, Sums};
use super::roster::Roster;
use super::verify::mtime;
use super::{Set, judge, parallel};
use crate::leg::{Change, Result};
use crate::state::manifest::{BLOCK, Entry, Key, xattr_digest};
use parking_lot::{Condvar, Mutex};
use rustix::fd::AsFd;
use rustix::fs::{FileType, Stat, Timespec};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Nothing has changed for so long.
const QUIET: Duration = Duration::from_secs(2);
/// Or it has not been quiet for so long.
const AGE: Duration = Duration::from_secs(30);
/// Or so many nodes wait.
const MANY: usize = 20_000;

/// The thread that does it.
#[derive(Debug, Default)]
pub(crate) struct Tidier {
    state: Mutex<State>,
    wake: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct State {
    /// Since when something waits, and when it was last added to.
    since: Option<(Instant, Instant)>,
    over: bool,
}

impl Tidier {
    pub(crate) fn something_is_dirty(&self) {
        let mut state = self.state.lock();
        let now = Instant::now();
        match &mut state.since {
            Some((_, last)) => *last = now,
            since @ None => {
                *since = Some((now, now));
                self.wake.notify_one();
            }
        }
    }

    /// Begins; the thread ends when the set is dropped, or with [`end`](Self::end).
    pub(crate) fn begin(set: &Arc<Set>) -> std::io::Result<()> {
        let weak = Arc::downgrade(set);
        let thread = std::thread::Builder::new().name("tidier".into()).spawn(move || run(&weak))?;
        *set.tidier.thread.lock() = Some(thread);
        Ok(())
    }

    pub(crate) fn end(&self) {
        self.state.lock().over = true;
        self.wake.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // If it has panicked, it has said so.
            let _ = thread.join();
        }
    }
}

fn run(set: &Weak<Set>) {
    while let Some(set) = set.upgrade() {
        let mut state = set.tidier.state.lock();
        if state.over {
            return;
        }
        let due = state.since.map(|(first, last)| (first + AGE).min(last + QUIET));
        match due {
            Some(due) if due <= Instant::now() || set.dirty.lock().len() > MANY => {
                state.since = None;
                drop(state);
                set.tidy();
            }
            Some(due) => drop(set.tidier.wake.wait_until(&mut state, due)),
            // For a while: who drops the set does not wake anybody.
            None => drop(set.tidier.wake.wait_for(&mut state, QUIET)),
        }
    }
}

impl Set {
    /// Puts everything in order that has been changed so far.
    pub fn tidy(&self) {
        let _one = self.tidying.lock();
        let nodes = self.end_period();
        self.nodes.let_forgotten_go(&nodes);
    }

    /// Ends a period: the nodes that were changed in it.
    fn end_period(&self) -> Vec<Arc<Node>> {
        let (nodes, marks) = {
            let _gate = self.gate.write();
            self.period.fetch_add(1, Ordering::AcqRel);
            let nodes = std::mem::take(&mut *self.dirty.lock());
            for node in &nodes {
                node.dirty.store(false, Ordering::Release);
            }
            (nodes, std::mem::take(&mut *self.marked.lock()))
        };
        for node in &nodes {
            if !node.nameless.load(Ordering::Acquire) {
                self.level_times(node);
            }
        }
        if marks.is_empty() && !nodes.iter().any(|node| node.rewritten.load(Ordering::Acquire)) {
            return nodes;
        }
        if self.tidy_marked(&nodes, &marks).is_err() {
            // All stays marked, and is put in order with what comes.
            self.marked.lock().extend(marks);
            self.tidier.something_is_dirty();
        }
        nodes
    }

    fn tidy_marked(&self, nodes: &[Arc<Node>], marks: &HashSet<PathBuf>) -> Result<()> {
        let roster = self.roster();
        if roster.live.is_empty() {
            return Err(Errno::IO);
        }
        let answers = parallel::on_each(&roster, &roster.live, self.options.timeout, |roster, leg| {
            let (on, files) = (roster.members[leg].leg()?, roster.members[leg].files()?);
            on.sync_all()?;
            files.missed.lock().values().try_for_each(|log| log.sync().map_err(|e| e.errno()))
        });
        let failed = judge::judge(answers).failed;
        if !failed.is_empty() {
            self.fence_for_good(&failed)?;
            // It has lost what only this period's marks name.
            let regions: Vec<_> = nodes.iter().flat_map(|node| node.regions()).collect();
            self.note(&regions)?;
            return Err(Errno::AGAIN);
        }
        self.write_manifests(&roster, nodes)?;
        let marked = self.marked.lock();
        let over: Vec<&Path> = marks.iter().filter(|p| !marked.contains(*p)).map(PathBuf::as_path).collect();
        for &leg in &roster.live {
            let files = roster.members[leg].files()?;
            // A mark that stays costs a comparison at the next start, no more.
            let _ = files.intent.unmark(&over);
        }
        Ok(())
    }

    /// Gives a node the same times on all legs: the primary's.
    pub(crate) fn level_times(&self, node: &Arc<Node>) {
        let roster = self.roster();
        if roster.live.len() < 2 || self.options.read_only {
            return;
        }
        let changing = node.changing.lock();
        let first = OnceLock::<Stat>::new();
        let level = |leg: usize| {
            let (object, on) = (self.object(&roster, node, leg)?, roster.members[leg].leg()?);
            let stat = on.stat(object.as_fd())?;
            let right = first.get_or_init(|| stat);
            let times = |s: &Stat| (atime(s), (s.st_mtime, s.st_mtime_nsec));
            if times(right) == times(&stat) {
                return Ok(());
            }
            let time = |(tv_sec, tv_nsec): (i64, _)| Some(Timespec { tv_sec, tv_nsec });
            let (atime, mtime) = (atime(right), (right.st_mtime, right.st_mtime_nsec as i64));
            on.change(object.as_fd(), &Change { atime: time(atime), mtime: time(mtime), ..Change::default() })
        };
        fly(
            self.route(&roster),
            level,
            |_| false,
            |answers| {
                // What has no name any more is nobody's affair, and may be gone.
                if !node.nameless.load(Ordering::Acquire) {
                    let _ = self.settle(answers, Vec::new);
                }
                drop(changing);
            },
        );
    }

    /// Lets the manifests know the files that were changed.
    fn write_manifests(&self, roster: &Arc<Roster>, nodes: &[Arc<Node>]) -> Result<()> {
        let mut entries: Vec<Vec<(Key, Entry)>> = vec![Vec::new(); roster.members.len()];
        for node in nodes {
            let rewritten = node.kind() == FileType::RegularFile && node.rewritten.load(Ordering::Acquire);
            let rewritten = rewritten && !node.nameless.load(Ordering::Acquire);
            if !rewritten || node.dirty.load(Ordering::Acquire) {
                continue;
            }
            // One that is changed meanwhile will be known another time.
            if let Ok(Some(known)) = self.entries_of(roster, node) {
                known.into_iter().for_each(|(leg, key, entry)| entries[leg].push((key, entry)));
            }
            // To read it has left a time behind.
            self.level_times(node);
        }
        for (&leg, entries) in roster.live.iter().zip(roster.live.iter().map(|leg| &entries[*leg])) {
            let files = roster.members[leg].files()?;
            let mut manifest = files.manifest.lock();
            let done = manifest.put(entries).and_then(|()| manifest.sync());
            drop(manifest);
            if let Err(e) = done {
                self.fence(&[(leg, e.errno())])?;
            }
        }
        Ok(())
    }

    /// What the legs' manifests are to say of a file; `None` where its copies differ, or it is being changed.
    fn entries_of(&self, roster: &Roster, node: &Arc<Node>) -> Result<Option<Vec<(usize, Key, Entry)>>> {
        let _changing = node.changing.lock();
        if node.dirty.load(Ordering::Acquire) {
            return Ok(None);
        }
        node.rewritten.store(false, Ordering::Release);
        let (mut entries, mut known) = (Vec::new(), self.with_sums(roster, node, |known| known.clone()));
        for &leg in &roster.live {
            let (file, on) = (self.content(roster, node, leg, Access::Read)?, roster.members[leg].leg()?);
            let stat = on.stat(file.as_fd())?;
            let key = Key { ino: stat.st_ino, btime: on.birth(file.as_fd())? };
            let size = stat.st_size as u64;
            let mut sums = Vec::with_capacity(size.div_ceil(BLOCK as u64) as usize);
            let mut block = Vec::new();
            for at in 0..size.div_ceil(BLOCK as u64) {
                let len = (size - at * BLOCK as u64).min(BLOCK as u64) as usize;
                // What was written is known by what was handed in. The rest is what all legs have.
                let sum = match known.get(&at) {
                    Some(sum) if sum.len == len && leg == roster.live[0] => *sum,
                    Some(sum) if sum.len == len && !sum.read => *sum,
                    _ => {
                        block.resize(len, 0);
                        let done = on.read(file.as_fd(), &mut block, at * BLOCK as u64)?;
                        let sum = Sum { read: true, ..Sum::of(&block[..done]) };
                        if let Some(other) = known.insert(at, sum)
                            && other.read
                            && (other.sum, other.len) != (sum.sum, sum.len)
                        {
                            self.event(format!(
                                "the copies of \"{}\" differ at {}, and no checksum says which is right",
                                node.path().display(),
                                at * BLOCK as u64
                            ));
                            return Ok(None);
                        }
                        sum
                    }
                };
                sums.push(sum.sum);
            }
            entries.push((leg, key, entry(roster, on, &file, &stat, sums)?));
        }
        let known = known.into_iter().map(|(at, sum)| (at, Sum { read: false, ..sum })).collect();
        *node.sums.lock() = Sums::Known(known);
        Ok(Some(entries))
    }
}

fn atime(stat: &Stat) -> (i64, i64) {
    (stat.st_atime, stat.st_atime_nsec as i64)
}

fn entry(
    roster: &Roster,
    on: &dyn crate::leg::Leg,
    file: &super::opened::Opened,
    stat: &Stat,
    sums: Vec<u32>,
) -> Result<Entry> {
    let names =
        on.xattrs(file.as_fd()).or_else(|e| if e == Errno::OPNOTSUPP { Ok(Vec::new()) } else { Err(e) })?;
    let mut attributes = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        attributes.push((name, on.xattr(file.as_fd(), OsStr::from_bytes(name))?));
    }
    Ok(Entry {
        generation: roster.generation,
        size: stat.st_size as u64,
        mtime: mtime(stat),
        mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        xattrs: xattr_digest(attributes.iter().map(|(name, value)| (*name, value.as_slice()))),
        sums,
    })
}
