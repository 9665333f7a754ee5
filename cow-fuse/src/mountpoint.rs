//! Mounting a directory, and unmounting it: with mount(2) where that is allowed, else with `fusermount3`, which is set-user-id.

use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::ffi::CString;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whose mounts they are, where nobody says.
const PROGRAM: &str = "cowtool";
const HELPER: &str = "fusermount3";

/// What a mount is like.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What is mounted, as /proc/mounts shows it.
    pub source: String,
    /// Whose mount it is, as /proc/mounts shows it behind `fuse.`; cowtool's, if nobody says.
    pub program: Option<&'static str>,
    /// Nothing is written.
    pub read_only: bool,
    /// Others than who mounts may enter.
    pub allow_other: bool,
    /// Set-user-id programs run as their owners.
    pub suid: bool,
    /// Device nodes are devices.
    pub dev: bool,
    /// Programs do not run.
    pub no_exec: bool,
}

/// Why a directory cannot be mounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// There is no FUSE.
    #[error("/dev/fuse: {0} (is the fuse module loaded?)")]
    NoFuse(io::Error),
    /// The kernel, or the directory, does not allow it.
    #[error("mounting \"{}\": {source}", directory.display())]
    Mount {
        /// Where.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A server that was killed is still mounted there.
    #[error("\"{}\" is still mounted, and what served it is gone: {program} umount \"{}\"", directory.display(), directory.display())]
    Dead {
        /// Where.
        directory: PathBuf,
        /// With what it is unmounted.
        program: &'static str,
    },
    /// `fusermount3` is not there.
    #[error("an ordinary user needs fusermount3 to mount (Debian: apt-get install fuse3): {0}")]
    NoHelper(io::Error),
    /// `fusermount3` has refused, and says why.
    #[error("{0}")]
    Helper(String),
    /// A name that cannot be a mount's.
    #[error("a NUL in \"{0}\"")]
    Nul(String),
}

/// A mounted directory, and the device through which it is served.
#[derive(Debug)]
pub struct Attachment {
    /// `/dev/fuse`.
    pub device: OwnedFd,
    /// Where.
    pub directory: PathBuf,
}

/// Mounts a directory.
///
/// # Errors
/// [`MountError`]; nothing is mounted then.
pub fn attach(directory: &Path, options: &Options) -> Result<Attachment, MountError> {
    let dead =
        || MountError::Dead { directory: directory.to_owned(), program: options.program.unwrap_or(PROGRAM) };
    let failed = |e: Errno| match e {
        Errno::NOTCONN => dead(),
        e => MountError::Mount { directory: directory.to_owned(), source: e.into() },
    };
    // Its attributes may still be known: an answer is asked for that nobody keeps.
    if crate::control::Server::of(directory)
        .is_err_and(|e| e.raw_os_error() == Some(Errno::NOTCONN.raw_os_error()))
    {
        return Err(dead());
    }
    let target = open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mode = fstat(target.map_err(failed)?).map_err(failed)?.st_mode;
    let device = match by_mount(directory, options, mode)? {
        Some(device) => device,
        None => by_helper(directory, options)?,
    };
    Ok(Attachment { device, directory: directory.to_owned() })
}

/// Mounts with mount(2). `None` where that is not for this user.
fn by_mount(directory: &Path, options: &Options, mode: u32) -> Result<Option<OwnedFd>, MountError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let device = open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| MountError::NoFuse(e.into()))?;
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let mut data = format!(
        "fd={},rootmode={mode:o},user_id={uid},group_id={gid},default_permissions",
        device.as_raw_fd()
    );
    if options.allow_other {
        data += ",allow_other";
    }
    let mut flags = MountFlags::empty();
    for (set, flag) in [
        (options.read_only, MountFlags::RDONLY),
        (!options.suid, MountFlags::NOSUID),
        (!options.dev, MountFlags::NODEV),
        (options.no_exec, MountFlags::NOEXEC),
    ] {
        flags.set(flag, set);
    }
    let data = CString::new(data.clone()).map_err(|_| MountError::Nul(data))?;
    match mount(
        options.source.as_str(),
        directory,
        format!("fuse.{}", options.program.unwrap_or(PROGRAM)).as_str(),
        flags,
        data.as_c_str(),
    ) {
        Ok(()) => Ok(Some(device)),
        Err(Errno::PERM) => Ok(None),
        Err(e) => Err(MountError::Mount { directory: directory.to_owned(), source: e.into() }),
    }
}

/// Mounts with the helper, which sends the device through a socket (fusermount3(1), libfuse's mount.c).
fn by_helper(directory: &Path, options: &Options) -> Result<OwnedFd, MountError> {
    let socket = |e: io::Error| MountError::Mount { directory: directory.to_owned(), source: e };
    let (ours, theirs) = UnixStream::pair().map_err(socket)?;
    // For the child: this process has no other threads yet, and starts nothing else meanwhile.
    fcntl_setfd(&theirs, FdFlags::empty()).map_err(|e| socket(e.into()))?;
    let mut command = Command::new(HELPER);
    command.arg("-o").arg(helper_options(options)).arg("--").arg(directory);
    let output = command.env("_FUSE_COMMFD", theirs.as_raw_fd().to_string()).output();
    drop(theirs);
    let output = output.map_err(MountError::NoHelper)?;
    if !output.status.success() {
        return Err(MountError::Helper(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    receive(&ours).map_err(socket)
}

fn helper_options(options: &Options) -> String {
    // Commas separate options, and fusermount3 takes a backslash for what it is.
    let source = options.source.replace('\\', "\\\\").replace(',', "\\,");
    let program = options.program.unwrap_or(PROGRAM);
    let mut out = format!("fsname={source},subtype={program},default_permissions");
    for (set, option) in [
        (options.read_only, ",ro"),
        (options.allow_other, ",allow_other"),
        (options.suid, ",suid"),
        (options.dev, ",dev"),
        (options.no_exec, ",noexec"),
    ] {
        out += if set { option } else { "" };
    }
    if !options.suid {
        out += ",nosuid";
    }
    if !options.dev {
        out += ",nodev";
    }
    out
}

/// The descriptor that comes through a socket.
fn receive(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    recvmsg(socket.as_fd(), &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let rights = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    rights.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "fusermount3 has sent no device"))
}

/// Unmounts a directory. With `lazily`, it is gone at once, and what is open in it stays so.
///
/// # Errors
/// EBUSY while something is open in it; those of umount(2), or what `fusermount3` says.
pub fn detach(directory: &Path, lazily: bool) -> io::Result<()> {
    let flags = if lazily { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match unmount(directory, flags | UnmountFlags::NOFOLLOW) {
        Err(Errno::PERM) => {}
        done => return Ok(done?),
    }
    let mut command = Command::new(HELPER);
    command.arg(if lazily { "-uz" } else { "-u" }).arg("--").arg(directory);
    let output = command.output()?;
    match (output.status.success(), String::from_utf8_lossy(&output.stderr)) {
        (true, _) => Ok(()),
        (_, text) if text.contains("busy") => Err(Errno::BUSY.into()),
        (_, text) => Err(io::Error::other(text.trim().to_owned())),
    }
}
