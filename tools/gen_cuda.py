#!/usr/bin/env python3
"""Turn api/cuda.toml into cuda_table.h (numbers, names and types of what the shim wraps and calls) and cuda_functions.h
(the exported functions). usage: gen_cuda.py TABLE OUT_DIR
"""
import pathlib
import re
import sys
import tomllib

V1 = {"CUdeviceptr": "CUdeviceptr_v1", "size_t": "unsigned int", "CUDA_MEMCPY2D": "void", "CUDA_MEMCPY3D": "void"}


def name_of(parameter):
    return re.search(r"(\w+)$", parameter)[1]


def names(args):
    return ", ".join(name_of(a) for a in args)


def typed(args):
    return ", ".join(args) or "void"


def old(args):
    """The parameters as they were in 2008."""
    return [re.sub(r"\b(CUdeviceptr|size_t|CUDA_MEMCPY[23]D)\b", lambda m: V1[m[1]], a) for a in args]


def exports(row):
    return [row["name"] + suffix for suffix in row["exports"]]


def own_thread(export):
    return int(export.endswith(("_ptsz", "_ptds")))


def impl(row):
    return row.get("impl", row["name"])


def split(args):
    """(those in registers, those on the stack), as x86-64 passes parameters that are numbers or pointers."""
    return args[:6], args[6:]


def as_passed(export, args):
    """Types for a function that leaves its stack parameters where they are: read one by one and written again for the
    driver, they would cost more than all the rest of the way in."""
    registers, stack = split(args)
    return [f"struct stack_{export} {{ {' '.join(f'__attribute__((aligned(8))) {a};' for a in stack)} }};",
            f"typedef CUresult (*passed_{export})({typed(registers)}, struct stack_{export} stack);"]


def submit_export(row, export, kept):
    """One export: the way in, which for most jobs is a few instructions and a jump, and all the rest. kept: see as_passed."""
    v1 = row.get("v1") and export == row["name"]
    args = old(row["args"]) if v1 else row["args"]
    registers, stack = split(args)
    size = "1" if v1 and "pCopy" in row["size"] else row["size"]
    key = f"fgcu_key(FGCU_{row['name']}{row['exports'][0]}, {'(uintptr_t)' + row['handle'] if 'handle' in row else 0}, {size})"
    where = f"{row.get('stream', 'NULL')}, {own_thread(export)}"
    flags = [flag for flag, on in (("FGCU_UNBOUND", row.get("unbound")),
                                   ("FGCU_SYNC", "stream" not in row and not row.get("asynchronous"))) if on]
    parameters, given, driver = typed(args), names(args), f"FGCU_NEXT({export}, {impl(row)}{'_v1' if v1 else ''})"
    out = []
    if kept:
        out = as_passed(export, args)
        parameters, given = f"{typed(registers)}, struct stack_{export} stack", f"{names(registers)}, stack"
        driver = f"((passed_{export})fgcu.next[FGCU_{export}])"
        on_stack = re.compile(rf"\b({'|'.join(map(name_of, stack))})\b")
        key, where = (on_stack.sub(r"stack.\1", text) for text in (key, where))
    call = f"{driver}({given})"
    out += [f"static FGCU_SLOW CUresult slow_{export}({parameters})", "{", "    struct fgcu_submit submit;",
            f"    CUresult refused = fgcu_begin(&submit, fgcu_stream({where}), {key}, {' | '.join(flags) or 0});",
            "    return refused ? refused : fgcu_end(&submit, " + call + ");", "}",
            f"FGCU_EXPORT CUresult {export}({parameters});", f"FGCU_EXPORT CUresult {export}({parameters})", "{"]
    if not flags:
        out += [f"    if (fgcu_fast({where}, {key}))", f"        return {call};"]
    return out + [f"    return slow_{export}({given});", "}", ""]


def submit(row):
    out = []
    for export in exports(row):
        if len(row["args"]) > 6:
            out += ["#if FGCU_STACK_KEPT", *submit_export(row, export, True), "#else", *submit_export(row, export, False), "#endif", ""]
        else:
            out += submit_export(row, export, False)
    return "\n".join(out)


def hand(row):
    out = []
    for export in exports(row):
        args = row["args"]
        given = ", ".join(filter(None, [f"FGCU_{export}", names(args)]))
        out += [f"FGCU_EXPORT CUresult {export}({typed(args)});", f"FGCU_EXPORT CUresult {export}({typed(args)})", "{",
                f"    return fgcu_do_{impl(row)}({given});", "}", ""]
    return "\n".join(out)


def functions(api):
    return "\n".join([*map(submit, api["submit"]), *map(hand, api["hand"])])


def check(api):
    wrapped = [e for kind in ("submit", "hand") for r in api[kind] for e in exports(r)]
    every = wrapped + [r["name"] for r in api["use"]]
    if twice := {n for n in every if every.count(n) > 1}:
        sys.exit(f"api/cuda.toml: more than once: {', '.join(sorted(twice))}")
    for row in api["submit"] + api["hand"]:
        if len(row["since"]) != len(row["exports"]):
            sys.exit(f"api/cuda.toml: {row['name']}: as many versions as exports, please")
    passed = [name for row in api.get("pass", []) for name in row["exports"].split()]
    if twice := {n for n in passed if passed.count(n) > 1 or n in wrapped}:
        sys.exit(f"api/cuda.toml: to be left alone, and again: {', '.join(sorted(twice))}")
    return wrapped, every, passed


def table(api):
    wrapped, every, passed = check(api)
    rows = api["submit"] + api["hand"]
    types = {}
    for row in rows + api["use"]:
        types[impl(row)] = row["args"]
        if row.get("v1"):
            types[impl(row) + "_v1"] = old(row["args"])
    known = [(e, row["name"], since) for row in rows for e, since in zip(exports(row), row["since"])]
    return "\n".join([
        "/* What is wrapped, then what is only called. */", "enum fgcu_function {", *[f"    FGCU_{n}," for n in wrapped],
        "    FGCU_WRAPPED,", f"    FGCU_{every[len(wrapped)]} = FGCU_WRAPPED,",
        *[f"    FGCU_{n}," for n in every[len(wrapped) + 1:]], "    FGCU_ALL,", "};", "",
        *[f"typedef CUresult (*fgcu_fn_{n})({typed(a)});" for n, a in types.items()], "",
        "/* X(export, name asked for, first version, the thread's own default stream) */",
        "#define FGCU_WRAPPED_LIST(X) \\\n" + " \\\n".join(f"    X({e}, {n}, {s}, {own_thread(e)})" for e, n, s in known) + "\n",
        "#define FGCU_USED_LIST(X) \\\n" + " \\\n".join(f"    X({r['name']})" for r in api["use"]) + "\n",
        "/* X(export): left alone */",
        "#define FGCU_PASSED_LIST(X) \\\n" + " \\\n".join(f"    X({n})" for n in passed) + "\n",
        *[f"CUresult fgcu_do_{i}(unsigned which{''.join(', ' + a for a in types[i])});" for i in
          dict.fromkeys(impl(r) for r in api["hand"])], ""])


def main():
    source, out = map(pathlib.Path, sys.argv[1:3])
    api = tomllib.loads(source.read_text())
    for name, text in {"cuda_table.h": table(api), "cuda_functions.h": functions(api)}.items():
        (out / name).write_text(f"/* {name} - generated from api/cuda.toml by tools/gen_cuda.py; do not edit. */\n#pragma once\n\n{text}")


if __name__ == "__main__":
    main()
