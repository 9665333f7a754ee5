//! One address space: what is mapped in a stub, and the host calls that bring it about.

use super::shared::SharedMemory;
use super::swap::Swapped;
use super::vma::{Backing, PAGE, Vma, VmaTree, page_up};
use super::{Usage, UserMemory, swap};
use crate::base::{Errno, Mutex, Rank, Result};
use crate::fs::{File, MapSource};
use crate::platform::x86_64::layout::{TASK_SIZE, THUNKS, THUNKS_SIZE};
use crate::platform::{Op, Patches, Stub, StubThread, sys};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Lowest address that can be mapped (vm.mmap_min_addr).
const MIN_ADDR: u64 = 0x10000;

/// An address space, shared by the tasks that run in it.
#[derive(Debug)]
pub struct Mm {
    id: u64,
    stub: Arc<Stub>,
    inner: Mutex<Inner>,
    swap: Arc<Swapped>,
    /// Goes last: while it lives, what the mappings hold may not have come back.
    life: Arc<()>,
}

/// What changes in an address space.
#[derive(Debug)]
pub struct Inner {
    /// The mapped ranges.
    pub vmas: VmaTree,
    /// Where the heap begins.
    pub brk_start: u64,
    /// Where it ends.
    pub brk: u64,
    /// Below this, mappings are placed.
    pub mmap_base: u64,
    /// Patched call sites.
    pub patches: Patches,
    /// What /proc shows of the program.
    pub image: Image,
    /// Registrations of membarrier(2).
    pub barriers: u64,
    /// MCL_FUTURE: what is mapped from now on stays in memory.
    pub lock_future: bool,
}

/// Where the parts of a program lie, and what it is.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Code.
    pub code: (u64, u64),
    /// Initialised data.
    pub data: (u64, u64),
    /// Where the stack pointer was at the start.
    pub stack: u64,
    /// Arguments.
    pub args: (u64, u64),
    /// Environment.
    pub env: (u64, u64),
    /// The auxiliary vector, as bytes.
    pub auxv: Vec<u8>,
    /// The program's file.
    pub exe: Option<Arc<File>>,
}

/// A request of mmap(2), checked.
#[derive(Debug)]
pub struct MapRequest {
    /// Wished or demanded place.
    pub addr: u64,
    /// Bytes, not rounded.
    pub len: u64,
    /// `PROT_` bits.
    pub prot: i32,
    /// `MAP_` flags.
    pub flags: i32,
    /// The file and offset, unless anonymous.
    pub file: Option<(Arc<File>, u64)>,
    /// `[stack]` and the like.
    pub name: &'static str,
}

pub(super) fn host_error(e: std::io::Error) -> Errno {
    Errno::from(e)
}

impl Mm {
    /// An empty address space in a fresh stub.
    pub fn new(stub: Arc<Stub>, mmap_base: u64) -> Arc<Mm> {
        Arc::new(Mm {
            id: next_id(),
            swap: Swapped::new(stub.pid().clone()),
            stub,
            inner: Mutex::new(
                Rank::Mm,
                Inner {
                    vmas: VmaTree::default(),
                    brk_start: 0,
                    brk: 0,
                    mmap_base,
                    patches: Patches::default(),
                    image: Image::default(),
                    barriers: 0,
                    lock_future: false,
                },
            ),
            life: Arc::new(()),
        })
    }

    /// The copy that fork makes of it, in the clone that `clone` makes of its stub. Pages that are swapped out are shared, until one
    /// of the two brings them back.
    pub fn fork(&self, clone: impl FnOnce() -> Result<StubThread>) -> Result<(StubThread, Arc<Mm>)> {
        let inner = self.inner.lock();
        let held = self.swap.hold();
        let thread = clone()?;
        let stub = thread.stub().clone();
        let mut vmas = inner.vmas.clone();
        let hidden: Vec<(u64, u64)> = vmas.iter().filter(|v| v.dont_fork).map(|v| (v.start, v.end)).collect();
        let locked: Vec<(u64, u64)> = vmas.iter().filter(|v| v.locked).map(|v| (v.start, v.end)).collect();
        let swap = Swapped::new(stub.pid().clone());
        let mut records = held.as_ref().map(|held| held.records()).unwrap_or_default();
        for (start, end) in hidden {
            vmas.remove(start, end);
            records.forget(start, end);
        }
        for (start, end) in locked {
            vmas.update(start, end, |v| v.locked = false);
        }
        swap.inherit(records);
        let mm = Arc::new(Mm {
            id: next_id(),
            swap,
            stub,
            inner: Mutex::new(
                Rank::Mm,
                Inner {
                    vmas,
                    brk_start: inner.brk_start,
                    brk: inner.brk,
                    mmap_base: inner.mmap_base,
                    patches: inner.patches.clone(),
                    image: inner.image.clone(),
                    barriers: inner.barriers,
                    lock_future: false,
                },
            ),
            life: Arc::new(()),
        });
        Ok((thread, mm))
    }

    /// What of it is swapped out.
    pub fn swap(&self) -> &Arc<Swapped> {
        &self.swap
    }

    /// Unlike any other's.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Alive for as long as what the mappings hold may not have come back.
    pub fn life(&self) -> Weak<()> {
        Arc::downgrade(&self.life)
    }

    /// The most bytes that were resident at a time, as the host has counted; 0 once it is gone.
    pub fn peak_resident(&self) -> u64 {
        self.stub.pid().with(sys::peak_resident).unwrap_or(0) << 10
    }

    /// Bytes that the host holds in memory now, and those of them that are of files or shared; zeros once it is gone.
    pub fn resident(&self) -> (u64, u64) {
        let mut buffer = [0; 256];
        let text = self.stub.pid().with(|pid| sys::proc_text(pid, "statm", &mut buffer)).unwrap_or_default();
        let mut fields = text.split(' ').skip(1).map(|f| f.parse::<u64>().unwrap_or(0) * PAGE);
        (fields.next().unwrap_or(0), fields.next().unwrap_or(0))
    }

    /// Of each of `pages` pages from `start` on, 1 if the host holds it in memory.
    pub fn resident_pages(&self, start: u64, pages: usize) -> Vec<u8> {
        const PRESENT_OR_SWAPPED: u64 = 3 << 62;
        const ENTRY: usize = 8;
        let mut entries = vec![0; pages * ENTRY];
        let open = |pid| std::fs::File::open(format!("/proc/{pid}/pagemap"));
        let file = self.stub.pid().with(open).and_then(|f| f.ok());
        let at = start / PAGE * ENTRY as u64;
        if file.is_none_or(|f| f.read_exact_at(&mut entries, at).is_err()) {
            return vec![1; pages];
        }
        let present = |e: &[u8]| e.try_into().is_ok_and(|e| u64::from_le_bytes(e) & PRESENT_OR_SWAPPED != 0);
        entries.chunks_exact(ENTRY).map(|e| u8::from(present(e))).collect()
    }

    /// The stub that holds it.
    pub fn stub(&self) -> &Arc<Stub> {
        &self.stub
    }

    /// Its memory.
    pub fn memory(&self) -> UserMemory {
        UserMemory::swapped(self.stub.pid().clone(), self.swap.clone())
    }

    /// Its ranges and the rest.
    pub fn lock(&self) -> crate::base::sync::MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Has the host change the mappings of a range, which loses what was there. Where something of it may be swapped out, that is
    /// done at once: the books of that are to be the host's at any time. Else on the way back to the guest.
    fn replace(&self, thread: &mut StubThread, op: Op, start: u64, end: u64) -> Result<()> {
        let Some(mut held) = self.swap.hold() else { return thread.order(op).map_err(host_error) };
        thread.call(&[op]).map_err(host_error)?;
        held.forget(start, end);
        Ok(())
    }

    /// Has the host take away a range that the books say is free. Whoever maps something may be given that range at once, and may have it mapped before
    /// this thread is back in the guest: then it would lose that. So only a thread without others leaves it until then.
    fn release(&self, thread: &mut StubThread, start: u64, end: u64) -> Result<()> {
        self.replace(thread, Op::unmap(start, end - start), start, end)?;
        if self.stub.is_shared() { thread.flush().map_err(host_error) } else { Ok(()) }
    }

    /// mmap(2): finds the place, orders the host call, keeps the books. Returns the address.
    pub fn map(&self, thread: &mut StubThread, request: MapRequest, usage: &Usage) -> Result<u64> {
        if request.len == 0 {
            return Err(Errno::EINVAL);
        }
        let len = page_up(request.len).filter(|l| *l <= TASK_SIZE).ok_or(Errno::ENOMEM)?;
        let mut inner = self.inner.lock();
        let addr = inner.place(&request, len)?;
        let shared = request.flags & libc::MAP_TYPE != libc::MAP_PRIVATE;
        let writable = request.prot & libc::PROT_WRITE != 0;
        let mut max_prot = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let mut source = None;
        if let Some((file, offset)) = &request.file {
            file.check_read().map_err(|_| Errno::EACCES)?;
            let can_write = file.flags().writes();
            if shared && !can_write {
                if writable {
                    return Err(Errno::EACCES);
                }
                max_prot &= !libc::PROT_WRITE;
            }
            if file.path().mount.flags().contains(crate::fs::MountFlags::NOEXEC) {
                if request.prot & libc::PROT_EXEC != 0 {
                    return Err(Errno::EPERM);
                }
                max_prot &= !libc::PROT_EXEC;
            }
            let mapped = match file.ops().map(file, shared && can_write) {
                // Sealed against writing: it can be looked at still, and never more than that.
                Err(Errno::EPERM) if shared && can_write && !writable => {
                    max_prot &= !libc::PROT_WRITE;
                    file.ops().map(file, false)?
                }
                mapped => mapped?,
            };
            source = Some((mapped, *offset));
        }
        if !shared && writable && request.flags & libc::MAP_NORESERVE == 0 {
            usage.check(len)?;
        }
        if inner.vmas.len() >= 65530 {
            return Err(Errno::ENOMEM);
        }
        let host_flags =
            request.flags & libc::MAP_NORESERVE | if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        let mut memory = None;
        match &source {
            Some((MapSource::Host(fd), offset)) => {
                let op = Op::map_passed(addr, len, request.prot, host_flags, *offset);
                let held = self.swap.hold();
                thread.map_file(fd.as_fd(), op).map_err(host_error)?;
                held.into_iter().for_each(|mut held| held.forget(addr, addr + len));
            }
            _ if shared => {
                let object = SharedMemory::new(len)?;
                let op = Op::map_passed(addr, len, request.prot, host_flags, 0);
                let held = self.swap.hold();
                thread.map_file(object.fd().as_fd(), op).map_err(host_error)?;
                held.into_iter().for_each(|mut held| held.forget(addr, addr + len));
                memory = Some(object);
            }
            _ => {
                let op = Op::map_anonymous(addr, len, request.prot, host_flags);
                self.replace(thread, op, addr, addr + len)?;
            }
        }
        inner.vmas.remove(addr, addr + len);
        if addr < THUNKS + THUNKS_SIZE && addr + len > THUNKS {
            inner.patches.disable();
        }
        let backing = match (request.file, source, memory) {
            (Some((file, offset)), Some((MapSource::Host(_), _)), _) => Backing::File(file, offset),
            (_, _, Some(object)) => Backing::Shared(object),
            _ => Backing::Anonymous,
        };
        let locked = inner.lock_future;
        let vma = Vma::anonymous(addr, addr + len, request.prot, request.name);
        inner.vmas.insert(Vma { max_prot, shared, backing, locked, ..vma });
        Ok(addr)
    }

    /// munmap(2).
    pub fn unmap(&self, thread: &mut StubThread, addr: u64, len: u64) -> Result<()> {
        let end = range(addr, len)?;
        let mut inner = self.inner.lock();
        if inner.vmas.remove(addr, end).is_empty() {
            return Ok(());
        }
        self.release(thread, addr, end)
    }

    /// mprotect(2).
    pub fn protect(&self, thread: &mut StubThread, addr: u64, len: u64, prot: i32) -> Result<()> {
        let end = range_or_none(addr, len)?;
        if end == addr {
            return Ok(());
        }
        let mut inner = self.inner.lock();
        // Linux changes what lies before a hole, and says ENOMEM then.
        let mut at = addr;
        for vma in inner.vmas.overlapping(addr, end) {
            if vma.start > at {
                break;
            }
            if prot & !vma.max_prot & 7 != 0 {
                return Err(Errno::EACCES);
            }
            at = vma.end;
        }
        let upto = at.min(end);
        if upto > addr {
            inner.vmas.update(addr, upto, |v| v.prot = prot);
            match self.swap.hold() {
                Some(mut held) => held.protect(addr, upto, prot)?,
                None => thread.order(Op::protect(addr, upto - addr, prot)).map_err(host_error)?,
            }
        }
        if upto < end { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// brk(2): the new end of the heap, or the old one where it cannot be moved.
    pub fn set_brk(&self, thread: &mut StubThread, wish: u64, limit: u64, usage: &Usage) -> u64 {
        let mut inner = self.inner.lock();
        let (start, old) = (inner.brk_start, inner.brk);
        if wish < start || wish - start > limit {
            return old;
        }
        let (Some(old_end), Some(new_end)) = (page_up(old), page_up(wish)) else { return old };
        if new_end > old_end {
            let len = new_end - old_end;
            if new_end > TASK_SIZE || !inner.vmas.is_free(old_end, new_end) || usage.check(len).is_err() {
                return old;
            }
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            let op = Op::map_anonymous(old_end, len, prot, libc::MAP_PRIVATE);
            if self.replace(thread, op, old_end, new_end).is_err() {
                return old;
            }
            let locked = inner.lock_future;
            inner.vmas.insert(Vma { locked, ..Vma::anonymous(old_end, new_end, prot, "[heap]") });
        } else if new_end < old_end {
            inner.vmas.remove(new_end, old_end);
            if self.release(thread, new_end, old_end).is_err() {
                return old;
            }
        }
        inner.brk = wish;
        wish
    }

    /// mremap(2).
    pub fn remap(
        &self,
        thread: &mut StubThread,
        (old, old_len, new_len): (u64, u64, u64),
        flags: i32,
        wish: u64,
        usage: &Usage,
    ) -> Result<u64> {
        let fixed = flags & libc::MREMAP_FIXED != 0;
        let may_move = flags & libc::MREMAP_MAYMOVE != 0;
        let keep = flags & libc::MREMAP_DONTUNMAP != 0;
        let known = libc::MREMAP_FIXED | libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP;
        if flags & !known != 0 || (fixed || keep) && !may_move || !old.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        let (Some(old_len), Some(new_len)) = (page_up(old_len), page_up(new_len)) else {
            return Err(Errno::EINVAL);
        };
        let old_end = old.checked_add(old_len).ok_or(Errno::EINVAL)?;
        if new_len == 0 || (keep && old_len != new_len) || new_len > TASK_SIZE {
            return Err(Errno::EINVAL);
        }
        if fixed || keep && wish != 0 {
            let end = wish.checked_add(new_len).ok_or(Errno::EINVAL)?;
            if !wish.is_multiple_of(PAGE) || end > TASK_SIZE || (wish < old_end && old < end) {
                return Err(Errno::EINVAL);
            }
        }
        let mut inner = self.inner.lock();
        let vma = inner.vmas.find(old).cloned().ok_or(Errno::EFAULT)?;
        if old_len == 0 && !vma.shared {
            return Err(Errno::EINVAL);
        }
        // What is cut off may be of several mappings.
        if !fixed && !keep && new_len <= old_len {
            if new_len < old_len {
                inner.vmas.remove(old + new_len, old_end);
                self.release(thread, old + new_len, old_end)?;
            }
            return Ok(old);
        }
        if old_end > vma.end {
            return Err(Errno::EFAULT);
        }
        if !fixed && !keep {
            let grown = old + new_len;
            if old_end == vma.end && grown <= TASK_SIZE && inner.vmas.is_free(vma.end, grown) && old_len > 0 {
                usage.check(new_len - old_len)?;
                self.remap_on_host(thread, &vma, (old, old_len, new_len), 0, old)?;
                let mut tail = vma.clone();
                tail.offset += vma.len();
                if let Backing::File(_, offset) = &mut tail.backing {
                    *offset += vma.len();
                }
                (tail.start, tail.end) = (vma.end, grown);
                inner.vmas.insert(tail);
                return Ok(old);
            }
            if !may_move {
                return Err(Errno::ENOMEM);
            }
        }
        usage.check(new_len.saturating_sub(old_len))?;
        let to = if fixed {
            wish
        } else {
            let base = inner.mmap_base;
            inner.vmas.find_gap(new_len, MIN_ADDR, base).ok_or(Errno::ENOMEM)?
        };
        let host_flags = flags | libc::MREMAP_FIXED | libc::MREMAP_MAYMOVE;
        self.remap_on_host(thread, &vma, (old, old_len, new_len), host_flags, to)?;
        inner.vmas.remove(to, to + new_len);
        let mut moved = vma.clone();
        let by = old - vma.start;
        moved.offset += by;
        if let Backing::File(_, offset) = &mut moved.backing {
            *offset += by;
        }
        (moved.start, moved.end) = (to, to + new_len);
        if !keep && old_len > 0 {
            inner.vmas.remove(old, old_end);
        }
        inner.vmas.insert(moved);
        Ok(to)
    }

    /// Has the host move a part of a mapping, all of which is brought back before. The host may have that in pieces, which it does not
    /// move at once: after a fork those that were swapped out do not become one with their neighbours again.
    fn remap_on_host(
        &self,
        thread: &mut StubThread,
        vma: &Vma,
        (old, old_len, new_len): (u64, u64, u64),
        flags: i32,
        to: u64,
    ) -> Result<()> {
        let mut held = self.swap.hold();
        if let Some(held) = &mut held {
            held.bring_in_range(old, old + old_len)?;
        }
        let whole = Op::remap(old, old_len, new_len, flags as u64, to);
        match thread.call(&[whole]).map_err(host_error) {
            Err(Errno::EFAULT) if held.is_some() && matches!(vma.backing, Backing::Anonymous) => {
                let moves = flags & libc::MREMAP_FIXED != 0;
                let (kept, step) = (old_len.min(new_len), swap::chunk(0));
                let mut at = old;
                while moves && at < old + kept {
                    let len = (at + 1).next_multiple_of(step).min(old + kept) - at;
                    thread
                        .call(&[Op::remap(at, len, len, flags as u64, to + (at - old))])
                        .map_err(host_error)?;
                    at += len;
                }
                if new_len > old_len {
                    let op = Op::map_anonymous(to + old_len, new_len - old_len, vma.prot, libc::MAP_PRIVATE);
                    thread.call(&[op]).map_err(host_error)?;
                }
                if moves && old_len > new_len {
                    thread.call(&[Op::unmap(old + new_len, old_len - new_len)]).map_err(host_error)?;
                }
            }
            result => drop(result?),
        }
        if let Some(held) = &mut held {
            held.forget(to, to + new_len);
        }
        Ok(())
    }

    /// mlock(2) and its relatives: whether a range stays in memory. What is swapped out of it comes back.
    pub fn set_locked(&self, start: u64, end: u64, locked: bool) -> Result<()> {
        let mut inner = self.inner.lock();
        inner.vmas.update(start, end, |v| v.locked = locked);
        match self.swap.hold().filter(|_| locked) {
            Some(mut held) => held.bring_in_range(start, end),
            None => Ok(()),
        }
    }

    /// madvise(2).
    pub fn advise(&self, thread: &mut StubThread, addr: u64, len: u64, advice: i32) -> Result<()> {
        let end = range_or_none(addr, len)?;
        if end == addr {
            return Ok(());
        }
        let mut inner = self.inner.lock();
        match advice {
            libc::MADV_DONTFORK | libc::MADV_DOFORK => {
                let value = advice == libc::MADV_DONTFORK;
                inner.vmas.update(addr, end, |v| v.dont_fork = value);
            }
            libc::MADV_NORMAL
            | libc::MADV_RANDOM
            | libc::MADV_SEQUENTIAL
            | libc::MADV_WILLNEED
            | libc::MADV_DONTNEED
            | libc::MADV_FREE
            | libc::MADV_REMOVE
            | libc::MADV_HUGEPAGE
            | libc::MADV_NOHUGEPAGE
            | libc::MADV_DONTDUMP
            | libc::MADV_DODUMP
            | libc::MADV_WIPEONFORK
            | libc::MADV_KEEPONFORK
            | libc::MADV_COLD
            | libc::MADV_PAGEOUT
            | libc::MADV_POPULATE_READ
            | libc::MADV_POPULATE_WRITE => {}
            libc::MADV_MERGEABLE | libc::MADV_UNMERGEABLE => return Ok(()),
            _ => return Err(Errno::EINVAL),
        }
        if !inner.vmas.covers(addr, end) && inner.vmas.overlapping(addr, end).next().is_none() {
            return Err(Errno::ENOMEM);
        }
        let op = Op::advise(addr, end - addr, advice);
        let held = self.swap.hold();
        if let Some(mut held) = held {
            match advice {
                libc::MADV_DONTNEED | libc::MADV_FREE => {
                    thread.call(&[op]).map_err(host_error)?;
                    return held.drop_pages(addr, end);
                }
                libc::MADV_WILLNEED
                | libc::MADV_POPULATE_READ
                | libc::MADV_POPULATE_WRITE
                | libc::MADV_WIPEONFORK => held.bring_in_range(addr, end)?,
                _ => {}
            }
        }
        if matches!(advice, libc::MADV_WIPEONFORK | libc::MADV_KEEPONFORK) {
            thread.call(&[op]).map_err(host_error)?;
            inner.vmas.update(addr, end, |v| v.wiped = advice == libc::MADV_WIPEONFORK);
        } else if matches!(advice, libc::MADV_DONTNEED | libc::MADV_FREE) && inner.vmas.covers(addr, end) {
            // Cannot fail, so it is made on the way back to the guest; threads that end do this to their stacks.
            thread.order(op)?;
        } else {
            thread.call(&[op]).map_err(host_error)?;
        }
        Ok(())
    }

    /// Whether the byte there can be written, by the books.
    pub fn takes(&self, addr: u64) -> bool {
        self.inner.lock().vmas.find(addr).is_some_and(|v| v.prot & libc::PROT_WRITE != 0)
    }

    /// Whether writing there could succeed, by the books.
    pub fn is_writable(&self, addr: u64, len: u64) -> bool {
        let Some(end) = addr.checked_add(len) else { return false };
        let inner = self.inner.lock();
        let mut at = addr;
        for vma in inner.vmas.overlapping(addr, end) {
            // A file's last page may end before the mapping does.
            let plain = vma.prot & libc::PROT_WRITE != 0 && !matches!(vma.backing, Backing::File(..));
            if vma.start > at || !plain {
                return false;
            }
            at = vma.end;
        }
        at >= end
    }
}

impl Drop for Mm {
    fn drop(&mut self) {
        // Who still asks for its memory is not to keep what was swapped out of it.
        self.swap.end();
    }
}

/// A number for an object, unlike any other's.
pub fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn range(addr: u64, len: u64) -> Result<u64> {
    let end = range_or_none(addr, len).map_err(|_| Errno::EINVAL)?;
    if end == addr { Err(Errno::EINVAL) } else { Ok(end) }
}

fn range_or_none(addr: u64, len: u64) -> Result<u64> {
    if !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let len = page_up(len).ok_or(Errno::EINVAL)?;
    match addr.checked_add(len) {
        Some(end) if end <= TASK_SIZE => Ok(end),
        _ => Err(if len == 0 { Errno::EINVAL } else { Errno::ENOMEM }),
    }
}

impl Inner {
    /// Chooses the address of a mapping.
    fn place(&self, request: &MapRequest, len: u64) -> Result<u64> {
        let fixed = request.flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) != 0;
        if fixed {
            if !request.addr.is_multiple_of(PAGE) {
                return Err(Errno::EINVAL);
            }
            let end = request.addr.checked_add(len).filter(|e| *e <= TASK_SIZE).ok_or(Errno::ENOMEM)?;
            if request.addr < MIN_ADDR {
                return Err(Errno::EPERM);
            }
            if request.flags & libc::MAP_FIXED_NOREPLACE != 0 && !self.vmas.is_free(request.addr, end) {
                return Err(Errno::EEXIST);
            }
            return Ok(request.addr);
        }
        let hint = request.addr & !(PAGE - 1);
        if hint >= MIN_ADDR
            && hint.checked_add(len).is_some_and(|e| e <= TASK_SIZE && self.vmas.is_free(hint, e))
        {
            return Ok(hint);
        }
        if request.flags & libc::MAP_32BIT != 0 {
            return self.vmas.find_gap(len, 0x4000_0000, 0x8000_0000).ok_or(Errno::ENOMEM);
        }
        self.vmas
            .find_gap(len, THUNKS + THUNKS_SIZE, self.mmap_base)
            .or_else(|| self.vmas.find_gap(len, THUNKS + THUNKS_SIZE, TASK_SIZE))
            .ok_or(Errno::ENOMEM)
    }
}
