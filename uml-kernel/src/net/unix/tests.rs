//! The host's own sockets are the oracle: each operation is run on both, and results must be the same byte for byte.
#![allow(unsafe_code)]

use super::*;
use crate::fs::testing::{Rng, no_programs, run_in_fiber, start};
use crate::fs::{File, OpenFlags, anon, kind};
use crate::net::{PathNames, SocketFile, socket_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;

type Groups = Arc<[u32]>;

fn ids() -> Ucred {
    // SAFETY: no arguments.
    unsafe { Ucred { pid: libc::getpid(), uid: libc::geteuid(), gid: libc::getegid() } }
}

fn caller() -> Caller<'static> {
    Caller { ids: ids(), groups: Arc::new([]), names: &super::super::NoPaths }
}

fn check(n: i64) -> Result<usize> {
    if n < 0 { Err(std::io::Error::last_os_error().into()) } else { Ok(n as usize) }
}

/// One of ours and one of the host's, in the same state.
struct Twin {
    ours: Arc<File>,
    host: OwnedFd,
}

impl Twin {
    fn of(ours: Arc<dyn Socket>, host: RawFd) -> Twin {
        // SAFETY: a fresh descriptor.
        let host = unsafe { OwnedFd::from_raw_fd(host) };
        Twin { ours: SocketFile::file(ours, OpenFlags::NONBLOCK, ids()), host }
    }

    fn new(kind: Kind) -> Twin {
        // SAFETY: no pointers.
        // Other tests start programs, which must not keep it open.
        let fd =
            unsafe { libc::socket(libc::AF_UNIX, kind as i32 | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) };
        Twin::of(UnixSocket::new(kind), fd)
    }

    fn pair(kind: Kind) -> Vec<Twin> {
        let mut fds = [0; 2];
        // SAFETY: room for two.
        unsafe {
            libc::socketpair(
                libc::AF_UNIX,
                kind as i32 | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
                0,
                fds.as_mut_ptr(),
            )
        };
        let (a, b) = UnixSocket::pair(kind, ids(), Arc::new([]));
        vec![Twin::of(a, fds[0]), Twin::of(b, fds[1])]
    }

    fn socket(&self) -> &Arc<dyn Socket> {
        socket_of(&self.ours).unwrap()
    }

    fn fd(&self) -> RawFd {
        self.host.as_raw_fd()
    }

    fn send(&self, data: &[u8], address: Option<&[u8]>, files: usize) {
        let message = Message { data, address, files: other_files(files), creds: None };
        let flags = MsgFlags::DONTWAIT | MsgFlags::NOSIGNAL;
        let ours = self.socket().send(message, flags, &caller());
        let fds = [0i32; 8];
        let mut control = [0u64; 8];
        control[0] = (16 + 4 * files) as u64;
        control[1] = 1 << 32 | 1;
        for (n, fd) in fds.iter().take(files).enumerate() {
            control[2 + n / 2] |= (*fd as u64) << (32 * (n % 2));
        }
        let mut iov = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
        let header = libc::msghdr {
            msg_name: address.map_or(null_mut(), |a| a.as_ptr().cast_mut().cast()),
            msg_namelen: address.map_or(0, |a| a.len() as u32),
            msg_iov: &raw mut iov,
            msg_iovlen: 1,
            msg_control: if files > 0 { control.as_mut_ptr().cast() } else { null_mut() },
            msg_controllen: if files > 0 { 16 + 4 * files } else { 0 },
            msg_flags: 0,
        };
        // SAFETY: all of it is valid for the call.
        let theirs =
            check(unsafe { libc::sendmsg(self.fd(), &raw const header, flags.bits() as i32) } as i64);
        assert_eq!(ours, theirs, "send {} to {address:?}", data.len());
    }

    fn recv(&self, len: usize, flags: MsgFlags) {
        let (mut a, mut b) = (vec![0; len], vec![0; len]);
        let flags = flags | MsgFlags::DONTWAIT;
        let ours = self.socket().recv(&mut a, flags);
        let mut control = [0u64; 16];
        let mut name = [0u8; 128];
        let mut iov = libc::iovec { iov_base: b.as_mut_ptr().cast(), iov_len: len };
        let mut header = libc::msghdr {
            msg_name: name.as_mut_ptr().cast(),
            msg_namelen: 128,
            msg_iov: &raw mut iov,
            msg_iovlen: 1,
            msg_control: control.as_mut_ptr().cast(),
            msg_controllen: 128,
            msg_flags: 0,
        };
        // SAFETY: all of it is valid for the call.
        let theirs = check(unsafe {
            libc::recvmsg(self.fd(), &raw mut header, flags.bits() as i32 | libc::MSG_CMSG_CLOEXEC)
        } as i64);
        assert_eq!(ours.as_ref().map(|r| r.len), theirs.as_ref().map(|n| *n), "recv {len} {flags:?}");
        assert_eq!(a, b);
        let Ok(ours) = ours else { return };
        assert_eq!(ours.address, name[..header.msg_namelen as usize]);
        assert_eq!(ours.flags.bits() as i32, header.msg_flags & !(libc::MSG_CTRUNC | libc::MSG_CMSG_CLOEXEC));
        let bytes: Vec<u8> =
            control.iter().flat_map(|w| w.to_ne_bytes()).take(header.msg_controllen).collect();
        let mut theirs = crate::net::cmsg::parse(&bytes).unwrap();
        assert_eq!(ours.files.len(), theirs.fds.len(), "{len} {flags:?} {bytes:?} {}", ours.len);
        assert_eq!(ours.creds, theirs.creds.take());
        for fd in theirs.fds {
            // SAFETY: just received.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }

    fn look(&self) {
        for (request, ours) in
            [(0x541b, self.socket().readable_bytes()), (0x5411, self.socket().unsent_bytes())]
        {
            let mut n = 0i32;
            // SAFETY: both write an int.
            let theirs =
                check(unsafe { libc::ioctl(self.fd(), request, &raw mut n) } as i64).map(|_| n as u32);
            assert_eq!(ours, theirs, "ioctl {request:x}");
        }
        let all =
            Events::READ | Events::WRITE | Events::WRBAND | Events::RDHUP | Events::PRI | Events::RDBAND;
        let mut p = libc::pollfd { fd: self.fd(), events: all.bits() as i16, revents: 0 };
        // SAFETY: one valid entry.
        unsafe { libc::poll(&raw mut p, 1, 0) };
        let theirs = Events::from_bits_retain(p.revents as u32);
        assert_eq!(self.ours.ops().poll(&self.ours, None), theirs);
        for peer in [false, true] {
            let (mut name, mut len) = ([0u8; 128], 128u32);
            let call = if peer { libc::getpeername } else { libc::getsockname };
            // SAFETY: 128 bytes.
            let theirs = check(unsafe { call(self.fd(), name.as_mut_ptr().cast(), &raw mut len) } as i64);
            let ours = if peer { self.socket().peer_name() } else { self.socket().name() };
            assert_eq!(ours, theirs.map(|_| name[..len as usize].to_vec()), "peer {peer}");
        }
    }

    fn get(&self, name: i32) {
        let (mut value, mut len) = ([0u8; 64], 64u32);
        // SAFETY: 64 bytes.
        let theirs = check(unsafe {
            libc::getsockopt(self.fd(), SOL_SOCKET, name, value.as_mut_ptr().cast(), &raw mut len)
        } as i64);
        let ours = self.socket().get_option(SOL_SOCKET, name);
        assert_eq!(ours, theirs.map(|_| value[..len as usize].to_vec()), "option {name}");
    }

    fn set(&self, name: i32, value: &[u8]) {
        // SAFETY: the value is valid for its length.
        let theirs = check(unsafe {
            libc::setsockopt(self.fd(), SOL_SOCKET, name, value.as_ptr().cast(), value.len() as u32)
        } as i64);
        let ours = self.socket().set_option(SOL_SOCKET, name, value, true);
        assert_eq!(ours, theirs.map(|_| ()), "option {name} = {value:?}");
    }

    fn shutdown(&self, how: i32) {
        // SAFETY: no pointers.
        let theirs = check(unsafe { libc::shutdown(self.fd(), how) } as i64);
        assert_eq!(self.socket().shutdown(how), theirs.map(|_| ()));
    }

    fn bind(&self, address: &[u8]) {
        // SAFETY: valid for its length.
        let theirs =
            check(unsafe { libc::bind(self.fd(), address.as_ptr().cast(), address.len() as u32) } as i64);
        assert_eq!(self.socket().bind(address, &caller()), theirs.map(|_| ()), "bind {address:?}");
    }

    fn connect(&self, address: &[u8]) {
        // SAFETY: valid for its length.
        let theirs =
            check(unsafe { libc::connect(self.fd(), address.as_ptr().cast(), address.len() as u32) } as i64);
        assert_eq!(
            self.socket().connect(address, &caller(), true),
            theirs.map(|_| ()),
            "connect {address:?}"
        );
    }

    fn listen(&self, backlog: i32) {
        // SAFETY: no pointers.
        let theirs = check(unsafe { libc::listen(self.fd(), backlog) } as i64);
        assert_eq!(self.socket().listen(backlog, &caller()), theirs.map(|_| ()));
    }

    fn accept(&self) -> Option<Twin> {
        // SAFETY: no address asked for.
        let theirs = check(unsafe {
            libc::accept4(self.fd(), null_mut(), null_mut(), libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
        } as i64);
        let ours = self.socket().accept(true);
        assert_eq!(ours.as_ref().err(), theirs.as_ref().err());
        Some(Twin::of(ours.ok()?, theirs.ok()? as RawFd))
    }
}

fn other_files(n: usize) -> Vec<Arc<File>> {
    (0..n).map(|_| crate::fs::eventfd::EventFd::file(0, false, OpenFlags::empty())).collect()
}

fn flags(rng: &mut Rng) -> MsgFlags {
    [
        MsgFlags::empty(),
        MsgFlags::empty(),
        MsgFlags::empty(),
        MsgFlags::PEEK,
        MsgFlags::WAITALL,
        MsgFlags::TRUNC,
    ][rng.below(6)]
}

fn size(rng: &mut Rng) -> usize {
    match rng.below(4) {
        0 => rng.below(10),
        1 => rng.below(3000),
        2 => rng.below(40_000),
        _ => rng.below(300_000),
    }
}

#[test]
fn random_pairs_as_the_host() {
    let _beside = no_programs();
    for seed in 1..90u64 {
        let mut rng = Rng(seed * 0x9e37_79b9_7f4a);
        let kind = [Kind::Stream, Kind::Datagram, Kind::SeqPacket][seed as usize % 3];
        let mut twins = Twin::pair(kind);
        let passcred = seed % 4 == 0 && kind == Kind::Stream;
        for step in 0..300 {
            let n = rng.below(twins.len());
            let twin = &twins[n];
            let op = rng.below(60);
            match op {
                0..25 => {
                    let data: Vec<u8> = (0..size(&mut rng)).map(|i| (i * 3 + step) as u8).collect();
                    let files = if rng.below(4) == 0 { rng.below(3) } else { 0 };
                    twin.send(&data, None, files);
                }
                25..50 => twin.recv(size(&mut rng), flags(&mut rng)),
                50 if rng.below(8) == 0 => twin.shutdown(rng.below(4) as i32),
                51 => twin.get(so::ERROR),
                52 => twin.set(so::SNDBUF, &(rng.below(100_000) as i32).to_ne_bytes()),
                53 if rng.below(30) == 0 && twins.len() == 2 => drop(twins.remove(n)),
                54 if passcred => twin.set(so::PASSCRED, &(rng.below(2) as i32).to_ne_bytes()),
                _ => {}
            }
            for twin in &twins {
                twin.look();
            }
        }
        twins.pop();
        for _ in 0..20 {
            for twin in &twins {
                twin.recv(100_000, MsgFlags::empty());
                twin.send(b"after", None, 0);
                twin.look();
            }
        }
    }
}

#[test]
fn random_names_as_the_host() {
    let _beside = no_programs();
    for seed in 1..120u64 {
        let mut rng = Rng(seed * 0x51_7cc1_b727);
        let address = |n: usize| {
            let name = format!("umlk-test-{}-{seed}-{n}", std::process::id());
            [&[1u8, 0, 0][..], name.as_bytes()].concat()
        };
        let kinds = [Kind::Stream, Kind::Datagram, Kind::SeqPacket];
        let kind = kinds[seed as usize % 3];
        let mut twins: Vec<Twin> = (0..4).map(|_| Twin::new(kind)).collect();
        for _ in 0..300 {
            let n = rng.below(twins.len());
            let to = address(rng.below(3));
            let twin = &twins[n];
            let op = rng.below(40);
            match op {
                0..4 => twin.bind(&to),
                4..8 => twin.listen(rng.below(4) as i32 - 1),
                8..14 => twin.connect(&to),
                14..19 => {
                    let new = twin.accept();
                    twins.extend(new);
                }
                19 if kind == Kind::Datagram => twin.connect(&[0, 0]),
                20..26 => twin.send(&vec![7; size(&mut rng) / 8], None, rng.below(2)),
                26..30 => twin.send(b"to you", Some(&to), 0),
                30..36 => twin.recv(size(&mut rng), flags(&mut rng)),
                36 if rng.below(4) == 0 => twin.shutdown(rng.below(3) as i32),
                37 if rng.below(2) == 0 => {
                    drop(twins.remove(n));
                    twins.push(Twin::new(kind));
                }
                38 => twin.get(so::ERROR),
                _ => {
                    for name in [so::PEERCRED, so::ACCEPTCONN] {
                        twin.get(name);
                    }
                }
            }
            for twin in &twins {
                twin.look();
            }
        }
    }
}

#[test]
fn options_as_the_host() {
    let _beside = no_programs();
    for kind in [Kind::Stream, Kind::Datagram, Kind::SeqPacket] {
        let twin = Twin::new(kind);
        let known = [
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 16, 17, 18, 19, 20, 21, 29, 30, 34, 35, 38, 39, 40, 59,
            66, 67,
        ];
        for name in known {
            twin.get(name);
        }
        for name in [2, 9, 16, 29, 13, 20, 21, 7, 8, 18, 3, 4, 38, 39, 999] {
            for value in [&[1u8, 0, 0, 0][..], &[0; 2], &[0; 4], &[3, 0, 0, 0, 9, 0, 0, 0], &[5; 16]] {
                twin.set(name, value);
                twin.get(name);
            }
            twin.set(name, &[2, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x0d, 3, 0, 0, 0, 0, 0]);
            twin.get(name);
        }
        for long in [&[1u8][..], &[1, 0], &[2, 0, 65], &[1; 111], &[0, 0, 0, 0]] {
            twin.connect(long);
        }
    }
}

/// A directory of one node.
struct Names(parking_lot::Mutex<Option<Arc<dyn Inode>>>);

impl PathNames for Names {
    fn create(&self, _: &[u8]) -> Result<Arc<dyn Inode>> {
        let mut slot = self.0.lock();
        if slot.is_some() {
            return Err(Errno::EEXIST);
        }
        let made = anon::new_path(anon::AnonKind::Socket, kind::SOCK | 0o755, 0, 0).inode().clone();
        Ok(slot.insert(made).clone())
    }
    fn find(&self, _: &[u8]) -> Result<Arc<dyn Inode>> {
        self.0.lock().clone().ok_or(Errno::ENOENT)
    }
}

#[test]
fn path_names() {
    let names = Names(parking_lot::Mutex::new(None));
    let caller = Caller { ids: ids(), groups: [4, 5].into(), names: &names };
    let address = b"\x01\0/tmp/x";
    let server = UnixSocket::new(Kind::Stream);
    let client = UnixSocket::new(Kind::Stream);
    assert_eq!(client.connect(address, &caller, true), Err(Errno::ENOENT));
    server.bind(address, &caller).unwrap();
    assert_eq!(server.bind(address, &caller), Err(Errno::EINVAL));
    assert_eq!(client.bind(address, &caller), Err(Errno::EADDRINUSE));
    assert_eq!(client.connect(address, &caller, true), Err(Errno::ECONNREFUSED));
    assert_eq!(UnixSocket::new(Kind::Datagram).connect(address, &caller, true), Err(Errno::EPROTOTYPE));
    server.listen(1, &caller).unwrap();
    client.connect(address, &caller, true).unwrap();
    let accepted = server.accept(true).unwrap();
    assert_eq!(accepted.name().unwrap(), b"\x01\0/tmp/x\0");
    assert_eq!(client.peer_name().unwrap(), b"\x01\0/tmp/x\0");
    assert_eq!(accepted.get_option(SOL_SOCKET, so::PEERGROUPS).unwrap(), [4, 0, 0, 0, 5, 0, 0, 0]);
    server.close();
    assert_eq!(UnixSocket::new(Kind::Stream).connect(address, &caller, true), Err(Errno::ECONNREFUSED));
    // Any free name: five digits.
    let any = UnixSocket::new(Kind::Datagram);
    any.bind(&[1, 0], &caller).unwrap();
    assert_eq!(any.name().unwrap().len(), 8);
}

#[test]
fn blocking() {
    let (a, b) = UnixSocket::pair(Kind::Stream, ids(), Groups::default());
    let data: Vec<u8> = (0..2_000_000u32).map(|i| (i * 7) as u8).collect();
    let sent = data.clone();
    let sender = start(move || {
        let n = a.send(Message { data: &sent, ..Message::default() }, MsgFlags::empty(), &caller());
        a.close();
        n
    });
    let received = run_in_fiber(move || {
        let mut all = vec![0; 1_999_000];
        let n = b.recv(&mut all, MsgFlags::WAITALL).unwrap().len;
        assert_eq!(n, all.len());
        let mut rest = [0; 4000];
        let n = b.recv(&mut rest, MsgFlags::WAITALL).unwrap().len;
        all.extend_from_slice(&rest[..n]);
        all
    });
    assert_eq!(sender.join(), Ok(2_000_000));
    assert!(received == data);

    let (a, _b) = UnixSocket::pair(Kind::Datagram, ids(), Groups::default());
    a.set_option(SOL_SOCKET, so::RCVTIMEO, &[[0u8; 8], 2000u64.to_ne_bytes()].concat(), false).unwrap();
    let receiver = a.clone();
    assert_eq!(run_in_fiber(move || receiver.recv(&mut [0], MsgFlags::empty()).err()), Some(Errno::EAGAIN));
    a.set_option(SOL_SOCKET, so::RCVTIMEO, &[100u64.to_ne_bytes(), [0; 8]].concat(), false).unwrap();
    let receiver = a.clone();
    let task = start(move || receiver.recv(&mut [0], MsgFlags::empty()).err());
    task.fiber.set_interrupted(true);
    assert_eq!(task.join(), Some(Errno::EINTR));

    // A full backlog lets a connect wait until one is accepted.
    let address = format!("\x01\0\0umlk-backlog-{}", std::process::id()).into_bytes();
    let server = UnixSocket::new(Kind::Stream);
    server.bind(&address, &caller()).unwrap();
    server.listen(0, &caller()).unwrap();
    let clients: Vec<_> = (0..2).map(|_| UnixSocket::new(Kind::Stream)).collect();
    clients[0].connect(&address, &caller(), true).unwrap();
    assert_eq!(clients[1].connect(&address, &caller(), true), Err(Errno::EAGAIN));
    let (second, to) = (clients[1].clone(), address.clone());
    let task = start(move || second.connect(&to, &caller(), false));
    server.accept(true).unwrap();
    assert_eq!(task.join(), Ok(()));
    server.close();
    assert_eq!(clients[1].recv(&mut [0], MsgFlags::DONTWAIT).err(), Some(Errno::ECONNRESET));
}

#[test]
fn circles_of_descriptors_end() {
    let pass = |over: &Arc<UnixSocket>, file: &Arc<File>| {
        let message = Message { data: b"x", files: vec![file.clone()], ..Message::default() };
        over.send(message, MsgFlags::DONTWAIT, &caller()).unwrap();
    };
    let (a, b) = UnixSocket::pair(Kind::Stream, ids(), Groups::default());
    let (fa, fb) = (
        SocketFile::file(a.clone(), OpenFlags::empty(), ids()),
        SocketFile::file(b.clone(), OpenFlags::empty(), ids()),
    );
    let kept = other_files(1).remove(0);
    pass(&a, &fa);
    pass(&a, &fb);
    pass(&b, &kept);
    let (wa, wb, weak) = (Arc::downgrade(&fa), Arc::downgrade(&fb), Arc::downgrade(&kept));
    drop((kept, fa, a, b));
    assert_eq!(weak.strong_count(), 1);
    // A third that is on its way and can be received yet lives.
    let (c, d) = UnixSocket::pair(Kind::Stream, ids(), Groups::default());
    let living = SocketFile::file(UnixSocket::new(Kind::Stream), OpenFlags::empty(), ids());
    pass(&c, &living);
    let alive = Arc::downgrade(&living);
    drop((living, fb));
    // The last descriptor of a circle is no `close`: the next close of any socket finds it.
    drop(SocketFile::file(UnixSocket::new(Kind::Stream), OpenFlags::empty(), ids()));
    assert_eq!((wa.strong_count(), wb.strong_count(), weak.strong_count()), (0, 0, 0));
    assert_eq!(alive.strong_count(), 1);
    assert_eq!(d.recv(&mut [0], MsgFlags::DONTWAIT).unwrap().files.len(), 1);
}
