//! Sockets.

use super::{Args, Entry, full, partial};
use crate::base::{Errno, Result};
use crate::fs::vfs;
use crate::fs::{File, Inode, MAY_WRITE, OpenFlags, kind};
use crate::mm::{Packer, Unpacker};
use crate::net::unix::UnixSocket;
use crate::net::{
    Caller, Kind, Message, MsgFlags, PathNames, Received, Socket, SocketFile, Ucred, cmsg, socket_of,
};
use crate::task::Ctx;
use crate::task::signal::{SI_USER, SigInfo};
use std::sync::Arc;

pub(super) const TABLE: &[Entry] = &[
    partial(libc::SYS_socket, "socket", "AF_UNIX only", socket),
    full(libc::SYS_socketpair, "socketpair", socketpair),
    full(libc::SYS_bind, "bind", |ctx, [fd, at, len, ..]| {
        let (file, address) = (ctx.file(fd)?, address(ctx, at, len)?);
        with_caller(ctx, |caller| socket_of(&file)?.bind(&address, caller)).map(|()| 0)
    }),
    full(libc::SYS_listen, "listen", |ctx, [fd, backlog, ..]| {
        let file = ctx.file(fd)?;
        with_caller(ctx, |caller| socket_of(&file)?.listen(backlog as i32, caller)).map(|()| 0)
    }),
    full(libc::SYS_accept, "accept", |ctx, [fd, at, len, ..]| accept(ctx, [fd, at, len, 0, 0, 0])),
    full(libc::SYS_accept4, "accept4", accept),
    full(libc::SYS_connect, "connect", |ctx, [fd, at, len, ..]| {
        let (file, address) = (ctx.file(fd)?, address(ctx, at, len)?);
        ctx.stub.flush()?;
        let nonblock = file.nonblocking();
        with_caller(ctx, |caller| socket_of(&file)?.connect(&address, caller, nonblock)).map(|()| 0)
    }),
    full(libc::SYS_shutdown, "shutdown", |ctx, [fd, how, ..]| {
        let file = ctx.file(fd)?;
        if how > 2 { Err(Errno::EINVAL) } else { socket_of(&file)?.shutdown(how as i32).map(|()| 0) }
    }),
    full(libc::SYS_getsockname, "getsockname", |ctx, [fd, at, len, ..]| {
        let name = socket_of(&*ctx.file(fd)?)?.name()?;
        put_address(ctx, at, len, &name).map(|()| 0)
    }),
    full(libc::SYS_getpeername, "getpeername", |ctx, [fd, at, len, ..]| {
        let name = socket_of(&*ctx.file(fd)?)?.peer_name()?;
        put_address(ctx, at, len, &name).map(|()| 0)
    }),
    full(libc::SYS_getsockopt, "getsockopt", |ctx, [fd, level, name, at, len_at, _]| {
        let file = ctx.file(fd)?;
        let room = ctx.memory().u32(len_at)? as i32;
        if room < 0 {
            return Err(Errno::EINVAL);
        }
        let value = socket_of(&file)?.get_option(level as i32, name as i32)?;
        let n = value.len().min(room as usize);
        ctx.put(at, &value[..n])?;
        ctx.put(len_at, &(n as u32).to_le_bytes())?;
        Ok(0)
    }),
    full(libc::SYS_setsockopt, "setsockopt", |ctx, [fd, level, name, at, len, _]| {
        let file = ctx.file(fd)?;
        if len as i32 as i64 != len as i64 || len > 4096 {
            return Err(Errno::EINVAL);
        }
        let mut value = vec![0; len as usize];
        ctx.read(at, &mut value)?;
        let privileged = ctx.creds().has(crate::fs::Cap::NetAdmin);
        socket_of(&file)?.set_option(level as i32, name as i32, &value, privileged).map(|()| 0)
    }),
    full(libc::SYS_sendto, "sendto", |ctx, [fd, at, len, flags, to, to_len]| {
        let file = ctx.file(fd)?;
        let address = if to == 0 { None } else { Some(address(ctx, to, to_len)?) };
        let mut data = vec![0; len.min(MAX_MESSAGE) as usize];
        ctx.read(at, &mut data)?;
        let message = Message { data: &data, address: address.as_deref(), ..Message::default() };
        send(ctx, &file, message, flags as u32)
    }),
    full(libc::SYS_sendmsg, "sendmsg", |ctx, [fd, at, flags, ..]| sendmsg(ctx, fd, at, flags as u32)),
    full(libc::SYS_sendmmsg, "sendmmsg", |ctx, [fd, at, n, flags, ..]| {
        let mut sent = 0;
        while sent < n.min(1024) {
            let entry = at + sent * 64;
            match sendmsg(ctx, fd, entry, flags as u32) {
                Ok(bytes) => ctx.memory().put_u32(entry + 56, bytes as u32)?,
                Err(_) if sent > 0 => break,
                Err(e) => return Err(e),
            }
            sent += 1;
        }
        Ok(sent)
    }),
    full(libc::SYS_recvfrom, "recvfrom", |ctx, [fd, at, len, flags, from, from_len]| {
        let file = ctx.file(fd)?;
        let mut data = vec![0; len.min(MAX_MESSAGE) as usize];
        check_sink(ctx, &file, &[(at, len)])?;
        let received = recv(ctx, &file, &mut data, flags as u32)?;
        let copied = received.len.min(data.len());
        ctx.memory().write(at, &data[..copied])?;
        if from != 0 {
            put_address(ctx, from, from_len, &received.address)?;
        }
        Ok(received.len as u64)
    }),
    full(libc::SYS_recvmsg, "recvmsg", |ctx, [fd, at, flags, ..]| recvmsg(ctx, fd, at, flags as u32)),
    full(libc::SYS_recvmmsg, "recvmmsg", |ctx, [fd, at, n, flags, timeout, _]| {
        if timeout != 0 {
            super::time::timespec(ctx, timeout)?;
        }
        const WAITFORONE: u32 = 0x10000;
        let mut flags = flags as u32;
        let mut got = 0;
        while got < n.min(1024) {
            let entry = at + got * 64;
            match recvmsg(ctx, fd, entry, flags & !WAITFORONE) {
                Ok(bytes) => ctx.memory().put_u32(entry + 56, bytes as u32)?,
                Err(_) if got > 0 => break,
                Err(e) => return Err(e),
            }
            got += 1;
            if flags & WAITFORONE != 0 {
                flags |= MsgFlags::DONTWAIT.bits();
            }
        }
        Ok(got)
    }),
];

/// Longest message that is taken at once.
const MAX_MESSAGE: u64 = 4 << 20;

/// Paths of sockets, as the caller sees them.
struct Names<'a>(&'a Ctx);

impl PathNames for Names<'_> {
    fn create(&self, path: &[u8]) -> Result<Arc<dyn Inode>> {
        let umask = self.0.fs.inner.lock().umask;
        let lookup = self.0.lookup(libc::AT_FDCWD)?;
        let made = vfs::make_at(&lookup, path, kind::SOCK | 0o777 & !umask, 0, b"")?;
        Ok(made.inode().clone())
    }

    fn find(&self, path: &[u8]) -> Result<Arc<dyn Inode>> {
        let found = self.0.find(libc::AT_FDCWD, path, true)?;
        self.0.creds().may(&found.inode().attr()?, MAY_WRITE)?;
        Ok(found.inode().clone())
    }
}

fn ids(ctx: &Ctx) -> Ucred {
    let c = ctx.creds();
    Ucred { pid: ctx.task.process.pid, uid: c.euid, gid: c.egid }
}

fn with_caller<T>(ctx: &Ctx, f: impl FnOnce(&Caller<'_>) -> Result<T>) -> Result<T> {
    let names = Names(ctx);
    f(&Caller { ids: ids(ctx), groups: ctx.creds().groups.clone(), names: &names })
}

fn address(ctx: &Ctx, at: u64, len: u64) -> Result<Vec<u8>> {
    if len as i32 as i64 != len as i64 || len > 128 {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; len as usize];
    ctx.read(at, &mut bytes)?;
    Ok(bytes)
}

/// Stores an address, cut to what there is room for, and its whole length.
fn put_address(ctx: &mut Ctx, at: u64, len_at: u64, address: &[u8]) -> Result<()> {
    let room = ctx.memory().u32(len_at)? as i32;
    if room < 0 {
        return Err(Errno::EINVAL);
    }
    ctx.put(at, &address[..address.len().min(room as usize)])?;
    ctx.put(len_at, &(address.len() as u32).to_le_bytes())
}

/// Kind and flags of socket(2)'s type argument.
fn type_of(value: u64) -> Result<(Kind, OpenFlags, bool)> {
    let (kind, flags) = (value as u32 & 0xf, value as u32 & !0xf);
    let (open, cloexec) = super::events::descriptor_flags(flags)?;
    let kind = match kind {
        1 => Kind::Stream,
        2 | 3 => Kind::Datagram,
        5 => Kind::SeqPacket,
        _ => return Err(Errno::ESOCKTNOSUPPORT),
    };
    Ok((kind, open, cloexec))
}

fn check_family(family: u64, protocol: u64) -> Result<()> {
    match family as i32 {
        libc::AF_UNIX if matches!(protocol, 0 | 1) => Ok(()),
        libc::AF_UNIX => Err(Errno::EPROTONOSUPPORT),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

fn socket(ctx: &mut Ctx, [family, kind, protocol, ..]: Args) -> Result<u64> {
    check_family(family, protocol)?;
    let (kind, flags, cloexec) = type_of(kind)?;
    let file = SocketFile::file(UnixSocket::new(kind), flags, ids(ctx));
    ctx.files.add(file, cloexec).map(|fd| fd as u64)
}

fn socketpair(ctx: &mut Ctx, [family, kind, protocol, at, ..]: Args) -> Result<u64> {
    if matches!(family as i32, libc::AF_INET | libc::AF_INET6) {
        return Err(Errno::EOPNOTSUPP);
    }
    check_family(family, protocol)?;
    let (kind, flags, cloexec) = type_of(kind)?;
    let (a, b) = UnixSocket::pair(kind, ids(ctx), ctx.creds().groups.clone());
    let one = ctx.files.add(SocketFile::file(a, flags, ids(ctx)), cloexec)?;
    let two = match ctx.files.add(SocketFile::file(b, flags, ids(ctx)), cloexec) {
        Ok(fd) => fd,
        Err(e) => {
            drop(ctx.files.remove(one));
            return Err(e);
        }
    };
    if let Err(e) = ctx.put(at, &Packer::new().i32(one).i32(two).0) {
        drop((ctx.files.remove(one), ctx.files.remove(two)));
        return Err(e);
    }
    Ok(0)
}

fn accept(ctx: &mut Ctx, [fd, at, len, flags, ..]: Args) -> Result<u64> {
    let (open, cloexec) = super::events::descriptor_flags(flags as u32)?;
    let file = ctx.file(fd)?;
    ctx.stub.flush()?;
    let accepted: Arc<dyn Socket> = socket_of(&file)?.accept(file.nonblocking())?;
    if at != 0 {
        let name = accepted.peer_name().unwrap_or_default();
        put_address(ctx, at, len, &name)?;
    }
    ctx.files.add(SocketFile::file(accepted, open, ids(ctx)), cloexec).map(|fd| fd as u64)
}

fn flags_of(file: &File, flags: u32) -> MsgFlags {
    let flags = MsgFlags::from_bits_truncate(flags);
    if file.nonblocking() { flags | MsgFlags::DONTWAIT } else { flags }
}

fn send(ctx: &mut Ctx, file: &Arc<File>, message: Message<'_>, flags: u32) -> Result<u64> {
    let flags = flags_of(file, flags);
    ctx.stub.flush()?;
    let socket = socket_of(file)?;
    let result = with_caller(ctx, |caller| socket.send(message, flags, caller));
    if result == Err(Errno::EPIPE) && socket.sigpipe() && !flags.contains(MsgFlags::NOSIGNAL) {
        ctx.signal_self(SigInfo::user(libc::SIGPIPE, SI_USER, ctx.task.process.pid, ctx.creds().uid));
    }
    result.map(|n| n as u64)
}

fn recv(ctx: &mut Ctx, file: &Arc<File>, into: &mut [u8], flags: u32) -> Result<Received> {
    ctx.stub.flush()?;
    socket_of(file)?.recv(into, flags_of(file, flags))
}

/// `struct msghdr`.
struct Header {
    name: u64,
    name_len: u32,
    iov: Vec<(u64, u64)>,
    control: u64,
    control_len: u64,
}

fn header(ctx: &Ctx, at: u64) -> Result<Header> {
    let mut bytes = [0; 56];
    ctx.memory().read(at, &mut bytes)?;
    let mut u = Unpacker(&bytes);
    let (name, name_len, _) = (u.u64(), u.u32(), u.u32());
    let (iov, n, control, control_len) = (u.u64(), u.u64(), u.u64(), u.u64());
    if n > 1024 {
        return Err(Errno::EMSGSIZE);
    }
    let iov = super::io::vector(&ctx.memory(), iov, n)?;
    Ok(Header { name, name_len, iov, control, control_len })
}

fn sendmsg(ctx: &mut Ctx, fd: u64, at: u64, flags: u32) -> Result<u64> {
    let file = ctx.file(fd)?;
    socket_of(&file)?;
    let h = header(ctx, at)?;
    let to = if h.name == 0 { None } else { Some(address(ctx, h.name, h.name_len.into())?) };
    let mut data = Vec::new();
    for (base, len) in &h.iov {
        let start = data.len();
        let len = (*len).min(MAX_MESSAGE - start as u64) as usize;
        data.resize(start + len, 0);
        ctx.memory().read(*base, &mut data[start..])?;
    }
    let mut message = Message { data: &data, address: to.as_deref(), ..Message::default() };
    if h.control != 0 && h.control_len > 0 {
        if h.control_len > 65536 {
            return Err(Errno::ENOBUFS);
        }
        let mut control = vec![0; h.control_len as usize];
        ctx.memory().read(h.control, &mut control)?;
        let control = cmsg::parse(&control)?;
        for fd in control.fds {
            message.files.push(ctx.any_file(fd as u64)?);
        }
        if let Some(claimed) = control.creds {
            let c = ctx.creds();
            let own = claimed.pid == ctx.task.process.pid
                && [c.uid, c.euid, c.suid].contains(&claimed.uid)
                && [c.gid, c.egid, c.sgid].contains(&claimed.gid);
            if !own && !c.has(crate::fs::Cap::SysAdmin) {
                return Err(Errno::EPERM);
            }
            message.creds = Some(claimed);
        }
    }
    send(ctx, &file, message, flags)
}

/// A stream keeps what a bad buffer cannot take; a packet is lost.
fn check_sink(ctx: &Ctx, file: &Arc<File>, iov: &[(u64, u64)]) -> Result<()> {
    match socket_of(file)?.kind() {
        Kind::Stream => super::io::check_sink(ctx, file, iov),
        _ => Ok(()),
    }
}

fn recvmsg(ctx: &mut Ctx, fd: u64, at: u64, flags: u32) -> Result<u64> {
    let file = ctx.file(fd)?;
    socket_of(&file)?;
    let h = header(ctx, at)?;
    let room: u64 = h.iov.iter().map(|(_, l)| *l).sum::<u64>().min(MAX_MESSAGE);
    let mut data = vec![0; room as usize];
    check_sink(ctx, &file, &h.iov)?;
    let mut received = recv(ctx, &file, &mut data, flags)?;
    let mut rest = &data[..received.len.min(data.len())];
    for (base, len) in &h.iov {
        let n = rest.len().min(*len as usize);
        ctx.memory().write(*base, &rest[..n])?;
        rest = &rest[n..];
    }
    if h.name != 0 {
        let n = received.address.len().min(h.name_len as usize);
        ctx.memory().write(h.name, &received.address[..n])?;
        ctx.memory().put_u32(at + 8, received.address.len() as u32)?;
    }
    let cloexec = flags & MsgFlags::CMSG_CLOEXEC.bits() != 0;
    let files = ctx.files.clone();
    let control = cmsg::encode(&mut received, h.control_len as usize, |f| files.add(f, cloexec));
    if !control.is_empty() {
        ctx.memory().write(h.control, &control)?;
    }
    ctx.memory().put_u64(at + 40, control.len() as u64)?;
    if cloexec {
        received.flags |= MsgFlags::CMSG_CLOEXEC;
    }
    ctx.memory().put_u32(at + 48, received.flags.bits())?;
    Ok(received.len as u64)
}
