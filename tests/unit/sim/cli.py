"""fgpu plan and fgpu simulate print what the documentation promises, for small files of every format. usage: cli.py FGPU"""
import json
import os
import subprocess
import sys
import tempfile

NODES = "sn,cpu_milli,memory_mib,gpu,model\na,64000,262144,4,T4\nb,64000,262144,4,G2\n"
TASKS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\nt1,1000,1024,1,500,\nt2,1000,1024,2,1000,\nt3,1000,1024,1,1000,G2\n"
PHILLY = "timestamp,duration,num_gpus,gpu_time,cluster\n" + "".join(f"2017-10-09 00:0{m}:00,{60 + m},1,1,a\n" for m in range(5))
SHOCKWAVE = "".join("\t".join(["x"] * 6 + ["2", "x", "x", "x", str(600 + 100 * x), str(60 * x)]) + "\n" for x in range(4))
TYPES = [f"('job{x}', 1)" for x in range(3)]
GAVEL = json.dumps({kind: {a: {"null": rate, **{b: [rate * 0.6, rate * 0.6] for b in TYPES}} for a in TYPES}
                    for kind, rate in (("v100", 10.0), ("p100", 5.0), ("k80", 2.0))})
PLAN = "tasks:\n- {id: a, memory: 1GB, time: 1h}\n- {id: b, memory: 99GB, time: 1h}\nvgpus:\n- {id: v, memory: 8GB, price: 0.40}\n"
GAP = "2 3\n1 2 3\n3 2 1\n1 1 5\n1 1 5\n2 2\n"          # task 2 fits nowhere


def main():
    fgpu = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        def file(name, text):
            path = os.path.join(folder, name)
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            return path

        def run(*args, status=0, stdin=None):
            done = subprocess.run([fgpu, *args], input=stdin, capture_output=True, text=True, timeout=600, check=False)
            assert done.returncode == status, (args, done.returncode, done.stderr)
            return done.stdout if status == 0 else done.stderr

        # plan: what is left out is listed; cost and bound are of what is planned
        plan = json.loads(run("plan", file("plan.yaml", PLAN), "--json"))
        assert plan["cost"] == plan["lower_bound"] == 0.4 and plan["gap"] == 0 and plan["seconds"] >= 0, plan
        assert [(x["task"], x["vgpu"]) for x in plan["assignment"]] == [("a", "v")], plan
        assert [x["task"] for x in plan["unassigned"]] == ["b"] and plan["complete"] is False, plan
        assert json.loads(run("plan", "-", "--json", stdin=PLAN))["cost"] == 0.4
        gap = json.loads(run("plan", file("x.gap", GAP), "--format", "gap", "--json"))
        assert (gap["cost"], gap["lower_bound"], gap["gap"], gap["assignment"]) == (3, 3, 0, [0, 0, None]), gap

        # openb: one object a policy and seed, percents as keys; CSV and SVG beside it
        csv, svg = os.path.join(folder, "out.csv"), os.path.join(folder, "out.svg")
        openb = ["simulate", "--format", "openb", "--nodes", file("n.csv", NODES), "--tasks", file("t.csv", TASKS)]
        lines = run(*openb, "--policy", "fastgpu,fgd,bestfit,firstfit", "--seeds", "7..8", "--migrate", "--json", "--csv", csv, "--plot", svg)
        objects = [json.loads(line) for line in lines.splitlines()]
        assert [o["policy"] for o in objects] == [p for p in ("fastgpu", "fgd", "bestfit", "firstfit") for _ in range(3)]
        for o in objects:
            for key in ("allocation", "fragmentation"):
                assert list(o[key]) == [str(p) for p in range(1, 131)] and all(0 <= v <= 100 for v in o[key].values()), o
        assert open(csv, encoding="utf-8").read().startswith("policy,seed,percent,allocation,fragmentation\nfastgpu,7,1,")
        assert open(svg, encoding="utf-8").read().rstrip().endswith("</svg>")
        assert "does not end in .svg" in run(*openb, "--plot", "x.png", status=2)

        # jobs: every policy beside the others; fastgpu is what suits the format; no bound is no figure
        for name, text, ours, more in (("philly", PHILLY, "balanced", []), ("shockwave", SHOCKWAVE, "balanced", []),
                                       ("gavel", GAVEL, "cost", ["--jobs", "20", "--gpus", "2,2,2", "--seed", "99"])):
            args = ["simulate", "--format", name, "--trace", file(name, text), *more]
            os.remove(svg)
            out = json.loads(run(*args, "--policy", "fastgpu,fifo,fastgpu", "--json", "--csv", csv, "--plot", svg))
            (one,) = out["runs"]
            assert list(one["policies"]) == [ours, "fifo"], one
            for p in one["policies"].values():
                assert {"mean_wait_s", "mean_jct_s", "makespan_s", "cost_usd", "missed"} <= p.keys(), p
                assert (p["above_bound_percent"] is None) == (name == "philly"), p
            assert open(svg, encoding="utf-8").read().count("<polyline") == 2
            assert len(open(csv, encoding="utf-8").read().splitlines()) == 3
        assert "Did you mean 'fifo'" in run("simulate", "--format", "philly", "--trace", os.path.join(folder, "philly"), "--policy", "fifa", status=2)
    print("fgpu plan and fgpu simulate keep their forms")


main()
