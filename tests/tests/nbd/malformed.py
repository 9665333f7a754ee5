#!/usr/bin/python3
"""What no good client sends, and what the specification (NetworkBlockDevice/nbd, doc/proto.md) wants for it.

usage: malformed.py SOCKET URI READ_ONLY_URI
"""
import random, socket, struct, sys
import nbd

path, uri, read_only = sys.argv[1:]
OPT, REP = 0x49484156454F5054, 0x3E889045565A9
ERR = 1 << 31
UNSUP, INVALID, UNKNOWN, TOO_BIG = ERR + 1, ERR + 3, ERR + 6, ERR + 9
SIZE = 1 << 20


class Raw:
    """A connection, byte by byte."""

    def __init__(self, flags=3):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(20)
        self.s.connect(path)
        hello = self.get(18)
        assert hello == b"NBDMAGIC" + struct.pack(">QH", OPT, 3), hello
        self.put(struct.pack(">I", flags))

    def put(self, data):
        try:
            self.s.sendall(data)
        except BrokenPipeError:
            pass  # the server has ended it already; whoever wants an answer will miss it

    def get(self, n):
        data = b""
        while len(data) < n:
            more = self.s.recv(n - len(data))
            if not more:
                raise EOFError(len(data))
            data += more
        return data

    def option(self, code, data=b"", length=None):
        self.put(struct.pack(">QII", OPT, code, len(data) if length is None else length) + data)

    def reply(self, code):
        """The type of the last reply to an option, and the data of all."""
        all_data = []
        while True:
            magic, option, kind, n = struct.unpack(">QIII", self.get(20))
            assert (magic, option) == (REP, code), (hex(magic), option)
            all_data.append(self.get(n))
            if kind == 1 or kind & ERR:
                return kind, all_data

    def ask(self, code, data=b""):
        self.option(code, data)
        return self.reply(code)[0]

    def go(self, name=b"", structured=True):
        if structured:
            assert self.ask(8) == 1
        assert self.ask(7, struct.pack(">I", len(name)) + name + b"\0\0") == 1
        return self

    def request(self, kind, offset=0, length=0, flags=0, cookie=5, magic=0x25609513):
        self.put(struct.pack(">IHHQQI", magic, flags, kind, cookie, offset, length))

    def error(self, cookie=5):
        """The error of a reply, simple or structured."""
        magic, = struct.unpack(">I", self.get(4))
        if magic == 0x67446698:
            error, got = struct.unpack(">IQ", self.get(12))
        else:
            assert magic == 0x668E33EF, hex(magic)
            flags, kind, got, n = struct.unpack(">HHQI", self.get(16))
            payload = self.get(n)
            assert flags & 1
            error = struct.unpack(">I", payload[:4])[0] if kind & 0x8000 else 0
        assert got == cookie
        return error

    def fails(self, errno, *args, **kwargs):
        self.request(*args, **kwargs)
        got = self.error()
        assert got == errno, (got, errno, args, kwargs)

    def ends(self):
        try:
            while self.s.recv(65536):
                pass
        except ConnectionResetError:
            pass
        self.s.close()


def no_answer(flags=3, data=b""):
    r = Raw(flags)
    r.put(data)
    r.ends()


# Flags that nobody knows, and options without their magic.
no_answer(flags=1 << 2)
no_answer(flags=0xFFFFFFFF)
no_answer(data=b"\0" * 16)
no_answer(data=struct.pack(">QII", OPT, 7, 0xFFFFFFFF))
no_answer(data=struct.pack(">QII", OPT, 1, 5) + b"nobod")
no_answer(data=struct.pack(">QII", OPT, 1, 2) + b"\xff\xfe")

# Options: those not known, those of wrong length, in one connection, which goes on.
r = Raw()
for code in (0, 4, 11, 99, 0xFFFFFFFF):
    assert r.ask(code, b"whatever") == UNSUP, code
assert r.ask(3, b"x") == INVALID
assert r.ask(8, b"x") == INVALID
assert r.ask(5) == UNSUP
for code in (6, 7):
    for data in (b"", b"\0\0", b"\0\0\0\x09abc\0\0", b"\xff\xff\xff\xff\0\0", b"\0\0\0\0\0\x05\0\1", b"\0\0\0\0\0\0x",
                 b"\0\0\0\1\xff\0\0", b"\0\0\0\1\0\0\0"):
        assert r.ask(code, data) == INVALID, (code, data)
    assert r.ask(code, b"\0\0\0\x06nobody\0\0") == UNKNOWN
    r.option(code, b"x" * 100000)
    assert r.reply(code)[0] == TOO_BIG
contexts = b"\0\0\0\0\0\0\0\1\0\0\0\x0fbase:allocation"
for code in (9, 10):
    assert r.ask(code, contexts) == INVALID  # structured replies first
assert r.ask(8) == 1
for code in (9, 10):
    assert r.ask(code, b"\0\0\0\0\xff\xff\xff\xff") == INVALID
    assert r.ask(code, b"\0\0\0\x06nobody\0\0\0\0") == UNKNOWN
    r.option(code, contexts)
    assert len(r.reply(code)[1]) == 2
r.option(9, b"\0\0\0\0\0\0\0\0")
assert [d[4:] for d in r.reply(9)[1]] == [b"base:allocation", b"cow:dirty", b""]
r.option(9, b"\0\0\0\0\0\0\0\1\0\0\0\x04cow:")
assert [d[4:] for d in r.reply(9)[1]] == [b"cow:dirty", b""]
r.option(10, b"\0\0\0\0\0\0\0\1\0\0\0\x07nobody:")
assert r.reply(10) == (1, [b""])
assert r.ask(2) == 1
r.ends()

# Contexts that were chosen for another export do not count.
r = Raw()
assert r.ask(8) == 1
assert r.ask(10, contexts) == 1
r.go(b"was", structured=False)
r.fails(22, 7, 0, 4096)

# The old way to choose, with and without zeros.
for flags, n in ((0, 134), (1, 134), (3, 10)):
    r = Raw(flags)
    r.option(1)
    assert struct.unpack(">Q", r.get(n)[:8])[0] == SIZE
    r.request(0, 0, 512)
    assert r.get(16) == struct.pack(">IIQ", 0x67446698, 0, 5)
    r.get(512)
    r.request(2)
    r.ends()

# Requests: each is refused, and the next one is good.
for structured in (True, False):
    r = Raw().go(structured=structured)
    past = [(SIZE, 1), (SIZE - 1, 2), (1 << 63, 512), ((1 << 64) - 1, 4096), (0, SIZE + 1)]
    for at, n in past:
        r.fails(22, 0, at, n)
        r.fails(22, 4, at, n)
        r.fails(22, 5, at, n)
        r.fails(28, 6, at, n)
        r.request(1, at, n)
        r.put(b"w" * n)
        assert r.error() == 28
    for kind in (8, 100, 65535):
        r.fails(22, kind, 0, 512)
    for kind in range(8):
        if kind != 2:
            r.request(kind, 0, 0 if kind == 3 else 512, flags=1 << 12)
            if kind == 1:
                r.put(bytes(512))
            assert r.error() == 22, kind
    r.fails(22, 3, 0, 512)
    r.fails(22, 3, 512, 0)
    r.fails(22, 7, 0, 512)  # no context
    r.fails(22, 0, 0, 0x7FFFFFFF)
    r.fails(22, 0, 0, (32 << 20) + 1)
    if not structured:
        r.fails(22, 0, 0, 512, flags=1 << 2)
    r.request(1, 0, (32 << 20) + 1)  # more than is taken, but it comes
    for _ in range(32):
        r.put(bytes(1 << 20))
    r.put(b"x")
    assert r.error() == 22
    for kind in (0, 1, 4, 5, 6):  # nothing at all
        r.fails(0, kind, 0, 0)
    r.fails(0, 3, 0, 0, flags=1)
    r.request(1, 0, 0xFFFFFFFF)  # so much more that the connection ends
    r.ends()
    r = Raw().go(structured=structured)
    r.request(0, 0, 512, magic=0x25609514)
    r.ends()
    r = Raw().go(structured=structured)
    r.request(1, 0, 4096)
    r.put(b"half of it")
    r.s.close()

# Requests cut anywhere, and many in one piece, are the same.
r = Raw().go(structured=False)
one = struct.pack(">IHHQQI", 0x25609513, 0, 1, 5, 4096, 100) + b"p" * 100
for byte in one:
    r.put(bytes([byte]))
assert r.error() == 0
r.put(one * 50)
for _ in range(50):
    assert r.error() == 0
r.request(0, 4096, 100)
assert r.get(116)[16:] == b"p" * 100

# A read-only export.
h = nbd.NBD()
h.set_strict_mode(0)
h.connect_uri(read_only)
assert h.is_read_only()
for call in (lambda: h.pwrite(b"x" * 512, 0), lambda: h.zero(512, 0), lambda: h.trim(512, 0)):
    try:
        call()
        raise AssertionError("written to a read-only export")
    except nbd.Error as e:
        assert e.errno == "EPERM", e
h.flush()
h.shutdown()

# Noise, from the first byte, after the flags, and for requests.
rnd = random.Random(1)
for i in range(300):
    r = Raw(rnd.choice((0, 1, 2, 3)))
    if i % 3 == 0:
        r.put(rnd.randbytes(rnd.randrange(200)))
    elif i % 3 == 1:
        r.option(rnd.randrange(12), rnd.randbytes(rnd.randrange(60)))
    else:
        r.go(structured=False)
        r.request(rnd.randrange(9), rnd.getrandbits(64), rnd.getrandbits(rnd.randrange(33)), rnd.getrandbits(5))
        r.put(rnd.randbytes(rnd.randrange(200)))
    try:
        r.s.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    r.ends()

# And all is well.
h = nbd.NBD()
h.connect_uri(uri)
assert h.get_size() == SIZE
h.pread(SIZE, 0)
h.shutdown()
print("done")
