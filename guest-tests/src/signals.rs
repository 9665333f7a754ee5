//! Signals: actions and their flags, masks, queueing, information, stacks, faults, registers, stop and continue.

use crate::mem::{PAGE, PRIV, RW, map, zeroed};
use crate::run::{
    Case, await_post, fate, handler, kill, mask, pipe, post, say, set, sleep_ms, spawn, sys, ts, wait,
};
use crate::show;
use libc::{
    SA_NODEFER, SA_ONSTACK, SA_RESETHAND, SA_SIGINFO, SIG_BLOCK, SIG_UNBLOCK, SIGALRM, SIGCHLD, SIGCONT,
    SIGFPE, SIGILL, SIGKILL, SIGPIPE, SIGSEGV, SIGSTOP, SIGTERM, SIGTRAP, SIGUSR1, SIGUSR2,
};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst};

static COUNT: AtomicI32 = AtomicI32::new(0);
static ORDER: [AtomicI32; 32] = [const { AtomicI32::new(0) }; 32];
static WORD: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(sig: i32) {
    let i = COUNT.fetch_add(1, SeqCst) as usize;
    ORDER[i.min(31)].store(sig, SeqCst);
}
extern "C" fn inform(sig: i32, si: *mut libc::siginfo_t, _: *mut libc::c_void) {
    unsafe {
        let si = &*si;
        let v = si.si_value().sival_ptr as usize;
        let mine = sig == SIGCHLD
            || si.si_code > 0
            || si.si_pid() == 0
            || i64::from(si.si_pid()) == sys!(SYS_getpid).0;
        let value = if si.si_code == -1 { v as i64 } else { 0 };
        say!(
            "{} code={} value={value} errno={} sender is self={mine}",
            show::signal(si.si_signo),
            show::si_code(sig, si.si_code),
            si.si_errno
        );
    }
}
fn h(f: extern "C" fn(i32)) -> usize {
    f as *const () as usize
}
fn hi() -> usize {
    inform as *const () as usize
}
fn me(sig: i32) -> show::R {
    sys!(SYS_kill, sys!(SYS_getpid).0, sig)
}
fn taken() -> Vec<i32> {
    (0..COUNT.swap(0, SeqCst).min(31) as usize).map(|i| ORDER[i].load(SeqCst)).collect()
}
fn queue(sig: i32, v: usize) -> show::R {
    let mut si = [0u64; 16];
    si[0] = sig as u64;
    si[1] = 0xffff_ffff;
    si[2] = sys!(SYS_getpid).0 as u64 | (sys!(SYS_getuid).0 as u64) << 32;
    si[3] = v as u64;
    sys!(SYS_rt_sigqueueinfo, sys!(SYS_getpid).0, sig, &si)
}

fn actions() {
    handler(SIGUSR1, h(count), 0);
    say!("kill={} taken={:?}", me(SIGUSR1), taken());
    handler(SIGUSR1, h(count), SA_RESETHAND);
    me(SIGUSR1);
    say!(
        "resethand taken={:?} second={}",
        taken(),
        fate(|| {
            me(SIGUSR1);
            0
        })
    );
    handler(SIGUSR1, libc::SIG_IGN, 0);
    say!("ignored={} taken={:?}", me(SIGUSR1), taken());
    for s in [SIGKILL, SIGSTOP, 0, 65, -1] {
        let mut sa = [0usize; 4];
        sa[0] = 1;
        say!(
            "sigaction {s} set={} get={}",
            sys!(SYS_rt_sigaction, s, &sa, 0, 8),
            sys!(SYS_rt_sigaction, s, 0, &mut sa, 8)
        );
    }
    say!(
        "set size={} wild={}",
        sys!(SYS_rt_sigaction, SIGUSR1, 0, 0, 4),
        sys!(SYS_rt_sigaction, SIGUSR1, 1, 0, 8)
    );
    handler(SIGUSR2, h(count), SA_NODEFER | SA_RESETHAND);
    let mut sa: libc::sigaction = zeroed();
    unsafe { libc::sigaction(SIGUSR2, std::ptr::null(), &raw mut sa) };
    say!("flags back={:#x}", sa.sa_flags & !0x0400_0000);
    say!("kill 0={} 65={} -1={} missing={}", me(0), me(65), me(-1), sys!(SYS_kill, 999_999, 0));
}

fn siginfo() {
    for s in [SIGUSR1, SIGPIPE, SIGTERM, libc::SIGRTMIN(), SIGCHLD] {
        handler(s, hi(), SA_SIGINFO);
    }
    me(SIGUSR1);
    sys!(SYS_tgkill, sys!(SYS_getpid).0, sys!(SYS_gettid).0, SIGUSR1);
    sys!(SYS_tkill, sys!(SYS_gettid).0, SIGTERM);
    queue(SIGUSR1, 0x1234);
    queue(libc::SIGRTMIN(), 77);
    let (r, w) = pipe(0);
    crate::run::close(r);
    say!("write={}", sys!(SYS_write, w, b"x", 1));
    mask(SIG_BLOCK, &[SIGCHLD]);
    let p = spawn(|| 9);
    let mut si: libc::siginfo_t = zeroed();
    let r = sys!(SYS_rt_sigtimedwait, &set(&[SIGCHLD]), &mut si, &ts(5000), 8);
    unsafe {
        say!(
            "wait={} code={} status={} pid={}",
            r,
            show::si_code(SIGCHLD, si.si_code),
            si.si_status(),
            si.si_pid() == p
        )
    };
    wait(p);
}

fn masks() {
    handler(SIGUSR1, h(count), 0);
    handler(SIGUSR2, h(count), 0);
    let (mut old, mut pend) = (0u64, 0u64);
    say!(
        "block={} old={old:#x}",
        sys!(SYS_rt_sigprocmask, SIG_BLOCK, &set(&[SIGUSR1, SIGKILL, SIGSTOP]), &mut old, 8)
    );
    sys!(SYS_rt_sigprocmask, 9, 0, &mut old, 8);
    say!("mask={old:#x}, without kill and stop");
    me(SIGUSR1);
    me(SIGUSR1);
    me(SIGUSR2);
    say!("pending={} set={pend:#x} taken={:?}", sys!(SYS_rt_sigpending, &mut pend, 8), taken());
    fate(|| {
        let mut p = 0u64;
        sys!(SYS_rt_sigpending, &mut p, 8);
        say!("child pending={p:#x}");
        0
    });
    say!("unblock={} taken once={:?}", mask(SIG_UNBLOCK, &[SIGUSR1]), taken());
    say!(
        "how={} size={} wild={} {}",
        sys!(SYS_rt_sigprocmask, 9, &0u64, 0, 8),
        sys!(SYS_rt_sigprocmask, 0, 0, 0, 4),
        sys!(SYS_rt_sigprocmask, 0, 1, 0, 8),
        sys!(SYS_rt_sigprocmask, 0, 0, 1, 8)
    );
    mask(SIG_BLOCK, &[SIGUSR1]);
    me(SIGUSR1);
    handler(SIGUSR1, libc::SIG_IGN, 0);
    sys!(SYS_rt_sigpending, &mut pend, 8);
    say!("ignoring drops pending={pend:#x} sigpending size={}", sys!(SYS_rt_sigpending, &mut pend, 16));
}

extern "C" fn nested(sig: i32) {
    COUNT.fetch_add(1, SeqCst);
    let mut m = 0u64;
    sys!(SYS_rt_sigprocmask, 0, 0, &mut m, 8);
    let depth = COUNT.load(SeqCst);
    say!("depth {depth} {} mask={m:#x}", show::signal(sig));
    if depth < 3 {
        me(SIGUSR1);
        say!("depth {depth} after raising");
    }
}

fn nesting() {
    handler(SIGUSR1, h(nested), 0);
    me(SIGUSR1);
    say!("deferred total={}", COUNT.swap(0, SeqCst));
    handler(SIGUSR1, h(nested), SA_NODEFER);
    me(SIGUSR1);
    say!("nodefer total={}", COUNT.swap(0, SeqCst));
    let mut sa: libc::sigaction = zeroed();
    sa.sa_sigaction = h(nested);
    unsafe {
        libc::sigaddset(&raw mut sa.sa_mask, SIGUSR1);
        libc::sigaddset(&raw mut sa.sa_mask, SIGTERM);
        libc::sigaction(SIGUSR2, &raw const sa, std::ptr::null_mut());
    }
    me(SIGUSR2);
    let mut m = 0u64;
    sys!(SYS_rt_sigprocmask, 0, 0, &mut m, 8);
    say!("mask restored={m:#x}");
}

fn ordering() {
    let rt = libc::SIGRTMIN();
    for s in [SIGUSR1, SIGUSR2, rt, rt + 1, rt + 5] {
        handler(s, h(count), 0);
        mask(SIG_BLOCK, &[s]);
    }
    let sent = [rt + 5, rt + 1, SIGUSR2, rt, rt + 1, SIGUSR1, rt];
    for (i, s) in sent.iter().enumerate() {
        queue(*s, i);
    }
    let all = set(&sent);
    let mut got = Vec::new();
    let mut si: libc::siginfo_t = zeroed();
    loop {
        let r = sys!(SYS_rt_sigtimedwait, &all, &mut si, &ts(0), 8);
        if !r.ok() {
            say!("end={r}");
            break;
        }
        got.push((r.0, unsafe { si.si_value() }.sival_ptr as usize));
    }
    say!("lowest first, then as queued={got:?}");
    say!("queue bad signal={} kernel code={}", queue(99, 0), {
        let mut x = [0u64; 16];
        x[1] = 5;
        sys!(SYS_rt_sigqueueinfo, sys!(SYS_getppid).0, 0, &x)
    });
}

fn waiting() {
    handler(SIGUSR1, h(count), 0);
    let mut si: libc::siginfo_t = zeroed();
    mask(SIG_BLOCK, &[SIGUSR1]);
    say!(
        "timeout={} negative={} nsec={} size={}",
        sys!(SYS_rt_sigtimedwait, &set(&[SIGUSR1]), &mut si, &ts(10), 8),
        sys!(SYS_rt_sigtimedwait, &set(&[SIGUSR1]), 0, &ts(-1000), 8),
        sys!(SYS_rt_sigtimedwait, &set(&[SIGUSR1]), 0, &[0i64, 2_000_000_000], 8),
        sys!(SYS_rt_sigtimedwait, &set(&[SIGUSR1]), 0, 0, 4)
    );
    me(SIGUSR1);
    say!("got={} handler not run={:?}", sys!(SYS_rt_sigtimedwait, &set(&[SIGUSR1]), 0, 0, 8), taken());
    handler(SIGALRM, h(count), 0);
    sys!(SYS_setitimer, 0, &[0i64, 20_000, 0, 20_000], 0);
    say!(
        "another signal={} taken first={:?}",
        sys!(SYS_rt_sigtimedwait, &set(&[SIGUSR1]), 0, &ts(5000), 8),
        taken().first()
    );
    sys!(SYS_setitimer, 0, &[0i64, 0, 0, 0], 0);
    taken();
    me(SIGUSR1);
    say!("suspend={} taken={:?}", sys!(SYS_rt_sigsuspend, &0u64, 8), taken());
    let mut m = 0u64;
    sys!(SYS_rt_sigprocmask, 0, 0, &mut m, 8);
    say!(
        "mask back={m:#x} size={} wild={}",
        sys!(SYS_rt_sigsuspend, &0u64, 4),
        sys!(SYS_rt_sigsuspend, 1, 8)
    );
    sys!(SYS_setitimer, 0, &[0i64, 0, 0, 20_000], 0);
    say!("pause={} taken={:?}", sys!(SYS_pause), taken());
}

extern "C" fn on_stack(_: i32) {
    let here = 0u8;
    WORD.store(&raw const here as usize, SeqCst);
    let mut ss: libc::stack_t = zeroed();
    sys!(SYS_sigaltstack, 0, &mut ss);
    let change = sys!(SYS_sigaltstack, &ss, 0);
    say!("in handler flags={} change={change}", ss.ss_flags);
}

fn altstack() {
    let a = map(16 * PAGE, RW, PRIV);
    let ss =
        |sp: usize, fl: i32, size: usize| libc::stack_t { ss_sp: sp as *mut _, ss_flags: fl, ss_size: size };
    let mut old: libc::stack_t = zeroed();
    say!("get={} flags={}", sys!(SYS_sigaltstack, 0, &mut old), old.ss_flags);
    say!(
        "small={} flags={} wild={} {}",
        sys!(SYS_sigaltstack, &ss(a, 0, 100), 0),
        sys!(SYS_sigaltstack, &ss(a, 8, 65536), 0),
        sys!(SYS_sigaltstack, 1, 0),
        sys!(SYS_sigaltstack, 0, 1)
    );
    say!("set={}", sys!(SYS_sigaltstack, &ss(a, 0, 65536), &mut old));
    handler(SIGUSR1, h(on_stack), SA_ONSTACK);
    me(SIGUSR1);
    let at = WORD.load(SeqCst);
    say!("handler ran on it={}", at > a && at < a + 65536);
    handler(SIGUSR2, h(on_stack), 0);
    me(SIGUSR2);
    let at = WORD.load(SeqCst);
    say!("without the flag={}", at > a && at < a + 65536);
    say!(
        "child keeps it={}",
        fate(|| {
            let mut o: libc::stack_t = zeroed();
            sys!(SYS_sigaltstack, 0, &mut o);
            i32::from(o.ss_sp as usize == a)
        })
    );
    fn deep(n: usize) -> usize {
        let a = std::hint::black_box([n as u8; 4000]);
        if n == usize::MAX { 0 } else { deep(n + 1) + usize::from(a[9]) }
    }
    extern "C" fn overflowed(s: i32) {
        say!("stack overflow handled on it: {}", show::signal(s));
        crate::run::exit(3);
    }
    say!(
        "end={}",
        fate(|| {
            handler(SIGSEGV, h(overflowed), SA_ONSTACK);
            deep(0) as i32
        })
    );
    say!(
        "overflow without={}",
        fate(|| {
            handler(SIGSEGV, h(overflowed), 0);
            deep(0) as i32
        })
    );
}

extern "C" fn fault_info(sig: i32, si: *mut libc::siginfo_t, _: *mut libc::c_void) {
    unsafe {
        say!(
            "{} code={} addr set={}",
            show::signal(sig),
            show::si_code(sig, (*si).si_code),
            !(*si).si_addr().is_null()
        )
    };
    crate::run::exit(1);
}

fn faults() {
    let go = |n: &str, f: &dyn Fn()| {
        let run = |with: bool| {
            if with {
                for s in [SIGFPE, SIGILL, SIGTRAP, SIGSEGV, libc::SIGBUS] {
                    handler(s, fault_info as *const () as usize, SA_SIGINFO);
                }
            }
            f();
            0
        };
        say!("{n} handled={} default={}", fate(|| run(true)), fate(|| run(false)));
        say!(
            "{n} blocked={}",
            fate(|| {
                mask(SIG_BLOCK, &[SIGFPE, SIGILL, SIGTRAP, SIGSEGV]);
                run(true)
            })
        );
    };
    unsafe {
        go(
            "divide",
            &|| std::arch::asm!("xor ecx, ecx", "mov eax, 1", "xor edx, edx", "div ecx", out("eax") _, out("ecx") _, out("edx") _),
        );
        go("ud2", &|| std::arch::asm!("ud2"));
        go("int3", &|| std::arch::asm!("int3"));
        go("hlt", &|| std::arch::asm!("hlt"));
        go("cli", &|| std::arch::asm!("cli"));
        go("null", &|| std::arch::asm!("mov eax, [0]", out("eax") _));
        go(
            "noncanonical",
            &|| std::arch::asm!("mov rax, 0x8000000000000000", "mov rax, [rax]", out("rax") _),
        );
        go("step", &|| std::arch::asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop", "nop"));
        go("int80 bad vector", &|| std::arch::asm!("int 0x21"));
        go("sse divide", &|| {
            let csr = 0x1d80u32; // division by zero not masked
            std::arch::asm!("ldmxcsr [{c}]", "xorps xmm0, xmm0", "mov eax, 0x3f800000", "movd xmm1, eax", "divss xmm1, xmm0", c = in(reg) &raw const csr, out("xmm0") _, out("xmm1") _, out("eax") _);
        });
    }
}

extern "C" fn clobber(_: i32) {
    unsafe {
        std::arch::asm!("pxor xmm0, xmm0", "pxor xmm7, xmm7", "pxor xmm15, xmm15", "fninit", "fldz", "xor eax, eax", "mov rbx, rbx", "std", "cld",
            out("xmm0") _, out("xmm7") _, out("xmm15") _, out("eax") _, out("st(0)") _);
    }
    COUNT.fetch_add(1, SeqCst);
}

fn registers() {
    handler(SIGUSR1, h(clobber), 0);
    let (pid, vals) = (sys!(SYS_getpid).0, [1.5f64, 2.25, -3.0]);
    let mut out = [0f64; 4];
    let (mut r8, mut r12): (u64, u64);
    let ret: i64;
    unsafe {
        std::arch::asm!(
            "movsd xmm0, [rsi+0]", "movsd xmm7, [rsi+8]", "movsd xmm15, [rsi+16]", "fld qword ptr [rsi+8]",
            "mov r12, 0x1122334455667788", "mov r8, 0x8877665544332211", "push rsi", "mov esi, 10", "mov eax, 62", "syscall", "pop rsi",
            "movsd [r9+0], xmm0", "movsd [r9+8], xmm7", "movsd [r9+16], xmm15", "fstp qword ptr [r9+24]", "mov {r12o}, r12", "mov {r8o}, r8",
            in("rdi") pid, in("rsi") vals.as_ptr(), in("r9") out.as_mut_ptr(), lateout("rax") ret, out("rcx") _, out("r11") _,
            out("xmm0") _, out("xmm7") _, out("xmm15") _, out("st(0)") _, out("r12") _, out("r8") _, r12o = out(reg) r12, r8o = out(reg) r8);
    }
    say!("kill={ret} handlers={} xmm and x87={out:?}", COUNT.load(SeqCst));
    say!("r8={r8:x} r12={r12:x}");
    r8 = 0;
    r12 = 0;
    let _ = (r8, r12);
    // A timer interrupting arithmetic at any instruction must not change its result.
    handler(SIGALRM, h(clobber), 0);
    let sum = |n: u64| (1..n).fold(0f64, |a, i| std::hint::black_box(a + 1.0 / i as f64));
    let quiet = sum(3_000_000);
    sys!(SYS_setitimer, 0, &[0i64, 1000, 0, 1000], 0);
    let same = (0..10).all(|_| sum(3_000_000) == quiet);
    sys!(SYS_setitimer, 0, &[0i64; 4], 0);
    say!("same sum under a timer={same} interrupted={}", COUNT.load(SeqCst) > 2);
    if std::is_x86_feature_detected!("avx") {
        let lanes = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let mut back = [0f32; 8];
        unsafe {
            std::arch::asm!("vmovups ymm5, [rdx]", "mov esi, 10", "mov eax, 62", "syscall", "vmovups [r9], ymm5", in("rdx") lanes.as_ptr(), in("r9") back.as_mut_ptr(), in("rdi") pid,
                out("rsi") _, lateout("rax") _, out("rcx") _, out("r11") _, out("ymm5") _);
        }
        say!("ymm kept={}", back == lanes);
    }
}

extern "C" fn skip(_: i32, _: *mut libc::siginfo_t, ctx: *mut libc::c_void) {
    unsafe {
        let u = &mut *ctx.cast::<libc::ucontext_t>();
        u.uc_mcontext.gregs[libc::REG_RIP as usize] += 2;
        u.uc_mcontext.gregs[libc::REG_RAX as usize] = 0x5a5a;
        libc::sigaddset(&raw mut u.uc_sigmask, SIGUSR2);
    }
}

fn context() {
    handler(SIGILL, skip as *const () as usize, SA_SIGINFO);
    let v: u64;
    unsafe { std::arch::asm!("mov eax, 1", "ud2", out("rax") v) };
    let mut m = 0u64;
    sys!(SYS_rt_sigprocmask, 0, 0, &mut m, 8);
    say!("changed register={v:#x} changed mask={m:#x}");
}

fn stop_continue() {
    handler(SIGCHLD, h(count), 0);
    let (r, w) = pipe(0);
    let (ready, tell) = pipe(0);
    let p = spawn(|| {
        handler(SIGCONT, h(count), 0);
        post(tell);
        loop {
            if await_post(r) && COUNT.load(SeqCst) > 0 {
                return 10 + taken().len() as i32;
            }
        }
    });
    await_post(ready);
    let mut st = 0;
    for s in [SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
        // The group of the case is orphaned: the terminal's stops are ignored in it, SIGSTOP is not.
        kill(p, s);
        sleep_ms(10);
        let r = sys!(SYS_wait4, p, &mut st, libc::WUNTRACED | libc::WNOHANG, 0);
        say!("{} stopped={} status={}", show::signal(s), r.0 == i64::from(p), show::status(st));
    }
    kill(p, 0);
    say!("cont={} chld seen={}", kill(p, SIGCONT), !taken().is_empty());
    sys!(SYS_wait4, p, &mut st, libc::WCONTINUED, 0);
    say!("status={}", show::status(st));
    post(w);
    say!("end={}", wait(p));
    let q = spawn(|| {
        sleep_ms(5000);
        0
    });
    kill(q, SIGSTOP);
    sys!(SYS_wait4, q, &mut st, libc::WUNTRACED, 0);
    kill(q, SIGTERM);
    say!("term while stopped={}", sys!(SYS_wait4, q, &mut st, libc::WNOHANG, 0));
    kill(q, SIGCONT);
    say!("after cont={}", wait(q));
    let q = spawn(|| {
        sleep_ms(5000);
        0
    });
    kill(q, SIGSTOP);
    kill(q, SIGKILL);
    say!("kill while stopped={}", wait(q));
    handler(SIGCHLD, h(count), libc::SA_NOCLDSTOP);
    taken();
    let q = spawn(|| {
        sleep_ms(5000);
        0
    });
    kill(q, SIGSTOP);
    sys!(SYS_wait4, q, &mut st, libc::WUNTRACED, 0);
    say!("nocldstop={}", taken().len());
    kill(q, SIGKILL);
    wait(q);
    say!("exit seen={}", taken().len());
}

fn groups() {
    let (r, w) = pipe(0);
    let lead = spawn(|| {
        sys!(SYS_setpgid, 0, 0);
        post(w);
        sleep_ms(5000);
        0
    });
    await_post(r);
    let second = spawn(|| {
        sys!(SYS_setpgid, 0, lead);
        post(w);
        sleep_ms(5000);
        0
    });
    await_post(r);
    say!(
        "group={} ends={} {}",
        if lead > 1 { sys!(SYS_kill, -lead, SIGTERM) } else { show::R(-3) },
        wait(lead),
        wait(second)
    );
    say!("empty group={}", if lead > 1 { sys!(SYS_kill, -lead, 0) } else { show::R(-3) });
    handler(SIGTERM, h(count), 0);
    let (r2, w2) = pipe(0);
    let p = spawn(|| {
        handler(SIGTERM, libc::SIG_DFL, 0);
        post(w2);
        sleep_ms(5000);
        0
    });
    await_post(r2);
    say!("own group by 0={} self={:?} child={}", sys!(SYS_kill, 0, SIGTERM), taken(), wait(p));
}

fn permission() {
    crate::run::drop_root();
    say!("init={} parent probe={}", sys!(SYS_kill, 1, 0), sys!(SYS_kill, 1, SIGCONT));
    say!(
        "tgkill missing={} bad ids={} {}",
        sys!(SYS_tgkill, sys!(SYS_getpid).0, 999_999, 0),
        sys!(SYS_tgkill, -1, 1, 0),
        sys!(SYS_tkill, 0, 0)
    );
}

pub(crate) const CASES: &[Case] = &[
    ("actions", actions),
    ("siginfo", siginfo),
    ("masks", masks),
    ("nesting", nesting),
    ("ordering", ordering),
    ("waiting", waiting),
    ("altstack", altstack),
    ("faults", faults),
    ("registers", registers),
    ("context", context),
    ("stop_continue", stop_continue),
    ("groups", groups),
    ("permission", permission),
];
