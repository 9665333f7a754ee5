//! Signals of the host's to the kernel: another size of a window, the wish that it ends, a file that may not become larger.

use crate::console::terminal;
use crate::task::{End, kernel};
use std::sync::atomic::{AtomicBool, Ordering};

/// From now on they are taken. What asks for the end ends the guest in good order, and a second time at once.
pub(super) fn listen() -> std::io::Result<()> {
    let ends = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT];
    // Under nohup(1) a hangup means nothing, and in the background of a shell an interrupt.
    let taken = ends.into_iter().filter(|s| !crate::platform::sys::is_ignored(*s));
    let mut signals = signal_hook::iterator::Signals::new(taken.chain([libc::SIGWINCH, libc::SIGXFSZ]))?;
    std::thread::Builder::new().name("signals".into()).stack_size(128 << 10).spawn(move || {
        static ASKED: AtomicBool = AtomicBool::new(false);
        for signal in &mut signals {
            if signal == libc::SIGWINCH {
                terminal::resized();
            } else if signal == libc::SIGXFSZ {
                // Of RLIMIT_FSIZE, by which it would end us: whoever wrote has EFBIG.
            } else if ASKED.swap(true, Ordering::SeqCst) {
                terminal::restore();
                crate::platform::sys::exit_now(128 + signal);
            } else {
                kernel().finish(End::Signal(signal));
            }
        }
    })?;
    Ok(())
}
