#!/usr/bin/env python3
"""console.py COMMAND [EXPECTED=>TYPED]...: runs a command on a terminal of its own, waits for each text and types each answer, then for
the end. Shows all of it. A step EXPECTED=>KILL kills the command with SIGKILL and ends there, with 0. Exit status: the command's, or 99 if
a text does not come."""
import os, pty, select, sys, time

PATIENCE = 120

def main():
    command, steps = sys.argv[1].split(), [s.split("=>", 1) for s in sys.argv[2:]]
    start = time.time()
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    seen = b""

    def read(until):
        ready = select.select([fd], [], [], max(0, until - time.time()))[0]
        try:
            data = os.read(fd, 65536) if ready else None
        except OSError:
            data = b""
        if data:
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
        return data

    for expected, typed in steps:
        until = time.time() + PATIENCE
        while expected.encode() not in seen:
            data = read(until)
            if not data:
                print(f"\nconsole.py: {expected!r} does not come")
                os.kill(pid, 9)
                sys.exit(99)
            seen += data
        seen = seen[seen.index(expected.encode()) + len(expected.encode()):]
        print(f"<{time.time() - start:.1f} s>", end="", flush=True)
        if typed == "KILL":
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            # What it has left running would still hold the disk: processes of its group, which the real UML has several of.
            try:
                os.killpg(pid, 9)
            except ProcessLookupError:
                pass
            print(f"\nconsole.py: killed after {time.time() - start:.1f} s")
            sys.exit(0)
        os.write(fd, typed.encode() + b"\n")
    until = time.time() + PATIENCE
    while read(until):
        pass
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(f"\nconsole.py: status {status} after {time.time() - start:.1f} s")
    sys.exit(status)

main()
