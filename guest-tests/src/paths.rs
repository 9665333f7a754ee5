//! Path resolution: links, loops, lengths, trailing slashes, permission to search.

use crate::mem::{KERNEL, UNMAPPED, before_hole, put, zeroed};
use crate::run::{Case, cat, close, drop_root, file, open, say, sys};
use crate::show;
use libc::{AT_FDCWD, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_PATH, O_RDONLY, O_RDWR};
use std::ffi::{CStr, CString};

fn kind(path: &CStr) -> String {
    let mut st: libc::stat = zeroed();
    let r = sys!(SYS_stat, path, &mut st);
    if r.ok() { format!("{:o}", st.st_mode & libc::S_IFMT) } else { r.to_string() }
}

fn tree() {
    sys!(SYS_mkdir, c"d", 0o755);
    sys!(SYS_mkdir, c"d/e", 0o755);
    file(c"f", b"file");
    file(c"d/g", b"inner");
    for (t, l) in [
        (c"f", c"lf"),
        (c"d", c"ld"),
        (c"d/", c"lds"),
        (c"none", c"ln"),
        (c"self", c"self"),
        (c"b", c"a"),
        (c"a", c"b"),
        (c"f/", c"lfs"),
        (c"..", c"lup"),
        (c"ld/e", c"l2"),
        (c"lf", c"llf"),
        (c"d/../f", c"ldd"),
    ] {
        sys!(SYS_symlink, t, l);
    }
}

fn forms() {
    tree();
    for p in [
        c"f",
        c"f/",
        c"f/.",
        c"f/..",
        c"f//",
        c"d",
        c"d/",
        c"d/.",
        c"d//e///",
        c"d/e/../g",
        c"d/none/../g",
        c"./././f",
        c"lf",
        c"lf/",
        c"ld",
        c"ld/",
        c"ld/g",
        c"ld/../f",
        c"lds",
        c"lds/g",
        c"ln",
        c"ln/",
        c"self",
        c"self/",
        c"self/x",
        c"a",
        c"lfs",
        c"lup/none",
        c"l2",
        c"l2/..",
        c"l2/../g",
        c"llf",
        c"ldd",
        c"none",
        c"none/",
        c"",
        c".",
        c"..",
        c"/",
        c"//",
        c"/..",
        c"/../..",
        c"f/x",
        c"lf/x",
    ] {
        let r = sys!(SYS_open, p, O_RDONLY);
        close(r.fd());
        let n = sys!(SYS_open, p, O_RDONLY | O_NOFOLLOW);
        close(n.fd());
        let c = sys!(SYS_open, p, O_RDONLY | O_DIRECTORY);
        close(c.fd());
        say!(
            "{} kind={} open={} nofollow={} directory={}",
            p.to_string_lossy(),
            kind(p),
            r.sign(),
            n.sign(),
            c.sign()
        );
    }
}

fn lstat_forms() {
    tree();
    for p in [c"lf", c"lf/", c"ld", c"ld/", c"ln", c"ln/", c"self", c"self/", c"ld/.", c"lup/"] {
        let mut st: libc::stat = zeroed();
        let r = sys!(SYS_lstat, p, &mut st);
        say!("{}={r} kind={:o}", p.to_string_lossy(), st.st_mode & libc::S_IFMT);
    }
}

fn create_through_links() {
    tree();
    for p in [
        c"ln",
        c"ln/",
        c"self",
        c"lf",
        c"new",
        c"new/",
        c"d/new/",
        c"none/new",
        c"f/new",
        c"lup/",
        c".",
        c"",
        c"d",
    ] {
        let e = sys!(SYS_open, p, O_CREAT | O_EXCL | O_RDWR, 0o600);
        close(e.fd());
        let r = sys!(SYS_open, p, O_CREAT | O_RDWR, 0o600);
        close(r.fd());
        let n = sys!(SYS_open, p, O_CREAT | O_NOFOLLOW | O_RDWR, 0o600);
        close(n.fd());
        say!(
            "{} excl={} creat={} nofollow={} kind={}",
            p.to_string_lossy(),
            e.sign(),
            r.sign(),
            n.sign(),
            kind(p)
        );
    }
    say!("through dangling made={}", kind(c"none"));
}

fn depth() {
    file(c"end", b"reached");
    let name = |i: i32| CString::new(format!("l{i}")).unwrap_or_default();
    sys!(SYS_symlink, c"end", c"l1");
    for i in 2..=45 {
        sys!(SYS_symlink, name(i - 1).as_c_str(), name(i).as_c_str());
    }
    let mut out = Vec::new();
    for i in 38..=43 {
        let mut st: libc::stat = zeroed();
        out.push(format!("{i}:{}", sys!(SYS_stat, name(i).as_c_str(), &mut st)));
    }
    say!("chain {}", out.join(" "));
    sys!(SYS_mkdir, c"d", 0o755);
    sys!(SYS_symlink, c"../d", c"d/again");
    for n in [38, 40, 41] {
        let p = CString::new(format!("d{}", "/again".repeat(n))).unwrap_or_default();
        say!("side by side {n}={}", kind(&p));
    }
}

fn lengths() {
    for n in [254usize, 255, 256, 1000] {
        let p = CString::new("n".repeat(n)).unwrap_or_default();
        let r = sys!(SYS_open, p.as_c_str(), O_CREAT | O_RDWR, 0o600);
        say!(
            "name of {n} create={} mkdir={} stat={}",
            r.sign(),
            sys!(SYS_mkdir, p.as_c_str(), 0o700),
            kind(&p)
        );
    }
    for n in [4094usize, 4095, 4096, 8000] {
        let mut s = "./".repeat(n / 2);
        s.truncate(n);
        let p = CString::new(s).unwrap_or_default();
        say!("path of {n}={}", kind(&p));
    }
    // A path longer than PATH_MAX can exist; it is only not nameable in one go.
    let d = CString::new("d".repeat(200)).unwrap_or_default();
    let mut made = 0;
    for _ in 0..25 {
        made += i32::from(sys!(SYS_mkdir, d.as_c_str(), 0o700).ok() && sys!(SYS_chdir, d.as_c_str()).ok());
    }
    let mut b = [0u8; 8192];
    let r = sys!(SYS_getcwd, &mut b, 8192);
    say!("deep made={made} getcwd={}", r.sign());
    for _ in 0..25 {
        sys!(SYS_chdir, c"..");
    }
    say!("back={}", kind(&d));
}

fn bad_addresses() {
    let mut st: libc::stat = zeroed();
    for (n, p) in [("null", 0), ("one", 1), ("kernel", KERNEL), ("unmapped", UNMAPPED)] {
        say!(
            "{n} stat={} open={} access={}",
            sys!(SYS_stat, p, &mut st),
            sys!(SYS_open, p, O_RDONLY),
            sys!(SYS_access, p, 0)
        );
        say!(
            "{n} chdir={} chmod={} mkdir={}",
            sys!(SYS_chdir, p),
            sys!(SYS_chmod, p, 0o600),
            sys!(SYS_mkdir, p, 0o700)
        );
    }
    let p = before_hole(2);
    put(p, b".\0");
    say!("string ending at the end of its page={}", sys!(SYS_stat, p, &mut st));
    put(p, b"..");
    say!("string running into a hole={}", sys!(SYS_stat, p, &mut st));
}

fn search_permission() {
    sys!(SYS_mkdir, c"d", 0o755);
    file(c"d/f", b"x");
    sys!(SYS_fchownat, AT_FDCWD, c"d", 65534, 65534, 0);
    drop_root();
    let here = std::env::current_dir();
    for mode in [0o700, 0o600, 0o500, 0o400, 0o300, 0o100, 0] {
        say!("mode {mode:o} chmod={}", sys!(SYS_chmod, c"d", mode));
        let list = sys!(SYS_open, c"d", O_RDONLY | O_DIRECTORY).sign();
        say!(
            "list={list} stat inside={} create={}",
            kind(c"d/f"),
            sys!(SYS_open, c"d/new", O_CREAT | O_RDWR, 0o600).sign()
        );
        say!(
            "opath={} chdir={} missing={}",
            sys!(SYS_open, c"d", O_PATH).sign(),
            sys!(SYS_chdir, c"d"),
            kind(c"d/none")
        );
        if let Ok(h) = &here {
            let _ = std::env::set_current_dir(h);
        }
        say!("unlink={} rename={}", sys!(SYS_unlink, c"d/new"), sys!(SYS_rename, c"d/f", c"d/f"));
    }
    sys!(SYS_chmod, c"d", 0o700);
}

fn at_descriptors() {
    tree();
    let f = open(c"f", O_RDONLY);
    let d = open(c"d", O_PATH);
    let mut st: libc::stat = zeroed();
    for (n, fd) in [("file", f), ("dir", d), ("cwd", AT_FDCWD), ("bad", -1), ("huge", 9999)] {
        let go = |p: &CStr, fl: i32| -> String {
            let mut st: libc::stat = zeroed();
            let r = sys!(SYS_newfstatat, fd, p, &mut st, fl);
            format!("{r}/{:o}", st.st_mode & libc::S_IFMT)
        };
        say!(
            "{n} g={} empty={} empty_path={} abs={}",
            go(c"g", 0),
            go(c"", 0),
            go(c"", libc::AT_EMPTY_PATH),
            go(c"/", 0)
        );
    }
    say!("flags={}", sys!(SYS_newfstatat, AT_FDCWD, c"f", &mut st, 1));
    say!("null with empty_path={}", sys!(SYS_faccessat2, f, 0, 0, 0));
}

fn proc_links() {
    file(c"f", b"by descriptor");
    let fd = open(c"f", O_RDONLY);
    sys!(SYS_unlink, c"f");
    let p = CString::new(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    say!("deleted file through proc={}", show::bytes(&cat(&p)));
    let mut b = [0u8; 4096];
    let n = sys!(SYS_readlink, p.as_c_str(), &mut b, 4096).0.max(0) as usize;
    say!("readlink ends with={}", show::bytes(&b[n.saturating_sub(12)..n]));
    say!("nofollow={}", sys!(SYS_open, p.as_c_str(), O_RDONLY | O_NOFOLLOW));
    say!("dev/fd={} stdin={}", kind(c"/dev/fd/0"), kind(c"/dev/stdin"));
}

pub(crate) const CASES: &[Case] = &[
    ("forms", forms),
    ("lstat_forms", lstat_forms),
    ("create_through_links", create_through_links),
    ("depth", depth),
    ("lengths", lengths),
    ("bad_addresses", bad_addresses),
    ("search_permission", search_permission),
    ("at_descriptors", at_descriptors),
    ("proc_links", proc_links),
];
