"""Tasks on NVIDIA devices: the real agent, real sandboxes and front ends over the stand-in driver, a fake server.

In the sandbox the stand-in has a machine of its own, alike but for what other processes do there: what the driver would tell
an agent about a task's processes is tested in tests/unit/device/nvidia.c."""
import shutil
import subprocess

import pytest

from agent_world import lease_outlives_agent, make_world, until  # noqa: F401
from fake_server import BUILD

MIB = 1 << 20
SETUP = "devices=2 0.total=8G 1.total=16G context=0 module=0 driver=12040"

PROGRAM = """
import ctypes, os, sys
cuda = ctypes.CDLL("libcuda.so.1")
nvml = ctypes.CDLL("libnvidia-ml.so.1")
def say(*words): print(*words, flush=True)
def ok(rc): assert rc == 0, rc
context, device = ctypes.c_void_p(), ctypes.c_int()
ok(cuda.cuInit(0))
ok(cuda.cuDeviceGet(ctypes.byref(device), 0))
ok(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
ok(cuda.cuCtxSetCurrent(context))
def alloc(mib):
    pointer = ctypes.c_uint64()
    return cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(mib << 20)), pointer
def view():
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    ok(cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))
    return free.value >> 20, total.value >> 20
class Memory(ctypes.Structure):
    _fields_ = [(n, ctypes.c_ulonglong) for n in ("total", "free", "used")]
def managed_view():
    handle, memory, count = ctypes.c_void_p(), Memory(), ctypes.c_uint()
    ok(nvml.nvmlInit_v2())
    ok(nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)))
    ok(nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(handle)))
    ok(nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)))
    return count.value, memory.free >> 20, memory.total >> 20
"""


def with_driver(folder, monkeypatch, setup):
    driver = folder / "driver"
    driver.mkdir()
    for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
        built = BUILD / "tests/fakes/cuda" / name
        assert built.exists(), f"{built} is not built"
        shutil.copy(built, driver / name)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver))
    monkeypatch.setenv("FGPU_FAKE_CUDA", str(folder / "machine"))
    monkeypatch.setenv("FGPU_FAKE_CUDA_SETUP", setup)


@pytest.fixture
def world(make_world, tmp_path, monkeypatch):  # noqa: F811
    with_driver(tmp_path, monkeypatch, SETUP)
    return make_world(settings=["device_check_s=1"])


def gpus(world):  # noqa: F811
    return [d for d in world.server.hellos[-1]["devices"] if d["backend"] == "nvidia"]


def run(world, text, memory=64 * MIB, share=500, **spec):  # noqa: F811
    spec.setdefault("env", {}).update({"FGPU_FAKE_CUDA_SETUP": SETUP})
    task = world.server.start(["python3", "-c", PROGRAM + text], device=gpus(world)[0]["name"], memory=memory, share=share, **spec)
    outcome = world.server.finished(task)
    return outcome, world.server.text(task)


def test_gpus_are_offered_by_uuid_with_their_memory_and_level(world):  # noqa: F811
    small, large = sorted(gpus(world), key=lambda d: d["memory_bytes"])
    assert small["name"].startswith("GPU-") and large["name"].startswith("GPU-") and small["name"] != large["name"]
    assert (small["memory_bytes"] + (1 << 28)) >> 30 == 8 and (large["memory_bytes"] + (1 << 28)) >> 30 == 16
    assert small["healthy"] and small["memory_level"] == small["share_level"]


def test_a_task_gets_its_quota_to_the_byte_and_every_view_agrees(world):  # noqa: F811
    outcome, text = run(world, """
say(*view(), *managed_view())
got = [alloc(16)[0] for _ in range(5)]
say(*got)
say(*view(), *managed_view())
""")
    assert outcome["state"] == "succeeded", text
    first, codes, last = (line.split() for line in text.splitlines())
    assert first == ["64", "64", "1", "64", "64"]
    assert codes == ["0", "0", "0", "0", "2"]        # the driver's own code: out of memory
    assert last == ["0", "64", "1", "0", "64"]


def test_what_a_task_used_is_reported_and_ended_by(world):  # noqa: F811
    outcome, text = run(world, """
got = [alloc(16)[0] for _ in range(5)]
sys.exit(got[-1])
""")
    assert outcome["state"] == "failed" and outcome["reason"] == "oom_vram", text
    assert outcome["usage"]["memory_peak_bytes"] == 64 * MIB and outcome["usage"]["denied"] >= 1


def test_the_front_ends_stand_before_the_driver_and_cannot_be_moved(world):  # noqa: F811
    outcome, text = run(world, """
for name in ("libcuda.so.1", "driver/libcuda.so.1", "libnvidia-ml.so.1", "driver/libnvidia-ml.so.1"):
    path = "/run/fgpu/cuda/" + name
    assert os.path.exists(path), path
    for change in (lambda: os.rename(path, path + "x"), lambda: os.remove(path), lambda: open(path, "r+b")):
        try:
            change()
            say("changed", path)
        except OSError:
            pass
ok(ctypes.CDLL("libcuda.so").cuInit(0))
say(*sorted({line.split()[-1] for line in open("/proc/self/maps") if "libcuda.so" in line}))
say(os.environ["CUDA_VISIBLE_DEVICES"].split("-")[0])
""")
    loaded = text.split()
    assert outcome["state"] == "succeeded" and loaded.pop() == "GPU", text
    assert loaded and all(path.startswith("/run/fgpu/cuda/") for path in loaded)


def test_a_restarted_agent_takes_the_lease_over(world):  # noqa: F811
    lease_outlives_agent(world, PROGRAM, gpus(world)[0]["name"], env={"FGPU_FAKE_CUDA_SETUP": SETUP})


def test_a_device_that_is_too_hot_takes_no_more_tasks_and_is_taken_back(world, tmp_path):  # noqa: F811
    def all_well():
        return all(d["healthy"] for d in gpus(world))

    def set_throttle(bits):
        code = f"import ctypes; assert ctypes.CDLL('{tmp_path}/driver/libcuda.so.1').fake_set(b'0.throttle={bits}') == 0"
        subprocess.run(["/usr/bin/python3", "-c", code], check=True)
    assert all_well()
    set_throttle(64)                     # slowed down by heat
    until(lambda: not all_well())
    hot = [d for d in gpus(world) if not d["healthy"]]
    assert len(hot) == 1 and "heat" in hot[0]["level_why"]
    set_throttle(0)
    until(all_well)


def test_what_the_driver_cannot_put_aside_runs_on(make_world, tmp_path, monkeypatch):  # noqa: F811
    """The agent's driver does not know the task's process here, since the stand-in's machines are two; so it refuses."""
    setup = SETUP.replace("12040", "13000")
    with_driver(tmp_path, monkeypatch, setup)
    world = make_world(settings=["reclaim.idle_s=1", "reclaim.when=always"])
    task = world.server.start(["python3", "-c", PROGRAM + """
say(alloc(16)[0])
import time
while not os.path.exists("go"):
    time.sleep(0.2)
say(alloc(16)[0])
"""], device=gpus(world)[0]["name"], memory=64 * MIB, share=500, env={"FGPU_FAKE_CUDA_SETUP": setup})
    world.server.wait_text(task, "0")
    until(lambda: "is not parked: the driver cannot put it aside" in world.agent.stderr())
    (world.attempt_dir(task) / "work" / "go").write_text("")
    assert world.server.finished(task)["state"] == "succeeded"
    assert world.server.text(task).split() == ["0", "0"]


def test_a_driver_without_checkpoints_is_named_and_nothing_else_changes(make_world, tmp_path, monkeypatch):  # noqa: F811
    with_driver(tmp_path, monkeypatch, SETUP)
    world = make_world(settings=["reclaim.idle_s=1"])
    until(lambda: "idle device memory is not reclaimed: the driver's interface is 12.4" in world.agent.stderr())
    assert run(world, "say(alloc(16)[0])")[0]["state"] == "succeeded"
