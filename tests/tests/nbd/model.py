#!/usr/bin/python3
"""Random requests over four connections, checked against the bytes that the disk must hold.

usage: model.py URI FILE COUNT    FILE holds the disk as it is, and as it must be afterwards
"""
import random, sys
import nbd

uri, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = bytearray(open(path, "rb").read())
size = len(model)
rnd = random.Random(20261126)
handles = []
for i in range(4):
    h = nbd.NBD()
    if i == 3:
        h.set_request_structured_replies(False)  # simple replies too
    else:
        h.add_meta_context("base:allocation")
        h.add_meta_context("cow:dirty")
    h.connect_uri(uri)
    handles.append(h)
assert handles[0].can_multi_conn() and handles[0].can_fast_zero()

unknown = bytearray(size)  # 1 where a trim has left the content open until the next read
for _ in range(count):
    h = rnd.choice(handles)
    align = rnd.choice((1, 512, 4096))
    at = rnd.randrange(size) // align * align
    length = min(rnd.choice((1, 511, 512, 4096, 65536, 300000)), size - at)
    fua = nbd.CMD_FLAG_FUA if rnd.random() < 0.05 else 0
    kind = rnd.choice("rrrwwwwztsfc")
    if kind == "w":
        data = rnd.randbytes(length)
        h.pwrite(data, at, fua)
        model[at:at + length] = data
        unknown[at:at + length] = bytes(length)
    elif kind == "z":
        flags = fua | rnd.choice((0, nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FAST_ZERO))
        try:
            h.zero(length, at, flags)
            model[at:at + length] = bytes(length)
            unknown[at:at + length] = bytes(length)
        except nbd.Error as e:
            assert e.errno == "ENOTSUP" and flags & nbd.CMD_FLAG_FAST_ZERO, e
    elif kind == "t":
        h.trim(length, at, fua)
        unknown[at:at + length] = b"\1" * length
    elif kind == "s" and h is not handles[3]:
        told = {}
        h.block_status(length, at, lambda name, offset, entries, err: told.__setitem__(name, entries))
        assert set(told) == {"base:allocation", "cow:dirty"}, told
        pos = at
        for n, flags in zip(*[iter(told["base:allocation"])] * 2):
            if flags & nbd.STATE_ZERO:
                hole = min(n, at + length - pos)
                zero = not any(model[pos:pos + hole])
                for i in () if zero else range(pos, pos + hole):
                    assert unknown[i] or model[i] == 0, i
            pos += n
    elif kind == "f":
        h.flush()
    elif kind == "c":
        h.cache(length, at)
    else:
        if h is not handles[3] and rnd.random() < 0.3:
            chunks = []
            got = h.pread_structured(length, at, lambda b, o, s, e: chunks.append((o, s)), nbd.CMD_FLAG_DF)
            assert len(chunks) == 1, chunks
        else:
            got = h.pread(length, at)
        known = 1 not in unknown[at:at + length]
        if known:
            assert got == model[at:at + length], (at, length)
        for i in () if known else range(length):
            if unknown[at + i]:
                model[at + i] = got[i]
            else:
                assert got[i] == model[at + i], at + i
        unknown[at:at + length] = bytes(length)
model[:] = handles[0].pread(size, 0) if any(unknown) else model
assert handles[1].pread(size, 0) == model
handles[0].flush()
for h in handles:
    h.shutdown()
open(path, "wb").write(model)
print("done")
