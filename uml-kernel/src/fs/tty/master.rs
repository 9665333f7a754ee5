//! The other side of a pseudo-terminal: pty(7), ioctl_tty(2).

use super::devpts::{DevPts, Slot};
use super::{Tty, ioctl, job, kept};
use crate::base::wait::{Events, How};
use crate::base::{Errno, Result};
use crate::fs::{File, FileOps, OpenFlags, Path, PollTable};
use crate::mm::UserMemory;
use line_discipline::{Effects, LineDiscipline, PacketStatus};
use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes on their way from programs to the master: what Linux's flip buffer (8192) and the master's own queue hold.
const CAPACITY: usize = 8192 + 4096;
/// Bytes that wait for room in the discipline's queue.
const PENDING: usize = 8192;

// asm-generic/ioctls.h
const FIONREAD: u32 = 0x541b;
const TIOCPKT: u32 = 0x5420;
const TCFLSH: u32 = 0x540b;
const TIOCGPTN: u32 = 0x8004_5430;
const TIOCSPTLCK: u32 = 0x4004_5431;
const TIOCSIG: u32 = 0x4004_5436;
const TIOCGPKT: u32 = 0x8004_5438;
const TIOCGPTLCK: u32 = 0x8004_5439;
/// Opens the other side, without a path.
pub const TIOCGPTPEER: u32 = 0x5441;

/// What a terminal knows of its master.
#[derive(Debug)]
pub(super) struct Master {
    output: VecDeque<u8>,
    pending: Vec<u8>,
    /// TIOCPKT.
    packet: bool,
    status: PacketStatus,
    locked: bool,
    slaves: u32,
    /// All slaves that there were are closed.
    deserted: bool,
}

impl Master {
    fn new() -> Master {
        Master {
            output: VecDeque::new(),
            pending: Vec::new(),
            packet: false,
            status: PacketStatus::default(),
            locked: true,
            slaves: 0,
            deserted: false,
        }
    }

    /// Room for what programs print.
    pub(super) fn room(&self) -> usize {
        CAPACITY.saturating_sub(self.output.len())
    }

    /// Takes what is printed. Echo beyond twice what there is room for is lost, as nobody reads it.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let room = (2 * CAPACITY).saturating_sub(self.output.len());
        self.output.extend(&bytes[..bytes.len().min(room)]);
    }

    /// Takes note of what is no output; whether the master is to look.
    pub(super) fn note(&mut self, effects: &Effects) -> bool {
        if effects.flush_output {
            self.output.clear();
        }
        if self.packet {
            self.status.absorb(effects.packet);
        }
        self.packet && !self.status.is_empty()
    }

    pub(super) fn slave_opens(&mut self) -> Result<()> {
        if self.locked {
            return Err(Errno::EIO);
        }
        self.slaves += 1;
        self.deserted = false;
        Ok(())
    }

    /// Whether it was the last.
    pub(super) fn slave_closes(&mut self) -> bool {
        self.slaves = self.slaves.saturating_sub(1);
        self.deserted = self.slaves == 0;
        self.deserted
    }

    /// Drops what waits to be read by programs.
    pub(super) fn flush_pending(&mut self) {
        self.pending.clear();
    }

    /// Drops what programs have printed.
    pub(super) fn flush_output(&mut self) {
        self.output.clear();
        if self.packet {
            self.status.absorb(PacketStatus::from_bits(PacketStatus::FLUSHWRITE));
        }
    }

    /// Offers the discipline what it had no room for; whether it took some.
    pub(super) fn offer(&mut self, discipline: &mut LineDiscipline, effects: &mut Effects) -> bool {
        if self.pending.is_empty() || discipline.throttled() {
            return false;
        }
        let taken = discipline.receive(&self.pending, effects);
        self.pending.drain(..taken);
        taken > 0
    }
}

/// Opens `/dev/ptmx`: a new pair, in the devpts beside it.
pub(super) fn open(path: Path, flags: OpenFlags) -> Result<Arc<File>> {
    let fs = DevPts::near(&path).ok_or(Errno::ENODEV)?;
    let slot =
        fs.allocate(|rdev| Tty::new(rdev, line_discipline::WinSize::default(), None, Some(Master::new())))?;
    Ok(File::new(Arc::new(MasterFile { slot, at: path.clone() }), path, kept(flags)))
}

/// An open master.
#[derive(Debug)]
pub struct MasterFile {
    slot: Slot,
    at: Path,
}

impl MasterFile {
    fn tty(&self) -> &Arc<Tty> {
        self.slot.tty()
    }

    /// TIOCGPTPEER: the slave, by a path within its devpts.
    pub fn open_peer(&self, flags: OpenFlags) -> Result<Arc<File>> {
        let path = self.slot.path(&self.at).ok_or(Errno::EIO)?;
        let ops = super::TtyFile::open(self.tty().clone())?;
        if !flags.contains(OpenFlags::NOCTTY) {
            self.tty().adopt_session();
        }
        Ok(File::new(ops, path, kept(flags)))
    }

    fn try_read(&self, into: &mut [u8]) -> Option<Result<usize>> {
        let mut state = self.tty().state.lock();
        let master = state.master.as_mut()?;
        if master.packet && !master.status.is_empty() {
            into[0] = master.status.take();
            return Some(Ok(1));
        }
        if master.output.is_empty() {
            return master.deserted.then_some(Err(Errno::EIO));
        }
        let head = usize::from(master.packet);
        if master.packet {
            into[0] = PacketStatus::DATA;
        }
        let n = master.output.len().min(into.len() - head);
        for (slot, byte) in into[head..].iter_mut().zip(master.output.drain(..n)) {
            *slot = byte;
        }
        Some(Ok(head + n))
    }

    fn try_write(&self, from: &[u8], effects: &mut Effects) -> Option<Result<usize>> {
        let mut state = self.tty().state.lock();
        let state = &mut *state;
        let master = state.master.as_mut()?;
        if master.deserted {
            return Some(Err(Errno::EIO));
        }
        let mut taken = 0;
        if master.pending.is_empty() {
            taken = state.discipline.receive(from, effects);
        }
        let rest = &from[taken..];
        let kept = rest.len().min(PENDING - master.pending.len().min(PENDING));
        if kept > 0 {
            state.discipline.look_ahead(&rest[..kept], effects);
            master.pending.extend_from_slice(&rest[..kept]);
        }
        (taken + kept > 0).then_some(Ok(taken + kept))
    }
}

impl FileOps for MasterFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        false
    }

    fn read(&self, file: &File, into: &mut [u8], _at: u64) -> Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let attempt = || self.try_read(into).or_else(|| file.nonblocking().then_some(Err(Errno::EAGAIN)));
        let result = self.tty().outside.wait(How::default(), attempt).map_err(Errno::from)?;
        // Writers may have room.
        self.tty().queue.wake(Events::WRITE);
        result
    }

    fn write(&self, file: &File, from: &[u8], _at: u64) -> Result<usize> {
        let mut done = 0;
        while done < from.len() {
            let mut effects = Effects::default();
            let attempt = || {
                self.try_write(&from[done..], &mut effects)
                    .or_else(|| file.nonblocking().then_some(Err(Errno::EAGAIN)))
            };
            let result = self.tty().outside.wait(How::default(), attempt);
            self.tty().carry_out(effects);
            match result {
                Ok(Ok(n)) => done += n,
                Ok(Err(_)) | Err(_) if done > 0 => break,
                Ok(Err(e)) => return Err(e),
                Err(ended) => return Err(ended.into()),
            }
        }
        Ok(done)
    }

    fn poll(&self, _file: &File, table: Option<&mut dyn PollTable>) -> Events {
        if let Some(table) = table {
            table.add(&self.tty().outside);
        }
        let state = self.tty().state.lock();
        let Some(master) = &state.master else { return Events::empty() };
        let mut ready = Events::empty();
        if !master.output.is_empty() {
            ready |= Events::READ;
        }
        if master.packet && !master.status.is_empty() {
            ready |= Events::READ | Events::PRI;
        }
        if master.pending.len() < PENDING {
            ready |= Events::WRITE;
        }
        if master.deserted {
            ready |= Events::HUP;
        }
        ready
    }

    fn ioctl(&self, _file: &File, command: u32, arg: u64, memory: &UserMemory) -> Result<u64> {
        let tty = self.tty();
        let with = |f: &mut dyn FnMut(&mut Master)| {
            if let Some(master) = &mut tty.state.lock().master {
                f(master);
            }
        };
        let read = |f: &dyn Fn(&Master) -> u32| tty.state.lock().master.as_ref().map_or(0, f);
        match command {
            TIOCGPTN => memory.put_u32(arg, self.slot.number())?,
            TIOCSPTLCK => {
                let locked = memory.u32(arg)? != 0;
                with(&mut |m| m.locked = locked);
            }
            TIOCGPTLCK => memory.put_u32(arg, read(&|m| m.locked.into()))?,
            TIOCGPKT => memory.put_u32(arg, read(&|m| m.packet.into()))?,
            TIOCPKT => {
                let packet = memory.u32(arg)? != 0;
                with(&mut |m| {
                    if packet && !m.packet {
                        m.status = PacketStatus::default();
                    }
                    m.packet = packet;
                });
            }
            TIOCSIG => {
                let signo = arg as i32;
                if !matches!(signo, libc::SIGINT | libc::SIGQUIT | libc::SIGTSTP) {
                    return Err(Errno::EINVAL);
                }
                let foreground = tty.state.lock().foreground;
                job::signal(foreground, signo);
            }
            FIONREAD => memory.put_u32(arg, read(&|m| m.output.len() as u32))?,
            // What is to come from the slave is this side's input; what was written is its output.
            TCFLSH => match arg {
                0 => with(&mut |m| m.output.clear()),
                1 => with(&mut Master::flush_pending),
                2 => with(&mut |m| {
                    m.output.clear();
                    m.flush_pending();
                }),
                _ => return Err(Errno::EINVAL),
            },
            _ => return ioctl::ioctl_of_master(tty, command, arg, memory),
        }
        Ok(0)
    }

    /// The programs on the terminal lose it.
    fn release(&self, _file: &File) {
        self.slot.free();
        self.tty().hang_up();
    }
}
