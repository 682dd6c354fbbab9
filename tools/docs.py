#!/usr/bin/env python3
"""Write the parts of docs/ that come from the tables of api/*.toml, or say which are stale.

A page has places for them, and the rest of it is written by hand:

    <!-- table: reasons -->
    ... replaced ...
    <!-- end -->

The manual page comes from the built program (`fgpu help --man`); without a build it is left alone.
usage: docs.py [--check] [--fgpu PROGRAM]     --check: write nothing, status 1 when something is stale or a link is dead
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tomllib

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from gen_openapi import HEADERS, QUERY  # noqa: E402

PLACE = re.compile(r"(<!-- table: ([a-z]+) -->\n).*?(<!-- end -->)", re.S)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
UNITS = {"bytes": 'bytes, or "1GB"', "percent": "percent", "cores": "cores", "seconds": 'seconds, or "5m"', "money": 'USD, "0.05"',
         "strings": "list of strings", "map": "map of strings", "input": '"blob:SHA256"'}


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |")
    return "\n".join(lines) + "\n"


def code(text):
    return f"`{text}`" if text != "" else ""


def bound(field, n):
    """A bound as people write it: bytes as powers of 1024, percent from permille."""
    if field["type"] == "percent":
        return f"{n / 10:g}"
    if field["type"] == "cores":
        return f"{n / 1000:g}" if n < 1000 else f"{n // 1000:,}"
    if field["type"] == "bytes":
        for power, unit in ((50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
            if n and n % (1 << power) == 0:
                return f"{n >> power} {unit}"
    return str(n)


def limits(f):
    if "enum" in f:
        return ", ".join(code(e) for e in f["enum"])
    if "min" in f and "max" in f:
        return f"{bound(f, f['min'])} to {bound(f, f['max'])}"
    if "max" not in f:
        return ""
    what = {"strings": "items", "map": "members", "string": "bytes"}.get(f["type"], "")
    return f"at most {bound(f, f['max'])} {what}".rstrip()


def routes(api):
    rows = []
    for r in api["routes"]["route"]:
        rows.append([code(f"{r['method']} {r['path']}"), code(r["scope"]) or "none", r["doc"]])
    return table(["route", "scope", "what"], rows)


def query(api):
    used = {}
    for r in api["routes"]["route"]:
        for q in r.get("query", []):
            used.setdefault(q, []).append(r["path"])
    rows = [[code(q), QUERY[q][1], ", ".join(code(p) for p in used[q])] for q in QUERY if q in used]
    return table(["parameter", "what", "of"], rows)


def headers(api):
    paths = {r["name"]: f"{r['method']} {r['path']}" for r in api["routes"]["route"]}
    rows = [[code(paths[name]), code(h), doc] for name, all_of in HEADERS.items() for h, doc in all_of.items()]
    return table(["route", "header", "what"], rows)


def fields(api):
    rows = []
    for f in api["task"]["field"]:
        default = f.get("default", "")
        default = str(default).lower() if isinstance(default, bool) else default
        rows.append([code(f["path"]), UNITS.get(f["type"], f["type"]), limits(f), "required" if f.get("required") else code(default),
                     f["doc"]])
    return table(["field", "type", "allowed", "default", "what"], rows)


def states(api):
    return table(["state", "ended", "what"],
                 [[code(s["name"]), "yes" if s.get("terminal") else "", s["doc"]] for s in api["states"]["state"]])


def events(api):
    rows = []
    for e in api["states"]["event"]:
        to = {"": "", "*": "a state in which it has ended"}.get(e.get("to", ""), code(e.get("to", "")))
        legal = "a machine's" if e.get("node") else "a tenant's" if e.get("tenant") else "the operator's" if e.get("operator") else ", ".join(code(s) for s in e.get("from", [])) or "(new)"
        rows.append([code(e["name"]), legal, to, e["doc"]])
    return table(["event", "in", "leads to", "what"], rows)


def reasons(api):
    return table(["reason", "what", "hint"], [[code(r["name"]), r["doc"], r.get("hint", "")] for r in api["states"]["reason"]])


def errors(api):
    rows = [[code(e["name"]), e["status"], e["exit"], "yes" if e.get("retryable") else "", e["title"]] for e in api["errors"]["error"]]
    return table(["code", "HTTP status", "exit status of fgpu", "try again", "what"], rows)


def settings(api):
    rows = []
    for s in api["config"]["setting"]:
        variable = "FGPU_" + s["key"].upper().replace(".", "_")
        rows.append([code(s["key"]), code(variable), code(s["default"]), s["doc"]])
    return table(["key", "variable", "default", "what"], rows)


TABLES = {f.__name__: f for f in (routes, query, headers, fields, states, events, reasons, errors, settings)}


def filled(text, page, api):
    def fill(match):
        if match[2] not in TABLES:
            sys.exit(f"docs: {page} asks for a table '{match[2]}'; there are {', '.join(TABLES)}")
        return f"{match[1]}{TABLES[match[2]](api)}{match[3]}"
    return PLACE.sub(fill, text)


def pages():
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def dead_links():
    for page in pages():
        for link in LINK.findall(page.read_text()):
            if not re.match(r"[a-z]+:", link) and not (page.parent / link).exists():
                yield f"{page.relative_to(ROOT)}: the link '{link}' leads nowhere"


def fresh(fgpu):
    """Every page that is made here, with the text it should have."""
    api = {p.stem: tomllib.loads(p.read_text()) for p in (ROOT / "api").glob("*.toml")}
    for page in pages():
        yield page, filled(page.read_text(), page.relative_to(ROOT), api)
    if fgpu.exists():
        yield ROOT / "docs/man/fgpu.1", subprocess.run([str(fgpu), "help", "--man"], capture_output=True, text=True, check=True).stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 when something is stale")
    parser.add_argument("--fgpu", type=pathlib.Path, default=ROOT / "build/src/cli/fgpu", help="the built program")
    args = parser.parse_args()
    wrong = list(dead_links())
    for page, text in fresh(args.fgpu):
        if page.read_text() == text:
            continue
        if args.check:
            wrong.append(f"{page.relative_to(ROOT)} is stale: 'make docs' writes it anew")
        else:
            page.write_text(text)
            print(f"wrote {page.relative_to(ROOT)}")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
