//! Terminals: a line discipline between the guest's programs and whatever the characters come from and go to.

mod ioctl;
mod job;

use super::{File, FileOps, OpenFlags, Path, PollTable};
use crate::base::wait::{Ended, Events, How, WaitQueue};
use crate::base::{Errno, Mutex, Rank, Result, time};
use crate::mm::UserMemory;
use line_discipline::{Effects, LineDiscipline, ReadOutcome, ReadTiming, Signal, Termios, WinSize};
use std::any::Any;
use std::sync::{Arc, OnceLock};

pub use job::{Sessions, Who, register_sessions};

/// Where characters go: the host's terminal.
pub type Sink = Box<dyn Fn(&[u8]) + Send + Sync>;

/// A terminal.
pub struct Tty {
    /// Device number.
    rdev: u64,
    state: Mutex<State>,
    queue: WaitQueue,
    sink: Sink,
}

#[derive(Debug)]
struct State {
    discipline: LineDiscipline,
    size: WinSize,
    /// The session whose controlling terminal it is, 0 for none, and its foreground group.
    session: i32,
    foreground: i32,
    hung_up: bool,
}

impl std::fmt::Debug for Tty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tty({:#x})", self.rdev)
    }
}

static CONSOLE: OnceLock<Arc<Tty>> = OnceLock::new();

/// Makes the guest's console. Its number is that of the first pty, as programs expect it of a terminal they run on.
pub fn make_console(rdev: u64, size: WinSize, sink: Sink) -> Arc<Tty> {
    let state = State {
        discipline: LineDiscipline::new(Termios::default()),
        size,
        session: 0,
        foreground: 0,
        hung_up: false,
    };
    let tty = Arc::new(Tty { rdev, state: Mutex::new(Rank::Tty, state), queue: WaitQueue::new(), sink });
    let _ = CONSOLE.set(tty.clone());
    tty
}

/// The console, if there is one.
pub fn console() -> Option<Arc<Tty>> {
    CONSOLE.get().cloned()
}

/// Opens a terminal by its number: `/dev/tty`, `/dev/console`, `/dev/pts/0`.
pub fn open(rdev: u64, path: Path, flags: OpenFlags) -> Result<Arc<File>> {
    let tty = console().ok_or(Errno::ENXIO)?;
    if (super::major(rdev), super::minor(rdev)) == (5, 0) {
        let session = job::who().map_or(0, |w| w.sid);
        if session == 0 || tty.state.lock().session != session {
            return Err(Errno::ENXIO);
        }
    } else if (super::major(rdev), super::minor(rdev)) == (5, 2) {
        return Err(Errno::ENXIO);
    } else if !flags.contains(OpenFlags::NOCTTY) {
        tty.adopt_session();
    }
    let kept = flags - (OpenFlags::NOCTTY | OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::TRUNC);
    Ok(File::new(Arc::new(TtyFile(tty)), path, kept))
}

impl Tty {
    /// Gives it to a session.
    pub fn set_session(&self, session: i32, foreground: i32) {
        let mut state = self.state.lock();
        (state.session, state.foreground) = (session, foreground);
    }

    /// Session leaders without a terminal get the one they open.
    fn adopt_session(&self) {
        let Some(who) = job::who().filter(|w| w.is_leader) else { return };
        let mut state = self.state.lock();
        if state.session == 0 {
            (state.session, state.foreground) = (who.sid, who.pgid);
        }
    }

    /// Device number and foreground group, if it is the terminal of a session.
    pub fn controls(&self, session: i32) -> Option<(u64, i32)> {
        let state = self.state.lock();
        (session != 0 && state.session == session).then_some((self.rdev, state.foreground))
    }

    /// Characters from outside; how many were taken.
    pub fn feed(&self, bytes: &[u8]) -> usize {
        let mut effects = Effects::default();
        let taken = self.state.lock().discipline.receive(bytes, &mut effects);
        self.carry_out(effects);
        taken
    }

    /// The window has another size.
    pub fn resize(&self, size: WinSize) {
        let foreground = {
            let mut state = self.state.lock();
            if state.size == size {
                return;
            }
            state.size = size;
            state.foreground
        };
        job::signal(foreground, libc::SIGWINCH);
    }

    /// The outside is gone: readers see the end, writers an error, the session a hangup.
    pub fn hang_up(&self) {
        let session = {
            let mut state = self.state.lock();
            state.hung_up = true;
            (state.session, state.foreground)
        };
        self.queue.wake_all();
        job::signal(session.0, libc::SIGHUP);
        job::signal(session.1, libc::SIGHUP);
        job::signal(session.1, libc::SIGCONT);
    }

    fn carry_out(&self, effects: Effects) {
        if !effects.output.is_empty() {
            (self.sink)(&effects.output);
        }
        let foreground = self.state.lock().foreground;
        for signal in effects.signals {
            let signo = match signal {
                Signal::Interrupt => libc::SIGINT,
                Signal::Quit => libc::SIGQUIT,
                Signal::Suspend => libc::SIGTSTP,
            };
            job::signal(foreground, signo);
        }
        if effects.readable || effects.writable {
            self.queue.wake_all();
        }
    }

    /// One read: what the discipline gives, by the rules of VMIN and VTIME.
    fn read(&self, file: &File, into: &mut [u8]) -> Result<usize> {
        self.check_background(libc::SIGTTIN)?;
        let timing = self.state.lock().discipline.read_timing();
        let tenths = |t: u64| time::now() + t * 100_000_000;
        let (min, deadline) = match timing {
            ReadTiming::Line => (1, None),
            ReadTiming::Bytes { min } => (usize::from(min).min(into.len()), None),
            ReadTiming::BytesOrGap { min, .. } => (usize::from(min).min(into.len()), None),
            ReadTiming::Within { time } => (1, Some(tenths(time.into()))),
        };
        let mut done = 0;
        let how = How { uninterruptible: false, deadline };
        let result = self.queue.wait(how, || {
            let mut state = self.state.lock();
            match state.discipline.read(&mut into[done..]) {
                ReadOutcome::Data(n) => done += n,
                ReadOutcome::EndOfFile => return Some(Ok(done)),
                ReadOutcome::WouldBlock if state.hung_up => return Some(Ok(done)),
                ReadOutcome::WouldBlock => {}
            }
            if done >= min && (done > 0 || min == 0) {
                return Some(Ok(done));
            }
            file.nonblocking().then_some(if done > 0 { Ok(done) } else { Err(Errno::EAGAIN) })
        });
        match result {
            Ok(result) => result,
            Err(Ended::TimedOut) => Ok(done),
            Err(Ended::Interrupted) if done > 0 => Ok(done),
            Err(ended) => Err(ended.into()),
        }
    }

    fn write(&self, file: &File, from: &[u8]) -> Result<usize> {
        const TOSTOP: u32 = 0o400;
        if self.state.lock().discipline.termios().lflag & TOSTOP != 0 {
            self.check_background(libc::SIGTTOU)?;
        }
        let mut done = 0;
        while done < from.len() {
            let piece = &from[done..(done + 2048).min(from.len())];
            let mut out = Vec::new();
            let attempt = || {
                let mut state = self.state.lock();
                if state.hung_up {
                    return Some(Err(Errno::EIO));
                }
                match state.discipline.write(piece, &mut out) {
                    0 => file.nonblocking().then_some(Err(Errno::EAGAIN)),
                    n => Some(Ok(n)),
                }
            };
            match self.queue.wait(How::default(), attempt) {
                Ok(Ok(n)) => {
                    (self.sink)(&out);
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

/// An open terminal.
#[derive(Debug)]
pub struct TtyFile(pub Arc<Tty>);

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
        let mut ready = Events::empty();
        if state.discipline.readable() {
            ready |= Events::READ;
        }
        if !state.discipline.output_stopped() {
            ready |= Events::WRITE;
        }
        if state.hung_up {
            ready |= Events::READ | Events::HUP | Events::ERR;
        }
        ready
    }

    fn ioctl(&self, _file: &File, command: u32, arg: u64, memory: &UserMemory) -> Result<u64> {
        ioctl::ioctl(&self.0, command, arg, memory)
    }
}
