//! Running cases: the system call wrapper, the line printer, children, and the loop over the tables.

use crate::mem::zeroed;
use crate::show::{self, R};
use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A case: its name and what it does, in a child of its own.
pub(crate) type Case = (&'static str, fn());

/// Anything that can be an argument of a system call.
pub(crate) trait Arg {
    fn arg(self) -> usize;
}

macro_rules! int_arg {
    ($($t:ty)*) => { $(impl Arg for $t { fn arg(self) -> usize { self as usize } })* };
}
int_arg!(i32 u32 i64 u64 usize isize u8 u16);

impl<T: ?Sized> Arg for &T {
    fn arg(self) -> usize {
        std::ptr::from_ref(self).cast::<u8>() as usize
    }
}
impl<T: ?Sized> Arg for &mut T {
    fn arg(self) -> usize {
        std::ptr::from_mut(self).cast::<u8>() as usize
    }
}
impl<T> Arg for *const T {
    fn arg(self) -> usize {
        self as usize
    }
}
impl<T> Arg for *mut T {
    fn arg(self) -> usize {
        self as usize
    }
}

/// `sys!(SYS_openat, dir, c"path", flags, mode)`: the raw call, its errno not hidden.
macro_rules! sys {
    ($n:ident $(, $a:expr)* $(,)?) => { $crate::run::raw(libc::$n, &[$($crate::run::Arg::arg($a)),*]) };
}
pub(crate) use sys;

/// `say!("read={} data={}", ...)`: one line of output, after the name of the case.
macro_rules! say {
    ($($t:tt)*) => { $crate::run::line(&format!($($t)*)) };
}
pub(crate) use say;

pub(crate) fn raw(nr: i64, a: &[usize]) -> R {
    let g = |i: usize| a.get(i).copied().unwrap_or(0);
    let r = unsafe { libc::syscall(nr, g(0), g(1), g(2), g(3), g(4), g(5)) };
    if r == -1 { R(-i64::from(unsafe { *libc::__errno_location() })) } else { R(r) }
}

static PREFIX: OnceLock<String> = OnceLock::new();

/// What lines begin with from now on.
pub(crate) fn name_lines(prefix: &str) {
    let _ = PREFIX.set(prefix.into());
}

/// Prints a line with one write, so that lines of several processes never mix.
pub(crate) fn line(s: &str) {
    let text = format!("{}: {s}\n", PREFIX.get().map_or("?", String::as_str));
    sys!(SYS_write, 1, text.as_bytes(), text.len());
}

/// Forks; the child runs `f` and exits with what it returns.
pub(crate) fn spawn(f: impl FnOnce() -> i32) -> i32 {
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        say!("fork failed: {}", show::errno(unsafe { *libc::__errno_location() }));
        exit(1);
    }
    if pid == 0 {
        let code = f();
        exit(code);
    }
    pid
}

/// Leaves at once, all threads, nothing flushed.
pub(crate) fn exit(code: i32) -> ! {
    loop {
        sys!(SYS_exit_group, code);
    }
}

/// Waits for one child and names its end.
pub(crate) fn wait(pid: i32) -> String {
    let mut st = 0;
    loop {
        let r = sys!(SYS_wait4, pid, &mut st, 0, 0);
        if r.0 == -i64::from(libc::EINTR) {
            continue;
        }
        return if r.ok() { show::status(st) } else { r.to_string() };
    }
}

/// `kill`, only ever to one process of ours: a failed fork must not become a signal to a group or to everyone.
pub(crate) fn kill(pid: i32, sig: i32) -> R {
    if pid <= 1 { R(-i64::from(libc::ESRCH)) } else { sys!(SYS_kill, pid, sig) }
}

pub(crate) fn open(path: &CStr, flags: i32) -> i32 {
    sys!(SYS_openat, libc::AT_FDCWD, path, flags, 0o644).fd()
}

/// Makes a file with these contents.
pub(crate) fn file(path: &CStr, text: &[u8]) {
    let fd = open(path, libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY);
    sys!(SYS_write, fd, text, text.len());
    close(fd);
}

/// The contents of a file from its beginning, whatever its offset, at most 1 MiB.
pub(crate) fn slurp(fd: i32) -> Vec<u8> {
    let mut out = Vec::new();
    let mut buf = [0u8; 4096];
    while out.len() < 1 << 20 {
        let r = sys!(SYS_pread64, fd, &mut buf, buf.len(), out.len());
        if r.0 <= 0 {
            break;
        }
        out.extend_from_slice(&buf[..r.0 as usize]);
    }
    out
}

/// The contents of a path, read to the end (for /proc files too).
pub(crate) fn cat(path: &CStr) -> Vec<u8> {
    let fd = open(path, libc::O_RDONLY);
    let out = drain(fd);
    close(fd);
    out
}

/// Reads until the end or an error.
pub(crate) fn drain(fd: i32) -> Vec<u8> {
    let mut out = Vec::new();
    let mut buf = [0u8; 4096];
    while out.len() < 1 << 22 {
        let r = sys!(SYS_read, fd, &mut buf, buf.len());
        if r.0 <= 0 {
            break;
        }
        out.extend_from_slice(&buf[..r.0 as usize]);
    }
    out
}

pub(crate) fn close(fd: i32) {
    sys!(SYS_close, fd);
}

pub(crate) fn pipe(flags: i32) -> (i32, i32) {
    let mut p = [-1i32; 2];
    sys!(SYS_pipe2, &mut p, flags);
    (p[0], p[1])
}

/// One byte to the other side of a pipe, and one byte awaited: how parent and child take turns.
pub(crate) fn post(fd: i32) {
    sys!(SYS_write, fd, b"x", 1);
}
pub(crate) fn await_post(fd: i32) -> bool {
    let mut b = [0u8; 1];
    sys!(SYS_read, fd, &mut b, 1).0 == 1
}

pub(crate) fn ts(ms: i64) -> libc::timespec {
    libc::timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 }
}

/// Sleeps the whole time, signals or not.
pub(crate) fn sleep_ms(ms: i64) {
    let end = now_ms() + ms;
    while now_ms() < end {
        let t = ts(end - now_ms());
        sys!(SYS_nanosleep, &t, 0);
    }
}

pub(crate) fn now_ms() -> i64 {
    let mut t: libc::timespec = zeroed();
    sys!(SYS_clock_gettime, libc::CLOCK_MONOTONIC, &mut t);
    t.tv_sec * 1000 + t.tv_nsec / 1_000_000
}

/// Installs a handler through libc, which supplies the restorer. `SIG_DFL` and `SIG_IGN` are handlers too.
pub(crate) fn handler(sig: i32, f: usize, flags: i32) -> R {
    let mut sa: libc::sigaction = zeroed();
    sa.sa_sigaction = f;
    sa.sa_flags = flags;
    match unsafe { libc::sigaction(sig, &raw const sa, std::ptr::null_mut()) } {
        0 => R(0),
        _ => R(-i64::from(unsafe { *libc::__errno_location() })),
    }
}

/// The kernel's signal set with these signals.
pub(crate) fn set(sigs: &[i32]) -> u64 {
    sigs.iter().fold(0, |m, s| m | 1 << (s - 1))
}

pub(crate) fn mask(how: i32, sigs: &[i32]) -> R {
    sys!(SYS_rt_sigprocmask, how, &set(sigs), 0, 8)
}

/// What a child exits with, or how it dies, when `f` runs in it.
pub(crate) fn fate(f: impl FnOnce() -> i32) -> String {
    wait(spawn(f))
}

/// Becomes nobody, with the working directory handed over, so that permission checks mean the same to all.
pub(crate) fn drop_root() {
    sys!(SYS_fchownat, libc::AT_FDCWD, c".", 65534, 65534, 0);
    if sys!(SYS_getuid).0 == 0 {
        sys!(SYS_setgroups, 0, 0);
        sys!(SYS_setresgid, 65534, 65534, 65534);
        sys!(SYS_setresuid, 65534, 65534, 65534);
    }
}

static EXE: OnceLock<CString> = OnceLock::new();

/// The path of this program, to execute it again as a helper.
pub(crate) fn exe() -> CString {
    EXE.get().cloned().unwrap_or_else(|| c"/proc/self/exe".into())
}

fn find_exe() {
    let path = std::env::current_exe()
        .or_else(|_| std::fs::canonicalize(std::env::args_os().next().unwrap_or_default()))
        .ok()
        .and_then(|p| CString::new(p.into_os_string().into_encoded_bytes()).ok());
    if let Some(p) = path {
        let _ = EXE.set(p);
    }
}

/// What every case starts from: own session, default signals, no descriptors above 2, umask 022.
fn prepare(prefix: &str, dir: &Path) {
    sys!(SYS_setsid);
    for s in 1..=64 {
        handler(s, libc::SIG_DFL, 0);
    }
    let off = libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
    sys!(SYS_sigaltstack, &off, 0);
    sys!(SYS_rt_sigprocmask, libc::SIG_SETMASK, &0u64, 0, 8);
    let null = open(c"/dev/null", libc::O_RDWR);
    sys!(SYS_dup2, null, 0);
    if !sys!(SYS_close_range, 3, u32::MAX, 0).ok() {
        (3..1024).for_each(close);
    }
    for (what, soft) in [(libc::RLIMIT_CORE, 0), (libc::RLIMIT_NOFILE, 1024)] {
        let mut lim: libc::rlimit = zeroed();
        sys!(SYS_prlimit64, 0, what, 0, &mut lim);
        lim.rlim_cur = soft;
        sys!(SYS_prlimit64, 0, what, &lim, 0);
    }
    sys!(SYS_umask, 0o022);
    if std::env::set_current_dir(dir).is_err() {
        line("cannot enter the working directory");
        exit(1);
    }
    let _ = PREFIX.set(prefix.into());
    sys!(SYS_alarm, 10);
}

fn run_case(prefix: &str, f: fn(), dir: &Path) {
    let _ = std::fs::create_dir(dir);
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        prepare(prefix, dir);
        let r = std::panic::catch_unwind(f);
        if r.is_err() {
            line("panicked");
        }
        exit(0);
    }
    if pid < 0 {
        println!("{prefix}: cannot fork");
        return;
    }
    let start = now_ms();
    let mut st = 0;
    let mut late = false;
    loop {
        let r = sys!(SYS_wait4, pid, &mut st, libc::WNOHANG, 0);
        if r.0 != 0 {
            break;
        }
        let passed = now_ms() - start;
        if passed > 12_000 && !late {
            println!("{prefix}: timed out");
            late = true;
            kill(pid, libc::SIGKILL);
        }
        if passed > 20_000 {
            break;
        }
        sys!(
            SYS_nanosleep,
            &libc::timespec { tv_sec: 0, tv_nsec: if passed < 20 { 200_000 } else { 2_000_000 } },
            0
        );
    }
    if libc::WIFSIGNALED(st) && !late {
        println!("{prefix}: killed by {}", show::signal(libc::WTERMSIG(st)));
    } else if libc::WIFEXITED(st) && libc::WEXITSTATUS(st) != 0 {
        println!("{prefix}: ended with exit code {}", libc::WEXITSTATUS(st));
    }
    // Children the case left behind are in its group, and ours to reap because we are a subreaper.
    sys!(SYS_kill, -pid, libc::SIGKILL);
    let reap = now_ms();
    while sys!(SYS_wait4, -1, 0, libc::WNOHANG, 0).0 >= 0 && now_ms() - reap < 500 {
        sys!(SYS_sched_yield);
    }
    let _ = std::fs::remove_dir_all(dir);
}

/// Runs what the arguments select.
pub(crate) fn main(families: &[(&str, &[Case])], args: &[String]) -> i32 {
    let mut list = false;
    let mut base: Option<PathBuf> = None;
    let mut only: Vec<&str> = Vec::new();
    let mut it = args.iter();
    while let Some(a) = it.next() {
        match a.as_str() {
            "--list" => list = true,
            "--dir" => base = it.next().map(PathBuf::from),
            s if s.starts_with('-') => {
                eprintln!("usage: guest-tests [--list] [--dir DIR] [FAMILY[/CASE]...] | fuzz --help");
                return 2;
            }
            s => only.push(s),
        }
    }
    let picked = |f: &str, c: &str| {
        only.is_empty() || only.iter().any(|o| *o == f || o.split_once('/') == Some((f, c)))
    };
    if only.iter().any(|o| {
        let (f, c) = o.split_once('/').map_or((*o, None), |(f, c)| (f, Some(c)));
        !families.iter().any(|(n, cs)| *n == f && c.is_none_or(|c| cs.iter().any(|(x, _)| *x == c)))
    }) {
        eprintln!("guest-tests: no such family or case; see --list");
        return 2;
    }
    find_exe();
    let made = base.is_none();
    let base = match base {
        Some(b) => std::path::absolute(&b).unwrap_or(b),
        None => {
            let mut t = *b"/tmp/guest-tests-XXXXXX\0";
            let p = unsafe { libc::mkdtemp(t.as_mut_ptr().cast()) };
            if p.is_null() {
                eprintln!("guest-tests: cannot make a directory in /tmp; give one with --dir");
                return 1;
            }
            // Cases that become nobody still have to find their way here.
            sys!(SYS_chmod, p, 0o755);
            PathBuf::from(unsafe { CStr::from_ptr(p) }.to_string_lossy().into_owned())
        }
    };
    sys!(SYS_prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    let mut n = 0;
    for (family, cases) in families {
        for (name, f) in *cases {
            if !picked(family, name) {
                continue;
            }
            let prefix = format!("{family}/{name}");
            if list {
                println!("{prefix}");
                continue;
            }
            n += 1;
            run_case(&prefix, *f, &base.join(format!("case{n}")));
        }
    }
    if made {
        let _ = std::fs::remove_dir(&base);
    }
    0
}
