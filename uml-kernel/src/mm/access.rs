//! The guest's memory, from the kernel's side. A wild pointer is EFAULT, everywhere: nothing here touches guest memory directly.

use super::swap::Swapped;
use crate::base::{Errno, Result};
use crate::platform::x86_64::layout::TASK_SIZE;
use crate::platform::{HostPid, sys};
use std::sync::Arc;

/// The memory of one address space, by address.
#[derive(Debug, Clone)]
pub struct UserMemory {
    pid: Arc<HostPid>,
    swapped: Arc<Swapped>,
}

/// Longest path, with its NUL (linux/limits.h).
pub const PATH_MAX: usize = 4096;

impl UserMemory {
    /// The memory of the stub with this host process id.
    pub fn new(pid: Arc<HostPid>) -> UserMemory {
        UserMemory::swapped(pid.clone(), Swapped::new(pid))
    }

    /// The same, of which some may be swapped out.
    pub fn swapped(pid: Arc<HostPid>, swapped: Arc<Swapped>) -> UserMemory {
        UserMemory { pid, swapped }
    }

    fn check(address: u64, len: usize) -> Result<()> {
        match address.checked_add(len as u64) {
            Some(end) if end <= TASK_SIZE => Ok(()),
            _ => Err(Errno::EFAULT),
        }
    }

    /// Fills `into`, or fails with EFAULT.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<()> {
        if into.is_empty() {
            return Ok(());
        }
        Self::check(address, into.len())?;
        if self.host_read(address, into)? == into.len() { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// Reads as much as is there; EFAULT if nothing is.
    pub fn read_some(&self, address: u64, into: &mut [u8]) -> Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        Self::check(address, 1)?;
        let len = into.len().min((TASK_SIZE - address) as usize);
        self.host_read(address, &mut into[..len])
    }

    fn host_read(&self, address: u64, into: &mut [u8]) -> Result<usize> {
        let len = into.len();
        self.touch(address, len, |pid, done| sys::vm_read(pid, address + done as u64, &mut into[done..]))
    }

    /// Has the host touch `len` bytes by `access`, which is given how many are done; how many it was in the end. EFAULT if none was. What
    /// is swapped out is brought back when the host has come to it.
    fn touch(
        &self,
        address: u64,
        len: usize,
        mut access: impl FnMut(i32, usize) -> std::io::Result<usize>,
    ) -> Result<usize> {
        let mut done = 0;
        loop {
            let seen = self.swapped.generation();
            match self.pid.with(|pid| access(pid, done)) {
                Some(Ok(more)) => done += more,
                Some(Err(_)) => {}
                None => return Err(Errno::EFAULT),
            }
            let (at, left) = (address + done as u64, len - done);
            let again = left > 0 && self.swapped.settle(at, left, seen).unwrap_or(false);
            if !again {
                return if done > 0 { Ok(done) } else { Err(Errno::EFAULT) };
            }
        }
    }

    /// Writes all of `from`, or fails with EFAULT (part of it may be written then).
    pub fn write(&self, address: u64, from: &[u8]) -> Result<()> {
        match self.write_some(address, from)? {
            n if n == from.len() => Ok(()),
            _ => Err(Errno::EFAULT),
        }
    }

    /// Writes as much as is writable; EFAULT if nothing is.
    pub fn write_some(&self, address: u64, from: &[u8]) -> Result<usize> {
        if from.is_empty() {
            return Ok(0);
        }
        Self::check(address, 1)?;
        let len = from.len().min((TASK_SIZE - address) as usize);
        let from = &from[..len];
        self.touch(address, len, |pid, done| sys::vm_write(pid, address + done as u64, &from[done..]))
    }

    /// A string up to its NUL, of at most `max` bytes with it; ENAMETOOLONG beyond.
    pub fn string(&self, address: u64, max: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        // The first piece is short, as most paths are, and ends at a page so that a fault behind the NUL is not met.
        let mut piece = [0u8; 256];
        while out.len() < max {
            let at = address.checked_add(out.len() as u64).ok_or(Errno::EFAULT)?;
            let to_page_end = 4096 - (at as usize & 4095);
            let len = piece.len().min(to_page_end).min(max - out.len());
            self.read(at, &mut piece[..len])?;
            if let Some(end) = piece[..len].iter().position(|b| *b == 0) {
                out.extend_from_slice(&piece[..end]);
                return Ok(out);
            }
            out.extend_from_slice(&piece[..len]);
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// A path.
    pub fn path(&self, address: u64) -> Result<Vec<u8>> {
        self.string(address, PATH_MAX)
    }

    /// A little-endian word.
    pub fn u64(&self, address: u64) -> Result<u64> {
        let mut b = [0; 8];
        self.read(address, &mut b)?;
        Ok(u64::from_le_bytes(b))
    }

    /// Half a word.
    pub fn u32(&self, address: u64) -> Result<u32> {
        let mut b = [0; 4];
        self.read(address, &mut b)?;
        Ok(u32::from_le_bytes(b))
    }

    /// Writes a word.
    pub fn put_u64(&self, address: u64, value: u64) -> Result<()> {
        self.write(address, &value.to_le_bytes())
    }

    /// Writes half a word.
    pub fn put_u32(&self, address: u64, value: u32) -> Result<()> {
        self.write(address, &value.to_le_bytes())
    }
}

/// Reads strings that lie close together, as those of an execve do: each page is asked for once.
#[derive(Debug)]
pub struct Strings {
    memory: UserMemory,
    /// Where the bytes are from; 1 before the first.
    page: u64,
    bytes: Box<[u8; Strings::PAGE]>,
}

impl Strings {
    const PAGE: usize = 4096;

    /// Of a memory.
    pub fn of(memory: UserMemory) -> Strings {
        Strings { memory, page: 1, bytes: Box::new([0; Strings::PAGE]) }
    }

    /// As [`UserMemory::string`].
    pub fn string(&mut self, address: u64, max: usize) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        while out.len() < max {
            let at = address.checked_add(out.len() as u64).ok_or(Errno::EFAULT)?;
            let page = at & !(Self::PAGE as u64 - 1);
            if page != self.page {
                self.page = 1;
                self.memory.read(page, &mut self.bytes[..])?;
                self.page = page;
            }
            let rest = &self.bytes[(at - page) as usize..];
            let rest = &rest[..rest.len().min(max - out.len())];
            if let Some(end) = rest.iter().position(|b| *b == 0) {
                out.extend_from_slice(&rest[..end]);
                return Ok(out);
            }
            out.extend_from_slice(rest);
        }
        Err(Errno::ENAMETOOLONG)
    }
}

/// Builds and takes apart the structures of system calls, field by field, little-endian.
#[derive(Debug, Default)]
pub struct Packer(pub Vec<u8>);

impl Packer {
    /// Empty.
    pub fn new() -> Packer {
        // Most of what is packed is smaller: it grows once.
        Packer(Vec::with_capacity(256))
    }
    /// Appends 8 bytes.
    pub fn u64(mut self, v: u64) -> Self {
        self.0.extend(v.to_le_bytes());
        self
    }
    /// Appends 8 signed bytes.
    pub fn i64(self, v: i64) -> Self {
        self.u64(v as u64)
    }
    /// Appends 4 bytes.
    pub fn u32(mut self, v: u32) -> Self {
        self.0.extend(v.to_le_bytes());
        self
    }
    /// Appends 4 signed bytes.
    pub fn i32(self, v: i32) -> Self {
        self.u32(v as u32)
    }
    /// Appends 2 bytes.
    pub fn u16(mut self, v: u16) -> Self {
        self.0.extend(v.to_le_bytes());
        self
    }
    /// Appends bytes.
    pub fn bytes(mut self, v: &[u8]) -> Self {
        self.0.extend_from_slice(v);
        self
    }
    /// Appends zeros up to a length.
    pub fn pad(mut self, len: usize) -> Self {
        self.0.resize(len.max(self.0.len()), 0);
        self
    }
}

/// Reads fields from bytes; zeros beyond their end.
#[derive(Debug)]
pub struct Unpacker<'a>(pub &'a [u8]);

impl Unpacker<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let n = N.min(self.0.len());
        out[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        out
    }
    /// The next 8 bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
    /// The next 8 bytes, signed.
    pub fn i64(&mut self) -> i64 {
        self.u64() as i64
    }
    /// The next 4 bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }
    /// The next 4 bytes, signed.
    pub fn i32(&mut self) -> i32 {
        self.u32() as i32
    }
    /// The next 2 bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }
}
