//! An operation on its way over the legs, and what becomes of it when a leg does not answer.
//!
//! The thread that has the request does it on one leg after the other. A watchdog looks at all operations that are on their way; one
//! that is on the same leg for too long it takes over: the leg's answer is ETIMEDOUT, and a new thread goes on with the legs that
//! remain, and ends the operation. The first thread, once the leg lets it go, finds that the operation is no longer its own, and drops
//! what it got. It returns only after the operation has ended: until then, what it lent to it is there.

#![allow(unsafe_code)]

use crate::leg::Result;
use parking_lot::{Condvar, Mutex};
use rustix::io::Errno;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// What the legs have answered: the leg's index, and its answer.
pub(crate) type Answers<T> = Vec<(usize, Result<T>)>;

/// How an operation goes from leg to leg.
#[derive(Clone, Copy)]
pub(crate) struct Route<'a> {
    /// The legs, in order.
    pub(crate) legs: &'a [usize],
    /// After so long a leg hangs; never where nobody could go on.
    pub(crate) timeout: Option<Duration>,
    /// How many operations hang on each leg.
    pub(crate) hanging: &'a [AtomicU32],
}

struct State<T> {
    /// Rises when somebody else takes over.
    owner: u32,
    /// The next of the route's legs.
    next: usize,
    /// Since when it is on the one before; not on its way between two.
    since: Option<Instant>,
    answers: Answers<T>,
    /// Made by the first takeover.
    latch: Option<Arc<Latch>>,
}

struct Flight<'a, T, E, F, S> {
    route: Route<'a>,
    each: E,
    /// Whether this answer is the last that is needed.
    enough: S,
    finish: Mutex<Option<F>>,
    state: Mutex<State<T>>,
}

/// How many takeovers still have a flight.
#[derive(Default)]
struct Latch {
    users: Mutex<usize>,
    none: Condvar,
}

impl Latch {
    fn wait(&self) {
        let mut users = self.users.lock();
        while *users > 0 {
            self.none.wait(&mut users);
        }
    }
}

/// A takeover, for as long as it has the flight.
struct User(Arc<Latch>);

impl User {
    fn new(latch: Arc<Latch>) -> User {
        *latch.users.lock() += 1;
        User(latch)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        *self.0.users.lock() -= 1;
        self.0.none.notify_all();
    }
}

/// What the watchdog sees of a flight.
trait Late: Sync {
    /// Takes it over, if its leg hangs: the number of the new owner, who has the flight until he drops that.
    fn take_over(&self, now: Instant) -> Option<(u32, User)>;
    /// Goes on with it as that owner.
    fn go_on(&self, owner: u32);
}

impl<T, E, F, S> Flight<'_, T, E, F, S>
where
    T: Send,
    E: Fn(usize) -> Result<T> + Sync,
    F: FnOnce(Answers<T>) + Send,
    S: Fn(&Result<T>) -> bool + Sync,
{
    fn run(&self, me: u32) {
        loop {
            let leg = {
                let mut state = self.state.lock();
                let enough = state.answers.last().is_some_and(|(_, answer)| (self.enough)(answer));
                match self.route.legs.get(state.next) {
                    Some(&leg) if !enough => {
                        state.next += 1;
                        state.since = Some(Instant::now());
                        leg
                    }
                    _ => {
                        let answers = std::mem::take(&mut state.answers);
                        state.since = None;
                        drop(state);
                        if let Some(finish) = self.finish.lock().take() {
                            finish(answers);
                        }
                        return;
                    }
                }
            };
            let answer = (self.each)(leg);
            let mut state = self.state.lock();
            if state.owner != me {
                drop(state);
                self.route.hanging[leg].fetch_sub(1, Ordering::AcqRel);
                return;
            }
            state.since = None;
            state.answers.push((leg, answer));
        }
    }
}

impl<T, E, F, S> Late for Flight<'_, T, E, F, S>
where
    T: Send,
    E: Fn(usize) -> Result<T> + Sync,
    F: FnOnce(Answers<T>) + Send,
    S: Fn(&Result<T>) -> bool + Sync,
{
    fn take_over(&self, now: Instant) -> Option<(u32, User)> {
        let timeout = self.route.timeout?;
        let mut state = self.state.lock();
        let since = state.since?;
        if now.saturating_duration_since(since) < timeout {
            return None;
        }
        let leg = self.route.legs[state.next - 1];
        self.route.hanging[leg].fetch_add(1, Ordering::AcqRel);
        state.since = None;
        state.answers.push((leg, Err(Errno::TIMEDOUT)));
        state.owner += 1;
        let latch = state.latch.get_or_insert_default().clone();
        Some((state.owner, User::new(latch)))
    }

    fn go_on(&self, owner: u32) {
        self.run(owner);
    }
}

/// A flight whose lifetime nobody checks but [`fly`].
#[derive(Clone, Copy)]
struct Erased(&'static dyn Late);

type Slot = Mutex<Option<Erased>>;

/// Every thread that has had a flight, for the watchdog to look at.
static SLOTS: LazyLock<Mutex<Vec<Arc<Slot>>>> = LazyLock::new(|| {
    // Without it, a leg that hangs hangs the set: no worse than without a mirror.
    let _ = std::thread::Builder::new().name("watchdog".into()).spawn(watch);
    Mutex::default()
});

/// A thread's slot, which ends with the thread.
struct Own(Arc<Slot>);

impl Own {
    fn new() -> Own {
        let slot = Arc::new(Slot::default());
        SLOTS.lock().push(slot.clone());
        Own(slot)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        SLOTS.lock().retain(|slot| !Arc::ptr_eq(slot, &self.0));
    }
}

thread_local! {
    static OWN: RefCell<Option<Own>> = const { RefCell::new(None) };
}

/// So often the watchdog looks.
const OFTEN: Duration = Duration::from_millis(100);

fn watch() {
    loop {
        std::thread::sleep(OFTEN);
        let slots = SLOTS.lock().clone();
        let now = Instant::now();
        for slot in slots {
            // While this is locked, the flight's thread does not return.
            let slot = slot.lock();
            let Some(Erased(flight)) = *slot else { continue };
            if let Some((owner, user)) = flight.take_over(now) {
                let go_on = move || {
                    registered(Erased(flight), || flight.go_on(owner));
                    drop(user);
                };
                // Where there is no thread to be had, nobody finishes it: a reply that is dropped is EIO.
                let _ = std::thread::Builder::new().name("takeover".into()).spawn(go_on);
            }
        }
    }
}

/// Does something while the watchdog looks at a flight.
fn registered(flight: Erased, work: impl FnOnce()) {
    let slot = OWN.with_borrow_mut(|own| own.get_or_insert_with(Own::new).0.clone());
    let before = slot.lock().replace(flight);
    work();
    *slot.lock() = before;
}

/// Does an operation on the legs of a route, one after the other, until one answer is `enough`, and then `finish`es it: here, or, if a leg
/// hangs, on another thread.
pub(crate) fn fly<T: Send>(
    route: Route<'_>,
    each: impl Fn(usize) -> Result<T> + Sync,
    enough: impl Fn(&Result<T>) -> bool + Sync,
    finish: impl FnOnce(Answers<T>) + Send,
) {
    if route.timeout.is_none() || route.legs.len() < 2 {
        let mut answers = Answers::with_capacity(route.legs.len());
        for &leg in route.legs {
            let answer = each(leg);
            let last = enough(&answer);
            answers.push((leg, answer));
            if last {
                break;
            }
        }
        return finish(answers);
    }
    let answers = Answers::with_capacity(route.legs.len());
    let flight = Flight {
        route,
        each,
        enough,
        finish: Mutex::new(Some(finish)),
        state: Mutex::new(State { owner: 0, next: 0, since: None, answers, latch: None }),
    };
    let late: &dyn Late = &flight;
    // SAFETY: two others use the reference: the watchdog, while it holds the lock of a slot in which the flight is, and the thread of a
    // takeover, as long as it has its `User`. This thread's slot is emptied under its lock by `registered`, a takeover's before its
    // `User` is dropped; and once there is a takeover, nothing below returns before all of them are. A panic in between aborts.
    let erased = Erased(unsafe { std::mem::transmute::<&dyn Late, &'static dyn Late>(late) });
    let bomb = Bomb;
    registered(erased, || flight.run(0));
    let latch = flight.state.lock().latch.take();
    if let Some(latch) = latch {
        latch.wait();
    }
    std::mem::forget(bomb);
}

/// Ends the process if it is dropped: a flight must not be unwound from while others may look at it.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::process::abort();
    }
}
