//! What is known of a file besides its contents: stat, statx, modes, owners, times, access, statfs.

use crate::mem::{KERNEL, read_only, zeroed};
use crate::run::{Case, drop_root, file, open, pipe, say, sleep_ms, sys};
use crate::show;
use libc::{
    AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, O_CREAT, O_PATH, O_RDONLY, O_RDWR, UTIME_NOW, UTIME_OMIT,
};
use std::ffi::CStr;

fn st(path: &CStr) -> libc::stat {
    let mut s: libc::stat = zeroed();
    sys!(SYS_newfstatat, AT_FDCWD, path, &mut s, AT_SYMLINK_NOFOLLOW);
    s
}

fn stats() {
    file(c"f", b"hello");
    sys!(SYS_mkdir, c"d", 0o750);
    sys!(SYS_symlink, c"f", c"l");
    sys!(SYS_mknod, c"p", libc::S_IFIFO | 0o640, 0);
    for p in [c"f", c"d", c"l", c"p"] {
        let s = st(p);
        let size = if p == c"d" { -1 } else { s.st_size };
        say!(
            "{} mode={:o} nlink={} size={size} mine={}",
            p.to_string_lossy(),
            s.st_mode,
            s.st_nlink,
            i64::from(s.st_uid) == sys!(SYS_getuid).0
        );
        say!(
            "{} blksize sane={} times sane={}",
            p.to_string_lossy(),
            s.st_blksize >= 512,
            s.st_mtime > 1_500_000_000 && s.st_ctime >= s.st_mtime
        );
    }
    let (f, l) = (st(c"f"), st(c"l"));
    say!("same device={} other inode={}", f.st_dev == l.st_dev, f.st_ino != l.st_ino);
    let fd = open(c"f", O_RDONLY);
    let mut s: libc::stat = zeroed();
    sys!(SYS_fstat, fd, &mut s);
    say!(
        "fstat same inode={} bad={} {}",
        s.st_ino == f.st_ino && s.st_dev == f.st_dev,
        sys!(SYS_fstat, -1, &mut s),
        sys!(SYS_fstat, 9999, &mut s)
    );
    say!(
        "bad buffers={} {} {}",
        sys!(SYS_stat, c"f", 0),
        sys!(SYS_stat, c"f", KERNEL),
        sys!(SYS_stat, c"f", read_only())
    );
    say!("missing={} null path={}", sys!(SYS_stat, c"none", &mut s), sys!(SYS_stat, 0, &mut s));
    for (n, p) in
        [("null", c"/dev/null"), ("zero", c"/dev/zero"), ("full", c"/dev/full"), ("tty", c"/dev/tty")]
    {
        let s = st(p);
        say!(
            "{n} kind={:o} rdev={}:{}",
            s.st_mode & libc::S_IFMT,
            libc::major(s.st_rdev),
            libc::minor(s.st_rdev)
        );
    }
    let (r, _) = pipe(0);
    sys!(SYS_fstat, r, &mut s);
    say!("pipe mode={:o} size={} nlink={}", s.st_mode, s.st_size, s.st_nlink);
    let sock = sys!(SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0);
    sys!(SYS_fstat, sock.fd(), &mut s);
    say!("socket mode={:o} nlink={}", s.st_mode, s.st_nlink);
}

fn statx() {
    file(c"f", b"hello");
    let mut x: libc::statx = zeroed();
    for (n, fl, m) in [
        ("basic", 0, 0x7ff),
        ("none", 0, 0),
        ("size", 0, 0x200),
        ("force", 0x2000, 0x7ff),
        ("dont", 0x4000, 0x7ff),
    ] {
        let r = sys!(SYS_statx, AT_FDCWD, c"f", fl, m, &mut x);
        say!(
            "{n}={r} basic mask={:#x} mode={:o} size={} nlink={}",
            x.stx_mask & m & 0x7ff,
            x.stx_mode,
            x.stx_size,
            x.stx_nlink
        );
    }
    say!(
        "reserved={} both syncs={} flag={}",
        sys!(SYS_statx, AT_FDCWD, c"f", 0, 0x8000_0000u32, &mut x),
        sys!(SYS_statx, AT_FDCWD, c"f", 0x6000, 0, &mut x),
        sys!(SYS_statx, AT_FDCWD, c"f", 1, 0, &mut x)
    );
    let fd = open(c"f", O_PATH);
    say!(
        "empty path={} without flag={} bad={}",
        sys!(SYS_statx, fd, c"", AT_EMPTY_PATH, 0x7ff, &mut x),
        sys!(SYS_statx, fd, c"", 0, 0x7ff, &mut x),
        sys!(SYS_statx, -1, c"f", 0, 0x7ff, &mut x)
    );
    let s = st(c"f");
    say!(
        "agrees with stat={}",
        x.stx_ino == s.st_ino
            && x.stx_mtime.tv_sec == s.st_mtime
            && x.stx_mtime.tv_nsec as i64 == s.st_mtime_nsec
    );
    say!("device agrees={}", libc::makedev(x.stx_dev_major, x.stx_dev_minor) == s.st_dev);
    say!(
        "null buffer={} missing={}",
        sys!(SYS_statx, AT_FDCWD, c"f", 0, 0x7ff, 0),
        sys!(SYS_statx, AT_FDCWD, c"none", 0, 0x7ff, &mut x)
    );
}

fn chmod() {
    file(c"f", b"");
    sys!(SYS_symlink, c"f", c"l");
    sys!(SYS_mkdir, c"d", 0o755);
    for m in [0o600, 0o7777, 0, 0o10_0644, -1] {
        say!("chmod {m:o}={} mode={:o}", sys!(SYS_chmod, c"f", m), st(c"f").st_mode);
        say!("dir={} mode={:o}", sys!(SYS_chmod, c"d", m), st(c"d").st_mode);
    }
    say!("through link={} mode={:o}", sys!(SYS_chmod, c"l", 0o640), st(c"f").st_mode);
    let fd = open(c"f", O_RDONLY);
    say!(
        "fchmod={} bad={} {}",
        sys!(SYS_fchmod, fd, 0o611),
        sys!(SYS_fchmod, -1, 0),
        sys!(SYS_fchmod, 9999, 0)
    );
    say!(
        "mode={:o} missing={} empty={}",
        st(c"f").st_mode,
        sys!(SYS_chmod, c"none", 0),
        sys!(SYS_chmod, c"", 0)
    );
    say!("fchmodat={} mode={:o}", sys!(SYS_fchmodat, AT_FDCWD, c"f", 0o755), st(c"f").st_mode);
    const FCHMODAT2: i64 = 452;
    let r = crate::run::raw(
        FCHMODAT2,
        &[AT_FDCWD as usize, c"l".as_ptr() as usize, 0o600, AT_SYMLINK_NOFOLLOW as usize],
    );
    say!(
        "fchmodat2 on link={r} bad flag={}",
        crate::run::raw(FCHMODAT2, &[AT_FDCWD as usize, c"l".as_ptr() as usize, 0o600, 1])
    );
}

fn chmod_others() {
    file(c"theirs", b"");
    sys!(SYS_fchownat, AT_FDCWD, c"theirs", 65534, 65534, 0);
    drop_root();
    say!("own={} root's={}", sys!(SYS_chmod, c"theirs", 0o6755), sys!(SYS_chmod, c"/", 0o755));
    say!("mode={:o} utimes of root's={}", st(c"theirs").st_mode, sys!(SYS_utimensat, AT_FDCWD, c"/", 0, 0));
    let fd = open(c"theirs", O_RDWR);
    say!("write={} clears suid={:o}", sys!(SYS_write, fd, b"x", 1), st(c"theirs").st_mode);
    say!(
        "chmod sgid={} truncate={} mode={:o}",
        sys!(SYS_chmod, c"theirs", 0o6755),
        sys!(SYS_ftruncate, fd, 0),
        st(c"theirs").st_mode
    );
    say!(
        "chown to root={} to self={} none={}",
        sys!(SYS_chown, c"theirs", 0, 0),
        sys!(SYS_chown, c"theirs", 65534, 65534),
        sys!(SYS_chown, c"theirs", -1, -1)
    );
    say!("group 0={} mode={:o}", sys!(SYS_chown, c"theirs", -1, 0), st(c"theirs").st_mode);
}

fn chown_self() {
    file(c"f", b"");
    sys!(SYS_symlink, c"none", c"l");
    let (u, g) = (sys!(SYS_getuid).fd(), sys!(SYS_getgid).fd());
    let fd = open(c"f", O_RDONLY);
    say!(
        "chown={} fchown={} lchown={}",
        sys!(SYS_chown, c"f", u, g),
        sys!(SYS_fchown, fd, u, -1),
        sys!(SYS_lchown, c"l", -1, g)
    );
    say!(
        "dangling={} at nofollow={} empty path={}",
        sys!(SYS_chown, c"l", u, g),
        sys!(SYS_fchownat, AT_FDCWD, c"l", u, g, AT_SYMLINK_NOFOLLOW),
        sys!(SYS_fchownat, fd, c"", u, g, AT_EMPTY_PATH)
    );
    say!(
        "flag={} bad fd={} missing={}",
        sys!(SYS_fchownat, AT_FDCWD, c"f", u, g, 1),
        sys!(SYS_fchown, -1, u, g),
        sys!(SYS_chown, c"none", u, g)
    );
    let a = st(c"f");
    sleep_ms(30);
    sys!(SYS_chown, c"f", u, g);
    let b = st(c"f");
    say!(
        "ctime moves={} mtime stays={}",
        (a.st_ctime, a.st_ctime_nsec) < (b.st_ctime, b.st_ctime_nsec),
        a.st_mtime_nsec == b.st_mtime_nsec
    );
}

fn umask() {
    say!("default={:o}", sys!(SYS_umask, 0o7777).0);
    say!("only nine bits={:o} huge={:o}", sys!(SYS_umask, -1).0, sys!(SYS_umask, 0o22).0);
}

fn utimens() {
    file(c"f", b"");
    sys!(SYS_symlink, c"f", c"l");
    let fd = open(c"f", O_RDWR);
    let t = |a: i64, an: i64, m: i64, mn: i64| [[a, an], [m, mn]];
    let see = |n: &str, r: show::R| {
        let s = st(c"f");
        let recent = |x: i64| if x > 1_500_000_000 { "now".into() } else { x.to_string() };
        let ns = |x: i64, n: i64| if x > 1_500_000_000 { -1 } else { n };
        say!(
            "{n}={r} a={}.{} m={}.{}",
            recent(s.st_atime),
            ns(s.st_atime, s.st_atime_nsec),
            recent(s.st_mtime),
            ns(s.st_mtime, s.st_mtime_nsec)
        );
    };
    see("set", sys!(SYS_utimensat, AT_FDCWD, c"f", &t(1000, 1, 2000, 999_999_999), 0));
    see("omit a", sys!(SYS_utimensat, AT_FDCWD, c"f", &t(5, UTIME_OMIT, 3000, 0), 0));
    see("omit m", sys!(SYS_utimensat, AT_FDCWD, c"f", &t(4000, 0, 5, UTIME_OMIT), 0));
    see("omit both", sys!(SYS_utimensat, AT_FDCWD, c"f", &t(0, UTIME_OMIT, 0, UTIME_OMIT), 0));
    see("now m", sys!(SYS_utimensat, AT_FDCWD, c"f", &t(7, 0, 0, UTIME_NOW), 0));
    see("now a", sys!(SYS_utimensat, AT_FDCWD, c"f", &t(0, UTIME_NOW, 8, 0), 0));
    see("null", sys!(SYS_utimensat, AT_FDCWD, c"f", 0, 0));
    see("through fd", sys!(SYS_utimensat, fd, 0, &t(11, 0, 12, 0), 0));
    see("negative", sys!(SYS_utimensat, AT_FDCWD, c"f", &t(-100, 0, -200, 5), 0));
    see("through link", sys!(SYS_utimensat, AT_FDCWD, c"l", &t(13, 0, 14, 0), 0));
    see("link itself", sys!(SYS_utimensat, AT_FDCWD, c"l", &t(15, 0, 16, 0), AT_SYMLINK_NOFOLLOW));
    say!("link m={}", st(c"l").st_mtime);
    see("nsec too big", sys!(SYS_utimensat, AT_FDCWD, c"f", &t(1, 1_000_000_000, 1, 0), 0));
    see("nsec negative", sys!(SYS_utimensat, AT_FDCWD, c"f", &t(1, -1, 1, 0), 0));
    see("missing", sys!(SYS_utimensat, AT_FDCWD, c"none", &t(1, 0, 1, 0), 0));
    see("flag", sys!(SYS_utimensat, AT_FDCWD, c"f", &t(1, 0, 1, 0), 1));
    see("wild times", sys!(SYS_utimensat, AT_FDCWD, c"f", 1, 0));
    see("wild path", sys!(SYS_utimensat, AT_FDCWD, 1, 0, 0));
    see("null path of cwd", sys!(SYS_utimensat, AT_FDCWD, 0, &t(1, 0, 1, 0), 0));
    see("utimes", sys!(SYS_utimes, c"f", &t(20, 500_000, 21, 999_999)));
    see("utimes bad", sys!(SYS_utimes, c"f", &t(20, 1_000_000, 21, 0)));
    see("utime", sys!(SYS_utime, c"f", &[30i64, 31]));
    see("futimesat", sys!(SYS_futimesat, AT_FDCWD, c"f", &t(40, 0, 41, 0)));
}

fn times_move() {
    file(c"f", b"1");
    sys!(SYS_mkdir, c"d", 0o755);
    let m = |p: &CStr| (st(p).st_mtime, st(p).st_mtime_nsec);
    let c = |p: &CStr| (st(p).st_ctime, st(p).st_ctime_nsec);
    let fd = open(c"f", O_RDWR);
    let step = |n: &str, f: &dyn Fn() -> show::R| {
        let before = (m(c"f"), c(c"f"), m(c"d"));
        sleep_ms(25);
        let r = f();
        say!(
            "{n}={r} mtime={} ctime={} dir={}",
            m(c"f") != before.0,
            c(c"f") != before.1,
            m(c"d") != before.2
        );
    };
    step("write", &|| sys!(SYS_write, fd, b"22", 2));
    step("write nothing", &|| sys!(SYS_write, fd, b"", 0));
    step("chmod", &|| sys!(SYS_fchmod, fd, 0o600));
    step("link", &|| sys!(SYS_link, c"f", c"d/l"));
    step("truncate", &|| sys!(SYS_ftruncate, fd, 1));
    step("truncate to same", &|| sys!(SYS_ftruncate, fd, 1));
    step("rename", &|| sys!(SYS_rename, c"d/l", c"d/m"));
    step("unlink", &|| sys!(SYS_unlink, c"d/m"));
    step("read", &|| sys!(SYS_pread64, fd, &mut [0u8; 4], 4, 0));
}

fn access() {
    file(c"f", b"");
    sys!(SYS_fchownat, AT_FDCWD, c"f", 65534, 65534, 0);
    sys!(SYS_symlink, c"none", c"l");
    drop_root();
    for mode in [0o700, 0o400, 0o200, 0o100, 0, 0o077] {
        sys!(SYS_chmod, c"f", mode);
        let a: Vec<String> = [0, 1, 2, 4, 7].iter().map(|m| sys!(SYS_access, c"f", *m).to_string()).collect();
        let o: Vec<String> = [0, 1, 2].iter().map(|m| sys!(SYS_open, c"f", *m).sign()).collect();
        say!("mode {mode:o} f,x,w,r,all={} open r,w,rw={}", a.join(","), o.join(","));
    }
    say!(
        "bad mode={} missing={} root dir w={}",
        sys!(SYS_access, c"f", 8),
        sys!(SYS_access, c"none", 0),
        sys!(SYS_access, c"/", 2)
    );
    say!("negative={} null={}", sys!(SYS_access, c"f", -1), sys!(SYS_access, 0, 0));
    let f = |p: &CStr, m: i32, fl: i32| sys!(SYS_faccessat2, AT_FDCWD, p, m, fl);
    say!(
        "eaccess={} dangling={} nofollow={} flag={}",
        f(c"f", 0, 0x200),
        f(c"l", 0, 0),
        f(c"l", 0, AT_SYMLINK_NOFOLLOW),
        f(c"f", 0, 1)
    );
    let fd = open(c".", O_RDONLY);
    say!(
        "empty path={} faccessat={}",
        sys!(SYS_faccessat2, fd, c"", 0, AT_EMPTY_PATH),
        sys!(SYS_faccessat, AT_FDCWD, c"f", 0)
    );
}

fn sticky() {
    sys!(SYS_mkdir, c"t", 0o777);
    sys!(SYS_chmod, c"t", 0o1777);
    drop_root();
    let fd = open(c"t/mine", O_CREAT | O_RDWR);
    say!("create={} unlink={}", fd >= 0, sys!(SYS_unlink, c"t/mine"));
    say!(
        "etc unlink={} create={}",
        sys!(SYS_unlink, c"/etc/passwd"),
        sys!(SYS_open, c"/etc/guest-tests", O_CREAT | O_RDWR, 0o600)
    );
    say!(
        "write passwd={} mkdir={} shadow={}",
        sys!(SYS_open, c"/etc/passwd", O_RDWR),
        sys!(SYS_mkdir, c"/etc/guest-tests", 0o700),
        sys!(SYS_access, c"/etc/shadow", 2)
    );
}

fn statfs() {
    let mut s: libc::statfs = zeroed();
    say!("statfs={} bsize sane={} namelen={}", sys!(SYS_statfs, c".", &mut s), s.f_bsize >= 512, s.f_namelen);
    say!("bsize={} blocks consistent={}", s.f_bsize, s.f_bavail <= s.f_blocks && s.f_bfree <= s.f_blocks);
    say!(
        "fstatfs={} bad={} missing={}",
        sys!(SYS_fstatfs, open(c".", O_RDONLY), &mut s),
        sys!(SYS_fstatfs, -1, &mut s),
        sys!(SYS_statfs, c"none", &mut s)
    );
    say!(
        "null={} kernel={} opath={}",
        sys!(SYS_statfs, c".", 0),
        sys!(SYS_statfs, c".", KERNEL),
        sys!(SYS_fstatfs, open(c".", O_PATH), &mut s)
    );
    sys!(SYS_statfs, c"/proc", &mut s);
    say!("proc type={:#x}", s.f_type);
    sys!(SYS_fstatfs, pipe(0).0, &mut s);
    say!("pipe type={:#x}", s.f_type);
    say!("ustat-like empty={}", sys!(SYS_statfs, c"", &mut s));
}

pub(crate) const CASES: &[Case] = &[
    ("stats", stats),
    ("statx", statx),
    ("chmod", chmod),
    ("chmod_others", chmod_others),
    ("chown_self", chown_self),
    ("umask", umask),
    ("utimens", utimens),
    ("times_move", times_move),
    ("access", access),
    ("sticky", sticky),
    ("statfs", statfs),
];
