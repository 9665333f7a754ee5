//! `fuzz --guest`: random system calls by several threads at once, with nothing forbidden, for a guest of uml-kernel alone.
//!
//! Each child has a seed, printed before it starts; `--one SEED` runs it again, with a trace. What its threads call is the
//! seed's; how they interleave is not. The driver has to be the guest's first process: it ends all others with `kill(-1)`
//! after each child, and then checks that the kernel still does simple things right.

use crate::mem::{PAGE, PRIV, RW};
use crate::run::{close, exit, handler, kill, now_ms, open, raw, sys};
use crate::wildcalls::{self, Rng};
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// How long a child may live.
const LIFE_MS: i64 = 700;
/// How long what was killed may take to be gone: stubs of a busy host are slow, not hung.
const GONE_MS: i64 = 20_000;
/// Processes and threads that one child may make, all descendants together.
const BIRTHS: u64 = 24;
/// Where the trace goes: a descriptor that close_range and dup2 seldom find.
const TRACE_FD: i32 = 777;

/// What all descendants of a child share: how many births are left, and the next thread's seed.
struct Shared {
    births: AtomicU64,
    seeds: AtomicU64,
}

/// Lies where no random call reaches it but by accident.
const SHARED: usize = 0x2300_0000_0000;
static TRACE: AtomicBool = AtomicBool::new(false);

fn shared() -> &'static Shared {
    unsafe { &*(SHARED as *const Shared) }
}

/// Takes one of the births that are left.
pub(crate) fn may_breed() -> bool {
    shared().births.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok()
}

/// Whether this is the kernel that the mode is for: on any other it would take the machine apart.
fn in_guest() -> bool {
    let version = String::from_utf8_lossy(&crate::run::cat(c"/proc/version")).into_owned();
    let mut u: libc::utsname = crate::mem::zeroed();
    let named = sys!(SYS_uname, &mut u).ok()
        && unsafe { CStr::from_ptr(u.release.as_ptr()) }.to_bytes().ends_with(b"-uml");
    named && version.contains("uml-kernel")
}

// A thread that was cloned with a stack of the fuzzer's returns from `syscall` to here.
std::arch::global_asm!(
    ".globl guest_wild_thread",
    "guest_wild_thread: and rsp, -16",
    "call guest_wild_calls",
    "ud2",
);
unsafe extern "C" {
    /// Where a cloned thread begins.
    fn guest_wild_thread();
}

/// The address to put on top of a new thread's stack.
pub(crate) fn thread_entry() -> usize {
    guest_wild_thread as *const () as usize
}

#[unsafe(no_mangle)]
extern "C" fn guest_wild_calls() -> ! {
    let seed = shared().seeds.fetch_add(1, SeqCst);
    calls(seed);
    loop {
        sys!(SYS_exit, 0);
    }
}

extern "C" fn noted(_: i32) {}

/// One thread's life.
fn calls(seed: u64) {
    let mut r = Rng(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let count = 100 + r.below(500);
    for n in 0..count {
        if r.below(8) == 0 {
            wildcalls::stir(&mut r);
        }
        let (nr, a) = wildcalls::call(&mut r);
        // What blocks is let go by a timer, now and then; what defeats even that, the driver ends.
        if r.below(6) == 0 {
            sys!(SYS_setitimer, 0, &[0i64, 3_000, 0, 3_000], 0);
        }
        if TRACE.load(SeqCst) {
            let text = format!("{seed:x}.{n}: call {nr} {a:x?}\n");
            sys!(SYS_write, TRACE_FD, text.as_bytes(), text.len());
        }
        let x = raw(nr, &a);
        if matches!(nr, libc::SYS_fork | libc::SYS_vfork | libc::SYS_clone | libc::SYS_clone3) && x.0 == 0 {
            // A process of its own goes its own way; a vfork's borrowed stack is best left at once.
            if nr == libc::SYS_vfork {
                exit(0);
            }
            r = Rng(shared().seeds.fetch_add(1, SeqCst));
        }
    }
}

/// A child: its threads, from a directory with one of each kind in it.
fn child(seed: u64, dir: &CStr) -> ! {
    let mut r = Rng(seed);
    sys!(SYS_setsid);
    let adj = open(c"/proc/self/oom_score_adj", libc::O_WRONLY);
    sys!(SYS_write, adj, c"1000", 4);
    close(adj);
    for s in 1..=64 {
        handler(s, libc::SIG_DFL, 0);
    }
    let faults = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];
    for s in (1..=64).filter(|s| !faults.contains(s)) {
        if !matches!(s, libc::SIGALRM | libc::SIGPIPE | libc::SIGXFSZ) && r.below(8) == 0 {
            continue;
        }
        handler(s, noted as *const () as usize, if r.below(2) == 0 { libc::SA_RESTART } else { 0 });
    }
    for (what, n) in [
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_FSIZE, 8 << 20),
        (libc::RLIMIT_AS, 1 << 30),
        (libc::RLIMIT_NOFILE, 1000),
    ] {
        sys!(SYS_prlimit64, 0, what, &libc::rlimit { rlim_cur: n, rlim_max: n }, 0);
    }
    // The mounts of the driver stay as they are, where the kernel has namespaces for them.
    sys!(SYS_unshare, libc::CLONE_NEWNS);
    sys!(SYS_mkdir, dir, 0o777);
    sys!(SYS_chdir, dir);
    let null = open(c"/dev/null", libc::O_RDWR);
    if TRACE.load(SeqCst) {
        sys!(SYS_dup2, 2, TRACE_FD);
    }
    for fd in 0..3 {
        sys!(SYS_dup2, null, fd);
    }
    (3..64).for_each(close);
    if r.below(3) == 0 {
        crate::run::drop_root();
    }
    wildcalls::prepare();
    let threads = 2 + r.below(3);
    let others: Vec<_> = (1..threads)
        .map(|_| {
            std::thread::spawn(|| {
                let seed = shared().seeds.fetch_add(1, SeqCst);
                calls(seed);
            })
        })
        .collect();
    calls(shared().seeds.fetch_add(1, SeqCst));
    if r.below(4) != 0 {
        others.into_iter().for_each(|t| drop(t.join()));
    }
    exit(0)
}

/// Ends everything but this process, and reaps it. False if something cannot be ended.
fn sweep() -> bool {
    let end = now_ms() + GONE_MS;
    loop {
        sys!(SYS_kill, -1, libc::SIGKILL);
        let r = sys!(SYS_wait4, -1, 0, libc::WNOHANG | libc::__WALL, 0);
        if r.0 == -i64::from(libc::ECHILD) {
            return true;
        }
        if now_ms() > end {
            return false;
        }
        if r.0 == 0 {
            sys!(SYS_nanosleep, &crate::run::ts(1), 0);
        }
    }
}

/// Who is still there, and in what state.
fn left() -> String {
    let mut text = String::new();
    for e in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = e.file_name().to_string_lossy().into_owned();
        if name.bytes().all(|b| b.is_ascii_digit()) && name != "1" {
            let stat = std::fs::read_to_string(format!("/proc/{name}/stat")).unwrap_or_default();
            let call = std::fs::read_to_string(format!("/proc/{name}/syscall")).unwrap_or_default();
            let tasks = std::fs::read_dir(format!("/proc/{name}/task")).map_or(0, Iterator::count);
            text += &format!(
                "[{} call={} tasks={tasks}]",
                stat.chars().take(40).collect::<String>(),
                call.trim()
            );
        }
    }
    text
}

fn one(seed: u64, base: &str) -> String {
    shared().births.store(BIRTHS, SeqCst);
    shared().seeds.store(seed << 8, SeqCst);
    let dir = CString::new(format!("{base}/{seed:x}")).unwrap_or_default();
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return "cannot fork".into();
    }
    if pid == 0 {
        child(seed, &dir);
    }
    let end = now_ms() + LIFE_MS;
    let mut st = 0;
    let how = loop {
        // Orphans come here too.
        let r = sys!(SYS_wait4, -1, &mut st, libc::WNOHANG | libc::__WALL, 0);
        if r.0 == i64::from(pid) {
            break crate::show::status(st);
        }
        if r.0 < 0 && r.0 != -i64::from(libc::EINTR) {
            break format!("lost: {r}");
        }
        if now_ms() > end {
            kill(pid, libc::SIGKILL);
            break "overdue".into();
        }
        if r.0 == 0 {
            sys!(SYS_nanosleep, &crate::run::ts(2), 0);
        }
    };
    if !sweep() {
        return format!("{how}, but its processes do not end: {}", left());
    }
    let _ = std::fs::remove_dir_all(dir.to_string_lossy().as_ref());
    how
}

/// Simple things that have to work whatever went on before: files, memory, children, pipes, a program.
fn sane(program: i32) -> Result<(), String> {
    let fd = sys!(SYS_memfd_create, c"sane", 0).fd();
    let text = b"what was written is read";
    sys!(SYS_write, fd, text, text.len());
    let back = crate::run::slurp(fd);
    close(fd);
    if back != text {
        return Err(format!("memfd: {back:?}"));
    }
    let at = crate::mem::map(4 * PAGE, RW, PRIV);
    crate::mem::put(at, b"x");
    let got = crate::mem::get(at, 2);
    sys!(SYS_munmap, at, 4 * PAGE);
    if got != [b'x', 0] {
        return Err(format!("mmap: {got:?}"));
    }
    let (from, to) = crate::run::pipe(0);
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        sys!(SYS_dup2, to, 1);
        let empty: [usize; 1] = [0];
        let argv = [c"pong".as_ptr() as usize, c"fuzz".as_ptr() as usize, c"--pong".as_ptr() as usize, 0];
        sys!(SYS_execveat, program, c"", &argv, &empty, libc::AT_EMPTY_PATH);
        exit(9);
    }
    close(to);
    let said = crate::run::drain(from);
    close(from);
    let how = crate::run::wait(pid);
    if said != b"pong\n" || how != "exited:0" {
        let exe = std::fs::read_link("/proc/self/exe").unwrap_or_default();
        return Err(format!("exec: {how} {:?} exe={exe:?}", String::from_utf8_lossy(&said)));
    }
    Ok(())
}

/// What is mounted, by a descriptor of /proc: another file system may lie over it.
fn mounts(proc: i32) -> Vec<u8> {
    let fd = sys!(SYS_openat, proc, c"self/mounts", libc::O_RDONLY).fd();
    let text = crate::run::drain(fd);
    close(fd);
    text
}

/// `fuzz --guest [--seconds N] [--seed S] [--one SEED]`.
pub(crate) fn main(seconds: u64, seed: u64, only: Option<u64>) -> i32 {
    if !in_guest() {
        eprintln!("guest-tests: fuzz --guest runs in a guest of uml-kernel only");
        return 2;
    }
    let fixed = libc::MAP_FIXED_NOREPLACE | libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    sys!(SYS_mmap, SHARED, PAGE, RW, fixed, -1, 0);
    sys!(SYS_prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    sys!(SYS_setsid);
    for s in 1..=64 {
        if s != libc::SIGCHLD {
            handler(s, libc::SIG_IGN, 0);
        }
    }
    let program = open(c"/proc/self/exe", libc::O_RDONLY | libc::O_CLOEXEC);
    let base = ["/tmp", "/dev/shm", "/"]
        .iter()
        .map(|d| format!("{d}/wild-{seed:x}").replace("//", "/"))
        .find(|d| std::fs::create_dir_all(d).is_ok())
        .unwrap_or_else(|| ".".into());
    let proc = open(c"/proc", libc::O_RDONLY | libc::O_CLOEXEC);
    let mounted = mounts(proc);
    wildcalls::spare(std::process::id() as i32);
    if let Some(seed) = only {
        TRACE.store(true, SeqCst);
        println!("one seed={seed} {}", one(seed, &base));
        return i32::from(sane(program).is_err());
    }
    println!("fuzz guest seed={seed} seconds={seconds} uid={}", sys!(SYS_getuid).0);
    let (end, mut r, mut n) = (now_ms() + seconds as i64 * 1000, Rng(seed), 0u64);
    let mut ends = std::collections::BTreeMap::<String, u64>::new();
    let mut bad = 0;
    while now_ms() < end {
        let s = r.next() >> 16;
        println!("child seed={s}");
        let how = one(s, &base);
        bad += u64::from(how.contains("do not end") || how.contains("cannot") || how.contains("lost"));
        println!("ended seed={s} {how}");
        *ends.entry(how).or_default() += 1;
        n += 1;
        let changed = mounts(proc) != mounted;
        if let Err(e) = sane(program) {
            println!("{} after seed={s}: {e}", if changed { "worn out" } else { "not sane" });
            bad += u64::from(!changed);
        }
        // All share their mounts: a root guest without some of them goes on in another run.
        if bad > 5 || changed {
            break;
        }
    }
    println!("fuzz done children={n} bad={bad} {ends:?}");
    i32::from(bad > 0)
}
