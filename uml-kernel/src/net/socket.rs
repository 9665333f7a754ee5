//! What every socket can do, and the file that stands for one.

use crate::base::time::{self, Instant};
use crate::base::wait::{Ended, Events, How, WaitQueue};
use crate::base::{Errno, Result};
use crate::fs::anon::{self, AnonKind};
use crate::fs::{File, FileOps, Inode, OpenFlags, PollTable, kind};
use crate::mm::UserMemory;
use std::any::Any;
use std::sync::Arc;

/// Kinds of socket, the type argument of socket(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// SOCK_STREAM.
    Stream = 1,
    /// SOCK_DGRAM.
    Datagram = 2,
    /// SOCK_SEQPACKET.
    SeqPacket = 5,
}

bitflags::bitflags! {
    /// `MSG_` flags, in and out.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct MsgFlags: u32 {
        /// Out of band.
        const OOB = 1;
        /// Leave it in the queue.
        const PEEK = 2;
        /// Control data was cut.
        const CTRUNC = 8;
        /// Data was cut; going in: return the whole length.
        const TRUNC = 0x20;
        /// Do not block.
        const DONTWAIT = 0x40;
        /// End of record.
        const EOR = 0x80;
        /// Wait for all that fits.
        const WAITALL = 0x100;
        /// No SIGPIPE.
        const NOSIGNAL = 0x4000;
        /// More follows.
        const MORE = 0x8000;
        /// Descriptors received are closed on exec.
        const CMSG_CLOEXEC = 0x4000_0000;
    }
}

/// `struct ucred`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ucred {
    /// Process.
    pub pid: i32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Where path names of sockets come from: the caller's root, directory and credentials.
pub trait PathNames {
    /// Makes the socket's node; EEXIST if the name is taken.
    fn create(&self, path: &[u8]) -> Result<Arc<dyn Inode>>;
    /// Finds the node, which the caller must be able to write to (EACCES).
    fn find(&self, path: &[u8]) -> Result<Arc<dyn Inode>>;
}

/// No path names at all.
#[derive(Debug)]
pub struct NoPaths;

impl PathNames for NoPaths {
    fn create(&self, _: &[u8]) -> Result<Arc<dyn Inode>> {
        Err(Errno::EACCES)
    }
    fn find(&self, _: &[u8]) -> Result<Arc<dyn Inode>> {
        Err(Errno::ENOENT)
    }
}

/// Who calls.
#[derive(Clone)]
pub struct Caller<'a> {
    /// Thread group, effective user and group.
    pub ids: Ucred,
    /// Supplementary groups.
    pub groups: Arc<[u32]>,
    /// How it finds paths.
    pub names: &'a dyn PathNames,
}

/// What is sent.
#[derive(Debug, Default)]
pub struct Message<'a> {
    /// The bytes.
    pub data: &'a [u8],
    /// Where to, a `sockaddr`.
    pub address: Option<&'a [u8]>,
    /// SCM_RIGHTS.
    pub files: Vec<Arc<File>>,
    /// SCM_CREDENTIALS; that the caller may claim them is checked already.
    pub creds: Option<Ucred>,
}

/// What came.
#[derive(Debug, Default)]
pub struct Received {
    /// What the call returns: bytes copied, or with MSG_TRUNC of the whole datagram.
    pub len: usize,
    /// Where from, a `sockaddr`; empty if nothing is to be stored (msg_namelen is 0 then).
    pub address: Vec<u8>,
    /// SCM_RIGHTS.
    pub files: Vec<Arc<File>>,
    /// SCM_CREDENTIALS.
    pub creds: Option<Ucred>,
    /// TRUNC, EOR; the caller adds CTRUNC and CMSG_CLOEXEC.
    pub flags: MsgFlags,
}

/// A socket. Addresses are whole `sockaddr`s as bytes. A call blocks unless its flags or `nonblock` say otherwise; interrupted it is
/// ERESTARTSYS, or EINTR where a time-out is set (socket(7)).
pub trait Socket: Send + Sync + 'static {
    /// For downcasts.
    fn as_any(&self) -> &dyn Any;
    /// Address family, SO_DOMAIN.
    fn family(&self) -> i32;
    /// Its kind.
    fn kind(&self) -> Kind;
    /// Protocol number.
    fn protocol(&self) -> i32 {
        0
    }
    /// bind(2).
    fn bind(&self, address: &[u8], caller: &Caller<'_>) -> Result<()>;
    /// listen(2).
    fn listen(&self, _backlog: i32, _caller: &Caller<'_>) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// accept(2).
    fn accept(&self, _nonblock: bool) -> Result<Arc<dyn Socket>> {
        Err(Errno::EOPNOTSUPP)
    }
    /// connect(2).
    fn connect(&self, address: &[u8], caller: &Caller<'_>, nonblock: bool) -> Result<()>;
    /// shutdown(2): 0 reading, 1 writing, 2 both.
    fn shutdown(&self, how: i32) -> Result<()>;
    /// sendmsg(2).
    fn send(&self, message: Message<'_>, flags: MsgFlags, caller: &Caller<'_>) -> Result<usize>;
    /// recvmsg(2).
    fn recv(&self, into: &mut [u8], flags: MsgFlags) -> Result<Received>;
    /// getsockname(2).
    fn name(&self) -> Result<Vec<u8>>;
    /// getpeername(2).
    fn peer_name(&self) -> Result<Vec<u8>>;
    /// getsockopt(2): the whole value, of which the caller copies what there is room for.
    fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>>;
    /// setsockopt(2); `privileged` is CAP_NET_ADMIN.
    fn set_option(&self, level: i32, name: i32, value: &[u8], privileged: bool) -> Result<()>;
    /// What is ready.
    fn poll(&self, table: Option<&mut dyn PollTable>) -> Events;
    /// FIONREAD.
    fn readable_bytes(&self) -> Result<u32>;
    /// SIOCOUTQ.
    fn unsent_bytes(&self) -> Result<u32>;
    /// The last descriptor is closed.
    fn close(&self);
    /// Whether EPIPE comes with SIGPIPE (unless MSG_NOSIGNAL is given).
    fn sigpipe(&self) -> bool {
        self.kind() == Kind::Stream
    }
}

/// `ioctl` numbers (asm-generic/ioctls.h, sockios.h).
const FIONREAD: u32 = 0x541b;
const SIOCOUTQ: u32 = 0x5411;

/// What a socket's file does.
pub struct SocketFile {
    socket: Arc<dyn Socket>,
    creator: Ucred,
}

impl SocketFile {
    /// A file for a socket, named `socket:[INO]`. `write` on it sends as `creator`, as no caller is known there; system calls that know
    /// theirs use [`Socket::send`].
    pub fn file(socket: Arc<dyn Socket>, flags: OpenFlags, creator: Ucred) -> Arc<File> {
        let path = anon::new_path(AnonKind::Socket, kind::SOCK | 0o777, creator.uid, creator.gid);
        let ops = SocketFile { socket, creator };
        File::new(Arc::new(ops), path, flags & OpenFlags::NONBLOCK | OpenFlags::RDWR)
    }

    /// The socket.
    pub fn socket(&self) -> &Arc<dyn Socket> {
        &self.socket
    }
}

/// The socket of a file; ENOTSOCK.
pub fn socket_of(file: &File) -> Result<&Arc<dyn Socket>> {
    file.ops_as::<SocketFile>().map(|s| &s.socket).ok_or(Errno::ENOTSOCK)
}

fn flags_of(file: &File) -> MsgFlags {
    if file.nonblocking() { MsgFlags::DONTWAIT } else { MsgFlags::empty() }
}

impl FileOps for SocketFile {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn seekable(&self) -> bool {
        false
    }
    fn read(&self, file: &File, into: &mut [u8], _: u64) -> Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        self.socket.recv(into, flags_of(file)).map(|r| r.len)
    }
    fn write(&self, file: &File, from: &[u8], _: u64) -> Result<usize> {
        let caller = Caller { ids: self.creator, groups: Arc::new([]), names: &NoPaths };
        self.socket.send(Message { data: from, ..Message::default() }, flags_of(file), &caller)
    }
    fn poll(&self, _: &File, table: Option<&mut dyn PollTable>) -> Events {
        self.socket.poll(table)
    }
    fn ioctl(&self, _: &File, command: u32, arg: u64, memory: &UserMemory) -> Result<u64> {
        let value = match command {
            FIONREAD => self.socket.readable_bytes()?,
            SIOCOUTQ => self.socket.unsent_bytes()?,
            _ => return Err(Errno::ENOTTY),
        };
        memory.put_u32(arg, value)?;
        Ok(0)
    }
    fn release(&self, _: &File) {
        self.socket.close();
    }
}

/// How long a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Not at all: EAGAIN.
    pub nonblock: bool,
    /// Until then: EAGAIN after it.
    pub deadline: Option<Instant>,
}

impl Patience {
    /// Of a call; `timeout` in nanoseconds, 0 for none (SO_RCVTIMEO, SO_SNDTIMEO).
    pub fn new(nonblock: bool, timeout: u64) -> Patience {
        let deadline = (timeout > 0 && !nonblock).then(|| time::now().saturating_add(timeout));
        Patience { nonblock, deadline }
    }

    /// Waits on a queue for what `ready` gives.
    pub fn wait<T>(
        &self,
        queue: &WaitQueue,
        events: Events,
        mut ready: impl FnMut() -> Option<Result<T>>,
    ) -> Result<T> {
        if self.nonblock {
            return ready().unwrap_or(Err(Errno::EAGAIN));
        }
        let how = How { uninterruptible: false, deadline: self.deadline };
        match queue.wait_for(events, how, ready) {
            Ok(result) => result,
            Err(Ended::Interrupted) if self.deadline.is_some() => Err(Errno::EINTR),
            Err(ended) => Err(ended.into()),
        }
    }
}
