//! The guest's vDSO (vdso(7)): a small ELF object of ours, whose clock functions call the host's vDSO, which every stub has, and take
//! off what the host's clocks ran before the guest began.

use crate::base::{Result, time};
use crate::mm::Packer;
use crate::platform::x86_64::layout::THUNKS;
use crate::platform::{Op, Platform, sys};
use std::collections::HashMap;
use std::os::fd::AsFd;

/// Bytes of the image: one page.
pub const SIZE: u64 = 4096;
/// Where fresh stubs have it until a program is built there: nothing else is that early.
pub const PARKED: u64 = THUNKS;

/// What the object exports, and which function of the host's it is made of.
const EXPORTS: [&str; 5] =
    ["__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time", "__vdso_clock_getres", "__vdso_getcpu"];
/// The version that C libraries ask for.
const VERSION: &str = "LINUX_2.6";

/// The System V hash of symbol names (System V ABI, "Hash Table").
fn hash(name: &str) -> u32 {
    name.bytes().fold(0u32, |h, b| {
        let h = (h << 4).wrapping_add(b.into());
        let high = h & 0xf000_0000;
        (h ^ high >> 24) & !high
    })
}

/// The dynamic symbols of the host's vDSO, as the kernel's own process has it, by name: offsets from its start.
fn host_symbols() -> HashMap<String, u64> {
    let image = sys::own_vdso().unwrap_or_default();
    symbols(image).unwrap_or_default()
}

fn word(image: &[u8], at: usize) -> Option<u64> {
    image.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes)
}

fn half(image: &[u8], at: usize) -> Option<u32> {
    image.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes)
}

/// Reads the section headers of an ELF object for its dynamic symbols.
fn symbols(image: &[u8]) -> Option<HashMap<String, u64>> {
    const SHT_DYNSYM: u32 = 11;
    let (shoff, count) = (word(image, 40)? as usize, half(image, 60)? & 0xffff);
    let section = |n: usize| -> Option<(u32, usize, usize, usize)> {
        let at = shoff + n * 64;
        Some((
            half(image, at + 4)?,
            word(image, at + 24)? as usize,
            word(image, at + 32)? as usize,
            half(image, at + 40)? as usize,
        ))
    };
    let mut out = HashMap::new();
    for n in 0..count as usize {
        let (kind, offset, size, link) = section(n)?;
        if kind != SHT_DYNSYM {
            continue;
        }
        let (_, strings, _, _) = section(link)?;
        for at in (offset..offset + size).step_by(24) {
            let name = image.get(strings + half(image, at)? as usize..)?;
            let end = name.iter().position(|b| *b == 0)?;
            out.insert(String::from_utf8_lossy(&name[..end]).into_owned(), word(image, at + 8)?);
        }
    }
    Some(out)
}

/// The machine code of one export: `call` the host's function, then correct what it says.
fn clock_gettime(host: u64) -> Vec<u8> {
    let offset = time::boot();
    // The raw and the coarse monotonic clock began at other moments of the host's: the kernel answers for them.
    // cmp edi, 4; je 1f; cmp edi, 6; jne 2f; 1: mov eax, 228; syscall; ret; 2:
    let mut c = vec![0x83, 0xff, 4, 0x74, 5, 0x83, 0xff, 6, 0x75, 8, 0xb8, 228, 0, 0, 0, 0x0f, 0x05, 0xc3];
    c.extend([0x53, 0x41, 0x54, 0x48, 0x83, 0xec, 0x08]); // push rbx; push r12; sub rsp, 8
    c.extend([0x89, 0xfb, 0x49, 0x89, 0xf4]); // mov ebx, edi; mov r12, rsi
    c.extend([0x48, 0xb8]);
    c.extend(host.to_le_bytes()); // movabs rax, host
    c.extend([0xff, 0xd0, 0x85, 0xc0]); // call rax; test eax, eax
    let mut body = Vec::new();
    body.extend([0x83, 0xfb, 0x07]); // cmp ebx, 7
    let mut tail = Vec::new();
    // MONOTONIC 1 and BOOTTIME 7.
    tail.extend([0xba, 0x82, 0, 0, 0, 0x0f, 0xa3, 0xda]); // mov edx, 0xd2; bt edx, ebx
    let mut fix = Vec::new();
    fix.extend([0x48, 0xb9]);
    fix.extend((offset / 1_000_000_000).to_le_bytes()); // movabs rcx, seconds
    fix.extend([0x49, 0x29, 0x0c, 0x24]); // sub [r12], rcx
    fix.extend([0x49, 0x81, 0x6c, 0x24, 0x08]);
    fix.extend(((offset % 1_000_000_000) as u32).to_le_bytes()); // sub qword [r12+8], nanoseconds
    fix.extend([0x79, 0x0d]); // jns over the next two
    fix.extend([0x49, 0x81, 0x44, 0x24, 0x08, 0x00, 0xca, 0x9a, 0x3b]); // add qword [r12+8], 1000000000
    fix.extend([0x49, 0xff, 0x0c, 0x24]); // dec qword [r12]
    tail.extend([0x73, fix.len() as u8]); // jnc out
    tail.extend(&fix);
    body.extend([0x77, tail.len() as u8]); // ja out
    body.extend(&tail);
    c.extend([0x75, body.len() as u8]); // jnz out
    c.extend(&body);
    c.extend([0x48, 0x83, 0xc4, 0x08, 0x41, 0x5c, 0x5b, 0xc3]); // out: add rsp, 8; pop r12; pop rbx; ret
    c
}

fn jump(host: u64) -> Vec<u8> {
    let mut c = vec![0x48, 0xb8];
    c.extend(host.to_le_bytes());
    c.extend([0xff, 0xe0]);
    c
}

fn system_call(nr: u32) -> Vec<u8> {
    let mut c = vec![0xb8];
    c.extend(nr.to_le_bytes());
    c.extend([0x0f, 0x05, 0xc3]);
    c
}

/// Builds the object.
fn image(host: impl Fn(&str) -> Option<u64>) -> Vec<u8> {
    let code: Vec<Vec<u8>> = EXPORTS
        .iter()
        .map(|name| match (*name, host(name)) {
            ("__vdso_clock_gettime", Some(at)) => clock_gettime(at),
            ("__vdso_clock_gettime", None) => system_call(libc::SYS_clock_gettime as u32),
            ("__vdso_gettimeofday", None) => system_call(libc::SYS_gettimeofday as u32),
            ("__vdso_time", None) => system_call(libc::SYS_time as u32),
            ("__vdso_clock_getres", None) => system_call(libc::SYS_clock_getres as u32),
            // The host's would tell the host's CPU.
            ("__vdso_getcpu", _) => system_call(libc::SYS_getcpu as u32),
            (_, Some(at)) => jump(at),
            (_, None) => system_call(libc::SYS_getpid as u32),
        })
        .collect();
    let mut strings = vec![0u8];
    let mut string = |s: &str| {
        let at = strings.len() as u32;
        strings.extend(s.bytes());
        strings.push(0);
        at
    };
    let names: Vec<u32> = EXPORTS.iter().map(|n| string(n)).collect();
    let (version, soname) = (string(VERSION), string("linux-vdso.so.1"));
    let count = EXPORTS.len() as u32 + 1;
    // One after the other: headers, hash, symbols, strings, versions, dynamic section, code.
    let hash_at = 64 + 2 * 56;
    let sym_at = (hash_at + 4 * (2 + 1 + count as usize)).next_multiple_of(8);
    let str_at = sym_at + 24 * count as usize;
    let versym_at = (str_at + strings.len()).next_multiple_of(2);
    let verdef_at = (versym_at + 2 * count as usize).next_multiple_of(8);
    let dyn_at = verdef_at + 2 * 28;
    let text_at = (dyn_at + 16 * 10).next_multiple_of(16);
    let mut at = text_at as u64;
    let places: Vec<u64> = code
        .iter()
        .map(|c| {
            let here = at;
            at = (at + c.len() as u64).next_multiple_of(16);
            here
        })
        .collect();
    let size = at;
    let p = Packer::new()
        .bytes(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0")
        .u16(3)
        .u16(62)
        .u32(1)
        .u64(0)
        .u64(64)
        .u64(0);
    let p = p.u32(0).u16(64).u16(56).u16(2).u16(64).u16(0).u16(0);
    let p = p.u32(1).u32(5).u64(0).u64(0).u64(0).u64(size).u64(size).u64(4096); // PT_LOAD
    let (d, dl) = (dyn_at as u64, 160);
    let p = p.u32(2).u32(4).u64(d).u64(d).u64(d).u64(dl).u64(dl).u64(8); // PT_DYNAMIC
    let mut p = p.u32(1).u32(count).u32(1); // one bucket, chained through all symbols
    for n in 0..count {
        p = p.u32(if n + 1 < count && n > 0 { n + 1 } else { 0 });
    }
    let mut p = p.pad(sym_at + 24);
    for ((name, place), c) in names.iter().zip(&places).zip(&code) {
        p = p.u32(*name).bytes(&[0x12, 0]).u16(1).u64(*place).u64(c.len() as u64); // GLOBAL FUNC
    }
    let mut p = p.bytes(&strings).pad(versym_at).u16(0);
    for _ in EXPORTS {
        p = p.u16(2);
    }
    let p = p.pad(verdef_at);
    let verdef = |p: Packer, flags, index, name: &str, offset, next| {
        p.u16(1).u16(flags).u16(index).u16(1).u32(hash(name)).u32(20).u32(next).u32(offset).u32(0)
    };
    let p = verdef(p, 1, 1, "linux-vdso.so.1", soname, 28);
    let p = verdef(p, 0, 2, VERSION, version, 0);
    let tags = [
        (4, hash_at as u64),        // DT_HASH
        (5, str_at as u64),         // DT_STRTAB
        (6, sym_at as u64),         // DT_SYMTAB
        (10, strings.len() as u64), // DT_STRSZ
        (11, 24),                   // DT_SYMENT
        (14, soname.into()),        // DT_SONAME
        (0x6fff_fff0, versym_at as u64),
        (0x6fff_fffc, verdef_at as u64),
        (0x6fff_fffd, 2),
        (0, 0),
    ];
    let mut p = tags.into_iter().fold(p, |p, (k, v)| p.u64(k).u64(v));
    for (place, c) in places.iter().zip(&code) {
        p = p.pad(*place as usize).bytes(c);
    }
    p.pad(SIZE as usize).0
}

/// Puts the object into the stub that all fresh ones are clones of.
pub fn park(platform: &Platform, host_vdso: u64) -> Result<()> {
    let symbols = host_symbols();
    let base = platform.vdso().map(|offset| host_vdso + offset);
    let bytes = image(|name| base.and_then(|b| symbols.get(name).map(|s| b + s)));
    let fd = sys::memfd(c"vdso", 0)?;
    rustix::io::pwrite(&fd, &bytes, 0)?;
    let prot = libc::PROT_READ | libc::PROT_EXEC;
    platform.map_in_fresh(fd.as_fd(), Op::map_passed(PARKED, SIZE, prot, libc::MAP_PRIVATE, 0))?;
    Ok(())
}
