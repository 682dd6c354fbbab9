#!/usr/bin/env python3
"""Turn api/hip.toml into what src/shim/hip and the files that it shares with src/shim/cuda are compiled with: cuda_table.h and
cuda_functions.h, as gen_cuda.py makes them of CUDA's table, and hip.map, the versions of the symbols.
usage: gen_hip.py TABLE OUT_DIR
"""
import pathlib
import sys
import tomllib

import gen_cuda

# Those of the real libraries, ROCm 5 to 7, and what may have lain between: a program may ask for any of them.
NODES = [4200, 4300, 4400, 4500, 5000, 5100, 5200, 5300, 5400, 5500, 5600, 5700, 6000, 6100, 6200, 6300, 6400, 6500, 7000, 7100, 7200]


def own_thread(export):
    return int(export.endswith("_spt"))


def aliases(api):
    """The shared files' names of what HIP calls otherwise. CUDA's suffix _ptsz is HIP's _spt; its _v2 is HIP's only one."""
    out, seen = [], set()
    taken = {row.get("impl", row["name"]) for kind in ("hand", "use", "like", "unused") for row in api[kind]}
    for row in api["submit"] + api["hand"] + api["use"]:
        impl = row.get("impl", "")
        if not impl.startswith("cu") or impl in seen:
            continue
        seen.add(impl)
        out += [f"#define FGCU_{impl} FGCU_{row['name']}",
                f"#define FGCU_{impl}_ptsz " + (f"FGCU_{row['name']}_spt" if "_spt" in row.get("exports", []) else "FGCU_ALL")]
        out += [f"#define FGCU_{impl}_v2 FGCU_{row['name']}"] if f"{impl}_v2" not in taken else []
    for row in api["unused"]:
        out += [f"#define FGCU_{row['name']} FGCU_ALL"] + ([] if f"{row['name']}_v2" in taken else [f"#define FGCU_{row['name']}_v2 FGCU_ALL"])
    return "\n".join(out)


def unused(api):
    return "\n".join(line for row in api["unused"] for line in (
        f"typedef CUresult (*fgcu_fn_{row['name']})({gen_cuda.typed(row['args'])});",
        f"CUresult fgcu_do_{row['name']}({gen_cuda.typed(['unsigned which', *row['args']])});"))


def symbol_map(api):
    of = {node: [] for node in NODES}
    for row in api["submit"] + api["hand"]:
        for export, since in zip(gen_cuda.exports(row), row["since"]):
            of[since].append(export)
    out, before = [], ""
    for node, names in of.items():
        name = f"hip_{node // 1000}.{node // 100 % 10}"
        out += [f"{name} {{", *(["global:"] if names else []), *[f"    {n};" for n in names], *([] if before else ["local: *;"]),
                f"}}{before};"]
        before = " " + name
    return "\n".join(out) + "\n"


def through(api):
    """First line of each exported function: what the real library calls by its own name has been counted already."""
    out = {}
    for row in api["submit"] + api["hand"]:
        for export in gen_cuda.exports(row):
            call = f"FGCU_NEXT({export}, {gen_cuda.impl(row)})({gen_cuda.names(row['args'])})"
            out[f"FGCU_EXPORT CUresult {export}({gen_cuda.typed(row['args'])})"] = [
                "    if (fghip_nested(__builtin_return_address(0)))", f"        return {call};"]
    return out


def said(line, asking):
    """What a function by hand answers is looked at, but for the questions."""
    call = line.removeprefix("    return ")
    return f"    return fghip_said({call[:-1]});" if call.startswith("fgcu_do_") and not any(a in call for a in asking) else line


def main():
    source, out = map(pathlib.Path, sys.argv[1:3])
    api = tomllib.loads(source.read_text())
    gen_cuda.own_thread = own_thread
    made = "generated from api/hip.toml by tools/gen_hip.py; do not edit. */\n"
    table = gen_cuda.table({**api, "use": api["use"] + api["like"]})
    functions = gen_cuda.functions(api).replace("return refused ? refused :", "return refused ? fghip_said(refused) :")
    asking = {f"(FGCU_{row['name']})" for row in api["hand"] if row.get("asks")}
    functions, first, before = [said(line, asking) for line in functions.splitlines()], through(api), ""
    for at, line in enumerate(functions):
        functions[at] = "\n".join([line, *first[before]]) if line == "{" and before in first else line
        before = line
    (out / "cuda_table.h").write_text(f"/* cuda_table.h - HIP's, {made}#pragma once\n#include \"shim/hip/hip_abi.h\"\n\n{table}\n{unused(api)}\n\n"
                                      f"{aliases(api)}\n")
    (out / "cuda_functions.h").write_text(f"/* cuda_functions.h - HIP's, {made}#pragma once\n#include \"shim/hip/shim.h\"\n\n"
                                          + "\n".join(functions) + "\n")
    (out / "hip.map").write_text(f"/* hip.map - {made}" + symbol_map(api))


if __name__ == "__main__":
    main()
