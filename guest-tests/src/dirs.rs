//! Directories and names: making, removing, renaming, linking, listing, moving about.

use crate::mem::zeroed;
use crate::run::{Case, close, file, open, say, slurp, spawn, sys, wait};
use crate::show;
use libc::{
    AT_EMPTY_PATH, AT_FDCWD, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, O_CREAT, O_DIRECTORY, O_PATH, O_RDONLY, O_RDWR,
    O_WRONLY,
};
use std::ffi::CStr;

/// The names in a directory and their types, sorted, as getdents64 gives them.
fn entries(fd: i32, size: usize) -> Vec<String> {
    let mut out = Vec::new();
    let mut buf = vec![0u8; size];
    loop {
        let r = sys!(SYS_getdents64, fd, &mut buf[..], size);
        if r.0 <= 0 {
            if !r.ok() {
                out.push(r.to_string());
            }
            break;
        }
        let mut at = 0;
        while at < r.0 as usize {
            let len = usize::from(u16::from_le_bytes([buf[at + 16], buf[at + 17]]));
            let name = CStr::from_bytes_until_nul(&buf[at + 19..at + len]).unwrap_or(c"?");
            let kind = match buf[at + 18] {
                1 => 'p',
                4 => 'd',
                8 => '-',
                10 => 'l',
                12 => 's',
                _ => '?',
            };
            out.push(format!("{kind}{}", name.to_string_lossy()));
            at += len;
        }
    }
    out.sort();
    out
}

fn ls(path: &CStr) -> String {
    let fd = open(path, O_RDONLY | O_DIRECTORY);
    let e = entries(fd, 4096).join(",");
    close(fd);
    e
}

fn nlink(path: &CStr) -> u64 {
    let mut st: libc::stat = zeroed();
    sys!(SYS_lstat, path, &mut st);
    st.st_nlink
}

fn mkdir() {
    file(c"f", b"");
    sys!(SYS_symlink, c"nowhere", c"dangling");
    for p in [
        c"d",
        c"d",
        c"d/",
        c"d/e/",
        c"x/y",
        c"f/g",
        c".",
        c"..",
        c"/",
        c"",
        c"dangling",
        c"d/.",
        c"f/",
        c"n/.",
    ] {
        say!("mkdir {}={}", p.to_string_lossy(), sys!(SYS_mkdir, p, 0o777));
    }
    say!("null={} wild={}", sys!(SYS_mkdir, 0, 0o777), sys!(SYS_mkdir, 1, 0o777));
    let mut st: libc::stat = zeroed();
    for mode in [0o777, 0o1777, 0o2755, 0o7777, 0] {
        sys!(SYS_mkdirat, AT_FDCWD, c"m", mode);
        sys!(SYS_stat, c"m", &mut st);
        say!("mode {mode:o}={:o}", st.st_mode);
        sys!(SYS_rmdir, c"m");
    }
    say!(
        "at file={} at bad={}",
        sys!(SYS_mkdirat, open(c"f", O_RDONLY), c"x", 0o755),
        sys!(SYS_mkdirat, 9999, c"x", 0o755)
    );
    say!("nlink={} of child={}", nlink(c"d"), nlink(c"d/e"));
}

fn setgid_dir() {
    sys!(SYS_mkdir, c"d", 0o755);
    say!("chmod={}", sys!(SYS_chmod, c"d", 0o2775));
    sys!(SYS_mkdir, c"d/sub", 0o755);
    let mut st: libc::stat = zeroed();
    sys!(SYS_stat, c"d/sub", &mut st);
    say!("inherits setgid={:o}", st.st_mode);
    file(c"d/f", b"");
    sys!(SYS_stat, c"d/f", &mut st);
    say!("file={:o}", st.st_mode);
}

fn rmdir() {
    sys!(SYS_mkdir, c"d", 0o755);
    sys!(SYS_mkdir, c"d/e", 0o755);
    file(c"f", b"");
    sys!(SYS_symlink, c"d/e", c"l");
    for p in [c"d", c"f", c"l", c"l/", c"none", c"", c"d/e/.", c"d/e/..", c".", c"/", c"d/e/", c"d/e", c"d"] {
        say!("rmdir {}={}", p.to_string_lossy(), sys!(SYS_rmdir, p));
    }
    sys!(SYS_mkdir, c"d", 0o755);
    say!(
        "unlinkat removedir={} on file={}",
        sys!(SYS_unlinkat, AT_FDCWD, c"d", AT_REMOVEDIR),
        sys!(SYS_unlinkat, AT_FDCWD, c"f", AT_REMOVEDIR)
    );
    say!("flags={} null={}", sys!(SYS_unlinkat, AT_FDCWD, c"f", 1), sys!(SYS_rmdir, 0));
}

fn removed_cwd() {
    sys!(SYS_mkdir, c"d", 0o755);
    sys!(SYS_chdir, c"d");
    say!("rmdir={}", sys!(SYS_rmdir, c"../d"));
    let mut b = [0u8; 4096];
    say!("getcwd={}", sys!(SYS_getcwd, &mut b, 4096));
    say!("create={} mkdir={}", sys!(SYS_open, c"x", O_CREAT | O_RDWR, 0o644), sys!(SYS_mkdir, c"x", 0o755));
    let dot = open(c".", O_RDONLY);
    say!("open dot={dot} list={:?}", entries(dot, 4096));
    let mut st: libc::stat = zeroed();
    say!("stat={} nlink={}", sys!(SYS_stat, c".", &mut st), st.st_nlink);
    say!("nlink={} up={}", st.st_nlink, sys!(SYS_chdir, c".."));
}

fn unlink() {
    sys!(SYS_mkdir, c"d", 0o755);
    file(c"f", b"x");
    sys!(SYS_link, c"f", c"g");
    sys!(SYS_symlink, c"f", c"l");
    for p in [c"d", c"f/", c"none", c"l", c"f", c"f", c"", c".", c"..", c"/", c"g/x"] {
        say!("unlink {}={}", p.to_string_lossy(), sys!(SYS_unlink, p));
    }
    say!("left={} nlink={}", ls(c"."), nlink(c"g"));
    say!("null={} kernel={}", sys!(SYS_unlink, 0), sys!(SYS_unlink, crate::mem::KERNEL));
}

fn rename() {
    let fresh = || {
        let _ = std::fs::remove_dir_all("w");
        sys!(SYS_mkdir, c"w", 0o755);
        sys!(SYS_mkdir, c"w/d", 0o755);
        sys!(SYS_mkdir, c"w/d/sub", 0o755);
        sys!(SYS_mkdir, c"w/empty", 0o755);
        file(c"w/f", b"f");
        file(c"w/g", b"g");
        sys!(SYS_symlink, c"f", c"w/l");
        sys!(SYS_link, c"w/f", c"w/hard");
    };
    for (a, b) in [
        (c"w/f", c"w/new"),
        (c"w/f", c"w/g"),
        (c"w/f", c"w/f"),
        (c"w/f", c"w/hard"),
        (c"w/f", c"w/d"),
        (c"w/d", c"w/f"),
        (c"w/d", c"w/empty"),
        (c"w/empty", c"w/d"),
        (c"w/d", c"w/d/sub"),
        (c"w/d", c"w/d/sub/x"),
        (c"w/d/sub", c"w/d"),
        (c"w/l", c"w/new"),
        (c"w/f", c"w/l"),
        (c"w/none", c"w/x"),
        (c"w/f", c"w/none/x"),
        (c"w/f", c"w/new/"),
        (c"w/f/", c"w/new"),
        (c"w/d", c"w/new/"),
        (c"w/d/.", c"w/new"),
        (c"w/d/..", c"w/new"),
        (c"w/d", c"w/empty/."),
        (c"w/f", c""),
        (c"", c"w/x"),
        (c"w/f", c"w/g/x"),
        (c".", c"w/x"),
        (c"/", c"w/x"),
    ] {
        fresh();
        let r = sys!(SYS_rename, a, b);
        say!("{} -> {}={r} left={}", a.to_string_lossy(), b.to_string_lossy(), ls(c"w"));
    }
    say!("null={} {}", sys!(SYS_rename, 0, c"x"), sys!(SYS_rename, c"w/f", 1));
}

fn renameat2() {
    const NOREPLACE: i32 = 1;
    const EXCHANGE: i32 = 2;
    const WHITEOUT: i32 = 4;
    file(c"a", b"A");
    file(c"b", b"B");
    sys!(SYS_mkdir, c"d", 0o755);
    let go = |x: &CStr, y: &CStr, f: i32| sys!(SYS_renameat2, AT_FDCWD, x, AT_FDCWD, y, f);
    say!("noreplace existing={} new={}", go(c"a", c"b", NOREPLACE), go(c"a", c"c", NOREPLACE));
    say!("exchange={} b={}", go(c"c", c"b", EXCHANGE), show::bytes(&crate::run::cat(c"b")));
    say!("exchange with dir={} list={}", go(c"c", c"d", EXCHANGE), ls(c"."));
    say!(
        "exchange missing={} both flags={}",
        go(c"c", c"none", EXCHANGE),
        go(c"c", c"b", EXCHANGE | NOREPLACE)
    );
    say!("unknown={} whiteout and exchange={}", go(c"c", c"b", 8), go(c"c", c"b", WHITEOUT | EXCHANGE));
    say!("exchange with parent={}", go(c"c", c"c/x", EXCHANGE));
    say!("renameat={}", sys!(SYS_renameat, AT_FDCWD, c"b", open(c"c", O_PATH), c"moved"));
    say!("list={} bad dirfd={}", ls(c"c"), sys!(SYS_renameat, 9999, c"b", AT_FDCWD, c"z"));
}

fn rename_open() {
    file(c"a", b"old a");
    file(c"b", b"old b");
    let fd = open(c"b", O_RDONLY);
    sys!(SYS_rename, c"a", c"b");
    let mut st: libc::stat = zeroed();
    sys!(SYS_fstat, fd, &mut st);
    say!(
        "replaced is still open={} nlink={} new={}",
        show::bytes(&slurp(fd)),
        st.st_nlink,
        show::bytes(&crate::run::cat(c"b"))
    );
    sys!(SYS_mkdir, c"d", 0o755);
    sys!(SYS_mkdir, c"e", 0o755);
    sys!(SYS_mkdir, c"d/x", 0o755);
    sys!(SYS_chdir, c"d/x");
    say!("move cwd={}", sys!(SYS_rename, c"../../d/x", c"../../e/y"));
    let cwd = std::env::current_dir().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    say!("cwd ends with e/y={} nlinks={} {}", cwd.ends_with("/e/y"), nlink(c"../../d"), nlink(c"../../e"));
}

fn link() {
    file(c"f", b"x");
    sys!(SYS_mkdir, c"d", 0o755);
    sys!(SYS_symlink, c"f", c"l");
    for (a, b) in [
        (c"f", c"g"),
        (c"f", c"g"),
        (c"d", c"e"),
        (c"l", c"hl"),
        (c"none", c"x"),
        (c"f", c"none/x"),
        (c"f/", c"x"),
        (c"f", c"x/"),
        (c"", c"x"),
    ] {
        say!("link {} {}={}", a.to_string_lossy(), b.to_string_lossy(), sys!(SYS_link, a, b));
    }
    say!("nlink f={} l={} list={}", nlink(c"f"), nlink(c"l"), ls(c"."));
    say!("follow={}", sys!(SYS_linkat, AT_FDCWD, c"l", AT_FDCWD, c"fl", AT_SYMLINK_FOLLOW));
    say!("nlink={} flags={}", nlink(c"f"), sys!(SYS_linkat, AT_FDCWD, c"f", AT_FDCWD, c"z", 1));
    say!("null={} {}", sys!(SYS_link, 0, c"x"), sys!(SYS_link, c"f", 0));
}

fn tmpfile() {
    let fd = open(c".", libc::O_TMPFILE | O_RDWR);
    let mut st: libc::stat = zeroed();
    sys!(SYS_write, fd, b"unnamed", 7);
    sys!(SYS_fstat, fd, &mut st);
    say!("tmpfile={fd} nlink={} mode={:o} list={}", st.st_nlink, st.st_mode, ls(c"."));
    say!(
        "link by proc={}",
        sys!(SYS_linkat, AT_FDCWD, c"/proc/self/fd/3", AT_FDCWD, c"named", AT_SYMLINK_FOLLOW)
    );
    say!("list={} data={}", ls(c"."), show::bytes(&crate::run::cat(c"named")));
    say!(
        "rdonly={} file={}",
        sys!(SYS_open, c".", libc::O_TMPFILE | O_RDONLY, 0o600),
        sys!(SYS_open, c"named", libc::O_TMPFILE | O_RDWR, 0o600)
    );
    say!("missing={}", sys!(SYS_open, c"none", libc::O_TMPFILE | O_RDWR, 0o600));
    let x = open(c".", libc::O_TMPFILE | O_WRONLY | libc::O_EXCL);
    say!(
        "excl={} link={}",
        x >= 0,
        sys!(SYS_linkat, AT_FDCWD, c"/proc/self/fd/4", AT_FDCWD, c"no", AT_SYMLINK_FOLLOW)
    );
}

fn tmpfile_empty_path_root() {
    let fd = open(c".", libc::O_TMPFILE | O_RDWR);
    say!("linkat empty={} list={}", sys!(SYS_linkat, fd, c"", AT_FDCWD, c"named", AT_EMPTY_PATH), ls(c"."));
}

fn symlink() {
    for (t, p) in [
        (c"target", c"l"),
        (c"target", c"l"),
        (c"", c"e"),
        (c"t", c"none/l"),
        (c"t", c"l/"),
        (c"t", c""),
        (c"/abs/olute", c"abs"),
    ] {
        say!("symlink {} {}={}", t.to_string_lossy(), p.to_string_lossy(), sys!(SYS_symlink, t, p));
    }
    let mut b = [0xffu8; 64];
    say!("readlink={} data={}", sys!(SYS_readlink, c"l", &mut b, 64), show::bytes(&b[..8]));
    say!("data={} short={}", show::bytes(&b[..8]), sys!(SYS_readlink, c"abs", &mut b, 4));
    say!("data={}", show::bytes(&b[..6]));
    say!(
        "size 0={} -1={} huge={}",
        sys!(SYS_readlink, c"l", &mut b, 0),
        sys!(SYS_readlink, c"l", &mut b, -1),
        sys!(SYS_readlink, c"l", &mut b, i32::MAX)
    );
    file(c"f", b"");
    say!(
        "file={} dir={} missing={}",
        sys!(SYS_readlink, c"f", &mut b, 64),
        sys!(SYS_readlink, c".", &mut b, 64),
        sys!(SYS_readlink, c"none", &mut b, 64)
    );
    say!(
        "null buf={} ro buf={}",
        sys!(SYS_readlink, c"l", 0, 64),
        sys!(SYS_readlink, c"l", crate::mem::read_only(), 64)
    );
    let p = open(c"l", O_PATH | libc::O_NOFOLLOW);
    say!(
        "readlinkat empty={} at={}",
        sys!(SYS_readlinkat, p, c"", &mut b, 64),
        sys!(SYS_readlinkat, AT_FDCWD, c"l", &mut b, 64)
    );
    let mut st: libc::stat = zeroed();
    sys!(SYS_lstat, c"abs", &mut st);
    say!("lstat size={} mode={:o}", st.st_size, st.st_mode);
    let long = vec![b'a'; 4095];
    let mut z = long.clone();
    z.push(0);
    say!("4095 long={}", sys!(SYS_symlink, &z[..], c"long"));
    let mut big = vec![0u8; 5000];
    say!("reads={}", sys!(SYS_readlink, c"long", &mut big[..], 5000));
    let mut too = vec![b'a'; 4096];
    too.push(0);
    say!("4096 long={}", sys!(SYS_symlink, &too[..], c"longer"));
}

fn getdents() {
    sys!(SYS_mkdir, c"d", 0o755);
    file(c"d/f", b"");
    sys!(SYS_mkdir, c"d/sub", 0o755);
    sys!(SYS_symlink, c"x", c"d/l");
    sys!(SYS_mknodat, AT_FDCWD, c"d/p", libc::S_IFIFO | 0o644, 0);
    let fd = open(c"d", O_RDONLY);
    say!("all={:?}", entries(fd, 4096));
    say!("at end={:?}", entries(fd, 4096));
    sys!(SYS_lseek, fd, 0, 0);
    say!("rewound small buffer={:?}", entries(fd, 48));
    sys!(SYS_lseek, fd, 0, 0);
    say!("tiny={:?}", entries(fd, 8));
    say!(
        "file={} badfd={} opath={}",
        sys!(SYS_getdents64, open(c"d/f", O_RDONLY), 0, 100),
        sys!(SYS_getdents64, -1, 0, 100),
        sys!(SYS_getdents64, open(c"d", O_PATH), 0, 100)
    );
    sys!(SYS_lseek, fd, 0, 0);
    say!(
        "null={} readonly={}",
        sys!(SYS_getdents64, fd, 0, 4096),
        sys!(SYS_getdents64, fd, crate::mem::read_only(), 4096)
    );
    file(c"d/later", b"");
    sys!(SYS_lseek, fd, 0, 0);
    say!("new entry seen={:?}", entries(fd, 4096));
}

fn many() {
    for i in 0..300 {
        let name = std::ffi::CString::new(format!("file-with-a-rather-long-name-{i:04}")).unwrap_or_default();
        file(&name, b"");
    }
    let fd = open(c".", O_RDONLY);
    let mut e = entries(fd, 1000);
    let n = e.len();
    e.dedup();
    say!("entries={n} distinct={} first={} last={}", e.len(), e[0], e[n - 1]);
    // Removing while listing must neither loop nor miss what was there before.
    sys!(SYS_lseek, fd, 0, 0);
    let mut removed = 0;
    let mut buf = [0u8; 512];
    loop {
        let r = sys!(SYS_getdents64, fd, &mut buf, 512);
        if r.0 <= 0 {
            break;
        }
        let mut at = 0;
        while at < r.0 as usize {
            let len = usize::from(u16::from_le_bytes([buf[at + 16], buf[at + 17]]));
            removed += i32::from(sys!(SYS_unlink, buf[at + 19..].as_ptr()).ok());
            at += len;
        }
    }
    say!("removed={removed} left={}", ls(c"."));
}

fn cwd() {
    let mut b = [0u8; 4096];
    let n = sys!(SYS_getcwd, &mut b, 4096).0 as usize;
    let here = b[..n.saturating_sub(1)].to_vec();
    say!("absolute={} ends with nul={}", here.first() == Some(&b'/'), b[n.max(1) - 1] == 0);
    say!(
        "exact={} one less={} zero={}",
        sys!(SYS_getcwd, &mut b, n).0 == n as i64,
        sys!(SYS_getcwd, &mut b, n - 1),
        sys!(SYS_getcwd, &mut b, 0)
    );
    say!("null={} kernel={}", sys!(SYS_getcwd, 0, 4096), sys!(SYS_getcwd, crate::mem::KERNEL, 4096));
    sys!(SYS_mkdir, c"d", 0o755);
    file(c"f", b"");
    for p in [c"d", c"..", c"f", c"none", c"", c"d/../d/./", c"/"] {
        let r = sys!(SYS_chdir, p);
        let now =
            std::env::current_dir().map(|p| p.into_os_string().into_encoded_bytes()).unwrap_or_default();
        say!(
            "chdir {}={r} rel={}",
            p.to_string_lossy(),
            show::bytes(now.strip_prefix(&here[..]).unwrap_or(&now))
        );
    }
    say!("null={} fchdir bad={}", sys!(SYS_chdir, 0), sys!(SYS_fchdir, 9999));
    let null = open(c"/dev/null", O_RDONLY);
    say!("fchdir file={} dir={}", sys!(SYS_fchdir, null), sys!(SYS_fchdir, open(c"/proc", O_PATH)));
    let child = spawn(|| sys!(SYS_chdir, c"/").fd());
    say!(
        "child={} own stays={}",
        wait(child),
        std::env::current_dir().is_ok_and(|p| p.to_string_lossy() == "/proc")
    );
}

fn mknod() {
    for (n, mode) in [
        ("fifo", libc::S_IFIFO),
        ("regular", libc::S_IFREG),
        ("zero", 0),
        ("socket", libc::S_IFSOCK),
        ("dir", libc::S_IFDIR),
        ("bad", 0o150_000),
        ("link", libc::S_IFLNK),
    ] {
        let r = sys!(SYS_mknodat, AT_FDCWD, c"n", mode | 0o666, 0);
        let mut st: libc::stat = zeroed();
        sys!(SYS_stat, c"n", &mut st);
        say!("{n}={r} mode={:o} again={}", st.st_mode, sys!(SYS_mknod, c"n", libc::S_IFIFO | 0o666, 0));
        sys!(SYS_unlink, c"n");
    }
}

pub(crate) const CASES: &[Case] = &[
    ("mkdir", mkdir),
    ("setgid_dir", setgid_dir),
    ("rmdir", rmdir),
    ("removed_cwd", removed_cwd),
    ("unlink", unlink),
    ("rename", rename),
    ("renameat2", renameat2),
    ("rename_open", rename_open),
    ("link", link),
    ("tmpfile", tmpfile),
    ("tmpfile_empty_path_root", tmpfile_empty_path_root),
    ("symlink", symlink),
    ("getdents", getdents),
    ("many", many),
    ("cwd", cwd),
    ("mknod", mknod),
];
