//! execve: arguments, scripts, what survives it and what does not, and its errors. The program executed is this one,
//! as `guest-tests helper WHAT`.

use crate::mem::{KERNEL, zeroed};
use crate::run::{Case, await_post, drop_root, exe, fate, file, handler, open, post, say, sys};
use crate::show;
use libc::{AT_EMPTY_PATH, AT_FDCWD, O_CLOEXEC, O_PATH, O_RDONLY, SIGUSR1, SIGUSR2};
use std::ffi::{CStr, CString};

/// What the executed program does and says.
pub(crate) fn helper(args: &[String]) -> i32 {
    match args.first().map_or("", String::as_str) {
        "args" => {
            let env: Vec<String> = std::env::vars().map(|(k, v)| format!("{k}={v}")).collect();
            println!(
                "exec: argv0={:?} args={:?} env={env:?}",
                base(&std::env::args().next().unwrap_or_default()),
                args
            );
        }
        "state" => {
            let fds: Vec<i32> = (0..64).filter(|f| sys!(SYS_fcntl, *f, libc::F_GETFD, 0).ok()).collect();
            let of = |s: i32| {
                let mut sa: libc::sigaction = zeroed();
                unsafe { libc::sigaction(s, std::ptr::null(), &raw mut sa) };
                match sa.sa_sigaction {
                    libc::SIG_DFL => "default",
                    libc::SIG_IGN => "ignored",
                    _ => "handler",
                }
            };
            let (mut mask, mut pend) = (0u64, 0u64);
            sys!(SYS_rt_sigprocmask, 0, 0, &mut mask, 8);
            sys!(SYS_rt_sigpending, &mut pend, 8);
            println!(
                "exec: fds={fds:?} usr1={} usr2={} mask={mask:#x} pending={pend:#x}",
                of(SIGUSR1),
                of(SIGUSR2)
            );
            println!("exec: umask={:o} alarm kept={}", sys!(SYS_umask, 0).0, sys!(SYS_alarm, 0).0 > 0);
            let mut n = [0u8; 16];
            sys!(SYS_prctl, libc::PR_GET_NAME, &mut n, 0, 0, 0);
            println!("exec: comm={}", show::bytes(&n).replace("\\x00", ""));
        }
        "ids" => crate::ident::print_ids(),
        "wait" => {
            post(2);
            await_post(0);
        }
        "parent" => return i32::from(sys!(SYS_getppid).ok()),
        "exit" => return args.get(1).and_then(|a| a.parse().ok()).unwrap_or(99),
        _ => return 98,
    }
    0
}

fn base(s: &str) -> &str {
    s.rsplit('/').next().unwrap_or(s)
}

fn run(path: &CStr, argv: &[&CStr], env: &[&CStr]) -> crate::show::R {
    let ptrs =
        |v: &[&CStr]| -> Vec<*const i8> { v.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect() };
    sys!(SYS_execve, path, &ptrs(argv)[..], &ptrs(env)[..])
}

/// Executes in a child: its end, or the error.
fn attempt(path: &CStr, argv: &[&CStr], env: &[&CStr]) -> String {
    let (r, w) = crate::run::pipe(O_CLOEXEC);
    let end = fate(|| {
        let e = run(path, argv, env);
        let text = e.to_string();
        sys!(SYS_write, w, text.as_bytes(), text.len());
        0
    });
    crate::run::close(w);
    let failed = crate::run::drain(r);
    crate::run::close(r);
    if failed.is_empty() { end } else { String::from_utf8_lossy(&failed).into_owned() }
}

fn script(name: &CStr, text: &str) {
    file(name, text.as_bytes());
    sys!(SYS_chmod, name, 0o755);
}

fn arguments() {
    let e = exe();
    let h = c"helper";
    say!("plain={}", attempt(&e, &[c"name", h, c"args", c"one", c"", c"t w o"], &[c"A=1", c"B="]));
    say!("no env={}", attempt(&e, &[c"guest", h, c"args"], &[]));
    say!("exit code={}", attempt(&e, &[c"x", h, c"exit", c"77"], &[]));
    let long = CString::new("v".repeat(100_000)).unwrap_or_default();
    say!("100000 bytes={}", attempt(&e, &[c"x", h, c"exit", c"5", &long], &[&long]));
    let over = CString::new("v".repeat(131_072)).unwrap_or_default();
    say!("one too long={}", attempt(&e, &[c"x", h, c"exit", c"5", &over], &[]));
    let many: Vec<&CStr> = [c"x", h, c"exit", c"6"].into_iter().chain((0..5000).map(|_| c"arg")).collect();
    say!("5000 arguments={}", attempt(&e, &many, &[]));
}

fn keeps_and_drops() {
    open(c"/dev/null", O_RDONLY);
    open(c"/dev/null", O_RDONLY | O_CLOEXEC);
    let d = open(c"/dev/null", O_RDONLY);
    sys!(SYS_fcntl, d, libc::F_SETFD, 1);
    extern "C" fn h(_: i32) {}
    handler(SIGUSR1, h as *const () as usize, 0);
    handler(SIGUSR2, libc::SIG_IGN, 0);
    crate::run::mask(libc::SIG_BLOCK, &[SIGUSR1, libc::SIGTERM]);
    sys!(SYS_umask, 0o027);
    let e = exe();
    sys!(SYS_kill, sys!(SYS_getpid).0, SIGUSR1);
    let argv =
        [c"./a-rather-long-program-name".as_ptr(), c"helper".as_ptr(), c"state".as_ptr(), std::ptr::null()];
    sys!(SYS_symlink, e.as_c_str(), c"renamed-program-x");
    say!("exec={}", sys!(SYS_execve, c"renamed-program-x", &argv, &[0usize]));
}

fn scripts() {
    let e = exe().to_string_lossy().into_owned();
    script(c"plain", &format!("#!{e} helper\n"));
    script(c"wrapper", &format!("#!{e}\n"));
    script(c"spaces", &format!("#!  {e}   \t helper  \n rest"));
    script(c"sh", "#!/bin/sh\nexit 9\n");
    script(c"nested", "#!./sh\n");
    script(c"no_newline", "#!/bin/sh");
    script(c"missing", "#!/nonexistent/interpreter\n");
    script(c"empty_line", "#!\n");
    script(c"blank_line", "#!   \n");
    script(c"itself", "#!./itself\n");
    script(c"no_magic", "exit 3\n");
    script(c"empty", "");
    script(c"short", "#");
    script(c"dirint", "#!/tmp\n");
    script(c"long", &format!("#!/bin/{}sh\n", "./".repeat(150)));
    script(c"dash", "#!/bin/sh -e\nexit 11\n");
    script(c"two_args", "#!/bin/echo one two\n");
    for p in [
        c"./plain",
        c"./wrapper",
        c"./spaces",
        c"./sh",
        c"./nested",
        c"./no_newline",
        c"./missing",
        c"./empty_line",
        c"./blank_line",
        c"./itself",
        c"./no_magic",
        c"./empty",
        c"./short",
        c"./dirint",
        c"./long",
        c"./dash",
        c"./two_args",
    ] {
        say!("{}={}", base(&p.to_string_lossy()), attempt(p, &[c"zeroth", c"args", c"second"], &[]));
    }
    script(c"n1", "#!./sh\n");
    for i in 2..=6 {
        script(&CString::new(format!("n{i}")).unwrap_or_default(), &format!("#!./n{}\n", i - 1));
    }
    for i in 1..=6 {
        let p = CString::new(format!("./n{i}")).unwrap_or_default();
        say!("nested {i} deep={}", attempt(&p, &[c"x"], &[]));
    }
}

fn errors() {
    let e = exe();
    file(c"f", b"text");
    script(c"x", "#!/bin/sh\nexit 0\n");
    sys!(SYS_mkdir, c"d", 0o755);
    sys!(SYS_symlink, c"loop", c"loop");
    let garbage = [b"\x7fELF".as_slice(), &[0u8; 200]].concat();
    file(c"elf", &garbage);
    file(
        c"cut",
        &std::fs::read(std::ffi::OsStr::new(e.to_str().unwrap_or("")))
            .map(|b| b[..300].to_vec())
            .unwrap_or_default(),
    );
    for p in [c"elf", c"cut"] {
        sys!(SYS_chmod, p, 0o755);
    }
    for p in [c"f", c"d", c"none", c"", c"f/x", c"x/", c"loop", c"elf", c"cut", c"/dev/null", c"."] {
        say!("{}={}", p.to_string_lossy(), attempt(p, &[c"x"], &[]));
    }
    say!(
        "null={} wild={} argv kernel={}",
        sys!(SYS_execve, 0, 0, 0),
        sys!(SYS_execve, 1, 0, 0),
        sys!(SYS_execve, c"./x", KERNEL, 0)
    );
    say!(
        "argv with a bad string={} env wild={}",
        sys!(SYS_execve, c"./x", &[1usize, 0], 0),
        sys!(SYS_execve, c"./x", 0, 1)
    );
    let w = open(c"x", libc::O_RDWR);
    say!("open for writing={}", attempt(c"./x", &[c"x"], &[]));
    crate::run::close(w);
    say!(
        "after it={} own program for writing={}",
        attempt(c"./x", &[c"x"], &[]),
        sys!(SYS_open, &*exe(), libc::O_WRONLY)
    );
    say!("null argv={}", fate(|| sys!(SYS_execve, c"./x", 0, 0).fd()));
}

fn permissions() {
    script(c"x", "#!/bin/sh\nexit 4\n");
    script(c"secret", "#!/bin/sh\nexit 5\n");
    sys!(SYS_fchownat, AT_FDCWD, c"x", 65534, 65534, 0);
    drop_root();
    for m in [0o755, 0o644, 0o100, 0o500, 0o655] {
        sys!(SYS_chmod, c"x", m);
        say!("mode {m:o}={}", attempt(c"./x", &[c"x"], &[]));
    }
    say!("text busy={}", sys!(SYS_open, exe().as_c_str(), libc::O_WRONLY).ok());
}

fn execveat() {
    let e = exe();
    let fd = open(&e, O_PATH);
    let argv = [c"zero".as_ptr(), c"helper".as_ptr(), c"exit".as_ptr(), c"44".as_ptr(), std::ptr::null()];
    say!("empty path={}", fate(|| sys!(SYS_execveat, fd, c"", &argv, 0, AT_EMPTY_PATH).fd()));
    say!(
        "without the flag={} bad flag={} bad fd={}",
        sys!(SYS_execveat, fd, c"", &argv, 0, 0),
        sys!(SYS_execveat, fd, c"", &argv, 0, 1),
        sys!(SYS_execveat, -1, c"", &argv, 0, AT_EMPTY_PATH)
    );
    sys!(SYS_symlink, e.as_c_str(), c"l");
    say!(
        "nofollow={} follow={}",
        sys!(SYS_execveat, AT_FDCWD, c"l", &argv, 0, libc::AT_SYMLINK_NOFOLLOW),
        fate(|| sys!(SYS_execveat, AT_FDCWD, c"l", &argv, 0, 0).fd())
    );
    script(c"s", "#!/bin/sh\nexit 6\n");
    let s = open(c"s", O_RDONLY);
    let c = open(c"s", O_RDONLY | O_CLOEXEC);
    say!(
        "script by fd={} cloexec={}",
        fate(|| sys!(SYS_execveat, s, c"", &argv, 0, AT_EMPTY_PATH).fd()),
        sys!(SYS_execveat, c, c"", &argv, 0, AT_EMPTY_PATH)
    );
}

fn from_thread() {
    // execve in a thread ends the others and keeps the pid.
    let e = exe();
    say!(
        "end={}",
        fate(|| {
            let _ = std::thread::spawn(move || run(&e, &[c"x", c"helper", c"exit", c"31"], &[]));
            crate::run::sleep_ms(5000);
            1
        })
    );
}

pub(crate) const CASES: &[Case] = &[
    ("arguments", arguments),
    ("keeps_and_drops", keeps_and_drops),
    ("scripts", scripts),
    ("errors", errors),
    ("permissions", permissions),
    ("execveat", execveat),
    ("from_thread", from_thread),
];
