//! The content of files.

use super::Set;
use super::attributes::kill_privileges;
use super::flight::fly;
use super::judge::judge;
use super::node::{Access, Node};
use super::opened::Opened;
use super::parallel;
use super::roster::Roster;
use crate::leg::{Leg, Result};
use rustix::fd::AsFd;
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// So much at once is written where a leg has no fallocate(2).
const ZEROES: usize = 1 << 20;

impl Set {
    /// Writes. `kill` takes away set-user-id bits, as the kernel wants of who may not keep them.
    pub fn write(
        &self,
        node: &Arc<Node>,
        offset: u64,
        data: &[u8],
        kill: bool,
        reply: impl FnOnce(Result<usize>) + Send,
    ) {
        let change = match self.change(&[node]) {
            Ok(change) => change,
            Err(e) => return reply(Err(e)),
        };
        let roster = change.roster.clone();
        let write = |leg: usize| {
            let (file, on) = (self.content(&roster, node, leg, Access::Write)?, roster.members[leg].leg()?);
            let done = self.with_room(|| match on.write(file.as_fd(), data, offset) {
                Ok(done) if done < data.len() => Err(Errno::NOSPC),
                done => done,
            });
            // Where there is not room for all, there may be for a part.
            let done = match done {
                Err(Errno::NOSPC) => on.write(file.as_fd(), data, offset)?,
                done => done?,
            };
            if kill {
                kill_privileges(on, &file)?;
            }
            Ok(done)
        };
        fly(
            self.route(&roster),
            write,
            |_| false,
            |mut answers| {
                let most = answers.iter().filter_map(|(_, a)| a.as_ref().ok()).max().copied();
                // Where others had room for all of it, a leg that has written less has failed.
                for (_, answer) in &mut answers {
                    if most == Some(data.len()) && answer.as_ref().is_ok_and(|done| *done < data.len()) {
                        *answer = Err(Errno::NOSPC);
                    }
                }
                let done = self.settle(node.without_strangers(answers), || node.regions());
                let done = done.map(|good| good.iter().map(|(_, done)| *done).min().unwrap_or(0));
                match done {
                    Ok(len) if len == data.len() => self.written(node, offset, data),
                    _ => self.unknown(node, offset, data.len() as u64),
                }
                if let (Ok(len), Some(most)) = (&done, most)
                    && *len < most
                {
                    self.level(&roster, node);
                }
                drop(change);
                reply(done);
            },
        );
    }

    /// Does something that needs room on a leg. What has just lost its last name is given back a moment later: then it is done again.
    pub(crate) fn with_room<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        for _ in 0..200 {
            match work() {
                Err(Errno::NOSPC | Errno::DQUOT) if self.nodes.is_freeing() => {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                done => return done,
            }
        }
        work()
    }

    /// No leg had room for all of what was written, and some had more than others: all end where the shortest does.
    fn level(&self, roster: &Roster, node: &Arc<Node>) {
        let files = roster.live.iter().filter_map(|&leg| {
            let file = self.content(roster, node, leg, Access::Write).ok()?;
            let on = roster.members[leg].leg.as_ref()?;
            Some((on, on.stat(file.as_fd()).ok()?.st_size as u64, file))
        });
        let files: Vec<_> = files.collect();
        let Some(least) = files.iter().map(|(_, size, _)| *size).min() else { return };
        for (on, size, file) in files {
            if size > least {
                let change = crate::leg::Change { size: Some(least), ..Default::default() };
                // If it does not go, the directory's mark has it compared at the next start.
                let _ = on.change(file.as_fd(), &change);
            }
        }
    }

    /// As fallocate(2).
    pub fn allocate(
        &self,
        node: &Arc<Node>,
        mode: FallocateFlags,
        offset: u64,
        len: u64,
        reply: impl FnOnce(Result<()>) + Send,
    ) {
        let allocate = |roster: &Roster, leg: usize| {
            let file = self.content(roster, node, leg, Access::Write)?;
            let on = roster.members[leg].leg()?;
            match on.allocate(file.as_fd(), mode, offset, len) {
                Err(Errno::OPNOTSUPP) => imitate(on, &file, mode, offset, len),
                done => done,
            }
        };
        self.alter(node, allocate, |done| {
            self.unknown(node, offset, len);
            reply(done);
        });
    }

    /// As copy_file_range(2), on each leg by itself.
    pub fn copy(
        &self,
        from: (&Arc<Node>, u64),
        to: (&Arc<Node>, u64),
        len: usize,
        reply: impl FnOnce(Result<usize>) + Send,
    ) {
        let change = match self.change(&[to.0, from.0]) {
            Ok(change) => change,
            Err(e) => return reply(Err(e)),
        };
        let roster = change.roster.clone();
        let copy = |leg: usize| {
            let source = self.content(&roster, from.0, leg, Access::Read)?;
            let target = self.content(&roster, to.0, leg, Access::Write)?;
            let (on, mut done) = (roster.members[leg].leg()?, 0);
            while done < len {
                let (from, to) = (from.1 + done as u64, to.1 + done as u64);
                match on.copy(source.as_fd(), from, target.as_fd(), to, len - done)? {
                    0 => break,
                    more => done += more,
                }
            }
            Ok(done)
        };
        fly(
            self.route(&roster),
            copy,
            |_| false,
            |mut answers| {
                let most = answers.iter().filter_map(|(_, a)| a.as_ref().ok()).max().copied();
                for (_, answer) in &mut answers {
                    if answer.as_ref().ok() < most.as_ref() && answer.is_ok() {
                        *answer = Err(Errno::NOSPC);
                    }
                }
                let done = self.settle(to.0.without_strangers(answers), || to.0.regions());
                self.unknown(to.0, to.1, len as u64);
                drop(change);
                reply(done.map(|good| good.first().map_or(0, |(_, done)| *done)));
            },
        );
    }

    /// As lseek(2) with SEEK_DATA, or SEEK_HOLE.
    pub fn seek(&self, node: &Arc<Node>, offset: u64, data: bool, reply: impl FnOnce(Result<u64>) + Send) {
        let gate = self.gate.read();
        let roster = self.roster();
        let seek = |leg: usize| {
            let file = self.content(&roster, node, leg, Access::Read)?;
            // The descriptor's own position is nobody's.
            roster.members[leg].leg()?.seek(file.as_fd(), offset, data)
        };
        self.ask(&roster, seek, |answer| {
            drop(gate);
            reply(answer.map(|(_, at)| at));
        });
    }

    /// Makes a file, or a directory's names, durable on all live legs. A leg on which that fails has lost something, and nobody knows
    /// what: it is fenced for good.
    ///
    /// # Errors
    /// What the legs said, if it failed on all.
    pub fn sync(self: &Arc<Self>, node: &Arc<Node>, data_only: bool) -> Result<()> {
        let roster = self.roster();
        if roster.live.is_empty() {
            return Err(Errno::IO);
        }
        if node.dirty.load(Ordering::Acquire) && !data_only {
            self.level_times(node);
        }
        let (set, what) = (self.clone(), node.clone());
        let answers = parallel::on_each(&roster, &roster.live, self.options.timeout, move |roster, leg| {
            let on = roster.members[leg].leg()?;
            let file = match what.is_directory() {
                true => {
                    Arc::new(Opened::new(on.open(set.object(roster, &what, leg)?.as_fd(), OFlags::RDONLY)?))
                }
                false => set.content(roster, &what, leg, Access::Read)?,
            };
            on.sync(file.as_fd(), data_only)
        });
        let verdict = judge(node.without_strangers(answers));
        if !verdict.failed.is_empty() {
            self.fence_for_good(&verdict.failed)?;
            self.note(&node.regions())?;
        }
        verdict.answer.map(drop)
    }
}

/// Where a leg's file system has no fallocate(2) of that kind: what it is to show is written.
fn imitate(on: &dyn Leg, file: &Opened, mode: FallocateFlags, offset: u64, len: u64) -> Result<()> {
    let size = on.stat(file.as_fd())?.st_size as u64;
    let end = offset.checked_add(len).ok_or(Errno::FBIG)?;
    let keep = mode.contains(FallocateFlags::KEEP_SIZE);
    if mode.intersects(FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE) {
        let (zeroes, mut at, end) = (vec![0; ZEROES.min(len as usize)], offset, end.min(size));
        while at < end {
            let part = zeroes.len().min((end - at) as usize);
            at += on.write(file.as_fd(), &zeroes[..part], at)? as u64;
        }
    }
    if !keep && end > size {
        on.change(file.as_fd(), &crate::leg::Change { size: Some(end), ..Default::default() })?;
    }
    Ok(())
}
