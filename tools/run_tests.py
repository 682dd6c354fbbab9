#!/usr/bin/env python3
"""Run every test and count them in one line: `N passed, N failed, N skipped`.

Unit tests are cmocka programs that meson knows (each prints its cases); flows and the SDK are pytest.
usage: run_tests.py [--build DIR] [--unit-only] [pytest arguments]
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run_unit(build):
    """Every meson test; returns (passed, failed, skipped) counted by case."""
    subprocess.run(["/usr/bin/meson", "test", "-C", str(build), "--no-rebuild", "--print-errorlogs",
                    "--timeout-multiplier", "10"], check=False)   # the limits of the build files are a quiet machine's
    log = build / "meson-logs" / "testlog.json"
    passed = failed = skipped = 0
    for line in log.read_text().splitlines() if log.exists() else []:
        test = json.loads(line)
        text = test.get("stdout", "") + test.get("stderr", "")
        # A program may run several groups; each group prints its own totals.
        ok = sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", text))
        bad = sum(int(n) for n in re.findall(r"\[  FAILED  \] (\d+) test", text))
        skip = len(re.findall(r"^\[  SKIPPED \] (?!\d)", text, re.M))
        for reason in re.findall(r"^skip: .*", text, re.M):
            print(f"{test['name']}: {reason}")
        crashed = test["result"] not in ("OK", "SKIP") and bad == 0
        if ok == 0 and bad == 0:
            ok = 1 if test["result"] == "OK" else 0
        passed, failed, skipped = passed + ok, failed + bad + crashed, skipped + skip + (test["result"] == "SKIP")
    return passed, failed, skipped


def run_pytest(build, extra):
    folders = [str(ROOT / "tests" / d) for d in ("flow", "python") if any((ROOT / "tests" / d).glob("test_*.py"))]
    if not folders:
        return 0, 0, 0
    with tempfile.TemporaryDirectory() as tmp:
        report = pathlib.Path(tmp) / "report.xml"
        env = dict(os.environ, FGPU_BIN=str(build / "src" / "cli" / "fgpu"), FGPU_BUILD=str(build))
        code = subprocess.run(["/usr/bin/python3", "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider",
                               f"--junitxml={report}", *folders, *extra], env=env, cwd=ROOT, check=False).returncode
        if not report.exists():
            return 0, 1, 0
        suites = ET.parse(report).getroot().iter("testsuite")
        total = failed = skipped = 0
        for s in suites:
            total += int(s.get("tests"))
            failed += int(s.get("failures")) + int(s.get("errors"))
            skipped += int(s.get("skipped"))
        if code not in (0, 1):
            failed = max(failed, 1)
        return total - failed - skipped, failed, skipped


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build", type=pathlib.Path)
    parser.add_argument("--unit-only", action="store_true")
    args, extra = parser.parse_known_args()
    build = args.build.resolve()
    counts = [run_unit(build)]
    if not args.unit_only:
        counts.append(run_pytest(build, extra))
    passed, failed, skipped = (sum(c) for c in zip(*counts))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""), flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
