"""Tasks on AMD devices: the real agent, real sandboxes and the HIP front end over the stand-ins for ROCm SMI and HIP, a fake server.

The agent runs in a mount namespace of its own in which this machine looks as one with an AMD driver: the module is there, and its
libraries are where ROCm installs them. What the kernel's driver would tell of processes is tested in tests/unit/device/amd.c."""
import os
import shutil
import subprocess

import pytest

from agent_world import ROOT_ONLY, lease_outlives_agent, make_world, until  # noqa: F401
from fake_server import BUILD
import fake_server

MIB = 1 << 20
RSMI, HIP = BUILD / "tests/unit/device/libfake_rsmi.so", BUILD / "tests/fakes/hip/libfake_amdhip64.so"
OURS = BUILD / "src/shim/hip/libamdhip64.so.6"
MACHINE = "mount -t tmpfs none /sys/module && mkdir /sys/module/amdgpu && mount -t tmpfs none /opt && mkdir -p /opt/rocm/lib && " \
          f"cp {HIP} /opt/rocm/lib/libamdhip64.so.6 && chmod 755 /opt /opt/rocm /opt/rocm/lib /opt/rocm/lib/*"


def can_mount():
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "sh", "-c", MACHINE], stderr=subprocess.DEVNULL, check=False).returncode == 0


pytestmark = [ROOT_ONLY, pytest.mark.skipif(not all(p.exists() for p in (RSMI, HIP, OURS)), reason="the HIP front end or its stand-ins are not built"),
              pytest.mark.skipif(not can_mount(), reason="this machine lets no mount namespace be made")]

PROGRAM = """
import ctypes, os, sys
hip = ctypes.CDLL("libamdhip64.so.6")
fake = ctypes.CDLL("/run/fgpu/hip/driver/libamdhip64.so.6")
fake.fake_hip_cost.argtypes = [ctypes.c_int64]
def say(*words): print(*words, flush=True)
def ok(rc): assert rc == 0, rc
def alloc(mib):
    pointer = ctypes.c_void_p()
    return hip.hipMalloc(ctypes.byref(pointer), ctypes.c_size_t(mib << 20)), pointer
def view():
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    ok(hip.hipMemGetInfo(ctypes.byref(free), ctypes.byref(total)))
    return free.value >> 20, total.value >> 20
class Dim(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint) for n in "xyz"]
def launch():
    ok(hip.hipLaunchKernel(ctypes.c_char_p(b"kernel"), Dim(1, 1, 1), Dim(1, 1, 1), None, ctypes.c_size_t(0), None))
ok(hip.hipInit(0))
"""


@pytest.fixture
def world(make_world, tmp_path, monkeypatch):  # noqa: F811
    driver = tmp_path / "driver"
    driver.mkdir()
    shutil.copy(RSMI, driver / "librocm_smi64.so.7")
    agent = tmp_path / "agent-on-amd"
    agent.write_text(f"#!/bin/sh\nexec unshare -m sh -c '{MACHINE} && exec \"$@\"' sh {fake_server.AGENT} \"$@\"\n")
    agent.chmod(0o755)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver))
    monkeypatch.setattr(fake_server, "AGENT", agent)
    return make_world(settings=["device_check_s=1"])


def gpus(world):  # noqa: F811
    return [d for d in world.server.hellos[-1]["devices"] if d["backend"] == "amd"]


def run(world, text, memory=64 * MIB, share=500):  # noqa: F811
    task = world.server.start(["python3", "-c", PROGRAM + text], device=gpus(world)[0]["name"], memory=memory, share=share)
    outcome = world.server.finished(task)
    return outcome, world.server.text(task)


def test_gpus_are_found_by_rocm_smi_and_offered_with_their_level(world):  # noqa: F811
    first, second = gpus(world)
    assert first["name"] == "GPU-00000000abcd0000" and first["kind"] == "AMD Instinct MI210" and second["kind"] == "AMD Instinct MI211"
    assert first["memory_bytes"] == 64 << 30 and first["healthy"]
    assert first["memory_level"] == first["share_level"] and first["level_why"]


def test_a_task_gets_its_quota_to_the_byte_and_the_view_agrees(world):  # noqa: F811
    outcome, text = run(world, """
say(*view())
say(*[alloc(16)[0] for _ in range(5)])
say(*view())
""")
    assert outcome["state"] == "succeeded", text
    first, codes, last = (line.split() for line in text.splitlines())
    assert first == ["64", "64"] and codes == ["0", "0", "0", "0", "2"] and last == ["0", "64"]


def test_what_is_freed_can_be_had_again_and_the_peak_is_reported(world):  # noqa: F811
    outcome, text = run(world, """
got = [alloc(16) for _ in range(4)]
for _, pointer in got:
    ok(hip.hipFree(pointer))
say(alloc(48)[0], alloc(32)[0])
sys.exit(7)
""")
    assert text.split() == ["0", "2"]
    assert outcome["state"] == "failed" and outcome["reason"] == "oom_vram"
    assert outcome["usage"]["memory_peak_bytes"] == 64 * MIB and outcome["usage"]["denied"] >= 1


def test_jobs_pass_the_gate_and_their_device_time_is_metered(world):  # noqa: F811
    """200 kernels of 5 ms: a second of the device's clock, whatever the machine's says."""
    outcome, text = run(world, """
fake.fake_hip_cost(5000000)
for _ in range(200):
    launch()
    ok(hip.hipDeviceSynchronize())
say("ran")
""")
    assert outcome["state"] == "succeeded", text
    assert 990_000_000 <= outcome["usage"]["device_ns"] <= 1_010_000_000


def test_the_front_end_stands_before_the_driver_and_cannot_be_moved(world):  # noqa: F811
    outcome, text = run(world, """
for name in ("libamdhip64.so.6", "driver/libamdhip64.so.6"):
    path = "/run/fgpu/hip/" + name
    assert os.path.exists(path), path
    for change in (lambda: os.rename(path, path + "x"), lambda: os.remove(path), lambda: open(path, "r+b")):
        try:
            change()
            say("changed", path)
        except OSError:
            pass
say(os.environ["ROCR_VISIBLE_DEVICES"], os.environ["LD_LIBRARY_PATH"])
""")
    assert outcome["state"] == "succeeded", text
    assert text.split() == [gpus(world)[0]["name"], "/run/fgpu/hip"]


def test_a_restarted_agent_takes_the_lease_over(world):  # noqa: F811
    lease_outlives_agent(world, PROGRAM, gpus(world)[0]["name"])


def test_two_tasks_of_half_a_device_run_beside_each_other_and_a_third_does_not(world):  # noqa: F811
    text = PROGRAM + """
import time
say(alloc(16)[0])
while not os.path.exists("go"):
    time.sleep(0.05)
"""
    device = gpus(world)[0]["name"]
    tasks = [world.server.start(["python3", "-c", text], device=device, memory=64 * MIB, share=500) for _ in range(2)]
    for task in tasks:
        world.server.wait_text(task, "0")
    third = world.server.start(["python3", "-c", PROGRAM + "say(alloc(16)[0])"], device=device, memory=64 * MIB, share=1)
    until(lambda: f"{third}.1 waits: " in world.agent.stderr())
    for task in tasks:
        (world.attempt_dir(task) / "work" / "go").write_text("")
        assert world.server.finished(task)["state"] == "succeeded"
    assert world.server.finished(third)["state"] == "succeeded"
