//! The side of a terminal that programs run on.

use super::master::Master;
use super::{Tty, ioctl};
use crate::base::wait::{Ended, Events, How};
use crate::base::{Errno, Result, time};
use crate::fs::{File, FileOps, PollTable};
use crate::mm::UserMemory;
use line_discipline::{Effects, ReadOutcome, ReadTiming};
use std::any::Any;
use std::sync::Arc;

/// An open terminal.
#[derive(Debug)]
pub struct TtyFile(Arc<Tty>);

/// What one look at the input gave.
enum Step {
    Done(Result<usize>),
    /// Bytes came, and more are wanted.
    Some,
}

impl TtyFile {
    /// Opens it; EIO if its other side is locked or gone.
    pub fn open(tty: Arc<Tty>) -> Result<Arc<TtyFile>> {
        {
            let mut state = tty.state.lock();
            if state.hung_up {
                return Err(Errno::EIO);
            }
            if let Some(master) = &mut state.master {
                master.slave_opens()?;
            }
        }
        Ok(Arc::new(TtyFile(tty)))
    }
}

impl Tty {
    /// One read: what the discipline gives, by the rules of VMIN and VTIME.
    fn read(&self, file: &File, into: &mut [u8]) -> Result<usize> {
        self.check_background(libc::SIGTTIN)?;
        let timing = self.state.lock().discipline.read_timing();
        let tenths = |t: u8| time::now() + u64::from(t) * 100_000_000;
        let (min, gap) = match timing {
            ReadTiming::Line => (1, 0),
            ReadTiming::Bytes { min } => (usize::from(min).min(into.len()), 0),
            ReadTiming::BytesOrGap { min, gap } => (usize::from(min).min(into.len()), gap),
            ReadTiming::Within { .. } => (1, 0),
        };
        let whole = match timing {
            ReadTiming::Within { time } => Some(tenths(time)),
            _ => None,
        };
        let mut done = 0;
        loop {
            let deadline = whole.or((done > 0 && gap > 0).then(|| tenths(gap)));
            let how = How { uninterruptible: false, deadline };
            let step = self.queue.wait(how, || {
                let before = done;
                let mut state = self.state.lock();
                match state.discipline.read(&mut into[done..]) {
                    ReadOutcome::Data(n) => done += n,
                    ReadOutcome::EndOfFile => return Some(Step::Done(Ok(done))),
                    ReadOutcome::WouldBlock if state.hung_up => return Some(Step::Done(Ok(done))),
                    ReadOutcome::WouldBlock => {}
                }
                if done >= min && done > 0 {
                    return Some(Step::Done(Ok(done)));
                }
                if file.nonblocking() {
                    return Some(Step::Done(if done > 0 { Ok(done) } else { Err(Errno::EAGAIN) }));
                }
                (gap > 0 && done > before).then_some(Step::Some)
            });
            let result = match step {
                Ok(Step::Some) => continue,
                Ok(Step::Done(result)) => result,
                Err(Ended::TimedOut) => Ok(done),
                Err(Ended::Interrupted) if done > 0 => Ok(done),
                Err(ended) => Err(ended.into()),
            };
            self.take_pending();
            return result;
        }
    }

    /// What the master has written and found no room: there may be some now.
    fn take_pending(&self) {
        let mut effects = Effects::default();
        {
            let mut state = self.state.lock();
            let state = &mut *state;
            let Some(master) = &mut state.master else { return };
            if !master.offer(&mut state.discipline, &mut effects) {
                return;
            }
        }
        self.carry_out(effects);
        self.outside.wake_all();
    }

    fn write(&self, file: &File, from: &[u8]) -> Result<usize> {
        const TOSTOP: u32 = 0o400;
        if self.state.lock().discipline.termios().lflag & TOSTOP != 0 {
            self.check_background(libc::SIGTTOU)?;
        }
        let mut done = 0;
        while done < from.len() {
            let rest = &from[done..];
            let mut out = Vec::new();
            let attempt = || {
                let mut state = self.state.lock();
                if state.hung_up {
                    return Some(Err(Errno::EIO));
                }
                let room = state.master.as_ref().map_or(2048, |m| m.room().min(2048));
                let piece = &rest[..rest.len().min(room)];
                let taken = if room == 0 { 0 } else { state.discipline.write(piece, &mut out) };
                if taken > 0 {
                    return Some(Ok(taken));
                }
                file.nonblocking().then_some(Err(Errno::EAGAIN))
            };
            match self.queue.wait(How::default(), attempt) {
                Ok(Ok(n)) => {
                    self.put_out(&out);
                    done += n;
                }
                Ok(Err(_)) | Err(_) if done > 0 => break,
                Ok(Err(e)) => return Err(e),
                Err(ended) => return Err(ended.into()),
            }
        }
        Ok(done)
    }
}

impl FileOps for TtyFile {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn seekable(&self) -> bool {
        false
    }

    fn read(&self, file: &File, into: &mut [u8], _at: u64) -> Result<usize> {
        if into.is_empty() { Ok(0) } else { self.0.read(file, into) }
    }

    fn write(&self, file: &File, from: &[u8], _at: u64) -> Result<usize> {
        self.0.write(file, from)
    }

    fn poll(&self, _file: &File, table: Option<&mut dyn PollTable>) -> Events {
        if let Some(table) = table {
            table.add(&self.0.queue);
        }
        let state = self.0.state.lock();
        if state.hung_up {
            return Events::READ | Events::WRITE | Events::HUP | Events::ERR;
        }
        let mut ready = Events::empty();
        if state.discipline.readable() {
            ready |= Events::READ;
        }
        if !state.discipline.output_stopped() && state.master.as_ref().is_none_or(|m| m.room() > 0) {
            ready |= Events::WRITE;
        }
        ready
    }

    fn ioctl(&self, _file: &File, command: u32, arg: u64, memory: &UserMemory) -> Result<u64> {
        ioctl::ioctl(&self.0, command, arg, memory)
    }

    fn release(&self, _file: &File) {
        let last = self.0.state.lock().master.as_mut().is_some_and(Master::slave_closes);
        if last {
            self.0.outside.wake_all();
        }
    }
}
