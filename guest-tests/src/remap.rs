//! The rest of memory: mremap, brk, madvise, mincore, mlock, msync, memfd and its seals, System V segments.

use crate::mem::{KERNEL, PAGE, PRIV, RW, SHARED, UNMAPPED, get, map, peek, poke, put, zeroed};
use crate::run::{Case, fate, file, open, say, slurp, sys};
use crate::show;
use libc::{MAP_SHARED, MREMAP_FIXED, MREMAP_MAYMOVE, O_RDWR, PROT_NONE, PROT_READ};

fn mremap() {
    let a = map(4 * PAGE, RW, PRIV);
    put(a, b"first");
    put(a + 3 * PAGE, b"last");
    say!(
        "shrink in place={} cut={}",
        sys!(SYS_mremap, a, 4 * PAGE, 2 * PAGE, 0).0 as usize == a,
        peek(a, 2 * PAGE)
    );
    say!(
        "grow into hole={} data={} {}",
        sys!(SYS_mremap, a, 2 * PAGE, 3 * PAGE, 0).0 as usize == a,
        show::bytes(&get(a, 5)),
        peek(a, 2 * PAGE)
    );
    let blocked = map(2 * PAGE, RW, PRIV);
    put(blocked, b"move me");
    say!("blocked={}", sys!(SYS_mremap, blocked, PAGE, 2 * PAGE, 0));
    let moved = sys!(SYS_mremap, blocked, PAGE, 5 * PAGE, MREMAP_MAYMOVE).0 as usize;
    say!("moved={} data={} old={}", moved != blocked, show::bytes(&get(moved, 7)), peek(blocked, 0));
    say!("rest is zero={}", peek(moved, 4 * PAGE));
    let at = UNMAPPED + (16 << 20);
    let f = sys!(SYS_mremap, moved, 5 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at).0 as usize;
    say!("fixed={} data={} old={}", f == at, show::bytes(&get(f, 7)), peek(moved, 0));
    let d = sys!(SYS_mremap, f, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | 4, 0).0 as usize;
    say!("dontunmap={} data={} old is empty={}", d != f, show::bytes(&get(d, 7)), peek(f, 0));
    say!(
        "unaligned={} flags={} zero={}",
        sys!(SYS_mremap, a + 1, PAGE, PAGE, 0),
        sys!(SYS_mremap, a, PAGE, PAGE, 8),
        sys!(SYS_mremap, a, PAGE, 0, 0)
    );
    say!(
        "fixed without maymove={} overlap={}",
        sys!(SYS_mremap, a, PAGE, PAGE, MREMAP_FIXED, at),
        sys!(SYS_mremap, a, 2 * PAGE, 2 * PAGE, 3, a + PAGE)
    );
    say!(
        "unmapped={} kernel={}",
        sys!(SYS_mremap, UNMAPPED, PAGE, 2 * PAGE, 1),
        sys!(SYS_mremap, KERNEL, PAGE, PAGE, 1)
    );
    say!(
        "beyond mapping={} fixed unaligned={}",
        sys!(SYS_mremap, a, 10 * PAGE, 20 * PAGE, 1),
        sys!(SYS_mremap, a, PAGE, PAGE, 3, at + 1)
    );
}

fn mremap_shared() {
    file(c"f", &[b'f'; 3 * PAGE]);
    let fd = open(c"f", O_RDWR);
    let a = sys!(SYS_mmap, 0, PAGE, RW, MAP_SHARED, fd, 0).0 as usize;
    let b = sys!(SYS_mremap, a, PAGE, 3 * PAGE, MREMAP_MAYMOVE).0 as usize;
    put(b + 2 * PAGE, b"through");
    say!("file grown={}", show::bytes(&slurp(fd)[2 * PAGE..2 * PAGE + 8]));
    // Old size 0 of a shared mapping makes a second one.
    let c = sys!(SYS_mremap, b, 0, PAGE, MREMAP_MAYMOVE).0 as usize;
    put(c, b"twin");
    say!("twin={} both={}", c != b, show::bytes(&get(b, 4)));
    let p = map(PAGE, RW, PRIV);
    say!("twin of private={}", sys!(SYS_mremap, p, 0, PAGE, MREMAP_MAYMOVE));
}

fn brk() {
    let b = sys!(SYS_brk, 0).0 as usize;
    let up = sys!(SYS_brk, b + 3 * PAGE).0 as usize;
    say!("grown={} writable={} {}", up - b == 3 * PAGE, poke(b, 0, 1), poke(b, 3 * PAGE - 1, 2));
    let odd = sys!(SYS_brk, b + 3 * PAGE + 5).0 as usize;
    say!("odd end={}", odd - b == 3 * PAGE + 5);
    sys!(SYS_brk, b + PAGE);
    sys!(SYS_brk, b + 2 * PAGE);
    say!("shrunk and grown again is zero={}", peek(b, PAGE + PAGE - 1));
    let now = sys!(SYS_brk, 0).0 as usize;
    say!(
        "huge refused={} low refused={}",
        sys!(SYS_brk, KERNEL).0 as usize == now,
        sys!(SYS_brk, 1).0 as usize == now
    );
    let child = fate(|| {
        let c = sys!(SYS_brk, 0).0 as usize;
        i32::from(c != now || sys!(SYS_brk, c + PAGE).0 as usize != c + PAGE)
    });
    say!("child starts where parent is={child} parent unmoved={}", sys!(SYS_brk, 0).0 as usize == now);
}

fn madvise() {
    let a = map(4 * PAGE, RW, PRIV);
    put(a + PAGE, b"data");
    say!("dontneed={} zero={}", sys!(SYS_madvise, a, 4 * PAGE, libc::MADV_DONTNEED), peek(a, PAGE));
    let s = map(PAGE, RW, SHARED);
    put(s, b"kept");
    say!(
        "shared dontneed={} kept={}",
        sys!(SYS_madvise, s, PAGE, libc::MADV_DONTNEED),
        show::bytes(&get(s, 4))
    );
    say!("remove={} zero={}", sys!(SYS_madvise, s, PAGE, libc::MADV_REMOVE), peek(s, 0));
    file(c"f", b"filed");
    let fd = open(c"f", O_RDWR);
    let p = sys!(SYS_mmap, 0, PAGE, RW, libc::MAP_PRIVATE, fd, 0).0 as usize;
    put(p, b"dirty");
    sys!(SYS_madvise, p, PAGE, libc::MADV_DONTNEED);
    say!("private file reverts={}", show::bytes(&get(p, 5)));
    for (n, adv) in [
        ("normal", 0),
        ("random", 1),
        ("sequential", 2),
        ("willneed", 3),
        ("free", 8),
        ("dontfork", 10),
        ("dofork", 11),
        ("mergeable", 12),
        ("hugepage", 14),
        ("nohugepage", 15),
        ("dontdump", 16),
        ("dodump", 17),
        ("wipeonfork", 18),
        ("keeponfork", 19),
        ("cold", 20),
        ("pageout", 21),
        ("populate_read", 22),
        ("populate_write", 23),
        ("unknown", 99),
        ("negative", -1),
    ] {
        // Huge and mergeable pages are options of the kernel's build.
        if matches!(n, "mergeable" | "hugepage" | "nohugepage") {
            continue;
        }
        say!("{n}={}", sys!(SYS_madvise, a, PAGE, adv));
    }
    say!(
        "unaligned={} hole={} zero={}",
        sys!(SYS_madvise, a + 1, PAGE, 4),
        sys!(SYS_madvise, UNMAPPED, PAGE, 4),
        sys!(SYS_madvise, a, 0, 4)
    );
    put(a, b"wiped");
    put(a + PAGE, b"unforked");
    sys!(SYS_madvise, a, PAGE, 18);
    sys!(SYS_madvise, a + PAGE, PAGE, 10);
    fate(|| {
        say!("wipeonfork in child={} dontfork={}", peek(a, 0), peek(a, PAGE));
        0
    });
    say!("in parent={}", show::bytes(&get(a, 5)));
}

fn mincore() {
    let a = map(3 * PAGE, RW, PRIV);
    put(a + PAGE, b"x");
    let mut v = [9u8; 3];
    say!("mincore={} touched={}", sys!(SYS_mincore, a, 3 * PAGE, &mut v), v[1] & 1);
    say!("untouched={} {}", v[0] & 1, v[2] & 1);
    say!(
        "unaligned={} hole={} null={}",
        sys!(SYS_mincore, a + 1, PAGE, &mut v),
        sys!(SYS_mincore, UNMAPPED, PAGE, &mut v),
        sys!(SYS_mincore, a, PAGE, 0)
    );
}

fn mlock() {
    let a = map(2 * PAGE, RW, PRIV);
    say!(
        "mlock={} munlock={} hole={}",
        sys!(SYS_mlock, a, PAGE),
        sys!(SYS_munlock, a, PAGE),
        sys!(SYS_mlock, UNMAPPED, PAGE)
    );
    say!(
        "mlock2={} onfault={} flags={}",
        sys!(SYS_mlock2, a, PAGE, 0),
        sys!(SYS_mlock2, a, PAGE, 1),
        sys!(SYS_mlock2, a, PAGE, 2)
    );
    say!(
        "mlockall flags={} {} munlockall={}",
        sys!(SYS_mlockall, 0),
        sys!(SYS_mlockall, 8),
        sys!(SYS_munlockall)
    );
    say!("munlock hole={}", sys!(SYS_munlock, UNMAPPED, PAGE));
}

fn msync() {
    let a = map(2 * PAGE, RW, PRIV);
    for f in [0, 1, 2, 4, 5, 6, 8] {
        say!("flags {f}={}", sys!(SYS_msync, a, PAGE, f));
    }
    say!(
        "unaligned={} hole={} zero={}",
        sys!(SYS_msync, a + 1, PAGE, 4),
        sys!(SYS_msync, UNMAPPED, PAGE, 4),
        sys!(SYS_msync, a, 0, 4)
    );
}

fn memfd() {
    let fd = sys!(SYS_memfd_create, c"name", libc::MFD_ALLOW_SEALING | libc::MFD_CLOEXEC).fd();
    let mut st: libc::stat = zeroed();
    sys!(SYS_fstat, fd, &mut st);
    say!(
        "fd={fd} mode={:o} size={} nlink={} seals={}",
        st.st_mode,
        st.st_size,
        st.st_nlink,
        sys!(SYS_fcntl, fd, libc::F_GET_SEALS, 0)
    );
    say!(
        "cloexec={} write={} truncate={}",
        sys!(SYS_fcntl, fd, libc::F_GETFD, 0),
        sys!(SYS_write, fd, b"hello", 5),
        sys!(SYS_ftruncate, fd, 100)
    );
    let add = |s: i32| sys!(SYS_fcntl, fd, libc::F_ADD_SEALS, s);
    say!("shrink={} less={} more={}", add(2), sys!(SYS_ftruncate, fd, 50), sys!(SYS_ftruncate, fd, 200));
    say!(
        "grow={} more={} write beyond={}",
        add(4),
        sys!(SYS_ftruncate, fd, 300),
        sys!(SYS_pwrite64, fd, b"x", 1, 200)
    );
    let m = sys!(SYS_mmap, 0, PAGE, RW, MAP_SHARED, fd, 0).0 as usize;
    say!("write seal while mapped={}", add(8));
    sys!(SYS_munmap, m, PAGE);
    say!(
        "write seal={} write={} map rw={} map ro={}",
        add(8),
        sys!(SYS_pwrite64, fd, b"x", 1, 0),
        sys!(SYS_mmap, 0, PAGE, RW, MAP_SHARED, fd, 0),
        sys!(SYS_mmap, 0, PAGE, PROT_READ, MAP_SHARED, fd, 0).sign()
    );
    say!(
        "punch={} seal={} another={} seals={}",
        sys!(SYS_fallocate, fd, 3, 0, 10),
        add(1),
        add(16),
        sys!(SYS_fcntl, fd, libc::F_GET_SEALS, 0)
    );
    let plain = sys!(SYS_memfd_create, c"", 0).fd();
    say!(
        "plain seals={} add={} unknown seal={}",
        sys!(SYS_fcntl, plain, libc::F_GET_SEALS, 0),
        sys!(SYS_fcntl, plain, libc::F_ADD_SEALS, 2),
        add(0x1000)
    );
    file(c"f", b"");
    say!(
        "on a file={} flags={} null={}",
        sys!(SYS_fcntl, open(c"f", O_RDWR), libc::F_GET_SEALS, 0).ok(),
        sys!(SYS_memfd_create, c"x", 0x8000),
        sys!(SYS_memfd_create, 0, 0)
    );
    let long = |n: usize| std::ffi::CString::new("n".repeat(n)).unwrap_or_default();
    say!(
        "249 long={} 250 long={}",
        sys!(SYS_memfd_create, long(249).as_c_str(), 0).ok(),
        sys!(SYS_memfd_create, long(250).as_c_str(), 0)
    );
    let mut b = [0u8; 64];
    let p = std::ffi::CString::new(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    let n = sys!(SYS_readlink, p.as_c_str(), &mut b, 64).0.max(0) as usize;
    say!("link={}", show::bytes(&b[..n]));
}

fn sysv_shm() {
    let id = sys!(SYS_shmget, 0, 2 * PAGE, 0o600 | libc::IPC_CREAT);
    let a = sys!(SYS_shmat, id.fd(), 0, 0).0 as usize;
    say!("get={} zero={}", id.sign(), peek(a, 0));
    let child = fate(|| {
        put(a, b"from child");
        0
    });
    let ro = sys!(SYS_shmat, id.fd(), 0, libc::SHM_RDONLY).0 as usize;
    say!(
        "child={child} data={} readonly={} write={}",
        show::bytes(&get(a, 10)),
        show::bytes(&get(ro, 4)),
        poke(ro, 0, 1)
    );
    let mut ds: libc::shmid_ds = zeroed();
    say!(
        "stat={} size={} attached={} mode={:o}",
        sys!(SYS_shmctl, id.fd(), libc::IPC_STAT, &mut ds),
        ds.shm_segsz,
        ds.shm_nattch,
        ds.shm_perm.mode
    );
    say!("rmid={} still={}", sys!(SYS_shmctl, id.fd(), libc::IPC_RMID, 0), show::bytes(&get(a, 4)));
    say!(
        "dt={} again={} {} gone={}",
        sys!(SYS_shmdt, a),
        sys!(SYS_shmdt, a),
        sys!(SYS_shmdt, ro),
        sys!(SYS_shmat, id.fd(), 0, 0)
    );
    say!(
        "size 0={} missing key={} bad id={}",
        sys!(SYS_shmget, 0, 0, 0o600 | libc::IPC_CREAT),
        sys!(SYS_shmget, 0x7357_7357, PAGE, 0),
        sys!(SYS_shmctl, -1, libc::IPC_STAT, &mut ds)
    );
}

fn prot_none_reserve() {
    // What runtimes do: reserve much, commit little.
    let a = map(1 << 34, PROT_NONE, PRIV | libc::MAP_NORESERVE);
    say!("reserved={} touch={}", a != 0 && a < KERNEL, peek(a, 1 << 33));
    say!("commit={} use={}", sys!(SYS_mprotect, a + (1 << 33), PAGE, RW), poke(a, 1 << 33, 1));
    say!(
        "release={} unmap={}",
        sys!(SYS_madvise, a, 1usize << 34, libc::MADV_DONTNEED),
        sys!(SYS_munmap, a, 1usize << 34)
    );
}

pub(crate) const CASES: &[Case] = &[
    ("mremap", mremap),
    ("mremap_shared", mremap_shared),
    ("brk", brk),
    ("madvise", madvise),
    ("mincore", mincore),
    ("mlock", mlock),
    ("msync", msync),
    ("memfd", memfd),
    ("sysv_shm", sysv_shm),
    ("prot_none_reserve", prot_none_reserve),
];
