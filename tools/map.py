#!/usr/bin/env python3
"""Show which folder of src includes which, and fail on an arrow that runs up.

Read from the `#include "room/file.h"` lines, so the map is the code's and not a drawing's. ALLOWED is the
picture of ARCHITECTURE.md; who needs another arrow changes the picture first. usage: map.py [SRC_DIR]
"""
import collections
import pathlib
import re
import sys

ALLOWED = {
    "base": "",
    "model": "base",
    "vgpu": "base",
    "plan": "model base",
    "meter": "model base",
    "store": "model base",
    "wire": "model base",
    "device": "model vgpu base",
    "shim": "vgpu base",
    "agent": "device vgpu wire model base",
    "control": "plan meter store wire model base",
    "pool": "wire model base",
    "sim": "plan meter control model base",
    "cli": "base model vgpu plan meter store wire device agent control pool sim",
}
INCLUDE = re.compile(r'\s*#\s*include\s*"([^"]+)"')


def includes(src):
    """(room, file, line number, included path) of every quoted include below src."""
    for path in sorted(src.rglob("*.[ch]")):
        parts = path.relative_to(src).parts
        room = parts[0] if len(parts) > 1 else ""
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if match := INCLUDE.match(line):
                yield room, path, number, match[1]


def target(included):
    """The room an include leads to; None for what all may include: include/fgpu, names without a folder, which are generated
    lists (api_*.h) or lie beside the file, and drivers' interfaces (*_abi.h), which are declarations alone."""
    room, slash, _ = included.partition("/")
    return None if room == "fgpu" or not slash or included.endswith("_abi.h") else room


def complaint(room, to):
    if room not in ALLOWED:
        return f"the folder '{room}' is not in the picture (tools/map.py, ALLOWED)"
    if to not in ALLOWED:
        return f"'{to}' is no folder of src; write \"room/file.h\""
    if to != room and to not in ALLOWED[room].split():
        return f"{room} may not know {to}; it may know: {ALLOWED[room] or 'nobody'}"
    return None


def main():
    src = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent / "src")
    arrows = collections.defaultdict(collections.Counter)
    wrong = []
    for room, path, number, included in includes(src):
        to = target(included)
        if to is None:
            continue
        if to != room:
            arrows[room][to] += 1
        if why := complaint(room, to):
            wrong.append(f"{path.relative_to(src.parent)}:{number}: #include \"{included}\": {why}")
    rooms = [r for r in ALLOWED if (src / r).is_dir()] + sorted(set(arrows) - set(ALLOWED))
    for room in rooms:
        print(f"{room:8} -> " + (", ".join(f"{to} {n}" for to, n in sorted(arrows[room].items())) or "-"))
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
