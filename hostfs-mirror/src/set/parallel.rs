//! What really waits goes to all legs at once, each on a thread of its own.

use super::flight::Answers;
use super::roster::Roster;
use crate::leg::Result;
use rustix::io::Errno;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Does something on legs at once. A disk may take long for what was written to it; a leg is late when `timeout` has passed since another
/// has answered well, and is answered for with ETIMEDOUT then.
pub(crate) fn on_each<T: Send + 'static>(
    roster: &Arc<Roster>,
    legs: &[usize],
    timeout: Duration,
    job: impl Fn(&Roster, usize) -> Result<T> + Send + Sync + 'static,
) -> Answers<T> {
    if let &[leg] = legs {
        return vec![(leg, job(roster, leg))];
    }
    let (job, (sender, receiver)) = (Arc::new(job), channel());
    for &leg in legs {
        let (job, sender, own) = (job.clone(), sender.clone(), roster.clone());
        roster.members[leg].workers.run(move || {
            let answer = job(&own, leg);
            // Who hears it may want the legs for himself.
            drop((own, job));
            // Nobody listens to who is late.
            let _ = sender.send((leg, answer));
        });
    }
    drop(sender);
    let (mut answers, mut first) = (Answers::with_capacity(legs.len()), None::<Instant>);
    while answers.len() < legs.len() {
        let answer = match first {
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(first) => receiver.recv_timeout(timeout.saturating_sub(first.elapsed())),
        };
        match answer {
            Ok((leg, answer)) => {
                if answer.is_ok() {
                    first.get_or_insert_with(Instant::now);
                }
                answers.push((leg, answer));
            }
            Err(_) => {
                let missing = legs.iter().filter(|leg| answers.iter().all(|(l, _)| l != *leg));
                let late: Vec<_> = missing.map(|&leg| (leg, Err(Errno::TIMEDOUT))).collect();
                answers.extend(late);
                break;
            }
        }
    }
    answers.sort_by_key(|(leg, _)| legs.iter().position(|l| l == leg));
    answers
}
