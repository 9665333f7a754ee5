#!/usr/bin/env python3
"""Writes the hand-made part of the corpus: archives of GNU tar's in each of its forms, and one input for each kind of hostile member (targets/hostile.rs).

What else is there was found by the fuzzer; regression-* are those that failed once.
"""
import os, subprocess, tempfile

here = os.path.dirname(os.path.abspath(__file__))
corpus = os.path.join(here, "corpus", "tar_in")
os.makedirs(corpus, exist_ok=True)


def put(name, data):
    with open(os.path.join(corpus, name), "wb") as f:
        f.write(data)


def tree(top):
    os.makedirs(os.path.join(top, "d", "x" * 120))
    with open(os.path.join(top, "f"), "wb") as f:
        f.write(b"content\n" * 30)
    with open(os.path.join(top, "d", "sparse"), "wb") as f:
        for at in range(0, 6):
            f.seek(at * 65536)
            f.write(b"data")
        f.truncate(500000)
    with open(os.path.join(top, "d", "x" * 120, "long"), "w") as f:
        f.write("deep\n")
    os.symlink("f", os.path.join(top, "l"))
    os.symlink("t" * 130, os.path.join(top, "d", "longlink"))
    os.link(os.path.join(top, "f"), os.path.join(top, "d", "hard"))
    os.mkfifo(os.path.join(top, "p"))
    try:
        os.setxattr(os.path.join(top, "f"), "user.name", b"value\nwith a line")
    except OSError:
        pass


with tempfile.TemporaryDirectory() as top:
    tree(top)
    os.utime(os.path.join(top, "f"), ns=(1, 1700000000123456789))
    forms = [("v7", []), ("oldgnu", ["-S"]), ("gnu", ["-S"]), ("ustar", [])]
    forms += [("posix", ["-S", f"--sparse-version={v}", "--xattrs"]) for v in ("0.0", "0.1", "1.0")]
    for n, (form, more) in enumerate(forms):
        args = ["tar", "-C", top, "-b1", "--sort=name", f"--format={form}", *more, "-cf", "-"]
        args += ["./f", "./d", "./l", "./p"] if form != "v7" else ["./f", "./l"]
        data = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        put(f"gnu-{form}{n}", bytes([4 | n % 4]) + data[:20000])

for kind in range(20):
    for n, name in enumerate((0, 2, 7, 9, 13, 16, 20, 25, 26, 27, 28)):
        file = bytes([0, 0, 0, 4, 0x55, 0, 4, 0, 0, 0, 0, 0])
        it = bytes([kind, name, (name + kind) % 32, 3 + (kind + n) % 7, kind * 11, n * 7, 2, 9, n, 0, 16, kind])
        put(f"kind-{kind}-{name}", bytes([(kind + n) % 4]) + file + it + it[:1] + bytes([0]) + it[2:] + file)
