//! The host's terminal: raw while the guest has it, and always given back as it was.

use crate::fs::makedev;
use crate::fs::tty::{self, Tty};
use anyhow::{Context as _, Result};
use line_discipline::WinSize;
use parking_lot::Mutex;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// How the terminal was, and which it is.
static SAVED: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// Gives the terminal back; does nothing a second time.
pub fn restore() {
    if let Some((fd, termios)) = SAVED.lock().take() {
        let _ = tcsetattr(&fd, OptionalActions::Drain, &termios);
    }
}

/// Restores the terminal when it goes.
#[derive(Debug)]
pub(super) struct Guard(Arc<Tty>);

impl Guard {
    /// The guest's side of it.
    pub(super) fn tty(&self) -> &Arc<Tty> {
        &self.0
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        restore();
    }
}

fn size(fd: impl AsFd) -> WinSize {
    let s = tcgetwinsize(fd).ok();
    s.map_or(WinSize { rows: 24, cols: 80, xpixel: 0, ypixel: 0 }, |s| WinSize {
        rows: s.ws_row,
        cols: s.ws_col,
        xpixel: s.ws_xpixel,
        ypixel: s.ws_ypixel,
    })
}

/// Takes the host's terminal over, if standard input is one.
pub(super) fn take() -> Result<Option<Guard>> {
    let stdin = std::io::stdin();
    if !rustix::termios::isatty(&stdin) {
        return Ok(None);
    }
    let fd = stdin.as_fd().try_clone_to_owned()?;
    let before = tcgetattr(&fd).context("cannot read the terminal's settings")?;
    let mut raw = before.clone();
    raw.make_raw();
    let out = stdin.as_fd().try_clone_to_owned()?;
    let tty = tty::make_console(
        makedev(136, 0),
        size(&fd),
        Box::new(move |mut bytes| {
            while let Ok(n) = rustix::io::write(&out, bytes) {
                bytes = &bytes[n..];
                if bytes.is_empty() {
                    break;
                }
            }
        }),
    );
    *SAVED.lock() = Some((fd.try_clone()?, before));
    tcsetattr(&fd, OptionalActions::Drain, &raw).context("cannot make the terminal raw")?;
    let mut signals = signal_hook::iterator::Signals::new([libc::SIGWINCH, libc::SIGTERM, libc::SIGHUP])?;
    let resized = tty.clone();
    let watched = fd.try_clone()?;
    std::thread::Builder::new().name("signals".into()).stack_size(128 << 10).spawn(move || {
        for signal in &mut signals {
            if signal == libc::SIGWINCH {
                resized.resize(size(&watched));
            } else {
                restore();
                std::process::exit(128 + signal);
            }
        }
    })?;
    let fed = tty.clone();
    std::thread::Builder::new().name("input".into()).stack_size(128 << 10).spawn(move || feed(&fd, &fed))?;
    Ok(Some(Guard(tty)))
}

/// Passes what is typed on to the guest.
fn feed(fd: &OwnedFd, tty: &Tty) {
    let mut buffer = [0; 1024];
    loop {
        match rustix::io::read(fd, &mut buffer) {
            Ok(0) | Err(rustix::io::Errno::IO) => return tty.hang_up(),
            Ok(n) => {
                let mut rest = &buffer[..n];
                while !rest.is_empty() {
                    let taken = tty.feed(rest);
                    rest = &rest[taken..];
                    if taken == 0 {
                        // Its queue is full: until a program reads.
                        std::thread::sleep(std::time::Duration::from_millis(20));
                    }
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return tty.hang_up(),
        }
    }
}
