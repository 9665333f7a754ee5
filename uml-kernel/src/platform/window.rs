//! The trap window: memory that the kernel shares with one stub thread.
//!
//! The other side is hostile and may change any byte at any time: every value is read once, and believed for nothing but
//! the guest's own state.

#![allow(unsafe_code)]

use super::sys;
use super::x86_64::layout::*;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};

/// One slot of a stub's windows, mapped here.
#[derive(Debug)]
pub struct Window {
    base: *mut u8,
    slot: usize,
}

// SAFETY: the mapping is valid until drop, and every access goes through volatile or atomic operations.
unsafe impl Send for Window {}
// SAFETY: as above; concurrent accesses are of a kind with what the other process does all the time.
unsafe impl Sync for Window {}

impl Window {
    /// Maps slot `slot` of the windows' file.
    pub fn map(file: BorrowedFd<'_>, slot: usize) -> std::io::Result<Window> {
        let base = sys::map_shared(file, slot as u64 * WINDOW_SIZE, WINDOW_SIZE as usize)?;
        let window = Window { base, slot };
        window.set_u64(W_SELF, window.guest_address());
        Ok(window)
    }

    /// Where the stub has it.
    pub fn guest_address(&self) -> u64 {
        WINDOWS + self.slot as u64 * WINDOW_SIZE
    }

    /// Number of the slot.
    pub fn slot(&self) -> usize {
        self.slot
    }

    fn at(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset + len <= WINDOW_SIZE as usize, "window access at {offset:#x}+{len:#x}");
        // SAFETY: inside the mapping, by the assertion.
        unsafe { self.base.add(offset) }
    }

    /// A word that both sides change; `offset` is a multiple of 4.
    pub fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4));
        // SAFETY: aligned, inside the mapping, which outlives the borrow.
        unsafe { AtomicU32::from_ptr(self.at(offset, 4).cast()) }
    }

    /// The word that both sides wait on.
    pub fn turn(&self) -> &AtomicU32 {
        self.word(W_TURN)
    }

    /// Whether the stub thread can take a signal.
    pub fn ready(&self) -> bool {
        self.word(W_READY).load(Ordering::Relaxed) != 0
    }

    /// Reads a word.
    pub fn u64(&self, offset: usize) -> u64 {
        // SAFETY: inside the mapping; volatile, because the other side may write.
        unsafe { self.at(offset, 8).cast::<u64>().read_volatile() }
    }

    /// Writes a word.
    pub fn set_u64(&self, offset: usize, value: u64) {
        // SAFETY: as in `u64`.
        unsafe { self.at(offset, 8).cast::<u64>().write_volatile(value) }
    }

    /// Reads half a word.
    pub fn u32(&self, offset: usize) -> u32 {
        // SAFETY: as in `u64`.
        unsafe { self.at(offset, 4).cast::<u32>().read_volatile() }
    }

    /// Writes half a word.
    pub fn set_u32(&self, offset: usize, value: u32) {
        // SAFETY: as in `u64`.
        unsafe { self.at(offset, 4).cast::<u32>().write_volatile(value) }
    }

    /// Reads a byte.
    pub fn u8(&self, offset: usize) -> u8 {
        // SAFETY: as in `u64`.
        unsafe { self.at(offset, 1).read_volatile() }
    }

    /// Writes a byte.
    pub fn set_u8(&self, offset: usize, value: u8) {
        // SAFETY: as in `u64`.
        unsafe { self.at(offset, 1).write_volatile(value) }
    }

    /// Copies bytes out.
    pub fn bytes(&self, offset: usize, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        // SAFETY: inside the mapping; a race gives the guest's bytes of one moment or another, and any byte is a valid u8.
        unsafe { std::ptr::copy_nonoverlapping(self.at(offset, len), out.as_mut_ptr(), len) };
        out
    }

    /// Copies bytes out, into a buffer.
    pub fn read_into(&self, offset: usize, out: &mut [u8]) {
        // SAFETY: as in `bytes`.
        unsafe { std::ptr::copy_nonoverlapping(self.at(offset, out.len()), out.as_mut_ptr(), out.len()) };
    }

    /// Copies bytes in.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        // SAFETY: as in `bytes`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(offset, bytes.len()), bytes.len()) };
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and nothing borrows from it any more.
        unsafe { libc::munmap(self.base.cast(), WINDOW_SIZE as usize) };
    }
}
