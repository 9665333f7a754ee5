#!/usr/bin/env python3
"""Takes one defence of the jail out at a time, in a copy of the tree, and wants the attacks on it to succeed.

Usage: undefended.py [WORD]: only those with the word in their name. Wants `make guest-tests` before; takes some 15 minutes.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WINDOW, LIES, CHANGE = "the_window", "a_window", "arguments"
OUT, MEMORY, OBJECTS = "ways_out", "all_there_is_of_processes", "all_there_is_of_the_k"
OTHER, SECRETS, JAIL = "other_doors", "secrets", "jail"
HOSTFS, GUEST = "a_directory_of", "hostfs"

# Name of the defence, what to change in which file, which attacks then succeed: a test and the attack in it.
DEFENCES = [
    ("filter: ranges",
     [("platform/x86_64/filter.rs", "[Range, Any, Mask(prot), Mask(fixed_private), Any, Any]",
       "[Any, Any, Mask(prot), Mask(fixed_private), Any, Any]"),
      ("platform/x86_64/filter.rs", "libc::SYS_munmap, [Range,", "libc::SYS_munmap, [Any,")],
     [(WINDOW, "window-jumps"), (JAIL, "arguments_that_reach")]),
    ("filter: architecture",
     [("platform/x86_64/filter.rs", "p.push(JEQ, 1, 0, AUDIT_ARCH_X86_64);\n    p.ret(RET_TRAP);", "")],
     [(JAIL, "a_call_of_another_architecture")]),
    ("gate",
     [("platform/gate.rs", "let ordered = expected.lock().remove(&(request.pid as i32));", "let ordered = true;"),
      ("platform/gate.rs", "expected: &Mutex<HashSet<i32>>) {", "_expected: &Mutex<HashSet<i32>>) {")],
     [(JAIL, "a_clone_that_was_not_ordered")]),
    ("thread numbers",
     [("platform/spawn.rs", "if own != Some(true) {", "if false {")],
     [(LIES, "forge-tid")]),
    ("what is never blocked",
     [("task/process.rs", "self.blocked.store(set & !UNSTOPPABLE", "self.blocked.store(set")],
     [(LIES, "forge-mask")]),
    ("deaf guests",
     [("task/ctx.rs", "if patience > 50 {", "if false {"),
      ("platform/thread.rs", "const PATIENCE: Duration = Duration::from_secs(10);",
       "const PATIENCE: Duration = Duration::from_secs(1000);")],
     [(WINDOW, "stub-deaf")]),
    ("read ahead",
     [("platform/thread.rs", "if self.prefetched.from >= TASK_SIZE - PREFETCH as u64 {", "if false {")],
     [(WINDOW, "window-pointers")]),
    ("end of the guest",
     [("mm/access.rs", "Some(end) if end <= TASK_SIZE => Ok(()),", "Some(_) => Ok(()),")],
     [(WINDOW, "window-pointers")]),
    ("links of the host",
     [("fs/hostfs/node.rs", "let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;",
       "let flags = OFlags::PATH | OFlags::CLOEXEC;"),
      ("fs/hostfs/node.rs", "statx(dir, one_name(name)?, AtFlags::SYMLINK_NOFOLLOW, WANTED)",
       "statx(dir, one_name(name)?, AtFlags::empty(), WANTED)"),
      ("fs/hostfs/node.rs", "one_name(&name)?, AtFlags::SYMLINK_NOFOLLOW, WANTED)", "one_name(&name)?, AtFlags::empty(), WANTED)")],
     [(OUT, "paths"), (CHANGE, "race-shared"), (HOSTFS, "hostfs-race")]),
    ("hostfs: mounts", [("fs/hostfs/started.rs", "let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;",
                         "let resolve = ResolveFlags::empty();")],
     [(HOSTFS, "hostfs-mounts")]),
    ("hostfs: only files are opened",
     [("fs/hostfs/node.rs", "if FileType::from_raw_mode(s.st_mode) != FileType::RegularFile {", "if false {"),
      ("fs/hostfs/node.rs", "if (s.st_dev, s.st_ino) != self.host {", "if false {")],
     [(HOSTFS, "hostfs-nodes")]),
    ("hostfs: devices",
     [("fs/hostfs/inode.rs", "if (set_id || device) && !owners.in_attributes() {", "if set_id && !owners.in_attributes() {"),
      ("fs/hostfs/inode.rs", '_ if device => self.create_file(name, new, b"")?,', ""),
      ("fs/hostfs/inode.rs", "Mode::from_raw_mode(0o600), 0)", "Mode::from_raw_mode(0o600), new.rdev)")],
     [(HOSTFS, "hostfs-real")]),
    ("hostfs: set-id programs",
     [("fs/hostfs/owner.rs", "_ => self.mode & 0o7777 & !SET_ID,", "_ => self.mode & 0o7777,"),
      ("fs/hostfs/inode.rs", "if mode & kind::MASK == kind::REG && mode & 0o6000 & !now.mode != 0 {", "if false {")],
     [(HOSTFS, "hostfs-real")]),
    ("hostfs: set-id programs of others", [("fs/hostfs/node.rs", "if writes && owner::is_set_id(s.st_mode) {", "if false {")],
     [(HOSTFS, "hostfs-real")]),
    ("hostfs: what is ours", [("fs/hostfs/owner.rs", "n if n.starts_with(OURS) => Err(refused),", "")],
     [(HOSTFS, "hostfs-forged")]),
    ("hostfs: the host's kernel", [("fs/hostfs.rs", "Ok(CLOSED.contains(", "Ok(false && CLOSED.contains(")],
     [(GUEST, "the_hosts_proc")]),
    ("hostfs: waiting", [("fs/hostfs/content.rs", "let rest = blocking(|| rustix", "let rest = (|call: &mut dyn FnMut() -> _| call())(&mut || rustix")],
     [(GUEST, "others_go_on")]),
    ("memory: private", [("task/oom.rs", "found.iter().map(|c| c.held.private).sum::<u64>()", "0")],
     [(MEMORY, "memory-private"), (MEMORY, "memory-unseen")]),
    ("memory: shared", [("task/oom.rs", "shared::held()", "shared::held() * 0")], [(MEMORY, "memory-shared")]),
    ("memory: files",
     [("task/oom.rs", "crate::fs::tmpfs::IN_MEMFDS.load(Ordering::Relaxed)", "0")], [(MEMORY, "memory-sparse")]),
    ("memory: long calls", [("task/ctx.rs", "timer::expire();\n        super::oom::look(time::now());", "timer::expire();")],
     [(MEMORY, "memory-read"), (MEMORY, "memory-populate")]),
    ("memory: heap", [("task/oom.rs", "heap::held()", "heap::held() * 0")],
     [(OBJECTS, "pipes"), (OBJECTS, "unix-sockets"), (OBJECTS, "kept-files")]),
    ("sockets in queues", [("net/unix/inflight.rs", "leaving.files.extend(files);", "drop(leaving);\n            drop(files);\n            return;")],
     [(OBJECTS, "rights")]),
]


def cargo(*args, attack=""):
    env = dict(os.environ, ATTACK=attack)
    return subprocess.run(["cargo", "test", "-q", "-p", "uml-kernel", *args], env=env, capture_output=True, text=True, timeout=900)


def without(name, edits, attacks):
    """Whether each attack succeeds without the defence."""
    subprocess.run(["git", "checkout", "-q", "."], check=True)
    for path, old, new in edits:
        path = "uml-kernel/src/" + path
        text = open(path).read()
        if old not in text:
            print(f"{name}: {path} has no {old!r} any more")
            return False
        open(path, "w").write(text.replace(old, new, 1))
    built = cargo("--no-run", "--test", "hostile", "--test", "jail", "--test", "hostfs")
    if built.returncode != 0:
        print(f"{name}: does not build without it\n{built.stderr}")
        return False
    good = True
    for test, attack in attacks:
        if test in (JAIL, GUEST):
            result = cargo("--test", test, "--", attack)
        else:
            result = cargo("--test", "hostile", "--", test, "--nocapture", attack=attack)
        why = re.search(r"^  (?!it said|-->)([a-z].*)$", result.stdout + result.stderr, re.M) if test not in (JAIL, GUEST) else None
        why = why.group(1) if why else "the test fails"
        good &= result.returncode != 0
        print(f"{name}: {attack}: {why if result.returncode else 'IS STILL HELD'}", flush=True)
    return good


def main():
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    work = tempfile.mkdtemp()
    try:
        subprocess.run(["git", "clone", "-q", ROOT, work], check=True)
        os.makedirs(work + "/target")
        os.symlink(ROOT + "/target/guest-tests", work + "/target/guest-tests")
        os.chdir(work)
        results = [without(*d) for d in DEFENCES if word in d[0]]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(0 if results and all(results) else 1)


if __name__ == "__main__":
    main()
