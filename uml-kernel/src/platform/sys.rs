//! Host calls that need `unsafe`, each wrapped so that its callers do not.

#![allow(unsafe_code)]

use super::x86_64::filter::Insn;
use std::ffi::CStr;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

fn check(result: libc::c_long) -> Result<i64> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}

fn owned(result: libc::c_long) -> Result<OwnedFd> {
    // SAFETY: the kernel has just returned this descriptor; nobody else owns it.
    check(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A copy of a descriptor that this program was started with; EBADF for one that it has opened itself.
pub fn inherited(number: i32) -> Result<OwnedFd> {
    // SAFETY: plain call. Descriptors of our own are all closed on exec.
    let flags = check(unsafe { libc::fcntl(number, libc::F_GETFD) }.into())?;
    if flags & i64::from(libc::FD_CLOEXEC) != 0 {
        return Err(Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: plain call.
    owned(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) }.into())
}

/// Whether a signal is ignored.
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: all zeros are a valid value of it.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is changed; the pointer is to a value of the right type.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// An anonymous file of `size` bytes.
pub fn memfd(name: &CStr, size: u64) -> Result<OwnedFd> {
    // SAFETY: plain call with a valid string.
    let fd = owned(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) }.into())?;
    // SAFETY: plain call.
    check(unsafe { libc::ftruncate(fd.as_raw_fd(), size as i64) }.into())?;
    Ok(fd)
}

/// Maps part of a file, shared and writable.
pub fn map_shared(file: BorrowedFd<'_>, offset: u64, len: usize) -> Result<*mut u8> {
    // SAFETY: a new mapping, placed by the host.
    let p = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            offset as i64,
        )
    };
    if p == libc::MAP_FAILED { Err(Error::last_os_error()) } else { Ok(p.cast()) }
}

/// Wakes one waiter of a word shared between processes.
pub fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is valid; waking has no other precondition.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
}

/// Sleeps while the word, shared between processes, is `value`; may return early. True if the time is over.
pub fn futex_wait(word: &AtomicU32, value: u32, timeout: Option<Duration>) -> bool {
    let ts = timeout.map(|t| libc::timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
    let ts = ts.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the word and the time are valid for the call.
    let r = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, ts) };
    r < 0 && Error::last_os_error().raw_os_error() == Some(libc::ETIMEDOUT)
}

/// Lets others have the CPU.
pub fn yield_cpu() {
    // SAFETY: no arguments, no memory.
    unsafe { libc::sched_yield() };
}

/// Reads from another process; all or an error.
pub fn vm_read(pid: i32, address: u64, into: &mut [u8]) -> Result<usize> {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut _, iov_len: into.len() };
    // SAFETY: the local vector is the slice; the remote one is checked by the host.
    check(unsafe { libc::process_vm_readv(pid, &local, 1, &remote, 1, 0) } as i64).map(|n| n as usize)
}

/// Writes to another process; returns the bytes written.
pub fn vm_write(pid: i32, address: u64, from: &[u8]) -> Result<usize> {
    let local = libc::iovec { iov_base: from.as_ptr().cast_mut().cast(), iov_len: from.len() };
    let remote = libc::iovec { iov_base: address as *mut _, iov_len: from.len() };
    // SAFETY: as in `vm_read`; the local side is only read.
    check(unsafe { libc::process_vm_writev(pid, &local, 1, &remote, 1, 0) } as i64).map(|n| n as usize)
}

/// Sends a signal to one thread of a process.
pub fn tgkill(pid: i32, tid: i32, signal: i32) -> Result<()> {
    // SAFETY: plain call.
    check(unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) }).map(drop)
}

/// Sends a signal to a process.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: plain call.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// Waits for the end of any child, or looks without waiting; its pid.
pub fn wait_any_end() -> Result<i32> {
    // SAFETY: all-zero is a valid siginfo; the call fills it.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOWAIT | libc::__WALL;
        check(libc::waitid(libc::P_ALL, 0, &mut info, flags).into())?;
        Ok(info.si_pid())
    }
}

/// Collects a child that has ended; the most KiB that it has held in memory.
pub fn collect(pid: i32) -> Result<u64> {
    let mut status = 0;
    // SAFETY: all-zero is a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both are valid for the call.
    check(unsafe { libc::wait4(pid, &mut status, libc::__WALL, &mut usage) }.into())?;
    Ok(usage.ru_maxrss as u64)
}

/// The most KiB that a process has held in memory; 0 once it is gone.
pub fn peak_resident(pid: i32) -> u64 {
    let mut buffer = [0; 4096];
    let text = proc_text(pid, "status", &mut buffer);
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

/// Whether `pid` is a child of this process, alive or not yet reaped.
pub fn is_child(pid: i32) -> bool {
    // SAFETY: all-zero is a valid siginfo; the call fills it.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
        libc::waitid(libc::P_PID, pid as u32, &mut info, flags) == 0
    }
}

/// The CPU that this thread is on.
pub fn current_cpu() -> usize {
    // SAFETY: it takes nothing.
    usize::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(0)
}

/// Keeps a thread on some CPUs.
pub fn pin(tid: i32, cpus: &[usize]) -> Result<()> {
    // SAFETY: all-zero is a valid set; `CPU_SET` bounds its index.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        cpus.iter().for_each(|c| libc::CPU_SET(*c, &mut set));
        check(libc::sched_setaffinity(tid, size_of::<libc::cpu_set_t>(), &set).into()).map(drop)
    }
}

/// CPUs that this thread may run on.
pub fn allowed_cpus() -> Vec<usize> {
    // SAFETY: as in `pin`.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) < 0 {
            return vec![0];
        }
        (0..libc::CPU_SETSIZE as usize).filter(|&c| libc::CPU_ISSET(c, &set)).collect()
    }
}

/// CPUs of the host that are on, whether this thread may run on them or not.
pub fn online_cpus() -> usize {
    // SAFETY: it takes a number.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).unwrap_or(1)
}

/// Two connected datagram sockets that keep message boundaries.
pub fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: room for two descriptors.
    let result = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) };
    check(result.into())?;
    // SAFETY: just returned by the host, owned by nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Sends one or two descriptors as a message of one byte.
pub fn send_fds(socket: BorrowedFd<'_>, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(|f| f.as_raw_fd()).collect();
    let bytes = std::mem::size_of_val(raw.as_slice());
    let mut byte = [0u8];
    let mut iov = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = [0u64; 8];
    // SAFETY: the header describes the buffers above, `CMSG_SPACE` of two descriptors is less than the 64 bytes of `control`.
    unsafe {
        let mut msg: libc::msghdr = std::mem::zeroed();
        msg.msg_iov = &mut iov;
        msg.msg_iovlen = 1;
        msg.msg_control = control.as_mut_ptr().cast();
        msg.msg_controllen = libc::CMSG_SPACE(bytes as u32) as usize;
        let cmsg = libc::CMSG_FIRSTHDR(&msg);
        (*cmsg).cmsg_level = libc::SOL_SOCKET;
        (*cmsg).cmsg_type = libc::SCM_RIGHTS;
        (*cmsg).cmsg_len = libc::CMSG_LEN(bytes as u32) as usize;
        std::ptr::copy_nonoverlapping(raw.as_ptr().cast::<u8>(), libc::CMSG_DATA(cmsg), bytes);
        check(libc::sendmsg(socket.as_raw_fd(), &msg, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as i64)
            .map(drop)
    }
}

/// Namespaces that stubs have for themselves. Not that of processes: its first one could have no siblings (CLONE_PARENT).
const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Starts `program` as a child with `socket` and `window` as descriptors 3 and 4, an empty environment, and the death of
/// the calling thread as its own.
pub fn spawn_stub(program: BorrowedFd<'_>, socket: BorrowedFd<'_>, window: BorrowedFd<'_>) -> Result<i32> {
    let name = c"uml-stub";
    let argv = [name.as_ptr(), std::ptr::null()];
    let env = [std::ptr::null()];
    let (program, socket, window) = (program.as_raw_fd(), socket.as_raw_fd(), window.as_raw_fd());
    // SAFETY: between fork and exec the child makes only async-signal-safe calls on values prepared before.
    unsafe {
        let parent = libc::getpid();
        let pid = libc::fork();
        if pid != 0 {
            return check(pid.into()).map(|p| p as i32);
        }
        // Where the host allows it, a world of its own: should the filter ever let through what it must not, nothing is there. Before the
        // next call: the change of credentials makes the kernel forget that.
        libc::unshare(NAMESPACES);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        if libc::getppid() != parent {
            libc::_exit(1);
        }
        // A session of its own: the terminal's signals are the kernel's to hear.
        libc::setsid();
        // Move them out of the way of the numbers that they get.
        let s = libc::fcntl(socket, libc::F_DUPFD, 10);
        let w = libc::fcntl(window, libc::F_DUPFD, 10);
        let p = libc::fcntl(program, libc::F_DUPFD_CLOEXEC, 10);
        libc::dup2(s, super::x86_64::layout::FD_SOCKET);
        libc::dup2(w, super::x86_64::layout::FD_PASSED);
        libc::syscall(libc::SYS_close_range, 2, !0u32, 4 /* CLOSE_RANGE_CLOEXEC */);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &core);
        // What guest code could do with descriptors is little; it shall not do it often.
        let files = libc::rlimit { rlim_cur: 32, rlim_max: 32 };
        libc::prlimit(0, libc::RLIMIT_NOFILE, &files, std::ptr::null_mut());
        libc::fexecve(p, argv.as_ptr(), env.as_ptr());
        libc::_exit(127)
    }
}

/// A short file of the host's /proc about a process, in one read; empty if that has ended.
pub fn proc_text<'a>(pid: i32, name: &str, buffer: &'a mut [u8]) -> &'a str {
    use std::io::Read as _;
    let read = std::fs::File::open(format!("/proc/{pid}/{name}")).and_then(|mut f| f.read(buffer));
    std::str::from_utf8(&buffer[..read.unwrap_or(0)]).unwrap_or_default()
}

/// Takes a copy of another process's descriptor.
pub fn steal_fd(pid: i32, fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: plain calls.
    unsafe {
        let process = owned(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        owned(libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0))
    }
}

/// The bytes of a filter program, as the stub installs it.
pub fn filter_bytes(program: &[Insn]) -> &[u8] {
    // SAFETY: `Insn` is `repr(C)` without padding.
    unsafe { std::slice::from_raw_parts(program.as_ptr().cast(), std::mem::size_of_val(program)) }
}

/// The vDSO of this process: of the same host as that of the stubs.
pub fn own_vdso() -> Option<&'static [u8]> {
    // SAFETY: the auxiliary vector names a mapping that lives as long as the process; its length is that of the pages up to
    // the end of its section headers, which the ELF header tells.
    unsafe {
        let base = libc::getauxval(libc::AT_SYSINFO_EHDR) as *const u8;
        if base.is_null() {
            return None;
        }
        let header = std::slice::from_raw_parts(base, 64);
        let shoff = u64::from_le_bytes(header[40..48].try_into().ok()?);
        let count = u16::from_le_bytes(header[60..62].try_into().ok()?);
        Some(std::slice::from_raw_parts(base, shoff as usize + 64 * count as usize))
    }
}

/// Has the C library's heap ask the host seldom: one arena, which grows by a MiB (those of threads grow by a page, with a call each), and
/// buffers of transfers come from it.
pub fn tune_heap() {
    // SAFETY: plain numbers, each one of mallopt(3); what is refused stays as it was.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TOP_PAD, 1 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 4 << 20);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
}

/// Ends this process at once, without its exit handlers.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: takes no pointers, and does not return.
    unsafe { libc::_exit(status) }
}

/// A memory barrier on all CPUs that run anything of this user's or others'.
pub fn barrier_everywhere() -> Result<()> {
    const GLOBAL: i32 = 1;
    // SAFETY: plain call.
    check(unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) }).map(drop)
}

/// The calling thread's id.
pub fn gettid() -> i32 {
    // SAFETY: plain call.
    unsafe { libc::gettid() }
}

/// A request at the gate: `struct seccomp_notif` of linux/seccomp.h.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Notification {
    /// Names the request.
    pub id: u64,
    /// The host thread that asks.
    pub pid: u32,
    flags: u32,
    nr: i32,
    arch: u32,
    ip: u64,
    args: [u64; 6],
}

const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;
const NOTIF_ID_VALID: libc::c_ulong = 0x4008_2102;

/// Asks the host to run the listener's thread on the CPU of the asker, which waits for it anyway. Older hosts do not know how.
pub fn wake_on_this_cpu(listener: BorrowedFd<'_>) {
    const NOTIF_SET_FLAGS: libc::c_ulong = 0x4008_2104;
    const SYNC_WAKE_UP: u64 = 1;
    // SAFETY: plain call; the flags are the argument itself.
    unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
}

/// Waits for the next request.
pub fn notification(listener: BorrowedFd<'_>) -> Result<Notification> {
    let mut n = Notification::default();
    // SAFETY: the structure is what the call fills, zeroed as it demands.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_RECV, &mut n) }.into())?;
    Ok(n)
}

/// Whether who asked still waits.
pub fn still_asks(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the id is what the call reads.
    unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_ID_VALID, &id) == 0 }
}

/// Answers a request: go on, or fail with an error number.
pub fn answer(listener: BorrowedFd<'_>, id: u64, errno: Option<i32>) -> Result<()> {
    #[repr(C)]
    struct Response {
        id: u64,
        val: i64,
        error: i32,
        flags: u32,
    }
    let mut r = Response { id, val: 0, error: errno.map_or(0, |e| -e), flags: u32::from(errno.is_none()) };
    // SAFETY: the structure is what the call reads (struct seccomp_notif_resp).
    check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SEND, &mut r) }.into()).map(drop)
}
