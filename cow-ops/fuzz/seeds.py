#!/usr/bin/env python3
"""Writes the hand-made part of the corpus: fixture-* and tiny-* in corpus/header and corpus/check.

usage: seeds.py FIXTURES   (the unpacked ../../fixtures/uml.tar.xz)

fixture-*: each file that the real tools wrote, up to the end of its bitmap.
tiny-*: COW files of 8 sectors, three of them dirty; overlap: of 11, for which versions 1 and 2 have too few
bits; short: the file ends in the last dirty sector; trailing: bytes after the last sector.
Every other input was found by the fuzzer (run.sh, then libFuzzer's -set_cover_merge=1); regression-* are
those that failed once.
"""
import os, struct, sys

here = os.path.dirname(os.path.abspath(__file__))
MAGIC, PATH, MTIME, SS = 0x4F4F4F4D, b"/srv/uml/base.img", 7, 512
# Their bitmaps are those of session.cow in another place, and 10 KB each.
HEADER_ONLY = ("fixture-killed", "fixture-v3-ss4096", "fixture-v3-broken64")
BITMAP_END = {"v1-le": 2328, "v1-be": 2328, "v2": 6168, "v3-align512": 6656, "v3-ss4096": 8448, "qemu-v2": 3104}


def up(n, a):
    return (n + a - 1) // a * a


def put(name, data, length, header_len):
    # The target pads with zeros what is missing, so zeros at the end need not be kept.
    contents = {"header": struct.pack("<Q", length) + data[:header_len].rstrip(b"\0"), "check": data}
    if name in HEADER_ONLY:
        del contents["check"]
    for target, content in contents.items():
        with open(os.path.join(here, "corpus", target, name), "wb") as f:
            f.write(content)


def cow(version, sectors, align=512):
    size = sectors * SS
    if version in ("v1-le", "v1-be"):
        head = struct.pack((">" if version == "v1-be" else "<") + "II256sIQI", MAGIC, 1, PATH, MTIME, size, SS)
    elif version == "v2":
        head = struct.pack(">II4096sIQI", MAGIC, 2, PATH, MTIME, size, SS)
    elif version == "v3":
        head = struct.pack(">IIIQIII4096s", MAGIC, 3, MTIME, size, SS, align, 0, PATH)
    else:
        head = struct.pack(">IIIIQIII4096s4x", MAGIC, 3, MTIME, 0, size, SS, align, 0, PATH)
    truncating = version in ("v1-le", "v1-be", "v2")
    start = len(head) if truncating else up(len(head), align)
    bitmap = bytearray(sectors // 8 if truncating else (sectors + 7) // 8)
    for sector in (0, 1, 6):
        bitmap[sector // 8] |= 1 << sector % 8
    data = up(start + len(bitmap), SS if truncating else align)
    whole = (head.ljust(start, b"\0") + bitmap).ljust(data, b"\0") + b"d" * size
    return whole, data, len(head)


for version in ("v1-le", "v1-be", "v2", "v3", "v3-broken"):
    whole, data, header_len = cow(version, 8)
    put(f"tiny-{version}", whole, len(whole), header_len)
for version in ("v1-le", "v2"):
    whole, data, header_len = cow(version, 11)
    put(f"tiny-{version}-overlap", whole, len(whole), header_len)
whole, data, header_len = cow("v1-be", 11)
put("tiny-v1-be-overlap-short", whole[: data + 6 * SS + 100], data + 6 * SS + 100, header_len)
whole, data, header_len = cow("v3", 11, align=1)
put("tiny-v3-align1-trailing", whole + b"trailing", len(whole) + 8, header_len)

fixtures = sys.argv[1]
for name in sorted(os.listdir(fixtures)):
    if name.endswith(".cow"):
        path, kind = os.path.join(fixtures, name), name[:-4]
        with open(path, "rb") as f:
            put(f"fixture-{kind}", f.read(BITMAP_END.get(kind, 10240)), os.path.getsize(path), 4136)
