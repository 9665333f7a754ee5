# What a loop device answers, line by line; nothing of it depends on which device it is. Run by loops.rs on the host and in a guest.
import errno, fcntl, os, struct, sys

path = sys.argv[1]
ioctl = fcntl.ioctl


def show(what, call):
    try:
        value = call()
        print(what, "ok" if isinstance(value, (bytes, int)) else value)
    except OSError as e:
        print(what, errno.errorcode[e.errno])


def info(offset=0, limit=0, flags=0, cipher=0):
    return struct.pack("<5Q4I64s64s32s2Q", 0, 0, 0, offset, limit, 0, cipher, 0, flags, b"name", b"", b"", 0, 0)


def config(fd, block=0, **rest):
    return struct.pack("<II", fd, block) + info(**rest) + bytes(64)


def status(fd):
    x = struct.unpack("<5Q4I64s64s32s2Q", ioctl(fd, 0x4C05, bytes(232)))
    stat = os.stat(path)
    assert (x[0], x[1]) == (stat.st_dev, stat.st_ino) or x[3], x
    return x[3:5], x[6:9], x[9].rstrip(b"\0")


def size(fd):
    return (struct.unpack("<Q", ioctl(fd, 0x80081272, bytes(8)))[0],)


def sysfs(n):
    names = ["loop/" + f for f in "autoclear backing_file dio offset partscan sizelimit".split()] + ["ro", "size"]
    def text(name):
        try:
            return open(f"/sys/block/loop{n}/{name}").read().strip()
        except FileNotFoundError:
            return None
    return {name: text(name) for name in names}


control = os.open("/dev/loop-control", os.O_RDWR)
n = ioctl(control, 0x4C82)
name = f"/dev/loop{n}"
l = os.open(name, os.O_RDWR)
show("unknown of control", lambda: ioctl(control, 0x4C99))
show("add twice", lambda: ioctl(control, 0x4C80, n))
show("remove none", lambda: ioctl(control, 0x4C81, 7777))
show("remove -1", lambda: ioctl(control, 0x4C81, -1))
show("remove open", lambda: ioctl(control, 0x4C81, n))
show("unknown", lambda: ioctl(l, 0x4C55))
for command in (0x4C01, 0x4C06, 0x4C07, 0x4C08, 0x4C09):
    show(f"unbound {command:x}", lambda: ioctl(l, command, 0))
for command, length in ((0x4C02, 168), (0x4C03, 168), (0x4C04, 232), (0x4C05, 232)):
    show(f"unbound {command:x}", lambda: ioctl(l, command, bytes(length)))
show("read", lambda: (os.read(l, 512),))
show("set none", lambda: ioctl(l, 0x4C00, 999))
show("set directory", lambda: ioctl(l, 0x4C00, os.open("/", os.O_RDONLY)))
show("set null", lambda: ioctl(l, 0x4C00, os.open("/dev/null", os.O_RDWR)))
show("set itself", lambda: ioctl(l, 0x4C00, l))
show("set path", lambda: ioctl(l, 0x4C00, os.open(path, os.O_PATH)))
# Not whether it is read-only: that is left from who had it before.
print({name: value for name, value in sysfs(n).items() if name != "ro"})
f = os.open(path, os.O_RDWR)
show("set", lambda: ioctl(l, 0x4C00, f))
show("set again", lambda: ioctl(l, 0x4C00, f))
show("configure again", lambda: ioctl(l, 0x4C0A, config(f)))
show("change writable", lambda: ioctl(l, 0x4C06, f))
for block in (1000, 0, 256, 4096, 512):
    show(f"blocks of {block}", lambda: ioctl(l, 0x4C09, block))
show("all flags", lambda: ioctl(l, 0x4C04, info(flags=0xFFFF)))
show("status", lambda: status(l))
show("far offset", lambda: ioctl(l, 0x4C04, info(offset=1 << 63)))
show("far limit", lambda: ioctl(l, 0x4C04, info(limit=1 << 63)))
show("cipher 1", lambda: ioctl(l, 0x4C04, info(cipher=1)))
show("cipher 77", lambda: ioctl(l, 0x4C04, info(cipher=77)))
show("a part", lambda: ioctl(l, 0x4C04, info(offset=4096, limit=100000, flags=4)))
show("status", lambda: status(l))
show("old status", lambda: ioctl(l, 0x4C03, bytes(168)))
print(size(l), sysfs(n))
show("write", lambda: (os.pwrite(l, b"ab" * 256, 512),))
os.fsync(l)
print(os.pread(f, 4, 4096 + 510))
show("read at the end", lambda: (len(os.pread(l, 4096, 99500)),))
show("write behind the end", lambda: os.pwrite(l, b"x", 1 << 20))
show("beyond the end", lambda: ioctl(l, 0x4C04, info(offset=1 << 30)))
print(size(l))
reader = os.open(name, os.O_RDONLY)
show("all of it", lambda: ioctl(l, 0x4C04, info()))
os.ftruncate(f, 5 << 20)
print(size(l))
show("capacity", lambda: ioctl(l, 0x4C07))
print(size(l))
show("old status", lambda: ioctl(l, 0x4C03, bytes(168)))
show("partitions", lambda: ioctl(l, 0x125F))
show("discard", lambda: ioctl(l, 0x1277, struct.pack("QQ", 0, 1 << 20)))
print(os.pread(l, 4, 4096 + 510))
show("itself on itself", lambda: ioctl(l, 0x4C06, l))
show("clear", lambda: ioctl(l, 0x4C01))
show("status", lambda: status(l))
show("clear again", lambda: ioctl(l, 0x4C01))
show("set", lambda: ioctl(l, 0x4C00, f))
os.close(reader)
show("clear once more", lambda: ioctl(l, 0x4C01))
show("status", lambda: status(l))
show("open", lambda: os.open(name, os.O_RDONLY))
os.close(l)
print(sysfs(n))
l = os.open(name, os.O_RDWR)
show("status", lambda: status(l))
show("configure blocks", lambda: ioctl(l, 0x4C0A, config(f, 1000)))
show("configure flags", lambda: ioctl(l, 0x4C0A, config(f, flags=2)))
show("configure flags", lambda: ioctl(l, 0x4C0A, config(f, flags=64)))
r = os.open(path, os.O_RDONLY)
show("configure read-only", lambda: ioctl(l, 0x4C0A, config(r, 4096, flags=4, offset=512)))
show("status", lambda: status(l))
show("write", lambda: os.pwrite(l, b"x" * 4096, 0))
show("discard", lambda: ioctl(l, 0x1277, struct.pack("QQ", 0, 4096)))
print(sysfs(n), open(f"/sys/block/loop{n}/queue/logical_block_size").read())
other = os.open(path + "2", os.O_RDWR | os.O_CREAT)
show("change to a small one", lambda: ioctl(l, 0x4C06, other))
os.ftruncate(other, 5 << 20)
show("change", lambda: ioctl(l, 0x4C06, other))
print(sysfs(n))
os.unlink(path + "2")
print(sysfs(n)["loop/backing_file"])
os.close(l)
print(sysfs(n))
alone = os.open(name, os.O_RDWR | os.O_EXCL)
l = os.open(name, os.O_RDWR)
show("set while another has it alone", lambda: ioctl(l, 0x4C00, f))
show("set by who has it alone", lambda: ioctl(alone, 0x4C00, f))
os.close(alone)
show("alone", lambda: os.close(os.open(name, os.O_RDWR | os.O_EXCL)))
show("status", lambda: status(l))
reader = os.open(name, os.O_RDONLY)
os.close(l)
show("clear by a reader", lambda: ioctl(reader, 0x4C01))
os.close(reader)
reader = os.open(name, os.O_RDONLY)
show("set by a reader", lambda: ioctl(reader, 0x4C00, f))
show("status", lambda: status(reader))
show("clear", lambda: ioctl(reader, 0x4C01))
os.close(reader)
