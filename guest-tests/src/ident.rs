//! Who a process is: ids, groups, capabilities. Cases become nobody first, unless their name ends in `_root`.

use crate::mem::KERNEL;
use crate::run::{Case, drop_root, exe, fate, file, say, sys};
use crate::show::R;

fn ids3(nr: i64) -> String {
    let mut v = [77u32; 3];
    let r = crate::run::raw(nr, &[&raw mut v[0] as usize, &raw mut v[1] as usize, &raw mut v[2] as usize]);
    format!("{r}{v:?}")
}

fn nobody() {
    drop_root();
    say!(
        "uid={} euid={} gid={} egid={}",
        sys!(SYS_getuid),
        sys!(SYS_geteuid),
        sys!(SYS_getgid),
        sys!(SYS_getegid)
    );
    say!("resuid={} resgid={}", ids3(libc::SYS_getresuid), ids3(libc::SYS_getresgid));
    say!("getresuid null={} kernel={}", sys!(SYS_getresuid, 0, 0, 0), sys!(SYS_getresgid, KERNEL, 0, 0));
    say!(
        "groups={} with room={} negative={}",
        sys!(SYS_getgroups, 0, 0),
        sys!(SYS_getgroups, 10, &mut [0u32; 10]),
        sys!(SYS_getgroups, -1, 0)
    );
    for (n, nr) in [("setuid", libc::SYS_setuid), ("setgid", libc::SYS_setgid)] {
        let go = |v: i64| crate::run::raw(nr, &[v as usize]);
        say!("{n} 0={} own={} other={} -1={}", go(0), go(65534), go(1000), go(-1));
    }
    for (n, nr) in [("setreuid", libc::SYS_setreuid), ("setregid", libc::SYS_setregid)] {
        let go = |a: i64, b: i64| crate::run::raw(nr, &[a as usize, b as usize]);
        say!("{n} keep={} own={} root={} effective={}", go(-1, -1), go(65534, 65534), go(0, -1), go(-1, 0));
    }
    for (n, nr) in [("setresuid", libc::SYS_setresuid), ("setresgid", libc::SYS_setresgid)] {
        let go = |a: i64, b: i64, c: i64| crate::run::raw(nr, &[a as usize, b as usize, c as usize]);
        say!(
            "{n} keep={} own={} real={} effective={} saved={}",
            go(-1, -1, -1),
            go(65534, -1, 65534),
            go(0, -1, -1),
            go(-1, 0, -1),
            go(-1, -1, 0)
        );
    }
    say!(
        "setfsuid={} again={} setfsgid={} setgroups={} null={}",
        sys!(SYS_setfsuid, 0),
        sys!(SYS_setfsuid, -1),
        sys!(SYS_setfsgid, -1),
        sys!(SYS_setgroups, 0, 0),
        sys!(SYS_setgroups, 70_000, 0)
    );
    say!("unchanged={} {}", ids3(libc::SYS_getresuid), ids3(libc::SYS_getresgid));
}

fn caps() {
    drop_root();
    let mut h = [0x2008_0522u32, 0];
    let mut d = [9u32; 6];
    say!("capget={} data={d:?}", sys!(SYS_capget, &mut h, &mut d));
    say!(
        "effective={:x} permitted={:x} capset same={} more={}",
        d[0],
        d[1],
        sys!(SYS_capset, &h, &[0u32; 6]),
        sys!(SYS_capset, &h, &[1u32, 1, 0, 0, 0, 0])
    );
    h = [0x1234, 0];
    say!("version={} answered={:#x}", sys!(SYS_capget, &mut h, &mut d), h[0]);
    say!(
        "probe={} answered={:#x} null={}",
        {
            h = [0, 0];
            sys!(SYS_capget, &mut h, 0)
        },
        h[0],
        sys!(SYS_capget, 0, 0)
    );
    say!(
        "missing pid={} negative={} v1={}",
        sys!(SYS_capget, &mut [0x2008_0522u32, 999_999], &mut d),
        sys!(SYS_capget, &mut [0x2008_0522u32, u32::MAX], &mut d),
        sys!(SYS_capget, &mut [0x1998_0330u32, 0], &mut d)
    );
    let p = |a: i32, b: i32, c: i32| sys!(SYS_prctl, a, b, c, 0, 0);
    say!(
        "bounding drop={} read bad={} securebits set={} ambient raise={} is set={} clear={}",
        p(24, 0, 0),
        p(23, 200, 0),
        p(28, 1, 0),
        p(47, 2, 0),
        p(47, 1, 0),
        p(47, 4, 0)
    );
    say!(
        "after setuid dumpable read={} chroot={} mount={} sethostname={}",
        p(3, 0, 0).ok(),
        sys!(SYS_chroot, c"."),
        sys!(SYS_mount, c"x", c".", c"tmpfs", 0, 0),
        sys!(SYS_sethostname, c"x", 1)
    );
    say!(
        "reboot={} swapon={} iopl={} mknod={} acct={}",
        sys!(SYS_reboot, 1, 2, 3, 0),
        sys!(SYS_swapon, c"none", 0),
        sys!(SYS_iopl, 3),
        sys!(SYS_mknod, c"dev", libc::S_IFCHR | 0o600, 0x103),
        sys!(SYS_acct, c"none")
    );
    say!(
        "umount={} pivot={} setns={} vhangup={}",
        sys!(SYS_umount2, c".", 0),
        sys!(SYS_pivot_root, c".", c"."),
        sys!(SYS_setns, -1, 0),
        sys!(SYS_vhangup)
    );
}

fn drops_root() {
    say!(
        "uid={} setresuid={} now={}",
        sys!(SYS_getuid),
        sys!(SYS_setresuid, 1000, 1001, 1002),
        ids3(libc::SYS_getresuid)
    );
    say!(
        "to saved={} to real={} to other={} to root={}",
        seteuid(1002),
        seteuid(1000),
        seteuid(7),
        seteuid(0)
    );
    say!("setuid to other={} now={}", sys!(SYS_setuid, 1001), ids3(libc::SYS_getresuid));
}

fn groups_root() {
    say!("set={} get={}", sys!(SYS_setgroups, 3, &[5u32, 3, 9]), sys!(SYS_getgroups, 0, 0));
    let mut g = [0u32; 8];
    say!("list={} {g:?} short={}", sys!(SYS_getgroups, 8, &mut g), sys!(SYS_getgroups, 1, &mut [0u32; 1]));
    say!("{g:?} child has them={}", fate(|| sys!(SYS_getgroups, 0, 0).fd()));
}

fn group_access_root() {
    file(c"f", b"x");
    sys!(SYS_chmod, c"f", 0o640);
    say!("chown={} groups={}", sys!(SYS_chown, c"f", 0, 4242), sys!(SYS_setgroups, 1, &[4242u32]));
    say!(
        "to user={} open={} write={}",
        sys!(SYS_setresuid, 65534, 65534, 65534),
        sys!(SYS_open, c"f", 0).sign(),
        sys!(SYS_open, c"f", 1)
    );
}

fn setuid_exec_root() {
    // A setuid copy of this program: its ids after the exec are printed by the helper.
    let e = exe();
    let data = std::fs::read(std::path::Path::new(e.to_str().unwrap_or(""))).unwrap_or_default();
    file(c"copy", &data);
    say!("chown={} chmod={}", sys!(SYS_chown, c"copy", 1234, 4321), sys!(SYS_chmod, c"copy", 0o6755));
    let end = fate(|| {
        sys!(SYS_setgroups, 0, 0);
        sys!(SYS_setresgid, 65534, 65534, 65534);
        sys!(SYS_setresuid, 65534, 65534, 65534);
        let argv =
            [c"ident/setuid_exec_root".as_ptr(), c"helper".as_ptr(), c"ids".as_ptr(), std::ptr::null()];
        sys!(SYS_execve, c"./copy", &argv, &[0usize]).fd()
    });
    say!("{end}");
    let end = fate(|| {
        sys!(SYS_prctl, 38, 1, 0, 0, 0);
        sys!(SYS_setresuid, 65534, 65534, 65534);
        let argv =
            [c"ident/setuid_exec_root".as_ptr(), c"helper".as_ptr(), c"ids".as_ptr(), std::ptr::null()];
        sys!(SYS_execve, c"./copy", &argv, &[0usize]).fd()
    });
    say!("no_new_privs {end}");
}

/// What the setuid copy says of itself.
pub(crate) fn print_ids() {
    let name = std::env::args().next().unwrap_or_default();
    println!("{name}: resuid={} resgid={}", ids3(libc::SYS_getresuid), ids3(libc::SYS_getresgid));
}

fn seteuid(v: i64) -> R {
    sys!(SYS_setresuid, -1, v, -1)
}

pub(crate) const CASES: &[Case] = &[
    ("nobody", nobody),
    ("caps", caps),
    ("drops_root", drops_root),
    ("groups_root", groups_root),
    ("group_access_root", group_access_root),
    ("setuid_exec_root", setuid_exec_root),
];
