//! The seccomp filter of the stubs: which host calls, from which instruction, with which arguments.
//!
//! Guest code can jump anywhere in its own address space, so it can make every call that this filter lets through, at any
//! time. What is let through can hurt the guest alone: it changes the guest's own memory below [`TASK_SIZE`], waits, wakes, or takes a
//! descriptor that the kernel has sent to this very stub. Everything else traps.

use super::layout::*;
use super::stub::Sites;

/// One BPF instruction, `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    /// What it does.
    pub code: u16,
    /// Instructions to skip if the test holds.
    pub jt: u8,
    /// And if it does not.
    pub jf: u8,
    /// Constant.
    pub k: u32,
}

// linux/bpf_common.h
const LD_ABS: u16 = 0x20;
const LD_MEM: u16 = 0x60;
const ST: u16 = 0x02;
const STX: u16 = 0x03;
const LDX_MEM: u16 = 0x61;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE_X: u16 = 0x3d;
const JA: u16 = 0x05;
const ADD_X: u16 = 0x0c;
const ADD_K: u16 = 0x04;
const AND_K: u16 = 0x54;
const RET: u16 = 0x06;
const TAX: u16 = 0x07;

// linux/seccomp.h
const RET_ALLOW: u32 = 0x7fff_0000;
const RET_TRAP: u32 = 0x0003_0000;
const RET_NOTIFY: u32 = 0x7fc0_0000;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

// struct seccomp_data
const NR: u32 = 0;
const ARCH: u32 = 4;
const IP: u32 = 8;
const fn arg_lo(n: u32) -> u32 {
    16 + 8 * n
}
const fn arg_hi(n: u32) -> u32 {
    16 + 8 * n + 4
}

/// What one argument must be.
#[derive(Clone, Copy)]
enum Arg {
    /// Exactly this.
    Is(u64),
    /// Its lower half exactly this, the upper half ignored: a C `int`.
    Int(u32),
    /// All bits but these clear.
    Mask(u32),
    /// With the argument after it, a range that ends at or below [`TASK_SIZE`].
    Range,
    /// Below [`TASK_SIZE`]; the length is that of the argument before it.
    RangeBack,
    /// Anything.
    Any,
}

/// A host call that the filter knows: the address after its instruction, its number, its arguments.
struct Rule {
    ip: u64,
    nr: i64,
    args: [Arg; 6],
    verdict: u32,
}

/// Builds the program for stubs whose code lies at `sites`. `gate_clone` sends each clone through the kernel first.
pub fn program(sites: &Sites, gate_clone: bool) -> Vec<Insn> {
    let mut p = Program(Vec::new());
    p.load(ARCH);
    p.push(JEQ, 1, 0, AUDIT_ARCH_X86_64);
    p.ret(RET_TRAP);
    // Most guest calls come from below the stub: one comparison decides them.
    p.load(IP + 4);
    p.push(JEQ, 1, 0, (STUB_TEXT >> 32) as u32);
    p.ret(RET_TRAP);
    for rule in rules(sites, gate_clone) {
        p.rule(&rule);
    }
    p.ret(RET_TRAP);
    p.0
}

fn rules(s: &Sites, gate_clone: bool) -> Vec<Rule> {
    use Arg::*;
    let allow = |ip, nr, args| Rule { ip, nr, args, verdict: RET_ALLOW };
    let any = [Any; 6];
    let fixed_private = (libc::MAP_PRIVATE
        | libc::MAP_SHARED
        | libc::MAP_FIXED
        | libc::MAP_ANONYMOUS
        | libc::MAP_NORESERVE
        | libc::MAP_FIXED_NOREPLACE) as u32;
    let clone_thread = (libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM
        | libc::CLONE_CHILD_CLEARTID) as u64;
    let clone_fork = (libc::CLONE_PARENT | libc::SIGCHLD) as u64;
    let clone = if gate_clone { RET_NOTIFY } else { RET_ALLOW };
    let prot = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as u32;
    vec![
        allow(s.yield_, libc::SYS_sched_yield, any),
        allow(s.wait, libc::SYS_futex, [Any, Int(libc::FUTEX_WAIT as u32), Any, Is(0), Any, Any]),
        allow(s.wake, libc::SYS_futex, [Any, Int(libc::FUTEX_WAKE as u32), Int(1), Any, Any, Any]),
        allow(s.sigreturn, libc::SYS_rt_sigreturn, any),
        allow(s.ops, libc::SYS_mmap, [Range, Any, Mask(prot), Mask(fixed_private), Any, Any]),
        allow(
            s.ops,
            libc::SYS_mmap,
            [
                Arg::Any,
                Is(WINDOW_SIZE),
                Is(3),
                Is((libc::MAP_SHARED | libc::MAP_FIXED) as u64),
                Int(FD_PASSED as u32),
                Any,
            ],
        ),
        allow(s.ops, libc::SYS_munmap, [Range, Any, Any, Any, Any, Any]),
        allow(s.ops, libc::SYS_mprotect, [Range, Any, Mask(prot), Any, Any, Any]),
        allow(s.ops, libc::SYS_madvise, [Range, Any, Any, Any, Any, Any]),
        allow(s.ops, libc::SYS_mremap, [Range, Any, Any, Mask(7), RangeBack, Any]),
        allow(s.ops, libc::SYS_recvmsg, [Int(FD_SOCKET as u32), Any, Any, Any, Any, Any]),
        allow(s.ops, libc::SYS_close, [Any, Any, Any, Any, Any, Any]),
        allow(s.ops, libc::SYS_arch_prctl, [Int(0x1002), Any, Any, Any, Any, Any]), // ARCH_SET_FS
        allow(s.ops, libc::SYS_arch_prctl, [Int(0x1001), Any, Any, Any, Any, Any]), // ARCH_SET_GS
        // Barriers for the threads of this memory, and no others: MEMBARRIER_CMD_PRIVATE_EXPEDITED and its registration.
        allow(s.ops, libc::SYS_membarrier, [Int(8), Int(0), Any, Any, Any, Any]),
        allow(s.ops, libc::SYS_membarrier, [Int(16), Int(0), Any, Any, Any, Any]),
        allow(s.ops, libc::SYS_sigaltstack, any),
        allow(s.ops, libc::SYS_exit, any),
        Rule {
            ip: s.ops,
            nr: libc::SYS_clone,
            args: [Is(clone_thread), Any, Is(0), Any, Is(0), Any],
            verdict: clone,
        },
        Rule {
            ip: s.ops,
            nr: libc::SYS_clone,
            args: [Is(clone_fork), Is(0), Is(0), Is(0), Is(0), Any],
            verdict: clone,
        },
        allow(s.child[0], libc::SYS_munmap, [Is(WINDOWS), Is(WINDOWS_SPAN), Any, Any, Any, Any]),
        allow(
            s.child[1],
            libc::SYS_mmap,
            [
                Arg::Any,
                Is(WINDOW_SIZE),
                Is(3),
                Is((libc::MAP_SHARED | libc::MAP_FIXED) as u64),
                Int(FD_PASSED as u32),
                Any,
            ],
        ),
        allow(
            s.child[2],
            libc::SYS_dup2,
            [Int(FD_PASSED2 as u32), Int(FD_SOCKET as u32), Any, Any, Any, Any],
        ),
        allow(s.child[3], libc::SYS_close, [Int(FD_PASSED as u32), Any, Any, Any, Any, Any]),
        allow(s.child[4], libc::SYS_close, [Int(FD_PASSED2 as u32), Any, Any, Any, Any, Any]),
        allow(
            s.child[5],
            libc::SYS_prctl,
            [Int(libc::PR_SET_PDEATHSIG as u32), Is(libc::SIGKILL as u64), Is(0), Is(0), Is(0), Any],
        ),
    ]
}

struct Program(Vec<Insn>);

impl Program {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) {
        self.0.push(Insn { code, jt, jf, k });
    }

    fn load(&mut self, offset: u32) {
        self.push(LD_ABS, 0, 0, offset);
    }

    fn ret(&mut self, verdict: u32) {
        self.push(RET, 0, 0, verdict);
    }

    /// Checks one rule; falls through to what follows when it does not hold.
    fn rule(&mut self, rule: &Rule) {
        // Each check that fails jumps to a `ja` that leaves the rule; those are patched at the end.
        let mut body = Program(Vec::new());
        let mut fails = Vec::new();
        body.expect(IP, rule.ip as u32, &mut fails);
        body.expect(NR, rule.nr as u32, &mut fails);
        for (n, arg) in rule.args.iter().enumerate() {
            let n = n as u32;
            match *arg {
                Arg::Any => {}
                Arg::Int(v) => body.expect(arg_lo(n), v, &mut fails),
                Arg::Is(v) => {
                    body.expect(arg_lo(n), v as u32, &mut fails);
                    body.expect(arg_hi(n), (v >> 32) as u32, &mut fails);
                }
                Arg::Mask(bits) => {
                    body.load(arg_lo(n));
                    body.push(AND_K, 0, 0, !bits);
                    body.push(JEQ, 1, 0, 0);
                    body.fail(&mut fails);
                }
                Arg::Range => body.range(n, n + 1, &mut fails),
                Arg::RangeBack => body.range(n, n - 2, &mut fails),
            }
        }
        body.ret(rule.verdict);
        let len = body.0.len();
        for at in fails {
            body.0[at].k = (len - at - 1) as u32;
        }
        self.0.append(&mut body.0);
    }

    fn fail(&mut self, fails: &mut Vec<usize>) {
        fails.push(self.0.len());
        self.push(JA, 0, 0, 0);
    }

    fn expect(&mut self, offset: u32, value: u32, fails: &mut Vec<usize>) {
        self.load(offset);
        self.push(JEQ, 1, 0, value);
        self.fail(fails);
    }

    /// Argument `start` plus argument `len`, without overflow, is at most [`TASK_SIZE`].
    fn range(&mut self, start: u32, len: u32, fails: &mut Vec<usize>) {
        const LO: u32 = 0;
        const HI_LIMIT: u32 = (TASK_SIZE >> 32) as u32;
        const LO_LIMIT: u32 = TASK_SIZE as u32;
        // Neither half may be so large that the sum wraps.
        for n in [start, len] {
            self.load(arg_hi(n));
            self.push(JGT, 0, 1, HI_LIMIT);
            self.fail(fails);
        }
        // lo = start.lo + len.lo, carry = lo < start.lo
        self.load(arg_lo(start));
        self.push(TAX, 0, 0, 0);
        self.push(STX, 0, 0, 1);
        self.load(arg_lo(len));
        self.push(ADD_X, 0, 0, 0);
        self.push(ST, 0, 0, LO);
        self.push(LDX_MEM, 0, 0, 1);
        // A = lo; no carry if lo >= start.lo
        self.push(JGE_X, 3, 0, 0);
        // carry: hi = start.hi + 1
        self.load(arg_hi(start));
        self.push(ADD_K, 0, 0, 1);
        self.push(JA, 0, 0, 1);
        self.load(arg_hi(start));
        self.push(TAX, 0, 0, 0);
        self.load(arg_hi(len));
        self.push(ADD_X, 0, 0, 0);
        // A = hi
        self.push(JGT, 0, 1, HI_LIMIT);
        self.fail(fails);
        self.push(JEQ, 0, 3, HI_LIMIT);
        self.push(LD_MEM, 0, 0, LO);
        self.push(JGT, 0, 1, LO_LIMIT);
        self.fail(fails);
    }
}
