//! Beginning again: the same program, with the same command line.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

/// What follows a panic: `panic=N` of the command line. 0 is the end, N a restart after as many seconds, less than 0 one at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AfterPanic(pub i64);

impl AfterPanic {
    /// What the console is told.
    pub(super) fn announced(self) -> Option<String> {
        (self.0 > 0).then(|| format!("Rebooting in {} seconds..", self.0))
    }

    /// Begins again, if it is asked for; else it returns.
    pub(super) fn carry_out(self) {
        if self.0 == 0 {
            return;
        }
        std::thread::sleep(Duration::from_secs(self.0.max(0) as u64));
        let e = again();
        eprintln!("uml-kernel: {e}");
    }
}

/// Begins again; returns only if it cannot. The terminal is to be as it was, and the disks unmounted.
pub(super) fn again() -> std::io::Error {
    // Stubs that have been killed are still to be collected: the new kernel would not know them.
    let patience = Instant::now() + Duration::from_secs(2);
    while rustix::process::waitpid(None, rustix::process::WaitOptions::NOHANG).is_ok() {
        if Instant::now() > patience {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Command::new("/proc/self/exe").args(std::env::args_os().skip(1)).exec()
}
