//! Hot call sites: the instruction before a `syscall`, and the `syscall`, become a jump to a thunk.
//!
//! The jump is `jmp *[table]`, seven bytes with an absolute address in low memory. The thunk does what the replaced instruction did, puts the
//! return address where `syscall` puts it (`rcx`), and goes on to the trampoline. A jump into the middle of the seven bytes meets
//! the byte 0x06, no instruction in 64-bit mode, where the `syscall` was: the fault is taken as the call.

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

/// The patched sites of one address space.
#[derive(Debug, Default, Clone)]
pub struct Patches {
    /// By the address behind the `syscall`: traps so far, or `None` for one that is patched or cannot be.
    seen: HashMap<u64, Option<u32>>,
    /// Addresses of the `syscall` instructions that are no more.
    patched: HashMap<u64, u64>,
    count: u64,
    mapped: bool,
    /// No more: the guest uses gs, or the low memory.
    off: bool,
}

impl Patches {
    /// Stops patching in this address space.
    pub fn disable(&mut self) {
        self.off = true;
    }

    /// Whether a fault at `rip` is a jump to a `syscall` that was patched; then the address behind it.
    pub fn middle(&self, rip: u64) -> Option<u64> {
        self.patched.get(&rip).copied()
    }

    /// Counts a trap of the call whose next instruction is at `rip`, and patches the site when it is hot.
    pub(crate) fn consider(&mut self, thread: &mut StubThread, rip: u64, sites: &Sites) -> Result<()> {
        if self.off || self.count == MAX_SITES || !(THUNKS + THUNKS_SIZE..TASK_SIZE).contains(&rip) {
            return Ok(());
        }
        let seen = self.seen.entry(rip).or_insert(Some(0));
        let Some(traps) = seen else { return Ok(()) };
        *traps += 1;
        if *traps < HOT {
            return Ok(());
        }
        *seen = None;
        let pid = thread.stub().pid();
        let mut site = [0; 7];
        if sys::vm_read(pid, rip - 7, &mut site).is_err() || !patchable(&site) {
            return Ok(());
        }
        if !self.mapped {
            let flags = libc::MAP_PRIVATE;
            let prot = libc::PROT_READ | libc::PROT_EXEC;
            if thread.call(&[Op::map_anonymous(THUNKS, THUNKS_SIZE, prot, flags)]).is_err() {
                self.off = true;
                return Ok(());
            }
            self.mapped = true;
        }
        let slot = THUNKS + self.count * 8;
        let thunk = THUNKS + TABLE + self.count * THUNK;
        self.count += 1;
        // The host lets a parent write to read-only private text this way, as a debugger does; the page becomes the guest's own.
        let mut memory = std::fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/mem"))?;
        let mut put = |at: u64, bytes: &[u8]| -> Result<()> {
            memory.seek(SeekFrom::Start(at))?;
            memory.write_all(bytes)
        };
        put(thunk, &thunk_code(&site, rip, sites.tramp))?;
        put(slot, &thunk.to_le_bytes())?;
        let mut jump = [0xff, 0x24, 0x25, 0, 0, 0, 0];
        jump[3..].copy_from_slice(&(slot as u32).to_le_bytes());
        put(rip - 7, &jump)?;
        self.patched.insert(rip - 2, rip);
        Ok(())
    }
}

/// Whether the seven bytes before a return address are an instruction of five bytes that works anywhere, and `syscall`.
fn patchable(site: &[u8; 7]) -> bool {
    let relocatable = matches!(site[..5], [0xb8, ..] | [0x4c, 0x8b, 0x4c, 0x24, 0x08]);
    relocatable && site[5..] == [0x0f, 0x05]
}

fn thunk_code(site: &[u8; 7], back: u64, tramp: u64) -> Vec<u8> {
    let mut code = site[..5].to_vec();
    code.extend([0x48, 0xb9]); // movabs rcx
    code.extend(back.to_le_bytes());
    code.extend([0x49, 0xbb]); // movabs r11
    code.extend(tramp.to_le_bytes());
    code.extend([0x41, 0xff, 0xe3]); // jmp r11
    debug_assert!(code.len() as u64 <= THUNK);
    code
}

const _: () = assert!(THUNKS >> 16 == 0x06 && TABLE + MAX_SITES * THUNK <= THUNKS_SIZE);
