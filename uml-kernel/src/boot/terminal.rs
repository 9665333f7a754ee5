//! The caller's terminal, for `run`: the first pseudo-terminal of the guest, as programs expect it of a terminal they run on.

use crate::console::attach;
use crate::fs::makedev;
use crate::fs::tty::{self, Tty};
use anyhow::Result;
use std::sync::Arc;

/// Takes it over, if standard input is one.
pub(super) fn take() -> Result<Option<Arc<Tty>>> {
    if !rustix::termios::isatty(std::io::stdin()) {
        return Ok(None);
    }
    let tty = attach(makedev(136, 0))?;
    let console = tty.clone();
    tty::set_console(Box::new(move || Ok(console.clone())));
    Ok(Some(tty))
}
