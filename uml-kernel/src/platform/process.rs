//! Stub processes: the first one, made from a file in memory; all others, clones of stubs.

use super::gate::Gate;
use super::host_pid::HostPid;
use super::ops::Op;
use super::remains::{Peak, Pool, Windows};
use super::thread::StubThread;
use super::window::Window;
use super::x86_64::layout::*;
use super::x86_64::patch::{self, Alias, Thunk};
use super::x86_64::{filter, frame::XStateLayout, stub};
use super::{Dead, sys};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// A host process that runs the code of one guest address space.
#[derive(Debug)]
pub struct Stub {
    pid: Arc<HostPid>,
    socket: OwnedFd,
    windows: Arc<Windows>,
    peak: Arc<Peak>,
    slots: Mutex<Slots>,
    dead: AtomicBool,
    /// Threads that no task has, for the next ones.
    parked: Mutex<Vec<Parked>>,
    /// Thunks of patched sites, by their number.
    thunks: Mutex<HashMap<u64, Thunk>>,
    /// Held from the sending of descriptors until they are closed again: they get fixed numbers, and there is one table for all threads.
    passing: Mutex<()>,
}

/// A thread whose task has ended: it waits for orders, and begins another task without a clone.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) window: Arc<Window>,
    pub(super) tid: i32,
    pub(super) cpu: Option<usize>,
    /// The signal frame it stopped in, if it did.
    pub(super) frame: Option<usize>,
}

/// Threads kept for later, at most; each holds a host thread.
const MOST_PARKED: usize = 8;

#[derive(Debug, Default)]
struct Slots(Vec<Slot>);

/// One window, mapped here for as long as the stub lives.
#[derive(Debug)]
struct Slot {
    window: Arc<Window>,
    used: bool,
    /// The stub has it mapped.
    mapped: bool,
}

impl Slots {
    fn first_of(windows: &Windows) -> Slots {
        Slots(vec![Slot { window: windows.first().clone(), used: true, mapped: true }])
    }
}

/// What is kept of a stub until it is collected.
#[derive(Debug)]
struct Known {
    stub: Weak<Stub>,
    pid: Arc<HostPid>,
    windows: Arc<Windows>,
    peak: Arc<Peak>,
}

impl Known {
    fn of(stub: &Arc<Stub>) -> Known {
        Known {
            stub: Arc::downgrade(stub),
            pid: stub.pid.clone(),
            windows: stub.windows.clone(),
            peak: stub.peak.clone(),
        }
    }
}

impl Stub {
    /// The host's process id.
    pub fn pid(&self) -> &Arc<HostPid> {
        &self.pid
    }

    /// Whether its process has ended.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Ends the process. The reaper collects it.
    pub fn kill(&self) {
        if !self.dead.swap(true, Ordering::AcqRel) {
            self.peak.set_ending();
            let _ = self.pid.with(|pid| sys::kill(pid, libc::SIGKILL));
        }
        self.wake_all();
    }

    /// Sends descriptors, for the ordered `recvmsg` to take.
    pub fn send(&self, fds: &[std::os::fd::BorrowedFd<'_>]) -> Result<()> {
        sys::send_fds(self.socket.as_fd(), fds)
    }

    /// To be held while descriptors are on their way to this stub.
    pub(super) fn passing(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.passing.lock()
    }

    /// The windows' file.
    pub(super) fn windows(&self) -> BorrowedFd<'_> {
        self.windows.file()
    }

    /// The most memory it has held.
    pub fn peak(&self) -> &Arc<Peak> {
        &self.peak
    }

    /// A window that no thread has; whether the stub has it mapped already.
    pub(super) fn new_window(&self) -> Result<(Arc<Window>, bool)> {
        let mut slots = self.slots.lock();
        // A thread that has left the kernel may not have left the host yet, and runs on its window until then.
        let free = slots.0.iter_mut().find(|s| !s.used && s.window.u32(W_ALIVE) == 0);
        if let Some(slot) = free {
            slot.used = true;
            return Ok((slot.window.clone(), std::mem::replace(&mut slot.mapped, true)));
        }
        let number = slots.0.len();
        if number >= WINDOW_SLOTS as usize {
            return Err(Error::from_raw_os_error(libc::EAGAIN));
        }
        let window = self.windows.map(number)?;
        slots.0.push(Slot { window: window.clone(), used: true, mapped: true });
        Ok((window, false))
    }

    /// Keeps a thread for later; false if there are enough.
    pub(super) fn park(&self, thread: Parked) -> bool {
        let mut parked = self.parked.lock();
        let room = parked.len() < MOST_PARKED;
        if room {
            parked.push(thread);
        }
        room
    }

    /// A thread that was kept.
    pub(super) fn unpark(&self) -> Option<Parked> {
        self.parked.lock().pop()
    }

    /// Whether more than one task runs in it.
    pub fn is_shared(&self) -> bool {
        // A thread that is being parked counts as both for a moment: there is one too many then, never one too few.
        let parked = self.parked.lock().len();
        self.slots.lock().0.iter().filter(|s| s.used).count() > 1 + parked
    }

    /// A thread is done with its window.
    pub(super) fn free_window(&self, number: usize) {
        if let Some(slot) = self.slots.lock().0.get_mut(number) {
            slot.used = false;
        }
    }

    /// Notes a thunk.
    pub(super) fn add_thunk(&self, number: u64, thunk: Thunk) {
        self.thunks.lock().insert(number, thunk);
    }

    /// An address in a thunk becomes the one in the guest's code that it stands for.
    pub(super) fn out_of_thunk(&self, rip: &mut u64) -> Alias {
        patch::number_of(*rip)
            .and_then(|number| self.thunks.lock().get(&number).copied())
            .map_or_else(Alias::default, |thunk| thunk.leave(rip))
    }

    fn wake_all(&self) {
        for slot in &self.slots.lock().0 {
            slot.window.turn().store(0, Ordering::Release);
            sys::futex_wake(slot.window.turn());
        }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What all stubs come from.
#[derive(Debug)]
pub struct Platform {
    sites: stub::Sites,
    xstate: XStateLayout,
    gate: Gate,
    registry: Mutex<HashMap<i32, Known>>,
    pool: Pool,
    /// A stub without guest memory, from which new ones are cloned. The lock also orders all clones of processes: one at
    /// a time, so that a new child can only be the one that was ordered.
    pristine: Mutex<Option<StubThread>>,
    forking: Mutex<()>,
    /// Where the host's vDSO begins, from [`HOST_VDSO`], if there is one.
    vdso: Option<u64>,
}

impl Platform {
    /// Starts the first stub. Stubs die with the calling thread.
    pub fn start() -> Result<Arc<Platform>> {
        let sites = stub::sites();
        let mut program = sys::memfd(c"uml-stub", 0).map(std::fs::File::from)?;
        program.write_all(&super::elf::image())?;
        let (mine, theirs) = sys::socket_pair()?;
        let windows = Arc::new(Windows::new()?);
        let pid = sys::spawn_stub(program.as_fd(), theirs.as_fd(), windows.file())?;
        let number = HostPid::new(pid);
        let stub = Arc::new(Stub {
            peak: Peak::new(&number),
            pid: number,
            socket: mine,
            slots: Mutex::new(Slots::first_of(&windows)),
            windows,
            dead: AtomicBool::new(false),
            parked: Mutex::default(),
            thunks: Mutex::default(),
            passing: Mutex::new(()),
        });
        let mut thread = StubThread::new(stub.clone(), stub.windows.first().clone(), pid);
        let (listener, vdso) = prepare(&mut thread, &sites)?;
        let platform = Arc::new(Platform {
            sites,
            xstate: XStateLayout::of_cpu(),
            gate: Gate::start(listener)?,
            registry: Mutex::default(),
            pool: Pool::default(),
            pristine: Mutex::new(Some(thread)),
            forking: Mutex::new(()),
            vdso,
        });
        platform.registry.lock().insert(pid, Known::of(&stub));
        Ok(platform)
    }

    /// Addresses in the stub's code.
    pub fn sites(&self) -> &stub::Sites {
        &self.sites
    }

    /// Where the host's vDSO begins in every stub, from [`HOST_VDSO`].
    pub fn vdso(&self) -> Option<u64> {
        self.vdso
    }

    /// The form of the extended registers.
    pub fn xstate(&self) -> &XStateLayout {
        &self.xstate
    }

    /// The gate that every clone of a stub passes.
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// A stub without guest memory, for `execve`, on a host CPU: that of the caller, or to hand over to it costs ten times as much.
    pub fn fresh(&self, cpu: usize) -> Result<StubThread> {
        let mut pristine = self.pristine.lock();
        let thread = pristine.as_mut().ok_or_else(|| Error::from_raw_os_error(libc::ESRCH))?;
        thread.move_to(cpu);
        self.fork(thread)
    }

    /// Maps a file in the stub that all fresh ones are clones of.
    pub fn map_in_fresh(&self, file: BorrowedFd<'_>, op: Op) -> Result<()> {
        let mut pristine = self.pristine.lock();
        let thread = pristine.as_mut().ok_or_else(|| Error::from_raw_os_error(libc::ESRCH))?;
        thread.map_file(file, op)
    }

    /// Clones the stub of a stopped thread. The new one stands where the old one does.
    pub fn fork(&self, parent: &mut StubThread) -> Result<StubThread> {
        let _one_at_a_time = self.forking.lock();
        let (mine, theirs) = sys::socket_pair()?;
        let windows = self.pool.take()?;
        let slot = parent.window().slot();
        let mut slots = Slots::first_of(&windows);
        for number in 1..=slot {
            slots.0.push(Slot { window: windows.map(number)?, used: false, mapped: false });
        }
        for (number, s) in slots.0.iter_mut().enumerate() {
            (s.used, s.mapped) = (number == slot, number == slot);
        }
        let window = slots.0[slot].window.clone();
        parent.copy_window(&window);
        let parent_stub = parent.stub().clone();
        let _passing = parent_stub.passing();
        parent.stub().send(&[windows.file(), theirs.as_fd()])?;
        let clone = Op::new(libc::SYS_clone, &[(libc::CLONE_PARENT | libc::SIGCHLD) as u64]);
        let receive = parent.receive(2);
        self.gate.expect(parent.tid());
        let results = parent.call(&[receive, clone, Op::close(FD_PASSED), Op::close(FD_PASSED2)]);
        self.gate.done(parent.tid());
        let pid = match results {
            Ok(results) => results[1] as i32,
            Err(e) => return Err(e),
        };
        // The number comes through memory that the guest can write. It is believed if it names a child of ours that is
        // not known yet; there is no other such child, because clones are ordered one at a time.
        let mut registry = self.registry.lock();
        if registry.get(&pid).is_some_and(|k| k.stub.strong_count() > 0) || !sys::is_child(pid) {
            return Err(Error::new(ErrorKind::InvalidData, "the stub names a child that is not its own"));
        }
        let number = HostPid::new(pid);
        let stub = Arc::new(Stub {
            peak: Peak::new(&number),
            pid: number,
            socket: mine,
            windows,
            slots: Mutex::new(slots),
            dead: AtomicBool::new(false),
            parked: Mutex::default(),
            thunks: Mutex::new(parent_stub.thunks.lock().clone()),
            passing: Mutex::new(()),
        });
        registry.insert(pid, Known::of(&stub));
        Ok(parent.twin(stub, window, pid))
    }

    /// Collects stubs that have ended, until there is none left. For the thread that started the first one.
    pub fn reap(&self) {
        while let Ok(pid) = sys::wait_any_end() {
            // Before its number can be given to another, which would be known by it.
            let known = self.registry.lock().remove(&pid);
            let stub = known.as_ref().and_then(|k| k.stub.upgrade());
            if let Some(stub) = &stub {
                stub.dead.store(true, Ordering::Release);
            }
            if let Some(known) = &known {
                known.pid.give_up();
            }
            let peak = sys::collect(pid).unwrap_or(0);
            if let Some(stub) = stub {
                stub.wake_all();
            }
            if let Some(known) = known {
                known.peak.set(peak);
                self.pool.give(known.windows);
            }
        }
    }

    /// Ends every stub.
    pub fn shut_down(&self) {
        let stubs: Vec<_> = self.registry.lock().values().filter_map(|k| k.stub.upgrade()).collect();
        for stub in stubs {
            stub.kill();
        }
        if let Some(mut pristine) = self.pristine.try_lock() {
            *pristine = None;
        }
    }
}

/// Brings the first stub from `execve` to where clones can be taken of it; returns the gate's descriptor.
fn prepare(thread: &mut StubThread, sites: &stub::Sites) -> Result<(OwnedFd, Option<u64>)> {
    let pid = thread.stub().pid().number();
    // It has run when the window's address is mapped; its first hand-over tells.
    thread.call(&[Op::new(libc::SYS_getpid, &[])])?;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut ops = Vec::new();
    let mut vdso_at = None;
    let mut vdso = None;
    for line in maps.lines() {
        let Some((range, rest)) = line.split_once(' ') else { continue };
        let Some((start, end)) = range.split_once('-') else { continue };
        let (Ok(start), Ok(end)) = (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16)) else {
            continue;
        };
        if start >= 1 << 63 || start == STUB_TEXT || (WINDOWS..WINDOWS + WINDOWS_SPAN).contains(&start) {
            continue;
        }
        if rest.ends_with("[vvar]") || rest.ends_with("[vvar_vclock]") || rest.ends_with("[vdso]") {
            // They address each other relatively: they move together, in order.
            let base = *vdso_at.get_or_insert(start);
            if rest.ends_with("[vdso]") {
                vdso = Some(start - base);
            }
            let flags = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
            ops.push(Op::remap(start, end - start, end - start, flags, HOST_VDSO + (start - base)));
        } else {
            ops.push(Op::unmap(start, end - start));
        }
    }
    thread.call(&ops)?;
    thread.set_up_signals(sites)?;
    thread.call(&[Op::new(libc::SYS_prctl, &[libc::PR_SET_NO_NEW_PRIVS as u64, 1]), Op::close(FD_PASSED)])?;
    let program = filter::program(sites, true);
    let bytes = sys::filter_bytes(&program);
    if bytes.len() > W_ALTSTACK - W_DATA - 16 {
        return Err(Error::other("the filter does not fit in the window"));
    }
    let window = thread.window();
    let data = window.guest_address() + W_DATA as u64;
    window.set_u64(W_DATA, program.len() as u64);
    window.set_u64(W_DATA + 8, data + 16);
    window.write(W_DATA + 16, bytes);
    const NEW_LISTENER: u64 = 8;
    let results = thread.call(&[Op::new(libc::SYS_seccomp, &[1, NEW_LISTENER, data])])?;
    let theirs = results[0] as i32;
    let listener = sys::steal_fd(pid, theirs)?;
    thread.call(&[Op::close(theirs)])?;
    if thread.stub().is_dead() {
        return Err(Dead.into());
    }
    Ok((listener, vdso))
}
