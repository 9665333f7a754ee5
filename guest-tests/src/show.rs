//! How results are written: names instead of numbers, so that a difference between two kernels reads by itself.

use std::fmt;

/// What a system call gave back: a value, or minus an errno.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) struct R(pub(crate) i64);

impl R {
    /// The result as a descriptor or pid; negative if the call failed.
    pub(crate) fn fd(self) -> i32 {
        self.0 as i32
    }

    pub(crate) fn ok(self) -> bool {
        self.0 >= 0
    }

    /// "ok" for any success: for values that differ from run to run.
    pub(crate) fn sign(self) -> String {
        if self.ok() { "ok".into() } else { self.to_string() }
    }
}

impl fmt::Display for R {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if (-4095..0).contains(&self.0) {
            f.write_str(&errno(-self.0 as i32))
        } else {
            write!(f, "{}", self.0)
        }
    }
}

macro_rules! names {
    ($v:expr, $kind:literal, $($n:ident)*) => {
        match $v {
            $(x if x == libc::$n => stringify!($n).into(),)*
            x => format!(concat!($kind, "{}"), x),
        }
    };
}

/// The name of an errno.
pub(crate) fn errno(e: i32) -> String {
    names!(e, "errno", EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK
        EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK
        EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENOMSG EIDRM ENODATA ETIME ENOTUNIQ EBADFD
        EOVERFLOW EILSEQ EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT
        EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ECONNABORTED ECONNRESET
        ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE
        EDQUOT ENOKEY EOWNERDEAD ENOTRECOVERABLE ECANCELED EPROTO EREMOTE ENOSTR EBADMSG)
}

/// The name of a signal.
pub(crate) fn signal(s: i32) -> String {
    names!(s, "SIG", SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE
        SIGALRM SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF
        SIGWINCH SIGIO SIGPWR SIGSYS)
}

/// The name of an `si_code`, which depends on the signal it came with.
pub(crate) fn si_code(sig: i32, code: i32) -> String {
    const CODES: &[(i32, i32, &str)] = &[
        (0, 0, "SI_USER"),
        (0, 0x80, "SI_KERNEL"),
        (0, -1, "SI_QUEUE"),
        (0, -2, "SI_TIMER"),
        (0, -3, "SI_MESGQ"),
        (0, -4, "SI_ASYNCIO"),
        (0, -6, "SI_TKILL"),
        (libc::SIGSEGV, 1, "SEGV_MAPERR"),
        (libc::SIGSEGV, 2, "SEGV_ACCERR"),
        (libc::SIGBUS, 1, "BUS_ADRALN"),
        (libc::SIGBUS, 2, "BUS_ADRERR"),
        (libc::SIGFPE, 1, "FPE_INTDIV"),
        (libc::SIGFPE, 2, "FPE_INTOVF"),
        (libc::SIGFPE, 3, "FPE_FLTDIV"),
        (libc::SIGILL, 2, "ILL_ILLOPN"),
        (libc::SIGTRAP, 1, "TRAP_BRKPT"),
        (libc::SIGTRAP, 2, "TRAP_TRACE"),
        (libc::SIGCHLD, 1, "CLD_EXITED"),
        (libc::SIGCHLD, 2, "CLD_KILLED"),
        (libc::SIGCHLD, 3, "CLD_DUMPED"),
        (libc::SIGCHLD, 4, "CLD_TRAPPED"),
        (libc::SIGCHLD, 5, "CLD_STOPPED"),
        (libc::SIGCHLD, 6, "CLD_CONTINUED"),
        (libc::SIGIO, 1, "POLL_IN"),
        (libc::SIGIO, 2, "POLL_OUT"),
    ];
    CODES
        .iter()
        .find(|(s, c, _)| (*s == 0 || *s == sig) && *c == code)
        .map_or_else(|| format!("code{code}"), |(_, _, n)| (*n).into())
}

/// A wait status as wait4 fills it in.
pub(crate) fn status(st: i32) -> String {
    if libc::WIFEXITED(st) {
        format!("exited:{}", libc::WEXITSTATUS(st))
    } else if libc::WIFSIGNALED(st) {
        format!("killed:{}", signal(libc::WTERMSIG(st)))
    } else if libc::WIFSTOPPED(st) {
        format!("stopped:{}", signal(libc::WSTOPSIG(st)))
    } else if libc::WIFCONTINUED(st) {
        "continued".into()
    } else {
        format!("status{st:#x}")
    }
}

/// Bytes as ASCII, escaped.
pub(crate) fn bytes(b: &[u8]) -> String {
    format!("\"{}\"", b.escape_ascii())
}

/// Runs of equal bytes, `a*100 .*3996`, for contents too long to print.
pub(crate) fn runs(b: &[u8]) -> String {
    b.chunk_by(|x, y| x == y)
        .map(|c| {
            let ch = if c[0] == 0 { "0".into() } else { c[0].escape_ascii().to_string() };
            format!("{ch}*{}", c.len())
        })
        .collect::<Vec<_>>()
        .join("+")
}

/// The names of the bits set, `A|B`, or `0`.
pub(crate) fn bits(v: u64, names: &[(u64, &str)]) -> String {
    let mut rest = v;
    let mut out: Vec<String> = Vec::new();
    for (b, n) in names {
        if v & b == *b && *b != 0 {
            out.push((*n).into());
            rest &= !b;
        }
    }
    if rest != 0 || out.is_empty() {
        out.push(format!("{rest:#x}"));
    }
    out.join("|")
}
