#!/usr/bin/python3
"""64 connections that are open together and work together, each in its own part of the disk; one more is refused.

usage: many.py URI FILE    FILE holds the disk as it is
"""
import random, sys, threading
import nbd

uri, path = sys.argv[1:]
model = open(path, "rb").read()
part = len(model) // 64
handles = []
for _ in range(64):
    h = nbd.NBD()
    h.connect_uri(uri)
    handles.append(h)
try:
    nbd.NBD().connect_uri(uri)
    raise AssertionError("a connection more than there may be")
except nbd.Error:
    pass
failed = []
together = threading.Barrier(64)


def work(n):
    try:
        h, rnd = handles[n], random.Random(n)
        mine = bytearray(model[n * part:(n + 1) * part])
        together.wait()
        for _ in range(100):
            at = rnd.randrange(part)
            length = min(rnd.choice((1, 512, 4096)), part - at)
            if rnd.random() < 0.5:
                data = rnd.randbytes(length)
                h.pwrite(data, n * part + at)
                mine[at:at + length] = data
            else:
                assert h.pread(length, n * part + at) == mine[at:at + length]
        h.flush()
        assert h.pread(part, n * part) == mine
    except Exception as e:
        failed.append((n, e))


threads = [threading.Thread(target=work, args=(n,)) for n in range(64)]
for t in threads:
    t.start()
for t in threads:
    t.join()
assert not failed, failed
for h in handles:
    h.shutdown()
print("done")
