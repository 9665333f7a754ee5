//! The gate: a stub's clone reaches the host only if the kernel has just ordered it.
//!
//! Guest code can jump to the stub's instruction for ordered calls. A clone made that way would run outside the guest's scheduler, and
//! outlive its process; so the filter sends each clone here first. Who knocks without an order is ended.

use super::sys;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::io::Result;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// The listener of the stubs' filter, served by a thread.
#[derive(Debug)]
pub(super) struct Gate {
    expected: Arc<Mutex<HashSet<i32>>>,
}

impl Gate {
    /// Serves `listener` until the last stub is gone.
    pub(super) fn start(listener: OwnedFd) -> Result<Gate> {
        sys::wake_on_this_cpu(listener.as_fd());
        let expected = Arc::new(Mutex::new(HashSet::new()));
        let theirs = expected.clone();
        std::thread::Builder::new()
            .name("gate".into())
            .stack_size(64 << 10)
            .spawn(move || serve(&listener, &theirs))?;
        Ok(Gate { expected })
    }

    /// The thread is ordered to make one clone.
    pub(super) fn expect(&self, tid: i32) {
        self.expected.lock().insert(tid);
    }

    /// The order is carried out, or failed.
    pub(super) fn done(&self, tid: i32) {
        self.expected.lock().remove(&tid);
    }
}

/// Whether no stub is left.
fn is_deserted(listener: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(listener, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok_and(|n| n > 0) && fds[0].revents().contains(PollFlags::HUP)
}

fn serve(listener: &OwnedFd, expected: &Mutex<HashSet<i32>>) {
    loop {
        let request = match sys::notification(listener.as_fd()) {
            Ok(request) => request,
            // The asker died, or a signal came: the next one, unless it was the last who could ask.
            Err(e)
                if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) && !is_deserted(listener) =>
            {
                continue;
            }
            Err(_) => return,
        };
        let ordered = expected.lock().remove(&(request.pid as i32));
        // While it waits, its number is its own.
        if !ordered && sys::still_asks(listener.as_fd(), request.id) {
            let _ = sys::kill(request.pid as i32, libc::SIGKILL);
        }
        let _ = sys::answer(listener.as_fd(), request.id, (!ordered).then_some(libc::EPERM));
    }
}
