//! Consoles (`con`) and serial lines (`ssl`): terminals of the guest's whose other side is on the host.
//!
//! A line is opened on the host when the guest first opens it, and again after a hangup: who connects to a port finds a fresh login.

mod channel;
mod host;
mod port;
pub mod terminal;

pub use channel::{Channel, Kind, LINES, Line, Lines, key};

use crate::base::wait::{How, WaitQueue};
use crate::base::{Errno, Mutex, Rank, Result, fiber};
use crate::fs::tty::{self, Tty};
use crate::fs::{Inode, devtmpfs, kind, makedev, minor};
use std::sync::{Arc, OnceLock};

/// Major number of both, and where serial lines begin (Documentation/admin-guide/devices.txt).
const TTY: u64 = 4;
const SERIAL: u64 = 64;

/// One line.
struct Console {
    name: String,
    rdev: u64,
    state: Mutex<State>,
    /// Those who wait until it is open.
    opened: WaitQueue,
}

struct State {
    line: Line,
    tty: Option<Arc<Tty>>,
    /// Where it is on the host, while it is open.
    at: Option<String>,
    opening: bool,
    failed: bool,
}

static ALL: OnceLock<Vec<Arc<Console>>> = OnceLock::new();

/// Makes all lines, none of them open yet; `console` is which of them is /dev/console.
pub fn start(lines: &Lines, console: &str) -> anyhow::Result<()> {
    let make = |kind, number: usize| {
        let (name, first) = match kind {
            Kind::Console => (format!("tty{number}"), 0),
            Kind::Serial => (format!("ttyS{number}"), SERIAL),
        };
        let line = lines.get(kind, number).clone();
        let state = State { line, tty: None, at: None, opening: false, failed: false };
        Arc::new(Console {
            name,
            rdev: makedev(TTY, first + number as u64),
            state: Mutex::new(Rank::Leaf, state),
            opened: WaitQueue::new(),
        })
    };
    let consoles = (0..LINES).map(|n| make(Kind::Console, n));
    let all: Vec<_> = consoles.chain((0..LINES).map(|n| make(Kind::Serial, n))).collect();
    let found = all.iter().find(|c| c.name == console).cloned();
    let system = found.ok_or_else(|| anyhow::anyhow!("console={console}: there is no such line"))?;
    let _ = ALL.set(all);
    crate::fs::dev::register(
        TTY,
        Arc::new(|rdev, path, flags| tty::open_tty(find(rdev)?.open()?, path, flags)),
    );
    tty::set_console(Box::new(move || system.open()));
    Ok(())
}

/// The terminal that this program was started on, as a terminal of the guest's: what is typed goes to it from now on.
pub fn attach(rdev: u64) -> anyhow::Result<Arc<Tty>> {
    let mut wire = host::open(&Line::both(Channel::Fd(0)))?;
    let tty = wire.terminal(rdev);
    let fed = tty.clone();
    std::thread::Builder::new().name("input".into()).stack_size(128 << 10).spawn(move || wire.feed(&fed))?;
    Ok(tty)
}

/// Their special files.
pub fn populate(dir: &Arc<dyn Inode>) -> Result<()> {
    const GROUP_TTY: u32 = 5;
    for console in ALL.get().into_iter().flatten() {
        devtmpfs::add_device(dir, &console.name, kind::CHR | 0o620, console.rdev, GROUP_TTY)?;
    }
    Ok(())
}

fn find(rdev: u64) -> Result<Arc<Console>> {
    let number = minor(rdev);
    let index = if number < SERIAL { number } else { number - SERIAL + LINES as u64 };
    let all = ALL.get().ok_or(Errno::ENXIO)?;
    all.get(index as usize).filter(|c| c.rdev == rdev).cloned().ok_or(Errno::ENXIO)
}

impl Console {
    /// Its terminal; waits until it is there.
    fn open(self: &Arc<Console>) -> Result<Arc<Tty>> {
        loop {
            let tty = self.state.lock().tty.clone();
            if let Some(tty) = tty.filter(|t| !t.is_hung_up()) {
                return Ok(tty);
            }
            {
                let mut state = self.state.lock();
                if state.line.output == Channel::None {
                    return Err(Errno::ENODEV);
                }
                if std::mem::take(&mut state.failed) {
                    return Err(Errno::EIO);
                }
                if !state.opening {
                    state.opening = true;
                    let (own, line) = (self.clone(), state.line.clone());
                    let work = move || own.serve(&line);
                    let named = std::thread::Builder::new().name(self.name.clone());
                    named.stack_size(128 << 10).spawn(work).map_err(|_| Errno::EAGAIN)?;
                }
            }
            let ready = || (!self.state.lock().opening).then_some(());
            match fiber::current() {
                Some(_) => self.opened.wait(How::default(), ready)?,
                // At boot, before there are tasks.
                None => {
                    while ready().is_none() {
                        std::thread::sleep(std::time::Duration::from_millis(1));
                    }
                }
            }
        }
    }

    /// Opens it on the host, and passes on what comes, until it ends.
    fn serve(&self, line: &Line) {
        let opened = host::open(line);
        let mut wire = match opened {
            Ok(wire) => wire,
            Err(e) => {
                crate::log!("{}: {line}: {e:#}", self.name);
                let mut state = self.state.lock();
                (state.opening, state.failed) = (false, true);
                drop(state);
                return self.opened.wake_all();
            }
        };
        if let Some(device) = wire.name.strip_prefix("pts:") {
            crate::log!("{}: Virtual console assigned device '{device}'", self.name);
        }
        let tty = wire.terminal(self.rdev);
        {
            let mut state = self.state.lock();
            (state.tty, state.opening) = (Some(tty.clone()), false);
            state.at = Some(wire.name.clone());
        }
        self.opened.wake_all();
        wire.feed(&tty);
    }
}

/// What is set for a line, for `config con1` of the management console.
pub fn shown(kind: Kind, number: usize) -> Option<String> {
    let console = at(kind, number)?;
    let state = console.state.lock();
    Some(state.at.clone().unwrap_or_else(|| state.line.to_string()))
}

/// Sets where a line is from its next opening on; what is open there now is hung up.
pub fn configure(kind: Kind, number: usize, line: &Line) -> bool {
    let Some(console) = at(kind, number) else { return false };
    let old = {
        let mut state = console.state.lock();
        state.line = line.clone();
        state.at = None;
        state.tty.take()
    };
    if let Some(tty) = old {
        tty.hang_up();
    }
    true
}

fn at(kind: Kind, number: usize) -> Option<&'static Arc<Console>> {
    let first = if kind == Kind::Console { 0 } else { LINES };
    ALL.get()?.get(first + number)
}
