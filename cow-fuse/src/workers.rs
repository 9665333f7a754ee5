//! A few threads for what waits: the one that reads requests goes on meanwhile.
//!
//! Public for hostfs-mirror, which has some for each leg.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    idle: usize,
    over: bool,
}

/// The threads. They end when this is dropped, after all that was handed to them.
pub struct Workers {
    shared: Arc<(Mutex<Queue>, Condvar)>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    most: usize,
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").field("most", &self.most).finish_non_exhaustive()
    }
}

impl Workers {
    /// None yet; up to `most` once there is work.
    pub fn new(most: usize) -> Workers {
        Workers { shared: Arc::default(), threads: Mutex::default(), most }
    }

    /// Has something done. Where there can be no thread for it, here.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let (queue, cond) = &*self.shared;
        let mut queue = queue.lock();
        let waiting = queue.jobs.len();
        queue.jobs.push_back(Box::new(job));
        if queue.idle > waiting
            || self.start().is_ok_and(|started| started || !self.threads.lock().is_empty())
        {
            cond.notify_one();
            return;
        }
        let own = queue.jobs.pop_back();
        drop(queue);
        if let Some(job) = own {
            job();
        }
    }

    /// Starts a thread, unless there are enough.
    fn start(&self) -> io::Result<bool> {
        let mut threads = self.threads.lock();
        if threads.len() >= self.most {
            return Ok(false);
        }
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name("worker".into()).spawn(move || work(&shared))?;
        threads.push(thread);
        Ok(true)
    }

    /// Waits until all is done. Nothing may be handed in any more.
    pub fn end(&self) {
        self.shared.0.lock().over = true;
        self.shared.1.notify_all();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // One that has panicked has said so.
            let _ = thread.join();
        }
    }
}

fn work(shared: &(Mutex<Queue>, Condvar)) {
    let (queue, cond) = shared;
    let mut queue = queue.lock();
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            drop(queue);
            job();
            queue = shared.0.lock();
        } else if queue.over {
            return;
        } else {
            queue.idle += 1;
            cond.wait(&mut queue);
            queue.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn all_is_done_by_the_end() {
        let (workers, count) = (Workers::new(3), Arc::new(AtomicU32::new(0)));
        for _ in 0..100 {
            let count = count.clone();
            workers.run(move || {
                count.fetch_add(1, Ordering::SeqCst);
            });
        }
        workers.end();
        assert_eq!(count.load(Ordering::SeqCst), 100);
    }
}
