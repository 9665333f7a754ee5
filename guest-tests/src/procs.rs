//! Processes: fork and its kin, waiting, groups and sessions, pidfds, limits, prctl.

use crate::mem::{PAGE, PRIV, RW, SHARED, get, map, put, zeroed};
use crate::run::{
    Case, await_post, close, exit, fate, file, handler, kill, open, pipe, post, say, sleep_ms, spawn, sys,
    wait,
};
use crate::show::{self, R};
use libc::{
    CLONE_FILES, CLONE_FS, CLONE_VFORK, CLONE_VM, SIGCHLD, SIGCONT, SIGKILL, SIGSTOP, SIGTERM, WCONTINUED,
    WEXITED, WNOHANG, WNOWAIT, WSTOPPED, WUNTRACED,
};

extern "C" fn nothing(_: i32) {}

fn exits() {
    for c in [0, 1, 127, 255, 256, -1, 0x1234] {
        say!("exit {c}={}", fate(|| c));
    }
    say!("plain exit={}", fate(|| sys!(SYS_exit, 42).fd()));
    for s in [SIGTERM, SIGKILL, libc::SIGSEGV, libc::SIGHUP, libc::SIGUSR1, libc::SIGRTMIN()] {
        say!(
            "{}={}",
            show::signal(s),
            fate(|| {
                sys!(SYS_kill, sys!(SYS_getpid).0, s);
                0
            })
        );
    }
    say!(
        "ignored by default={}",
        fate(|| {
            sys!(SYS_kill, sys!(SYS_getpid).0, SIGCHLD);
            sys!(SYS_kill, sys!(SYS_getpid).0, libc::SIGWINCH);
            5
        })
    );
    say!("abort={}", fate(|| unsafe { libc::abort() }));
}

fn forks() {
    let fd = open(c"f", libc::O_CREAT | libc::O_RDWR);
    sys!(SYS_umask, 0o027);
    sys!(SYS_alarm, 50);
    let me = sys!(SYS_getpid);
    let r = fate(|| {
        say!(
            "ppid={} pid differs={} tid is pid={}",
            sys!(SYS_getppid) == me,
            sys!(SYS_getpid) != me,
            sys!(SYS_gettid) == sys!(SYS_getpid)
        );
        say!(
            "umask={:o} alarm cleared={} pgrp same={}",
            sys!(SYS_umask, 0).0,
            sys!(SYS_alarm, 0),
            sys!(SYS_getpgrp) == me
        );
        let mut ru: libc::rusage = zeroed();
        sys!(SYS_getrusage, libc::RUSAGE_CHILDREN, &mut ru);
        say!("child times zero={}", ru.ru_utime.tv_sec == 0 && ru.ru_utime.tv_usec == 0);
        close(fd);
        3
    });
    say!(
        "{r} fd stays={} umask stays={:o} alarm stays={}",
        sys!(SYS_fcntl, fd, 1, 0),
        sys!(SYS_umask, 0o22).0,
        sys!(SYS_alarm, 10).0 > 0
    );
    let raw = sys!(SYS_fork);
    if raw.0 == 0 {
        exit(7);
    }
    say!("raw fork={}", wait(raw.fd()));
}

fn vfork() {
    let pid: i64;
    // The child runs on the parent's stack: it may not return from a function, so it exits in the same breath.
    unsafe {
        std::arch::asm!("mov eax, 58", "syscall", "test rax, rax", "jnz 2f", "mov edi, 9", "mov eax, 60", "syscall", "2:",
            out("rax") pid, out("rcx") _, out("r11") _, out("rdi") _);
    }
    say!("vfork={}", wait(pid as i32));
    let pending = map(PAGE, RW, PRIV);
    let stack = map(16 * PAGE, RW, PRIV) + 16 * PAGE;
    extern "C" fn child(a: *mut libc::c_void) -> i32 {
        sleep_ms(20);
        put(a as usize, b"vm");
        5
    }
    let p =
        unsafe { libc::clone(child, stack as *mut _, CLONE_VM | CLONE_VFORK | SIGCHLD, pending as *mut _) };
    say!("shared memory and parent waited={} end={}", show::bytes(&get(pending, 2)), wait(p));
}

fn clone_flags() {
    extern "C" fn child(a: *mut libc::c_void) -> i32 {
        close(a as usize as i32);
        sys!(SYS_chdir, c"/");
        sys!(SYS_umask, 0o055);
        0
    }
    for (n, fl) in [("none", 0), ("files", CLONE_FILES), ("fs", CLONE_FS), ("both", CLONE_FILES | CLONE_FS)] {
        sys!(SYS_umask, 0o022);
        let fd = open(c"/dev/null", 0);
        let stack = map(16 * PAGE, RW, PRIV) + 16 * PAGE;
        let here = std::env::current_dir();
        let p = unsafe { libc::clone(child, stack as *mut _, fl | SIGCHLD, fd as usize as *mut _) };
        let end = wait(p);
        let mut b = [0u8; 4096];
        let moved = sys!(SYS_getcwd, &mut b, 4096).0 == 2;
        say!(
            "{n} {end} fd={} cwd moved={moved} umask={:o}",
            sys!(SYS_fcntl, fd, 1, 0),
            sys!(SYS_umask, 0o022).0
        );
        if let Ok(h) = here {
            let _ = std::env::set_current_dir(h);
        }
        close(fd);
    }
    // A sibling: what its parent hears at its end is what it hears at the caller's, whatever the caller asks for; after exec it is SIGCHLD.
    for own in [SIGCHLD, libc::SIGUSR2] {
        crate::run::mask(libc::SIG_BLOCK, &[SIGCHLD, libc::SIGUSR1, libc::SIGUSR2]);
        let middle = sys!(SYS_clone, own, 0, 0, 0, 0);
        if middle.0 == 0 {
            let sibling = sys!(SYS_clone, libc::CLONE_PARENT | libc::SIGUSR1, 0, 0, 0, 0);
            if sibling.0 != 0 {
                crate::run::sleep_ms(50);
            }
            exit(i32::from(sibling.0 == 0) + 3);
        }
        let mut ends = Vec::new();
        for _ in 0..2 {
            let mut st = 0;
            let p = sys!(SYS_wait4, -1, &mut st, libc::__WALL, 0);
            let mut pending = 0u64;
            sys!(SYS_rt_sigpending, &mut pending, 8);
            let of = |s: i32| pending >> (s - 1) & 1;
            ends.push(format!(
                "middle={} {} chld={} usr1={} usr2={}",
                p.0 == middle.0,
                crate::show::status(st),
                of(SIGCHLD),
                of(libc::SIGUSR1),
                of(libc::SIGUSR2)
            ));
        }
        say!("sibling {own}: {ends:?}");
    }
    crate::run::mask(libc::SIG_UNBLOCK, &[SIGCHLD]);
    let bad = |fl: i32| sys!(SYS_clone, fl, 0, 0, 0, 0);
    say!(
        "thread without vm={} sighand without vm={} fs with newns={}",
        bad(libc::CLONE_THREAD),
        bad(libc::CLONE_SIGHAND),
        bad(CLONE_FS | libc::CLONE_NEWNS)
    );
    say!("thread without sighand={}", bad(libc::CLONE_THREAD | CLONE_VM));
    // The exit signal 0: only __WALL or __WCLONE see the child.
    let p = sys!(SYS_clone, 0, 0, 0, 0, 0);
    if p.0 == 0 {
        exit(4);
    }
    let mut st = 0;
    say!("no signal: plain wait={}", sys!(SYS_wait4, p.0, &mut st, 0, 0));
    let r = sys!(SYS_wait4, p.0, &mut st, libc::__WCLONE, 0);
    say!("wclone={} {}", r == p, show::status(st));
}

fn clone_tids() {
    let a = map(PAGE, RW, SHARED);
    let p = sys!(SYS_clone, libc::CLONE_CHILD_SETTID | libc::CLONE_PARENT_SETTID | SIGCHLD, 0, a, a + 8, 0);
    let at = |o: usize| i64::from(unsafe { ((a + o) as *const i32).read_volatile() });
    if p.0 == 0 {
        exit(i32::from(at(8) != sys!(SYS_gettid).0));
    }
    say!("parent tid written={} child={} child tid={}", at(0) == p.0, wait(p.fd()), at(8) == p.0);
    let mut fd = -1i32;
    let q = sys!(SYS_clone, libc::CLONE_PIDFD | SIGCHLD, 0, &mut fd, 0, 0);
    if q.0 == 0 {
        exit(3);
    }
    let mut si: libc::siginfo_t = zeroed();
    say!("pidfd={fd} wait={} status={}", sys!(SYS_waitid, 3, fd, &mut si, WEXITED, 0), unsafe {
        si.si_status()
    });
}

fn clone3() {
    let go = |a: &[u64], n: usize| {
        let r = sys!(SYS_clone3, a, n);
        if r.0 == 0 {
            exit(6);
        }
        if r.ok() { wait(r.fd()) } else { r.to_string() }
    };
    let plain = [0u64, 0, 0, 0, SIGCHLD as u64, 0, 0, 0, 0, 0, 0];
    let with = |i: usize, v: u64| {
        let mut a = plain;
        a[i] = v;
        a
    };
    say!("plain={} small={} short={} zero={}", go(&plain, 88), go(&plain, 64), go(&plain, 63), go(&plain, 0));
    say!(
        "huge={} bad flag={} detached={}",
        go(&plain, 5000),
        go(&with(0, 1 << 60), 88),
        go(&with(0, 0x0040_0000), 88)
    );
    let mut parent = with(0, libc::CLONE_PARENT as u64);
    say!("signal with CLONE_PARENT={}", go(&parent, 88));
    parent[4] = 0;
    say!("none with CLONE_PARENT={}", sys!(SYS_clone3, &parent, 8));
    say!(
        "signal in flags={} bad signal={} stack without size={}",
        go(&with(0, 17), 88),
        go(&with(4, 100), 88),
        go(&with(5, 0x1000), 88)
    );
    say!(
        "size without stack={} null={} set_tid_size={}",
        go(&with(6, 0x1000), 88),
        sys!(SYS_clone3, 0, 88),
        go(&with(9, 1), 88)
    );
}

fn waits() {
    let mut st = 0;
    say!(
        "none={} pid={} group={}",
        sys!(SYS_wait4, -1, &mut st, 0, 0),
        sys!(SYS_wait4, 999_999, &mut st, 0, 0),
        sys!(SYS_wait4, 0, &mut st, 0, 0)
    );
    say!(
        "options={} minimum pid={}",
        sys!(SYS_wait4, -1, &mut st, 0x100, 0),
        sys!(SYS_wait4, i32::MIN, &mut st, 0, 0)
    );
    let (r, w) = pipe(0);
    let p = spawn(|| {
        close(w);
        await_post(r);
        12
    });
    say!("running nohang={}", sys!(SYS_wait4, p, &mut st, WNOHANG, 0));
    kill(p, SIGSTOP);
    let a = sys!(SYS_wait4, p, &mut st, WUNTRACED, 0).0 == i64::from(p);
    say!("stopped={a} {} again={}", show::status(st), sys!(SYS_wait4, p, &mut st, WUNTRACED | WNOHANG, 0));
    kill(p, SIGCONT);
    let a = sys!(SYS_wait4, p, &mut st, WCONTINUED, 0).0 == i64::from(p);
    say!("continued={a} {} again={}", show::status(st), sys!(SYS_wait4, p, &mut st, WCONTINUED | WNOHANG, 0));
    post(w);
    let mut ru: libc::rusage = zeroed();
    let a = sys!(SYS_wait4, -1, &mut st, 0, &mut ru).0 == i64::from(p);
    say!(
        "ended={a} {} again={} rss sane={}",
        show::status(st),
        sys!(SYS_wait4, p, &mut st, 0, 0),
        ru.ru_maxrss >= 0
    );
    let p = spawn(|| 1);
    say!("null status={} ", sys!(SYS_wait4, p, 0, 0, 0).0 == i64::from(p));
    let p = spawn(|| 1);
    say!("bad status={} then={}", sys!(SYS_wait4, p, 1, 0, 0), wait(p));
}

fn info(r: R, si: &libc::siginfo_t, p: i32) -> String {
    unsafe {
        let mine = si.si_pid() == 0 || si.si_uid() == sys!(SYS_getuid).0 as u32;
        format!(
            "{r} {} {} status={} pid={} uid={mine}",
            show::signal(si.si_signo),
            show::si_code(SIGCHLD, si.si_code),
            si.si_status(),
            si.si_pid() == p
        )
    }
}

fn waitid() {
    let mut si: libc::siginfo_t = zeroed();
    let mut go = |p: i32, op: i32| {
        si = zeroed();
        let r = sys!(SYS_waitid, libc::P_PID, p, &mut si, op, 0);
        info(r, &si, p)
    };
    let (r, w) = pipe(0);
    let p = spawn(|| {
        close(w);
        await_post(r);
        33
    });
    say!("running={}", go(p, WEXITED | WNOHANG));
    kill(p, SIGSTOP);
    say!("stop nowait={}", go(p, WSTOPPED | WNOWAIT));
    say!("stop={}", go(p, WSTOPPED));
    say!("stop again={}", go(p, WSTOPPED | WNOHANG));
    kill(p, SIGCONT);
    say!("continue={}", go(p, WCONTINUED));
    post(w);
    say!("exit nowait={}", go(p, WEXITED | WNOWAIT));
    say!("exit={}", go(p, WEXITED));
    say!("gone={}", go(p, WEXITED));
    let q = spawn(|| {
        sys!(SYS_kill, sys!(SYS_getpid).0, SIGTERM);
        0
    });
    say!("killed={}", go(q, WEXITED));
    say!(
        "no options={} bad options={} bad type={}",
        go(p, 0),
        go(p, WEXITED | 0x100),
        sys!(SYS_waitid, 9, 0, &mut zeroed::<libc::siginfo_t>(), WEXITED, 0)
    );
    let q = spawn(|| 1);
    say!(
        "all, null info={} pid 0={}",
        sys!(SYS_waitid, libc::P_ALL, 0, 0, WEXITED, 0),
        sys!(SYS_waitid, libc::P_PID, 0, 0, WEXITED, 0)
    );
    let _ = q;
}

fn wait_groups() {
    let a = spawn(|| {
        sys!(SYS_setpgid, 0, 0);
        sleep_ms(10);
        1
    });
    sys!(SYS_setpgid, a, a);
    let b = spawn(|| 2);
    let mut st = 0;
    say!("own group first={} {}", sys!(SYS_wait4, 0, &mut st, 0, 0).0 == i64::from(b), show::status(st));
    say!("other group={} {}", sys!(SYS_wait4, -a, &mut st, 0, 0).0 == i64::from(a), show::status(st));
    say!("empty group={}", sys!(SYS_wait4, -a, &mut st, 0, 0));
    handler(SIGCHLD, libc::SIG_IGN, 0);
    let c = spawn(|| 3);
    say!("ignored SIGCHLD leaves no zombie={}", sys!(SYS_wait4, c, &mut st, 0, 0));
    handler(SIGCHLD, nothing as *const () as usize, libc::SA_NOCLDWAIT);
    let c = spawn(|| 3);
    let r = loop {
        let r = sys!(SYS_wait4, c, &mut st, 0, 0);
        if r.0 != -4 {
            break r;
        }
    };
    say!("nocldwait={r}");
}

fn groups() {
    let me = sys!(SYS_getpid);
    say!("pgrp is pid={} sid is pid={}", sys!(SYS_getpgrp) == me, sys!(SYS_getsid, 0) == me);
    say!("leader setsid={} leader setpgid={}", sys!(SYS_setsid), sys!(SYS_setpgid, 0, 0));
    say!(
        "getpgid missing={} getsid missing={} negative={}",
        sys!(SYS_getpgid, 999_999),
        sys!(SYS_getsid, 999_999),
        sys!(SYS_getpgid, -1)
    );
    fate(|| {
        say!(
            "child own group={} is leader={}",
            sys!(SYS_setpgid, 0, 0),
            sys!(SYS_getpgrp) == sys!(SYS_getpid)
        );
        say!(
            "back={} missing group={} negative={} init={}",
            sys!(SYS_setpgid, 0, me.0),
            sys!(SYS_setpgid, 0, 999_999),
            sys!(SYS_setpgid, 0, -1),
            sys!(SYS_setpgid, 1, 0)
        );
        say!(
            "setsid={} sid={} pgrp={}",
            sys!(SYS_setsid).ok(),
            sys!(SYS_getsid, 0) == sys!(SYS_getpid),
            sys!(SYS_getpgrp) == sys!(SYS_getpid)
        );
        say!("parent's group from new session={}", sys!(SYS_setpgid, 0, me.0));
        0
    });
    let (r, w) = pipe(0);
    let p = spawn(|| {
        close(w);
        await_post(r);
        0
    });
    say!("set child's={} seen={}", sys!(SYS_setpgid, p, p), sys!(SYS_getpgid, p).0 == i64::from(p));
    post(w);
    wait(p);
    let (r, w) = pipe(0);
    let (r2, w2) = pipe(0);
    let e = crate::run::exe();
    let p = spawn(|| {
        sys!(SYS_dup2, r, 0);
        sys!(SYS_dup2, w2, 2);
        let argv = [c"guest-tests".as_ptr(), c"helper".as_ptr(), c"wait".as_ptr(), std::ptr::null()];
        sys!(SYS_execve, e.as_c_str(), &argv, &[0usize]).fd()
    });
    await_post(r2);
    say!("child that has executed={}", sys!(SYS_setpgid, p, p));
    post(w);
    say!("end={}", wait(p));
}

fn orphans() {
    let (r, w) = pipe(0);
    let me = sys!(SYS_getpid).0;
    say!("subreaper={}", sys!(SYS_prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    let mid = spawn(|| {
        let parent = sys!(SYS_getpid).0;
        spawn(|| {
            while sys!(SYS_getppid).0 == parent {
                sys!(SYS_sched_yield);
            }
            let c = i32::from(sys!(SYS_getppid).0 != me);
            post(w);
            40 + c
        });
        0
    });
    say!("middle={} orphan reported={}", wait(mid), await_post(r));
    let mut st = 0;
    say!("orphan is ours={} {}", sys!(SYS_wait4, -1, &mut st, 0, 0).ok(), show::status(st));
    let mut v = -1i32;
    say!("get={} {v}", sys!(SYS_prctl, libc::PR_GET_CHILD_SUBREAPER, &mut v, 0, 0, 0));
}

fn pidfd() {
    let (r, w) = pipe(0);
    let p = spawn(|| {
        close(w);
        await_post(r);
        21
    });
    let fd = sys!(SYS_pidfd_open, p, 0).fd();
    let mut pf = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    say!("open={} cloexec={} poll={}", fd >= 0, sys!(SYS_fcntl, fd, 1, 0), sys!(SYS_poll, &mut pf, 1, 0));
    say!(
        "null signal={} bad={} flags={}",
        sys!(SYS_pidfd_send_signal, fd, 0, 0, 0),
        sys!(SYS_pidfd_send_signal, fd, 99, 0, 0),
        sys!(SYS_pidfd_send_signal, fd, 0, 0, 0x100)
    );
    say!(
        "on a pipe={} open missing={} negative={} flags={}",
        sys!(SYS_pidfd_send_signal, r, 0, 0, 0),
        sys!(SYS_pidfd_open, 999_999, 0),
        sys!(SYS_pidfd_open, -1, 0),
        sys!(SYS_pidfd_open, p, 1)
    );
    let got = sys!(SYS_pidfd_getfd, fd, r, 0);
    say!("getfd={} bad={}", got.sign(), sys!(SYS_pidfd_getfd, fd, 9999, 0));
    say!("term={}", sys!(SYS_pidfd_send_signal, fd, SIGTERM, 0, 0));
    pf.revents = 0;
    say!("poll={} revents={}", sys!(SYS_poll, &mut pf, 1, 5000), pf.revents);
    say!("revents={} zombie signal={}", pf.revents, sys!(SYS_pidfd_send_signal, fd, 0, 0, 0));
    let mut si: libc::siginfo_t = zeroed();
    let rr = sys!(SYS_waitid, 3, fd, &mut si, WEXITED, 0);
    say!("waitid={} gone={}", info(rr, &si, p), sys!(SYS_pidfd_send_signal, fd, 0, 0, 0));
    say!(
        "waitid again={} bad fd={}",
        sys!(SYS_waitid, 3, fd, &mut si, WEXITED, 0),
        sys!(SYS_waitid, 3, 9999, &mut si, WEXITED, 0)
    );
}

fn priorities() {
    say!(
        "get={} bad which={} missing={}",
        sys!(SYS_getpriority, 0, 0).ok(),
        sys!(SYS_getpriority, 9, 0),
        sys!(SYS_getpriority, 0, 999_999)
    );
    let now = 20 - sys!(SYS_getpriority, 0, 0).0;
    say!(
        "raise by 3={} get={}",
        sys!(SYS_setpriority, 0, 0, now + 3),
        20 - sys!(SYS_getpriority, 0, 0).0 - now
    );
    say!("child has it={}", fate(|| (20 - sys!(SYS_getpriority, 0, 0).0 - now) as i32));
    say!("clamped={} get={}", sys!(SYS_setpriority, 0, 0, 100), sys!(SYS_getpriority, 0, 0));
    say!("set missing={} bad which={}", sys!(SYS_setpriority, 0, 999_999, 0), sys!(SYS_setpriority, 7, 0, 0));
    say!("group={} user={}", sys!(SYS_getpriority, 1, 0), sys!(SYS_getpriority, 2, 0).ok());
}

fn lower_priority_root() {
    say!("lower={}", sys!(SYS_setpriority, 0, 0, -5));
}

fn limits() {
    let mut l: libc::rlimit = zeroed();
    for r in 0..17 {
        say!("{r} get={} ordered={}", sys!(SYS_prlimit64, 0, r, 0, &mut l), l.rlim_cur <= l.rlim_max);
    }
    say!(
        "bad resource={} cur over max={}",
        sys!(SYS_prlimit64, 0, 17, 0, &mut l),
        sys!(SYS_prlimit64, 0, libc::RLIMIT_CPU, &libc::rlimit { rlim_cur: 10, rlim_max: 5 }, 0)
    );
    let (set, mut old) = (libc::rlimit { rlim_cur: 100, rlim_max: 200 }, zeroed::<libc::rlimit>());
    sys!(SYS_prlimit64, 0, libc::RLIMIT_NOFILE, &set, 0);
    say!("set={} old={}", sys!(SYS_prlimit64, 0, libc::RLIMIT_NOFILE, &set, &mut old), old.rlim_cur);
    say!(
        "old={} {} getrlimit={}",
        old.rlim_cur,
        old.rlim_max,
        sys!(SYS_getrlimit, libc::RLIMIT_NOFILE, &mut l)
    );
    say!(
        "child inherits={}",
        fate(|| {
            let mut l: libc::rlimit = zeroed();
            sys!(SYS_getrlimit, libc::RLIMIT_NOFILE, &mut l);
            l.rlim_cur as i32
        })
    );
    say!(
        "missing pid={} null={} bad={}",
        sys!(SYS_prlimit64, 999_999, 7, 0, &mut l),
        sys!(SYS_prlimit64, 0, 7, 0, 0),
        sys!(SYS_prlimit64, 0, 7, 1, 0)
    );
    let p = spawn(|| {
        sleep_ms(5000);
        0
    });
    say!("of a child={} {}", sys!(SYS_prlimit64, p, libc::RLIMIT_NOFILE, 0, &mut l), l.rlim_cur);
    kill(p, SIGKILL);
    wait(p);
    sys!(
        SYS_prlimit64,
        0,
        libc::RLIMIT_AS,
        &libc::rlimit { rlim_cur: 1 << 20, rlim_max: libc::RLIM_INFINITY },
        0
    );
    say!("address space limit={}", sys!(SYS_mmap, 0, 64 << 20, RW, PRIV, -1, 0));
}

fn cpu_limit() {
    say!(
        "xcpu={}",
        fate(|| {
            sys!(SYS_setrlimit, libc::RLIMIT_CPU, &libc::rlimit { rlim_cur: 1, rlim_max: 2 });
            loop {
                std::hint::spin_loop()
            }
        })
    );
}

fn cpu_limit_hard() {
    say!(
        "ignored, then the hard limit={}",
        fate(|| {
            crate::run::handler(libc::SIGXCPU, libc::SIG_IGN, 0);
            sys!(SYS_setrlimit, libc::RLIMIT_CPU, &libc::rlimit { rlim_cur: 1, rlim_max: 2 });
            let mut l: libc::rlimit = zeroed();
            loop {
                sys!(SYS_getrlimit, libc::RLIMIT_CPU, &mut l);
                if l.rlim_cur == 2 {
                    say!("the soft limit has moved on");
                    break;
                }
            }
            loop {
                std::hint::spin_loop()
            }
        })
    );
}

fn task_limit() {
    say!(
        "{}",
        fate(|| {
            // A user of nobody else's: the limit counts all of a user's processes.
            sys!(SYS_setresuid, 54321, 54321, 54321);
            sys!(SYS_setrlimit, libc::RLIMIT_NPROC, &libc::rlimit { rlim_cur: 2, rlim_max: 2 });
            let p = spawn(|| {
                crate::run::sleep_ms(2000);
                0
            });
            say!("fork={} thread={}", sys!(SYS_fork), std::thread::Builder::new().spawn(|| ()).is_ok());
            kill(p, libc::SIGKILL);
            let mut si: libc::siginfo_t = zeroed();
            sys!(SYS_waitid, libc::P_PID, p, &mut si, WEXITED | libc::WNOWAIT, 0);
            say!("beside a zombie={}", sys!(SYS_fork));
            wait(p);
            say!("after it={}", fate(|| 3));
            0
        })
    );
}

fn memory_limits() {
    let limit =
        |what: u32, bytes: u64| sys!(SYS_setrlimit, what, &libc::rlimit { rlim_cur: bytes, rlim_max: bytes });
    say!(
        "all={}",
        fate(|| {
            limit(libc::RLIMIT_AS, 64 << 20);
            let a = sys!(SYS_mmap, 0, 16 << 20, libc::PROT_NONE, crate::mem::PRIV, -1, 0);
            say!(
                "fits={} does not={}",
                a.ok(),
                sys!(SYS_mmap, 0, 64 << 20, libc::PROT_NONE, crate::mem::PRIV, -1, 0)
            );
            // In place or not, as what lies above has it.
            let b = sys!(SYS_mremap, a.0, 16 << 20, 17 << 20, 1);
            say!("grows={} too far={}", b.ok(), sys!(SYS_mremap, b.0, 17 << 20, 64 << 20, 1));
            let brk = sys!(SYS_brk, 0).0;
            say!("heap={}", sys!(SYS_brk, brk + (64 << 20)).0 == brk);
            0
        })
    );
    say!(
        "data={}",
        fate(|| {
            limit(libc::RLIMIT_DATA, 32 << 20);
            let m = |len: usize, prot: i32| sys!(SYS_mmap, 0, len, prot, crate::mem::PRIV, -1, 0).sign();
            say!(
                "private={} read-only={}",
                m(64 << 20, crate::mem::RW).replace("ok", "yes"),
                m(64 << 20, libc::PROT_READ)
            );
            let brk = sys!(SYS_brk, 0).0;
            say!("heap={}", sys!(SYS_brk, brk + (64 << 20)).0 == brk);
            0
        })
    );
}

fn peak_memory() {
    let rss = |who: i32| {
        let mut ru: libc::rusage = zeroed();
        sys!(SYS_getrusage, who, &mut ru);
        ru.ru_maxrss
    };
    let touch = |mib: usize| {
        let len = mib << 20;
        let a = crate::mem::map(len, crate::mem::RW, crate::mem::PRIV);
        (0..len).step_by(4096).for_each(|n| crate::mem::put(a + n, b"x"));
        sys!(SYS_munmap, a, len);
    };
    let before = rss(0);
    touch(32);
    say!("peak stays={} thread's is the process's={}", rss(0) - before > 24 << 10, rss(1) == rss(0));
    let p = spawn(|| {
        touch(64);
        0
    });
    let mut ru: libc::rusage = zeroed();
    sys!(SYS_wait4, p, 0, 0, &mut ru);
    say!("child's={} of children={}", ru.ru_maxrss > 60 << 10, rss(-1) >= ru.ru_maxrss);
}

fn usage() {
    let mut ru: libc::rusage = zeroed();
    let t = crate::run::now_ms();
    while crate::run::now_ms() - t < 60 {
        std::hint::spin_loop();
    }
    say!(
        "self={} time moved={} rss={}",
        sys!(SYS_getrusage, 0, &mut ru),
        ru.ru_utime.tv_usec + ru.ru_stime.tv_usec + ru.ru_utime.tv_sec > 0,
        ru.ru_maxrss > 0
    );
    say!(
        "time moved={} rss={}",
        ru.ru_utime.tv_usec + ru.ru_stime.tv_usec + ru.ru_utime.tv_sec > 0,
        ru.ru_maxrss > 0
    );
    say!(
        "children={} thread={} bad={} null={}",
        sys!(SYS_getrusage, -1, &mut ru),
        sys!(SYS_getrusage, 1, &mut ru),
        sys!(SYS_getrusage, 5, &mut ru),
        sys!(SYS_getrusage, 0, 0)
    );
}

fn prctls() {
    let mut b = [0u8; 16];
    say!(
        "set name={} get={} name={}",
        sys!(SYS_prctl, libc::PR_SET_NAME, c"a-name-longer-than-fifteen", 0, 0, 0),
        sys!(SYS_prctl, libc::PR_GET_NAME, &mut b, 0, 0, 0),
        show::bytes(&b)
    );
    say!("name={} null={}", show::bytes(&b), sys!(SYS_prctl, libc::PR_SET_NAME, 0, 0, 0, 0));
    let mut v = -1i32;
    say!(
        "pdeathsig={} get={} bad={}",
        sys!(SYS_prctl, libc::PR_SET_PDEATHSIG, 15, 0, 0, 0),
        sys!(SYS_prctl, libc::PR_GET_PDEATHSIG, &mut v, 0, 0, 0),
        sys!(SYS_prctl, libc::PR_SET_PDEATHSIG, 99, 0, 0, 0)
    );
    say!(
        "value={v} cleared in child={}",
        fate(|| {
            let mut v = -1i32;
            sys!(SYS_prctl, libc::PR_GET_PDEATHSIG, &mut v, 0, 0, 0);
            v
        })
    );
    say!(
        "dumpable={} set 0={} now={} bad={}",
        sys!(SYS_prctl, 3, 0, 0, 0, 0),
        sys!(SYS_prctl, 4, 0, 0, 0, 0),
        sys!(SYS_prctl, 3, 0, 0, 0, 0),
        sys!(SYS_prctl, 4, 2, 0, 0, 0)
    );
    say!(
        "no_new_privs={} set={} now={} unset={} args={}",
        sys!(SYS_prctl, 39, 0, 0, 0, 0),
        sys!(SYS_prctl, 38, 1, 0, 0, 0),
        sys!(SYS_prctl, 39, 0, 0, 0, 0),
        sys!(SYS_prctl, 38, 0, 0, 0, 0),
        sys!(SYS_prctl, 39, 1, 0, 0, 0)
    );
    say!(
        "seccomp={} keepcaps={} set={} now={} bad={}",
        sys!(SYS_prctl, 21, 0, 0, 0, 0),
        sys!(SYS_prctl, 7, 0, 0, 0, 0),
        sys!(SYS_prctl, 8, 1, 0, 0, 0),
        sys!(SYS_prctl, 7, 0, 0, 0, 0),
        sys!(SYS_prctl, 8, 2, 0, 0, 0)
    );
    say!(
        "unknown={} negative={} timerslack={}",
        sys!(SYS_prctl, 9999, 0, 0, 0, 0),
        sys!(SYS_prctl, -1, 0, 0, 0, 0),
        sys!(SYS_prctl, libc::PR_GET_TIMERSLACK, 0, 0, 0, 0)
    );
    say!(
        "set slack={} now={}",
        sys!(SYS_prctl, libc::PR_SET_TIMERSLACK, 12345, 0, 0, 0),
        sys!(SYS_prctl, libc::PR_GET_TIMERSLACK, 0, 0, 0, 0)
    );
    say!(
        "personality={} set={} now={}",
        sys!(SYS_personality, u32::MAX),
        sys!(SYS_personality, 0x004_0000),
        sys!(SYS_personality, u32::MAX)
    );
    let (mut fs, mut gs) = (0usize, 1usize);
    say!(
        "arch get fs={} nonzero={} gs={} bad={}",
        sys!(SYS_arch_prctl, 0x1003, &mut fs),
        fs != 0,
        sys!(SYS_arch_prctl, 0x1004, &mut gs),
        sys!(SYS_arch_prctl, 0x9999, 0)
    );
    say!(
        "gs={gs} set kernel gs={} set gs={}",
        sys!(SYS_arch_prctl, 0x1001, crate::mem::KERNEL),
        sys!(SYS_arch_prctl, 0x1001, 0)
    );
}

fn pdeathsig() {
    let (r, w) = pipe(0);
    let p = spawn(|| {
        let q = spawn(|| {
            sys!(SYS_prctl, libc::PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
            post(w);
            sleep_ms(8000);
            0
        });
        close(w);
        await_post(r);
        let _ = q;
        0
    });
    close(w);
    say!("parent={}", wait(p));
    // The pipe ends when the grandchild, which holds its last writing end, dies.
    say!("grandchild gone={}", !await_post(r));
    file(c"x", b"");
}

pub(crate) const CASES: &[Case] = &[
    ("exits", exits),
    ("forks", forks),
    ("vfork", vfork),
    ("clone_flags", clone_flags),
    ("clone_tids", clone_tids),
    ("clone3", clone3),
    ("waits", waits),
    ("waitid", waitid),
    ("wait_groups", wait_groups),
    ("groups", groups),
    ("orphans", orphans),
    ("pidfd", pidfd),
    ("priorities", priorities),
    ("lower_priority_root", lower_priority_root),
    ("limits", limits),
    ("cpu_limit", cpu_limit),
    ("cpu_limit_hard", cpu_limit_hard),
    ("task_limit", task_limit),
    ("memory_limits", memory_limits),
    ("peak_memory", peak_memory),
    ("usage", usage),
    ("prctls", prctls),
    ("pdeathsig", pdeathsig),
];
