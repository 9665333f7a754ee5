//! Hostile guests, as machine code that knows the stub: it jumps at the stub's own system call instructions.

#![allow(clippy::expect_used)]

use std::time::Duration;
use uml_kernel::mm::UserMemory;
use uml_kernel::platform::x86_64::layout::{FD_PASSED, STUB_TEXT, TASK_SIZE, WINDOWS, WINDOWS_SPAN};
use uml_kernel::platform::{Op, Platform, Regs, StubThread, Trap};

const CODE: u64 = 0x40_0000;

/// A stub whose guest makes one call from an instruction of the stub's, with registers of its choice. What comes of it: the trap,
/// or `None` if the host took the call.
fn attack(
    platform: &Platform,
    site: u64,
    nr: i64,
    args: [u64; 6],
) -> Option<(StubThread, Option<(Regs, Trap)>)> {
    let mut thread = platform.fresh(0).ok()?;
    thread.call(&[Op::map_anonymous(CODE, 0x10000, 7, libc::MAP_PRIVATE)]).ok()?;
    // jmp r13, straight at the `syscall` instruction; whatever follows it there runs on with the guest's registers.
    UserMemory::new(thread.stub().pid().clone()).write(CODE, &[0x41, 0xff, 0xe5]).ok()?;
    let [rdi, rsi, rdx, r10, r8, r9] = args;
    // The stub goes on behind its instruction with r15 as the window: a window of its own making, that says "the kernel's turn".
    let regs = Regs {
        rax: nr as u64,
        rdi,
        rsi,
        rdx,
        r10,
        r8,
        r9,
        r13: site - 2,
        r12: 0,
        r15: CODE + 0x8000,
        rip: CODE,
        rsp: CODE + 0x7000,
        rflags: 0x202,
        ..Regs::default()
    };
    thread.enter(&regs);
    let stopped = thread.wait(Some(Duration::from_millis(300)), platform.sites());
    Some((thread, stopped))
}

fn is_refused(stopped: &Option<(Regs, Trap)>, nr: i64) -> bool {
    matches!(stopped, Some((regs, Trap::Syscall)) if regs.rax == nr as u64)
}

#[test]
fn the_stubs_own_instructions_do_nothing_for_a_guest() {
    let platform = Platform::start().expect("stubs start");
    let sites = *platform.sites();
    let every = [
        sites.ops,
        sites.wait,
        sites.wake,
        sites.yield_,
        sites.sigreturn,
        sites.child[0],
        sites.child[2],
        sites.child[5],
    ];
    let calls = [
        libc::SYS_openat,
        libc::SYS_write,
        libc::SYS_read,
        libc::SYS_socket,
        libc::SYS_execve,
        libc::SYS_kill,
        libc::SYS_ptrace,
        libc::SYS_process_vm_writev,
        libc::SYS_fork,
        libc::SYS_clone3,
        libc::SYS_sendmsg,
        libc::SYS_ioctl,
        libc::SYS_seccomp,
        libc::SYS_prlimit64,
        libc::SYS_unshare,
        libc::SYS_mount,
        libc::SYS_memfd_create,
        libc::SYS_shmget,
        libc::SYS_io_uring_setup,
    ];
    for site in every {
        for nr in calls {
            let (_thread, stopped) = attack(&platform, site, nr, [0; 6]).expect("a stub");
            assert!(is_refused(&stopped, nr), "call {nr} at {site:#x}: {stopped:?}");
        }
    }
    platform.shut_down();
}

#[test]
fn arguments_that_reach_beyond_the_guest_are_refused() {
    let platform = Platform::start().expect("stubs start");
    let ops = platform.sites().ops;
    let rwx = 7;
    let fixed = (libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let cases: [(i64, [u64; 6]); 9] = [
        (libc::SYS_mmap, [STUB_TEXT, 4096, rwx, fixed, !0, 0]),
        (libc::SYS_mmap, [TASK_SIZE - 4096, 8192, rwx, fixed, !0, 0]),
        (libc::SYS_mmap, [4096, u64::MAX - 4095, rwx, fixed, !0, 0]),
        (libc::SYS_munmap, [WINDOWS, WINDOWS_SPAN, 0, 0, 0, 0]),
        (libc::SYS_munmap, [STUB_TEXT, 4096, 0, 0, 0, 0]),
        (libc::SYS_mprotect, [STUB_TEXT, 4096, rwx, 0, 0, 0]),
        (libc::SYS_mremap, [CODE, 4096, 4096, 3, STUB_TEXT, 0]),
        (libc::SYS_recvmsg, [FD_PASSED as u64, CODE, 0, 0, 0, 0]),
        (libc::SYS_clone, [0x11 | libc::CLONE_NEWUSER as u64, 0, 0, 0, 0, 0]),
    ];
    for (nr, args) in cases {
        let (_thread, stopped) = attack(&platform, ops, nr, args).expect("a stub");
        assert!(is_refused(&stopped, nr), "call {nr} with {args:x?}: {stopped:?}");
    }
    platform.shut_down();
}

#[test]
fn a_clone_that_was_not_ordered_ends_its_stub() {
    let platform = Platform::start().expect("stubs start");
    let flags = (libc::CLONE_PARENT | libc::SIGCHLD) as u64;
    let (thread, stopped) =
        attack(&platform, platform.sites().ops, libc::SYS_clone, [flags, 0, 0, 0, 0, 0]).expect("a stub");
    let pid = thread.stub().pid().with(|pid| pid).expect("nobody has collected it");
    // The gate has killed it: no trap comes, and the process is a zombie or gone.
    assert!(stopped.is_none() || matches!(stopped, Some((_, Trap::Dead))), "{stopped:?}");
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let letter = state.rsplit(") ").next().and_then(|s| s.chars().next());
    assert!(matches!(letter, None | Some('Z' | 'X')), "{state}");
    platform.shut_down();
}

#[test]
fn the_entries_for_32_bit_programs_are_no_way_out() {
    let platform = Platform::start().expect("stubs start");
    let mut thread = platform.fresh(0).expect("a stub");
    thread.call(&[Op::map_anonymous(CODE, 0x1000, 7, libc::MAP_PRIVATE)]).expect("memory");
    // mov eax, 20 (getpid on i386); int 0x80
    UserMemory::new(thread.stub().pid().clone()).write(CODE, &[0xb8, 20, 0, 0, 0, 0xcd, 0x80]).expect("code");
    thread.enter(&Regs { rip: CODE, rsp: CODE + 0xf00, rflags: 0x202, ..Regs::default() });
    let (_, trap) = thread.wait(Some(Duration::from_secs(5)), platform.sites()).expect("it stops");
    assert!(matches!(trap, Trap::Syscall32 | Trap::Fault(_)), "{trap:?}");
    platform.shut_down();
}

/// Every stub is in namespaces of its own where the host gives them, as it does to `unshare`.
#[test]
fn stubs_have_namespaces_of_their_own() {
    let allowed = std::process::Command::new("unshare").args(["-UnimuC", "true"]).status();
    if !allowed.is_ok_and(|s| s.success()) {
        println!("SKIPPED: this host gives no user namespaces");
        return;
    }
    let platform = Platform::start().expect("stubs start");
    let thread = platform.fresh(0).expect("a stub");
    for kind in ["user", "net", "ipc", "mnt", "uts", "cgroup"] {
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("a namespace");
        assert_ne!(
            of("self"),
            of(&thread.stub().pid().with(|pid| pid.to_string()).expect("it is there")),
            "{kind}"
        );
    }
    platform.shut_down();
}

#[test]
fn a_stub_without_its_descriptors_is_an_error_not_a_hang() {
    let platform = Platform::start().expect("stubs start");
    let mut thread = platform.fresh(0).expect("a stub");
    thread.call(&[Op::close(0)]).expect("guests can close them");
    use std::os::fd::AsFd as _;
    let file = std::fs::File::open("/etc/passwd").expect("a file");
    let mapped = thread.map_file(file.as_fd(), Op::map_passed(CODE, 4096, 1, libc::MAP_PRIVATE, 0));
    assert!(mapped.is_err());
    platform.shut_down();
}

/// A host without 32-bit system calls never asks the filter about them; one with them must get the same answer whatever else fits.
#[test]
fn a_call_of_another_architecture_is_refused_everywhere() {
    use uml_kernel::platform::x86_64::filter;
    use uml_kernel::task::seccomp::bpf::{Insn, Program};
    const X86_64: u32 = 0xc000_003e;
    const TRAP: u32 = 0x0003_0000;
    let platform = Platform::start().expect("stubs start");
    let sites = *platform.sites();
    let insns = filter::program(&sites, true)
        .iter()
        .map(|i| Insn { code: i.code, jt: i.jt, jf: i.jf, k: i.k })
        .collect();
    let program = Program::new(insns).expect("a program");
    let mut every = vec![sites.ops, sites.wait, sites.wake, sites.yield_, sites.sigreturn, CODE];
    every.extend(sites.child);
    let (mut allowed, mut refused) = (0, 0);
    for ip in every {
        for nr in 0..512 {
            for first in [0, 1, 0x1002, 16] {
                let data = |arch| {
                    let mut data = [0; 16];
                    (data[0], data[1], data[2], data[3]) = (nr, arch, ip as u32, (ip >> 32) as u32);
                    data[4] = first;
                    data
                };
                allowed += u32::from(program.run(&data(X86_64)) != TRAP);
                // i386, and x86_64's number for big-endian of another: whatever is not exactly ours.
                for arch in [0x4000_0003, 0xc000_003f, 0] {
                    assert_eq!(program.run(&data(arch)), TRAP, "call {nr} of {arch:#x} at {ip:#x}");
                    refused += 1;
                }
            }
        }
    }
    assert!(allowed > 10 && refused > 50_000, "{allowed} allowed, {refused} refused");
    platform.shut_down();
}
