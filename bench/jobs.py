"""Parts of bench/run: jobs (Gavel's table, Shockwave's trace), estimates on kinds never seen, re-planning.

The data is public: stanford-futuredata/gavel simulation_throughputs.json, uw-mad-dash/shockwave's 120-job trace. Its folder is the
environment's FGPU_SCHED_DATA or ../shared/data/sched; without it those rows are left out and the reason is printed."""
import json
import os
import pathlib
import re
import subprocess
import sys

from server import FGPU, ROOT
from table import at_least, at_most, plain

DATA = pathlib.Path(os.environ.get("FGPU_SCHED_DATA", ROOT / "../shared/data/sched"))


def use(folder):
    global DATA  # one folder for a run
    DATA = pathlib.Path(folder)


def data(name):
    found = sorted(DATA.glob(name))
    if not found:
        print(f"skipped: {DATA / name} is missing (see bench/jobs.py for where the public original is)", file=sys.stderr)
    return found[0] if found else None


def simulate(*args):
    text = subprocess.run([FGPU, "simulate", "--json", *map(str, args)], capture_output=True, text=True, check=True).stdout
    return json.loads(text)["runs"]


def gavel(table, seeds):
    rows = []
    for run in simulate("--format", "gavel", "--trace", table, "--seeds", f"1..{seeds}", "--policy", "cost,share,cheapest"):
        cost, share, cheap = (run["policies"][p] for p in ("cost", "share", "cheapest"))
        seed = f"Gavel jobs, load 0.9, seed {run['seed']}"
        note = f"bound ${run['lower_bound_usd']:,.0f}, {share['missed']:.0f} missed, fluid {100 * (run['sharing_fluid_usd'] / run['lower_bound_usd'] - 1):.1f} %"
        rows += [at_most(f"{seed}: cost above the bound", cost["above_bound_percent"], "%", 1, f"cheapest kind misses {cheap['missed']:.0f}"),
                 at_most(f"{seed}: deadlines missed", cost["missed"] + share["missed"], "", 0),
                 at_least(f"{seed}: sharing, below the bound", -share["above_bound_percent"], "%", 12, note)]
    return rows


def loads(table):
    """Other loads, and a smaller cluster: no cliff."""
    rows = []
    for what, more in (("load 0.7", ("--load", 0.7)), ("load 0.95", ("--load", 0.95)), ("24 of each kind", ("--gpus", "24,24,24")),
                       ("300 jobs", ("--jobs", 300))):
        runs = simulate("--format", "gavel", "--trace", table, "--seeds", "11..13", "--policy", "cost", *more)
        rows += [at_most(f"Gavel jobs, {what}, seeds 11..13: cost above the bound, worst", max(r["policies"]["cost"]["above_bound_percent"] for r in runs), "%", 1),
                 at_most(f"Gavel jobs, {what}, seeds 11..13: deadlines missed", sum(r["policies"]["cost"]["missed"] for r in runs), "", 0)]
    return rows


def shockwave(trace):
    run = simulate("--format", "shockwave", "--trace", trace, "--policy", "balanced")[0]["policies"]["balanced"]
    return [at_most("Shockwave, 120 jobs: makespan", run["makespan_s"], "s", 24196, "Shockwave 24,197"),
            at_most("Shockwave, 120 jobs: mean completion", run["mean_jct_s"], "s", 9654, "MST 9,655"),
            at_most("Shockwave, 120 jobs: unfair", run["unfair_percent"], "%", 5, "the same policy")]


def jobs(scale):
    table, trace, rows = data("gavel/simulation_throughputs.json"), data("shockwave/*.trace"), []
    if trace:
        rows += shockwave(trace)
    return rows + (gavel(table, max(1, round(5 * scale))) + loads(table) if table else [])


def estimate(scale):
    table = data("gavel/simulation_throughputs.json")
    if not table:
        return []
    text = subprocess.run([str(ROOT / "build/bench/estimate_bench"), str(table), str(max(2, int(20 * scale)))], capture_output=True, text=True,
                          check=True).stdout.splitlines()[-1]
    figure = {key: float(re.search(key + r" ([\d.]+)", text)[1]) for key in ("median", "p90", "band80")}
    return [plain("times on kinds never seen: median error", 100 * figure["median"], "%", "a fifth of 83 x 3 hidden"),
            plain("times on kinds never seen: p90 error", 100 * figure["p90"], "%"),
            at_most("80 % bands hold 80 %, off by", abs(100 * figure["band80"] - 80), "points", 5)]


def replan(scale):
    text = subprocess.run([str(ROOT / "build/bench/plan_bench")], capture_output=True, text=True, check=True).stdout
    rows = []
    for name, first, gap, valid in re.findall(r"^(\w+ \w) +first_ms ([\d.]+).*gap_percent ([\d.]+).* (\w+)$", text, re.M):
        what = f"re-plan 10,000 x 1,000, {name}"
        rows += [at_most(f"{what}: first valid plan", float(first), "ms", 50, valid), at_most(f"{what}: gap after 1 s", float(gap), "%", 1)]
    return rows
