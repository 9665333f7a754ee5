//! Terminals of the host's: raw while the guest has them, always given back as they were, and their windows' sizes.

use crate::fs::tty::Tty;
use line_discipline::WinSize;
use parking_lot::Mutex;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

struct Taken {
    fd: OwnedFd,
    before: Termios,
}

/// Which have been made raw, and how they were.
static TAKEN: Mutex<Vec<Taken>> = Mutex::new(Vec::new());
/// Whose size follows a window of the host's.
static FOLLOWING: Mutex<Vec<(OwnedFd, Weak<Tty>)>> = Mutex::new(Vec::new());

/// Gives all terminals back; does nothing a second time.
pub fn restore() {
    for taken in TAKEN.lock().drain(..) {
        let _ = tcsetattr(&taken.fd, OptionalActions::Drain, &taken.before);
    }
}

/// Makes a terminal raw until [`restore`].
pub(super) fn make_raw(fd: &OwnedFd) -> std::io::Result<()> {
    let before = tcgetattr(fd)?;
    let mut raw = before.clone();
    raw.make_raw();
    TAKEN.lock().push(Taken { fd: fd.try_clone()?, before });
    tcsetattr(fd, OptionalActions::Drain, &raw)?;
    Ok(())
}

/// Size of a terminal that has no window.
pub(super) const PLAIN: WinSize = WinSize { rows: 24, cols: 80, xpixel: 0, ypixel: 0 };

/// Size of the window of a terminal; of a plain one where it has none.
pub(super) fn size(fd: impl AsFd) -> WinSize {
    tcgetwinsize(fd).ok().filter(|s| s.ws_row > 0 && s.ws_col > 0).map_or(PLAIN, |s| WinSize {
        rows: s.ws_row,
        cols: s.ws_col,
        xpixel: s.ws_xpixel,
        ypixel: s.ws_ypixel,
    })
}

/// From now on this one has the size of that terminal's window.
pub(super) fn follow(fd: OwnedFd, tty: &Arc<Tty>) {
    FOLLOWING.lock().push((fd, Arc::downgrade(tty)));
}

/// A window may have another size (SIGWINCH).
pub fn resized() {
    let all: Vec<(WinSize, Arc<Tty>)> = {
        let mut following = FOLLOWING.lock();
        following.retain(|(_, tty)| tty.strong_count() > 0);
        following.iter().filter_map(|(fd, tty)| Some((size(fd), tty.upgrade()?))).collect()
    };
    for (size, tty) in all {
        tty.resize(size);
    }
}
