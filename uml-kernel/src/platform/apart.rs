//! Kernel and stub on a host CPU each.
//!
//! On one CPU a hand-off costs two switches of the host's scheduler. With a second CPU that has nothing to do, the kernel's thread goes
//! there while a guest makes one quick call after the other, and both sides watch the word that says whose turn it is: the hand-off is a
//! cache line on its way. To wake a thread on another CPU costs far more than one on the same, though, and so does the move. So an
//! account is kept, in cycles: each hand-off earns what it would have cost on one CPU, and pays what it took. When it is overdrawn, the
//! thread goes home, and it comes back only after a run of quick calls, a longer one if the last stay was not worth its moves.

use super::sys;
use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Cycles for which each side watches before it sleeps, some 40 us: twice what it costs to be woken from another CPU.
pub(super) const WATCH: u32 = 100_000;
/// What a hand-off costs on one CPU: some 3.5 us.
const TOGETHER: i64 = 9_000;
/// What it costs to be woken from another CPU.
const WAKE: i64 = 60_000;
/// What both moves cost.
const MOVES: i64 = 150_000;
/// The most an account can hold: a guest that begins to compute is left alone after so many wake-ups.
const CREDIT: i64 = 8 * WAKE;
/// Cycles from the giving of a turn to its return that make it a quick one, on one CPU.
const QUICK: u64 = 36_000;
/// Quick turns in a row that let the kernel's thread go, at first and at most.
const FIRST: u32 = 64;
const MOST: u32 = 1 << 14;
/// Cycles before it may go again: after an attempt that found no CPU, and after a stay with others on that CPU.
const LATER: u64 = 25_000_000;
const MUCH_LATER: u64 = 500_000_000;
/// A loss in one hand-off that tells of others on that CPU.
const OTHERS: i64 = 2_000_000;

/// Host CPUs, as a set that all vCPUs change.
struct Cpus([AtomicU64; 16]);

impl Cpus {
    const fn new() -> Cpus {
        Cpus([const { AtomicU64::new(0) }; 16])
    }

    fn place(&self, cpu: usize) -> (Option<&AtomicU64>, u64) {
        (self.0.get(cpu / 64), 1 << (cpu % 64))
    }

    fn has(&self, cpu: usize) -> bool {
        let (word, bit) = self.place(cpu);
        word.is_none_or(|w| w.load(Ordering::Relaxed) & bit != 0)
    }

    /// False if it was there; those beyond the set's end always are.
    fn add(&self, cpu: usize) -> bool {
        let (word, bit) = self.place(cpu);
        word.is_some_and(|w| w.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }

    fn remove(&self, cpu: usize) {
        let (word, bit) = self.place(cpu);
        if let Some(word) = word {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

/// Where vCPUs are at home that have something to run.
static BUSY: Cpus = Cpus::new();
/// Where kernels' threads have gone to.
static AWAY: Cpus = Cpus::new();

/// What there is to choose from.
struct Host {
    /// CPUs with their caches: the last one's, by its number (0 where that is not told).
    cpus: Vec<(usize, usize)>,
    /// `/proc/loadavg`, and how many CPUs it tells of.
    load: Option<(File, usize)>,
}

static HOST: OnceLock<Host> = OnceLock::new();

/// Lets vCPUs' threads go to these host CPUs, too.
pub fn allow(cpus: &[usize]) {
    let load = File::open("/proc/loadavg").ok().map(|file| (file, sys::online_cpus()));
    let _ = HOST.set(Host { cpus: cpus.iter().map(|cpu| (*cpu, last_cache(*cpu))).collect(), load });
}

/// The last cache of a CPU, by the id that Documentation/ABI/testing/sysfs-devices-system-cpu gives it.
fn last_cache(cpu: usize) -> usize {
    let id = |index: usize| {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/cache/index{index}/id");
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    (0..8).rev().find_map(id).unwrap_or(0)
}

impl Host {
    /// Claims a CPU that no vCPU of ours uses, of those that share the last cache with `home`, or of all if none does; the `turn`th of
    /// them first.
    fn claim(&self, home: usize, turn: usize) -> Option<usize> {
        let cache = self.cpus.iter().find(|(cpu, _)| *cpu == home)?.1;
        let others = |near: bool| -> Vec<usize> {
            let fits = |(cpu, its): &&(usize, usize)| *cpu != home && (!near || *its == cache);
            self.cpus.iter().filter(fits).map(|(cpu, _)| *cpu).collect()
        };
        let mut near = others(true);
        if near.is_empty() {
            near = others(false);
        }
        near.retain(|cpu| !BUSY.has(*cpu) && !AWAY.has(*cpu));
        if near.is_empty() || !self.has_idle() {
            return None;
        }
        let first = turn % near.len();
        near[first..].iter().chain(&near[..first]).copied().find(|cpu| AWAY.add(*cpu))
    }

    /// Whether some CPU has nothing to do: the fourth field of proc_loadavg(5) says how many threads can run, of which the caller is one.
    fn has_idle(&self) -> bool {
        let Some((file, cpus)) = &self.load else { return true };
        let mut text = [0; 64];
        let len = file.read_at(&mut text, 0).unwrap_or(0);
        running(&text[..len]).is_none_or(|n| n < *cpus)
    }
}

fn running(loadavg: &[u8]) -> Option<usize> {
    let text = str::from_utf8(loadavg).ok()?;
    text.split(' ').nth(3)?.split('/').next()?.parse().ok()
}

/// Where a vCPU's thread is, and why.
#[derive(Debug, Clone, Copy)]
struct Place {
    home: Option<usize>,
    away: Option<usize>,
    account: i64,
    /// What this stay has earned so far.
    earned: i64,
    /// Quick turns in a row, and how many it takes.
    quick: u32,
    wanted: u32,
    /// No stay before.
    next: u64,
    /// Which of the CPUs to try first: another after each that others were on.
    turn: usize,
}

impl Place {
    const fn new() -> Place {
        Place { home: None, away: None, account: 0, earned: 0, quick: 0, wanted: FIRST, next: 0, turn: 0 }
    }

    /// After a hand-off on one CPU that took so many cycles; whether to go.
    fn together(&mut self, now: u64, took: u64) -> bool {
        self.quick = if took < QUICK { self.quick + 1 } else { 0 };
        self.quick >= self.wanted && now >= self.next
    }

    /// Begins a stay at `cpu`.
    fn go(&mut self, cpu: usize) {
        (self.away, self.account, self.earned, self.quick) = (Some(cpu), MOVES, 0, 0);
    }

    /// After a hand-off that took so many cycles on its two ways; whether the stay is over.
    fn apart(&mut self, took: i64) -> bool {
        let earned = TOGETHER.saturating_sub(took);
        self.earned = self.earned.saturating_add(earned);
        self.account = self.account.saturating_add(earned).min(CREDIT);
        self.account < 0
    }

    /// Ends the stay.
    fn back(&mut self, now: u64, others: bool) {
        let worth = self.earned > 2 * MOVES;
        self.wanted = if worth { (self.wanted / 2).max(FIRST) } else { (self.wanted * 2).min(MOST) };
        self.next = now + if others { MUCH_LATER } else { 0 };
        self.turn = self.turn.wrapping_add(others.into());
        (self.away, self.quick) = (None, 0);
    }
}

thread_local! {
    static PLACE: Cell<Place> = const { Cell::new(Place::new()) };
}

// Not inlined: a fiber may go on in another thread after a suspension, where the address of a thread-local is another.
#[inline(never)]
fn get() -> Place {
    PLACE.get()
}

#[inline(never)]
fn set(place: Place) {
    PLACE.set(place);
}

/// A vCPU's thread has its home at `cpu` from now on, and is there.
pub fn settle(cpu: usize) {
    let mut place = get();
    if let Some(away) = place.away.take() {
        AWAY.remove(away);
    }
    let _ = sys::pin(0, &[cpu]);
    place.home = Some(cpu);
    set(place);
}

/// The thread that has called [`settle`] is no vCPU any more.
pub fn leave() {
    if let Some(away) = get().away {
        AWAY.remove(away);
    }
    set(Place::new());
}

/// A vCPU runs something, or has nothing any more.
pub fn busy(yes: bool) {
    match get().home {
        Some(home) if yes != BUSY.has(home) => {
            if yes {
                BUSY.add(home);
            } else {
                BUSY.remove(home)
            }
        }
        _ => {}
    }
}

/// For how many cycles each side watches the word before it sleeps: 0 on one CPU.
pub(super) fn watch() -> u32 {
    if get().away.is_some() { WATCH } else { 0 }
}

/// After a hand-off at `now` on one CPU that took so many cycles, the guest's own among them.
pub(super) fn after_together(now: u64, took: u64) {
    let mut place = get();
    let Some(home) = place.home else { return };
    if place.together(now, took) {
        let found = HOST.get().and_then(|host| host.claim(home, place.turn));
        match found {
            Some(cpu) if sys::pin(0, &[cpu]).is_ok() => place.go(cpu),
            Some(cpu) => AWAY.remove(cpu),
            None => (place.quick, place.next) = (0, now + LATER),
        }
    }
    set(place);
}

/// Whether somebody of ours needs the CPU that this thread has gone to.
pub(super) fn in_the_way() -> bool {
    get().away.is_some_and(|cpu| BUSY.has(cpu))
}

/// After a hand-off at `now` on two CPUs that took so many cycles on its ways.
pub(super) fn after_apart(now: u64, took: u64) {
    pay(now, i64::try_from(took).unwrap_or(i64::MAX));
}

/// The other side has not come back while this one watched: it will have to be woken.
pub(super) fn missed(now: u64) {
    pay(now, WAKE);
}

fn pay(now: u64, cycles: i64) {
    let mut place = get();
    let (Some(home), Some(away)) = (place.home, place.away) else { return };
    if place.apart(cycles) || BUSY.has(away) {
        let _ = sys::pin(0, &[home]);
        AWAY.remove(away);
        place.back(now, cycles > OTHERS);
    }
    set(place);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_turns_in_a_row_let_it_go_and_losses_bring_it_back() {
        let mut place = Place::new();
        for _ in 1..FIRST {
            assert!(!place.together(0, QUICK - 1));
        }
        assert!(!place.together(0, QUICK));
        for _ in 1..FIRST {
            assert!(!place.together(0, 1));
        }
        assert!(place.together(0, 1));
        place.go(3);
        // Wake-ups alone use the first credit up; the next stay wants a longer run.
        assert!(!place.apart(WAKE));
        assert!(!place.apart(WAKE));
        assert!(place.apart(WAKE));
        place.back(10, false);
        assert_eq!((place.wanted, place.next, place.away), (2 * FIRST, 10, None));
        // A long good stay ends by a limited number of them, and makes the next one easier.
        place.go(3);
        for _ in 0..100_000 {
            assert!(!place.apart(500));
        }
        let wakes = (0..).take_while(|_| !place.apart(WAKE)).count();
        assert_eq!(wakes as i64, CREDIT / (WAKE - TOGETHER));
        place.back(20, true);
        assert_eq!((place.wanted, place.next, place.turn), (FIRST, 20 + MUCH_LATER, 1));
        // Nothing that a stub's stamps say overflows.
        place.go(3);
        assert!(place.apart(i64::MAX));
        assert!(place.apart(i64::MAX));
    }

    #[test]
    fn the_cpu_is_one_that_shares_the_cache_if_there_is_one() {
        // Numbers that no vCPU of another test has.
        let host = Host { cpus: vec![(900, 1), (901, 1), (902, 2), (903, 1), (904, 3)], load: None };
        assert_eq!(host.claim(900, 1), Some(903));
        assert_eq!(host.claim(900, 1), Some(901));
        assert_eq!(host.claim(900, 1), None);
        assert_eq!(host.claim(904, 0), Some(900));
        [900, 901, 903].into_iter().for_each(|cpu| AWAY.remove(cpu));
    }

    #[test]
    fn the_number_of_running_threads_is_the_fourth_field() {
        assert_eq!(running(b"0.09 0.67 1.89 3/81 17706\n"), Some(3));
        assert_eq!(running(b""), None);
        assert_eq!(running(b"0 0 0 x/1 2"), None);
    }

    #[test]
    fn a_set_of_cpus_has_an_end() {
        let set = Cpus::new();
        assert!(set.add(1023) && !set.add(1023) && set.has(1023));
        set.remove(1023);
        assert!(!set.has(1023) && set.has(1024) && !set.add(1024));
    }
}
