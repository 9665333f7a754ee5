#!/usr/bin/env python3
"""posix.py DIR: what POSIX and Linux promise of a file system, one function a point. Prints `ok NAME`, `no NAME: WHY` or `skip NAME: WHY` a
line; docs/posix.md lists the points. It runs on a mount of cowtool's and on the host kernel's own loop mount alike."""
import ctypes, errno, fcntl, mmap, os, signal, socket, stat, struct, subprocess, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
POINTS = []


def point(f):
    POINTS.append(f)
    return f


class Skip(Exception):
    pass


def fails(code, call, *args, **kw):
    """The call fails with this error, and no other."""
    try:
        got = call(*args, **kw)
    except OSError as e:
        assert e.errno == code, f"{errno.errorcode.get(e.errno)} and not {errno.errorcode[code]}"
        return
    raise AssertionError(f"{got!r} and not {errno.errorcode[code]}")


def put(path, data=b"x"):
    with open(path, "wb") as f:
        f.write(data)


def get(path):
    with open(path, "rb") as f:
        return f.read()


def renameat2(a, b, flags):
    if libc.renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), flags):
        raise OSError(ctypes.get_errno(), "renameat2")


def fallocate(fd, mode, at, length):
    if libc.fallocate(fd, mode, ctypes.c_long(at), ctypes.c_long(length)):
        raise OSError(ctypes.get_errno(), "fallocate")


def as_user(uid, gid, work, groups=()):
    """Runs something as somebody else; whatever it raises is raised here."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            os.setgroups(list(groups)); os.setgid(gid); os.setuid(uid)
            work()
        except BaseException as e:
            os.write(w, repr(e).encode()[:4000]); code = 1
        os._exit(code)
    os.close(w)
    why = os.read(r, 4000).decode()
    os.close(r)
    _, status = os.waitpid(pid, 0)
    assert status == 0, why


def root_only():
    if os.getuid() != 0:
        raise Skip("needs root")


# ---- names ----

@point
def create_excl():
    fd = os.open("f", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640)
    os.close(fd)
    assert stat.S_IMODE(os.stat("f").st_mode) == 0o640
    fails(errno.EEXIST, os.open, "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)

@point
def create_without_write_permission():
    # Who makes a file may write to it, whatever its mode.
    fd = os.open("f", os.O_CREAT | os.O_RDWR, 0o000)
    os.write(fd, b"abc"); os.close(fd)
    assert os.stat("f").st_size == 3

@point
def umask_applies():
    old = os.umask(0o027)
    try:
        put("f"); os.mkdir("d")
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat("f").st_mode) == 0o640
    assert stat.S_IMODE(os.stat("d").st_mode) == 0o750

@point
def name_255_bytes():
    put("n" * 255)
    fails(errno.ENAMETOOLONG, put, "n" * 256)
    fails(errno.ENAMETOOLONG, os.stat, "n" * 256)

@point
def names_are_bytes():
    name = bytes(b for b in range(1, 256) if b != ord("/"))[:250]
    put(name)
    assert name in os.listdir(b".")

@point
def lookup_missing_then_created():
    fails(errno.ENOENT, os.stat, "f")
    fails(errno.ENOENT, os.stat, "f")
    put("f")
    os.stat("f"); os.unlink("f")
    fails(errno.ENOENT, os.stat, "f")

@point
def not_a_directory():
    put("f")
    fails(errno.ENOTDIR, os.stat, "f/x")
    fails(errno.ENOTDIR, os.rmdir, "f")

@point
def mkdir_rmdir_and_links():
    before = os.stat(".").st_nlink
    os.mkdir("d"); os.mkdir("d/e")
    assert os.stat("d").st_nlink == 3 and os.stat(".").st_nlink == before + 1
    fails(errno.ENOTEMPTY, os.rmdir, "d")
    fails(errno.EEXIST, os.mkdir, "d")
    os.rmdir("d/e"); os.rmdir("d")
    assert os.stat(".").st_nlink == before

@point
def dot_dot_inode():
    os.mkdir("d")
    assert os.stat("d/..").st_ino == os.stat(".").st_ino

@point
def mknod_fifo():
    os.mkfifo("p", 0o600)
    assert stat.S_ISFIFO(os.stat("p").st_mode)
    got = []
    t = threading.Thread(target=lambda: got.append(get("p")))
    t.start(); put("p", b"through"); t.join()
    assert got == [b"through"]

@point
def mknod_devices():
    root_only()
    for name, kind, major, minor in (("c", stat.S_IFCHR, 1, 3), ("b", stat.S_IFBLK, 259, 70000)):
        os.mknod(name, kind | 0o600, os.makedev(major, minor))
        s = os.stat(name)
        assert stat.S_IFMT(s.st_mode) == kind and (os.major(s.st_rdev), os.minor(s.st_rdev)) == (major, minor)

@point
def unix_socket():
    s = socket.socket(socket.AF_UNIX); s.bind("s"); s.listen()
    c = socket.socket(socket.AF_UNIX); c.connect("s"); c.close(); s.close()
    assert stat.S_ISSOCK(os.stat("s").st_mode)

@point
def link_counts():
    put("a", b"one")
    os.link("a", "b")
    assert os.stat("a").st_nlink == 2 and os.stat("a").st_ino == os.stat("b").st_ino
    put("b", b"two")
    assert get("a") == b"two"
    os.unlink("a")
    assert os.stat("b").st_nlink == 1
    os.mkdir("d")
    fails(errno.EPERM, os.link, "d", "e")
    fails(errno.EEXIST, os.link, "b", "d")

@point
def symlinks():
    for n in (1, 59, 60, 61, 1000):
        os.symlink("t" * n, f"l{n}")
        assert os.readlink(f"l{n}") == "t" * n and os.lstat(f"l{n}").st_size == n
    os.symlink("loop", "loop")
    fails(errno.ELOOP, os.stat, "loop")
    fails(errno.ELOOP, os.open, "l1", os.O_RDONLY | os.O_NOFOLLOW)
    fails(errno.EINVAL, os.readlink, ".")

@point
def unlink_directory():
    os.mkdir("d")
    fails(errno.EISDIR, os.unlink, "d")

@point
def unlinked_but_open():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"still here")
    os.unlink("f")
    fails(errno.ENOENT, os.stat, "f")
    assert os.fstat(fd).st_nlink == 0
    os.pwrite(fd, b"even", 100000)
    assert os.pread(fd, 10, 0) == b"still here" and os.pread(fd, 9, 100000) == b"even"
    os.fsync(fd); os.ftruncate(fd, 5)
    assert os.pread(fd, 100, 0) == b"still"
    os.close(fd)

@point
def removed_directory_stays_open():
    os.mkdir("d")
    fd = os.open("d", os.O_RDONLY)
    os.rmdir("d")
    assert os.fstat(fd).st_nlink == 0 and os.listdir(fd) == []
    fails(errno.ENOENT, os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    os.close(fd)

# ---- rename ----

@point
def rename_replaces():
    put("a", b"new"); put("b", b"old")
    fd = os.open("b", os.O_RDONLY)
    os.rename("a", "b")
    assert get("b") == b"new" and os.read(fd, 9) == b"old" and os.fstat(fd).st_nlink == 0
    fails(errno.ENOENT, os.stat, "a")
    os.close(fd)

@point
def rename_directories():
    os.makedirs("a/b/c"); os.mkdir("e"); put("f")
    fails(errno.EINVAL, os.rename, "a", "a/b/x")
    fails(errno.EISDIR, os.rename, "f", "e")
    fails(errno.ENOTDIR, os.rename, "e", "f")
    fails(errno.ENOTEMPTY, os.rename, "e", "a")
    os.rename("a/b", "e")
    assert os.listdir("e") == ["c"] and os.stat("e/..").st_ino == os.stat(".").st_ino
    os.mkdir("g"); os.rename("e", "g/e")
    assert os.stat("g/e/..").st_ino == os.stat("g").st_ino and os.stat("g").st_nlink == 3

@point
def rename_to_own_link():
    put("a"); os.link("a", "b")
    os.rename("a", "b")
    assert os.path.exists("a") and os.path.exists("b")

@point
def rename_noreplace():
    put("a", b"a"); put("b", b"b")
    fails(errno.EEXIST, renameat2, "a", "b", 1)
    renameat2("a", "c", 1)
    assert get("c") == b"a" and get("b") == b"b"

@point
def rename_exchange():
    put("a", b"file"); os.mkdir("d"); put("d/x", b"inner"); os.mkdir("e")
    renameat2("a", "e", 2)
    assert get("e") == b"file" and os.path.isdir("a")
    renameat2("d/x", "e", 2)
    assert get("d/x") == b"file" and get("e") == b"inner"
    fails(errno.ENOENT, renameat2, "e", "nothing", 2)

@point
def rename_whiteout():
    root_only()
    put("a", b"moved")
    renameat2("a", "b", 4)
    s = os.stat("a")
    assert stat.S_ISCHR(s.st_mode) and s.st_rdev == 0 and get("b") == b"moved"

# ---- directories ----

@point
def readdir_large():
    names = {f"name-{n:05}" for n in range(5000)}
    for n in names:
        os.close(os.open(n, os.O_CREAT | os.O_WRONLY))
    assert set(os.listdir(".")) == names and len(os.listdir(".")) == 5000

@point
def readdir_while_removing():
    for n in range(3000):
        os.close(os.open(f"f{n}", os.O_CREAT | os.O_WRONLY))
    seen = []
    with os.scandir(".") as d:
        for e in d:
            seen.append(e.name); os.unlink(e.name)
    assert len(seen) == len(set(seen)) == 3000 and os.listdir(".") == []

@point
def readdir_while_adding():
    # What is there all the time is seen exactly once.
    old = {f"old{n}" for n in range(2000)}
    for n in old:
        os.close(os.open(n, os.O_CREAT | os.O_WRONLY))
    seen = []
    with os.scandir(".") as d:
        for n, e in enumerate(d):
            seen.append(e.name)
            if n < 3000:
                os.close(os.open(f"new{n}", os.O_CREAT | os.O_WRONLY))
    olds = [s for s in seen if s in old]
    assert len(olds) == 2000 and set(olds) == old

@point
def readdir_types():
    put("f"); os.mkdir("d"); os.symlink("f", "l"); os.mkfifo("p")
    kinds = {e.name: (e.is_file(follow_symlinks=False), e.is_dir(follow_symlinks=False), e.is_symlink(), e.inode()) for e in os.scandir(".")}
    assert {n: k[:3] for n, k in kinds.items()} == {"f": (True, False, False), "d": (False, True, False), "l": (False, False, True), "p": (False, False, False)}
    assert all(os.lstat(n).st_ino == k[3] for n, k in kinds.items())

@point
def telldir_seekdir():
    for n in range(500):
        put(f"f{n}", b"")
    libc.opendir.restype = ctypes.c_void_p
    libc.readdir.restype = ctypes.c_void_p
    libc.telldir.restype = ctypes.c_long
    d = ctypes.c_void_p(libc.opendir(b"."))
    name = lambda: (lambda e: ctypes.string_at(e + 19) if e else None)(libc.readdir(d))
    first = [name() for _ in range(200)]
    at = libc.telldir(d)
    rest = []
    while (n := name()) is not None:
        rest.append(n)
    libc.seekdir(d, ctypes.c_long(at))
    again = []
    while (n := name()) is not None:
        again.append(n)
    libc.closedir(d)
    assert rest == again and len(first) + len(rest) == 502

# ---- content ----

@point
def write_read_sparse():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    os.pwrite(fd, b"end", 1 << 30)
    assert os.fstat(fd).st_size == (1 << 30) + 3 and os.pread(fd, 8, 12345) == bytes(8)
    os.fsync(fd)
    assert os.fstat(fd).st_blocks < 2048
    os.close(fd)

@point
def append():
    fds = [os.open("f", os.O_CREAT | os.O_WRONLY | os.O_APPEND) for _ in range(2)]
    for n in range(200):
        os.write(fds[n % 2], b"%04d\n" % n)
    assert get("f") == b"".join(b"%04d\n" % n for n in range(200))
    for fd in fds: os.close(fd)

@point
def truncate_and_zeros():
    put("f", b"A" * 10000)
    os.truncate("f", 5000); os.truncate("f", 12000)
    assert get("f") == b"A" * 5000 + bytes(7000)
    fd = os.open("f", os.O_WRONLY | os.O_TRUNC); os.close(fd)
    assert os.stat("f").st_size == 0
    fails(errno.EISDIR, os.truncate, ".", 0)
    fails(errno.EINVAL, os.truncate, "f", -1)

@point
def largest_file():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    def write():
        # Where the kernel writes back by itself, it is fsync that says so.
        os.pwrite(fd, b"x", 1 << 62); os.fsync(fd)
    fails(errno.EFBIG, write)
    os.ftruncate(fd, 0); os.close(fd)
    # Whoever syncs the file system next hears of it, once.
    top = os.open(".", os.O_RDONLY); libc.syncfs(top); os.close(top)

@point
def two_descriptors_agree():
    a = os.open("f", os.O_CREAT | os.O_RDWR); b = os.open("f", os.O_RDWR)
    os.pwrite(a, b"from a", 0)
    assert os.pread(b, 6, 0) == b"from a"
    os.pwrite(b, b"b", 5)
    assert os.pread(a, 6, 0) == b"from b" and os.fstat(a).st_size == os.fstat(b).st_size == 6
    os.close(a); os.close(b)

@point
def mmap_shared():
    put("f", bytes(3 * 4096))
    fd = os.open("f", os.O_RDWR)
    m = mmap.mmap(fd, 3 * 4096)
    m[5000:5005] = b"hello"
    assert os.pread(fd, 5, 5000) == b"hello"
    os.pwrite(fd, b"there", 9000)
    assert m[9000:9005] == b"there"
    m.flush(); m.close(); os.close(fd)
    assert get("f")[5000:5005] == b"hello"

@point
def mmap_private():
    put("f", b"a" * 4096)
    fd = os.open("f", os.O_RDONLY)
    m = mmap.mmap(fd, 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    m[0:1] = b"b"
    assert get("f")[:1] == b"a"
    m.close(); os.close(fd)

@point
def mmap_written_after_close():
    put("f", bytes(4096))
    fd = os.open("f", os.O_RDWR)
    m = mmap.mmap(fd, 4096); os.close(fd)
    m[0:4] = b"late"; m.close()
    assert get("f")[:4] == b"late"

@point
def execute():
    put("f", b"#!/bin/sh\necho run\n"); os.chmod("f", 0o755)
    assert subprocess.run(["./f"], capture_output=True).stdout == b"run\n"
    os.chmod("f", 0o644)
    fails(errno.EACCES, os.execv, "./f", ["f"])

@point
def text_busy():
    subprocess.run(["cp", "/bin/sleep", "s"], check=True)
    p = subprocess.Popen(["./s", "30"])
    try:
        time.sleep(0.3)
        fails(errno.ETXTBSY, os.open, "s", os.O_WRONLY)
    finally:
        p.kill(); p.wait()

@point
def o_direct():
    fd = os.open("f", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    m = mmap.mmap(-1, 8192); m[:] = b"D" * 8192
    assert os.pwritev(fd, [m], 4096) == 8192
    n = mmap.mmap(-1, 4096)
    assert os.preadv(fd, [n], 8192) == 4096 and n[:] == b"D" * 4096
    os.close(fd)
    assert get("f") == bytes(4096) + b"D" * 8192

@point
def o_direct_and_cache_agree():
    put("f", b"c" * 16384)
    fd = os.open("f", os.O_RDWR | os.O_DIRECT)
    m = mmap.mmap(-1, 4096); m[:] = b"d" * 4096
    assert os.pwritev(fd, [m], 4096) == 4096
    assert get("f") == b"c" * 4096 + b"d" * 4096 + b"c" * 8192
    other = os.open("f", os.O_WRONLY); os.pwrite(other, b"e" * 4096, 0)
    assert os.preadv(fd, [m], 0) == 4096 and m[:] == b"e" * 4096
    os.close(fd); os.close(other)

@point
def big_write():
    data = os.urandom(8 << 20)
    put("f", data)
    assert get("f") == data

@point
def o_sync():
    fd = os.open("f", os.O_CREAT | os.O_WRONLY | os.O_SYNC)
    os.write(fd, b"x" * 10000); os.close(fd)
    fd = os.open("g", os.O_CREAT | os.O_WRONLY | os.O_DSYNC)
    os.write(fd, b"y" * 10000); os.close(fd)
    assert get("f") == b"x" * 10000 and get("g") == b"y" * 10000

@point
def fsync_all_kinds():
    os.mkdir("d"); put("d/f")
    for path, flags in (("d", os.O_RDONLY), ("d/f", os.O_RDWR)):
        fd = os.open(path, flags); os.fsync(fd); os.fdatasync(fd); os.close(fd)
    fd = os.open(".", os.O_RDONLY)
    assert libc.syncfs(fd) == 0
    os.close(fd)

# ---- space ----

@point
def fallocate_grows_and_reserves():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    fallocate(fd, 0, 0, 1 << 20)
    s = os.fstat(fd)
    assert s.st_size == 1 << 20 and os.pread(fd, 4096, 500000) == bytes(4096)
    fallocate(fd, 1, 2 << 20, 1 << 20)
    assert os.fstat(fd).st_size == 1 << 20
    os.close(fd)
    assert os.stat("f").st_blocks >= 4096

@point
def fallocate_punch():
    put("f", b"p" * 65536)
    fd = os.open("f", os.O_RDWR)
    fallocate(fd, 3, 10000, 30000)
    os.close(fd)
    assert get("f") == b"p" * 10000 + bytes(30000) + b"p" * 25536

@point
def fallocate_zero():
    put("f", b"z" * 65536)
    fd = os.open("f", os.O_RDWR)
    fallocate(fd, 16, 5000, 20000)
    fallocate(fd, 16, 60000, 20000)
    os.close(fd)
    assert get("f") == b"z" * 5000 + bytes(20000) + b"z" * 35000 + bytes(20000)

@point
def seek_data_and_hole():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, 1 << 20)
    os.pwrite(fd, b"d" * 65536, 262144)
    # Without fsync, and with the file still open.
    assert os.lseek(fd, 0, os.SEEK_DATA) == 262144
    assert os.lseek(fd, 262144, os.SEEK_HOLE) == 262144 + 65536
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
    fails(errno.ENXIO, os.lseek, fd, 400000, os.SEEK_DATA)
    fails(errno.ENXIO, os.lseek, fd, 1 << 20, os.SEEK_HOLE)
    assert os.lseek(fd, 400000, os.SEEK_HOLE) == 400000
    os.close(fd)

@point
def seek_data_of_a_mapping():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, 1 << 20)
    m = mmap.mmap(fd, 1 << 20)
    m[524288:524292] = b"here"
    assert os.lseek(fd, 0, os.SEEK_DATA) <= 524288
    m.close(); os.close(fd)

@point
def copy_file_range():
    put("a", bytes(range(256)) * 4096)
    a, b = os.open("a", os.O_RDONLY), os.open("b", os.O_CREAT | os.O_RDWR)
    os.pwrite(b, b"before", 0)
    done = 0
    while done < 500000:
        done += os.copy_file_range(a, b, 500000 - done, 1000 + done, 6 + done)
    assert get("b") == b"before" + get("a")[1000:501000]
    assert os.copy_file_range(a, b, 100, 1 << 21, 0) == 0
    os.close(a); os.close(b)

@point
def no_space_and_again():
    # Full, and what is removed is there again at once.
    try:
        with open("f", "wb", buffering=0) as f:
            for _ in range(100000):
                if f.write(bytes(1 << 20)) < 1 << 20:
                    break
            else:
                raise Skip("a large file system")
            os.fsync(f.fileno())
    except OSError as e:
        assert e.errno == errno.ENOSPC
    os.unlink("f")
    put("g", b"g" * (1 << 20))
    assert get("g") == b"g" * (1 << 20)

@point
def statvfs():
    s = os.statvfs(".")
    assert s.f_namemax == 255 and s.f_blocks >= s.f_bfree >= s.f_bavail > 0 and s.f_files > s.f_ffree > 0
    fd = os.open("f", os.O_CREAT | os.O_WRONLY); os.write(fd, os.urandom(1 << 20)); os.fsync(fd); os.close(fd)
    t = os.statvfs(".")
    assert (s.f_bfree - t.f_bfree) * s.f_frsize >= 1 << 20 and s.f_ffree - t.f_ffree == 1

# ---- attributes ----

@point
def chmod_all_bits():
    put("f")
    for mode in (0o0, 0o777, 0o4755, 0o2755, 0o1777, 0o7777):
        os.chmod("f", mode)
        assert stat.S_IMODE(os.stat("f").st_mode) == mode

@point
def utimens():
    put("f")
    for t in (0, 1, 1234567890123456789, -86400 * 10**9, (1 << 33) * 10**9 + 5, -1_500_000_000):
        os.utime("f", ns=(t, t + 7))
        s = os.stat("f")
        if (s.st_atime_ns, s.st_mtime_ns) != (t, t + 7):
            # 128-byte inodes have seconds only, and 32 bits of them.
            raise AssertionError(f"{s.st_atime_ns} {s.st_mtime_ns} and not {t}")
    os.symlink("f", "l")
    os.utime("l", ns=(5, 6), follow_symlinks=False)
    assert os.lstat("l").st_mtime_ns == 6

@point
def mtime_and_ctime_move():
    put("f"); os.mkdir("d")
    os.utime("f", ns=(0, 0)); os.utime("d", ns=(0, 0))
    before = time.time_ns() - 50_000_000
    with open("f", "ab") as f: f.write(b"y")
    put("d/x")
    assert os.stat("f").st_mtime_ns >= before and os.stat("d").st_mtime_ns >= before
    c = os.stat("f").st_ctime_ns
    time.sleep(0.02); os.chmod("f", 0o600)
    s = os.stat("f")
    assert s.st_ctime_ns > c and s.st_mtime_ns <= s.st_ctime_ns

@point
def explicit_mtime_survives_close():
    # What tar does: the time is set while what was written is still on its way.
    fd = os.open("f", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"x" * 3000)
    os.utime(fd, ns=(10**18, 10**18)); os.close(fd)
    assert os.stat("f").st_mtime_ns == 10**18
    subprocess.run(["sync", "f"], check=True)
    assert os.stat("f").st_mtime_ns == 10**18

@point
def relatime():
    put("f", b"x")
    os.utime("f", ns=(0, 10**18))
    fd = os.open("f", os.O_RDONLY)
    os.fsync(fd); os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED); os.close(fd)
    get("f")
    assert os.stat("f").st_atime_ns > 10**18

@point
def chown_and_setuid():
    root_only()
    put("f"); os.chmod("f", 0o6755)
    os.chown("f", 1000, 2000)
    s = os.stat("f")
    assert (s.st_uid, s.st_gid, stat.S_IMODE(s.st_mode)) == (1000, 2000, 0o755)
    os.chown("f", -1, 3000)
    assert (os.stat("f").st_uid, os.stat("f").st_gid) == (1000, 3000)

@point
def write_clears_setuid():
    root_only()
    put("f"); os.chmod("f", 0o6777); os.chmod(".", 0o777)
    as_user(1000, 1000, lambda: os.close((lambda fd: (os.write(fd, b"z"), fd)[1])(os.open("f", os.O_WRONLY))))
    assert stat.S_IMODE(os.stat("f").st_mode) == 0o777

@point
def truncate_clears_setuid():
    root_only()
    put("f", b"abc"); os.chmod("f", 0o6777); os.chmod(".", 0o777)
    as_user(1000, 1000, lambda: os.truncate("f", 1))
    assert stat.S_IMODE(os.stat("f").st_mode) == 0o777

@point
def setgid_directory():
    root_only()
    os.mkdir("d"); os.chown("d", 0, 4000); os.chmod("d", 0o2775)
    put("d/f"); os.mkdir("d/e")
    assert os.stat("d/f").st_gid == 4000 and os.stat("d/e").st_gid == 4000
    assert os.stat("d/e").st_mode & stat.S_ISGID

@point
def permissions_enforced():
    root_only()
    os.chmod(".", 0o777)
    put("f", b"secret"); os.chmod("f", 0o600); os.mkdir("d", 0o700); put("d/x")
    def work():
        fails(errno.EACCES, get, "f"); fails(errno.EACCES, os.stat, "d/x"); fails(errno.EACCES, os.listdir, "d")
        fails(errno.EPERM, os.chmod, "f", 0o777); fails(errno.EPERM, os.chown, "f", 1000, 1000)
        assert not os.access("f", os.R_OK)
        put("mine"); os.chmod("mine", 0o600); os.unlink("mine")
    as_user(1000, 1000, work)

@point
def sticky_directory():
    root_only()
    os.mkdir("t"); os.chmod("t", 0o1777); put("t/f")
    as_user(1000, 1000, lambda: fails(errno.EPERM, os.unlink, "t/f"))
    as_user(1000, 1000, lambda: fails(errno.EPERM, os.rename, "t/f", "t/g"))

@point
def supplementary_groups():
    root_only()
    os.chmod(".", 0o777); put("f", b"g"); os.chown("f", 0, 5000); os.chmod("f", 0o640)
    as_user(1000, 1000, lambda: fails(errno.EACCES, get, "f"))
    def work():
        assert get("f") == b"g"
    as_user(1000, 1000, work, groups=[5000])

# ---- extended attributes, access control lists ----

@point
def xattrs():
    put("f")
    os.setxattr("f", "user.a", b"1"); os.setxattr("f", "user.b", b"x" * 900)
    assert os.getxattr("f", "user.b") == b"x" * 900 and sorted(os.listxattr("f")) == ["user.a", "user.b"]
    fails(errno.EEXIST, os.setxattr, "f", "user.a", b"2", os.XATTR_CREATE)
    fails(errno.ENODATA, os.setxattr, "f", "user.c", b"2", os.XATTR_REPLACE)
    os.setxattr("f", "user.a", b"2", os.XATTR_REPLACE); os.removexattr("f", "user.b")
    assert os.getxattr("f", "user.a") == b"2" and os.listxattr("f") == ["user.a"]
    fails(errno.ENODATA, os.getxattr, "f", "user.b"); fails(errno.ENODATA, os.removexattr, "f", "user.b")
    os.setxattr("f", "user.empty", b"")
    assert os.getxattr("f", "user.empty") == b""

@point
def xattr_sizes():
    put("f")
    os.setxattr("f", "user.a", b"12345")
    buf = ctypes.create_string_buffer(3)
    assert libc.getxattr(b"f", b"user.a", None, 0) == 5
    assert libc.getxattr(b"f", b"user.a", buf, 3) == -1 and ctypes.get_errno() == errno.ERANGE
    fails(errno.ERANGE, os.setxattr, "f", "user." + "n" * 256, b"")

@point
def xattr_trusted_is_root_s():
    root_only()
    put("f"); os.chmod("f", 0o666); os.setxattr("f", "trusted.x", b"t"); os.setxattr("f", "user.x", b"u")
    assert sorted(os.listxattr("f")) == ["trusted.x", "user.x"]
    def work():
        assert os.listxattr("f") == ["user.x"]
        fails(errno.ENODATA, os.getxattr, "f", "trusted.x")
        fails(errno.EPERM, os.setxattr, "f", "trusted.x", b"")
    as_user(1000, 1000, work)

@point
def file_capabilities_go_when_written():
    root_only()
    put("f")
    cap = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    os.setxattr("f", "security.capability", cap)
    assert os.getxattr("f", "security.capability")[:4] == cap[:4]
    put("f", b"new")
    fails(errno.ENODATA, os.getxattr, "f", "security.capability")

def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, p, i & 0xffffffff) for t, p, i in entries)

@point
def acl_enforced():
    root_only()
    os.chmod(".", 0o755); put("f", b"acl"); os.chmod("f", 0o600)
    as_user(1000, 1000, lambda: fails(errno.EACCES, get, "f"))
    os.setxattr("f", "system.posix_acl_access", acl((1, 6, -1), (2, 4, 1000), (4, 0, -1), (16, 4, -1), (32, 0, -1)))
    assert stat.S_IMODE(os.stat("f").st_mode) == 0o640
    def work():
        assert get("f") == b"acl"
        fails(errno.EACCES, os.open, "f", os.O_WRONLY)
    as_user(1000, 1000, work)
    as_user(1001, 1001, lambda: fails(errno.EACCES, get, "f"))

@point
def acl_follows_chmod():
    put("f")
    os.setxattr("f", "system.posix_acl_access", acl((1, 6, -1), (2, 6, 1000), (4, 4, -1), (16, 6, -1), (32, 4, -1)))
    os.chmod("f", 0o604)
    assert os.getxattr("f", "system.posix_acl_access") == acl((1, 6, -1), (2, 6, 1000), (4, 4, -1), (16, 0, -1), (32, 4, -1))

@point
def acl_inherited():
    os.mkdir("d")
    default = acl((1, 7, -1), (2, 7, 1000), (4, 5, -1), (16, 7, -1), (32, 0, -1))
    os.setxattr("d", "system.posix_acl_default", default)
    old = os.umask(0o077)
    try:
        fd = os.open("d/f", os.O_CREAT | os.O_WRONLY, 0o666); os.close(fd); os.mkdir("d/e", 0o777)
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat("d/f").st_mode) == 0o660, oct(os.stat("d/f").st_mode)
    assert os.getxattr("d/f", "system.posix_acl_access") == acl((1, 6, -1), (2, 7, 1000), (4, 5, -1), (16, 6, -1), (32, 0, -1))
    assert os.getxattr("d/e", "system.posix_acl_default") == default
    fails(errno.ENODATA, os.getxattr, "d/f", "system.posix_acl_default")

@point
def acl_minimal_is_a_mode():
    put("f")
    os.setxattr("f", "system.posix_acl_access", acl((1, 7, -1), (4, 5, -1), (32, 1, -1)))
    assert stat.S_IMODE(os.stat("f").st_mode) == 0o751
    assert "system.posix_acl_access" not in os.listxattr("f")

# ---- locks and notices ----

@point
def posix_locks():
    put("f", bytes(100))
    fd = os.open("f", os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX, 10, 0)
    def other():
        g = os.open("f", os.O_RDWR)
        try:
            fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 5)
        except OSError as e:
            assert e.errno in (errno.EAGAIN, errno.EACCES)
        else:
            raise AssertionError("two have it")
        fcntl.lockf(g, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 10)
    as_user(os.getuid(), os.getgid(), other) if os.getuid() == 0 else None
    os.close(fd)

@point
def flock_locks():
    put("f")
    a, b = os.open("f", os.O_RDONLY), os.open("f", os.O_RDONLY)
    fcntl.flock(a, fcntl.LOCK_EX)
    fails(errno.EAGAIN, fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(a, fcntl.LOCK_UN)
    fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(a); os.close(b)

@point
def inotify():
    put("f")
    fd = libc.inotify_init()
    libc.inotify_add_watch(fd, b".", 0x100 | 0x200 | 0x2)
    put("g"); os.unlink("g")
    assert b"g\0" in os.read(fd, 4096)
    os.close(fd)

@point
def inode_numbers_stay():
    put("f")
    a = os.stat("f").st_ino
    os.rename("f", "g")
    assert os.stat("g").st_ino == a and a > 10

@point
def many_threads():
    def work(n):
        for i in range(100):
            name = f"t{n}-{i}"
            put(name, name.encode() * 50); assert get(name) == name.encode() * 50
            os.rename(name, name + "r")
            if i % 2: os.unlink(name + "r")
    bad = []
    def guard(n):
        try: work(n)
        except BaseException as e: bad.append(repr(e))
    ts = [threading.Thread(target=guard, args=(n,)) for n in range(8)]
    [t.start() for t in ts]; [t.join() for t in ts]
    assert not bad, bad
    assert len(os.listdir(".")) == 400

@point
def one_name_many_makers():
    # O_EXCL has one winner.
    wins = []
    def work():
        for i in range(50):
            try:
                os.close(os.open(f"f{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)); wins.append(i)
            except FileExistsError:
                pass
    ts = [threading.Thread(target=work) for _ in range(6)]
    [t.start() for t in ts]; [t.join() for t in ts]
    assert sorted(wins) == list(range(50))


def main():
    top = os.path.abspath(sys.argv[1])
    only = set(sys.argv[2:])
    failed = 0
    for f in POINTS:
        if only and f.__name__ not in only:
            continue
        d = os.path.join(top, "posix-" + f.__name__)
        os.mkdir(d); os.chdir(d)
        try:
            f(); print("ok", f.__name__)
        except Skip as e:
            print("skip", f"{f.__name__}: {e}")
        except BaseException as e:
            failed += 1
            print("no", f"{f.__name__}: {type(e).__name__}: {e}")
        sys.stdout.flush()
        os.chdir("/")
        subprocess.run(["rm", "-rf", d], check=True)
    return 1 if failed else 0


sys.exit(main())
