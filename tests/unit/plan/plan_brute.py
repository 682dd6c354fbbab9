"""Small random plan files with every constraint: what `fgpu plan` prints is valid by the rules of docs/scheduler.md, written anew here, plans
as many tasks as any plan can, at the least that these cost, and its bound is not above that. usage: plan_brute.py FGPU [FILES]"""
import itertools
import json
import math
import os
import random
import subprocess
import sys
import time

NS, CENT, MILLION = 10**9, 10**7, 10**6
HOUR = 3600 * NS
NEVER = 1 << 60


def draw(rng):
    """Times in seconds, money in cents, memory in GB, shares in percent."""
    kinds = ["A", "B", "C"][: rng.randint(1, 3)]
    vgpus, tasks, top = [], [], {}
    for i in range(rng.randint(1, 3)):
        v = {"id": f"v{i}", "kind": rng.choice(kinds), "memory": rng.choice([4, 8, 16]), "gflops": rng.choice([50, 100, 200]),
             "price": rng.choice([0, 20, 40, 100, 160]), "capacity": rng.choice([1, 1, 2, 3])}
        if rng.random() < 0.4:
            v |= {"spot": rng.choice([1, 10, 30]), "interruptions": rng.choice([0, 0.1, 0.5, 2])}
        vgpus.append(v)
    for i in range(rng.randint(1, 6)):
        t = {"id": f"t{i}", "memory": rng.choice([1, 2, 4, 8, 12])}
        form = rng.random()
        if form < 0.6:
            t["time"] = rng.choice([1, 2, 3, 5, 8]) * 600
        elif form < 0.8:
            t["work"] = rng.choice([60000, 120000, 360000])
        else:
            t["times"] = {k: rng.choice([1, 2, 3, 5]) * 600 for k in rng.sample(kinds, rng.randint(1, len(kinds)))}
        options = [(0.6, "share", [10, 25, 40, 50, 60, 100]), (0.3, "deadline", [600, 1200, 1800, 2400, 3600, 6000]), (0.15, "budget", [1, 5, 10, 30]),
                   (0.5, "tenant", ["x", "y"]), (0.5, "type", ["bert", "resnet"]), (0.3, "spot", [True])]
        t |= {key: rng.choice(values) for part, key, values in options if rng.random() < part}
        if rng.random() < 0.2:
            t["kinds"] = rng.sample(kinds, rng.randint(1, len(kinds)))
        whole, apart = rng.random(), rng.random()
        if whole < 0.3:
            t["group" if whole < 0.15 else "gang"] = rng.choice("gh")
        if apart < 0.15:
            t["isolation"] = "alone"
        elif apart < 0.3 and "tenant" in t:
            t["isolation"] = "tenant"
        tasks.append(t)
    options = [(0.3, "run", ["at_once"]), (0.2, "horizon", [1200, 2400, 4800]), (0.15, "budget", [5, 20, 60]), (0.15, "slowdown", [1.1, 1.3]),
               (0.3, "interference", [[{"types": ["bert", "resnet"], "slowdown": s}] for s in (1.1, 1.5, 2)])]
    top |= {key: rng.choice(values) for part, key, values in options if rng.random() < part}
    return tasks, vgpus, top


def text(tasks, vgpus, top):
    def line(item):
        money = {k: f"{item[k] // 100}.{item[k] % 100:02}" for k in ("price", "spot", "budget") if k in item and item[k] is not True}
        return item | money | ({"memory": f"{item['memory']}GB"} if "memory" in item else {})
    return json.dumps({"tasks": [line(t) for t in tasks], "vgpus": [line(v) for v in vgpus], **line(top)})


def cost_of(cents, time_ns, hold):
    return -(-cents * CENT * time_ns * hold // (HOUR * MILLION))


def latest(t, top):
    return min(t.get("deadline", NEVER), top.get("horizon", NEVER)) * NS


def pair(t, v, top):
    """(time, cents an hour, part of the price) of a task alone on a vGPU; None where it may not run."""
    if v["kind"] not in t.get("kinds", v["kind"]) or t["memory"] > v["memory"] or v["kind"] not in t.get("times", v["kind"]):
        return None
    share = t.get("share", 100)
    if "work" in t:
        time_ns = math.ceil(t["work"] / (v["gflops"] * (share * 10) / 1000.0) * 1e9)
    else:
        time_ns = (t["times"][v["kind"]] if "times" in t else t["time"]) * NS
    alone = v["capacity"] == 1 or t.get("isolation") == "alone"
    hold = MILLION if alone else min(MILLION, max(-(-t["memory"] * MILLION // v["memory"]), share * 10000))
    price = v["price"]
    if "spot" in t and "spot" in v and "gang" not in t and latest(t, top) == NEVER * NS:
        rate = v["interruptions"] / HOUR
        longer = math.ceil(math.expm1(rate * time_ns) / rate) if rate else time_ns
        if cost_of(v["spot"], longer, hold) < cost_of(price, time_ns, hold):
            price, time_ns = v["spot"], longer
    late, dear = time_ns > latest(t, top), cost_of(price, time_ns, hold) > t.get("budget", NEVER) * CENT
    return None if late or dear else (time_ns, price, hold)


def may_start(t, running, v):
    if len(running) >= v["capacity"]:
        return False
    if v["capacity"] == 1 or not running:
        return True
    beside = [r["task"] for r in running]
    if sum(o["memory"] for o in beside) + t["memory"] > v["memory"] or sum(o.get("share", 100) for o in beside) + t.get("share", 100) > 100:
        return False
    for o in beside:
        rules = {o.get("isolation"), t.get("isolation")}
        if "alone" in rules or ("tenant" in rules and o.get("tenant") != t.get("tenant")):
            return False
    return True


def slowed(r, running, top):
    factor = 1
    for o in running:
        if o is not r:
            pairs = [i["slowdown"] for i in top.get("interference", []) if sorted(i["types"]) == sorted([str(r["task"].get("type")), str(o["task"].get("type"))])]
            factor *= pairs[0] if pairs else top.get("slowdown", 1)
    return factor


def lane(tasks, v, top):
    """{id: (start, end, cost)} of the tasks of one vGPU: gangs first, then by deadline, then the shorter, nobody overtakes; None if a rule breaks."""
    pairs = {t["id"]: pair(t, v, top) for t in tasks}
    if None in pairs.values():
        return None
    running, now, done = [], 0, {}

    def run_on():
        nonlocal running, now
        factors = [slowed(r, running, top) for r in running]
        step = math.ceil(min(r["left"] * f for r, f in zip(running, factors)))
        now += step
        for r, f in zip(running, factors):
            r["left"] -= step / f
            if r["left"] <= 0.5:
                _, price, hold = pairs[r["task"]["id"]]
                done[r["task"]["id"]] = (r["start"], now, cost_of(price, now - r["start"], hold))
        running = [r for r in running if r["left"] > 0.5]

    for t in sorted(tasks, key=lambda t: ("gang" not in t, latest(t, top), pairs[t["id"]][0], t["id"])):
        while not may_start(t, running, v):
            run_on()
        if now and ("gang" in t or "run" in top):
            return None
        running.append({"task": t, "left": float(pairs[t["id"]][0]), "start": now})
    while running:
        run_on()
    kept = all(done[t["id"]][1] <= latest(t, top) and done[t["id"]][2] <= t.get("budget", NEVER) * CENT for t in tasks)
    return done if kept else None


def whole(tasks, planned):
    sets = {}
    for t in tasks:
        for key in ("group", "gang"):
            if key in t:
                sets.setdefault((key, t[key]), set()).add(t["id"] in planned)
    return all(len(s) == 1 for s in sets.values())


class Lanes:
    """The cost of a vGPU's tasks, each set worked out once."""
    def __init__(self, tasks, vgpus, top):
        self.tasks, self.vgpus, self.top, self.known = tasks, vgpus, top, {}

    def cost(self, at):
        """Of an assignment: a vGPU, or None, for each task. None if it is not valid."""
        total = 0
        for v, vgpu in enumerate(self.vgpus):
            key = (v, tuple(j for j, x in enumerate(at) if x == v))
            if key not in self.known:
                ran = lane([self.tasks[j] for j in key[1]], vgpu, self.top)
                self.known[key] = None if ran is None else sum(cost for _, _, cost in ran.values())
            if self.known[key] is None:
                return None
            total += self.known[key]
        return total

    def best(self, places):
        """The most tasks, and the least that so many cost; places: where each task may be."""
        most, least, budget = -1, None, self.top.get("budget", NEVER) * CENT
        for at in itertools.product(*places):
            planned = sum(x is not None for x in at)
            if planned < most or not whole(self.tasks, {t["id"] for t, x in zip(self.tasks, at) if x is not None}):
                continue
            cost = self.cost(at)
            if cost is not None and cost <= budget and (planned > most or cost < least):
                most, least = planned, cost
        return most, least


def faults(fgpu, tasks, vgpus, top):
    ran = subprocess.run([fgpu, "plan", "-", "--json", "--max-iterations", "20000"], input=text(tasks, vgpus, top).encode(), capture_output=True, timeout=600)
    if ran.returncode:
        return [ran.stderr.decode()]
    plan = json.loads(ran.stdout)
    at, left = {a["task"]: a for a in plan["assignment"]}, {u["task"] for u in plan["unassigned"]}
    found = [] if sorted([*at, *left]) == [t["id"] for t in tasks] else ["a task is lost, or there twice"]
    for v in vgpus:
        mine = [t for t in tasks if t["id"] in at and at[t["id"]]["vgpu"] == v["id"]]
        done = lane(mine, v, top)
        if done is None:
            return [*found, f"not valid: {v['id']} with {[t['id'] for t in mine]}"]
        for name, (start, end, cost) in done.items():
            if abs(at[name]["start_s"] * NS - start) > 1000 or abs(at[name]["end_s"] * NS - end) > 1000 or abs(at[name]["cost_usd"] * NS - cost) > 3:
                found.append(f"{at[name]} should be {start} to {end} ns for {cost}")
    cost, bound, lanes = plan["cost"] * NS, plan["lower_bound"] * NS, Lanes(tasks, vgpus, top)
    most, least = lanes.best([[None, *range(len(vgpus))]] * len(tasks))
    own = lanes.best([[None] if t["id"] in left else range(len(vgpus)) for t in tasks])[1]
    rules = [(whole(tasks, set(at)), "a group is in two"), (cost <= top.get("budget", NEVER) * CENT, "over the budget"), (bound <= cost + 1, "bound above cost"),
             (len(at) == most, f"{len(at)} planned of {most}"), (len(at) != most or abs(cost - least) < 100, f"costs {cost}, at best {least}"),
             (own is None or bound <= own + 100, f"bound {bound} above {own}")]
    return found + [what for kept, what in rules if not kept]


def main():
    given = os.environ.get("FGPU_SEED", "1")
    seed = time.time_ns() if given == "random" else int(given, 0)
    rng, files = random.Random(seed), int(sys.argv[2]) if len(sys.argv) > 2 else 150
    for x in range(files):
        instance = draw(rng)
        found = faults(sys.argv[1], *instance)
        if found:
            print(f"FGPU_SEED={seed}, file {x}:\n{text(*instance)}\n" + "\n".join(found))
            return 1
    print(f"{files} files, FGPU_SEED={seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
