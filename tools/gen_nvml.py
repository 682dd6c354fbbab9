#!/usr/bin/env python3
"""Turn api/nvml.toml into nvml_table.h (names and types of what the front end replaces) and nvml_refused.h (what it
refuses). usage: gen_nvml.py TABLE OUT_DIR
"""
import pathlib
import re
import sys
import tomllib


def refuse(row):
    """One function that is not supported in a vGPU and is the driver's elsewhere."""
    parameters = ["nvmlDevice_t device", *row["args"]]
    names = ", ".join(re.search(r"\w+$", p)[0] for p in parameters)
    return "\n".join([
        f"FGML_EXPORT nvmlReturn_t {row['name']}({', '.join(parameters)});",
        f"nvmlReturn_t {row['name']}({', '.join(parameters)})", "{",
        f"    nvmlReturn_t (*next)({', '.join(parameters)}) = fgml_next(FGML_{row['name']});",
        f"    return fgml_limited(device) ? NVML_ERROR_NOT_SUPPORTED : next ? next({names}) : NVML_ERROR_FUNCTION_NOT_FOUND;", "}"])


def main():
    source, out = map(pathlib.Path, sys.argv[1:3])
    api = tomllib.loads(source.read_text())
    hand = [(n, row["type"]) for row in api["hand"] for n in row["names"]]
    names = [n for n, _ in hand] + [r["name"] for r in api["refuse"]]
    if twice := {n for n in names if names.count(n) > 1}:
        sys.exit(f"api/nvml.toml: more than once: {', '.join(sorted(twice))}")
    table = "\n".join([
        "enum fgml_function {", *[f"    FGML_{n}," for n in names], "    FGML_FUNCTIONS", "};", "",
        "#define FGML_NAMES \\\n" + " \\\n".join(f'    "{n}",' for n in names), "",
        "#define FGML_HAND_LIST(X) \\\n" + " \\\n".join(f"    X({n}, NVML_FN_{t})" for n, t in hand), ""])
    refused = "\n\n".join(map(refuse, api["refuse"])) + "\n"
    for name, text in {"nvml_table.h": table, "nvml_refused.h": refused}.items():
        (out / name).write_text(f"/* {name} - generated from api/nvml.toml by tools/gen_nvml.py; do not edit. */\n#pragma once\n\n{text}")


if __name__ == "__main__":
    main()
