#!/usr/bin/env python3
"""Kills guests that work on a disk, and looks whether all is there that they had said was durable.

Usage: kills.py [COUNT [SEED]]: so many kills (100), at moments that the seed says (1).

In a guest whose root is a COW disk, loads of kills_loads.py run side by side: sqlite, git, an appender, renames. Each prints what it has
made durable. At some moment the kernel is killed with SIGKILL. The next guest recovers the journal and looks: every row, commit, record and
file that was acknowledged is there, sqlite and `git fsck` find nothing; its disk, merged, is clean to `e2fsck -fn`. Some recoveries are killed
in turn. From one kill in five a copy of the disk is recovered by `e2fsck -fy` instead, and what debugfs then gets out of it is looked at in
the same way: a second opinion. The disk goes on from kill to kill; a new one comes after some twenty.

KERNEL and UML_MOO name the programs; without them they are built, as release. KEEP names a directory for the disk of the first failure.
Exit 0 if nothing was lost, 1 if something was, 2 if it could not run.
"""

import collections
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
import kills_loads  # noqa: E402

RENEW = 20  # kills that a disk lives
SHAPES = (["-b", "4096"], ["-b", "1024"], ["-b", "4096", "-O", "^metadata_csum"])


def run(*words, **more):
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **more)


def programs():
    """The kernel and the merger."""
    build = [(k, p) for k, p in (("KERNEL", "uml-kernel"), ("UML_MOO", "uml-moo")) if not os.environ.get(k)]
    target = os.environ.get("CARGO_TARGET_DIR", f"{TOP}/target")
    if build:
        words = [w for _, package in build for w in ("-p", package)]
        if subprocess.run(["cargo", "build", "--release", "--quiet", *words], cwd=TOP).returncode:
            sys.exit(2)
    default = {"KERNEL": f"{target}/release/uml-kernel", "UML_MOO": f"{target}/release/uml_moo"}
    return (os.path.abspath(os.environ.get(k) or default[k]) for k in ("KERNEL", "UML_MOO"))


def copy(tree, path):
    """A file of the host's to the same path of the tree, and what it is linked with."""
    if os.path.exists(tree + path):
        return
    os.makedirs(os.path.dirname(tree + path), exist_ok=True)
    shutil.copy(path, tree + path)
    for word in run("ldd", path).stdout.split():
        if word.startswith("/") and os.path.isfile(word):
            copy(tree, word)


def make_tree(tree):
    """The root of the guest: this python with the modules that the loads import, and git."""
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "work"):
        os.makedirs(f"{tree}/{name}")
    with open(f"{tree}/etc/passwd", "w") as f:
        f.write("root:x:0:0::/root:/bin/sh\n")
    python = os.path.realpath(sys.executable)
    copy(tree, python)
    shutil.copy(f"{HERE}/kills_loads.py", tree)
    listed = run(python, "-S", "-E", "-B", "-c", f"import sys; sys.path.insert(0, {HERE!r}); import kills_loads, sysconfig\n"
                 "for m in list(sys.modules.values()): print(getattr(m, '__file__', None) or '')\n"
                 "print(sysconfig.get_path('stdlib') + '/os.py')").stdout
    for path in set(listed.split()) - {f"{HERE}/kills_loads.py"}:
        copy(tree, path)
    for name in ("git", "sh"):
        path = shutil.which(name)
        copy(tree, os.path.realpath(path))
        shutil.copy(path, f"{tree}/bin/{name}")
    return python


class Disk:
    """A COW file over a base, and what was acknowledged of it."""

    def __init__(self, where, tree, shape):
        self.base, self.cow = f"{where}/base.img", f"{where}/s.cow"
        for path in (self.base, self.cow):
            if os.path.exists(path):
                os.remove(path)
        made = run("mke2fs", "-q", "-F", "-t", "ext4", *shape, "-d", tree, self.base, "400M")
        if made.returncode:
            print(made.stdout)
            sys.exit(2)
        self.last = {"sqlite": 0, "append": 0}  # the last number
        self.commits = []
        self.slots = {}

    def acknowledge(self, load, what):
        if load == "git":
            self.commits.append(what)
        elif load == "rename":
            self.slots[str(int(what) % kills_loads.SLOTS)] = int(what)
        elif load in self.last:
            self.last[load] = int(what)

    def compare(self, found):
        """How many of the acknowledged are there, how many are not, by load; and what is wrong."""
        there = {load: (min(found[load]["found"], n), max(0, n - found[load]["found"])) for load, n in self.last.items()}
        missing = set(self.commits) - set(found["git"]["found"])
        there["git"] = (len(self.commits) - len(missing), len(missing))
        lost = [s for s, n in self.slots.items() if found["rename"]["found"].get(s, 0) < n]
        there["rename"] = (len(self.slots) - len(lost), len(lost))
        wrong = [f"{load}: {w}" for load in kills_loads.LOADS for w in found[load]["wrong"]]
        wrong += [f"{load}: {n} that were acknowledged are lost" for load, (_, n) in there.items() if n]
        return there, wrong


class Kills:
    def __init__(self, count, seed):
        self.kernel, self.moo = programs()
        self.random = random.Random(seed)
        self.count, self.seed = count, seed
        self.acknowledged = collections.Counter()
        self.found = collections.Counter()
        self.lost = collections.Counter()
        self.verdicts = collections.Counter()
        self.failures = 0
        # A killed process loses nothing that it has written, whatever the file system: a fast one does.
        fast = "/dev/shm"
        roomy = os.path.isdir(fast) and os.access(fast, os.W_OK) and shutil.disk_usage(fast).free > 2 << 30
        self.scratch = tempfile.TemporaryDirectory(prefix="kills.", dir=fast if roomy else None)
        self.dir = self.scratch.name
        self.python = make_tree(f"{self.dir}/tree")

    def guest(self, *command):
        disk = f"{self.disk.cow},{self.disk.base}"
        cpus = f"ncpus={self.random.choice((1, 2))}"
        words = [self.kernel, "run", "--disk", disk, cpus, "--", self.python, "-S", "-E", "-B", "/kills_loads.py", "/work", *command]
        env = {"PATH": "/bin", "HOME": "/root"}
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)

    def failed(self, number, what):
        self.failures += 1
        print(f"FAILED: kill {number} of seed {self.seed}: {what}", flush=True)
        keep = os.environ.get("KEEP")
        if keep and not os.path.exists(keep):
            os.makedirs(keep)
            for path in (self.disk.base, self.disk.cow, f"{self.dir}/killed.cow", f"{self.dir}/killed.img"):
                if os.path.exists(path):
                    shutil.copy2(path, keep)

    def work(self, number):
        """Lets the loads run, and kills the kernel."""
        child = self.guest("run")
        begun = threading.Event()
        said = []

        def read():
            for line in child.stdout:
                # A kill may cut the last line.
                if line.endswith("\n"):
                    begun.set()
                    said.append(line.split(None, 1))

        reader = threading.Thread(target=read)
        complaints = []
        errors = threading.Thread(target=lambda: complaints.append(child.stderr.read()))
        reader.start(), errors.start()
        if self.random.random() < 0.15:
            # Early: while it mounts, or the loads begin.
            time.sleep(self.random.uniform(0, 0.5))
        else:
            begun.wait(20)
            time.sleep(self.random.uniform(0, 1.6))
        ended = child.poll()
        child.kill()
        child.wait()
        reader.join(), errors.join()
        if ended is not None:
            self.failed(number, f"the guest ended with {ended} before it was killed: {complaints}")
        for load, what in said:
            if load == "wrong":
                self.failed(number, what)
            self.disk.acknowledge(load, what.strip())
            self.acknowledged[load] += 1

    def second_opinion(self, number):
        """What e2fsck makes of a copy, and what is there then."""
        copy_of, image, out = (f"{self.dir}/{name}" for name in ("killed.cow", "killed.img", "dump"))
        run("cp", "--sparse=always", "-p", self.disk.cow, copy_of)
        self.merge(copy_of, image)
        checked = run("e2fsck", "-fy", image)
        mended = [line for line in checked.stdout.splitlines() if "? yes" in line]
        self.verdicts[f"e2fsck -fy after a kill: exit {checked.returncode}, {'mended' if mended else 'the journal alone'}"] += 1
        if checked.returncode > 1 or mended:
            self.failed(number, f"e2fsck -fy: exit {checked.returncode}: {checked.stdout}")
        shutil.rmtree(out, ignore_errors=True)
        os.mkdir(out)
        run("debugfs", "-R", f"rdump /work {out}", image)
        there, wrong = self.disk.compare(kills_loads.check(f"{out}/work"))
        for w in wrong:
            self.failed(number, f"recovered by e2fsck: {w}")
        for path in (copy_of, image):
            os.remove(path)

    def merge(self, cow, image):
        if os.path.exists(image):
            os.remove(image)
        merged = run(self.moo, cow, image)
        if merged.returncode:
            raise RuntimeError(f"uml_moo: {merged.stdout}")

    def look(self, number):
        """Ours recovers, and looks."""
        child = self.guest("check")
        out, err = child.communicate(timeout=120)
        line = next((l for l in out.splitlines() if l.startswith("found ")), None)
        if child.returncode or line is None:
            self.failed(number, f"the check ended with {child.returncode}:\n{out}{err}")
            return
        there, wrong = self.disk.compare(json.loads(line[len("found "):]))
        for load, (found, lost) in there.items():
            self.found[load] += found
            self.lost[load] += lost
        for w in wrong:
            self.failed(number, w)
        image = f"{self.dir}/flat.img"
        self.merge(self.disk.cow, image)
        checked = run("e2fsck", "-fn", image)
        clean = checked.returncode == 0
        self.verdicts[f"e2fsck -fn after the unmount: {'clean' if clean else 'NOT clean'}"] += 1
        if not clean:
            self.failed(number, f"e2fsck -fn: exit {checked.returncode}: {checked.stdout}")
        os.remove(image)

    def all(self):
        begun = time.monotonic()
        recoveries = 0
        for number in range(1, self.count + 1):
            if number % RENEW == 1:
                shape = self.random.choice(SHAPES)
                self.disk = Disk(self.dir, f"{self.dir}/tree", shape)
            self.work(number)
            if number % 5 == 0:
                self.second_opinion(number)
            if self.random.random() < 0.2:
                # While it recovers, or a little later.
                child = self.guest("check")
                time.sleep(self.random.uniform(0.005, 0.1))
                child.kill()
                child.communicate()
                recoveries += 1
            self.look(number)
            if self.failures > 5:
                print("too much is wrong to go on")
                break
        took = time.monotonic() - begun
        print(f"kills: seed {self.seed}, {number} kills of working guests, {recoveries} of recovering ones, {took:.0f} s")
        # What a disk had before the kill is looked for again; of renames, what each file holds.
        print(f"{'load':8} {'acknowledged':>12} {'looked for':>10} {'found':>10} {'lost':>6}")
        for load in kills_loads.LOADS:
            found, lost = self.found[load], self.lost[load]
            print(f"{load:8} {self.acknowledged[load]:12} {found + lost:10} {found:10} {lost:6}")
        for verdict, times in sorted(self.verdicts.items()):
            print(f"{verdict}: {times}")
        if not all(self.acknowledged[load] for load in kills_loads.LOADS):
            print("a load has acknowledged nothing: nothing was tested")
            self.failures += 1
        print(f"{self.failures} failures")
        return 1 if self.failures else 0


if __name__ == "__main__":
    words = [int(w) for w in sys.argv[1:]] + [100, 1][len(sys.argv) - 1:]
    sys.exit(Kills(*words).all())
