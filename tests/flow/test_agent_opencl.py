"""Tasks on an OpenCL device: the real agent, real sandboxes, PoCL as the device, a fake server.

Quotas are 64 MiB and requests 16 MiB, so that four fit and no more."""
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest

from agent_world import ROOT_ONLY, USERS, make_world, open_way, until  # noqa: F401
from fake_server import AGENT, BUILD, STARTED, USAGE, public_copy
from harness import PATIENCE_S

MIB = 1 << 20


def missing():
    """Why these tests cannot run here; "" when they can."""
    if not (BUILD / "src/shim/libfgpu_opencl.so").exists():
        return "the OpenCL front end is not built: OpenCL headers are missing (tools/deps opencl)"
    if not list(pathlib.Path("/etc/OpenCL/vendors").glob("pocl*.icd")):
        return "PoCL is not installed (tools/deps opencl)"
    if subprocess.run(["/usr/bin/python3", "-c", "import pyopencl, numpy"], capture_output=True, check=False).returncode:
        return "python3-pyopencl is not installed (tools/deps opencl)"
    if b"libasan" in subprocess.run(["ldd", BUILD / "src/shim/libfgpu_opencl.so"], capture_output=True, check=False).stdout:
        return "a layer with a sanitizer in it cannot be loaded by a program without"
    return ""


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

PROGRAM = """
import ctypes, os, sys, time
import numpy as np
import pyopencl as cl
device = cl.get_platforms()[0].get_devices()[0]
context = cl.Context([device])
queue = cl.CommandQueue(context)
def buffer(mib): return cl.Buffer(context, cl.mem_flags.READ_WRITE, mib << 20)
kernel = cl.Program(context, '''__kernel void spin(__global float *a, int n)
{ int i = get_global_id(0); float x = a[i]; for (int j = 0; j < n; j++) x = x * 1.0001f + 0.5f; a[i] = x; }''').build().spin
data = buffer(1)
def spin(times):
    for _ in range(times):
        kernel(queue, (4096,), (64,), data, np.int32(3000))
    queue.finish()
def say(*words): print(*words, flush=True)
"""


@pytest.fixture
def world(make_world):  # noqa: F811
    return make_world(settings=["opencl=all"])


def start(world, text, memory=64 * MIB, share=500, **spec):  # noqa: F811
    return world.server.start(["python3", "-c", PROGRAM + text], device="opencl0", memory=memory, share=share, **spec)


def run(world, text, **more):  # noqa: F811
    """(outcome, what it printed)"""
    task = start(world, text, **more)
    outcome = world.server.finished(task)
    return outcome, world.server.text(task)


def use_of(world, task):  # noqa: F811
    """The last usage report of a task that runs."""
    with world.server.changed:
        return next((r["usage"] for r in reversed(world.server.reports) if r["task"] == task and r["kind"] == USAGE), None)


def wait_use(world, task, test):  # noqa: F811
    until(lambda: (use_of(world, task) or {}).get("device_ns", -1) >= 0 and test(use_of(world, task)))
    return use_of(world, task)


def lease_folder(world):  # noqa: F811
    scope = json.loads((world.folder / "agent/node.json").read_text())["id"][4 + 14:]
    return pathlib.Path(f"/dev/shm/fgpu-{scope}")


def leases(world):  # noqa: F811
    """Lease files of this agent."""
    folder = lease_folder(world)
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


# --- what is offered ---

def test_the_processor_is_no_opencl_device_unless_asked_for(make_world):  # noqa: F811
    world = make_world()
    assert [d["name"] for d in world.server.hellos[0]["devices"]] == ["cpu0"]


@ROOT_ONLY
def test_an_opencl_device_is_offered_with_its_level(world):
    cpu, opencl = world.server.hellos[0]["devices"]
    assert (cpu["name"], opencl["name"], opencl["backend"]) == ("cpu0", "opencl0", "opencl")
    assert opencl["memory_level"] == opencl["share_level"] == "audited" and "layer" in opencl["level_why"]
    assert opencl["memory_bytes"] > 256 * MIB and opencl["units"] > 0 and opencl["kind"] != "cpu"


def test_a_word_that_is_no_choice_is_refused(tmp_path):
    ran = subprocess.run([AGENT, f"data_dir={tmp_path}", "opencl=some"], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ran.returncode == 1 and "none, gpu or all" in ran.stderr


# --- memory, share, money ---

def test_a_task_sees_a_device_of_its_quota_and_gets_no_byte_more(world):
    outcome, text = run(world, """
say(device.global_mem_size >> 20)
data.release()
held = [buffer(16) for _ in range(4)]
try: buffer(1)
except cl.Error: say('refused')
held.pop().release()
held.append(buffer(16))
data = held[0]
spin(20)
""")
    assert outcome["state"] == "succeeded" and text.split() == ["64", "refused"]
    usage = outcome["usage"]
    assert usage["memory_peak_bytes"] == 64 * MIB and usage["denied"] >= 1
    assert 0 < usage["device_ns"] <= usage["wall_ns"]
    until(lambda: leases(world) == [])


def test_a_task_that_ends_badly_after_a_refusal_ran_out_of_device_memory(world):
    outcome, _ = run(world, "held = [buffer(16) for _ in range(9)]")
    assert (outcome["state"], outcome["reason"], outcome["exit_code"]) == ("failed", "oom_vram", 1)
    assert "64 MiB" in outcome["detail"] and "refused" in outcome["detail"]
    assert "MEM_OBJECT_ALLOCATION_FAILURE" in outcome["log_tail"]


def test_two_tasks_get_their_shares_of_the_device(world):
    """30 and 70 of the device, both always busy: of all the time that is charged the parts tend to that, however slow the machine."""
    forever = "say('up')\nwhile True: spin(10)"
    small, large = start(world, forever, share=300), start(world, forever, share=700)
    for task in (small, large):
        world.server.wait_text(task, "up")
        wait_use(world, task, lambda u: u["device_ns"] > 0)
    before = [use_of(world, t)["device_ns"] for t in (small, large)]
    wait_use(world, small, lambda u: u["device_ns"] - before[0] > 1.5e9)

    def part():
        got = [use_of(world, t)["device_ns"] - b for t, b in zip((small, large), before)]
        return got[0] / sum(got)
    until(lambda: 0.2 < part() < 0.4)
    for task in (small, large):
        world.server.kill(task)
        assert world.server.finished(task)["state"] == "canceled"


def test_a_vgpu_is_resized_under_a_running_task(world):
    task = start(world, """
say(device.global_mem_size >> 20)
end = time.monotonic() + 600
while device.global_mem_size >> 20 == 64 and time.monotonic() < end: time.sleep(0.05)
say(device.global_mem_size >> 20)
held = [buffer(16) for _ in range(7)]
""")
    world.server.wait_text(task, "64")
    ref = {"m": "resize", "task": task, "attempt": 1}
    world.server.send({**ref, "memory_bytes": 1 << 50, "share_permille": 500})     # more than there is: nothing happens
    world.server.send({**ref, "memory_bytes": 128 * MIB, "share_permille": 250})
    assert world.server.finished(task)["state"] == "succeeded"
    assert world.server.text(task).split() == ["64", "128"]
    assert "keeps its size" in world.agent.stderr()


# --- the sandbox ---

def test_the_lease_cannot_be_changed_moved_or_truncated_from_inside(world):
    outcome, text = world.run("sh", "-c", """
exec 2>&1
cd /run/fgpu
for f in lease.limits lease.counters libfgpu_opencl.so; do rm -f $f && echo removed $f; mv $f /tmp/x && echo moved $f; done
echo 9 > lease.limits && echo written
chmod 666 lease.limits && echo opened
mv /run/fgpu /run/other && echo moved
python3 -c 'import os; os.truncate("/run/fgpu/lease.counters", 0)' && echo truncated
ls
""", device="opencl0", memory=64 * MIB)
    assert [line for line in text.splitlines() if line.split()[0] in ("removed", "moved", "written", "opened", "truncated")] == []
    assert text.split()[-3:] == ["lease.counters", "lease.limits", "libfgpu_opencl.so"]
    assert world.agent.process.poll() is None


def test_a_task_of_the_processor_has_no_lease(world):
    _, text = world.sh("test -e /run/fgpu && echo there; echo $OPENCL_LAYERS.")
    assert text == ".\n"


# --- who goes around it ---

BYPASS = {
    "a cleaned environment": (["env", "-i", "PATH=/usr/bin:/bin", "python3", "-c", PROGRAM + "say('free')\ntime.sleep(600)"], "OPENCL_LAYERS"),
    "the driver itself": (["python3", "-c", "import ctypes, glob, time\n"
                           "ctypes.CDLL(glob.glob('/usr/lib/*/libpocl.so.2*')[0])\nprint('free', flush=True)\ntime.sleep(600)"], "by itself"),
    "out of sight": (["python3", "-c", "import ctypes, glob, time\nctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n"
                      "ctypes.CDLL(glob.glob('/usr/lib/*/libpocl.so.2*')[0])\ntime.sleep(600)"], "by itself"),
    "in a child": (["sh", "-c", "setsid env -i PATH=$PATH python3 -c '" + PROGRAM.replace("'", '"') + "\ntime.sleep(600)' & wait"], "OPENCL_LAYERS"),
    "from a thread": (["python3", "-c", "import subprocess, threading\nt = threading.Thread(target=lambda: subprocess.run(['env', '-i', 'PATH=/usr/bin:/bin', "
                       "'python3', '-c', " + repr(PROGRAM + "time.sleep(600)") + "]))\nt.start()\nt.join()"], "OPENCL_LAYERS"),
    "by exec, out of the books": (["python3", "-c", PROGRAM + "os.execve('/usr/bin/python3', ['python3', '-c', " + repr(PROGRAM + "time.sleep(600)") +
                                   "], {'PATH': os.environ['PATH']})"], "OPENCL_LAYERS"),
    "a lease it sets itself": (["python3", "-c", "import os\nfor a, b, n in (('limits', 'l', 4096), ('counters', 'c', 69632)):\n"
                                "    open('/tmp/' + b, 'wb').write(open('/run/fgpu/lease.' + a, 'rb').read(n))\n"
                                "os.environ['FGPU_LEASE'] = '/tmp/l:/tmp/c'\n" + PROGRAM + "while True: spin(5)"], "in the books"),
    "a lease of its own": (["sh", "-c", "head -c 4096 /run/fgpu/lease.limits > /tmp/l; cat /run/fgpu/lease.counters > /tmp/c; "
                            "FGPU_LEASE=/tmp/l:/tmp/c exec python3 -c '" + PROGRAM.replace("'", '"') + "\ntime.sleep(600)'"], "FGPU_LEASE"),
}


@pytest.mark.parametrize("way", BYPASS)
def test_who_goes_around_the_layer_is_stopped_and_named(world, way):
    command, seen = BYPASS[way]
    task = world.server.start(command, device="opencl0", memory=64 * MIB)
    outcome = world.server.finished(task)
    assert (outcome["state"], outcome["reason"]) == ("failed", "limit_bypassed"), outcome
    assert seen in outcome["detail"] and "python3" in outcome["detail"] and "libpocl.so" in outcome["detail"]


def test_who_writes_over_the_counters_is_stopped(world):
    outcome, _ = world.sh("dd if=/dev/urandom of=/run/fgpu/lease.counters bs=4096 count=17 conv=notrunc; sleep 600", device="opencl0",
                          memory=64 * MIB)
    assert outcome["reason"] == "limit_bypassed" and "counters" in outcome["detail"]
    assert world.sh("echo fine", device="opencl0", memory=64 * MIB)[1] == "fine\n"


def test_an_exec_stays_in_its_vgpu(world):
    outcome, text = run(world, "held = [buffer(16) for _ in range(3)]\nos.execv('/usr/bin/python3', ['python3', '-c', " + repr(PROGRAM + """
held = []
try:
    while True: held.append(buffer(16))
except cl.Error: say(len(held))
""") + "])")
    assert outcome["state"] == "succeeded" and text.split() == ["3"]      # all but its own MiB is there again
    assert outcome["usage"]["memory_peak_bytes"] == 49 * MIB


def test_forks_threads_and_programs_without_a_device_are_in_order(world):
    """A forked child has the driver in its memory and is in no book until it uses it; a program it starts has neither."""
    outcome, text = run(world, """
import subprocess, threading
child = os.fork()
if child == 0:
    time.sleep(2.5)
    os._exit(7)
other = subprocess.Popen(['sleep', '2.5'], env={})
thread = threading.Thread(target=spin, args=(50,))
thread.start(); thread.join()
say(os.waitpid(child, 0)[1] >> 8, other.wait())
""")
    assert outcome["state"] == "succeeded" and text.split() == ["7", "0"], outcome


@ROOT_ONLY
@USERS
def test_an_ordinary_users_agent_holds_and_sees_it_as_well(make_world, tmp_path):  # noqa: F811
    open_way(tmp_path)
    public_copy(BUILD / "src/shim/libfgpu_opencl.so", tmp_path)      # beside the agent's
    world = make_world(user=64123, settings=["opencl=all"])
    assert world.server.hellos[0]["devices"][1]["memory_level"] == "audited"
    outcome, text = run(world, "say(device.global_mem_size >> 20)\nheld = [buffer(16) for _ in range(9)]")
    assert (outcome["reason"], text.split()[:1]) == ("oom_vram", ["64"]), outcome
    outcome, text = world.sh("exec 2>&1; rm -f /run/fgpu/*; chmod 666 /run/fgpu/lease.limits && echo opened; "
                             "python3 -c 'import os; os.truncate(\"/run/fgpu/lease.counters\", 0)' && echo truncated; ls /run/fgpu",
                             device="opencl0", memory=64 * MIB)
    assert "opened" not in text and "truncated" not in text and text.split()[-3:] == ["lease.counters", "lease.limits", "libfgpu_opencl.so"]
    for way in ("a cleaned environment", "out of sight"):
        task = world.server.start(BYPASS[way][0], device="opencl0", memory=64 * MIB)
        assert world.server.finished(task)["reason"] == "limit_bypassed", way
    task = start(world, "say('up')\nwhile not os.path.exists('stop'): spin(5)\nheld = buffer(32)")
    world.server.wait_text(task, "up")
    world.agent.kill()
    world.agent.run()
    world.server.wait_hello(2)
    until(lambda: (use_of(world, task) or {}).get("device_ns", 0) > 0)
    (world.attempt_dir(task) / "work/stop").touch()
    outcome = world.server.finished(task)
    assert (outcome["state"], outcome["usage"]["memory_peak_bytes"]) == ("succeeded", 33 * MIB), outcome


# --- the agent dies ---

def test_a_killed_agents_vgpus_are_taken_over(world):
    task = start(world, """
say('up')
while not os.path.exists('stop'):
    spin(5)
held = []
try:
    while True: held.append(buffer(16))
except cl.Error: say(len(held))
""", memory=100 * MIB)
    world.server.wait_text(task, "up")
    before = wait_use(world, task, lambda u: u["device_ns"] > 0)["device_ns"]
    assert leases(world) == [f"{task}.1"]
    world.agent.kill()
    time.sleep(0.5)
    world.agent.run()
    world.server.wait_hello(2)
    assert world.server.hellos[1]["attempts"] == [{"task": task, "attempt": 1, "epoch": 1, "finished": False}]
    wait_use(world, task, lambda u: u["device_ns"] > before + 2e8)
    world.server.send({"m": "resize", "task": task, "attempt": 1, "memory_bytes": 64 * MIB, "share_permille": 500})
    until(lambda: "64 MiB" in world.agent.stderr())
    (world.attempt_dir(task) / "work/stop").touch()
    outcome = world.server.finished(task)
    assert outcome["state"] == "succeeded" and world.server.text(task).split() == ["up", "3"]      # 63 of 64 MiB are left
    until(lambda: leases(world) == [])


def test_a_task_whose_lease_cannot_be_taken_over_is_stopped(world):
    task = start(world, "say('up')\nwhile True: spin(5)")
    world.server.wait_text(task, "up")
    world.agent.kill()
    lease_folder(world).joinpath(f"{task}.1").unlink()
    world.agent.run()
    outcome = world.server.finished(task)
    assert outcome["reason"] == "internal" and "taken over" in outcome["detail"]


def test_an_offender_is_found_by_the_next_agent(world):
    task = world.server.start(["python3", "-c", "import ctypes, glob, time\nprint('up', flush=True)\ntime.sleep(2)\n"
                               "ctypes.CDLL(glob.glob('/usr/lib/*/libpocl.so.2*')[0])\ntime.sleep(600)"], device="opencl0", memory=64 * MIB)
    world.server.wait_text(task, "up")
    world.agent.kill()
    time.sleep(3)
    world.agent.run()
    outcome = world.server.finished(task)
    assert outcome["reason"] == "limit_bypassed", outcome


def test_use_is_told_of_a_task_that_ended_while_no_agent_ran(world):
    task = start(world, "say('up')\ntime.sleep(2)\nspin(30)\nheld = buffer(32)")
    world.server.wait_text(task, "up")
    world.agent.kill()
    until(lambda: world.agent.supervisors() == {})
    world.agent.run()
    outcome = world.server.finished(task)
    assert outcome["state"] == "succeeded"
    assert outcome["usage"]["device_ns"] > 0 and outcome["usage"]["memory_peak_bytes"] == 33 * MIB
    until(lambda: leases(world) == [])


def test_what_an_agent_left_that_died_before_the_start_is_swept(world):
    world.agent.kill()
    folder = lease_folder(world)
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "tsk_00000000000000000000000001.1").write_bytes(b"\0" * 4096)
    world.agent.run()
    until(lambda: leases(world) == [])


def test_an_ended_agent_closes_no_lease(world):
    task = start(world, "say('up')\nend = time.monotonic() + 4\nwhile time.monotonic() < end: spin(5)\nheld = buffer(32)\nsay('through')")
    world.server.wait_text(task, "up")
    world.agent.terminate()
    time.sleep(1)
    world.agent.run()
    assert world.server.finished(task)["state"] == "succeeded"
    assert "through" in world.server.text(task)


def test_a_killed_supervisor_ends_the_lease_too(world):
    task = start(world, "say('up')\nwhile True: spin(5)")
    world.server.report(task, STARTED)
    world.server.wait_text(task, "up")
    os.kill(world.agent.supervisors()[f"{task}.1"], signal.SIGKILL)
    assert world.server.finished(task)["reason"] == "internal"
    until(lambda: leases(world) == [])
