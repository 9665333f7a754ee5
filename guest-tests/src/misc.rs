//! Everything else: the system's description, randomness, scheduling, unknown calls, odd corners.

use crate::mem::{KERNEL, PAGE, PRIV, RW, map, read_only, zeroed};
use crate::run::{Case, fate, handler, raw, say, spawn, sys, wait};
use std::ffi::CStr;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

fn system() {
    let mut u: libc::utsname = zeroed();
    let r = sys!(SYS_uname, &mut u);
    let s = |f: &[i8]| unsafe { CStr::from_ptr(f.as_ptr()) }.to_string_lossy().into_owned();
    say!("uname={r} sysname={} machine={}", s(&u.sysname), s(&u.machine));
    say!(
        "release has a number={} nodename set={} null={}",
        s(&u.release).chars().next().is_some_and(|c| c.is_ascii_digit()),
        !s(&u.nodename).is_empty(),
        sys!(SYS_uname, 0)
    );
    let mut i: libc::sysinfo = zeroed();
    say!(
        "sysinfo={} memory={} unit={} procs={}",
        sys!(SYS_sysinfo, &mut i),
        i.totalram > 0 && i.freeram <= i.totalram,
        i.mem_unit,
        i.procs > 0
    );
    say!(
        "memory={} unit={} procs={} uptime={} null={}",
        i.totalram > 0 && i.freeram <= i.totalram,
        i.mem_unit,
        i.procs > 0,
        i.uptime > 0,
        sys!(SYS_sysinfo, 0)
    );
}

fn random() {
    let (mut a, mut b) = ([0u8; 64], [0u8; 64]);
    say!(
        "get={} {} differ={}",
        sys!(SYS_getrandom, &mut a, 64, 0),
        sys!(SYS_getrandom, &mut b, 64, 1),
        a != b
    );
    say!("differ={} not zero={} zero length={}", a != b, a != [0; 64], sys!(SYS_getrandom, &mut a, 0, 0));
    say!(
        "random={} insecure={} both={} flags={}",
        sys!(SYS_getrandom, &mut a, 64, 2),
        sys!(SYS_getrandom, &mut a, 64, 4),
        sys!(SYS_getrandom, &mut a, 64, 6),
        sys!(SYS_getrandom, &mut a, 64, 8)
    );
    say!(
        "null={} kernel={} readonly={} large={}",
        sys!(SYS_getrandom, 0, 8, 0),
        sys!(SYS_getrandom, KERNEL, 8, 0),
        sys!(SYS_getrandom, read_only(), 8, 0),
        sys!(SYS_getrandom, map(256 * PAGE, RW, PRIV), 256 * PAGE, 0)
    );
}

fn scheduling() {
    let (mut c, mut n) = (99_999u32, 99_999u32);
    say!("getcpu={} sane={}", sys!(SYS_getcpu, &mut c, &mut n, 0), c < 4096 && n < 1024);
    let mut m = [0u64; 128];
    let r = sys!(SYS_sched_getaffinity, 0, 1024, &mut m);
    say!(
        "sane={} affinity multiple of 8={} any={}",
        c < 4096 && n < 1024,
        r.0 > 0 && r.0 % 8 == 0,
        m.iter().any(|w| *w != 0)
    );
    say!(
        "size 1={} odd={} missing={} null={}",
        sys!(SYS_sched_getaffinity, 0, 1, &mut m),
        sys!(SYS_sched_getaffinity, 0, 1023, &mut m),
        sys!(SYS_sched_getaffinity, 999_999, 1024, &mut m),
        sys!(SYS_sched_getaffinity, 0, 1024, 0)
    );
    say!(
        "set same={} empty={}",
        sys!(SYS_sched_setaffinity, 0, 1024, &m),
        sys!(SYS_sched_setaffinity, 0, 1024, &[0u64; 128])
    );
    say!(
        "yield={} getscheduler={} missing={} negative={}",
        sys!(SYS_sched_yield),
        sys!(SYS_sched_getscheduler, 0),
        sys!(SYS_sched_getscheduler, 999_999),
        sys!(SYS_sched_getscheduler, -1)
    );
    for p in [0, 1, 2, 3, 5, 6, 99, -1] {
        say!(
            "policy {p} min={} max={}",
            sys!(SYS_sched_get_priority_min, p),
            sys!(SYS_sched_get_priority_max, p)
        );
    }
    let mut prio = 7i32;
    say!(
        "getparam={} null={} bad={}",
        sys!(SYS_sched_getparam, 0, &mut prio),
        sys!(SYS_sched_getparam, 0, 0),
        sys!(SYS_sched_getparam, -1, &mut prio)
    );
    say!(
        "prio={prio} set other={} other with priority={} policy={}",
        sys!(SYS_sched_setscheduler, 0, 0, &0i32),
        sys!(SYS_sched_setscheduler, 0, 0, &5i32),
        sys!(SYS_sched_setscheduler, 0, 99, &0i32)
    );
    say!(
        "batch={} idle={} now={}",
        sys!(SYS_sched_setscheduler, 0, 3, &0i32),
        sys!(SYS_sched_setscheduler, 0, 5, &0i32),
        sys!(SYS_sched_getscheduler, 0)
    );
    let mut attr = [0u32; 12];
    say!(
        "getattr={} small={} flags={}",
        sys!(SYS_sched_getattr, 0, &mut attr, 48, 0),
        sys!(SYS_sched_getattr, 0, &mut attr, 40, 0),
        sys!(SYS_sched_getattr, 0, &mut attr, 48, 1)
    );
    say!(
        "rr interval={} bad={} policy={}",
        sys!(SYS_sched_rr_get_interval, 0, &mut [0i64; 2]),
        sys!(SYS_sched_rr_get_interval, -1, &mut [0i64; 2]),
        attr[1]
    );
}

fn policies() {
    let set = |p: i32, prio: i32| sys!(SYS_sched_setscheduler, 0, p, &prio);
    let param = |prio: i32| sys!(SYS_sched_setparam, 0, &prio);
    let now = || {
        let mut a = [0u32; 14];
        let r = sys!(SYS_sched_getattr, 0, &mut a, 56, 0);
        let runtime = if a[1] == 6 { a[6] } else { 0 };
        format!(
            "{r} size={} policy={} flags={} nice={} priority={} {runtime}",
            a[0], a[1], a[2], a[4] as i32, a[5]
        )
    };
    say!(
        "as root {}",
        fate(|| {
            say!(
                "fifo 0={} 100={} batch 1={} negative={} 4={}",
                set(1, 0),
                set(1, 100),
                set(3, 1),
                set(-1, 0),
                set(4, 0)
            );
            say!(
                "deadline={} null={} missing={}",
                set(6, 0),
                sys!(SYS_sched_setscheduler, 0, 0, 0),
                sys!(SYS_sched_setscheduler, 999_999, 0, &0i32)
            );
            say!("param 1={} 0={} null={}", param(1), param(0), sys!(SYS_sched_setparam, 0, 0));
            sys!(SYS_setpriority, 0, 0, 7);
            say!("{}", now());
            say!(
                "batch with reset={} {} {}",
                set(3 | 0x4000_0000, 0),
                sys!(SYS_sched_getscheduler, 0),
                now()
            );
            say!(
                "child: {}",
                fate(|| {
                    say!("{}", now());
                    0
                })
            );
            let attr = |size: u32, policy: u32, flags: u32, nice: i32, prio: u32| {
                let mut a = [0u32; 16];
                (a[0], a[1], a[2], a[4], a[5]) = (size, policy, flags, nice as u32, prio);
                let r = sys!(SYS_sched_setattr, 0, &mut a, 0);
                format!("{r} size={}", a[0])
            };
            say!(
                "attr: {} | {} | {} | {}",
                attr(48, 0, 0, 30, 0),
                attr(0, 0, 0, -3, 0),
                attr(40, 0, 0, 0, 0),
                attr(5000, 0, 0, 0, 0)
            );
            say!(
                "{} | {} | {} | {}",
                attr(64, 0, 0, 0, 0),
                attr(48, 0, 0x100, 0, 0),
                attr(48, 0, 0, 0, 5),
                attr(48, 77, 0, 0, 0)
            );
            say!("{}", now());
            say!("keep policy: {} {}", attr(48, 3, 8, 5, 0), now());
            say!(
                "flags={} null={} missing={}",
                sys!(SYS_sched_setattr, 0, &[48u32; 14], 1),
                sys!(SYS_sched_setattr, 0, 0, 0),
                sys!(SYS_sched_setattr, 999_999, &[48u32; 14], 0)
            );
            0
        })
    );
    say!(
        "as nobody {}",
        fate(|| {
            crate::run::drop_root();
            sys!(SYS_setrlimit, libc::RLIMIT_NICE, &[0u64, 0]);
            sys!(SYS_setrlimit, libc::RLIMIT_RTPRIO, &[0u64, 0]);
            say!(
                "fifo={} of another={} {}",
                set(1, 1),
                sys!(SYS_sched_setscheduler, 1, 0, &0i32),
                sys!(SYS_setpriority, 0, 1, 5)
            );
            say!(
                "nice 5={} 0={} get={}",
                sys!(SYS_setpriority, 0, 0, 5),
                sys!(SYS_setpriority, 0, 0, 0),
                sys!(SYS_getpriority, 0, 0)
            );
            say!("idle={} back={} {}", set(5, 0), set(0, 0), now());
            say!("deadline={}", {
                let mut a = [0u64; 6];
                (a[0], a[3], a[4], a[5]) = (48 | 6 << 32, 10_000_000, 30_000_000, 30_000_000);
                sys!(SYS_sched_setattr, 0, &a, 0)
            });
            0
        })
    );
}

fn nice_values() {
    let get = |which: i32, who: i32| sys!(SYS_getpriority, which, who);
    say!(
        "bad which={} {} missing={} {} {}",
        get(3, 0),
        get(-1, 0),
        get(0, 999_999),
        get(1, 999_999),
        get(2, 999_999)
    );
    say!(
        "set={} too much={} is {}",
        sys!(SYS_setpriority, 0, 0, 3),
        sys!(SYS_setpriority, 0, 0, 99),
        get(0, 0)
    );
    sys!(SYS_setpriority, 0, 0, 5);
    let p = spawn(|| {
        crate::run::sleep_ms(2000);
        0
    });
    say!("child has it={} alone={} child still {}", get(0, p), sys!(SYS_setpriority, 0, 0, 6), get(0, p));
    say!(
        "group's best={} set group={} child now {} own {}",
        get(1, 0),
        sys!(SYS_setpriority, 1, 0, 9),
        get(0, p),
        get(0, 0)
    );
    crate::run::kill(p, libc::SIGKILL);
    wait(p);
    // Each thread has its own.
    let t = std::thread::spawn(move || {
        let inherited = get(0, 0);
        sys!(SYS_setpriority, 0, 0, 15);
        (inherited, get(0, 0))
    });
    let (a, b) = t.join().unwrap();
    say!("thread inherits={a} has its own={b} the first thread {}", get(0, 0));
    let stat = String::from_utf8_lossy(&crate::run::cat(c"/proc/self/stat")).into_owned();
    let fields: Vec<&str> = stat.rsplit_once(") ").map(|(_, f)| f.split(' ').collect()).unwrap_or_default();
    say!("priority={} nice={}", fields[15], fields[16]);
}

fn affinity() {
    let mut m = [0u64; 128];
    let size = sys!(SYS_sched_getaffinity, 0, 1024, &mut m).0 as usize;
    let first = m[0] & m[0].wrapping_neg();
    say!(
        "one={} child={}",
        sys!(SYS_sched_setaffinity, 0, 8, &first),
        fate(|| {
            let mut m = [0u64; 128];
            sys!(SYS_sched_getaffinity, 0, 1024, &mut m);
            i32::from(m[..size / 8].iter().map(|w| w.count_ones()).sum::<u32>() == 1 && m[0] == first)
        })
    );
    let text = String::from_utf8_lossy(&crate::run::cat(c"/proc/self/status")).into_owned();
    let line = text.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:\t"));
    say!("in status={}", line == Some(&first.trailing_zeros().to_string()));
    say!(
        "missing={} null={} of another={}",
        sys!(SYS_sched_setaffinity, 999_999, 8, &first),
        sys!(SYS_sched_setaffinity, 0, 8, 0),
        fate(|| {
            crate::run::drop_root();
            (-sys!(SYS_sched_setaffinity, 1, 8, &first).0) as i32
        })
    );
}

fn io_priority() {
    say!(
        "get={} bad which={} missing={} group={}",
        sys!(SYS_ioprio_get, 1, 0).ok(),
        sys!(SYS_ioprio_get, 9, 0),
        sys!(SYS_ioprio_get, 1, 999_999),
        sys!(SYS_ioprio_get, 2, 0).ok()
    );
    say!(
        "set best effort 4={} get={} bad class={}",
        sys!(SYS_ioprio_set, 1, 0, 2 << 13 | 4),
        sys!(SYS_ioprio_get, 1, 0),
        sys!(SYS_ioprio_set, 1, 0, 7 << 13)
    );
    let set = |v: i32| sys!(SYS_ioprio_set, 1, 0, v);
    let get = || sys!(SYS_ioprio_get, 1, 0);
    say!(
        "idle={} {} none={} {} none with level={} class 5={}",
        set(3 << 13),
        get(),
        set(0),
        get(),
        set(1),
        set(5 << 13)
    );
    say!("hint={} {} level 9 {} {}", set(2 << 13 | 1 << 3 | 2), get(), set(2 << 13 | 9), get());
    say!(
        "bad which={} missing={} missing group={}",
        sys!(SYS_ioprio_set, 0, 0, 0),
        sys!(SYS_ioprio_set, 1, 999_999, 0),
        sys!(SYS_ioprio_set, 2, 999_999, 0)
    );
    say!("real time={} {}", set(1 << 13 | 3), get());
    say!(
        "as nobody: {}",
        fate(|| {
            crate::run::drop_root();
            say!(
                "inherited={} real time={} best effort={} of another={}",
                get(),
                set(1 << 13),
                set(2 << 13 | 7),
                sys!(SYS_ioprio_set, 1, 1, 2 << 13)
            );
            0
        })
    );
}

fn membarrier_rseq() {
    let q = sys!(SYS_membarrier, 0, 0, 0);
    say!(
        "query={} private unregistered={} unknown={} flags={}",
        q.0 > 0,
        sys!(SYS_membarrier, 8, 0, 0),
        sys!(SYS_membarrier, 1 << 20, 0, 0),
        sys!(SYS_membarrier, 0, 1, 0)
    );
    say!(
        "register={} private={} global={}",
        sys!(SYS_membarrier, 16, 0, 0),
        sys!(SYS_membarrier, 8, 0, 0),
        sys!(SYS_membarrier, 1, 0, 0)
    );
    // libc has registered one for this thread: another is refused, and so are shapes that cannot be.
    let a = map(PAGE, RW, PRIV);
    say!(
        "rseq another={} unaligned={} flags={}",
        sys!(SYS_rseq, a, 32, 0, 0x5305_3053),
        sys!(SYS_rseq, a + 1, 32, 0, 0),
        sys!(SYS_rseq, a, 32, 8, 0)
    );
    say!("unregister foreign={}", sys!(SYS_rseq, a, 32, 1, 0x5305_3053));
}

fn barriers() {
    let m = |c: i32| sys!(SYS_membarrier, c, 0, 0);
    say!("none={} register={} {} now={} again={}", m(512), m(16), m(8), m(512), m(16));
    say!("global={} {} register={} now={}", m(1), m(2), m(4), m(512));
    say!("child={} {}", fate(|| m(8).fd()), fate(|| m(512).fd()));
    let t = std::thread::spawn(move || m(8));
    say!("thread={}", t.join().unwrap());
}

const SIGNATURE: u32 = 0x5305_3053;
#[repr(C, align(32))]
struct Rseq {
    cpu_start: u32,
    cpu: u32,
    section: u64,
    flags: u32,
    node: u32,
    cid: u32,
    pad: u32,
}
unsafe extern "C" {
    static __rseq_offset: isize;
    static __rseq_size: u32;
}

/// Takes the C library's registration of this thread back.
fn unregister_libc() -> bool {
    let tp: usize;
    unsafe { std::arch::asm!("mov {}, fs:0", out(reg) tp) };
    let at = tp.wrapping_add_signed(unsafe { __rseq_offset });
    unsafe { __rseq_size > 0 && sys!(SYS_rseq, at, 32, 1, SIGNATURE).ok() }
}

static TICKS: AtomicI64 = AtomicI64::new(0);
extern "C" fn tick(_: i32) {
    TICKS.fetch_add(1, SeqCst);
}

/// Loops in a critical section until something aborts it.
fn section(r: &mut Rseq, signature: bool) -> u32 {
    let at = (&raw mut r.section).addr();
    let out: u32;
    unsafe {
        if signature {
            std::arch::asm!(
                ".pushsection .data.rseq_test,\"aw\"", ".balign 32", "9:", ".long 0, 0", ".quad 2f, 3f-2f, 4f", ".popsection",
                "lea {t}, [rip+9b]", "mov [{at}], {t}",
                "2: pause", "jmp 2b", "3:",
                "ud2", ".long 0x53053053", "4: mov {out:e}, 7",
                at = in(reg) at, t = out(reg) _, out = out(reg) out
            );
        } else {
            std::arch::asm!(
                ".pushsection .data.rseq_test,\"aw\"", ".balign 32", "9:", ".long 0, 0", ".quad 2f, 3f-2f, 4f", ".popsection",
                "lea {t}, [rip+9b]", "mov [{at}], {t}",
                "2: pause", "jmp 2b", "3:",
                "ud2", ".long 0x12345678", "4: mov {out:e}, 7",
                at = in(reg) at, t = out(reg) _, out = out(reg) out
            );
        }
    }
    out
}

fn rseq_sections() {
    let new = || Rseq { cpu_start: 0, cpu: u32::MAX, section: 0, flags: 0, node: 9, cid: 9, pad: 0 };
    let mut r = new();
    say!("the library's taken back={}", unregister_libc());
    let reg = |r: &Rseq, len: i32, flags: i32, sig: u32| sys!(SYS_rseq, r, len, flags, sig);
    say!(
        "short={} register={} twice={} other signature={} other length={}",
        reg(&r, 16, 0, SIGNATURE),
        reg(&r, 32, 0, SIGNATURE),
        reg(&r, 32, 0, SIGNATURE),
        reg(&r, 32, 0, 5),
        reg(&r, 64, 0, SIGNATURE)
    );
    let read = |r: &Rseq| unsafe { (&raw const *r).read_volatile() };
    let s = read(&r);
    say!("cpu={} same={} node={} id={}", s.cpu < 4096, s.cpu == s.cpu_start, s.node, s.cid < 4096);
    handler(libc::SIGALRM, tick as *const () as usize, 0);
    sys!(SYS_setitimer, 0, &[0i64, 0, 0, 20_000], 0);
    say!("aborted={}", section(&mut r, true));
    say!("ticks={} section cleared={}", TICKS.load(SeqCst) <= 1, read(&r).section == 0);
    say!(
        "child={}",
        fate(|| {
            let r = &mut r;
            // Several want the same CPUs: each is aborted without a signal of its own.
            let v: Vec<i32> = (0..4).map(|_| spawn(|| section(r, true) as i32)).collect();
            v.into_iter().for_each(|p| say!("{}", wait(p)));
            i32::from(!reg(r, 32, 1, SIGNATURE).ok())
        })
    );
    say!(
        "wrong signature={}",
        fate(|| {
            sys!(SYS_setitimer, 0, &[0i64, 0, 0, 20_000], 0);
            section(&mut r, false) as i32
        })
    );
    say!(
        "unregister: other={} length={} wrong={} right={} again={}",
        reg(&new(), 32, 1, SIGNATURE),
        reg(&r, 64, 1, SIGNATURE),
        reg(&r, 32, 1, 5),
        reg(&r, 32, 1, SIGNATURE),
        reg(&r, 32, 1, SIGNATURE)
    );
    let s = read(&r);
    say!("cpu={} start={}", s.cpu as i32, s.cpu_start);
    let t = std::thread::spawn(unregister_libc);
    say!("a new thread has its own={}", t.join().unwrap());
}

fn unknown() {
    for n in [337, 400, 420, 999, 1023, 100_000, -1, i64::from(i32::MAX), 1 << 40] {
        say!("call {n}={}", raw(n, &[1, 2, 3, 4, 5, 6]));
    }
    // Numbers once given out and never implemented, or dropped.
    for n in [134, 136, 156, 174, 177, 178, 180, 181, 182, 183, 184, 185, 205, 211, 214, 215, 236] {
        say!("call {n}={}", raw(n, &[0; 6]));
    }
}

fn times() {
    let mut t = [-1i64; 4];
    let r = sys!(SYS_times, &mut t);
    say!(
        "times={} sane={} null={} kernel={}",
        r.ok(),
        t.iter().all(|v| (0..100_000).contains(v)),
        sys!(SYS_times, 0).ok(),
        sys!(SYS_times, KERNEL)
    );
    say!("sane={}", t.iter().all(|v| (0..100_000).contains(v)));
}

fn numa_policies() {
    let set = |mode: u32, nodes: u64, max: u64| sys!(SYS_set_mempolicy, mode, &nodes, max);
    let get = |flags: u32| {
        let (mut mode, mut nodes) = (99u32, [7u64; 16]);
        let r = sys!(SYS_get_mempolicy, &mut mode, &mut nodes, 1024, 0, flags);
        format!("{r} {mode} {}", nodes[0])
    };
    say!("nothing set={} allowed={} both={} node={}", get(0), get(4), get(5), get(1));
    for (mode, nodes, max) in [
        (2, 1, 64),
        (2, 0, 64),
        (2, 2, 64),
        (1, 1, 2),
        (1, 0, 0),
        (4, 1, 64),
        (4, 0, 0),
        (3, 1, 64),
        (7, 1, 64),
        (0, 1, 64),
        (2 | 1 << 15, 1, 64),
        (2 | 3 << 14, 1, 64),
        (5, 1, 64),
    ] {
        say!("{mode:#x} {nodes} {max}: {} now {}", set(mode, nodes, max), get(0));
    }
    say!(
        "null={} too many={} child={}",
        sys!(SYS_set_mempolicy, 2, crate::mem::KERNEL, 64),
        set(2, 1, 1 << 20),
        fate(|| {
            say!("{}", get(0));
            0
        })
    );
    say!("{}", set(0, 0, 0));
    let a = map(2 * PAGE, RW, PRIV);
    let bind =
        |at: usize, len: usize, mode: u32, flags: u32| sys!(SYS_mbind, at, len, mode, &1u64, 64, flags);
    say!(
        "bind={} unaligned={} hole={} flags={} nothing={} mode={}",
        bind(a, 2 * PAGE, 2, 0),
        bind(a + 1, PAGE, 2, 0),
        bind(0x2000_0000_0000, PAGE, 2, 0),
        bind(a, PAGE, 2, 8),
        bind(a, 0, 2, 0),
        bind(a, PAGE, 77, 0)
    );
    say!("of an address: unmapped={}", sys!(SYS_get_mempolicy, 0, 0, 0, 0x2000_0000_0000usize, 2));
}

fn unshared() {
    say!(
        "nothing={} files and directories={}",
        sys!(SYS_unshare, 0),
        fate(|| {
            let (r, w) = crate::run::pipe(0);
            // A child that shares all with its parent goes its own ways.
            let p = unsafe {
                libc::syscall(libc::SYS_clone, libc::CLONE_FS | libc::CLONE_FILES | libc::SIGCHLD, 0, 0, 0, 0)
            };
            if p == 0 {
                let u = sys!(SYS_unshare, libc::CLONE_FS | libc::CLONE_FILES);
                sys!(SYS_chdir, c"/proc");
                sys!(SYS_close, r);
                crate::run::exit(i32::from(!u.ok()));
            }
            say!(
                "{} still open={} still here={}",
                wait(p as i32),
                sys!(SYS_fcntl, r, 1, 0),
                sys!(SYS_access, c"self", 0)
            );
            crate::run::close(w);
            0
        })
    );
    say!(
        "alone={}",
        fate(|| sys!(SYS_unshare, libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD).fd())
    );
    say!(
        "with threads={}",
        fate(|| {
            std::thread::spawn(|| crate::run::sleep_ms(500));
            (-sys!(SYS_unshare, libc::CLONE_VM).0) as i32
        })
    );
    say!(
        "unprivileged={}",
        fate(|| {
            crate::run::drop_root();
            say!(
                "{} {} {}",
                sys!(SYS_unshare, libc::CLONE_NEWNS),
                sys!(SYS_unshare, libc::CLONE_NEWUTS),
                sys!(SYS_unshare, libc::CLONE_FS)
            );
            0
        })
    );
}

fn administration() {
    let nobody = |f: &dyn Fn() -> crate::show::R| {
        fate(|| {
            crate::run::drop_root();
            (-f().0) as i32
        })
    };
    say!(
        "reboot: bad magic={} bad second={} bad command={}",
        sys!(SYS_reboot, 1, 672_274_793, 0),
        sys!(SYS_reboot, 0xfee1_deadu32, 1, 0),
        sys!(SYS_reboot, 0xfee1_deadu32, 672_274_793, 0x1111)
    );
    say!(
        "swapon: missing={} null={} flags={}",
        sys!(SYS_swapon, c"missing", 0),
        sys!(SYS_swapon, 0, 0),
        sys!(SYS_swapon, c"missing", 1 << 20)
    );
    crate::run::file(c"plain", b"not swap");
    say!(
        "a plain file={} off={} missing={}",
        sys!(SYS_swapon, c"plain", 0),
        sys!(SYS_swapoff, c"plain"),
        sys!(SYS_swapoff, c"missing")
    );
    say!(
        "acct: off={} missing={} directory={}",
        sys!(SYS_acct, 0),
        sys!(SYS_acct, c"missing"),
        sys!(SYS_acct, c".")
    );
    say!(
        "pivot: missing={} file={} null={}",
        sys!(SYS_pivot_root, c"missing", c"."),
        sys!(SYS_pivot_root, c"plain", c"."),
        sys!(SYS_pivot_root, 0, 0)
    );
    say!(
        "setns plain={} flags={}",
        sys!(SYS_setns, crate::run::open(c"plain", 0), 0),
        sys!(SYS_setns, 99, 0)
    );
    say!(
        "pkey: alloc rights={} free={} {}",
        sys!(SYS_pkey_alloc, 0, 4),
        sys!(SYS_pkey_free, -1),
        sys!(SYS_pkey_free, 16)
    );
    let mut h = [129u32, 0];
    say!(
        "handle: missing={} flags={} too large={}",
        sys!(SYS_name_to_handle_at, libc::AT_FDCWD, c"missing", &mut h, 0, 0),
        sys!(SYS_name_to_handle_at, libc::AT_FDCWD, c".", &mut h, 0, 0x1_0000),
        sys!(SYS_name_to_handle_at, libc::AT_FDCWD, c".", &mut h, 0, 0)
    );
    say!(
        "nobody: {} {} {} {}",
        nobody(&|| sys!(SYS_reboot, 0xfee1_deadu32, 672_274_793, 0)),
        nobody(&|| sys!(SYS_acct, 0)),
        nobody(&|| sys!(SYS_swapoff, c"plain")),
        nobody(&|| sys!(SYS_vhangup))
    );
}

fn numa() {
    let (mut mode, mut nodes) = (9i32, [0u64; 16]);
    say!(
        "get={} bad flags={} addr without flag={}",
        sys!(SYS_get_mempolicy, &mut mode, &mut nodes, 1024, 0, 0),
        sys!(SYS_get_mempolicy, &mut mode, 0, 0, 0, 99),
        sys!(SYS_get_mempolicy, &mut mode, 0, 0, 1, 0)
    );
    say!(
        "mode={mode} set default={} bad mode={}",
        sys!(SYS_set_mempolicy, 0, 0, 0),
        sys!(SYS_set_mempolicy, 99, 0, 0)
    );
}

fn kcmp() {
    let me = sys!(SYS_getpid).fd();
    let fd = crate::run::open(c"/dev/null", 0);
    let d = sys!(SYS_dup, fd).fd();
    let e = crate::run::open(c"/dev/null", 0);
    let k = |t: i32, a: i32, b: i32| sys!(SYS_kcmp, me, me, t, a, b);
    say!(
        "dup={} other differs={} bad fd={} vm={} type={}",
        k(0, fd, d),
        k(0, fd, e).0 > 0,
        k(0, fd, 999),
        k(1, 0, 0),
        k(99, 0, 0)
    );
    say!("missing={}", sys!(SYS_kcmp, me, 999_999, 0, 0, 0));
    let p = spawn(|| {
        crate::run::sleep_ms(2000);
        0
    });
    let other = |t: i32| sys!(SYS_kcmp, me, p, t, fd, fd);
    say!("file of a child={} vm differs={}", other(0), other(1).0 > 0);
    say!("files={} fs={} actions={} io={}", other(2).0 > 0, other(3).0 > 0, other(4).0 > 0, other(5));
    crate::run::kill(p, libc::SIGKILL);
    let t = std::thread::spawn(move || {
        let k = |t: i32| sys!(SYS_kcmp, me, sys!(SYS_gettid).0, t, fd, d);
        say!("thread: {} {} {} {} {}", k(0), k(1), k(2), k(3), k(4));
    });
    say!("{}", t.join().is_ok());
}

fn keys_and_friends() {
    say!(
        "keyctl unknown={} bpf bad={} perf bad={} userfault flags={}",
        sys!(SYS_keyctl, 9999, 0),
        sys!(SYS_bpf, 9999, 0, 0).ok(),
        sys!(SYS_perf_event_open, 0, 0, 0, 0, 0).ok(),
        sys!(SYS_userfaultfd, 0x100).ok()
    );
    say!(
        "setns fd={} unshare bad={} seccomp op={} flags={}",
        sys!(SYS_setns, 9999, 0),
        sys!(SYS_unshare, 0x4000_0000_0000u64),
        sys!(SYS_seccomp, 99, 0, 0),
        sys!(SYS_seccomp, 0, 1, 0)
    );
    say!(
        "seccomp filter null={} strict needs={}",
        sys!(SYS_seccomp, 1, 0, 0),
        sys!(SYS_seccomp, 1, 0, 0x4000)
    );
    say!(
        "pkey_alloc flags={} pkey_free={} name_to_handle null={}",
        sys!(SYS_pkey_alloc, 1, 0),
        sys!(SYS_pkey_free, 99),
        sys!(SYS_name_to_handle_at, libc::AT_FDCWD, c".", 0, 0, 0)
    );
    say!("restart_syscall={}", sys!(SYS_restart_syscall));
}

fn seccomp_strict() {
    say!(
        "{}",
        fate(|| {
            sys!(SYS_prctl, 22, 1, 0, 0, 0);
            sys!(SYS_getpid);
            0
        })
    );
    let p = spawn(|| {
        sys!(SYS_prctl, 22, 1, 0, 0, 0);
        sys!(SYS_exit, 7);
        0
    });
    say!("{}", wait(p));
}

fn seccomp_filter() {
    // getppid -> EPERM+66, getpgrp -> kill, the rest allowed.
    let f: [[u8; 8]; 6] = [
        op(0x20, 0, 0, 0),
        op(0x15, 0, 1, libc::SYS_getppid as u32),
        op(0x06, 0, 0, 0x0005_0000 | 66),
        op(0x15, 0, 1, libc::SYS_getpgrp as u32),
        op(0x06, 0, 0, 0x8000_0000),
        op(0x06, 0, 0, 0x7fff_0000),
    ];
    let prog = [6usize, f.as_ptr() as usize];
    let end = fate(|| {
        sys!(SYS_prctl, 38, 1, 0, 0, 0);
        let r = sys!(SYS_seccomp, 1, 0, &prog);
        say!(
            "install={r} getppid={} mode={} child inherits={}",
            sys!(SYS_getppid),
            sys!(SYS_prctl, 21, 0, 0, 0, 0),
            fate(|| i32::from(sys!(SYS_getppid).ok()))
        );
        sys!(SYS_getpgrp);
        0
    });
    say!("{end} empty program={}", sys!(SYS_seccomp, 1, 0, &[0usize, 0]));
}

/// Asks a filter of these instructions for itself.
fn install(insns: &[[u8; 8]], flags: i32) -> crate::show::R {
    let prog = [insns.len(), insns.as_ptr() as usize];
    sys!(SYS_seccomp, 1, flags, &prog)
}

/// A filter that gives `action` for one call and lets all others pass.
fn only(nr: i64, action: u32) -> [[u8; 8]; 4] {
    [op(0x20, 0, 0, 0), op(0x15, 0, 1, nr as u32), op(0x06, 0, 0, action), op(0x06, 0, 0, 0x7fff_0000)]
}

fn no_new_privs() {
    sys!(SYS_prctl, 38, 1, 0, 0, 0);
}

static SEEN: [AtomicI64; 6] = [const { AtomicI64::new(0) }; 6];
extern "C" fn caught(sig: i32, info: *const libc::siginfo_t, uc: *mut libc::ucontext_t) {
    let words = unsafe { &*info.cast::<[i32; 8]>() };
    let regs = unsafe { &mut (*uc).uc_mcontext.gregs };
    let at = i64::from(words[4] as u32) | i64::from(words[5]) << 32;
    let values =
        [i64::from(sig), i64::from(words[1]), i64::from(words[2]), i64::from(words[6]), i64::from(words[7])];
    for (slot, v) in
        SEEN.iter().zip(values.into_iter().chain([i64::from(at == regs[libc::REG_RIP as usize])]))
    {
        slot.store(v, SeqCst);
    }
    regs[libc::REG_RAX as usize] = 777;
}

fn seccomp_trap() {
    say!(
        "{}",
        fate(|| {
            no_new_privs();
            crate::run::handler(libc::SIGSYS, caught as *const () as usize, libc::SA_SIGINFO);
            let r = install(&only(libc::SYS_getppid, 0x0003_0000 | 55), 0);
            let seen = || SEEN.iter().map(|s| s.load(SeqCst)).collect::<Vec<_>>();
            let got = sys!(SYS_getppid);
            say!("install={r} call={got} signal, errno, code, call, arch, address is rip={:?}", seen());
            // Also by a number that has more bits than an int.
            say!("wide={}", raw(libc::SYS_getppid | 1 << 40, &[]));
            crate::run::mask(libc::SIG_BLOCK, &[libc::SIGSYS]);
            sys!(SYS_getppid);
            0
        })
    );
}

fn seccomp_actions() {
    let with = |action: u32| {
        fate(|| {
            no_new_privs();
            install(&only(libc::SYS_getppid, action), 0);
            let r = sys!(SYS_getppid);
            say!("{action:#x}: {}", if r.0 > 0 { "a pid".into() } else { r.to_string() });
            0
        })
    };
    for action in [
        0x8000_0000,
        0,
        0x0005_0000,
        0x0005_0007,
        0x0005_ffff,
        0x7ff0_0000,
        0x7ffc_0000,
        0x7fff_0000,
        0x1234_0000,
        0x7fc0_0000,
    ] {
        say!("{action:#x} {}", with(action));
    }
    for action in
        [0x8000_0000u32, 0, 0x0003_0000, 0x0005_0000, 0x7ff0_0000, 0x7ffc_0000, 0x7fff_0000, 0x1234_0000]
    {
        say!("{action:#x} available={}", sys!(SYS_seccomp, 2, 0, &action));
    }
    say!("null={} flags={}", sys!(SYS_seccomp, 2, 0, 0), sys!(SYS_seccomp, 2, 1, &0u32));
    // A thread ends alone, the process with its last.
    say!(
        "thread={}",
        fate(|| {
            no_new_privs();
            let t = std::thread::spawn(|| {
                install(&only(libc::SYS_getppid, 0), 0);
                sys!(SYS_getppid);
            });
            let tid = loop {
                if let Ok(d) = std::fs::read_dir("/proc/self/task")
                    && d.count() == 1
                {
                    break 5;
                }
                crate::run::sleep_ms(2);
            };
            std::mem::forget(t);
            tid
        })
    );
    say!(
        "process={}",
        fate(|| {
            no_new_privs();
            let t = std::thread::spawn(|| {
                install(&only(libc::SYS_getppid, 0x8000_0000), 0);
                sys!(SYS_getppid);
            });
            let _ = t.join();
            5
        })
    );
}

fn seccomp_stacked() {
    say!(
        "{}",
        fate(|| {
            no_new_privs();
            let first = install(&only(libc::SYS_getppid, 0x0005_0000 | 3), 0);
            let second = install(&only(libc::SYS_getppid, 0x0005_0000 | 4), 0);
            say!("{first} {second} equal ones: the newest={}", sys!(SYS_getppid));
            install(&only(libc::SYS_getppid, 0x7ffc_0000), 0);
            say!("the stricter={} strict mode now={}", sys!(SYS_getppid), sys!(SYS_seccomp, 0, 0, 0));
            let status = String::from_utf8_lossy(&crate::run::cat(c"/proc/self/status")).into_owned();
            let lines: Vec<&str> =
                status.lines().filter(|l| l.starts_with("Secc") || l.starts_with("NoNew")).collect();
            say!(
                "{lines:?} after exec={}",
                fate(|| {
                    let exe = crate::run::exe();
                    let argv = [exe.as_ptr(), c"helper".as_ptr(), c"parent".as_ptr(), std::ptr::null()];
                    sys!(SYS_execve, &*exe, &argv, &[0usize]);
                    99
                })
            );
            // Arguments: only lseek with whence 9 is refused.
            let f = [
                op(0x20, 0, 0, 0),
                op(0x15, 0, 3, libc::SYS_lseek as u32),
                op(0x20, 0, 0, 32),
                op(0x15, 0, 1, 9),
                op(0x06, 0, 0, 0x0005_0063),
                op(0x06, 0, 0, 0x7fff_0000),
            ];
            install(&f, 0);
            say!("arguments: {} {}", sys!(SYS_lseek, 0, 0, 9), sys!(SYS_lseek, -1, 0, 0));
            // The address the call comes from is that behind it.
            let f = [
                op(0x20, 0, 0, 4),
                op(0x15, 1, 0, 0xc000_003e),
                op(0x06, 0, 0, 0x0005_0050),
                op(0x06, 0, 0, 0x7fff_0000),
            ];
            say!("architecture: {} {}", install(&f, 0), sys!(SYS_getpgid, 0).ok());
            0
        })
    );
}

fn seccomp_sync() {
    say!(
        "{}",
        fate(|| {
            no_new_privs();
            let (r, w) = crate::run::pipe(0);
            let t = std::thread::spawn(move || {
                crate::run::await_post(r);
                (sys!(SYS_getppid), sys!(SYS_prctl, 39, 0, 0, 0, 0))
            });
            crate::run::sleep_ms(20);
            say!("sync={} own={}", install(&only(libc::SYS_getppid, 0x0005_0000 | 9), 1), sys!(SYS_getppid));
            crate::run::post(w);
            let (ppid, nnp) = t.join().unwrap();
            say!("the other thread: {ppid} no_new_privs={nnp}");
            let (tx, rx) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                install(&only(libc::SYS_getpgrp, 0x0005_0000 | 9), 0);
                tx.send(sys!(SYS_gettid)).unwrap();
                crate::run::sleep_ms(500);
            });
            let tid = rx.recv().unwrap();
            say!(
                "names the one that differs={} as error={}",
                install(&only(libc::SYS_getppid, 0x0005_0000 | 8), 1) == tid,
                install(&only(libc::SYS_getppid, 0x0005_0000 | 8), 1 | 16)
            );
            say!("nothing was added={}", sys!(SYS_getppid));
            0
        })
    );
}

fn seccomp_refused() {
    let ret = op(0x06, 0, 0, 0x7fff_0000);
    say!(
        "unprivileged={}",
        fate(|| {
            crate::run::drop_root();
            say!("{}", install(&[ret], 0));
            no_new_privs();
            say!("{}", install(&[ret], 0));
            0
        })
    );
    let programs: &[&[[u8; 8]]] = &[
        &[op(0x20, 0, 0, 0)],
        &[op(0x20, 0, 0, 1), ret],
        &[op(0x20, 0, 0, 64), ret],
        &[op(0x28, 0, 0, 0), ret],
        &[op(0x30, 0, 0, 0), ret],
        &[op(0x40, 0, 0, 0), ret],
        &[op(0x80, 0, 0, 0), op(0x16, 0, 0, 0)],
        &[op(0x94, 0, 0, 3), ret],
        &[op(0x34, 0, 0, 0), ret],
        &[op(0x64, 0, 0, 32), ret],
        &[op(0x05, 0, 0, 1), ret],
        &[op(0x15, 1, 0, 0), ret],
        &[op(0x60, 0, 0, 0), ret],
        &[op(0x02, 0, 0, 15), op(0x60, 0, 0, 15), ret],
        &[op(0x02, 0, 0, 16), ret],
        &[op(0x15, 1, 0, 0), op(0x02, 0, 0, 0), op(0x60, 0, 0, 0), ret],
        &[op(0x87, 0, 0, 0), op(0x84, 0, 0, 0), op(0x07, 0, 0, 0), ret],
        &[op(0x0e, 0, 0, 0)],
        &[op(0x81, 0, 0, 0), op(0x3c, 0, 0, 0), op(0xa4, 0, 0, 5), ret],
    ];
    for (n, p) in programs.iter().enumerate() {
        say!("program {n}: {}", fate(|| (-install(p, 0).0) as i32));
    }
    say!(
        "too long={} bad flags={} bad address={} by prctl={} bad mode={}",
        sys!(SYS_seccomp, 1, 0, &[4097usize, 8]),
        install(&[ret], 1 << 10),
        sys!(SYS_seccomp, 1, 0, &[1usize, 8]),
        fate(|| sys!(SYS_prctl, 22, 2, &[1usize, [ret].as_ptr() as usize], 0, 0).fd()),
        sys!(SYS_prctl, 22, 3, 0, 0, 0)
    );
    say!(
        "many={}",
        fate(|| {
            let long = vec![op(0x20, 0, 0, 0); 4095].into_iter().chain([ret]).collect::<Vec<_>>();
            (0..12).map(|_| install(&long, 0)).find(|r| !r.ok()).map_or(0, |r| (-r.0) as i32)
        })
    );
}

fn op(code: u16, jt: u8, jf: u8, k: u32) -> [u8; 8] {
    let (c, k) = (code.to_ne_bytes(), k.to_ne_bytes());
    [c[0], c[1], jt, jf, k[0], k[1], k[2], k[3]]
}

fn registers_kept() {
    // Everything but rax, rcx and r11 survives a system call.
    let (a, b, c): (u64, u64, u64);
    let (di, si, dx): (u64, u64, u64);
    unsafe {
        std::arch::asm!("mov rdi, 11", "mov rsi, 22", "mov rdx, 33", "mov r8, 44", "mov r9, 55", "mov r10, 66", "mov eax, 39", "syscall",
            out("rax") _, out("rcx") _, out("r11") _, out("rdi") di, out("rsi") si, out("rdx") dx, out("r8") a, out("r9") b, out("r10") c);
    }
    say!("{di} {si} {dx} {a} {b} {c}");
    let (ip, after): (u64, u64);
    unsafe {
        std::arch::asm!("lea {x}, [rip+2f]", "mov eax, 39", "syscall", "2: mov {y}, rcx", x = out(reg) ip, y = out(reg) after, out("rax") _, out("rcx") _, out("r11") _);
    }
    say!("rcx is the return address={}", ip == after);
}

fn sysv() {
    let s = sys!(SYS_semget, 0, 2, 0o600 | libc::IPC_CREAT);
    let id = s.fd();
    let sop = |n: u16, v: i16, f: i16| sys!(SYS_semop, id, &[n, v as u16, f as u16], 1);
    let ctl = |n: i32, cmd: i32, v: i32| sys!(SYS_semctl, id, n, cmd, v);
    say!(
        "semget={} set={} get={} up={} down={} nowait={}",
        s.sign(),
        ctl(0, libc::SETVAL, 1),
        ctl(0, libc::GETVAL, 0),
        sop(0, 2, 0),
        sop(0, -3, 0),
        sop(0, -1, libc::IPC_NOWAIT as i16)
    );
    say!(
        "range={} zero wait={} timed={}",
        sop(5, 1, 0),
        sop(1, 0, libc::IPC_NOWAIT as i16),
        sys!(SYS_semtimedop, id, &[0u16, u16::MAX, 0], 1, &crate::run::ts(20))
    );
    say!(
        "undo={} value={}",
        fate(|| {
            sop(0, 3, libc::SEM_UNDO as i16);
            0
        }),
        ctl(0, libc::GETVAL, 0)
    );
    let p = spawn(|| sop(0, -1, 0).fd());
    crate::run::sleep_ms(20);
    say!("wake={} child={} rm={} gone={}", sop(0, 1, 0), wait(p), ctl(0, libc::IPC_RMID, 0), sop(0, 1, 0));
    let q = sys!(SYS_msgget, 0, 0o600 | libc::IPC_CREAT);
    let mut b = [0u64; 4];
    say!(
        "msgget={} send={} {} nomsg={} by type={}",
        q.sign(),
        sys!(SYS_msgsnd, q.fd(), &[1u64, 0x61], 3, 0),
        sys!(SYS_msgsnd, q.fd(), &[2u64, 0x62], 4, 0),
        sys!(SYS_msgrcv, q.fd(), &mut b, 24, 9, libc::IPC_NOWAIT),
        sys!(SYS_msgrcv, q.fd(), &mut b, 24, 2, 0)
    );
    say!("text={}", b[1]);
    say!(
        "small={} noerror={} rm={}",
        sys!(SYS_msgrcv, q.fd(), &mut b, 1, 0, 0),
        sys!(SYS_msgrcv, q.fd(), &mut b, 1, 0, libc::MSG_NOERROR),
        sys!(SYS_msgctl, q.fd(), libc::IPC_RMID, 0)
    );
}

pub(crate) const CASES: &[Case] = &[
    ("system", system),
    ("random", random),
    ("scheduling", scheduling),
    ("policies", policies),
    ("nice_values", nice_values),
    ("affinity", affinity),
    ("io_priority", io_priority),
    ("membarrier_rseq", membarrier_rseq),
    ("barriers", barriers),
    ("rseq_sections", rseq_sections),
    ("unknown", unknown),
    ("times", times),
    ("numa", numa),
    ("numa_policies", numa_policies),
    ("unshared", unshared),
    ("administration", administration),
    ("kcmp", kcmp),
    ("keys_and_friends", keys_and_friends),
    ("seccomp_strict", seccomp_strict),
    ("seccomp_filter", seccomp_filter),
    ("seccomp_trap", seccomp_trap),
    ("seccomp_actions", seccomp_actions),
    ("seccomp_stacked", seccomp_stacked),
    ("seccomp_sync", seccomp_sync),
    ("seccomp_refused", seccomp_refused),
    ("registers_kept", registers_kept),
    ("sysv", sysv),
];
