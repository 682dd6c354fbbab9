#!/usr/bin/env python3
"""Turn the tables of api/*.toml into C lists.

Each table becomes one header of X-macros, e.g. FG_ERROR_LIST(X) with one X(...) per row; the C file
that owns the table expands it into enums and arrays. Nothing else is generated for C, so what a
table means is read in one place. usage: gen_api.py API_DIR OUT_DIR
"""
import pathlib
import sys
import tomllib


def ident(name):
    return name.upper().replace(".", "_").replace("-", "_").replace(":", "_")


def quote(text):
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def xlist(macro, comment, rows):
    body = " \\\n".join(f"    X({', '.join(row)})" for row in rows)
    return f"/* X({comment}) */\n#define {macro}(X) \\\n{body}\n"


def errors(api):
    rows = [[ident(e["name"]), quote(e["name"]), str(e["status"]), str(e["exit"]),
             str(int(e.get("retryable", False))), quote(e["title"])] for e in api["errors"]["error"]]
    return xlist("FG_ERROR_LIST", "NAME, code, http_status, exit_code, retryable, title", rows)


def states(api):
    table = api["states"]
    names = [s["name"] for s in table["state"]]
    out = [xlist("FG_STATE_LIST", "NAME, name, terminal, doc",
                 [[ident(s["name"]), quote(s["name"]), str(int(s.get("terminal", False))), quote(s["doc"])]
                  for s in table["state"]])]
    rows = []
    for e in table["event"]:
        legal = sum(1 << names.index(s) for s in e.get("from", []))
        to = e.get("to", "")
        target = str(names.index(to)) if to in names else "FG_STATE_ANY" if to == "*" else "FG_STATE_SAME"
        rows.append([ident(e["name"]), quote(e["name"]), f"0x{legal:x}u", target,
                     str(int(e.get("node", False))), quote(e["doc"])])
    out.append(xlist("FG_EVENT_LIST", "NAME, name, legal_state_mask, to_state, is_node_event, doc", rows))
    out.append(xlist("FG_REASON_LIST", "NAME, name, doc, hint",
                     [[ident(r["name"]), quote(r["name"]), quote(r["doc"]), quote(r.get("hint", ""))]
                      for r in table["reason"]]))
    return "\n".join(out)


def task(api):
    rows = []
    for f in api["task"]["field"]:
        default = f.get("default", "")
        rows.append([quote(f["path"]), f"FG_FIELD_{ident(f['type'])}", str(int(f.get("required", False))),
                     f"INT64_C({f.get('min', 0)})", f"INT64_C({f.get('max', 0)})", quote("|".join(f.get("enum", []))),
                     quote(str(default).lower() if isinstance(default, bool) else default), quote(f["doc"])])
    return xlist("FG_TASK_FIELD_LIST", "path, type, required, min, max, enum '|' separated, default, doc", rows)


def routes(api):
    rows = []
    for r in api["routes"]["route"]:
        rows.append([r["name"], quote(r["method"]), quote(r["path"]), quote(r["scope"]),
                     f"FG_BODY_{ident(r.get('body', 'none'))}", quote("|".join(r.get("query", []))), quote(r["doc"])])
    return xlist("FG_ROUTE_LIST", "name, method, path, scope, body, query '|' separated, doc", rows)


def config(api):
    rows = [[quote(s["key"]), f"FG_SETTING_{ident(s['type'])}", quote(s["default"]), f"INT64_C({s.get('min', 0)})",
             f"INT64_C({s.get('max', 0)})", quote(s["doc"])] for s in api["config"]["setting"]]
    return xlist("FG_SETTING_LIST", "key, type, default, min, max, doc", rows)


def main():
    api_dir, out_dir = map(pathlib.Path, sys.argv[1:3])
    api = {p.stem: tomllib.loads(p.read_text()) for p in api_dir.glob("*.toml")}
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, make in {"errors": errors, "states": states, "task": task, "routes": routes, "config": config}.items():
        text = f"/* api_{name}.h - generated from api/{name}.toml by tools/gen_api.py; do not edit. */\n#pragma once\n\n"
        (out_dir / f"api_{name}.h").write_text(text + make(api))


if __name__ == "__main__":
    main()
