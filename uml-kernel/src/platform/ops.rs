//! Host calls that the kernel orders from a stub.

use super::x86_64::layout::*;

/// One ordered call: its number and arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// System call number, or one of the `OP_` pseudo calls.
    pub nr: u64,
    /// Arguments.
    pub args: [u64; 6],
}

impl Op {
    /// Any call.
    pub fn new(nr: i64, args: &[u64]) -> Op {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        Op { nr: nr as u64, args: all }
    }

    /// `mmap` without a file.
    pub fn map_anonymous(addr: u64, len: u64, prot: i32, flags: i32) -> Op {
        let flags = flags | libc::MAP_FIXED | libc::MAP_ANONYMOUS;
        Op::new(libc::SYS_mmap, &[addr, len, prot as u64, flags as u64, !0, 0])
    }

    /// `mmap` of the descriptor received last.
    pub fn map_passed(addr: u64, len: u64, prot: i32, flags: i32, offset: u64) -> Op {
        let flags = flags | libc::MAP_FIXED;
        Op::new(libc::SYS_mmap, &[addr, len, prot as u64, flags as u64, FD_PASSED as u64, offset])
    }

    /// The same of another of the descriptors received, counted from 0.
    pub fn of_file(mut self, number: usize) -> Op {
        self.args[4] = (FD_PASSED as usize + number) as u64;
        self
    }

    /// `munmap`.
    pub fn unmap(addr: u64, len: u64) -> Op {
        Op::new(libc::SYS_munmap, &[addr, len])
    }

    /// `mprotect`.
    pub fn protect(addr: u64, len: u64, prot: i32) -> Op {
        Op::new(libc::SYS_mprotect, &[addr, len, prot as u64])
    }

    /// `madvise`.
    pub fn advise(addr: u64, len: u64, advice: i32) -> Op {
        Op::new(libc::SYS_madvise, &[addr, len, advice as u64])
    }

    /// `mremap` to a fixed place.
    pub fn remap(old: u64, old_len: u64, new_len: u64, flags: u64, new: u64) -> Op {
        Op::new(libc::SYS_mremap, &[old, old_len, new_len, flags, new])
    }

    /// `close`.
    pub fn close(fd: i32) -> Op {
        Op::new(libc::SYS_close, &[fd as u64])
    }

    /// `arch_prctl(ARCH_SET_FS)`: the guest's thread pointer.
    pub fn set_fs(base: u64) -> Op {
        Op::new(libc::SYS_arch_prctl, &[0x1002, base])
    }

    /// `arch_prctl(ARCH_SET_GS)`.
    pub fn set_gs(base: u64) -> Op {
        Op::new(libc::SYS_arch_prctl, &[0x1001, base])
    }

    /// Compare-and-exchange of a word of the guest's, atomic towards the guest's own instructions.
    pub fn exchange(at: u64, old: u32, new: u32) -> Op {
        Op { nr: OP_EXCHANGE, args: [at, old.into(), new.into(), 0, 0, 0] }
    }

    /// Copies bytes from one address of the stub's to another.
    pub fn copy(to: u64, from: u64, len: u64) -> Op {
        Op { nr: OP_COPY, args: [to, from, len, 0, 0, 0] }
    }

    /// Loads MXCSR and the x87 control word from an address.
    pub fn load_control(at: u64) -> Op {
        Op { nr: OP_CONTROL, args: [at, 0, 0, 0, 0, 0] }
    }

    /// Ends the stub thread.
    pub fn exit_thread() -> Op {
        Op::new(libc::SYS_exit, &[0])
    }
}
