//! Hot call sites: the instruction before a `syscall`, and the `syscall`, become a jump to a thunk.
//!
//! The jump is `jmp *[table]`, seven bytes with an absolute address in low memory. The thunk does what the replaced instruction did, puts the
//! return address where `syscall` puts it (`rcx`), and goes on to the trampoline. There are two kinds of sites:
//!
//! - Five bytes and `syscall`. A jump to the `syscall` that was there meets the third byte of the table's address, 0x06, no instruction in
//!   64-bit mode: the fault is taken as the call.
//! - `xor eax, eax; syscall; cmp rax, -4096`, which is how `read` is called: four bytes do not suffice, so the comparison moves into the
//!   thunk, too, behind the call. What stood behind the `syscall` is then the address's second byte, chosen among those that are no
//!   instruction. A jump to the `syscall` itself executes `and eax, imm32`, harmless for the zero that has to be there, and faults at
//!   what is left of the comparison. All of the kernel and the guest know the return address in the guest's code only.

use super::layout::*;
use super::stub::Sites;
use crate::platform::ops::Op;
use crate::platform::sys;
use crate::platform::thread::StubThread;
use std::collections::HashMap;
use std::io::{Result, Write};
use std::io::{Seek, SeekFrom};

/// Bytes of a thunk.
const THUNK: u64 = 48;
/// Where the table ends and the thunks begin.
const TABLE: u64 = 0x1000;
/// Sites of one address space.
const MAX_SITES: u64 = TABLE / 8;
/// Traps of a site before it is patched: exits and start-up code stay as they are.
const HOT: u32 = 4;
/// Slots whose address has a second byte that is no instruction in 64-bit mode (0x06, 0x07, 0x0e), for sites of the second kind.
const ODD_SLOTS: [std::ops::Range<u64>; 2] = [0x600 / 8..0x800 / 8, 0xe00 / 8..0xf00 / 8];
/// Where in a thunk of the second kind the part behind the call begins.
const BEHIND: u64 = 25;
/// And how long the comparison is that was moved there.
const COMPARISON: u64 = 6;
/// Length of `xor eax, eax`, and of `syscall`.
const SHORT: u64 = 2;

/// One thunk: the address behind its site's `syscall`, and whether what follows there was moved.
#[derive(Debug, Clone, Copy)]
pub struct Thunk {
    behind: u64,
    moved: bool,
}

impl Thunk {
    /// Where in the guest's code a thread stands that is at `rip` in this thunk; and, if that cannot be gone on from there, from where.
    pub(crate) fn leave(self, rip: &mut u64) -> Alias {
        let offset = (*rip - THUNKS - TABLE) % THUNK;
        let inside = *rip;
        *rip = match offset {
            // What comes before the call does no harm twice.
            _ if !self.moved => self.behind - 7,
            ..BEHIND => self.behind - 2 * SHORT,
            BEHIND => self.behind,
            _ => self.behind + COMPARISON,
        };
        if self.moved && offset == BEHIND {
            return Alias { behind: self.behind, thunk: inside };
        }
        Alias::default()
    }
}

/// Two addresses for the same place: behind the call in the guest's own code, and in the thunk of its site. Zeros if there is no such place.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alias {
    behind: u64,
    thunk: u64,
}

impl Alias {
    /// Where a thread really goes on that is to go on at `rip`.
    pub(crate) fn resume(self, rip: u64) -> u64 {
        match self.behind.wrapping_sub(rip) {
            _ if self.thunk == 0 => rip,
            0 => self.thunk,
            // The call again, its number already in place.
            SHORT => self.thunk - BEHIND + SHORT,
            _ => rip,
        }
    }
}

/// The number of the thunk that an address lies in.
pub(crate) fn number_of(rip: u64) -> Option<u64> {
    (THUNKS + TABLE..THUNKS + THUNKS_SIZE).contains(&rip).then(|| (rip - THUNKS - TABLE) / THUNK)
}

/// What a fault in the middle of a patched site was to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Middle {
    /// The call; its return address.
    Call(u64),
    /// What follows it; where that is now.
    Behind(u64),
}

/// The patched sites of one address space.
#[derive(Debug, Default, Clone)]
pub struct Patches {
    /// By the address behind the `syscall`: traps so far, or `None` for one that is patched or cannot be.
    seen: HashMap<u64, Option<u32>>,
    /// Addresses at which a jump into a site faults.
    middles: HashMap<u64, Middle>,
    /// Sites of each kind.
    counts: [u64; 2],
    mapped: bool,
    /// No more: the guest uses gs, or the low memory.
    off: bool,
}

impl Patches {
    /// Stops patching in this address space.
    pub fn disable(&mut self) {
        self.off = true;
    }

    /// Whether a fault at `rip` is a jump into a site that was patched; then what it was to be.
    pub fn middle(&self, rip: u64) -> Option<Middle> {
        self.middles.get(&rip).copied()
    }

    /// Counts a trap of the call whose next instruction is at `rip`, as `weight` of them; true if the site is to be patched.
    pub fn is_hot(&mut self, rip: u64, weight: u32) -> bool {
        if self.off || !(THUNKS + THUNKS_SIZE..TASK_SIZE).contains(&rip) {
            return false;
        }
        let seen = self.seen.entry(rip).or_insert(Some(0));
        let Some(traps) = seen else { return false };
        // A site of threads that always run beside each other stays hot and unpatched.
        *traps = traps.saturating_add(weight);
        *traps >= HOT
    }

    /// A number for a new thunk.
    fn number(&mut self, moved: bool) -> Option<u64> {
        let count = &mut self.counts[usize::from(moved)];
        let number = if moved {
            ODD_SLOTS.into_iter().flatten().nth(*count as usize)
        } else {
            (0..MAX_SITES).filter(|n| !ODD_SLOTS.iter().any(|r| r.contains(n))).nth(*count as usize)
        };
        *count += 1;
        number
    }

    /// Patches a hot site, if it is of a kind that can be. No other thread may run in this memory meanwhile: the bytes change one by one.
    pub(crate) fn patch(&mut self, thread: &mut StubThread, rip: u64, sites: &Sites) -> Result<()> {
        self.seen.insert(rip, None);
        let pid = thread.stub().pid().clone();
        let read =
            |at: u64, into: &mut [u8]| pid.with(|pid| sys::vm_read(pid, at, into)).is_some_and(|r| r.is_ok());
        let mut site = [0; 7];
        let mut tail = [0; COMPARISON as usize];
        if !read(rip - 7, &mut site) {
            return Ok(());
        }
        let moved = is_short(&site) && read(rip, &mut tail) && is_comparison(tail);
        if !moved && !is_long(&site) {
            return Ok(());
        }
        let Some(number) = self.number(moved) else { return Ok(()) };
        if !self.mapped {
            let flags = libc::MAP_PRIVATE;
            let prot = libc::PROT_READ | libc::PROT_EXEC;
            if thread.call(&[Op::map_anonymous(THUNKS, THUNKS_SIZE, prot, flags)]).is_err() {
                self.off = true;
                return Ok(());
            }
            self.mapped = true;
        }
        let slot = THUNKS + number * 8;
        let thunk = THUNKS + TABLE + number * THUNK;
        // The host lets a parent write to read-only private text this way, as a debugger does; the page becomes the guest's own.
        let open = |pid| std::fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/mem"));
        let mut memory = pid.with(open).unwrap_or_else(|| Err(crate::platform::Dead.into()))?;
        let mut put = |at: u64, bytes: &[u8]| -> Result<()> {
            memory.seek(SeekFrom::Start(at))?;
            memory.write_all(bytes)
        };
        let (start, code) = if moved {
            (rip - 2 * SHORT, short_thunk(tail, rip, thunk + BEHIND, sites.tramp))
        } else {
            (rip - 7, long_thunk(&site, rip, sites.tramp))
        };
        put(thunk, &code)?;
        put(slot, &thunk.to_le_bytes())?;
        let mut jump = [0xff, 0x24, 0x25, 0, 0, 0, 0];
        jump[3..].copy_from_slice(&(slot as u32).to_le_bytes());
        put(start, &jump)?;
        thread.stub().add_thunk(number, Thunk { behind: rip, moved });
        if moved {
            self.middles.insert(start + 7, Middle::Call(rip));
            self.middles.insert(rip, Middle::Behind(thunk + BEHIND));
        } else {
            self.middles.insert(rip - 2, Middle::Call(rip));
        }
        Ok(())
    }
}

/// Whether the seven bytes before a return address are an instruction of five bytes that works anywhere, and `syscall`.
fn is_long(site: &[u8; 7]) -> bool {
    let relocatable = matches!(site[..5], [0xb8, ..] | [0x4c, 0x8b, 0x4c, 0x24, 0x08]);
    relocatable && site[5..] == [0x0f, 0x05]
}

/// Whether they end with `xor eax, eax; syscall`.
fn is_short(site: &[u8; 7]) -> bool {
    site[3..] == [0x31, 0xc0, 0x0f, 0x05]
}

/// `cmp rax, -4096` or `-4095`: the last three bytes are no instruction.
fn is_comparison(tail: [u8; COMPARISON as usize]) -> bool {
    matches!(tail, [0x48, 0x3d, 0 | 1, 0xf0, 0xff, 0xff])
}

/// `rcx` as `syscall` leaves it, and on to the trampoline.
fn call(back: u64, tramp: u64) -> Vec<u8> {
    let mut code = vec![0x48, 0xb9]; // movabs rcx
    code.extend(back.to_le_bytes());
    code.extend([0x49, 0xbb]); // movabs r11
    code.extend(tramp.to_le_bytes());
    code.extend([0x41, 0xff, 0xe3]); // jmp r11
    code
}

fn long_thunk(site: &[u8; 7], behind: u64, tramp: u64) -> Vec<u8> {
    let mut code = site[..5].to_vec();
    code.extend(call(behind, tramp));
    code
}

fn short_thunk(comparison: [u8; COMPARISON as usize], behind: u64, back: u64, tramp: u64) -> Vec<u8> {
    let mut code = vec![0x31, 0xc0];
    code.extend(call(back, tramp));
    debug_assert_eq!(code.len() as u64, BEHIND);
    code.extend(comparison);
    code.extend([0xff, 0x25, 0, 0, 0, 0]); // jmp [rip]
    code.extend((behind + COMPARISON).to_le_bytes());
    debug_assert!(code.len() as u64 <= THUNK);
    code
}

const _: () = assert!(THUNKS == 0x06_0000 && TABLE + MAX_SITES * THUNK <= THUNKS_SIZE);
