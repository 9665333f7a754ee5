//! Extended attributes, `user.*` on files of our own.

use crate::mem::{KERNEL, read_only};
use crate::run::{Case, file, open, pipe, say, sys};
use crate::show;
use libc::{O_PATH, O_RDONLY, XATTR_CREATE, XATTR_REPLACE};
use std::ffi::{CStr, CString};

fn set(name: &CStr, v: &[u8], fl: i32) -> show::R {
    sys!(SYS_setxattr, c"f", name, v, v.len(), fl)
}

fn list(path: &CStr) -> String {
    let mut b = [0u8; 1024];
    let n = sys!(SYS_listxattr, path, &mut b, 1024).0.max(0) as usize;
    let mut v: Vec<String> = b[..n]
        .split(|c| *c == 0)
        .filter(|s| s.starts_with(b"user."))
        .map(|s| s.escape_ascii().to_string())
        .collect();
    v.sort();
    v.join(",")
}

fn basic() {
    file(c"f", b"");
    let mut b = [0u8; 64];
    say!("get before={} list={}", sys!(SYS_getxattr, c"f", c"user.a", &mut b, 64), list(c"f"));
    say!(
        "set={} create={} replace={}",
        set(c"user.a", b"value", 0),
        set(c"user.a", b"x", XATTR_CREATE),
        set(c"user.a", b"other", XATTR_REPLACE)
    );
    say!(
        "replace missing={} create={} both={}",
        set(c"user.b", b"x", XATTR_REPLACE),
        set(c"user.b", b"", XATTR_CREATE),
        set(c"user.b", b"", 3)
    );
    say!("get={} data={}", sys!(SYS_getxattr, c"f", c"user.a", &mut b, 64), show::bytes(&b[..6]));
    say!(
        "size={} short={} empty={}",
        sys!(SYS_getxattr, c"f", c"user.a", 0, 0),
        sys!(SYS_getxattr, c"f", c"user.a", &mut b, 2),
        sys!(SYS_getxattr, c"f", c"user.b", &mut b, 64)
    );
    say!("list={} short={}", list(c"f"), sys!(SYS_listxattr, c"f", &mut b, 3));
    say!(
        "remove={} again={} list={}",
        sys!(SYS_removexattr, c"f", c"user.a"),
        sys!(SYS_removexattr, c"f", c"user.a"),
        list(c"f")
    );
}

fn names() {
    file(c"f", b"");
    let long = |n: usize| CString::new(format!("user.{}", "n".repeat(n))).unwrap_or_default();
    for n in [c"", c"user", c"user.", c"nosuch.x", c"a", c".x"] {
        say!(
            "{:?} set={} get={} remove={}",
            n,
            set(n, b"v", 0),
            sys!(SYS_getxattr, c"f", n, 0, 0),
            sys!(SYS_removexattr, c"f", n)
        );
    }
    say!("255 long={} 256 long={}", set(&long(250), b"v", 0), set(&long(251), b"v", 0));
    say!(
        "flags={} too big={}",
        set(c"user.a", b"v", 4),
        sys!(SYS_setxattr, c"f", c"user.a", &vec![0u8; 70000][..], 65537, 0)
    );
    say!(
        "null value={} null value of 0={} null name={}",
        sys!(SYS_setxattr, c"f", c"user.a", 0, 5, 0),
        sys!(SYS_setxattr, c"f", c"user.a", 0, 0, 0),
        sys!(SYS_setxattr, c"f", 0, 0, 0, 0)
    );
    set(c"user.a", b"value", 0);
    say!(
        "bad buffer={} {} list={}",
        sys!(SYS_getxattr, c"f", c"user.a", KERNEL, 10),
        sys!(SYS_getxattr, c"f", c"user.a", read_only(), 10),
        sys!(SYS_listxattr, c"f", 1, 100)
    );
}

fn values() {
    file(c"f", b"");
    let v: Vec<u8> = (0..=255u8).cycle().take(1000).collect();
    let mut b = vec![0u8; 2000];
    say!("set={} get={}", set(c"user.bin", &v, 0), sys!(SYS_getxattr, c"f", c"user.bin", &mut b[..], 2000));
    say!(
        "same={} bigger buffer={}",
        b[..1000] == v[..],
        sys!(SYS_getxattr, c"f", c"user.bin", &mut vec![0u8; 100_000][..], 100_000)
    );
    for i in 0..10 {
        set(&CString::new(format!("user.k{i}")).unwrap_or_default(), b"v", 0);
    }
    say!("list={}", list(c"f"));
}

fn kinds() {
    file(c"f", b"");
    sys!(SYS_mkdir, c"d", 0o755);
    sys!(SYS_symlink, c"f", c"l");
    sys!(SYS_symlink, c"none", c"dangling");
    sys!(SYS_mknod, c"p", libc::S_IFIFO | 0o644, 0);
    for p in [c"f", c"d", c"l", c"p", c"dangling", c"none"] {
        let s = sys!(SYS_setxattr, p, c"user.a", b"v", 1, 0);
        let l = sys!(SYS_lsetxattr, p, c"user.b", b"v", 1, 0);
        say!(
            "{} set={s} lset={l} lget={} list={}",
            p.to_string_lossy(),
            sys!(SYS_lgetxattr, p, c"user.b", 0, 0),
            list(p)
        );
        say!(
            "llist={} lremove={}",
            sys!(SYS_llistxattr, p, 0, 0).sign(),
            sys!(SYS_lremovexattr, p, c"user.b")
        );
    }
}

fn by_descriptor() {
    file(c"f", b"");
    let fd = open(c"f", O_RDONLY);
    let mut b = [0u8; 16];
    say!(
        "fset={} fget={} data={}",
        sys!(SYS_fsetxattr, fd, c"user.a", b"xyz", 3, 0),
        sys!(SYS_fgetxattr, fd, c"user.a", &mut b, 16),
        show::bytes(&b[..3])
    );
    say!(
        "data={} flist={} fremove={}",
        show::bytes(&b[..3]),
        sys!(SYS_flistxattr, fd, 0, 0).sign(),
        sys!(SYS_fremovexattr, fd, c"user.a")
    );
    say!(
        "bad={} {}",
        sys!(SYS_fsetxattr, -1, c"user.a", b"x", 1, 0),
        sys!(SYS_fgetxattr, 9999, c"user.a", 0, 0)
    );
    let p = open(c"f", O_PATH);
    say!("opath={} {}", sys!(SYS_fsetxattr, p, c"user.a", b"x", 1, 0), sys!(SYS_flistxattr, p, 0, 0));
    say!(
        "pipe={} {}",
        sys!(SYS_fsetxattr, pipe(0).0, c"user.a", b"x", 1, 0),
        sys!(SYS_fgetxattr, pipe(0).0, c"user.a", 0, 0)
    );
    sys!(SYS_fsetxattr, fd, c"user.a", b"kept", 4, 0);
    sys!(SYS_rename, c"f", c"g");
    say!("after rename={}", list(c"g"));
}

pub(crate) const CASES: &[Case] = &[
    ("basic", basic),
    ("names", names),
    ("values", values),
    ("kinds", kinds),
    ("by_descriptor", by_descriptor),
];
