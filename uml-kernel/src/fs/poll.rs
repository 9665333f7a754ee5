//! poll(2), and what select(2) is made of.

use super::{File, PollTable};
use crate::base::fiber::{self, Fiber};
use crate::base::time::Instant;
use crate::base::wait::{Ended, Events, How, WaitQueue, Waiter, Wake};
use crate::base::{Errno, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One for a whole call: every queue of every file tells it.
struct Poller {
    fiber: Arc<Fiber>,
    told: AtomicBool,
    over: AtomicBool,
}

impl Wake for Poller {
    fn wake(&self, _: Events) {
        if !self.told.swap(true, Ordering::SeqCst) {
            self.fiber.wake();
        }
    }
    fn alive(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }
}

struct Table {
    poller: Arc<Poller>,
    events: Events,
}

impl PollTable for Table {
    fn add(&mut self, queue: &WaitQueue) {
        queue.add(self.poller.clone(), self.events, false);
    }
}

/// What of the asked for (and ERR, HUP, which are always) is ready at each file: at least one, unless `deadline` has passed (0 looks
/// once, `None` waits for ever). Interrupted, it is ERESTARTNOHAND; select(2) and poll(2) are made of that as the caller sees fit.
/// Files are asked again only when a queue has told something.
pub fn poll_files(list: &[(Arc<File>, Events)], deadline: Option<Instant>) -> Result<Vec<Events>> {
    let mut table = match (deadline, fiber::current()) {
        (Some(0), _) | (_, None) => None,
        (_, Some(fiber)) => {
            let poller = Poller { fiber, told: AtomicBool::new(false), over: AtomicBool::new(false) };
            Some(Table { poller: Arc::new(poller), events: Events::empty() })
        }
    };
    let poller = table.as_ref().map(|t| t.poller.clone());
    let result = look(list, table.as_mut(), deadline);
    if let Some(poller) = poller {
        poller.over.store(true, Ordering::Relaxed);
    }
    result
}

fn look(
    list: &[(Arc<File>, Events)],
    mut table: Option<&mut Table>,
    deadline: Option<Instant>,
) -> Result<Vec<Events>> {
    let mut out = Vec::with_capacity(list.len());
    let mut ready = false;
    for (file, events) in list {
        let wanted = *events | Events::ERR | Events::HUP;
        // Once one is ready nobody will wait: no queue need know.
        let found = match &mut table {
            Some(table) if !ready => {
                table.events = wanted;
                file.ops().poll(file, Some(&mut **table))
            }
            _ => file.ops().poll(file, None),
        } & wanted;
        ready |= !found.is_empty();
        out.push(found);
    }
    let Some(table) = table else { return Ok(out) };
    if ready {
        return Ok(out);
    }
    let waited = Waiter::new().wait(How { deadline, ..How::default() }, || {
        if !table.poller.told.swap(false, Ordering::SeqCst) {
            return None;
        }
        let mut ready = false;
        for ((file, events), found) in list.iter().zip(&mut out) {
            *found = file.ops().poll(file, None) & (*events | Events::ERR | Events::HUP);
            ready |= !found.is_empty();
        }
        ready.then_some(())
    });
    match waited {
        Err(Ended::Interrupted) => Err(Errno::ERESTARTNOHAND),
        Ok(()) | Err(Ended::TimedOut) => Ok(out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time;
    use crate::fs::OpenFlags;
    use crate::fs::pipe::pipe;
    use crate::fs::testing::{run_in_fiber, start};

    #[test]
    fn waits_for_one_of_many() {
        let pipes: Vec<_> = (0..50).map(|_| pipe(OpenFlags::NONBLOCK, 0, 0).unwrap()).collect();
        let list: Vec<_> = pipes.iter().map(|(r, _)| (r.clone(), Events::READ)).collect();
        assert_eq!(poll_files(&list, Some(0)).unwrap(), vec![Events::empty(); 50]);
        let waiting = start(move || poll_files(&list, None).map(|found| (found, list)));
        let writer = pipes[31].1.clone();
        run_in_fiber(move || {
            fiber::give_way();
            writer.write(b"x")
        })
        .unwrap();
        let (found, list) = waiting.join().unwrap();
        for (n, events) in found.iter().enumerate() {
            assert_eq!(*events, if n == 31 { Events::READ } else { Events::empty() });
        }
        let (list, start_time) = (list[..5].to_vec(), time::now());
        let again = list.clone();
        let out = run_in_fiber(move || poll_files(&list, Some(time::now() + 3_000_000)));
        assert_eq!(out, Ok(vec![Events::empty(); 5]));
        assert!(time::now() - start_time >= 3_000_000);
        let waiting = start(move || poll_files(&again, None));
        waiting.fiber.set_interrupted(true);
        assert_eq!(waiting.join(), Err(Errno::ERESTARTNOHAND));
    }
}
