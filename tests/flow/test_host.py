"""Cores and host memory beside a device, through the whole system: server, agent and the kernel's limits; PoCL as the device."""
import json
import os
import pathlib

import pytest

from agent_world import until
from test_agent_opencl import PROGRAM, missing
from test_cli import FGPU, Fgpu

pytestmark = [pytest.mark.skipif(bool(missing()), reason=missing()), pytest.mark.skipif(not FGPU.exists(), reason=f"{FGPU} is not built"),
              pytest.mark.skipif(os.geteuid() != 0, reason="cgroups are root's")]
MIB = 1 << 20


@pytest.fixture
def fgpu(tmp_path):
    made = Fgpu(tmp_path)
    claims = tmp_path / "claims"
    claims.mkdir()
    claims.chmod(0o1777)
    made.env["FGPU_CLAIMS_DIR"] = str(claims)
    made("up", "--detach", "--listen", "127.0.0.1:0", "--set", "opencl=all")
    made.kind = device(made, "opencl0")["kind"]
    yield made
    made("down", "--kill")


def device(fgpu, name):
    return next(d for d in map(json.loads, fgpu("devices", "--json").splitlines()) if d["name"] == name)


def submit(fgpu, *options):
    return json.loads(fgpu("submit", "--json", "--mem", "64MiB", *options, "--", "sleep", "300"))["id"]


def state(fgpu, task):
    return json.loads(fgpu("get", task, "--json"))["state"]


def limits(task):
    """(cores, host bytes) that the kernel gives the processes of a task; None where a group is not there yet."""
    cores = memory = None
    for group in (pathlib.Path(p) for p, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(p).startswith(task)):
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
            cores = None if quota == "max" else int(quota) / int(period)
        elif (group / "cpu.cfs_quota_us").exists():
            quota, period = (int((group / f"cpu.cfs_{name}_us").read_text(encoding="ascii")) for name in ("quota", "period"))
            cores = None if quota < 0 else quota / period
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (group / name).exists():
                text = (group / name).read_text(encoding="ascii").strip()
                memory = None if text == "max" else int(text)
    return cores, memory



def test_a_part_of_the_machine_is_held_and_enforced_beside_the_device(fgpu):
    cpu = device(fgpu, "cpu0")
    task = submit(fgpu, "--device-kind", fgpu.kind, "--share", "20", "--cpus", "0.5", "--host-memory", "256MiB")
    until(lambda: state(fgpu, task) == "running")
    placed = json.loads(fgpu("get", task, "--json"))["placement"]
    assert placed["device_kind"] == fgpu.kind and (placed["cpus"], placed["host_memory_bytes"]) == (0.5, 256 * MIB)
    # memory of a device that is the processor itself is the host's too, so the limit is both
    until(lambda: limits(task) == (0.5, (256 + 64) * MIB))
    now = device(fgpu, "cpu0")
    assert now["memory_free_bytes"] == cpu["memory_free_bytes"] - 256 * MIB
    assert now["share_free_percent"] == pytest.approx(100 - 50 / cpu["units"], abs=0.1)
    assert "0.5 cores, 256 MiB of the host" in fgpu("get", task)

    fgpu("down")                         # what is held outlives a restart of server and agent
    fgpu("up", "--detach", "--listen", "127.0.0.1:0", "--set", "opencl=all")
    until(lambda: state(fgpu, task) == "running")
    until(lambda: device(fgpu, "cpu0")["memory_free_bytes"] == now["memory_free_bytes"])
    assert limits(task) == (0.5, (256 + 64) * MIB)
    fgpu("cancel", task)
    until(lambda: device(fgpu, "cpu0")["memory_free_bytes"] == cpu["memory_free_bytes"])
    assert device(fgpu, "cpu0")["share_free_percent"] == 100


def test_who_needs_more_cores_than_are_free_waits_and_is_told(fgpu):
    units = device(fgpu, "cpu0")["units"]
    own = submit(fgpu, "--device-kind", "cpu", "--share", "75")
    until(lambda: state(fgpu, own) == "running")
    task = submit(fgpu, "--device-kind", fgpu.kind, "--share", "20", "--cpus", f"{units / 2:g}")
    until(lambda: f"needs {units / 2:g} cores beside it, the machine has {units / 4:g} free" in fgpu("why", task))
    fgpu("cancel", own)
    until(lambda: state(fgpu, task) == "running")


def test_what_no_machine_has_is_refused(fgpu):
    units = device(fgpu, "cpu0")["units"]
    said = fgpu.fails(2, "run", "--device-kind", fgpu.kind, "--cpus", f"{units + 1}", "--", "true")
    assert "no machine has such a device" in said and "resources.cpus" in said
    assert "must be a number of cores" in fgpu.fails(2, "run", "--cpus", "many", "--", "true")


def test_a_task_over_its_host_memory_is_killed_for_that(fgpu):
    fgpu("run", "--device-kind", fgpu.kind, "--mem", "64MiB", "--host-memory", "1GiB", "--", "python3", "-c", PROGRAM + "spin(1)")
    said = fgpu.fails(1, "run", "--device-kind", fgpu.kind, "--mem", "64MiB", "--host-memory", "128MiB", "--", "python3", "-c",
                      "x = bytearray(400 << 20)")
    assert "oom_host" in said


def test_on_the_processor_itself_the_larger_of_share_and_cores_is_held(fgpu):
    units = device(fgpu, "cpu0")["units"]
    task = submit(fgpu, "--device-kind", "cpu", "--share", "1", "--cpus", f"{units / 2:g}", "--host-memory", "64MiB")
    until(lambda: state(fgpu, task) == "running")
    placed = json.loads(fgpu("get", task, "--json"))["placement"]
    assert placed["share_percent"] == 50 and placed["memory_bytes"] == 128 * MIB and placed["cpus"] is None
    until(lambda: limits(task) == (units / 2, 128 * MIB))
