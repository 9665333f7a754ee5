#!/usr/bin/python3
"""Clients that are killed in the middle, and clients that ask and do not read, beside a good one.

usage: bad.py URI SOCKET
"""
import os, signal, socket, struct, sys
import nbd

uri, path = sys.argv[1:]
good = nbd.NBD()
good.connect_uri(uri)
half = good.get_size() // 2


def raw():
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    s.recv(18)
    s.sendall(struct.pack(">I", 3) + struct.pack(">QII", 0x49484156454F5054, 1, 0))
    assert len(s.recv(10)) == 10
    return s


# Killed while it writes, again and again; the other half of the disk is the good one's.
for i in range(20):
    child = os.fork()
    if child == 0:
        h = nbd.NBD()
        h.connect_uri(uri)
        while True:
            for _ in range(16):
                h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(b"k" * 60000)), half)
            h.poll(0)
    data = bytes([i]) * 4096
    for n in range(20):
        good.pwrite(data, n * 4096)
        assert good.pread(4096, n * 4096) == data
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

# Those who ask for much and read nothing, and those who say half of what they want.
slow = [raw() for _ in range(20)]
for s in slow[:10]:
    s.setblocking(False)
    for n in range(200):
        try:
            s.send(struct.pack(">IHHQQI", 0x25609513, 0, 0, n, 0, 262144))
        except BlockingIOError:
            break
for s in slow[10:]:
    s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, 1, half, 65536) + b"half")
for n in range(200):
    data = bytes([n]) * 4096
    good.pwrite(data, n * 512)
    assert good.pread(4096, n * 512) == data
good.flush()
good.shutdown()
print("done")
os._exit(0)  # the sockets of the slow ones go as they are
