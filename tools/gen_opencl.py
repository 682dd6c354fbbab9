#!/usr/bin/env python3
"""Turn api/opencl.toml into opencl_table.h (numbers and lists of what the layer replaces and hands out) and
opencl_functions.h (wrappers of all that is gated or borrowed). usage: gen_opencl.py TABLE OUT_DIR
"""
import pathlib
import re
import sys
import tomllib

WAIT = ["cl_uint num_events_in_wait_list", "const cl_event *event_wait_list", "cl_event *event"]


def name_of(parameter):
    """Of "const size_t origin[3]", "void (CL_CALLBACK *user_func)(void *)", "cl_mem buffer"."""
    pointer = re.search(r"\*\s*(\w+)\)\(", parameter)
    return pointer[1] if pointer else re.search(r"(\w+)(\[\d*\])?$", parameter)[1]


def call(function, parameters, **instead):
    return f"{function}({', '.join(instead.get(name_of(p), name_of(p)) for p in parameters)})"


def enqueue(row):
    """One gated function."""
    name, returns = row["name"], row.get("returns", "cl_int")
    parameters = ["cl_command_queue command_queue", *row["args"], *WAIT]
    if returns != "cl_int":
        parameters.append("cl_int *errcode_ret")
    typed = f"{returns} (CL_API_CALL *)({', '.join(parameters)})"
    target = f"(({typed})fgcl_ext_next(FGCL_{name}, command_queue))" if row.get("extension") else f"fgcl.next.{name}"
    key = f"fgcl_key(FGCL_{name}, {'(uintptr_t)' + row['handle'] if 'handle' in row else 0}, {row['size']})"
    blocking = next((name_of(a) for a in row["args"] if name_of(a).startswith("blocking")), "CL_FALSE")
    made = call(target, parameters, event="submit.event", errcode_ret="&status")
    out = [f"static {returns} CL_API_CALL fgcl_{name}({', '.join(parameters)})", "{", "    struct fgcl_submit submit;",
           f"    cl_int status = fgcl_submit_begin(&submit, command_queue, {key}, event);"]
    if returns == "cl_int":
        out += ["    if (status != CL_SUCCESS)", "        return status;", f"    return fgcl_submit_end(&submit, {made}, {blocking});", "}"]
    else:
        out += [f"    {returns.replace(' *', '')} *ret = NULL;", "    if (status == CL_SUCCESS) {", f"        ret = {made};",
                f"        status = fgcl_submit_end(&submit, status, {blocking});", "    }", "    if (errcode_ret)",
                "        *errcode_ret = status;", "    return ret;", "}"]
    return "\n".join(out)


def borrow(row):
    """One function that wraps memory of somebody else into a memory object."""
    name = row["name"]
    parameters = ["cl_context context", *row["args"], "cl_int *errcode_ret"]
    return "\n".join([
        f"static cl_mem CL_API_CALL fgcl_{name}({', '.join(parameters)})", "{",
        f"    return fgcl_borrowed(context, {call('fgcl.next.' + name, parameters)}, FGCL_{name}, errcode_ret);", "}"])


def strings(macro, names):
    return f"#define {macro} \\\n" + " \\\n".join(f'    "{n}",' for n in names) + "\n"


def check(api):
    """Every name once; a list of all rows is returned."""
    rows = [*api["enqueue"], *api["borrow"], *api["hand"]]
    names = [r["name"] for r in rows] + [n for part in ("refuse", "harmless", "pass") for n in api[part]["names"]]
    if twice := {n for n in names if names.count(n) > 1}:
        sys.exit(f"api/opencl.toml: more than once: {', '.join(sorted(twice))}")
    return rows


def table(api, rows):
    dispatch = [r["name"] for r in rows if not r.get("extension")]
    extensions = [r["name"] for r in rows if r.get("extension")]
    return "\n".join([
        "/* Extension functions first: their number is their place in the table of fgcl_ext_next. */",
        "enum fgcl_function {", *[f"    FGCL_{n}," for n in extensions], "    FGCL_EXTENSIONS,",
        f"    FGCL_{dispatch[0]} = FGCL_EXTENSIONS,", *[f"    FGCL_{n}," for n in dispatch[1:]], "};", "",
        "#define FGCL_DISPATCH_LIST(X) \\\n" + " \\\n".join(f"    X({n})" for n in dispatch) + "\n",
        "#define FGCL_EXTENSION_LIST(X) \\\n" + " \\\n".join(f"    X({n})" for n in extensions) + "\n",
        strings("FGCL_REFUSED", api["refuse"]["names"]), strings("FGCL_HARMLESS", api["harmless"]["names"] + api["pass"]["names"]),
        strings("FGCL_SUSPECT", api["unknown_refused"])])


def main():
    source, out = map(pathlib.Path, sys.argv[1:3])
    api = tomllib.loads(source.read_text())
    rows = check(api)
    functions = "\n\n".join([*map(enqueue, api["enqueue"]), *map(borrow, api["borrow"])]) + "\n"
    for name, text in {"opencl_table.h": table(api, rows), "opencl_functions.h": functions}.items():
        (out / name).write_text(f"/* {name} - generated from api/opencl.toml by tools/gen_opencl.py; do not edit. */\n#pragma once\n\n{text}")


if __name__ == "__main__":
    main()
