"""What runs in the guest of kills.py: programs that say what they have made durable, and one that looks what is there.

Usage: kills_loads.py ROOT COMMAND...: run (all loads, side by side, until the end), check (what is there, as JSON)
"""

import json
import os
import sqlite3
import subprocess
import sys
import time
import zlib

LOADS = ("sqlite", "git", "append", "rename")
SLOTS = 16  # files that the renames go round


def say(load, what):
    # One write, so that lines of several loads do not mix.
    os.write(1, f"{load} {what}\n".encode())
    if load != "git":
        # git starts many programs for what the others do at once: it gets its turn.
        time.sleep(0.004)


def sync(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def seal(number, size):
    """A record that shows whether it is whole: its number, its checksum, its bytes, of any size."""
    body = (f"{number:08d}" * (size // 8 + 1))[:size]
    return f"{number} {size} {zlib.crc32(body.encode())} {body}\n"


def unseal(line):
    """The number of a record; None if it is not whole."""
    words = line.split(" ")
    whole = len(words) == 4 and words[0].isdigit() and line == seal(int(words[0]), len(words[3].rstrip("\n")))
    return int(words[0]) if whole else None


def size_of(number):
    return 1 + number * 2654435761 % 6000


def sqlite_open(root):
    db = sqlite3.connect(f"{root}/sqlite/db", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    # A checkpoint every few rows, so that kills come in the middle of some.
    db.execute("PRAGMA wal_autocheckpoint=40")
    return db


def load_sqlite(root):
    os.makedirs(f"{root}/sqlite", exist_ok=True)
    db = sqlite_open(root)
    db.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, record TEXT)")
    n = db.execute("SELECT MAX(n) FROM t").fetchone()[0] or 0
    while True:
        n += 1
        db.execute("BEGIN")
        db.execute("INSERT INTO t VALUES (?, ?)", (n, seal(n, size_of(n))))
        db.execute("COMMIT")
        say("sqlite", n)


def check_sqlite(root):
    if not os.path.exists(f"{root}/sqlite/db"):
        return {"found": 0, "wrong": []}
    db = sqlite_open(root)
    wrong = [w for (w,) in db.execute("PRAGMA integrity_check") if w != "ok"]
    if not db.execute("SELECT 1 FROM sqlite_master").fetchall():
        return {"found": 0, "wrong": wrong}
    rows = db.execute("SELECT n, record FROM t ORDER BY n").fetchall()
    wrong += [f"row {n} at place {i}" for i, (n, r) in enumerate(rows, 1) if n != i or unseal(r) != n]
    return {"found": len(rows), "wrong": wrong}


def git(root, *arguments):
    # The tree that is looked at on the host is another user's.
    words = ["git", "-c", "safe.directory=*", "-C", f"{root}/git", *arguments]
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def load_git(root):
    os.makedirs(f"{root}/git", exist_ok=True)
    wanted = {"core.fsync": "all", "core.fsyncMethod": "fsync", "gc.auto": "0", "user.name": "n", "user.email": "e"}
    # What a killed git leaves, and an administrator removes: locks, and an index that was never synced.
    for at, _, names in os.walk(f"{root}/git/.git"):
        for name in names:
            if name.endswith(".lock"):
                os.remove(f"{at}/{name}")
    git(root, "init", "-q", "-b", "main")
    for key, value in wanted.items():
        done = git(root, "config", key, value)
        if done.returncode:
            say("wrong", f"git config: {done.stdout!r}")
            return
    git(root, "reset", "-q", "--hard")
    n = 0
    while True:
        n += 1
        with open(f"{root}/git/file{n % 7}", "a") as f:
            f.write(seal(n, size_of(n)))
        git(root, "add", ".")
        done = git(root, "commit", "-q", "-m", f"commit {n}")
        if done.returncode:
            say("wrong", f"git commit: {done.stdout!r}")
            return
        with open(f"{root}/git/.git/refs/heads/main") as f:
            commit = f.read().strip()
        # git syncs the file that becomes the branch, and leaves the directory that has its name to the file system.
        sync(f"{root}/git/.git/refs/heads")
        say("git", commit)
        if n % 25 == 0:
            git(root, "repack", "-q", "-d")


def check_git(root):
    if not os.path.exists(f"{root}/git/.git/refs/heads/main"):
        return {"found": [], "wrong": []}
    fsck = git(root, "fsck", "--full", "--strict", "--no-dangling")
    log = git(root, "log", "--format=%H")
    wrong = [f"{what}: {done.stdout}" for what, done in (("fsck", fsck), ("log", log)) if done.returncode]
    return {"found": log.stdout.split() if log.returncode == 0 else [], "wrong": wrong}


def records(path):
    """Records of the file from its beginning on, the bytes that they take, and what of the rest looks like one."""
    if not os.path.exists(path):
        return 0, 0
    with open(path, newline="\n", errors="replace") as f:
        n = size = 0
        for line in f:
            if unseal(line) != n + 1:
                break
            n, size = n + 1, size + len(line)
    return n, size


def load_append(root):
    os.makedirs(f"{root}/append", exist_ok=True)
    path = f"{root}/append/log"
    n, size = records(path)
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o644)
    os.ftruncate(fd, size)
    os.fsync(fd)
    sync(f"{root}/append")
    os.lseek(fd, size, os.SEEK_SET)
    while True:
        n += 1
        os.write(fd, seal(n, size_of(n)).encode())
        # As journals do: only what reading the data needs.
        os.fdatasync(fd)
        say("append", n)


def check_append(root):
    return {"found": records(f"{root}/append/log")[0], "wrong": []}


def slots(root):
    """What each file of the renames holds, and which are not whole."""
    found, wrong = {}, []
    for slot in range(SLOTS):
        path = f"{root}/rename/slot{slot}"
        if os.path.exists(path):
            with open(path, errors="replace") as f:
                text = f.read()
            if (number := unseal(text)) is None or number % SLOTS != slot:
                wrong.append(f"{path}: {text[:60]!r}, {len(text)} bytes")
            else:
                found[slot] = number
    return found, wrong


def load_rename(root):
    os.makedirs(f"{root}/rename", exist_ok=True)
    n = max([0, *slots(root)[0].values()])
    while True:
        n += 1
        with open(f"{root}/rename/new", "w") as f:
            f.write(seal(n, size_of(n)))
            f.flush()
            os.fsync(f.fileno())
        os.rename(f"{root}/rename/new", f"{root}/rename/slot{n % SLOTS}")
        sync(f"{root}/rename")
        say("rename", n)


def check_rename(root):
    found, wrong = slots(root)
    return {"found": found, "wrong": wrong}


def check(root):
    """What is there of each load, as JSON would give it back."""
    return json.loads(json.dumps({load: globals()[f"check_{load}"](root) for load in LOADS}))


def main():
    root, command = sys.argv[1:]
    os.makedirs(root, exist_ok=True)
    if command == "check":
        print("found " + json.dumps(check(root)))
        return
    for load in LOADS:
        if os.fork() == 0:
            try:
                globals()[f"load_{load}"](root)
            except BaseException as e:
                say("wrong", f"{load}: {e!r}")
            os._exit(1)
    while True:
        os.wait()


if __name__ == "__main__":
    main()
