//! Threads and futexes.

use crate::mem::{PAGE, PRIV, RW, SHARED, UNMAPPED, map};
use crate::run::{Case, cat, fate, handler, now_ms, say, sleep_ms, spawn, sys, ts, wait};
use crate::show::R;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering::SeqCst};
use std::thread;

const PRIVATE: i32 = 128;

fn wake(w: &AtomicU32, n: i32) -> R {
    sys!(SYS_futex, w, 1 | PRIVATE, n, 0, 0, 0)
}
fn sleep_on(w: &AtomicU32, v: u32, ms: i64) -> R {
    sys!(SYS_futex, w, PRIVATE, v, &ts(ms), 0, 0)
}
/// Starts `n` threads that wait on a word, and gives them time to get there.
fn waiters(w: &'static AtomicU32, n: usize) -> Vec<thread::JoinHandle<R>> {
    let v: Vec<_> = (0..n).map(|_| thread::spawn(move || sleep_on(w, 0, 3000))).collect();
    sleep_ms(40);
    v
}
fn join(v: Vec<thread::JoinHandle<R>>) -> Vec<String> {
    v.into_iter().map(|t| t.join().map_or("panic".into(), |r| r.to_string())).collect()
}

/// Waits until a thread that was joined has really ended: Linux tells who joins a little before.
fn until_gone(tid: i32) {
    let (pid, end) = (sys!(SYS_getpid).0, now_ms() + 3000);
    while sys!(SYS_tgkill, pid, tid, 0).ok() && now_ms() < end {
        thread::yield_now();
    }
}

fn ids() {
    let (pid, tid) = (sys!(SYS_getpid), sys!(SYS_gettid));
    let t = thread::spawn(move || (sys!(SYS_getpid), sys!(SYS_gettid), sys!(SYS_getppid)));
    let (p, t2, _) = t.join().unwrap();
    until_gone(t2.fd());
    say!("main tid is pid={} same pid={} own tid={}", pid == tid, p == pid, t2 != tid);
    let count = thread::spawn(|| {
        String::from_utf8_lossy(&cat(c"/proc/self/status"))
            .lines()
            .find(|l| l.starts_with("Threads:"))
            .map(str::to_owned)
    })
    .join()
    .unwrap();
    say!("status {:?}", count.map(|c| c.replace('\t', " ")));
    say!("set_tid_address is tid={}", sys!(SYS_set_tid_address, 0) == tid);
}

fn sharing() {
    let t = thread::spawn(|| {
        sys!(SYS_chdir, c"/proc");
        sys!(SYS_umask, 0o011);
        sys!(SYS_open, c"/dev/null", 0)
    });
    let fd = t.join().unwrap();
    let mut b = [0u8; 64];
    let n = sys!(SYS_getcwd, &mut b, 64);
    say!("cwd={n} umask={:o} fd usable={}", sys!(SYS_umask, 0).0, sys!(SYS_fcntl, fd.fd(), 1, 0));
    let name = thread::spawn(|| {
        sys!(SYS_prctl, libc::PR_SET_NAME, c"other", 0, 0, 0);
    })
    .join();
    let mut c = [0u8; 16];
    sys!(SYS_prctl, libc::PR_GET_NAME, &mut c, 0, 0, 0);
    say!("name is the thread's own={} {}", name.is_ok(), !c.starts_with(b"other"));
    let mask = thread::spawn(|| {
        crate::run::mask(libc::SIG_BLOCK, &[libc::SIGUSR1]);
    })
    .join();
    let mut m = 0u64;
    sys!(SYS_rt_sigprocmask, 0, 0, &mut m, 8);
    say!("mask is the thread's own={} {m:#x}", mask.is_ok());
}

fn futex_basic() {
    static W: AtomicU32 = AtomicU32::new(0);
    say!("value differs={} timeout={} wake none={}", sleep_on(&W, 5, 10), sleep_on(&W, 0, 20), wake(&W, 10));
    say!(
        "zero timeout={} negative={} bad nsec={}",
        sleep_on(&W, 0, 0),
        sys!(SYS_futex, &W, PRIVATE, 0, &[-1i64, 0], 0, 0),
        sys!(SYS_futex, &W, PRIVATE, 0, &[0i64, 1_000_000_000], 0, 0)
    );
    let a = &raw const W as usize;
    say!(
        "unaligned={} null={} kernel={} unmapped={}",
        sys!(SYS_futex, a + 1, 0, 0, 0, 0, 0),
        sys!(SYS_futex, 0, 0, 0, 0, 0, 0),
        sys!(SYS_futex, crate::mem::KERNEL, 0, 0, 0, 0, 0),
        sys!(SYS_futex, UNMAPPED, 0, 0, 0, 0, 0)
    );
    say!(
        "bad op={} wake unmapped private={} wild timeout={}",
        sys!(SYS_futex, &W, 99, 0, 0, 0, 0),
        sys!(SYS_futex, UNMAPPED, 1 | PRIVATE, 1, 0, 0, 0),
        sys!(SYS_futex, &W, 0, 0, 1, 0, 0)
    );
    let v = waiters(&W, 3);
    say!("wake one={}", wake(&W, 1));
    sleep_ms(20);
    say!("wake the rest={} again={} results={:?}", wake(&W, i32::MAX), wake(&W, 1), join(v));
    let t = now_ms();
    let r = sleep_on(&W, 0, 50);
    say!("timeout={r} waited long enough={}", now_ms() - t >= 49);
}

fn futex_bitset() {
    static W: AtomicU32 = AtomicU32::new(0);
    let wait_bits = |b: u32| sys!(SYS_futex, &W, 9 | PRIVATE, 0, 0, 0, b);
    let v: Vec<_> = [1u32, 2, 4]
        .into_iter()
        .map(|b| thread::spawn(move || sys!(SYS_futex, &W, 9 | PRIVATE, 0, 0, 0, b)))
        .collect();
    sleep_ms(40);
    say!("zero mask={} {}", wait_bits(0), sys!(SYS_futex, &W, 10 | PRIVATE, 1, 0, 0, 0));
    say!(
        "bit 8={} bits 3={} all={}",
        sys!(SYS_futex, &W, 10 | PRIVATE, 9, 0, 0, 8),
        sys!(SYS_futex, &W, 10 | PRIVATE, 9, 0, 0, 3),
        sys!(SYS_futex, &W, 10 | PRIVATE, 9, 0, 0, u32::MAX)
    );
    say!("results={:?}", join(v));
    let abs = ts(now_ms() + 30);
    let t = now_ms();
    say!(
        "absolute monotonic={} past={} waited={}",
        sys!(SYS_futex, &W, 9 | PRIVATE, 0, &abs, 0, u32::MAX),
        sys!(SYS_futex, &W, 9 | PRIVATE, 0, &ts(1), 0, u32::MAX),
        now_ms() - t >= 28
    );
    say!("absolute realtime past={}", sys!(SYS_futex, &W, 9 | PRIVATE | 256, 0, &ts(1000), 0, u32::MAX));
}

fn futex_requeue() {
    static A: AtomicU32 = AtomicU32::new(0);
    static B: AtomicU32 = AtomicU32::new(0);
    let v = waiters(&A, 4);
    say!("cmp differs={}", sys!(SYS_futex, &A, 4 | PRIVATE, 1, 1usize, &B, 7));
    say!("wake 1 requeue 2={}", sys!(SYS_futex, &A, 4 | PRIVATE, 1, 2usize, &B, 0));
    say!("left on a={} on b={} results={:?}", wake(&A, 9), wake(&B, 9), join(v));
    let v = waiters(&A, 2);
    say!(
        "requeue={} b={} a={} {:?}",
        sys!(SYS_futex, &A, 3 | PRIVATE, 0, 9usize, &B, 0),
        wake(&B, 9),
        wake(&A, 9),
        join(v)
    );
}

fn futex_wake_op() {
    static A: AtomicU32 = AtomicU32::new(0);
    static B: AtomicU32 = AtomicU32::new(0);
    let op = |o: u32, oparg: u32, c: u32, carg: u32| o << 28 | c << 24 | oparg << 12 | carg;
    for (n, o, start) in [
        ("set", op(0, 5, 0, 7), 7),
        ("add", op(1, 3, 4, 6), 7),
        ("or", op(2, 8, 1, 7), 7),
        ("andn", op(3, 1, 2, 3), 7),
        ("xor", op(4, 0xff, 5, 0), 7),
        ("shift", op(8, 4, 0, 0), 0),
    ] {
        B.store(start, SeqCst);
        let (v, w) = (waiters(&A, 1), waiters(&B, 0));
        let r = sys!(SYS_futex, &A, 5 | PRIVATE, 1, 1usize, &B, o);
        say!("{n}={r} b={:#x} {:?} {:?}", B.load(SeqCst), join(v), join(w));
    }
    say!(
        "bad op={} bad cmp={}",
        sys!(SYS_futex, &A, 5 | PRIVATE, 1, 1usize, &B, op(6, 0, 0, 0)),
        sys!(SYS_futex, &A, 5 | PRIVATE, 1, 1usize, &B, op(0, 0, 9, 0))
    );
}

fn futex_shared() {
    let a = map(PAGE, RW, SHARED);
    let p = spawn(|| i32::from(!sys!(SYS_futex, a, 0, 0, &ts(3000), 0, 0).ok()));
    let t = now_ms();
    while sys!(SYS_futex, a, 1, 1, 0, 0, 0).0 == 0 && now_ms() - t < 3000 {
        sleep_ms(2);
    }
    say!("across processes={}", wait(p));
    let p = spawn(|| i32::from(!sys!(SYS_futex, a, 0, 0, &ts(80), 0, 0).ok()));
    sleep_ms(30);
    say!("private wake misses={} child={}", sys!(SYS_futex, a, 1 | PRIVATE, 1, 0, 0, 0), wait(p));
}

fn futex_pi() {
    static W: AtomicU32 = AtomicU32::new(0);
    say!(
        "lock={} owner is tid={}",
        sys!(SYS_futex, &W, 6 | PRIVATE, 0, 0, 0, 0),
        i64::from(W.load(SeqCst)) == sys!(SYS_gettid).0
    );
    say!(
        "again={} trylock={}",
        sys!(SYS_futex, &W, 6 | PRIVATE, 0, 0, 0, 0),
        sys!(SYS_futex, &W, 8 | PRIVATE, 0, 0, 0, 0)
    );
    let t = thread::spawn(|| sys!(SYS_futex, &W, 6 | PRIVATE, 0, 0, 0, 0));
    sleep_ms(30);
    say!("unlock={} other got it={}", sys!(SYS_futex, &W, 7 | PRIVATE, 0, 0, 0, 0), t.join().unwrap());
    say!("unlock not ours={}", sys!(SYS_futex, &W, 7 | PRIVATE, 0, 0, 0, 0));
}

fn pi(w: &AtomicU32, op: i32, timeout: usize) -> R {
    sys!(SYS_futex, w, op | PRIVATE, 0, timeout, 0, 0)
}

fn futex_pi_contended() {
    static W: AtomicU32 = AtomicU32::new(0);
    static V: AtomicU32 = AtomicU32::new(0);
    let flags = |w: &AtomicU32| w.load(SeqCst) >> 30;
    say!("trylock={} unlock={} word={}", pi(&W, 8, 0), pi(&W, 7, 0), W.load(SeqCst));
    pi(&W, 6, 0);
    let t = thread::spawn(|| (pi(&W, 8, 0), pi(&W, 7, 0)));
    let (tried, foreign) = t.join().unwrap();
    say!("try of another={tried} unlock of another={foreign} flags={}", flags(&W));
    let now = |clock: i32, ms: i64| {
        let mut t: libc::timespec = crate::mem::zeroed();
        sys!(SYS_clock_gettime, clock, &mut t);
        let ns = t.tv_nsec + ms * 1_000_000;
        libc::timespec { tv_sec: t.tv_sec + ns / 1_000_000_000, tv_nsec: ns % 1_000_000_000 }
    };
    let t = thread::spawn(move || {
        let (a, b) = (now(libc::CLOCK_REALTIME, 20), now(libc::CLOCK_MONOTONIC, 20));
        let c = now(libc::CLOCK_REALTIME, 20);
        (
            pi(&W, 6, (&raw const a).addr()),
            pi(&W, 13, (&raw const b).addr()),
            pi(&W, 13 | 256, (&raw const c).addr()),
            pi(&W, 6 | 256, 0),
        )
    });
    let (a, b, c, d) = t.join().unwrap();
    say!("timed out={a} by monotonic={b} by realtime={c} flag={d} flags={}", flags(&W));
    say!("wake of a lock={} wait op={}", wake(&W, 1), sleep_on(&W, 0, 10));
    // Three wait, and get it one after the other; the count is kept by the lock alone.
    static COUNT: AtomicI32 = AtomicI32::new(0);
    let v: Vec<_> = (0..3)
        .map(|_| {
            thread::spawn(|| {
                let r = pi(&W, 6, 0);
                let n = COUNT.load(SeqCst);
                sleep_ms(5);
                COUNT.store(n + 1, SeqCst);
                (r, pi(&W, 7, 0))
            })
        })
        .collect();
    sleep_ms(40);
    say!("flags={} wake={} unlock={}", flags(&W), wake(&W, 1), pi(&W, 7, 0));
    let all: Vec<String> =
        v.into_iter().map(|t| t.join().map_or("panic".into(), |(a, b)| format!("{a} {b}"))).collect();
    say!("{all:?} count={} word={}", COUNT.load(SeqCst), W.load(SeqCst));
    // Each holds one and wants the other's.
    pi(&W, 6, 0);
    let t = thread::spawn(|| {
        pi(&V, 6, 0);
        let r = pi(&W, 6, 0);
        pi(&W, 7, 0);
        pi(&V, 7, 0);
        r
    });
    sleep_ms(40);
    say!("ring={}", pi(&V, 6, 0));
    pi(&W, 7, 0);
    say!("after it={} words={} {}", t.join().unwrap(), W.load(SeqCst), V.load(SeqCst));
    W.store(999_999, SeqCst);
    say!(
        "owner missing={} null={} odd={}",
        pi(&W, 6, 0),
        sys!(SYS_futex, 0, 6, 0, 0, 0, 0),
        sys!(SYS_futex, 1, 6, 0, 0, 0, 0)
    );
}

fn futex_pi_owner_dies() {
    static W: AtomicU32 = AtomicU32::new(0);
    let t = thread::spawn(|| {
        pi(&W, 6, 0);
        sleep_ms(60);
        sys!(SYS_exit, 0);
    });
    sleep_ms(30);
    let r = pi(&W, 6, 0);
    let own = i64::from(W.load(SeqCst) & 0x3fff_ffff) == sys!(SYS_gettid).0;
    say!("lock={r} own={own} flags={} joined={}", W.load(SeqCst) >> 30, t.join().is_ok());
    say!("unlock={} word={}", pi(&W, 7, 0), W.load(SeqCst));
    // In the robust list of another process, with the mark of a PI lock.
    let a = map(PAGE, RW, SHARED);
    let word = unsafe { &*((a + 64) as *const AtomicU32) };
    let hold = |ms: i64| {
        let list = unsafe { &mut *(a as *mut [usize; 12]) };
        list[0] = (a + 56) | 1;
        list[1] = 8;
        list[2] = 0;
        list[7] = a;
        sys!(SYS_set_robust_list, a, 24);
        sys!(SYS_futex, word, 6, 0, 0, 0, 0);
        sleep_ms(ms);
        0
    };
    say!("nobody waits={} flags={}", fate(|| hold(0)), word.load(SeqCst) >> 30);
    say!("taken after={} flags={}", sys!(SYS_futex, word, 6, 0, 0, 0, 0), word.load(SeqCst) >> 30);
    say!("unlock={} word={}", sys!(SYS_futex, word, 7, 0, 0, 0, 0), word.load(SeqCst));
    let p = spawn(|| hold(60));
    sleep_ms(30);
    say!("waited={} flags={} {}", sys!(SYS_futex, word, 6, 0, 0, 0, 0), word.load(SeqCst) >> 30, wait(p));
}

fn futex_requeue_pi() {
    static C: AtomicU32 = AtomicU32::new(0);
    static L: AtomicU32 = AtomicU32::new(0);
    let sleeper = || {
        thread::spawn(|| {
            let r = sys!(SYS_futex, &C, 11 | PRIVATE, 0, 0, &L, 0);
            let own = i64::from(L.load(SeqCst) & 0x3fff_ffff) == sys!(SYS_gettid).0;
            (r, own, pi(&L, 7, 0))
        })
    };
    let requeue = |wake: i32, n: usize, value: u32| sys!(SYS_futex, &C, 12 | PRIVATE, wake, n, &L, value);
    say!("nobody={} wake 2={} value={}", requeue(1, 5, 0), requeue(2, 5, 0), requeue(1, 5, 9));
    say!(
        "wait differs={} same word={}",
        sys!(SYS_futex, &C, 11 | PRIVATE, 7, 0, &L, 0),
        sys!(SYS_futex, &C, 11 | PRIVATE, 0, 0, &C, 0)
    );
    let soon = ts(1);
    say!("times out={}", sys!(SYS_futex, &C, 11 | PRIVATE, 0, &soon, &L, 0));
    let v: Vec<_> = (0..3).map(|_| sleeper()).collect();
    sleep_ms(40);
    say!("plain wake={} plain requeue={}", wake(&C, 1), sys!(SYS_futex, &C, 4 | PRIVATE, 0, 5usize, &L, 0));
    say!("free lock={}", requeue(1, 5, 0));
    let all: Vec<_> = v
        .into_iter()
        .map(|t| t.join().map(|(r, own, u)| format!("{r} {own} {u}")).unwrap_or_default())
        .collect();
    say!("{all:?} word={}", L.load(SeqCst));
    pi(&L, 6, 0);
    let v: Vec<_> = (0..2).map(|_| sleeper()).collect();
    sleep_ms(40);
    say!("held lock={} flags={}", requeue(1, 5, 0), L.load(SeqCst) >> 30);
    say!("unlock={}", pi(&L, 7, 0));
    let all: Vec<_> = v
        .into_iter()
        .map(|t| t.join().map(|(r, own, u)| format!("{r} {own} {u}")).unwrap_or_default())
        .collect();
    say!("{all:?} word={}", L.load(SeqCst));
}

fn robust() {
    say!(
        "size={} ok={} null={}",
        sys!(SYS_set_robust_list, 0, 23),
        sys!(SYS_set_robust_list, 0, 24),
        sys!(SYS_get_robust_list, 0, 0, 0)
    );
    let (mut head, mut len) = (1usize, 0usize);
    say!("get={} head={head} len={len}", sys!(SYS_get_robust_list, 0, &mut head, &mut len));
    say!("head={head} len={len} missing={}", sys!(SYS_get_robust_list, 999_999, &mut head, &mut len));
    // A shared word held at exit gets OWNER_DIED and its waiter woken.
    let a = map(PAGE, RW, SHARED);
    let word = unsafe { &*((a + 64) as *const AtomicU32) };
    let end = fate(|| {
        let list = unsafe { &mut *(a as *mut [usize; 12]) };
        list[0] = a + 56; // head -> the one entry
        list[1] = 8; // futex lies 8 bytes after its entry
        list[2] = 0;
        list[7] = a; // entry -> head
        word.store(sys!(SYS_gettid).0 as u32, SeqCst);
        sys!(SYS_set_robust_list, a, 24);
        0
    });
    say!("{end} owner died={:#x}", word.load(SeqCst) & 0xc000_0000);
}

fn child_cleartid() {
    let a = map(PAGE, RW, SHARED);
    let w = unsafe { &*(a as *const AtomicU32) };
    w.store(77, SeqCst);
    let end = fate(|| {
        sys!(SYS_set_tid_address, a);
        0
    });
    // Only memory that others share is cleared when a whole process ends.
    say!("{end} word={}", w.load(SeqCst));
}

fn main_exits_first() {
    let end = fate(|| {
        thread::spawn(|| {
            sleep_ms(30);
            let pid = sys!(SYS_getpid).0;
            say!("other thread goes on, kill 0 of the process={}", sys!(SYS_kill, pid, 0));
            crate::run::exit(23)
        });
        sys!(SYS_exit, 5);
        0
    });
    say!("{end}");
    let end = fate(|| {
        thread::spawn(|| {
            sleep_ms(20);
            sys!(SYS_exit, 8);
        });
        sys!(SYS_exit, 5);
        0
    });
    say!("last thread's code or the main's={end}");
}

fn exit_group() {
    say!(
        "from a thread={}",
        fate(|| {
            let _ = thread::spawn(|| crate::run::exit(19)).join();
            1
        })
    );
    say!(
        "while others loop={}",
        fate(|| {
            for _ in 0..3 {
                thread::spawn(|| {
                    loop {
                        std::hint::spin_loop()
                    }
                });
            }
            sleep_ms(10);
            17
        })
    );
    say!(
        "fault in a thread={}",
        fate(|| {
            let _ = thread::spawn(|| unsafe { (8 as *const u8).read_volatile() }).join();
            1
        })
    );
}

static HIT: AtomicI32 = AtomicI32::new(0);
extern "C" fn hit(_: i32) {
    HIT.store(sys!(SYS_gettid).fd(), SeqCst);
}

fn directed() {
    handler(libc::SIGUSR1, hit as *const () as usize, 0);
    let (tx, rx) = std::sync::mpsc::channel();
    let t = thread::spawn(move || {
        tx.send(sys!(SYS_gettid).fd()).unwrap();
        let t = now_ms();
        while HIT.load(SeqCst) == 0 && now_ms() - t < 3000 {
            thread::yield_now();
        }
    });
    let tid = rx.recv().unwrap();
    let pid = sys!(SYS_getpid).0;
    say!(
        "tgkill={} taken by the thread={}",
        sys!(SYS_tgkill, pid, tid, libc::SIGUSR1),
        t.join().is_ok() && HIT.load(SeqCst) == tid
    );
    until_gone(tid);
    say!(
        "gone={} wrong group={}",
        sys!(SYS_tgkill, pid, tid, 0),
        sys!(SYS_tgkill, sys!(SYS_getppid).0, pid, 0)
    );
    // A signal for the process goes to a thread that does not block it.
    HIT.store(0, SeqCst);
    crate::run::mask(libc::SIG_BLOCK, &[libc::SIGUSR1]);
    let t = thread::spawn(|| {
        crate::run::mask(libc::SIG_UNBLOCK, &[libc::SIGUSR1]);
        let t = now_ms();
        while HIT.load(SeqCst) == 0 && now_ms() - t < 3000 {
            thread::yield_now();
        }
        HIT.load(SeqCst) == sys!(SYS_gettid).fd()
    });
    sys!(SYS_kill, pid, libc::SIGUSR1);
    say!("process signal to the open thread={}", t.join().unwrap());
}

fn contention() {
    let n = std::sync::Mutex::new(0u64);
    thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| {
                for _ in 0..5000 {
                    *n.lock().unwrap() += 1;
                }
            });
        }
    });
    say!("mutex total={}", n.into_inner().unwrap());
    let (tx, rx) = std::sync::mpsc::sync_channel::<u64>(1);
    let t = thread::spawn(move || rx.iter().sum::<u64>());
    (0..3000).for_each(|i| tx.send(i).unwrap());
    drop(tx);
    say!("channel sum={}", t.join().unwrap());
    let many: u64 = (0..64u64).map(|i| thread::spawn(move || i)).map(|t| t.join().unwrap()).sum();
    say!("64 threads={many}");
}

fn fork_in_thread() {
    let t = thread::spawn(|| fate(|| i32::from(sys!(SYS_getpid) != sys!(SYS_gettid))));
    say!("{}", t.join().unwrap());
    let pid = thread::spawn(|| spawn(|| 14)).join().unwrap();
    say!("waited for by another thread={}", wait(pid));
}

/// MXCSR and the x87 control word.
fn modes() -> (u32, u16) {
    let (mut mxcsr, mut fcw) = (0u32, 0u16);
    unsafe { std::arch::asm!("stmxcsr [{}]", "fnstcw [{}]", in(reg) &mut mxcsr, in(reg) &mut fcw) };
    // Flags of past exceptions are not modes.
    (mxcsr & !0x3f, fcw)
}

fn float_modes() {
    // Threads begin with their creator's modes, also those that begin where another has ended with modes of its own.
    for round in 0..12u32 {
        let (mxcsr, fcw) = (0x1f80 | (round & 3) << 13, 0x37f ^ ((round & 1) << 8) as u16);
        unsafe { std::arch::asm!("ldmxcsr [{}]", "fldcw [{}]", in(reg) &mxcsr, in(reg) &fcw) };
        let child = std::thread::spawn(|| {
            let seen = modes();
            let (other, word) = (0x7f80u32, 0xf7fu16);
            unsafe { std::arch::asm!("ldmxcsr [{}]", "fldcw [{}]", in(reg) &other, in(reg) &word) };
            seen
        });
        let (m, f) = child.join().unwrap_or_default();
        say!("round {round}: {m:#x} {f:#x}");
    }
}

/// What a thread has mapped is its own from then on, although it lies where another has just taken something away.
fn mappings() {
    let rounds = |seed: usize| {
        let mut wrong = 0;
        for round in 0..4000 {
            let len = ((round * 7 + seed) % 3 + 1) * PAGE;
            let at = map(len, RW, PRIV);
            let word = at as *mut usize;
            // Our own memory, of at least a page.
            unsafe { word.write_volatile(at ^ seed) };
            let guard = sys!(SYS_mprotect, at + len - PAGE, PAGE, libc::PROT_READ);
            wrong += usize::from(!guard.ok() || unsafe { word.read_volatile() } != at ^ seed);
            let shrunk = sys!(SYS_mremap, at, len, PAGE, 0);
            wrong += usize::from(!shrunk.ok() || unsafe { word.read_volatile() } != at ^ seed);
            wrong += usize::from(!sys!(SYS_munmap, at, PAGE).ok());
        }
        wrong
    };
    let threads: Vec<_> = (0..4).map(|n| thread::spawn(move || rounds(n))).collect();
    say!("wrong={:?}", threads.into_iter().map(|t| t.join().unwrap_or(usize::MAX)).collect::<Vec<_>>());
}

pub(crate) const CASES: &[Case] = &[
    ("float_modes", float_modes),
    ("ids", ids),
    ("sharing", sharing),
    ("futex_basic", futex_basic),
    ("futex_bitset", futex_bitset),
    ("futex_requeue", futex_requeue),
    ("futex_wake_op", futex_wake_op),
    ("futex_shared", futex_shared),
    ("futex_pi", futex_pi),
    ("futex_pi_contended", futex_pi_contended),
    ("futex_pi_owner_dies", futex_pi_owner_dies),
    ("futex_requeue_pi", futex_requeue_pi),
    ("robust", robust),
    ("child_cleartid", child_cleartid),
    ("main_exits_first", main_exits_first),
    ("exit_group", exit_group),
    ("directed", directed),
    ("contention", contention),
    ("fork_in_thread", fork_in_thread),
    ("mappings", mappings),
];
