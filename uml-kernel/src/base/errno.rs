//! Error numbers, as the guest sees them (errno(3)).

use std::fmt;

/// An error number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

/// What most of the kernel returns.
pub type Result<T> = std::result::Result<T, Errno>;

macro_rules! errnos {
    ($($name:ident)*) => {
        impl Errno { $(#[doc = stringify!($name)] pub const $name: Errno = Errno(libc::$name);)* }
        const NAMES: &[(i32, &str)] = &[$((libc::$name, stringify!($name)),)* (512, "ERESTARTSYS"), (513, "ERESTARTNOINTR"),
            (514, "ERESTARTNOHAND"), (516, "ERESTART_RESTARTBLOCK")];
    };
}
errnos! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV
    ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK
    ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENOMSG ENODATA ETIME EPROTO EBADMSG EOVERFLOW EILSEQ EUSERS ENOTSOCK
    EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT
    EADDRINUSE EADDRNOTAVAIL ENETUNREACH ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ETIMEDOUT ECONNREFUSED
    EHOSTUNREACH EALREADY EINPROGRESS ESTALE EDQUOT ECANCELED EOWNERDEAD ENOTRECOVERABLE EUCLEAN ELIBBAD
}

impl Errno {
    /// Interrupted; restarted if the handler has SA_RESTART, or there is none (linux/errno.h).
    pub const ERESTARTSYS: Errno = Errno(512);
    /// Interrupted; always restarted.
    pub const ERESTARTNOINTR: Errno = Errno(513);
    /// Interrupted; restarted if there is no handler.
    pub const ERESTARTNOHAND: Errno = Errno(514);
    /// Interrupted; goes on by `restart_syscall` if there is no handler.
    pub const ERESTART_RESTARTBLOCK: Errno = Errno(516);

    /// Its name, for logs and traces.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(n, _)| *n == self.0).map_or("E?", |(_, name)| name)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

impl std::error::Error for Errno {}

impl From<std::io::Error> for Errno {
    fn from(e: std::io::Error) -> Errno {
        Errno(e.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(e: rustix::io::Errno) -> Errno {
        Errno(e.raw_os_error())
    }
}
