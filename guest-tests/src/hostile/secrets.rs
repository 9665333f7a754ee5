//! What of the host can be read in a stub: all of its memory, descriptors, and what procfs and the auxiliary vector tell.

use super::{Attack, at, told};
use crate::run::{self, say, sys};

pub(super) const ATTACKS: &[Attack] =
    &[("address-space", address_space), ("told", names), ("stub-reads", stub_reads)];

/// Words that only the host knows, in a writing that does not itself match.
fn hidden() -> Vec<Vec<u8>> {
    ["marker", "where"].iter().filter_map(|n| told(n)).map(|t| t.as_bytes().to_vec()).collect()
}

fn holds(bytes: &[u8], words: &[Vec<u8>]) -> bool {
    words.iter().any(|w| bytes.windows(w.len()).any(|at| at.iter().zip(w).all(|(a, b)| *a == *b ^ 1)))
}

/// Every page of this address space that can be read, those above the guest's end with the eyes only.
fn address_space() {
    let words = hidden();
    let (mut found, mut above, mut readable) = (Vec::new(), 0u64, 0u64);
    let maps = run::cat(c"/proc/self/maps");
    for line in String::from_utf8_lossy(&maps).lines() {
        let Some((from, rest)) = line.split_once('-') else { continue };
        let Some((to, rest)) = rest.split_once(' ') else { continue };
        let (from, to) =
            (usize::from_str_radix(from, 16).unwrap_or(0), usize::from_str_radix(to, 16).unwrap_or(0));
        if rest.starts_with('r') && to <= at::STUB {
            readable += (to - from) as u64 / 4096;
            let bytes = unsafe { std::slice::from_raw_parts(from as *const u8, to - from) };
            if holds(bytes, &words) {
                found.push(line.to_string());
            }
        }
    }
    // The stub's own part: text, vDSO, windows, and whatever else the host has left there.
    for page in (at::STUB..1 << 47).step_by(4096) {
        if !crate::mem::peek_abs(page).starts_with("SIG") {
            above += 1;
            let bytes = unsafe { std::slice::from_raw_parts(page as *const u8, 4096) };
            if holds(bytes, &words) {
                found.push(format!("{page:x}"));
            }
        }
    }
    say!("pages={} above={} found={found:?}", readable > 100, (2..600).contains(&above));
}

/// Files that tell of their system: none may have a word of the host's.
fn names() {
    let words = hidden();
    let mut found = Vec::new();
    let mut dirs = vec![std::path::PathBuf::from("/proc"), "/sys".into(), "/dev".into()];
    let mut seen = 0;
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_symlink() {
                let to = std::fs::read_link(&path).unwrap_or_default();
                if holds(to.as_os_str().as_encoded_bytes(), &words) {
                    found.push(path);
                }
            } else if kind.is_dir() && seen < 20_000 {
                dirs.push(path);
            } else if kind.is_file() {
                seen += 1;
                let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap_or_default();
                let fd = run::open(&name, libc::O_RDONLY | libc::O_NONBLOCK);
                let mut text = vec![0u8; 65536];
                let n = sys!(SYS_read, fd, text.as_mut_slice(), text.len()).0.max(0) as usize;
                run::close(fd);
                if holds(&text[..n], &words) {
                    found.push(path);
                }
            }
        }
    }
    // The address of a process's own memory is in no file of another's.
    say!("seen={} found={found:?}", seen > 200);
}

/// The host's descriptors in the stub, mapped from the stub's own instruction.
fn stub_reads() {
    let words = hidden();
    let mut found = Vec::new();
    let calls: Vec<_> = (0..40usize)
        .flat_map(|fd| [1usize, 3].map(|prot| (libc::SYS_mmap, [0x2000_0000, 4096, prot, 0x11, fd, 0])))
        .collect();
    for ((_, args), r) in calls.iter().zip(at::ordered(&calls)) {
        if r == 0x2000_0000 {
            found.push(format!("fd {} prot {}", args[4], args[2]));
        }
    }
    let mapped = !crate::mem::peek_abs(0x2000_0000).starts_with("SIG");
    if mapped && holds(unsafe { std::slice::from_raw_parts(0x2000_0000 as *const u8, 4096) }, &words) {
        found.push("secret".into());
    }
    say!("mapped={found:?}");
}
