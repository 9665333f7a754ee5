#!/usr/bin/env python3
"""Writes the hand-made part of the corpus: one input for each option, command and mode. What else is there was found by the fuzzer."""
import os, struct

here = os.path.dirname(os.path.abspath(__file__))


def put(target, name, data):
    os.makedirs(os.path.join(here, "corpus", target), exist_ok=True)
    with open(os.path.join(here, "corpus", target, name), "wb") as f:
        f.write(data)


def option(code, data=b""):
    return struct.pack(">BH", code, len(data)) + data


go = b"\0\0\0\1a\0\2\0\1\0\2"
contexts = b"\0\0\0\1a\0\0\0\1\0\0\0\x0fbase:allocation"
for code, data in ((1, b"a"), (2, b""), (3, b""), (5, b""), (6, go), (7, go), (8, b""), (9, contexts), (10, contexts), (12, b"x")):
    for mode in (0, 2, 4):
        put("options", f"option-{code}-{mode}", bytes([mode]) + option(8) + option(code, data) + option(7, go))
raw = b"\0\0\0\3" + b"IHAVEOPT" + struct.pack(">II", 7, len(go)) + go
put("options", "raw", b"\1" + raw)

for mode in (0, 2, 6, 8, 14):
    frames = b"".join(struct.pack(">BBBBQI", c, 0, 2, 2, 1000 * c, 600) for c in (1, 0, 4, 6, 0, 7, 5, 3, 0, 8))
    large = b"".join(struct.pack(">BBBBQI", c, f, 2, 1, 77, (1 << 20) + 99) for c, f in ((1, 1), (0, 0), (0, 4), (6, 2), (0, 0)))
    put("session", f"all-{mode}", bytes([mode]) + frames)
    put("session", f"large-{mode}", bytes([mode]) + large)
    put("session", f"end-{mode}", bytes([mode]) + frames + struct.pack(">BBBBQI", 2, 0, 2, 2, 0, 0))
one = struct.pack(">IHHQQI", 0x25609513, 0, 0, 5, 0, 64) + struct.pack(">IHHQQI", 0x25609513, 1, 1, 6, 8, 4) + b"data"
put("session", "raw-simple", b"\1" + one)
put("session", "raw-structured", b"\7" + one)
