//! Waiting for files: the core of poll(2) and select(2).

use super::{File, PollTable};
use crate::base::wait::{Ended, Events, How, WaitQueue, Waiter};
use crate::base::{Errno, Result};
use std::sync::Arc;

struct Table<'a> {
    waiter: &'a Waiter,
    events: Events,
}

impl PollTable for Table<'_> {
    fn add(&mut self, queue: &WaitQueue) {
        self.waiter.add(queue, self.events);
    }
}

/// Errors and hang-ups are always told.
const ALWAYS: Events = Events::ERR.union(Events::HUP);

/// What is ready of what is wanted, for each file; waits until something is, or until `deadline`.
pub fn poll_files(files: &[(Arc<File>, Events)], how: How) -> Result<Vec<Events>> {
    let look = || {
        let ready: Vec<Events> = files.iter().map(|(f, e)| f.ops().poll(f, None) & (*e | ALWAYS)).collect();
        ready.iter().any(|r| !r.is_empty()).then_some(ready)
    };
    let nothing = || vec![Events::empty(); files.len()];
    if let Some(ready) = look() {
        return Ok(ready);
    }
    if how.deadline == Some(0) {
        return Ok(nothing());
    }
    let waiter = Waiter::new();
    for (file, events) in files {
        let mut table = Table { waiter: &waiter, events: *events | ALWAYS };
        file.ops().poll(file, Some(&mut table));
    }
    match waiter.wait(how, look) {
        Ok(ready) => Ok(ready),
        Err(Ended::TimedOut) => Ok(nothing()),
        Err(Ended::Interrupted) => Err(Errno::EINTR),
    }
}
