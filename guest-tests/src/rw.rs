//! Reading and writing files: offsets, vectors, holes, sizes, copies between descriptors.

use crate::mem::{PAGE, before_hole, get, put, zeroed};
use crate::run::{Case, close, file, handler, open, pipe, say, slurp, sys};
use crate::show;
use libc::{
    O_APPEND, O_CREAT, O_RDONLY, O_RDWR, O_WRONLY, SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET,
};

const MIB: usize = 1 << 20;

fn rw() -> i32 {
    open(c"f", O_CREAT | O_RDWR)
}

fn basic() {
    let fd = rw();
    let mut b = [0u8; 16];
    say!("write={} at={}", sys!(SYS_write, fd, b"hello world", 11), sys!(SYS_lseek, fd, 0, SEEK_CUR));
    say!("read at eof={}", sys!(SYS_read, fd, &mut b, 16));
    sys!(SYS_lseek, fd, 6, SEEK_SET);
    say!("read={} data={}", sys!(SYS_read, fd, &mut b, 16), show::bytes(&b[..5]));
    say!("zero read={} write={}", sys!(SYS_read, fd, &mut b, 0), sys!(SYS_write, fd, &b, 0));
    say!("zero at bad address read={} write={}", sys!(SYS_read, fd, 0, 0), sys!(SYS_write, fd, 1, 0));
    for n in [-1i64, i64::MIN, i64::MAX] {
        sys!(SYS_lseek, fd, 0, SEEK_SET);
        say!("length {n} write={}", sys!(SYS_write, fd, &b, n));
    }
    for bad in [-1, 9999] {
        say!("fd {bad} read={} write={}", sys!(SYS_read, bad, &mut b, 1), sys!(SYS_write, bad, &b, 1));
    }
    let r = open(c"f", O_RDONLY);
    let w = open(c"f", O_WRONLY);
    say!("read of wronly={} write of rdonly={}", sys!(SYS_read, w, &mut b, 1), sys!(SYS_write, r, &b, 1));
    let d = open(c".", O_RDONLY);
    say!(
        "dir read={} write={} pread={}",
        sys!(SYS_read, d, &mut b, 1),
        sys!(SYS_write, d, &b, 1),
        sys!(SYS_pread64, d, &mut b, 1, 0)
    );
}

fn positioned() {
    let fd = rw();
    let mut b = [0u8; 8];
    say!("pwrite={} at={}", sys!(SYS_pwrite64, fd, b"abc", 3, 5), sys!(SYS_lseek, fd, 0, SEEK_CUR));
    say!("pread={} data={}", sys!(SYS_pread64, fd, &mut b, 8, 2), show::bytes(&b));
    say!(
        "past end={} negative={}",
        sys!(SYS_pread64, fd, &mut b, 8, 100),
        sys!(SYS_pread64, fd, &mut b, 8, -1)
    );
    say!(
        "pwrite negative={} huge={}",
        sys!(SYS_pwrite64, fd, &b, 1, -1),
        sys!(SYS_pwrite64, fd, &b, 1, i64::MAX)
    );
    let (r, w) = pipe(0);
    say!("pipe pread={} pwrite={}", sys!(SYS_pread64, r, &mut b, 1, 0), sys!(SYS_pwrite64, w, &b, 1, 0));
    say!("pipe lseek={}", sys!(SYS_lseek, r, 0, SEEK_CUR));
}

fn bad_buffers() {
    let fd = rw();
    sys!(SYS_write, fd, &[b'q'; 100], 100);
    for (n, p) in crate::mem::wild() {
        sys!(SYS_lseek, fd, 0, SEEK_SET);
        let r = sys!(SYS_read, fd, p, 10);
        let at = sys!(SYS_lseek, fd, 0, SEEK_CUR);
        // What lies in "readonly" can be read: zeroes.
        let w = sys!(SYS_pwrite64, fd, p, 10, 50);
        say!("{n} read={r} at={at} write={w}");
    }
    let p = before_hole(4);
    put(p, b"WXYZ");
    say!("crossing write={} data={}", sys!(SYS_pwrite64, fd, p, 10, 20), show::runs(&slurp(fd)[18..26]));
    say!("crossing read={} data={}", sys!(SYS_pread64, fd, p, 10, 0), show::bytes(&get(p, 4)));
}

fn vectors() {
    let fd = rw();
    let iov = |v: &[(usize, usize)]| -> Vec<[usize; 2]> { v.iter().map(|(a, l)| [*a, *l]).collect() };
    let (a, b) = (b"hello".as_ptr() as usize, b" world".as_ptr() as usize);
    say!("writev={}", sys!(SYS_writev, fd, &iov(&[(a, 5), (0, 0), (b, 6)])[..], 3));
    let mut x = [0u8; 4];
    let mut y = [0u8; 20];
    let v = iov(&[(x.as_mut_ptr() as usize, 4), (y.as_mut_ptr() as usize, 20)]);
    sys!(SYS_lseek, fd, 0, SEEK_SET);
    say!("readv={}", sys!(SYS_readv, fd, &v[..], 2));
    say!("x={} y={}", show::bytes(&x), show::bytes(&y[..7]));
    say!("preadv={} y={}", sys!(SYS_preadv, fd, &v[..], 2, 3, 0), show::bytes(&y[..4]));
    say!("preadv2={} y={}", sys!(SYS_preadv2, fd, &v[..], 2, 1, 0, 0), show::bytes(&y[..6]));
    say!(
        "preadv2 at current={} flags={}",
        sys!(SYS_preadv2, fd, &v[..], 2, -1, -1, 0),
        sys!(SYS_preadv2, fd, &v[..], 2, 0, 0, 0x4000_0000)
    );
    say!(
        "pwritev={} append={}",
        sys!(SYS_pwritev, fd, &v[..], 1, 0, 0),
        sys!(SYS_pwritev2, fd, &v[..], 1, 0, 0, 0x10)
    );
    say!("data={}", show::bytes(&slurp(fd)));
    say!(
        "count 0={} -1={} 1025={}",
        sys!(SYS_writev, fd, &v[..], 0),
        sys!(SYS_writev, fd, &v[..], -1),
        sys!(SYS_readv, fd, &v[..], 1025)
    );
    let many: Vec<[usize; 2]> = (0..1024).map(|_| [a, 1]).collect();
    say!("count 1024={}", sys!(SYS_writev, fd, &many[..], 1024));
    say!("null={} kernel={}", sys!(SYS_writev, fd, 0, 1), sys!(SYS_writev, fd, crate::mem::KERNEL, 1));
    say!("negative length={}", sys!(SYS_writev, fd, &iov(&[(a, 5), (a, usize::MAX)])[..], 2));
    say!("sum overflow={}", sys!(SYS_writev, fd, &iov(&[(1, 1), (1, isize::MAX as usize)])[..], 2));
    sys!(SYS_ftruncate, fd, 0);
    sys!(SYS_lseek, fd, 0, SEEK_SET);
    say!(
        "second bad={} data={}",
        sys!(SYS_writev, fd, &iov(&[(a, 5), (1, 5)])[..], 2),
        show::bytes(&slurp(fd))
    );
    say!("bad fd={}", sys!(SYS_writev, 9999, &v[..], 1));
}

fn seeking() {
    let fd = rw();
    sys!(SYS_write, fd, b"0123456789", 10);
    for (n, off, whence) in [
        ("set", 3, SEEK_SET),
        ("cur", 4, SEEK_CUR),
        ("cur_back", -2, SEEK_CUR),
        ("before_start", -100, SEEK_CUR),
        ("end", 0, SEEK_END),
        ("end_back", -3, SEEK_END),
        ("past_end", 1000, SEEK_END),
        ("negative", -1, SEEK_SET),
        ("max", i64::MAX, SEEK_SET),
        ("overflow", i64::MAX, SEEK_CUR),
        ("bad_whence", 0, 5),
        ("bad_whence2", 0, -1),
    ] {
        let r = sys!(SYS_lseek, fd, off, whence);
        // How large a file may be differs between file systems.
        say!("{n}={}", if n == "max" { r.0 == i64::MAX || r.0 == -22 } else { true });
        if n != "max" && n != "overflow" {
            say!("{n} value={r} at={}", sys!(SYS_lseek, fd, 0, SEEK_CUR));
        }
        sys!(SYS_lseek, fd, 7, SEEK_SET);
    }
    say!("bad fd={}", sys!(SYS_lseek, -1, 0, SEEK_SET));
    let n = open(c"/dev/null", O_RDWR);
    say!("null={}", sys!(SYS_lseek, n, 100, SEEK_SET));
}

fn holes() {
    let fd = rw();
    sys!(SYS_ftruncate, fd, 4 * MIB);
    sys!(SYS_pwrite64, fd, &[b'd'; PAGE], PAGE, MIB);
    sys!(SYS_pwrite64, fd, &[b'e'; PAGE], PAGE, 3 * MIB);
    for (n, off) in
        [("start", 0), ("data", MIB), ("inside", MIB + 10), ("gap", 2 * MIB), ("tail", 4 * MIB - 1)]
    {
        let d = sys!(SYS_lseek, fd, off, SEEK_DATA);
        let h = sys!(SYS_lseek, fd, off, SEEK_HOLE);
        say!("{n} data={d} hole={h}");
    }
    say!("at end={} {}", sys!(SYS_lseek, fd, 4 * MIB, SEEK_DATA), sys!(SYS_lseek, fd, 4 * MIB, SEEK_HOLE));
    say!("negative={} {}", sys!(SYS_lseek, fd, -1, SEEK_DATA), sys!(SYS_lseek, fd, -1, SEEK_HOLE));
    let mut st: libc::stat = zeroed();
    sys!(SYS_fstat, fd, &mut st);
    say!("size={} sparse={}", st.st_size, st.st_blocks * 512 < st.st_size);
    let mut b = vec![1u8; PAGE];
    say!("hole reads={} {}", sys!(SYS_pread64, fd, &mut b[..], PAGE, 2 * MIB), show::runs(&b));
    say!("punch={}", sys!(SYS_fallocate, fd, 3, MIB, MIB));
    say!("after punch={}", sys!(SYS_lseek, fd, 0, SEEK_DATA));
}

fn truncating() {
    let fd = rw();
    sys!(SYS_write, fd, b"0123456789", 10);
    let show_it = |n: &str, r: crate::show::R| say!("{n}={r} data={}", show::bytes(&slurp(fd)));
    show_it("shorter", sys!(SYS_ftruncate, fd, 4));
    show_it("longer", sys!(SYS_ftruncate, fd, 8));
    show_it("path", sys!(SYS_truncate, c"f", 6));
    show_it("negative", sys!(SYS_ftruncate, fd, -1));
    say!("offset={}", sys!(SYS_lseek, fd, 0, SEEK_CUR));
    sys!(SYS_write, fd, b"x", 1);
    show_it("write beyond", sys!(SYS_ftruncate, fd, 11));
    let ro = open(c"f", O_RDONLY);
    say!(
        "rdonly={} bad={} dirfd={}",
        sys!(SYS_ftruncate, ro, 0),
        sys!(SYS_ftruncate, 9999, 0),
        sys!(SYS_ftruncate, open(c".", O_RDONLY), 0)
    );
    say!(
        "missing={} dir={} negative={}",
        sys!(SYS_truncate, c"none", 0),
        sys!(SYS_truncate, c".", 0),
        sys!(SYS_truncate, c"f", -1)
    );
    say!("null path={} empty={}", sys!(SYS_truncate, 0, 0), sys!(SYS_truncate, c"", 0));
    let (r, w) = pipe(0);
    say!("pipe={} {}", sys!(SYS_ftruncate, r, 0), sys!(SYS_ftruncate, w, 0));
    // The end of the last page must read as zeroes after growing again.
    sys!(SYS_ftruncate, fd, 0);
    sys!(SYS_pwrite64, fd, &[b'z'; 100], 100, 0);
    sys!(SYS_ftruncate, fd, 50);
    sys!(SYS_ftruncate, fd, 100);
    say!("regrown={}", show::runs(&slurp(fd)));
}

fn size_limit() {
    handler(libc::SIGXFSZ, libc::SIG_IGN, 0);
    let lim = libc::rlimit { rlim_cur: 1000, rlim_max: libc::RLIM_INFINITY };
    let fd = rw();
    let mut old: libc::rlimit = zeroed();
    sys!(SYS_prlimit64, 0, libc::RLIMIT_FSIZE, 0, &mut old);
    let lim = libc::rlimit { rlim_max: old.rlim_max, ..lim };
    say!("set={}", sys!(SYS_prlimit64, 0, libc::RLIMIT_FSIZE, &lim, 0));
    say!(
        "short write={} next={}",
        sys!(SYS_write, fd, &[1u8; 2000], 2000),
        sys!(SYS_write, fd, &[1u8; 1], 1)
    );
    say!("ftruncate={} smaller={}", sys!(SYS_ftruncate, fd, 2000), sys!(SYS_ftruncate, fd, 500));
    let end = crate::run::fate(|| {
        handler(libc::SIGXFSZ, libc::SIG_DFL, 0);
        sys!(SYS_pwrite64, fd, &[1u8; 1], 1, 5000);
        0
    });
    say!("default={end}");
}

fn allocating() {
    let fd = rw();
    sys!(SYS_write, fd, &[b'a'; 10000], 10000);
    let size = || sys!(SYS_lseek, fd, 0, SEEK_END);
    say!("grow={} size={}", sys!(SYS_fallocate, fd, 0, 8000, 8000), size());
    say!("keep={} size={}", sys!(SYS_fallocate, fd, 1, 16000, 100_000), size());
    say!("punch={} size={}", sys!(SYS_fallocate, fd, 3, 100, 200), size());
    say!("data={}", show::runs(&slurp(fd)));
    say!("punch past end={}", sys!(SYS_fallocate, fd, 3, 200_000, 100));
    say!(
        "punch alone={} unknown={}",
        sys!(SYS_fallocate, fd, 2, 0, 10),
        sys!(SYS_fallocate, fd, 0x1000, 0, 10)
    );
    say!(
        "len 0={} -1={} off -1={}",
        sys!(SYS_fallocate, fd, 0, 0, 0),
        sys!(SYS_fallocate, fd, 0, 0, -1),
        sys!(SYS_fallocate, fd, 0, -1, 10)
    );
    say!(
        "rdonly={} bad={}",
        sys!(SYS_fallocate, open(c"f", O_RDONLY), 0, 0, 10),
        sys!(SYS_fallocate, -1, 0, 0, 10)
    );
    say!(
        "dir={} pipe={}",
        sys!(SYS_fallocate, open(c".", O_RDONLY), 0, 0, 10),
        sys!(SYS_fallocate, pipe(0).1, 0, 0, 10)
    );
    say!("dev={}", sys!(SYS_fallocate, open(c"/dev/null", O_RDWR), 0, 0, 10));
}

fn advice() {
    let fd = rw();
    for a in [0, 1, 2, 3, 4, 5, 6, -1] {
        say!("fadvise {a}={}", sys!(SYS_fadvise64, fd, 0, 0, a));
    }
    say!("bad={} pipe={}", sys!(SYS_fadvise64, -1, 0, 0, 0), sys!(SYS_fadvise64, pipe(0).0, 0, 0, 0));
    say!("negative length={}", sys!(SYS_fadvise64, fd, 0, -1, 0));
    say!("readahead={} bad={}", sys!(SYS_readahead, fd, 0, 10), sys!(SYS_readahead, -1, 0, 10));
    say!("fsync={} fdatasync={} bad={}", sys!(SYS_fsync, fd), sys!(SYS_fdatasync, fd), sys!(SYS_fsync, -1));
    say!("pipe fsync={} null={}", sys!(SYS_fsync, pipe(0).0), sys!(SYS_fsync, open(c"/dev/null", O_RDWR)));
    say!(
        "range={} flags={} bad={}",
        sys!(SYS_sync_file_range, fd, 0, 10, 7),
        sys!(SYS_sync_file_range, fd, 0, 10, 8),
        sys!(SYS_sync_file_range, -1, 0, 0, 0)
    );
    say!(
        "range pipe={} negative={}",
        sys!(SYS_sync_file_range, pipe(0).0, 0, 0, 0),
        sys!(SYS_sync_file_range, fd, -1, 0, 0)
    );
    say!("syncfs bad={} ok={}", sys!(SYS_syncfs, 9999), sys!(SYS_syncfs, fd));
}

fn copy_range() {
    file(c"a", b"0123456789");
    let a = open(c"a", O_RDWR);
    let b = rw();
    say!("copy={}", sys!(SYS_copy_file_range, a, 0, b, 0, 4, 0));
    let (mut i, mut o) = (5i64, 10i64);
    say!("offsets={} in={i} out={o}", sys!(SYS_copy_file_range, a, &mut i, b, &mut o, 100, 0));
    say!("in={i} out={o} data={}", show::bytes(&slurp(b)));
    say!("positions={} {}", sys!(SYS_lseek, a, 0, SEEK_CUR), sys!(SYS_lseek, b, 0, SEEK_CUR));
    sys!(SYS_lseek, a, 0, SEEK_END);
    say!(
        "at end={} zero={}",
        sys!(SYS_copy_file_range, a, 0, b, 0, 10, 0),
        sys!(SYS_copy_file_range, a, 0, b, 0, 0, 0)
    );
    let (mut i, mut o) = (0i64, 5i64);
    say!("overlap={}", sys!(SYS_copy_file_range, a, &mut i, a, &mut o, 8, 0));
    say!(
        "flags={} bad={}",
        sys!(SYS_copy_file_range, a, 0, b, 0, 1, 1),
        sys!(SYS_copy_file_range, -1, 0, b, 0, 1, 0)
    );
    let (r, w) = pipe(0);
    say!(
        "pipe={} {}",
        sys!(SYS_copy_file_range, r, 0, b, 0, 1, 0),
        sys!(SYS_copy_file_range, a, 0, w, 0, 1, 0)
    );
    let d = open(c".", O_RDONLY);
    say!(
        "dir={} {}",
        sys!(SYS_copy_file_range, d, 0, b, 0, 1, 0),
        sys!(SYS_copy_file_range, a, 0, d, 0, 1, 0)
    );
    let ro = open(c"a", O_RDONLY);
    let ap = open(c"f", O_WRONLY | O_APPEND);
    say!(
        "rdonly={} append={}",
        sys!(SYS_copy_file_range, b, 0, ro, 0, 1, 0),
        sys!(SYS_copy_file_range, a, 0, ap, 0, 1, 0)
    );
    let mut neg = -1i64;
    say!(
        "negative={} wild={}",
        sys!(SYS_copy_file_range, a, &mut neg, b, 0, 1, 0),
        sys!(SYS_copy_file_range, a, 1, b, 0, 1, 0)
    );
}

fn sendfile() {
    file(c"a", b"0123456789");
    let a = open(c"a", O_RDONLY);
    let (r, w) = pipe(libc::O_NONBLOCK);
    let mut b = [0u8; 16];
    say!("pipe={}", sys!(SYS_sendfile, w, a, 0, 4));
    let mut off = 6i64;
    say!("offset={} off={off}", sys!(SYS_sendfile, w, a, &mut off, 100));
    say!("off={off} at={} data={}", sys!(SYS_lseek, a, 0, SEEK_CUR), sys!(SYS_read, r, &mut b, 16));
    say!("data={}", show::bytes(&b[..8]));
    let f = rw();
    say!("file={} zero={}", sys!(SYS_sendfile, f, a, 0, 100), sys!(SYS_sendfile, f, a, 0, 0));
    say!("data={} at end={}", show::bytes(&slurp(f)), sys!(SYS_sendfile, f, a, 0, 100));
    say!(
        "from pipe={} from dir={}",
        sys!(SYS_sendfile, f, r, 0, 1),
        sys!(SYS_sendfile, f, open(c".", O_RDONLY), 0, 1)
    );
    say!(
        "bad={} {} rdonly={}",
        sys!(SYS_sendfile, -1, a, 0, 1),
        sys!(SYS_sendfile, f, 9999, 0, 1),
        sys!(SYS_sendfile, a, f, 0, 1)
    );
    let mut neg = -5i64;
    say!("negative={} wild={}", sys!(SYS_sendfile, f, a, &mut neg, 1), sys!(SYS_sendfile, f, a, 1, 1));
}

fn splicing() {
    file(c"a", b"0123456789");
    let a = open(c"a", O_RDWR);
    let (r, w) = pipe(libc::O_NONBLOCK);
    let (r2, w2) = pipe(libc::O_NONBLOCK);
    let mut b = [0u8; 32];
    let mut off = 2i64;
    say!("file to pipe={} off={off}", sys!(SYS_splice, a, &mut off, w, 0, 5, 0));
    say!("off={off} tee={}", sys!(SYS_tee, r, w2, 100, 0));
    say!("tee data={} {}", sys!(SYS_read, r2, &mut b, 32), show::bytes(&b[..5]));
    say!("pipe to pipe={}", sys!(SYS_splice, r, 0, w2, 0, 3, 0));
    say!("data={} {}", sys!(SYS_read, r2, &mut b, 32), show::bytes(&b[..3]));
    let mut o = 10i64;
    say!("pipe to file={} data={}", sys!(SYS_splice, r, 0, a, &mut o, 100, 0), show::bytes(&slurp(a)));
    say!("empty={} nonblock={}", sys!(SYS_splice, r, 0, a, 0, 10, 2), sys!(SYS_tee, r, w2, 10, 2));
    say!("no pipe={} bad={}", sys!(SYS_splice, a, 0, a, 0, 1, 0), sys!(SYS_splice, -1, 0, w, 0, 1, 0));
    say!(
        "pipe offset={} flags={}",
        sys!(SYS_splice, r, &mut o, a, 0, 1, 0),
        sys!(SYS_splice, a, 0, w, 0, 1, 0x100)
    );
    say!("same pipe={} {}", sys!(SYS_splice, r, 0, w, 0, 1, 0), sys!(SYS_tee, r, w, 1, 0));
    let v = [b"vmsplice".as_ptr() as usize, 8];
    say!("vmsplice={}", sys!(SYS_vmsplice, w, &v, 1, 0));
    say!("data={} {}", sys!(SYS_read, r, &mut b, 32), show::bytes(&b[..8]));
    say!("vmsplice on file={}", sys!(SYS_vmsplice, a, &v, 1, 0));
}

fn unlinked() {
    let fd = rw();
    sys!(SYS_write, fd, b"still here", 10);
    let mut st: libc::stat = zeroed();
    say!("unlink={} fstat={} nlink={}", sys!(SYS_unlink, c"f"), sys!(SYS_fstat, fd, &mut st), st.st_nlink);
    say!("nlink={} data={}", st.st_nlink, show::bytes(&slurp(fd)));
    say!("open again={}", sys!(SYS_open, c"f", O_RDONLY));
    let other = rw();
    say!("new file={} old={}", show::bytes(&slurp(other)), show::bytes(&slurp(fd)));
    close(other);
}

fn big() {
    let fd = rw();
    let block: Vec<u8> = (0..300_000u32).map(|i| (i * 7 + i / 251) as u8).collect();
    let sum = |b: &[u8]| b.iter().fold(0u64, |h, x| h.wrapping_mul(31).wrapping_add(u64::from(*x)));
    say!("write={}", sys!(SYS_write, fd, &block[..], block.len()));
    say!("pwrite inside={}", sys!(SYS_pwrite64, fd, &block[..], 70_001, 12_345));
    let mut back = vec![0u8; 300_000];
    say!("read={} sum={:x}", sys!(SYS_pread64, fd, &mut back[..], 300_000, 0), sum(&back));
    say!("sum={:x} beyond 4 GiB={}", sum(&back), sys!(SYS_pwrite64, fd, b"far", 3, 5i64 << 30));
    say!(
        "size={} far={}",
        sys!(SYS_lseek, fd, 0, SEEK_END),
        sys!(SYS_pread64, fd, &mut back[..], 10, 5i64 << 30)
    );
    say!("far={}", show::bytes(&back[..3]));
}

pub(crate) const CASES: &[Case] = &[
    ("basic", basic),
    ("positioned", positioned),
    ("bad_buffers", bad_buffers),
    ("vectors", vectors),
    ("seeking", seeking),
    ("holes", holes),
    ("truncating", truncating),
    ("size_limit", size_limit),
    ("allocating", allocating),
    ("advice", advice),
    ("copy_range", copy_range),
    ("sendfile", sendfile),
    ("splicing", splicing),
    ("unlinked", unlinked),
    ("big", big),
];
