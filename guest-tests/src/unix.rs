//! Unix sockets.

use crate::mem::{KERNEL, zeroed};
use crate::run::{Case, cat, close, fate, file, handler, open, pipe, say, sleep_ms, spawn, sys, wait};
use crate::show::{self, R};
use libc::{
    AF_UNIX, MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_PEEK, MSG_TRUNC, MSG_WAITALL,
    SCM_CREDENTIALS, SCM_RIGHTS, SO_PASSCRED, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_SEQPACKET,
    SOCK_STREAM, SOL_SOCKET,
};

const KINDS: [(&str, i32); 3] =
    [("stream", SOCK_STREAM), ("dgram", SOCK_DGRAM), ("seqpacket", SOCK_SEQPACKET)];

fn pair(kind: i32) -> (i32, i32) {
    let mut s = [-1i32; 2];
    sys!(SYS_socketpair, AF_UNIX, kind, 0, &mut s);
    (s[0], s[1])
}
fn send(fd: i32, b: &[u8], fl: i32) -> R {
    sys!(SYS_sendto, fd, b, b.len(), fl | MSG_NOSIGNAL, 0, 0)
}
fn recv(fd: i32, n: usize, fl: i32) -> String {
    let mut b = [0u8; 256];
    let r = sys!(SYS_recvfrom, fd, &mut b, n, fl, 0, 0);
    if r.ok() { format!("{r}:{}", show::bytes(&b[..(r.0 as usize).min(n)])) } else { r.to_string() }
}
/// An address and its length; a name starting with `@` is abstract.
fn addr(name: &str) -> (Vec<u8>, usize) {
    let mut a = vec![1u8, 0];
    a.extend(name.bytes().map(|b| if b == b'@' { 0 } else { b }));
    if !name.starts_with('@') {
        a.push(0);
    }
    let n = a.len();
    (a, n)
}
fn at(nr: i64, fd: i32, name: &str) -> R {
    let (a, n) = addr(name);
    crate::run::raw(nr, &[fd as usize, a.as_ptr() as usize, n])
}
fn bind(fd: i32, name: &str) -> R {
    at(libc::SYS_bind, fd, name)
}
fn connect(fd: i32, name: &str) -> R {
    at(libc::SYS_connect, fd, name)
}
fn socket(kind: i32) -> i32 {
    sys!(SYS_socket, AF_UNIX, kind, 0).fd()
}
fn name_of(nr: i64, fd: i32) -> String {
    let mut a = [0u8; 128];
    let mut n = 128u32;
    let r = crate::run::raw(nr, &[fd as usize, a.as_mut_ptr() as usize, &raw mut n as usize]);
    if r.ok() { format!("{r}/{n}/{}", show::bytes(&a[..n as usize])) } else { r.to_string() }
}
fn opt(fd: i32, o: i32) -> String {
    let mut v = 0i32;
    let mut n = 4u32;
    let r = sys!(SYS_getsockopt, fd, SOL_SOCKET, o, &mut v, &mut n);
    if r.ok() { v.to_string() } else { r.to_string() }
}

fn creating() {
    for (n, k) in KINDS {
        say!(
            "{n}={} flags={}",
            socket(k).min(100),
            sys!(SYS_fcntl, socket(k | SOCK_CLOEXEC | SOCK_NONBLOCK), libc::F_GETFD, 0)
        );
    }
    say!(
        "family={} type={} protocol={} flag={} raw={}",
        sys!(SYS_socket, 99, 1, 0),
        sys!(SYS_socket, 1, 9, 0),
        sys!(SYS_socket, 1, 1, 5),
        sys!(SYS_socket, 1, 1 | 1 << 20, 0),
        sys!(SYS_socket, 1, 3, 0).ok()
    );
    say!(
        "protocol 1={} pair family={} null={}",
        sys!(SYS_socket, 1, 1, 1).ok(),
        sys!(SYS_socketpair, 2, 1, 0, &mut [0i32; 2]),
        sys!(SYS_socketpair, 1, 1, 0, 0)
    );
}

fn pairs() {
    for (n, k) in KINDS {
        let (a, b) = pair(k);
        say!("{n} send={} {} zero={}", send(a, b"hello", 0), send(a, b"world!", 0), send(a, b"", 0));
        say!(
            "{n} peek={} short={} dontwait={}",
            recv(b, 100, MSG_PEEK),
            recv(b, 3, 0),
            recv(b, 100, MSG_DONTWAIT)
        );
        say!("{n} then={} empty={}", recv(b, 100, MSG_DONTWAIT), recv(b, 100, MSG_DONTWAIT));
        send(a, b"0123456789", 0);
        say!("{n} trunc={} zero length={}", recv(b, 4, MSG_TRUNC), recv(b, 0, MSG_DONTWAIT));
        while sys!(SYS_recvfrom, b, &mut [0u8; 100], 100, MSG_DONTWAIT, 0, 0).0 > 0 {}
        sys!(SYS_write, b, b"back", 4);
        let mut v = 0i32;
        say!(
            "{n} fionread={} read={}",
            sys!(SYS_ioctl, a, libc::FIONREAD, &mut v),
            sys!(SYS_read, a, &mut [0u8; 10], 10)
        );
        say!(
            "{n} bytes={v} oob={} lseek={}",
            sys!(SYS_recvfrom, a, &mut [0u8; 4], 4, libc::MSG_OOB | MSG_DONTWAIT, 0, 0),
            sys!(SYS_lseek, a, 0, 0)
        );
        close(b);
        say!("{n} peer closed: send={} recv={}", send(a, b"x", 0), recv(a, 4, MSG_DONTWAIT));
    }
    let (a, b) = pair(SOCK_STREAM);
    close(b);
    say!("SIGPIPE={}", fate(|| sys!(SYS_write, a, b"x", 1).fd()));
}

fn stream_server() {
    let s = socket(SOCK_STREAM);
    say!(
        "connect nowhere={} listen unbound={} bind={} again={}",
        connect(socket(SOCK_STREAM), "sock"),
        sys!(SYS_listen, s, 1),
        bind(s, "sock"),
        bind(s, "other")
    );
    say!(
        "in use={} before listen={} listen={}",
        bind(socket(SOCK_STREAM), "sock"),
        connect(socket(SOCK_STREAM), "sock"),
        sys!(SYS_listen, s, 5)
    );
    let c = socket(SOCK_STREAM);
    say!(
        "connect={} again={} wrong type={}",
        connect(c, "sock"),
        connect(c, "sock"),
        connect(socket(SOCK_DGRAM), "sock")
    );
    let mut a = [7u8; 110];
    let mut n = 110u32;
    let p = sys!(SYS_accept4, s, &mut a, &mut n, SOCK_CLOEXEC);
    say!("accept={} address length={n} cloexec={}", p.sign(), sys!(SYS_fcntl, p.fd(), libc::F_GETFD, 0));
    say!(
        "names server={} accepted={} client={}",
        name_of(libc::SYS_getsockname, s),
        name_of(libc::SYS_getsockname, p.fd()),
        name_of(libc::SYS_getsockname, c)
    );
    say!(
        "peers accepted={} client={} server={}",
        name_of(libc::SYS_getpeername, p.fd()),
        name_of(libc::SYS_getpeername, c),
        name_of(libc::SYS_getpeername, s)
    );
    say!(
        "send={} recv={} reply={} recv={}",
        send(c, b"ask", 0),
        recv(p.fd(), 10, 0),
        send(p.fd(), b"answer", 0),
        recv(c, 10, 0)
    );
    say!("on listener send={} recv={}", send(s, b"x", 0), recv(s, 1, MSG_DONTWAIT));
    let mut st: libc::stat = zeroed();
    say!("file={} kind={:o}", sys!(SYS_stat, c"sock", &mut st), st.st_mode & libc::S_IFMT);
    say!(
        "kind={:o} open={} unlink={} then connect={}",
        st.st_mode & libc::S_IFMT,
        sys!(SYS_open, c"sock", 2),
        sys!(SYS_unlink, c"sock"),
        connect(socket(SOCK_STREAM), "sock")
    );
    file(c"f", b"");
    say!(
        "connect to a file={} accept nonsocket={} bad={} on client={}",
        connect(socket(SOCK_STREAM), "f"),
        sys!(SYS_accept, 0, 0, 0),
        sys!(SYS_accept, -1, 0, 0),
        sys!(SYS_accept, c, 0, 0)
    );
    sys!(SYS_fcntl, s, libc::F_SETFL, libc::O_NONBLOCK);
    say!("accept empty={} flags={}", sys!(SYS_accept, s, 0, 0), sys!(SYS_accept4, s, 0, 0, 1));
    close(s);
    say!("after close of the listener={} still talking={}", recv(c, 1, MSG_DONTWAIT), send(c, b"x", 0));
}

fn abstract_names() {
    let s = socket(SOCK_STREAM);
    let name = format!("@gt-{}", sys!(SYS_getpid));
    say!(
        "bind={} taken={} listen={}",
        bind(s, &name),
        bind(socket(SOCK_STREAM), &name),
        sys!(SYS_listen, s, 0)
    );
    let c = socket(SOCK_STREAM);
    say!("connect={} missing={}", connect(c, &name), connect(socket(SOCK_STREAM), "@gt-no-such-name"));
    let auto = socket(SOCK_DGRAM);
    say!(
        "autobind={} name length={}",
        sys!(SYS_bind, auto, b"\x01\0", 2),
        name_of(libc::SYS_getsockname, auto).split('/').nth(1).unwrap_or("?")
    );
    close(s);
    close(c);
    say!("freed={}", bind(socket(SOCK_STREAM), &name));
    let long = "n".repeat(107);
    say!(
        "107 long={} 108={} 109={}",
        bind(socket(SOCK_STREAM), &long),
        bind(socket(SOCK_STREAM), &"m".repeat(108)),
        bind(socket(SOCK_STREAM), &"o".repeat(120))
    );
    let x = socket(SOCK_STREAM);
    say!(
        "length 1={} family={} null={} length 0={}",
        sys!(SYS_bind, x, b"\x01", 1),
        sys!(SYS_bind, x, b"\x02\0abc\0", 6),
        sys!(SYS_bind, x, 0, 10),
        sys!(SYS_bind, x, b"\x01\0a\0", 0)
    );
    say!("missing dir={} existing file={}", bind(x, "none/sock"), {
        file(c"f", b"");
        bind(x, "f")
    });
}

fn datagrams() {
    let (a, b) = (socket(SOCK_DGRAM), socket(SOCK_DGRAM));
    bind(a, "a");
    bind(b, "b");
    let (to, n) = addr("b");
    say!("unconnected send={} sendto={}", send(a, b"x", 0), sys!(SYS_sendto, a, b"to b", 4, 0, &to[..], n));
    let (mut from, mut len, mut buf) = ([0u8; 110], 110u32, [0u8; 16]);
    let r = sys!(SYS_recvfrom, b, &mut buf, 16, 0, &mut from, &mut len);
    say!("recvfrom={r} from={} length={len}", show::bytes(&from[..len as usize]));
    say!("connect={} send={} recv={}", connect(a, "b"), send(a, b"plain", 0), recv(b, 16, 0));
    let third = socket(SOCK_DGRAM);
    connect(b, "a");
    let (to, n) = addr("b");
    say!("connected takes only its peer's={}", sys!(SYS_sendto, third, b"x", 1, 0, &to[..], n));
    say!("disconnect={} send={}", sys!(SYS_connect, a, b"\0\0", 2), send(a, b"x", 0));
    say!(
        "big={} too big={}",
        {
            let (x, _) = pair(SOCK_DGRAM);
            send(x, &vec![0u8; 50_000], 0)
        },
        {
            let (x, _) = pair(SOCK_DGRAM);
            send(x, &vec![0u8; 8 << 20], 0)
        }
    );
    close(b);
    say!("receiver gone={}", connect(a, "b"));
}

/// sendmsg with descriptors and perhaps credentials; recvmsg showing what came.
fn sendmsg(fd: i32, data: &[u8], cmsgs: &[(i32, Vec<u8>)]) -> R {
    let mut c = Vec::new();
    for (t, d) in cmsgs {
        c.extend((16 + d.len()).to_ne_bytes());
        c.extend(SOL_SOCKET.to_ne_bytes());
        c.extend(t.to_ne_bytes());
        c.extend(d);
        while c.len() % 8 != 0 {
            c.push(0);
        }
    }
    let iov = [data.as_ptr() as usize, data.len()];
    let m = [
        0usize,
        0,
        &raw const iov as usize,
        1,
        if c.is_empty() { 0 } else { c.as_ptr() as usize },
        c.len(),
        0,
    ];
    sys!(SYS_sendmsg, fd, &m, MSG_NOSIGNAL)
}

fn recvmsg(fd: i32, room: usize, fl: i32) -> (String, Vec<i32>) {
    let (mut d, mut c) = ([0u8; 64], [0u64; 64]);
    let iov = [d.as_mut_ptr() as usize, 64];
    let mut m = [0usize, 0, &raw const iov as usize, 1, c.as_mut_ptr() as usize, room, 0];
    let r = sys!(SYS_recvmsg, fd, &mut m, fl);
    if !r.ok() {
        return (r.to_string(), Vec::new());
    }
    let raw: Vec<u8> = c.iter().flat_map(|w| w.to_ne_bytes()).collect();
    let (mut p, mut out, mut fds) = (0, String::new(), Vec::new());
    while p + 16 <= m[5] {
        let len = usize::from_ne_bytes(raw[p..p + 8].try_into().unwrap());
        let kind = i32::from_ne_bytes(raw[p + 12..p + 16].try_into().unwrap());
        let words: Vec<i32> = raw[p + 16..p + len.max(16)]
            .chunks_exact(4)
            .map(|w| i32::from_ne_bytes(w.try_into().unwrap()))
            .collect();
        if kind == SCM_RIGHTS {
            out.push_str(&format!(" rights({})", words.len()));
            fds.extend(words);
        } else if kind == SCM_CREDENTIALS {
            out.push_str(&format!(
                " creds(own pid={} own uid={})",
                i64::from(words[0]) == sys!(SYS_getpid).0,
                i64::from(words[1]) == sys!(SYS_getuid).0
            ));
        } else {
            out.push_str(&format!(" cmsg{kind}"));
        }
        p += len.max(16).div_ceil(8) * 8;
    }
    let fl = show::bits(
        m[6] as u64,
        &[
            (MSG_CTRUNC as u64, "CTRUNC"),
            (MSG_TRUNC as u64, "TRUNC"),
            (0x80, "EOR"),
            (MSG_CMSG_CLOEXEC as u64, "CLOEXEC"),
        ],
    );
    (format!("{r}:{}{out} flags={fl}", show::bytes(&d[..(r.0 as usize).min(64)])), fds)
}

fn words(v: &[i32]) -> Vec<u8> {
    v.iter().flat_map(|w| w.to_ne_bytes()).collect()
}

fn rights() {
    file(c"f", b"passed along");
    let fd = open(c"f", 0);
    for (n, k) in KINDS {
        let (a, b) = pair(k);
        say!("{n} send={}", sendmsg(a, b"x", &[(SCM_RIGHTS, words(&[fd, 1]))]));
        let (t, got) = recvmsg(b, 512, 0);
        say!(
            "{n} got {t} usable={}",
            got.first().map_or("none".into(), |f| show::bytes(&crate::run::slurp(*f)))
        );
        sendmsg(a, b"y", &[(SCM_RIGHTS, words(&[fd]))]);
        let (t, got) = recvmsg(b, 512, MSG_CMSG_CLOEXEC);
        say!("{n} cloexec {t} {}", sys!(SYS_fcntl, got.first().copied().unwrap_or(-1), libc::F_GETFD, 0));
        sendmsg(a, b"z", &[(SCM_RIGHTS, words(&[fd, fd, fd]))]);
        say!("{n} no room {} ", recvmsg(b, 0, 0).0);
        sendmsg(a, b"z", &[(SCM_RIGHTS, words(&[fd, fd, fd]))]);
        say!("{n} room for one {}", recvmsg(b, 20, 0).0);
        say!(
            "{n} bad fd={} 254={} bad type={}",
            sendmsg(a, b"x", &[(SCM_RIGHTS, words(&[9999]))]),
            sendmsg(a, b"x", &[(SCM_RIGHTS, words(&[1; 254]))]),
            sendmsg(a, b"x", &[(77, words(&[1]))])
        );
    }
    let (a, b) = pair(SOCK_STREAM);
    sendmsg(a, b"one", &[(SCM_RIGHTS, words(&[fd]))]);
    send(a, b"two", 0);
    say!("stream stops at descriptors: {} then {}", recvmsg(b, 512, 0).0, recv(b, 10, MSG_DONTWAIT));
    sendmsg(a, b"", &[(SCM_RIGHTS, words(&[fd]))]);
    say!("no data: {}", recvmsg(b, 512, MSG_DONTWAIT).0);
    // A pipe's end travelling in a socket counts as open until it is received or dropped.
    let (r, w) = pipe(libc::O_NONBLOCK);
    sendmsg(a, b"w", &[(SCM_RIGHTS, words(&[w]))]);
    close(w);
    say!("in flight={} dropped={}", sys!(SYS_read, r, &mut [0u8; 1], 1), {
        close(a);
        close(b);
        sys!(SYS_read, r, &mut [0u8; 1], 1)
    });
}

fn credentials() {
    let (a, b) = pair(SOCK_STREAM);
    let on = 1i32;
    say!("set={} get={}", sys!(SYS_setsockopt, b, SOL_SOCKET, SO_PASSCRED, &on, 4), opt(b, SO_PASSCRED));
    send(a, b"hi", 0);
    say!("implicit {}", recvmsg(b, 512, 0).0);
    let me = words(&[sys!(SYS_getpid).fd(), sys!(SYS_getuid).fd(), sys!(SYS_getgid).fd()]);
    say!("explicit={} {}", sendmsg(a, b"own", &[(SCM_CREDENTIALS, me)]), recvmsg(b, 512, 0).0);
    let mut c = [0i32; 3];
    let mut n = 12u32;
    say!(
        "peercred={} pid={} uid={}",
        sys!(SYS_getsockopt, a, SOL_SOCKET, libc::SO_PEERCRED, &mut c, &mut n),
        i64::from(c[0]) == sys!(SYS_getpid).0,
        i64::from(c[1]) == sys!(SYS_getuid).0
    );
    say!("pid={} uid={}", i64::from(c[0]) == sys!(SYS_getpid).0, i64::from(c[1]) == sys!(SYS_getuid).0);
    fate(|| {
        crate::run::drop_root();
        say!("forged={}", sendmsg(a, b"x", &[(SCM_CREDENTIALS, words(&[1, 0, 0]))]));
        0
    });
}

fn options() {
    let s = socket(SOCK_STREAM);
    say!(
        "type={} domain={} protocol={} error={} acceptconn={}",
        opt(s, libc::SO_TYPE),
        opt(s, libc::SO_DOMAIN),
        opt(s, libc::SO_PROTOCOL),
        opt(s, libc::SO_ERROR),
        opt(s, libc::SO_ACCEPTCONN)
    );
    say!(
        "reuseaddr={} keepalive={} broadcast={} linger={}",
        opt(s, libc::SO_REUSEADDR),
        opt(s, libc::SO_KEEPALIVE),
        opt(s, libc::SO_BROADCAST),
        opt(s, libc::SO_LINGER)
    );
    for (n, o) in [
        ("reuseaddr", libc::SO_REUSEADDR),
        ("keepalive", libc::SO_KEEPALIVE),
        ("passcred", SO_PASSCRED),
        ("sndbuf", libc::SO_SNDBUF),
        ("rcvbuf", libc::SO_RCVBUF),
    ] {
        let v = if n.ends_with("buf") { 10_000i32 } else { 5 };
        say!("{n} set={} get={}", sys!(SYS_setsockopt, s, SOL_SOCKET, o, &v, 4), opt(s, o));
    }
    let v = 1i32;
    let mut n = 4u32;
    say!(
        "unknown={} level={} short={} null={}",
        sys!(SYS_setsockopt, s, SOL_SOCKET, 9999, &v, 4),
        sys!(SYS_setsockopt, s, 6, 1, &v, 4),
        sys!(SYS_setsockopt, s, SOL_SOCKET, SO_PASSCRED, &v, 1),
        sys!(SYS_setsockopt, s, SOL_SOCKET, SO_PASSCRED, 0, 4)
    );
    say!(
        "get unknown={} level={} not socket={} bad={}",
        opt(s, 9999),
        sys!(SYS_getsockopt, s, 6, 1, &mut v.clone(), &mut n),
        opt(0, 1),
        opt(-1, 1)
    );
    let mut tv = [1i64, 500_000];
    let mut n = 16u32;
    say!(
        "rcvtimeo={} get={}",
        sys!(SYS_setsockopt, s, SOL_SOCKET, libc::SO_RCVTIMEO, &tv, 16),
        sys!(SYS_getsockopt, s, SOL_SOCKET, libc::SO_RCVTIMEO, &mut tv, &mut n)
    );
    let (a, _b) = pair(SOCK_DGRAM);
    sys!(SYS_setsockopt, a, SOL_SOCKET, libc::SO_RCVTIMEO, &[0i64, 20_000], 16);
    say!(
        "timeout={} {tv:?} bad={}",
        recv(a, 1, 0),
        sys!(SYS_setsockopt, a, SOL_SOCKET, libc::SO_RCVTIMEO, &[0i64, 2_000_000], 16)
    );
    say!("listening acceptconn={}", {
        bind(s, "s");
        sys!(SYS_listen, s, 1);
        opt(s, libc::SO_ACCEPTCONN)
    });
}

fn shutdowns() {
    for (n, how) in [("read", 0), ("write", 1), ("both", 2)] {
        let (a, b) = pair(SOCK_STREAM);
        send(b, b"queued", 0);
        say!(
            "{n}={} own recv={} own send={} peer recv={} peer send={}",
            sys!(SYS_shutdown, a, how),
            recv(a, 3, MSG_DONTWAIT),
            send(a, b"x", 0),
            recv(b, 3, MSG_DONTWAIT),
            send(b, b"x", 0)
        );
        let mut p = [
            libc::pollfd { fd: a, events: 0x2005, revents: 0 },
            libc::pollfd { fd: b, events: 0x2005, revents: 0 },
        ];
        sys!(SYS_poll, &mut p, 2, 0);
        say!("{n} poll={:#x} {:#x}", p[0].revents, p[1].revents);
    }
    let (a, _b) = pair(SOCK_STREAM);
    say!(
        "how={} unconnected={} pipe={}",
        sys!(SYS_shutdown, a, 5),
        sys!(SYS_shutdown, socket(SOCK_STREAM), 2),
        sys!(SYS_shutdown, 0, 2)
    );
}

fn blocking() {
    let (a, b) = pair(SOCK_STREAM);
    let c = spawn(|| {
        sleep_ms(20);
        send(a, b"12", 0);
        sleep_ms(20);
        send(a, b"345", 0);
        0
    });
    say!("waitall={} child={}", recv(b, 5, MSG_WAITALL), wait(c));
    let c = spawn(|| {
        close(b);
        sleep_ms(20);
        0
    });
    close(a);
    say!("peer end={} child={}", recv(b, 5, 0), wait(c));
    let (a, b) = pair(SOCK_STREAM | SOCK_NONBLOCK);
    let mut total = 0;
    while let R(n @ 1..) = send(a, &[7u8; 1000], 0) {
        total += n;
    }
    say!("fills up={} then={} poll={}", total > 10_000, send(a, b"x", 0), {
        let mut p = libc::pollfd { fd: a, events: 4, revents: 0 };
        sys!(SYS_poll, &mut p, 1, 0)
    });
    let mut back = 0;
    while let R(n @ 1..) = sys!(SYS_read, b, &mut [0u8; 4096], 4096) {
        back += n;
    }
    say!("all arrives={}", back == total);
    let s = socket(SOCK_STREAM);
    bind(s, "s");
    sys!(SYS_listen, s, 0);
    connect(socket(SOCK_STREAM), "s");
    say!("backlog full={}", connect(socket(SOCK_STREAM | SOCK_NONBLOCK), "s"));
    handler(libc::SIGPIPE, libc::SIG_IGN, 0);
    let c = spawn(|| {
        let c = socket(SOCK_STREAM);
        let r = connect(c, "s");
        i32::from(!r.ok())
    });
    sleep_ms(20);
    say!(
        "accept={} second={} child={}",
        sys!(SYS_accept, s, 0, 0).sign(),
        sys!(SYS_accept, s, 0, 0).sign(),
        wait(c)
    );
}

fn many() {
    let (a, b) = pair(SOCK_DGRAM);
    let (d1, d2) = (b"first", b"second!");
    let iov = [[d1.as_ptr() as usize, 5], [d2.as_ptr() as usize, 7]];
    let m = |i: &[usize; 2]| [0usize, 0, std::ptr::from_ref(i) as usize, 1, 0, 0, 0, 0];
    let mut v = [m(&iov[0]), m(&iov[1])];
    say!("sendmmsg={} lengths={} {}", sys!(SYS_sendmmsg, a, &mut v, 2, 0), v[0][7], v[1][7]);
    let (mut x, mut y, mut z) = ([0u8; 16], [0u8; 4], [0u8; 4]);
    let iov = [[x.as_mut_ptr() as usize, 16], [y.as_mut_ptr() as usize, 4], [z.as_mut_ptr() as usize, 4]];
    let mut w = [m(&iov[0]), m(&iov[1]), m(&iov[2])];
    say!(
        "recvmmsg={} lengths={} {} truncated={}",
        sys!(SYS_recvmmsg, b, &mut w, 3, MSG_DONTWAIT, 0),
        w[0][7],
        w[1][7],
        w[1][6] & 0x20 != 0
    );
    say!("x={} y={}", show::bytes(&x[..6]), show::bytes(&y));
    say!(
        "empty={} null={} bad fd={} zero={}",
        sys!(SYS_recvmmsg, b, &mut w, 3, MSG_DONTWAIT, 0),
        sys!(SYS_sendmmsg, a, 0, 1, 0),
        sys!(SYS_sendmmsg, -1, &mut v, 1, 0),
        sys!(SYS_sendmmsg, a, &mut v, 0, 0)
    );
    send(a, b"t", 0);
    say!("timeout={}", sys!(SYS_recvmmsg, b, &mut w, 1, 0, &crate::run::ts(20)));
}

fn errors() {
    let s = socket(SOCK_STREAM);
    say!(
        "unconnected send={} recv={} peername={}",
        send(s, b"x", 0),
        recv(s, 1, MSG_DONTWAIT),
        name_of(libc::SYS_getpeername, s)
    );
    let (a, b) = pair(SOCK_STREAM);
    say!(
        "send null={} kernel={} flags={} oob={}",
        sys!(SYS_sendto, a, 0, 5, 0, 0, 0),
        sys!(SYS_sendto, a, KERNEL, 5, 0, 0, 0),
        sys!(SYS_sendto, a, b"x", 1, 0x8000_0000u32, 0, 0),
        sys!(SYS_sendto, a, b"", 0, libc::MSG_OOB, 0, 0)
    );
    say!("not a socket={} {} bad={}", send(0, b"x", 0), recv(0, 1, 0), send(-1, b"x", 0));
    send(a, b"data", 0);
    say!("recv to null={} recv again={}", sys!(SYS_recvfrom, b, 0, 4, 0, 0, 0), recv(b, 10, MSG_DONTWAIT));
    for kind in [SOCK_DGRAM, SOCK_SEQPACKET] {
        let (a, b) = pair(kind);
        send(a, b"one", 0);
        send(a, b"two", 0);
        say!("packet to null={} then={}", sys!(SYS_recvfrom, b, 0, 4, 0, 0, 0), recv(b, 10, MSG_DONTWAIT));
        say!("then={} empty={}", recv(b, 10, MSG_DONTWAIT), sys!(SYS_recvfrom, b, 0, 4, MSG_DONTWAIT, 0, 0));
    }
    say!("sendto on connected={}", {
        let (t, n) = addr("x");
        sys!(SYS_sendto, a, b"x", 1, 0, &t[..], n)
    });
    say!(
        "sendmsg null={} recvmsg kernel={} names null={}",
        sys!(SYS_sendmsg, a, 0, 0),
        sys!(SYS_recvmsg, b, KERNEL, 0),
        sys!(SYS_getsockname, a, 0, 0)
    );
    say!(
        "listen on pair={} on dgram={} bad={}",
        sys!(SYS_listen, a, 1),
        sys!(SYS_listen, socket(SOCK_DGRAM), 1),
        sys!(SYS_listen, 0, 1)
    );
    say!("proc/net/unix readable={}", !cat(c"/proc/net/unix").is_empty());
}

pub(crate) const CASES: &[Case] = &[
    ("creating", creating),
    ("pairs", pairs),
    ("stream_server", stream_server),
    ("abstract_names", abstract_names),
    ("datagrams", datagrams),
    ("rights", rights),
    ("credentials", credentials),
    ("options", options),
    ("shutdowns", shutdowns),
    ("blocking", blocking),
    ("many", many),
    ("errors", errors),
];
