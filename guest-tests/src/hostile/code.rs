//! Instructions that enter a kernel by another door, or that are the kernel's own.

use super::Attack;
use crate::mem::PRIV;
use crate::run::{self, say, sys};

pub(super) const ATTACKS: &[Attack] =
    &[("entries", entries), ("compat", compat), ("privileged", privileged), ("flags", flags), ("x32", x32)];

const RWX: i32 = 7;

/// Puts `code` where 32-bit code, too, can reach it, and runs it in a child.
fn fate_of(code: &[u8]) -> String {
    run::fate(|| {
        let at = 0x1000_0000usize;
        let fixed = PRIV | libc::MAP_FIXED;
        let page = sys!(SYS_mmap, at, 0x4000, RWX, fixed, -1, 0).0 as usize;
        crate::mem::put(page, code);
        unsafe {
            std::arch::asm!(
                "push rbx", "push rbp", "mov rbp, rsp", "mov rsp, {stack}", "call {f}", "mov rsp, rbp", "pop rbp", "pop rbx",
                f = in(reg) page, stack = in(reg) page + 0x3f00,
                out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _, out("r8") _, out("r9") _, out("r10") _,
                out("r11") _, out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            );
        }
        33
    })
}

/// int 0x80 and sysenter: kill(-1, 9), exit, open: nothing of it may be done, by whichever kernel.
fn entries() {
    let host = super::host_pid().to_le_bytes();
    let kill: Vec<u8> =
        [&[0xb8, 37, 0, 0, 0, 0xbb][..], &host, &[0xb9, 9, 0, 0, 0, 0xcd, 0x80, 0xc3]].concat();
    let fates: Vec<String> = [
        &kill[..],
        // getpid, fork, execve by int 0x80
        &[0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3],
        &[0xb8, 2, 0, 0, 0, 0xcd, 0x80, 0xc3],
        &[0xb8, 11, 0, 0, 0, 0xcd, 0x80, 0xc3],
        // sysenter
        &[0xb8, 20, 0, 0, 0, 0x0f, 0x34, 0xc3],
    ]
    .iter()
    .map(|c| fate_of(c))
    .collect();
    say!("fates={fates:?}");
}

/// A far jump into 32-bit code, that then makes calls there.
fn compat() {
    let host = super::host_pid().to_le_bytes();
    let mut fates = Vec::new();
    for selector in [0x23u8, 0x73, 0x7b, 0x07] {
        // push selector; push 0x10000100; retfq
        let mut code = vec![0x6a, selector, 0x68, 0x00, 0x01, 0x00, 0x10, 0x48, 0xcb];
        code.resize(0x100, 0x90);
        code.extend([0xb8, 37, 0, 0, 0, 0xbb]);
        code.extend(host);
        // kill(host, 9); then `exit(33)`, which says that it was there.
        code.extend([0xb9, 9, 0, 0, 0, 0xcd, 0x80, 0xb8, 1, 0, 0, 0, 0xbb, 33, 0, 0, 0, 0xcd, 0x80, 0xf4]);
        fates.push(fate_of(&code));
    }
    // sysenter of 32-bit code
    let mut code = vec![0x6a, 0x23, 0x68, 0x00, 0x01, 0x00, 0x10, 0x48, 0xcb];
    code.resize(0x100, 0x90);
    code.extend([0xb8, 20, 0, 0, 0, 0x89, 0xe5, 0x0f, 0x34, 0xf4]);
    fates.push(fate_of(&code));
    let through = fates.iter().filter(|f| f.starts_with("exited")).count();
    say!("through={through} {fates:?}");
}

/// Instructions of ring 0, and those that reach the segments' bases or protection keys.
fn privileged() {
    let faults: &[(&str, &[u8])] = &[
        ("hlt", &[0xf4]),
        ("cli", &[0xfa]),
        ("in", &[0xe4, 0x60]),
        ("out", &[0xe6, 0x80]),
        ("rdmsr", &[0x0f, 0x32]),
        ("mov-cr3", &[0x0f, 0x20, 0xd8]),
        ("lgdt", &[0x0f, 0x01, 0x14, 0x24]),
        ("ltr", &[0x0f, 0x00, 0xd8]),
        ("iretq-kernel", &[0x6a, 0, 0x54, 0x68, 2, 2, 0, 0, 0x6a, 0x10, 0x68, 0, 0, 0, 0x10, 0x48, 0xcf]),
        ("int3", &[0xcc]),
        ("int-0xff", &[0xcd, 0xff]),
        ("ud2", &[0x0f, 0x0b]),
        ("jump-above", &[0x48, 0xb8, 0, 0, 0, 0, 0, 0x80, 0xff, 0xff, 0xff, 0xe0]),
        ("jump-vsyscall", &[0x48, 0xb8, 0, 4, 0x60, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xe0]),
    ];
    let fates: Vec<String> = faults.iter().map(|(n, c)| format!("{n}={}", fate_of(c))).collect();
    // wrgsbase/wrfsbase 0, then a call: the stub's own window is found through gs.
    let bases: &[(&str, &[u8])] = &[
        ("wrgsbase", &[0x31, 0xc0, 0xf3, 0x48, 0x0f, 0xae, 0xd8, 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3]),
        ("gs-selector", &[0x31, 0xc0, 0x8e, 0xe8, 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3]),
        ("wrpkru", &[0xb8, 0xfc, 0xff, 0xff, 0xff, 0x31, 0xc9, 0x31, 0xd2, 0x0f, 0x01, 0xef, 0xc3]),
        ("data-selectors", &[0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3]),
    ];
    let ended: Vec<String> = bases
        .iter()
        .filter(|(_, c)| {
            let fate = fate_of(c);
            !(fate == "exited:33" || fate.starts_with("killed"))
        })
        .map(|(n, _)| (*n).to_string())
        .collect();
    say!("fates={fates:?}");
    say!("neither={ended:?}");
}

/// Calls made with every flag that a program can set: single step, alignment, direction, nested task.
fn flags() {
    let mut fates = Vec::new();
    for bit in [8u32, 10, 14, 18, 21, 16, 17] {
        let flags = (1u32 << bit | 0x202).to_le_bytes();
        // push flags; popf; mov eax, 39; syscall; mov eax, 110; syscall; push 0x202; popf; ret
        let code = [
            &[0x68][..],
            &flags,
            &[
                0x9d, 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xb8, 110, 0, 0, 0, 0x0f, 0x05, 0x68, 2, 2, 0, 0, 0x9d,
                0xc3,
            ],
        ]
        .concat();
        fates.push(fate_of(&code));
    }
    // A call as the last instruction of the last page below the stub, and one over its edge.
    let last = run::spawn(|| {
        let at = super::at::STUB - 4096;
        let r = sys!(SYS_mmap, at, 4096, RWX, PRIV | libc::MAP_FIXED, -1, 0);
        if !r.ok() {
            return 34;
        }
        crate::mem::put(at + 4091, &[0xb0, 39, 0x90, 0x0f, 0x05]);
        let f: extern "C" fn() = unsafe { std::mem::transmute(at + 4091) };
        f();
        35
    });
    // It may go on in the stub, where it waits for nobody but its own end.
    run::sleep_ms(300);
    sys!(SYS_kill, last, libc::SIGKILL);
    let last = run::wait(last);
    say!("fates={fates:?} last={}", last == "exited:34" || last.starts_with("killed"));
}

/// Numbers of the x32 table, negative ones, those beyond every table: from the program and from the stub.
fn x32() {
    let mut done = Vec::new();
    for nr in [
        0x4000_0000i64 | 62,
        0x4000_0000 | 39,
        0x4000_0000 | 513,
        -1,
        i64::MIN,
        1 << 32 | 39,
        5000,
        511,
        512,
        547,
    ] {
        let args = [super::host_pid() as usize, 9, 0, 0, 0, 0];
        let r = run::raw(nr, &args);
        // Bits above the 32nd are no part of the number for Linux, either.
        if r.ok() && nr != 1 << 32 | 39 {
            done.push(nr);
        }
    }
    let calls =
        [0x4000_0000i64 | 62, 0x4000_0000 | 9].map(|nr| (nr, [super::host_pid() as usize, 9, 0, 0, 0, 0]));
    for ((nr, _), r) in calls.iter().zip(super::at::ordered(&calls)) {
        if r >= 0 {
            done.push(*nr);
        }
    }
    say!("done={done:?}");
}
