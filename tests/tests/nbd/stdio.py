#!/usr/bin/python3
"""A server at the other end of a socket pair, and one between two pipes.

usage: stdio.py COWTOOL DIR FILE    FILE holds what DIR/top.cow shows, and what it must show afterwards
"""
import os, struct, subprocess, sys
import nbd

cowtool, place, path = sys.argv[1:]
os.chdir(place)
model = bytearray(open(path, "rb").read())
h = nbd.NBD()
h.connect_command([cowtool, "serve", "--stdio", "--rw", "top.cow"])
assert h.pread(len(model), 0) == model
h.pwrite(b"over a socket pair", 12345)
model[12345:12345 + 18] = b"over a socket pair"
h.shutdown()
del h

while True:
    server = subprocess.Popen([cowtool, "serve", "--stdio", "--rw", "top.cow"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
    if server.stdout.read(18):
        break
    assert b"in use" in server.stderr.read()  # the first one has not ended yet
server.stdin.write(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, 0))
server.stdin.write(struct.pack(">IHHQQI", 0x25609513, 0, 1, 1, 54321, 10) + b"over pipes")
server.stdin.write(struct.pack(">IHHQQI", 0x25609513, 0, 0, 2, 12345, 18))
server.stdin.write(struct.pack(">IHHQQI", 0x25609513, 0, 2, 3, 0, 0))
server.stdin.flush()
out, err = server.communicate()
model[54321:54331] = b"over pipes"
assert server.returncode == 0 and err == b"", err
assert struct.unpack(">Q", out[:8])[0] == len(model)
assert out[10:26] == struct.pack(">IIQ", 0x67446698, 0, 1)
assert out[26:] == struct.pack(">IIQ", 0x67446698, 0, 2) + b"over a socket pair"
open(path, "wb").write(model)
print("done")
