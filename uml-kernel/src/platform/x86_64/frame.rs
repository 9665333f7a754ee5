//! Host signal frames: read where the stub stopped, built where it is to go on with all registers.
//!
//! Layout: arch/x86/include/uapi/asm/sigcontext.h and ucontext.h. Whatever lies in a window may be forged by the guest; it is
//! only ever taken as the guest's own registers.

use super::layout::*;
use super::{GREGS, Regs};
use crate::platform::window::Window;

/// Offset of `uc_mcontext` in the kernel's `struct ucontext`.
pub const UC_MCONTEXT: usize = 40;
/// Offset of `uc_sigmask`.
pub const UC_SIGMASK: usize = UC_MCONTEXT + 256;
/// Size of the kernel's `struct ucontext`.
pub const UC_SIZE: usize = UC_SIGMASK + 8;
/// Offset of the pointer to the extended registers.
const UC_FPSTATE: usize = UC_MCONTEXT + 23 * 8;
/// `uc_flags` of a 64-bit frame with extended state: UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS.
pub const UC_FLAGS: u64 = 7;
/// User code and stack selectors.
pub const CS_SS: u64 = 0x002b_0000_0000_0033;
/// Where `struct _fpx_sw_bytes` lies in the FXSAVE area.
pub const SW_BYTES: usize = 464;
/// `FP_XSTATE_MAGIC1`.
pub const MAGIC1: u32 = 0x4650_5853;
/// `FP_XSTATE_MAGIC2`, after the state.
pub const MAGIC2: u32 = 0x4650_5845;

/// The window offset of a frame that the stub reported, if it lies where its stack is.
pub fn offset_in_window(window: &Window, address: u64) -> Option<usize> {
    let offset = address.checked_sub(window.guest_address())? as usize;
    (offset >= W_ALTSTACK && offset + UC_SIZE <= WINDOW_SIZE as usize && offset.is_multiple_of(8))
        .then_some(offset)
}

/// The registers in the frame at window offset `uc`.
pub fn read_regs(window: &Window, uc: usize) -> Regs {
    let mut words = [0; super::WORDS];
    for (word, greg) in words.iter_mut().zip(GREGS) {
        *word = window.u64(uc + UC_MCONTEXT + greg * 8);
    }
    Regs::from_words(words)
}

/// Puts registers into the frame at window offset `uc`.
pub fn write_regs(window: &Window, uc: usize, regs: &Regs) {
    for (word, greg) in regs.to_words().into_iter().zip(GREGS) {
        window.set_u64(uc + UC_MCONTEXT + greg * 8, word);
    }
}

/// Error code, trap number and fault address of the frame.
pub fn fault(window: &Window, uc: usize) -> (u64, u64, u64) {
    let at = |n: usize| window.u64(uc + UC_MCONTEXT + n * 8);
    (at(19), at(20), at(22))
}

/// The bytes of the extended registers that belong to the frame.
pub fn fpstate(window: &Window, uc: usize) -> Option<Vec<u8>> {
    let offset = (window.u64(uc + UC_FPSTATE)).checked_sub(window.guest_address())? as usize;
    if offset < W_ALTSTACK || offset + 512 > WINDOW_SIZE as usize {
        return None;
    }
    let extended = window.u32(offset + SW_BYTES + 4) as usize;
    let size = if window.u32(offset + SW_BYTES) == MAGIC1 { extended } else { 512 };
    (size >= 512 && offset + size <= WINDOW_SIZE as usize).then(|| window.bytes(offset, size))
}

/// Gives a frame the floating-point modes of another thread: the x87 control word and MXCSR. False if it has no such state.
pub fn set_control(window: &Window, uc: usize, fcw: u16, mxcsr: u32) -> bool {
    // struct _fpstate: control word at 0, MXCSR at 24; the header of the extended state at 512, which says what is in use.
    const MXCSR: usize = 24;
    const XSTATE_BV: usize = 512;
    let Some(offset) = window.u64(uc + UC_FPSTATE).checked_sub(window.guest_address()) else { return false };
    let offset = offset as usize;
    if offset < W_ALTSTACK || offset + XSTATE_BV + 8 > WINDOW_SIZE as usize || !offset.is_multiple_of(8) {
        return false;
    }
    window.write(offset, &fcw.to_le_bytes());
    window.set_u32(offset + MXCSR, mxcsr);
    if window.u32(offset + SW_BYTES) == MAGIC1 {
        window.set_u64(offset + XSTATE_BV, window.u64(offset + XSTATE_BV) | 3);
    }
    true
}

/// Turns what `xsave64` wrote into the window into the form of a signal frame.
pub fn xsave_to_fpstate(window: &Window, layout: &XStateLayout) -> Vec<u8> {
    let mut state = window.bytes(W_XSAVE, layout.size);
    state[SW_BYTES..SW_BYTES + 48].fill(0);
    state[SW_BYTES..SW_BYTES + 4].copy_from_slice(&MAGIC1.to_le_bytes());
    state[SW_BYTES + 4..SW_BYTES + 8].copy_from_slice(&(layout.size as u32 + 4).to_le_bytes());
    state[SW_BYTES + 8..SW_BYTES + 16].copy_from_slice(&layout.features.to_le_bytes());
    state[SW_BYTES + 16..SW_BYTES + 20].copy_from_slice(&(layout.size as u32).to_le_bytes());
    state.extend_from_slice(&MAGIC2.to_le_bytes());
    state
}

/// Size and features of the extended state that the host saves in frames.
#[derive(Debug, Clone, Copy)]
pub struct XStateLayout {
    /// Bytes, without the trailing magic.
    pub size: usize,
    /// XCR0's user features.
    pub features: u64,
}

impl XStateLayout {
    /// What this CPU has enabled (CPUID leaf 0xd).
    pub fn of_cpu() -> XStateLayout {
        let leaf = std::arch::x86_64::__cpuid_count(0xd, 0);
        // AMX tiles are asked for by arch_prctl on Linux, and not offered here: they would not fit in a window.
        let features = (u64::from(leaf.edx) << 32 | u64::from(leaf.eax)) & !(3 << 17);
        XStateLayout { size: (leaf.ebx as usize).min(W_TRAMP_STACK - 0x400 - W_XSAVE), features }
    }
}

/// Builds a frame in the window that restores `regs` and, if given, extended registers; returns its window offset.
pub fn build(window: &Window, regs: &Regs, fpstate: Option<&[u8]>) -> usize {
    // It lies above the trampoline's stack, where no host frame of this thread is live while the kernel builds it: the
    // one frame that may be there is the one being replaced.
    let uc = W_TRAMP_STACK + 0x40;
    for word in (uc..uc + UC_SIZE).step_by(8) {
        window.set_u64(word, 0);
    }
    window.set_u64(uc, UC_FLAGS);
    window.set_u64(uc + UC_MCONTEXT + 18 * 8, CS_SS);
    write_regs(window, uc, regs);
    if let Some(state) = fpstate {
        let at = (uc + UC_SIZE + 63) & !63;
        if at + state.len() <= WINDOW_SIZE as usize {
            window.write(at, state);
            window.set_u64(uc + UC_FPSTATE, window.guest_address() + at as u64);
        }
    }
    uc
}

/// Copies frame and extended registers from one window to another at the same offsets, for a clone of the thread.
pub fn copy(from: &Window, to: &Window, uc: usize) {
    let end = WINDOW_SIZE as usize;
    to.write(uc, &from.bytes(uc, end - uc));
    let delta = to.guest_address().wrapping_sub(from.guest_address());
    let pointer = from.u64(uc + UC_FPSTATE);
    if pointer != 0 {
        to.set_u64(uc + UC_FPSTATE, pointer.wrapping_add(delta));
    }
}
