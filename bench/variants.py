"""Task lists and clusters made from the public openb ones, which nobody has tuned to: other mixes, odd shares, more or less processor,
other nodes. Deterministic: the same folder gives the same lists."""
import csv
import random

ODD_SHARES = (137, 211, 333, 421, 505, 667, 770, 889)


def read(path):
    with open(path, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    return rows


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as f:
        out = csv.DictWriter(f, fieldnames=list(rows[0]))
        out.writeheader()
        out.writerows(rows)


def is_share(row):
    return int(row["num_gpu"]) == 1 and int(row["gpu_milli"]) < 1000


def is_whole(row):
    return int(row["num_gpu"]) >= 1 and not is_share(row)


def mix(rows, percent, lot):
    """As many tasks, so many percent of those with one GPU a share; drawn from the list's own."""
    shares, whole = [r for r in rows if is_share(r)], [r for r in rows if is_whole(r) and r["num_gpu"] == "1"]
    rest = [r for r in rows if not is_share(r) and r not in whole]
    n = len(shares) + len(whole)
    return rest + lot.choices(shares, k=n * percent // 100) + lot.choices(whole, k=n - n * percent // 100)


def more_gpus(rows, times):
    return rows + [r for r in rows if int(r["num_gpu"]) > 1 for _ in range(times - 1)]


def odd(rows, lot):
    return [dict(r, gpu_milli=str(lot.choice(ODD_SHARES))) if is_share(r) else r for r in rows]


def processor(rows, factor):
    return [dict(r, cpu_milli=str(int(int(r["cpu_milli"]) * factor))) for r in rows]


def shuffled(rows, lot):
    """Each task bound to the kinds of another one."""
    specs = [r["gpu_spec"] for r in rows]
    lot.shuffle(specs)
    return [dict(r, gpu_spec=s if int(r["num_gpu"]) else "") for r, s in zip(rows, specs)]


def named(rows):
    """Names that are all different again."""
    return [dict(r, name=f"task-{i:05}") for i, r in enumerate(rows)]


def node_mix(rows, lot):
    """The same count, models drawn anew: rare ones are no longer rare."""
    models = sorted({r["model"] for r in rows})
    by_model = {m: [r for r in rows if r["model"] == m] for m in models}
    picked = [lot.choice(by_model[lot.choice(models)]) for _ in rows]
    return [dict(r, sn=f"node-{i:05}") for i, r in enumerate(picked)]


def make(folder, to):
    """[(name, nodes file, tasks file)]"""
    lists = {p.stem.removeprefix("openb_pod_list_"): read(p) for p in sorted(folder.glob("openb_pod_list_*.csv"))}
    nodes, base, spec = read(folder / "openb_node_list_gpu_node.csv"), lists["default"], lists["gpuspec33"]
    tasks = {
        "shares 0 %": mix(base, 0, random.Random(1)), "shares 20 %": mix(base, 20, random.Random(2)),
        "shares 60 %": mix(base, 60, random.Random(3)), "shares 100 %": mix(base, 100, random.Random(4)),
        "several GPUs x 3": more_gpus(base, 3), "several GPUs x 10": more_gpus(base, 10),
        "odd shares": odd(base, random.Random(5)), "processor x 0.5": processor(base, 0.5), "processor x 1.5": processor(base, 1.5),
        "processor x 2.5": processor(base, 2.5), "kinds shuffled": shuffled(spec, random.Random(6)),
        "kinds, processor x 1.5": processor(spec, 1.5), "kinds, odd shares": odd(spec, random.Random(7)),
        "only whole GPUs": [r for r in base if is_whole(r)], "only shares": [r for r in base if is_share(r)],
    }
    cases = [(name, nodes, rows) for name, rows in tasks.items()]
    cases += [("every fourth node", nodes[::4], base), ("every fourth node, kinds", nodes[::4], spec),
              ("models drawn anew", node_mix(nodes, random.Random(8)), base), ("models drawn anew, kinds", node_mix(nodes, random.Random(9)), spec),
              ("half the nodes, by lot", random.Random(10).sample(nodes, len(nodes) // 2), base)]
    found = []
    for i, (name, some_nodes, rows) in enumerate(cases):
        nodes_at, tasks_at = to / f"nodes-{i}.csv", to / f"tasks-{i}.csv"
        write(nodes_at, some_nodes)
        write(tasks_at, named(rows))
        found.append((name, nodes_at, tasks_at))
    return found
