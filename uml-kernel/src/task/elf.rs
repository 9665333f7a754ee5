//! ELF programs (elf(5)): what has to be mapped where.

use crate::base::{Errno, Result};
use crate::fs::File;
use crate::mm::{PAGE, Unpacker};
use crate::platform::x86_64::layout::TASK_SIZE;

/// A segment to be mapped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    /// Offset in the file.
    pub offset: u64,
    /// Address, before relocation.
    pub addr: u64,
    /// Bytes from the file.
    pub file_len: u64,
    /// Bytes in memory.
    pub mem_len: u64,
    /// `PROT_` bits.
    pub prot: i32,
}

/// A program or interpreter.
#[derive(Debug)]
pub(super) struct Program {
    /// Can be placed anywhere (ET_DYN).
    pub relocatable: bool,
    /// First instruction, before relocation.
    pub entry: u64,
    /// Where the program headers are in memory, before relocation.
    pub phdr: u64,
    /// Their number.
    pub phnum: u64,
    /// What to map.
    pub segments: Vec<Segment>,
    /// Path of the interpreter.
    pub interpreter: Option<Vec<u8>>,
    /// Wants an executable stack.
    pub exec_stack: bool,
}

const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_PHDR: u32 = 6;
const PT_GNU_STACK: u32 = 0x6474_e551;

fn read_exact(file: &File, at: u64, len: usize) -> Result<Vec<u8>> {
    let mut out = vec![0; len];
    let mut done = 0;
    while done < len {
        match file.ops().read(file, &mut out[done..], at + done as u64)? {
            0 => return Err(Errno::ENOEXEC),
            n => done += n,
        }
    }
    Ok(out)
}

/// Reads the headers of a program, of which `head` is the beginning; ENOEXEC if it is none for this machine.
pub(super) fn parse(file: &File, head: &[u8]) -> Result<Program> {
    if head.len() < 64 || head[..4] != *b"\x7fELF" || head[4] != 2 || head[5] != 1 {
        return Err(Errno::ENOEXEC);
    }
    let mut u = Unpacker(&head[16..64]);
    let (kind, machine, _version) = (u.u16(), u.u16(), u.u32());
    let (entry, phoff, _shoff) = (u.u64(), u.u64(), u.u64());
    let (_flags, _ehsize, phentsize, phnum) = (u.u32(), u.u16(), u.u16(), u.u16());
    if machine != 62 || !(kind == 2 || kind == 3) || phentsize != 56 || phnum == 0 || phnum > 512 {
        return Err(Errno::ENOEXEC);
    }
    let size = phnum as usize * 56;
    let headers = match head.get(phoff as usize..).and_then(|h| h.get(..size)) {
        Some(inside) => inside.to_vec(),
        None => read_exact(file, phoff, size)?,
    };
    let mut program = Program {
        relocatable: kind == 3,
        entry,
        phdr: 0,
        phnum: phnum.into(),
        segments: Vec::new(),
        interpreter: None,
        exec_stack: false,
    };
    for header in headers.chunks(56) {
        let mut u = Unpacker(header);
        let (kind, flags, offset, addr, _paddr) = (u.u32(), u.u32(), u.u64(), u.u64(), u.u64());
        let (file_len, mem_len) = (u.u64(), u.u64());
        match kind {
            PT_LOAD if mem_len > 0 => {
                let end = addr.checked_add(mem_len).filter(|e| *e <= TASK_SIZE).ok_or(Errno::ENOEXEC)?;
                let aligned = offset % PAGE == addr % PAGE && file_len <= mem_len;
                if !aligned || offset.checked_add(file_len).is_none() || end < addr {
                    return Err(Errno::ENOEXEC);
                }
                let prot = [(4, libc::PROT_READ), (2, libc::PROT_WRITE), (1, libc::PROT_EXEC)];
                let prot = prot.iter().filter(|(f, _)| flags & f != 0).map(|(_, p)| p).sum();
                if program.phdr == 0 && offset <= phoff && phoff < offset + file_len {
                    program.phdr = addr + (phoff - offset);
                }
                program.segments.push(Segment { offset, addr, file_len, mem_len, prot });
            }
            PT_INTERP => {
                if !(2..=4096).contains(&file_len) {
                    return Err(Errno::ENOEXEC);
                }
                let inside = head.get(offset as usize..).and_then(|h| h.get(..file_len as usize));
                let mut path = match inside {
                    Some(bytes) => bytes.to_vec(),
                    None => read_exact(file, offset, file_len as usize)?,
                };
                if path.pop() != Some(0) {
                    return Err(Errno::ENOEXEC);
                }
                program.interpreter = Some(path);
            }
            PT_PHDR => program.phdr = addr,
            PT_GNU_STACK => program.exec_stack = flags & 1 != 0,
            _ => {}
        }
    }
    if program.segments.is_empty() {
        return Err(Errno::ENOEXEC);
    }
    Ok(program)
}

impl Program {
    /// Lowest and highest address of its segments, in whole pages.
    pub(super) fn span(&self) -> (u64, u64) {
        let low = self.segments.iter().map(|s| s.addr & !(PAGE - 1)).min().unwrap_or(0);
        let high = self.segments.iter().map(|s| s.addr + s.mem_len).max().unwrap_or(0);
        (low, high.next_multiple_of(PAGE))
    }
}
