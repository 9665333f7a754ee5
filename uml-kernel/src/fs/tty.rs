//! Terminals: a line discipline between the guest's programs and whatever the characters come from and go to, which is the host's
//! terminal (the console) or another program of the guest (a pseudo-terminal's master).

mod controlling;
pub mod devpts;
mod ioctl;
mod job;
mod master;
mod slave;

use super::{File, OpenFlags, Path};
use crate::base::wait::WaitQueue;
use crate::base::{Errno, Mutex, Rank, Result};
use line_discipline::{Effects, LineDiscipline, Signal, Termios, WinSize};
use master::Master;
use std::sync::{Arc, OnceLock};

pub use controlling::{leader_exits, of_session};
pub use job::{Sessions, Who, register_sessions};
pub use master::{MasterFile, TIOCGPTPEER};
pub use slave::TtyFile;

/// Where characters go: the host's terminal.
pub type Sink = Box<dyn Fn(&[u8]) + Send + Sync>;

/// A terminal.
pub struct Tty {
    /// Device number.
    rdev: u64,
    state: Mutex<State>,
    /// The programs on the terminal.
    queue: WaitQueue,
    /// The programs on the other side of a pseudo-terminal.
    outside: WaitQueue,
    /// The host's terminal, for the console.
    sink: Option<Sink>,
}

#[derive(Debug)]
struct State {
    discipline: LineDiscipline,
    size: WinSize,
    /// The session whose controlling terminal it is, 0 for none, and its foreground group.
    session: i32,
    foreground: i32,
    hung_up: bool,
    /// The other side of a pseudo-terminal.
    master: Option<Master>,
}

impl std::fmt::Debug for Tty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tty({:#x})", self.rdev)
    }
}

/// Opens /dev/console.
pub type Console = Box<dyn Fn() -> Result<Arc<Tty>> + Send + Sync>;

static CONSOLE: OnceLock<Console> = OnceLock::new();

/// Says what /dev/console is.
pub fn set_console(console: Console) {
    let _ = CONSOLE.set(console);
}

/// The terminal that /dev/console is; ENXIO if there is none.
pub fn console() -> Result<Arc<Tty>> {
    CONSOLE.get().ok_or(Errno::ENXIO)?()
}

/// What open(2) of a terminal leaves of the flags.
fn kept(flags: OpenFlags) -> OpenFlags {
    flags - (OpenFlags::NOCTTY | OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::TRUNC)
}

/// Opens a terminal by its number: `/dev/tty`, `/dev/console`, `/dev/ptmx`, `/dev/pts/0`.
pub fn open(rdev: u64, path: Path, flags: OpenFlags) -> Result<Arc<File>> {
    let tty = match (super::major(rdev), super::minor(rdev)) {
        (5, 0) => {
            let session = job::who().map_or(0, |w| w.sid);
            let tty = of_session(session).ok_or(Errno::ENXIO)?;
            return Ok(File::new(TtyFile::open(tty)?, path, kept(flags)));
        }
        // It never becomes a session's terminal by being opened.
        (5, 1) => return open_tty(console()?, path, flags | OpenFlags::NOCTTY),
        (5, 2) => return master::open(path, flags),
        (136..=143, _) => devpts::tty_of(&path).ok_or(Errno::EIO)?,
        _ => return Err(Errno::ENXIO),
    };
    open_tty(tty, path, flags)
}

/// Opens a terminal, which may become its session's.
pub fn open_tty(tty: Arc<Tty>, path: Path, flags: OpenFlags) -> Result<Arc<File>> {
    let ops = TtyFile::open(tty.clone())?;
    if !flags.contains(OpenFlags::NOCTTY) && flags.reads() {
        tty.adopt_session();
    }
    Ok(File::new(ops, path, kept(flags)))
}

impl Tty {
    fn new(rdev: u64, size: WinSize, sink: Option<Sink>, master: Option<Master>) -> Arc<Tty> {
        // Nothing is hung up by modem lines, as drivers/tty/pty.c begins.
        let fresh = Termios::default();
        let termios = Termios { cflag: fresh.cflag & !line_discipline::flags::HUPCL, ..fresh };
        let state = State {
            discipline: LineDiscipline::new(termios),
            size,
            session: 0,
            foreground: 0,
            hung_up: false,
            master,
        };
        let state = Mutex::new(Rank::Tty, state);
        Arc::new(Tty { rdev, state, queue: WaitQueue::new(), outside: WaitQueue::new(), sink })
    }

    /// One whose other side is on the host.
    pub fn on_host(rdev: u64, size: WinSize, sink: Sink) -> Arc<Tty> {
        Tty::new(rdev, size, Some(sink), None)
    }

    /// Whether its other side is gone.
    pub fn is_hung_up(&self) -> bool {
        self.state.lock().hung_up
    }

    /// Device number.
    pub fn rdev(&self) -> u64 {
        self.rdev
    }

    /// Characters from outside; how many were taken.
    pub fn feed(&self, bytes: &[u8]) -> usize {
        let mut effects = Effects::default();
        let taken = self.state.lock().discipline.receive(bytes, &mut effects);
        self.carry_out(effects);
        taken
    }

    /// The window has another size: the programs on it are told, and those on the master.
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

    /// The outside is gone: readers see the end, writers an error, the session's leader a hangup.
    pub fn hang_up(&self) {
        self.state.lock().hung_up = true;
        self.queue.wake_all();
        controlling::lose(self);
    }

    /// Sends characters to the outside.
    fn put_out(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match &self.sink {
            Some(sink) => sink(bytes),
            None => {
                if let Some(master) = &mut self.state.lock().master {
                    master.put(bytes);
                }
                self.outside.wake_all();
            }
        }
    }

    /// Does what the discipline wants done.
    fn carry_out(&self, effects: Effects) {
        let (foreground, told) = {
            let mut state = self.state.lock();
            let told = state.master.as_mut().is_some_and(|m| m.note(&effects));
            (state.foreground, told)
        };
        self.put_out(&effects.output);
        if told {
            self.outside.wake_all();
        }
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
}
