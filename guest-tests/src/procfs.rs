//! What programs expect of /proc, and a little of /dev and /sys.

use crate::mem::{KERNEL, PAGE, PRIV, RW, map, put, zeroed};
use crate::run::{Case, cat, close, drain, exe, fate, file, kill, open, say, sleep_ms, spawn, sys, wait};
use crate::show;
use libc::O_RDONLY;
use std::ffi::{CStr, CString};

fn text(p: &CStr) -> String {
    String::from_utf8_lossy(&cat(p)).into_owned()
}
fn link(p: &CStr) -> String {
    let mut b = [0u8; 4096];
    let r = sys!(SYS_readlink, p, &mut b, 4096);
    if r.ok() { String::from_utf8_lossy(&b[..r.0 as usize]).into_owned() } else { r.to_string() }
}
fn path(s: String) -> CString {
    CString::new(s).unwrap_or_default()
}

fn myself() {
    let pid = sys!(SYS_getpid).0;
    say!(
        "self is pid={} thread-self={}",
        link(c"/proc/self") == pid.to_string(),
        link(c"/proc/thread-self") == format!("{pid}/task/{pid}")
    );
    say!(
        "exe={} cwd={} root={}",
        link(c"/proc/self/exe") == exe().to_string_lossy(),
        link(c"/proc/self/cwd")
            == std::env::current_dir().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default(),
        link(c"/proc/self/root")
    );
    let cmd = cat(c"/proc/self/cmdline");
    say!(
        "cmdline ends with nul={} first argument names us={}",
        cmd.last() == Some(&0),
        cmd.split(|b| *b == 0)
            .next()
            .is_some_and(|a| std::env::args().next().is_some_and(|n| n.as_bytes() == a))
    );
    sys!(SYS_prctl, libc::PR_SET_NAME, c"odd (name) x", 0, 0, 0);
    say!("comm={:?} write={}", text(c"/proc/self/comm"), {
        let fd = open(c"/proc/self/comm", libc::O_WRONLY);
        sys!(SYS_write, fd, b"given", 5)
    });
    say!(
        "comm now={:?} environ={}",
        text(c"/proc/self/comm"),
        sys!(SYS_open, c"/proc/self/environ", O_RDONLY).sign()
    );
    say!(
        "mkdir={} unlink={}",
        sys!(SYS_mkdir, c"/proc/self/x", 0o755),
        sys!(SYS_unlink, c"/proc/self/status")
    );
}

fn stat() {
    sys!(SYS_prctl, libc::PR_SET_NAME, c"a) R 1 (", 0, 0, 0);
    let s = text(c"/proc/self/stat");
    let tail = s.rsplit_once(')').map_or("", |t| t.1);
    let f: Vec<&str> = tail.split_whitespace().collect();
    let n = |i: usize| f.get(i - 3).and_then(|v| v.parse::<i64>().ok()).unwrap_or(-1);
    say!(
        "fields={} state={} pid={} name={}",
        f.len() + 2,
        f.first().copied().unwrap_or("?"),
        s.starts_with(&format!("{} (", sys!(SYS_getpid))),
        s.contains("(a) R 1 ()")
    );
    say!(
        "ppid={} pgrp={} session={} tty={} threads={}",
        n(4) == sys!(SYS_getppid).0,
        n(5) == sys!(SYS_getpgrp).0,
        n(6) == sys!(SYS_getsid, 0).0,
        n(7),
        n(20)
    );
    say!("nice={} start time={} vsize={} rss={}", n(19), n(22) > 0, n(23) > 4096, n(24) > 0);
    let m: Vec<i64> = text(c"/proc/self/statm").split_whitespace().filter_map(|v| v.parse().ok()).collect();
    say!("statm fields={} size over resident={}", m.len(), m.len() > 1 && m[0] >= m[1] && m[1] > 0);
}

fn status() {
    crate::run::mask(libc::SIG_BLOCK, &[libc::SIGUSR1]);
    let s = text(c"/proc/self/status");
    let get = |k: &str| s.lines().find_map(|l| l.strip_prefix(k)).map(|v| v.trim().replace('\t', " "));
    let have: Vec<&str> = [
        "Name:",
        "Umask:",
        "State:",
        "Tgid:",
        "Pid:",
        "PPid:",
        "TracerPid:",
        "Uid:",
        "Gid:",
        "FDSize:",
        "Groups:",
        "VmPeak:",
        "VmSize:",
        "VmLck:",
        "VmHWM:",
        "VmRSS:",
        "VmData:",
        "VmStk:",
        "VmExe:",
        "Threads:",
        "SigQ:",
        "SigPnd:",
        "ShdPnd:",
        "SigBlk:",
        "SigIgn:",
        "SigCgt:",
        "CapInh:",
        "CapPrm:",
        "CapEff:",
        "CapBnd:",
        "CapAmb:",
        "NoNewPrivs:",
        "Seccomp:",
        "Cpus_allowed:",
        "Cpus_allowed_list:",
        "Mems_allowed:",
        "voluntary_ctxt_switches:",
        "nonvoluntary_ctxt_switches:",
    ]
    .into_iter()
    .filter(|k| get(k).is_none())
    .collect();
    say!("missing keys={have:?}");
    say!(
        "umask={:?} state={:?} threads={:?} tracer={:?} sigblk={:?}",
        get("Umask:"),
        get("State:"),
        get("Threads:"),
        get("TracerPid:"),
        get("SigBlk:")
    );
    let p = sys!(SYS_getpid).to_string();
    say!(
        "pid={} tgid={} ppid={} uid fields={}",
        get("Pid:") == Some(p.clone()),
        get("Tgid:") == Some(p),
        get("PPid:") == Some(sys!(SYS_getppid).to_string()),
        get("Uid:").map_or(0, |u| u.split(' ').count())
    );
}

fn fds() {
    file(c"f", b"x");
    let a = open(c"f", libc::O_RDWR | libc::O_APPEND | libc::O_CLOEXEC);
    sys!(SYS_lseek, a, 1, 0);
    let mut names: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .map(|d| d.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    names.sort();
    say!("entries={names:?} link ends={}", link(&path(format!("/proc/self/fd/{a}"))).ends_with("/f"));
    let i = text(&path(format!("/proc/self/fdinfo/{a}")));
    say!(
        "fdinfo={:?}",
        i.lines().filter(|l| l.starts_with("pos:") || l.starts_with("flags:")).collect::<Vec<_>>()
    );
    sys!(SYS_unlink, c"f");
    say!(
        "deleted={} missing={}",
        link(&path(format!("/proc/self/fd/{a}"))).ends_with("/f (deleted)"),
        link(c"/proc/self/fd/77")
    );
    close(a);
    let mut st: libc::stat = zeroed();
    say!("closed={} lstat kind={:o}", link(&path(format!("/proc/self/fd/{a}"))), {
        sys!(SYS_lstat, c"/proc/self/fd/0", &mut st);
        st.st_mode & libc::S_IFMT
    });
}

fn maps() {
    let a = map(3 * PAGE, RW, PRIV);
    sys!(SYS_mprotect, a + PAGE, PAGE, libc::PROT_READ);
    file(c"mapped", &[0; PAGE]);
    let f = sys!(SYS_mmap, 0, PAGE, libc::PROT_READ, libc::MAP_SHARED, open(c"mapped", libc::O_RDWR), 0).0
        as usize;
    let m = text(c"/proc/self/maps");
    let line = |at: usize| {
        m.lines().find_map(|l| {
            let (r, rest) = l.split_once(' ')?;
            let (s, e) = r.split_once('-')?;
            let (s, e) = (usize::from_str_radix(s, 16).ok()?, usize::from_str_radix(e, 16).ok()?);
            (s <= at && at < e).then(|| (s, e, rest.to_owned()))
        })
    };
    let here = 0u8;
    let ordered =
        m.lines().filter_map(|l| usize::from_str_radix(l.split('-').next()?, 16).ok()).collect::<Vec<_>>();
    say!(
        "all lines parse={} ordered={}",
        m.lines().all(|l| l.split_whitespace().count() >= 5),
        ordered.is_sorted()
    );
    say!(
        "stack={:?}",
        line(&raw const here as usize).map(|l| l.2.split_whitespace().last().unwrap_or("").to_owned())
    );
    let b = sys!(SYS_brk, 0).0 as usize;
    sys!(SYS_brk, b + PAGE);
    say!(
        "heap named={} code executable={}",
        text(c"/proc/self/maps").contains("[heap]"),
        line(maps as *const () as usize).is_some_and(|l| l.2.starts_with("r-xp"))
    );
    say!(
        "middle page={:?}",
        line(a + PAGE).map(|l| (l.0 == a + PAGE, l.1 == a + 2 * PAGE, l.2[..4].to_owned()))
    );
    say!("file={:?}", line(f).map(|l| (l.2[..4].to_owned(), l.2.ends_with("/mapped"))));
    let s = text(c"/proc/self/smaps");
    say!("smaps has Rss={} oom_score_adj={:?}", s.contains("Rss:"), text(c"/proc/self/oom_score_adj"));
}

fn memory_file() {
    let a = map(PAGE, RW, PRIV);
    put(a, b"through mem");
    let fd = open(c"/proc/self/mem", libc::O_RDWR);
    let mut b = [0u8; 16];
    say!(
        "read={} data={} write={} unmapped={}",
        sys!(SYS_pread64, fd, &mut b, 11, a),
        show::bytes(&b[..11]),
        sys!(SYS_pwrite64, fd, b"written", 7, a),
        sys!(SYS_pread64, fd, &mut b, 4, 0x2000_0000_0000usize)
    );
    say!(
        "memory={} kernel={}",
        show::bytes(&crate::mem::get(a, 11)),
        sys!(SYS_pread64, fd, &mut b, 4, KERNEL)
    );
    let (l, r) = ([b.as_mut_ptr() as usize, 7], [a, 7]);
    say!(
        "process_vm_readv={} data={}",
        sys!(SYS_process_vm_readv, sys!(SYS_getpid).0, &l, 1, &r, 1, 0),
        show::bytes(&b[..7])
    );
}

fn memory_of_others() {
    let a = map(2 * PAGE, RW, PRIV);
    put(a, b"parent's");
    let p = spawn(|| {
        put(a, b"child's!");
        sleep_ms(5000);
        0
    });
    sleep_ms(30);
    let mut b = [0u8; 16];
    let at = b.as_mut_ptr() as usize;
    let vm = |call: i64, l: &[[usize; 2]], r: &[[usize; 2]], flags: i32| {
        let (local, remote) = (l.as_ptr() as usize, r.as_ptr() as usize);
        crate::run::raw(call, &[p as usize, local, l.len(), remote, r.len(), flags as usize])
    };
    let (read, write) = (libc::SYS_process_vm_readv, libc::SYS_process_vm_writev);
    say!(
        "two pieces={} flags={} nothing={} unmapped={}",
        vm(read, &[[at, 3], [at + 3, 5]], &[[a, 6], [a + 6, 2]], 0),
        vm(read, &[[at, 3]], &[[a, 3]], 1),
        vm(read, &[], &[[a, 3]], 0),
        vm(read, &[[at, 4]], &[[0x2000_0000_0000, 4]], 0)
    );
    say!("data={} local unmapped={}", show::bytes(&b[..8]), vm(read, &[[0x2000_0000_0000, 4]], &[[a, 4]], 0));
    say!(
        "part={} write={} null vector={}",
        vm(read, &[[at, 4], [at, 4]], &[[a, 4], [0x2000_0000_0000, 4]], 0),
        vm(write, &[[at, 4]], &[[a + 2 * PAGE - 2, 2], [a, 1], [a + 1, 1]], 0),
        sys!(SYS_process_vm_readv, p, 0, 1, &[a, 4], 1, 0)
    );
    say!(
        "too many={} missing={} not allowed={}",
        sys!(SYS_process_vm_readv, p, &[at, 4], 1025, &[a, 4], 1, 0),
        sys!(SYS_process_vm_readv, 999_999, &[at, 4], 1, &[a, 4], 1, 0),
        fate(|| {
            crate::run::drop_root();
            i32::from(vm(read, &[[at, 4]], &[[a, 4]], 0) == crate::show::R(-1))
        })
    );
    kill(p, libc::SIGKILL);
    say!("{}", crate::run::wait(p));
}

fn children() {
    let p = spawn(|| {
        sleep_ms(5000);
        0
    });
    let file = |f: &str| path(format!("/proc/{p}/{f}"));
    say!(
        "exe={} ppid listed={}",
        link(&file("exe")) == link(c"/proc/self/exe"),
        text(&file("status")).contains(&format!("PPid:\t{}", sys!(SYS_getpid)))
    );
    let d = open(&path(format!("/proc/{p}")), libc::O_PATH);
    let held = open(&file("stat"), O_RDONLY);
    kill(p, libc::SIGSTOP);
    sys!(SYS_wait4, p, 0, libc::WUNTRACED, 0);
    let state = || text(&file("stat")).rsplit_once(") ").map_or("?".to_owned(), |s| s.1[..1].to_owned());
    say!("stopped state={}", state());
    kill(p, libc::SIGKILL);
    let mut si: libc::siginfo_t = zeroed();
    sys!(SYS_waitid, libc::P_PID, p, &mut si, libc::WEXITED | libc::WNOWAIT, 0);
    say!("zombie state={} cmdline={:?} exe={}", state(), text(&file("cmdline")), link(&file("exe")));
    wait(p);
    say!(
        "gone: open={} held read={} by handle={}",
        sys!(SYS_open, file("stat").as_c_str(), O_RDONLY),
        sys!(SYS_read, held, &mut [0u8; 9], 9),
        sys!(SYS_openat, d, c"stat", O_RDONLY)
    );
    let listed = std::fs::read_dir("/proc")
        .map(|d| d.flatten().any(|e| e.file_name().to_string_lossy() == sys!(SYS_getpid).to_string()))
        .unwrap_or(false);
    say!(
        "own pid listed={listed} task={}",
        std::fs::read_dir("/proc/self/task").map(|d| d.count()).unwrap_or(0)
    );
    say!("kids={}", text(&path(format!("/proc/self/task/{}/children", sys!(SYS_getpid)))).is_empty());
}

fn system_files() {
    for (f, needle) in [
        (c"/proc/meminfo", "MemTotal:"),
        (c"/proc/meminfo", "MemAvailable:"),
        (c"/proc/cpuinfo", "processor"),
        (c"/proc/stat", "cpu "),
        (c"/proc/stat", "btime "),
        (c"/proc/mounts", " / "),
        (c"/proc/self/mountinfo", " / / "),
        (c"/proc/filesystems", "proc"),
        (c"/proc/version", "Linux version"),
        (c"/proc/devices", "Character devices:"),
        (c"/proc/self/limits", "Max open files"),
        (c"/proc/self/cgroup", ":"),
        (c"/proc/vmstat", "pgfault"),
        (c"/proc/sys/kernel/ostype", "Linux"),
        (c"/proc/self/io", "rchar"),
    ] {
        say!("{} has {needle:?}={}", f.to_string_lossy(), text(f).contains(needle));
    }
    let words = |p: &CStr| text(p).split_whitespace().count();
    say!(
        "uptime fields={} loadavg fields={} random uuid length={}",
        words(c"/proc/uptime"),
        words(c"/proc/loadavg"),
        text(c"/proc/sys/kernel/random/uuid").trim().len()
    );
    for f in [
        c"/proc/sys/kernel/hostname",
        c"/proc/sys/kernel/osrelease",
        c"/proc/sys/kernel/pid_max",
        c"/proc/sys/fs/file-max",
        c"/proc/sys/vm/overcommit_memory",
        c"/proc/sys/kernel/cap_last_cap",
        c"/proc/sys/fs/nr_open",
        c"/proc/sys/kernel/random/boot_id",
        c"/proc/sys/fs/pipe-max-size",
        c"/proc/sys/kernel/ngroups_max",
    ] {
        say!("{} readable={}", f.to_string_lossy(), !text(f).is_empty());
    }
    say!(
        "none={} number 0={} letters={}",
        sys!(SYS_open, c"/proc/none", O_RDONLY),
        sys!(SYS_open, c"/proc/0", O_RDONLY),
        sys!(SYS_open, c"/proc/12x", O_RDONLY)
    );
}

fn seeking() {
    let fd = open(c"/proc/self/status", O_RDONLY);
    let all = drain(fd);
    sys!(SYS_lseek, fd, 0, 0);
    let mut small = Vec::new();
    let mut b = [0u8; 7];
    while let show::R(n @ 1..) = sys!(SYS_read, fd, &mut b, 7) {
        small.extend_from_slice(&b[..n as usize]);
    }
    let first = |v: &[u8]| v.iter().position(|b| *b == b'\n').unwrap_or(0);
    say!(
        "same by small reads={} seek={} size={}",
        all[..first(&all)] == small[..first(&small)],
        sys!(SYS_lseek, fd, 5, 0),
        {
            let mut st: libc::stat = zeroed();
            sys!(SYS_fstat, fd, &mut st);
            st.st_size
        }
    );
    say!(
        "seek end={} write={} mmap={}",
        sys!(SYS_lseek, fd, 0, 2),
        sys!(SYS_write, fd, b"x", 1),
        sys!(SYS_mmap, 0, PAGE, 1, 2, fd, 0).sign()
    );
}

pub(crate) const CASES: &[Case] = &[
    ("myself", myself),
    ("stat", stat),
    ("status", status),
    ("fds", fds),
    ("maps", maps),
    ("memory_file", memory_file),
    ("memory_of_others", memory_of_others),
    ("children", children),
    ("system_files", system_files),
    ("seeking", seeking),
];
