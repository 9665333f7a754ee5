//! Mappings: anonymous, of files, fixed, protected, and the faults they give.

use crate::mem::{KERNEL, PAGE, PRIV, RW, SHARED, UNMAPPED, get, jump, map, peek, peek_abs, poke, put};
use crate::run::{Case, close, fate, file, open, pipe, say, slurp, sys};
use crate::show;
use libc::{
    MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_PRIVATE, MAP_SHARED, O_RDONLY, O_RDWR, O_WRONLY,
    PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE,
};

fn private_anonymous() {
    let a = map(4 * PAGE, RW, PRIV);
    say!("aligned={} zero={} {}", a.is_multiple_of(PAGE), peek(a, 0), peek(a, 4 * PAGE - 1));
    put(a, b"parent");
    fate(|| {
        say!("child sees={}", show::bytes(&get(a, 6)));
        put(a, b"CHILD!");
        0
    });
    say!("parent keeps={}", show::bytes(&get(a, 6)));
    for f in [libc::MAP_NORESERVE, libc::MAP_STACK, libc::MAP_POPULATE, libc::MAP_GROWSDOWN, 0x800, 0x1000] {
        let b = map(PAGE, RW, PRIV | f);
        say!("flag {f:#x} ok={}", b > 0 && peek(b, 0) == "0");
    }
    let low = map(PAGE, RW, PRIV | libc::MAP_32BIT);
    say!("32bit below 2 GiB={}", low < 1 << 31);
}

fn shared_anonymous() {
    let a = map(2 * PAGE, RW, SHARED);
    put(a, b"before");
    fate(|| {
        say!("child sees={}", show::bytes(&get(a, 6)));
        put(a, b"CHILD!");
        put(a + PAGE, b"second page");
        0
    });
    say!("parent sees={} {}", show::bytes(&get(a, 6)), show::bytes(&get(a + PAGE, 11)));
    say!("unmap={} then={}", sys!(SYS_munmap, a, PAGE), peek(a, 0));
    say!("second page stays={}", show::bytes(&get(a + PAGE, 6)));
}

fn file_shared() {
    file(c"f", &[b'a'; 6000]);
    let fd = open(c"f", O_RDWR);
    let a = sys!(SYS_mmap, 0, 2 * PAGE, RW, MAP_SHARED, fd, 0).0 as usize;
    say!("read={} {} tail={}", peek(a, 0), peek(a, 5999), peek(a, 6000));
    put(a + 10, b"mapped");
    put(a + 6000, b"beyond");
    say!("read sees={} size={}", show::bytes(&slurp(fd)[8..18]), slurp(fd).len());
    sys!(SYS_pwrite64, fd, b"written", 7, 20);
    say!("map sees={}", show::bytes(&get(a + 20, 7)));
    say!("msync={} close={}", sys!(SYS_msync, a, 2 * PAGE, libc::MS_SYNC), sys!(SYS_close, fd));
    put(a, b"after close");
    let fd = open(c"f", O_RDONLY);
    say!("file={}", show::bytes(&slurp(fd)[..12]));
    let b = sys!(SYS_mmap, 0, PAGE, PROT_READ, MAP_SHARED, fd, 0).0 as usize;
    put(a + 1, b"FTER");
    say!("second mapping={}", show::bytes(&get(b, 8)));
    fate(|| {
        put(a, b"child");
        0
    });
    say!("child's write={} {}", show::bytes(&get(b, 6)), show::bytes(&slurp(fd)[..6]));
}

fn file_private() {
    file(c"f", &[b'a'; 5000]);
    let fd = open(c"f", O_RDONLY);
    let a = sys!(SYS_mmap, 0, 2 * PAGE, RW, MAP_PRIVATE, fd, 0).0 as usize;
    put(a, b"mine");
    say!("map={} file={}", show::bytes(&get(a, 6)), show::bytes(&slurp(fd)[..6]));
    say!("tail={} end={}", peek(a, 4999), peek(a, 5000));
    let b = sys!(SYS_mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, fd, PAGE).0 as usize;
    say!("offset={} past={}", peek(b, 0), peek(b, 904));
    let w = open(c"f", O_RDWR);
    sys!(SYS_pwrite64, w, b"NEW", 3, 0);
    say!("written page stays={} file={}", show::bytes(&get(a, 4)), show::bytes(&slurp(fd)[..4]));
    fate(|| {
        put(a, b"chld");
        0
    });
    say!("after child={}", show::bytes(&get(a, 4)));
}

fn beyond_eof() {
    file(c"f", &[b'a'; 100]);
    let fd = open(c"f", O_RDWR);
    for (n, fl) in [("shared", MAP_SHARED), ("private", MAP_PRIVATE)] {
        let a = sys!(SYS_mmap, 0, 4 * PAGE, RW, fl, fd, 0).0 as usize;
        say!(
            "{n} inside={} rest of page={} next={} write={}",
            peek(a, 99),
            peek(a, 100),
            peek(a, PAGE),
            poke(a, 2 * PAGE + 5, 1)
        );
        sys!(SYS_ftruncate, fd, 2 * PAGE + 1);
        say!("{n} grown={} {} beyond={}", peek(a, PAGE), peek(a, 2 * PAGE + 7), peek(a, 3 * PAGE));
        sys!(SYS_ftruncate, fd, 0);
        say!("{n} truncated={}", peek(a, 0));
        sys!(SYS_ftruncate, fd, 100);
        sys!(SYS_pwrite64, fd, &[b'a'; 100], 100, 0);
        let r = sys!(SYS_write, pipe(0).1, a + PAGE, 10);
        say!("{n} write() from beyond={r} read() to beyond={}", sys!(SYS_pread64, fd, a + PAGE, 10, 0));
    }
}

fn errors() {
    file(c"f", b"x");
    let rw = open(c"f", O_RDWR);
    let ro = open(c"f", O_RDONLY);
    let wo = open(c"f", O_WRONLY);
    let m =
        |a: usize, l: usize, p: i32, f: i32, fd: i32, off: usize| sys!(SYS_mmap, a, l, p, f, fd, off).sign();
    say!(
        "length 0={} huge={} most={}",
        m(0, 0, RW, PRIV, -1, 0),
        m(0, usize::MAX, RW, PRIV, -1, 0),
        m(0, 1 << 62, RW, PRIV, -1, 0)
    );
    say!(
        "no type={} both={} validate={}",
        m(0, PAGE, RW, MAP_ANONYMOUS, -1, 0),
        m(0, PAGE, RW, MAP_ANONYMOUS | 3, -1, 0),
        m(0, PAGE, RW, 3 | 1 << 27, rw, 0)
    );
    say!(
        "offset={} fd -1={} 9999={}",
        m(0, PAGE, RW, MAP_SHARED, rw, 1),
        m(0, PAGE, RW, MAP_SHARED, -1, 0),
        m(0, PAGE, RW, MAP_PRIVATE, 9999, 0)
    );
    say!(
        "shared rw of rdonly={} ro={} private={}",
        m(0, PAGE, RW, MAP_SHARED, ro, 0),
        m(0, PAGE, PROT_READ, MAP_SHARED, ro, 0),
        m(0, PAGE, RW, MAP_PRIVATE, ro, 0)
    );
    say!(
        "wronly shared={} private={}",
        m(0, PAGE, PROT_WRITE, MAP_SHARED, wo, 0),
        m(0, PAGE, PROT_READ, MAP_PRIVATE, wo, 0)
    );
    say!(
        "dir={} pipe={}",
        m(0, PAGE, PROT_READ, MAP_PRIVATE, open(c".", O_RDONLY), 0),
        m(0, PAGE, PROT_READ, MAP_PRIVATE, pipe(0).0, 0)
    );
    say!(
        "fixed unaligned={} kernel={} top={}",
        m(0x1234, PAGE, RW, PRIV | MAP_FIXED, -1, 0),
        m(KERNEL, PAGE, RW, PRIV | MAP_FIXED, -1, 0),
        m(usize::MAX - PAGE + 1, PAGE, RW, PRIV | MAP_FIXED, -1, 0)
    );
    say!(
        "offset overflow={} prot bits={}",
        m(0, 2 * PAGE, PROT_READ, MAP_PRIVATE, rw, usize::MAX - PAGE + 1),
        m(0, PAGE, 0xff, PRIV, -1, 0)
    );
    say!("kernel as hint={}", m(KERNEL, PAGE, RW, PRIV, -1, 0));
    let hint = UNMAPPED + 0x10_0123;
    say!("hint is rounded and taken={}", map_at(hint, PRIV) == UNMAPPED + 0x10_0000);
}

fn map_at(at: usize, fl: i32) -> usize {
    sys!(SYS_mmap, at, PAGE, RW, fl, -1, 0).0 as usize
}

fn fixed() {
    let a = map(3 * PAGE, RW, PRIV);
    for i in 0..3 {
        put(a + i * PAGE, b"old");
    }
    say!("fixed over the middle={}", map_at(a + PAGE, PRIV | MAP_FIXED) == a + PAGE);
    say!("around={} middle={} after={}", peek(a, 0), peek(a, PAGE), peek(a, 2 * PAGE));
    let r = sys!(SYS_mmap, a + PAGE, PAGE, RW, PRIV | MAP_FIXED_NOREPLACE, -1, 0);
    say!("noreplace on used={r}");
    sys!(SYS_munmap, a + PAGE, PAGE);
    say!("noreplace on free={}", map_at(a + PAGE, PRIV | MAP_FIXED_NOREPLACE) == a + PAGE);
    say!(
        "noreplace overlapping={}",
        sys!(SYS_mmap, a - PAGE, 3 * PAGE, RW, PRIV | MAP_FIXED_NOREPLACE, -1, 0)
    );
}

fn protect() {
    let a = map(4 * PAGE, RW, PRIV);
    put(a + PAGE, b"kept");
    say!(
        "ro={} read={} write={}",
        sys!(SYS_mprotect, a + PAGE, PAGE, PROT_READ),
        peek(a, PAGE),
        poke(a, PAGE + 8, 1)
    );
    say!(
        "none={} read={} write={}",
        sys!(SYS_mprotect, a + PAGE, PAGE, PROT_NONE),
        peek(a, PAGE),
        poke(a, PAGE, 1)
    );
    say!("back={} kept={}", sys!(SYS_mprotect, a + PAGE, PAGE, RW), show::bytes(&get(a + PAGE, 4)));
    say!("neighbours={} {}", poke(a, 0, 1), poke(a, 2 * PAGE, 1));
    say!("unmapped={} kernel={} null={}", peek_abs(UNMAPPED), peek_abs(KERNEL), peek_abs(0));
    say!("noncanonical={}", peek_abs(0x8000_0000_0000_0000));
    say!(
        "unaligned={} hole={} zero length={}",
        sys!(SYS_mprotect, a + 1, PAGE, RW),
        sys!(SYS_mprotect, UNMAPPED, PAGE, RW),
        sys!(SYS_mprotect, a, 0, PROT_NONE)
    );
    sys!(SYS_munmap, a + 2 * PAGE, PAGE);
    say!("across a hole={} first part changed={}", sys!(SYS_mprotect, a, 4 * PAGE, PROT_READ), poke(a, 0, 1));
    say!(
        "bits={} growsdown={} wrap={}",
        sys!(SYS_mprotect, a, PAGE, 0x100),
        sys!(SYS_mprotect, a, PAGE, RW | libc::PROT_GROWSDOWN),
        sys!(SYS_mprotect, a, usize::MAX, RW)
    );
    file(c"f", b"x");
    let ro = sys!(SYS_mmap, 0, PAGE, PROT_READ, MAP_SHARED, open(c"f", O_RDONLY), 0).0;
    say!("shared of rdonly made writable={}", sys!(SYS_mprotect, ro, PAGE, RW));
}

fn executable() {
    let a = map(PAGE, RW, PRIV);
    put(a + 4, &[0xc3]);
    say!("no exec={}", jump(a, 4));
    say!("mprotect={} exec={}", sys!(SYS_mprotect, a, PAGE, PROT_READ | PROT_EXEC), jump(a, 4));
    say!("write={} off={} exec={}", poke(a, 0, 1), sys!(SYS_mprotect, a, PAGE, PROT_NONE), jump(a, 4));
    say!("unmapped={}", {
        sys!(SYS_munmap, a, PAGE);
        jump(a, 4)
    });
    file(c"code", &[0xc3; 16]);
    let f = open(c"code", O_RDWR);
    let m = sys!(SYS_mmap, 0, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, f, 0).0 as usize;
    say!("file exec={}", jump(m, 3));
    // Code rewritten in place runs as rewritten: `mov eax, 7; ret`.
    let j = map(PAGE, RW | PROT_EXEC, PRIV);
    put(j, &[0xc3]);
    let first = jump(j, 0);
    put(j, &[0xb8, 7, 0, 0, 0, 0xc3]);
    say!("rewritten {first} then {}", jump(j, 0));
    let s = sys!(SYS_mmap, 0, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, f, 0).0 as usize;
    let before = jump(s, 0);
    sys!(SYS_pwrite64, f, &[0xb8u8, 9, 0, 0, 0, 0xc3], 6, 0);
    say!("shared file code {before} then {}", jump(s, 0));
}

fn unmap() {
    let a = map(5 * PAGE, RW, PRIV);
    say!(
        "middle={} around={} hole={} after={}",
        sys!(SYS_munmap, a + 2 * PAGE, PAGE),
        peek(a, PAGE),
        peek(a, 2 * PAGE),
        peek(a, 3 * PAGE)
    );
    say!(
        "again={} over holes={} all={}",
        sys!(SYS_munmap, a + 2 * PAGE, PAGE),
        sys!(SYS_munmap, a, 5 * PAGE),
        peek(a, 4 * PAGE)
    );
    say!(
        "unaligned={} zero={} kernel={}",
        sys!(SYS_munmap, a + 1, PAGE),
        sys!(SYS_munmap, a, 0),
        sys!(SYS_munmap, KERNEL, PAGE)
    );
    say!("rounds up={}", sys!(SYS_munmap, map(2 * PAGE, RW, PRIV), PAGE + 1));
    say!("wrap={}", sys!(SYS_munmap, a, usize::MAX - PAGE));
}

fn kernel_through_protection() {
    // The kernel's own accesses must respect what the program may do.
    let a = map(2 * PAGE, RW, PRIV);
    let (r, w) = pipe(libc::O_NONBLOCK);
    sys!(SYS_mprotect, a + PAGE, PAGE, PROT_NONE);
    say!("write from none={}", sys!(SYS_write, w, a + PAGE, 10));
    say!("write crossing={} read back={}", sys!(SYS_write, w, a + PAGE - 5, 10), sys!(SYS_read, r, a, 100));
    sys!(SYS_mprotect, a + PAGE, PAGE, PROT_READ);
    sys!(SYS_write, w, b"0123456789", 10);
    say!("read to readonly={}", sys!(SYS_read, r, a + PAGE, 10));
    say!("then={}", sys!(SYS_ioctl, r, libc::FIONREAD, a));
    say!("left={}", get(a, 1)[0]);
    let p = map(PAGE, PROT_WRITE, PRIV);
    say!("write only page is readable={}", sys!(SYS_write, w, p, 4));
}

fn stack_grows() {
    fn deep(n: usize) -> usize {
        let a = [n as u8; 2000];
        let a = std::hint::black_box(a);
        if n == 0 { usize::from(a[5]) } else { deep(n - 1) + usize::from(a[7]) }
    }
    say!("four megabytes={}", deep(2000));
    say!("overflow={}", fate(|| deep(100_000_000) as i32));
}

fn many_mappings() {
    let n = 500;
    let a = map(2 * n * PAGE, RW, PRIV);
    for i in 0..n {
        sys!(SYS_mprotect, a + 2 * i * PAGE, PAGE, PROT_READ);
    }
    let bad =
        (0..n).filter(|i| poke(a, 2 * i * PAGE, 1) == "0" || poke(a, (2 * i + 1) * PAGE, 1) != "0").count();
    say!("wrong={bad} unmap={}", sys!(SYS_munmap, a, 2 * n * PAGE));
    close(-1);
}

pub(crate) const CASES: &[Case] = &[
    ("private_anonymous", private_anonymous),
    ("shared_anonymous", shared_anonymous),
    ("file_shared", file_shared),
    ("file_private", file_private),
    ("beyond_eof", beyond_eof),
    ("errors", errors),
    ("fixed", fixed),
    ("protect", protect),
    ("executable", executable),
    ("unmap", unmap),
    ("kernel_through_protection", kernel_through_protection),
    ("stack_grows", stack_grows),
    ("many_mappings", many_mappings),
];
