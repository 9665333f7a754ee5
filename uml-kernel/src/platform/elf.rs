//! The file that the first stub executes: one segment, the stub's code.

use super::x86_64::layout::*;
use super::x86_64::stub;

/// The stub as a static ELF program (elf(5)).
pub fn image() -> Vec<u8> {
    const EHDR: usize = 64;
    const PHDR: usize = 56;
    /// File offset of the code, which is mapped by whole pages.
    const CODE: usize = 0x1000;
    let code = stub::code();
    let mut out = vec![0; CODE];
    out[..16].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let mut at = 16;
    let mut put = |out: &mut Vec<u8>, bytes: &[u8]| {
        out[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    for half in [2u16, 62] {
        put(&mut out, &half.to_le_bytes()); // ET_EXEC, EM_X86_64
    }
    put(&mut out, &1u32.to_le_bytes());
    for word in [STUB_TEXT, EHDR as u64, 0] {
        put(&mut out, &word.to_le_bytes());
    }
    put(&mut out, &0u32.to_le_bytes());
    for half in [EHDR as u16, PHDR as u16, 2, 0, 0, 0] {
        put(&mut out, &half.to_le_bytes());
    }
    // PT_LOAD, read and execute.
    put(&mut out, &1u32.to_le_bytes());
    put(&mut out, &5u32.to_le_bytes());
    for word in [CODE as u64, STUB_TEXT, STUB_TEXT, code.len() as u64, code.len() as u64, 0x1000] {
        put(&mut out, &word.to_le_bytes());
    }
    // PT_GNU_STACK, not executable.
    put(&mut out, &0x6474_e551u32.to_le_bytes());
    put(&mut out, &6u32.to_le_bytes());
    out.extend_from_slice(code);
    out
}
