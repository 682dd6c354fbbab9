"""The measurements of the control skeleton, one function a part: scale -> rows. What each bar is, see docs/benchmarks.md."""
import json
import pathlib
import re
import shutil
import statistics
import subprocess
import threading
import time

import jobs
import openb
import shapes
from load import wrk
from server import FGPU, ROOT, server
from table import at_least, at_most, plain, skipped

# Ten at a time: a task of `true` uses about 9 ms of processor, most of it in making the sandbox.
TASK = {"task_type": "command", "command": ["true"], "resources": {"memory": "16MiB", "share": 10}}
ALONE = dict(TASK, resources={"memory": "16MiB", "share": 50})
HELD = dict(TASK, hold=True)


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p / 100))]


def submit(scale):
    with server() as s:
        one = wrk(s, "/v1/tasks", 16, 8 * scale, json.dumps(HELD))
        batch = wrk(s, "/v1/tasks:batch", 4, 8 * scale, json.dumps({"tasks": [HELD] * 100}))
    note = f"{one['errors'] + batch['errors']} errors"
    return [at_least("durable submits, 16 keep-alive clients", one["rate"], "/s", 2000, f"p99 {one['p99_ms']:.1f} ms, {note}"),
            at_least("durable submits in batches of 100", batch["rate"] * 100, "/s", 20000, f"p99 {batch['p99_ms']:.0f} ms a batch")]


def reads(scale):
    with server() as s:
        task = s.call("POST", "/v1/tasks", HELD)["id"]
        load = wrk(s, f"/v1/tasks/{task}", 16, 8 * scale)
        done = s.call("POST", "/v1/tasks", HELD)["id"]
        s.call("POST", f"/v1/tasks/{done}/cancel")
        ended = wrk(s, f"/v1/tasks/{done}", 16, 4 * scale)
    return [at_least("status reads, queued task", load["rate"], "/s", 10000, f"{load['errors']} errors"),
            at_most("status reads p99", load["p99_ms"], "ms", 10),
            at_least("status reads, ended task", ended["rate"], "/s", 10000, f"{ended['errors']} errors")]


def watch_started(s, seen, stop):
    """Note when each task.started arrives on the tenant's event stream."""
    c = s.connect()
    c.request("GET", "/v1/events?follow=true", headers={"Authorization": f"Bearer {s.key}", "Accept": "text/event-stream"})
    r = c.getresponse()
    kind = ""
    while not stop.is_set():
        line = r.readline().decode()
        if not line:
            return
        if line.startswith("event:"):
            kind = line[6:].strip()
        elif line.startswith("data:") and kind == "task.started":
            seen[json.loads(line[5:])["task"]] = time.monotonic()


def latency(scale):
    with server(agent=True) as s:
        seen, stop, sent = {}, threading.Event(), {}
        threading.Thread(target=watch_started, args=(s, seen, stop), daemon=True).start()
        time.sleep(0.3)
        conn = s.connect()
        for _ in range(max(20, int(400 * scale))):
            begin = time.monotonic()
            task = s.call("POST", "/v1/tasks", ALONE, conn)["id"]
            sent[task] = begin
            s.call("GET", f"/v1/tasks/{task}?wait=30", conn=conn)
        s.wait(lambda: len(seen) == len(sent), "all started events", 10)
        stop.set()
        took = [(seen[t] - sent[t]) * 1000 for t in sent]
    return [at_most("submit -> running, idle server, p50", statistics.median(took), "ms", 15, f"{len(took)} tasks, seen by the client"),
            at_most("submit -> running, idle server, p99", percentile(took, 99), "ms", 60)]


def bwrap_floor(n):
    """What the sandbox alone costs here, in the same run: bwrap with all namespaces around true, one after the other."""
    begin = time.monotonic()
    for _ in range(n):
        subprocess.run(["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"], check=True)
    return (time.monotonic() - begin) / n * 1000


def trivial(scale):
    n = max(100, int(2000 * scale))
    floor = bwrap_floor(50)
    with server(agent=True) as s:
        begin = time.monotonic()
        ids = []
        for i in range(0, n, 100):
            ids += [x["id"] for x in s.call("POST", "/v1/tasks:batch", {"tasks": [TASK] * min(100, n - i)})["tasks"]]
        conn = s.connect()
        states = [s.call("GET", f"/v1/tasks/{t}?wait=120", conn=conn)["state"] for t in ids]
        took = time.monotonic() - begin
        agent_mb = s.rss_mb("agent")
    bad = sum(x != "succeeded" for x in states)
    return [at_least("trivial tasks end to end", n / took, "/s", 100, f"{n} tasks, {bad} not succeeded; bwrap alone {floor:.1f} ms each"),
            plain("agent resident after them", agent_mb, "MB")]


def queue(scale):
    n = max(1000, int(100000 * scale))
    with server() as s:
        for i in range(0, n, 500):
            s.call("POST", "/v1/tasks:batch", {"tasks": [TASK] * min(500, n - i)})
        conn = s.connect()
        page = []
        for _ in range(200):
            begin = time.monotonic()
            s.call("GET", "/v1/tasks?limit=50", conn=conn)
            page.append((time.monotonic() - begin) * 1000)
        ps = []
        for _ in range(50):
            begin = time.monotonic()
            subprocess.run([FGPU, "ps"], env=s.env, check=True, stdout=subprocess.DEVNULL)
            ps.append((time.monotonic() - begin) * 1000)
        rss = s.rss_mb()
        s.stop("serve")
        ready = s.start_serve()
        again = s.rss_mb()
    name = f"{n:,} queued tasks"
    return [at_most(f"{name}: fgpu ps, p99", percentile(ps, 99), "ms", 100, f"list request alone p99 {percentile(page, 99):.1f} ms"),
            at_most(f"{name}: resident", max(rss, again), "MB", 300, f"{rss:.0f} before, {again:.0f} after a restart"),
            at_most(f"{name}: restart to ready", ready, "s", 2)]


def idle(scale):
    with server(agent=True) as s:
        time.sleep(2)
        return [at_most("idle server resident", s.rss_mb(), "MB", 50), plain("idle agent resident", s.rss_mb("agent"), "MB")]


def counted(program, *args):
    """Instructions of a whole run under callgrind."""
    text = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(ROOT / "build/bench" / program), *args],
                          capture_output=True, text=True, check=True).stderr
    return int(re.search(r"Collected : (\d+)", text)[1])


def instructions():
    """The same work in instructions, which no other program on the machine changes; what starting costs is taken off."""
    if not shutil.which("valgrind"):
        return [skipped("vGPU engine, instructions", "valgrind is missing")]
    rows, n = [], 20000
    none = counted("vgpu_bench", "none", "1")
    for what, args in {"gate, a pass and its settlement": ["gate", n], "ledger, alloc + free at 0 live": ["pair", n, 0]}.items():
        rows.append(plain(f"vGPU {what}", (counted("vgpu_bench", *map(str, args)) - none) / n, "instr."))
    full = counted("vgpu_bench", "pair", "1", "100000")
    rows.append(plain("vGPU ledger, alloc + free at 100000 live", (counted("vgpu_bench", "pair", str(n), "100000") - full) / n, "instr."))
    layer = ROOT / "build/src/shim/libfgpu_opencl.so"
    if layer.exists():
        none = counted("shim_bench", str(layer), "none", "1")
        for what, mode in {"an enqueue, measured and settled": "enqueue", "a buffer made and released": "buffer"}.items():
            rows.append(plain(f"OpenCL layer, {what}", (counted("shim_bench", str(layer), mode, str(n)) - none) / n, "instr."))
    return rows


def shim():
    """The OpenCL layer over a driver that does nothing."""
    layer = ROOT / "build/src/shim/libfgpu_opencl.so"
    if not layer.exists():
        return [skipped("OpenCL layer", "the OpenCL headers are missing: tools/deps opencl installs them")]
    text = subprocess.run([str(ROOT / "build/bench/shim_bench"), str(layer)], capture_output=True, text=True, check=True).stdout
    enqueue, buffer = map(float, re.findall(r"([\d.]+) ns", text))
    return [plain("OpenCL layer, an enqueue, measured and settled", enqueue, "ns", "over a driver that does nothing"),
            plain("OpenCL layer, a buffer made and released", buffer, "ns", "over a driver that does nothing")]


def arbiter():
    text = subprocess.run([str(ROOT / "build/bench/vgpu_bench"), "arbiter"], capture_output=True, text=True, check=True).stdout
    return [plain(f"arbiter of {count} vGPUs that all contend", float(busy), "% of a core", f"idle: {idle} %")
            for count, idle, busy in re.findall(r"arbiter of\s+(\d+) vGPUs: idle ([\d.]+) %, all of them contending ([\d.]+)", text)]


def engine(scale):
    """The vGPU engine alone, on a stand-in device: build/bench/vgpu_bench prints `what  figure ns`."""
    text = subprocess.run([str(ROOT / "build/bench/vgpu_bench")], capture_output=True, text=True, check=True).stdout

    def figure(pattern):
        return float(re.search(pattern + r"\s+([\d.]+)", text)[1])
    return [at_most("vGPU gate, a pass", figure("gate pass"), "ns", 20),
            plain("vGPU gate, a settlement", figure("gate settle"), "ns"),
            *[at_most(f"vGPU ledger, alloc + free at {live} live", figure(rf"ledger pair,\s+{live} live"), "ns", 100)
              for live in (0, 1000, 100000)],
            at_most("vGPU attach, 32 processes at once, p99", figure(r"p99"), "ms", 1,
                    f"own processor time p50 {figure('own CPU time: p50')} ms; the same processes only computing for that long: "
                    f"p99 {figure('floor99')} ms"), *arbiter(), *shim(), *instructions()]


def cuda_instructions(*args):
    """Of cuda_bench, counted by callgrind; None without valgrind."""
    if not shutil.which("valgrind"):
        return None
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(ROOT / "build/bench/cuda_bench"), *map(str, args)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return int(re.search(r"refs:\s+([\d,]+)", text)[1].replace(",", ""))


def cuda_added(what):
    """Instructions that the shim adds to one call, batches and their events included: what 100000 more calls take."""
    counts = [cuda_instructions(kind + what, n) for kind in ("", "direct_") for n in (200000, 100000)]
    return None if None in counts else (counts[0] - counts[1] - counts[2] + counts[3]) / 100000


def added(program):
    """What a front end adds to a call, over a driver that does nothing: build/bench/PROGRAM prints `WHAT added N ns, quartiles ...`."""
    text = subprocess.run([str(ROOT / "build/bench" / program)], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^(.+?)\s+added\s+(-?[\d.]+) ns, quartiles (.*)$", text, re.M)
    bars = (20, 5, 100, 100, 100)  # a launch, a copy, three times allocate and free
    return [at_most(f"{what}, added", float(ns), "ns", bar, f"quartiles {rest}") for (what, ns, rest), bar in zip(found, bars, strict=True)]


def cuda(scale):
    """The CUDA and HIP front ends over drivers that do nothing."""
    rows, count = added("cuda_bench") + added("hip_bench"), cuda_added("launch")
    return rows if count is None else rows + [at_most("cuLaunchKernel, added when gated", count, "instructions", 60),
                                              *[plain(f"{what}, added", cuda_added(word), "instructions")
                                                for what, word in (("cuMemcpyHtoDAsync", "copy"), ("cuMemAlloc + cuMemFree", "pair"))]]


def opencl(scale):
    """Real kernels on PoCL in vGPUs of an arbiter: build/bench/opencl_bench prints a row a figure."""
    bench, layer = ROOT / "build/bench/opencl_bench", ROOT / "build/src/shim/libfgpu_opencl.so"
    if not bench.exists() or not list(pathlib.Path("/etc/OpenCL/vendors").glob("*.icd")):
        return [skipped("vGPUs on OpenCL", "no OpenCL headers, loader or driver: tools/deps opencl installs them")]
    text = subprocess.run([str(bench), str(ROOT / "build/bench/opencl_client"), str(layer), str(scale), "share", "tenants", "settle",
                           "overhead", "enqueue"], stdout=subprocess.PIPE, text=True, check=True).stdout
    rows = []
    for line in text.splitlines():
        _, what, value, unit, sense, bar, note = line.split("|")
        make = {"<=": at_most, ">=": at_least}[sense]
        rows.append(make(what, float(value), unit, float(bar), note))
    return rows


def core(scale):
    """The control core alone, in memory: build/bench/queue_bench prints `what  figure unit`."""
    n = max(10000, int(1000000 * scale))
    text = subprocess.run([str(ROOT / "build/bench/queue_bench"), str(n), "8", "50"], capture_output=True, text=True, check=True).stdout
    figures = {what: float(value) for what, value in re.findall(r"^(.*?)  ([\d.]+) ", text, re.M)}
    return [at_most(f"core: {n:,} waiting tasks, resident", figures[f"{n} waiting tasks, resident"], "MB", 1073),
            at_most("core: 150,000 waiting tasks, decoded, loaded, first decision",
                    figures["restart, 150000 waiting tasks decoded, loaded, first decision"], "s", 2),
            at_most("core: why, p99", figures["why, p99"] / 1000, "ms", 10, f"p50 {figures['why, p50'] / 1000:.2f} ms"),
            plain("core: an arrival and its round, p99", figures["an arrival and its round, p99"], "us"),
            plain("core: an end and its round, p50", figures["an end and its round, p50"], "us",
                  f"p99 {figures['an end and its round, p99']:.0f} us"),
            plain("core: submits into the queue", figures["submits into the queue"], "/s")]


PARTS = {"core": core, "submit": submit, "reads": reads, "latency": latency, "trivial": trivial, "queue": queue, "idle": idle, "engine": engine,
         "opencl": opencl, "cuda": cuda, "shapes": shapes.shapes, "sched": lambda scale: openb.part(scale, jobs.DATA / "openb"),
         "jobs": jobs.jobs, "estimate": jobs.estimate, "replan": jobs.replan}
