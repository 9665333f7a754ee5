#!/usr/bin/env python3
"""Makes a picture of a terminal from what a command prints: docs/status.svg, for README.md.

usage: picture.py [COWTOOL] > docs/status.svg    (the session of the fixtures, by target/release/cowtool)
"""
import html, os, subprocess, sys, tempfile

top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
cowtool = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(top, "target/release/cowtool"))
args = ["status", "session.cow"]
with tempfile.TemporaryDirectory() as dir:
    subprocess.run(["tar", "-xJf", os.path.join(top, "fixtures/uml.tar.xz"), "--strip-components=1", "--no-same-owner"], cwd=dir, check=True)
    subprocess.run([cowtool, "relocate", "session.cow", "--base", "base.img"], cwd=dir, check=True, stdout=subprocess.DEVNULL)
    shown = subprocess.run([cowtool, *args], cwd=dir, check=True, stdout=subprocess.PIPE, text=True).stdout
lines = ["$ cowtool " + " ".join(args), *shown.splitlines()]

step, left, head = 18, 16, 48
width, height = 620, head + step * len(lines)
out = [
    f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">',
    "<title>cowtool status</title>",
    '<rect width="100%" height="100%" rx="8" fill="#1d2129"/>',
    '<g fill="#565d6b"><circle cx="20" cy="16" r="5"/><circle cx="38" cy="16" r="5"/><circle cx="56" cy="16" r="5"/></g>',
    '<g font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="13" fill="#d6dae2" xml:space="preserve">',
]
out += [f'<text x="{left}" y="{head + step * n}">{html.escape(line, quote=False)}</text>' for n, line in enumerate(lines)]
print("\n".join([*out, "</g>", "</svg>"]))
