"""Small random assignment problems have the optimum that GLPK finds, and a bound not above it. usage: assign_glpk.py FGPU"""
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

SKIP = 77


def instance(rng, x):
    """In turn: costs that fall with needs, costs free of needs (published type C), both by logarithm (type E); capacity tight enough to
    matter, so that any agent can be overfull in the greedy answer."""
    m, n = rng.randint(2, 5), rng.randint(6, 18)
    if x % 3 < 2:
        need = [[rng.randint(1, 30) for _ in range(n)] for _ in range(m)]
        cost = [[40 - a + rng.randint(-8, 8) if x % 3 == 0 else rng.randint(10, 50) for a in row] for row in need]
    else:
        need = [[int(1 - 10 * math.log(1 - rng.random())) for _ in range(n)] for _ in range(m)]
        cost = [[int(1000 / a - 10 * math.log(1 - rng.random())) for a in row] for row in need]
    capacity = [max(max(row), sum(row) * rng.randint(80, 110) // 100 // m) for row in need]
    return m, n, cost, need, capacity


def text(m, n, cost, need, capacity):
    rows = [" ".join(map(str, row)) for row in cost + need]
    return "\n".join([f"{m} {n}", *rows, " ".join(map(str, capacity))]) + "\n"


def lp(m, n, cost, need, capacity):
    term = lambda a, i, j: f"{'+' if a >= 0 else '-'} {abs(a)} x{i}_{j}"
    pairs = [(i, j) for i in range(m) for j in range(n)]
    lines = ["Minimize", "obj: " + " ".join(term(cost[i][j], i, j) for i, j in pairs), "Subject To"]
    lines += [f"t{j}: " + " ".join(term(1, i, j) for i in range(m)) + " = 1" for j in range(n)]
    lines += [f"a{i}: " + " ".join(term(need[i][j], i, j) for j in range(n)) + f" <= {capacity[i]}" for i in range(m)]
    return "\n".join(lines + ["Binary", *(f"x{i}_{j}" for i, j in pairs), "End"]) + "\n"


def glpk(folder, problem):
    """The optimum; None where there is no solution."""
    path, out = os.path.join(folder, "p.lp"), os.path.join(folder, "p.sol")
    with open(path, "w", encoding="ascii") as f:
        f.write(lp(*problem))
    subprocess.run(["glpsol", "--lp", path, "-w", out], check=True, capture_output=True, timeout=600)
    with open(out, encoding="ascii") as f:
        for line in f:
            words = line.split()
            if words[:1] == ["s"]:          # s mip ROWS COLUMNS STATUS VALUE
                return round(float(words[5])) if words[4] == "o" else None
    raise RuntimeError("glpsol wrote no solution line")


def main():
    if not shutil.which("glpsol"):
        print("skipped: glpsol is not installed (Debian package glpk-utils)")
        return SKIP
    given = os.environ.get("FGPU_SEED", "20")
    seed = time.time_ns() if given == "random" else int(given)
    print(f"assign_glpk: FGPU_SEED={seed}", flush=True)
    rng, solved = random.Random(seed), 0
    with tempfile.TemporaryDirectory() as folder:
        for x in range(40):
            problem = instance(rng, x)
            path = os.path.join(folder, "p.gap")
            with open(path, "w", encoding="ascii") as f:
                f.write(text(*problem))
            best = glpk(folder, problem)
            run = subprocess.run([sys.argv[1], "plan", path, "--format", "gap", "--json", "--max-iterations", "60000"],
                                 check=True, capture_output=True, timeout=600)
            got = json.loads(run.stdout)
            if best is None:
                assert not got["complete"], f"instance {x}: complete, but GLPK says there is no solution"
                continue
            solved += 1
            assert got["complete"] and got["cost"] == best, f"instance {x}: {got['cost']}, GLPK {best}"
            assert got["lower_bound"] <= best, f"instance {x}: bound {got['lower_bound']} above {best}"
    assert solved >= 10, f"only {solved} instances had a solution"
    print(f"{solved} optima equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
