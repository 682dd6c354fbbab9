"""OpenCL devices through the whole system: fgpu up, run, devices, why, usage; PoCL as the device."""
import json
import os
import re
import time

import pytest

from agent_world import until
from cli_world import FGPU, Fgpu
from harness import PATIENCE_S
from test_agent_opencl import MIB, PROGRAM, missing

pytestmark = [pytest.mark.skipif(bool(missing()), reason=missing()), pytest.mark.skipif(not FGPU.exists(), reason=f"{FGPU} is not built"),
              pytest.mark.skipif(os.geteuid() != 0, reason="levels are those of root's agent")]


@pytest.fixture(scope="module")
def fgpu(tmp_path_factory):
    made = Fgpu(tmp_path_factory.mktemp("opencl"))
    claims = tmp_path_factory.mktemp("claims")
    claims.chmod(0o1777)
    made.env["FGPU_CLAIMS_DIR"] = str(claims)
    made("up", "--detach", "--listen", "127.0.0.1:0", "--set", "opencl=all")
    made.kind = next(d["kind"] for d in devices(made) if d["name"] == "opencl0")
    yield made
    made("down", "--kill")


def devices(fgpu):
    """Every device; one JSON object a line."""
    return [json.loads(line) for line in fgpu("devices", "--json").splitlines()]


def run(fgpu, text, *options, code=0):
    """(the task, what it printed) of a program on the OpenCL device."""
    out = fgpu("run", *options, "--device-kind", fgpu.kind, "--name", "cl", "--", "python3", "-c", PROGRAM + text, code=code)
    task = json.loads(fgpu("ps", "--all", "--json").splitlines()[0])
    return json.loads(fgpu("get", task["id"], "--json")), out


def test_devices_show_the_opencl_device_with_its_level(fgpu):
    cpu, opencl = sorted(devices(fgpu), key=lambda d: d["name"])
    assert cpu["name"] == "cpu0" and cpu["enforcement"]["level"] == "kernel"
    assert opencl["enforcement"]["level"] == "audited" and "layer" in opencl["enforcement"]["why"]
    assert float(opencl["price_usd_per_hour"]) == pytest.approx(1, abs=1e-5)
    assert re.search(r"opencl0 .*memory audited, share audited", fgpu("devices"))


def test_a_task_that_names_no_kind_goes_to_the_processor(fgpu):
    fgpu("run", "--", "true")
    task = json.loads(fgpu("ps", "--all", "--json").splitlines()[0])
    assert json.loads(fgpu("get", task["id"], "--json"))["placement"]["device_kind"] == "cpu"


def test_a_task_on_the_device_is_held_measured_and_charged(fgpu):
    task, out = run(fgpu, "say(device.global_mem_size >> 20)\nspin(50)", "--mem", "64MiB", "--share", "50")
    assert out.split() == ["64"] and task["state"] == "succeeded"
    assert task["placement"]["device_kind"] == fgpu.kind and task["placement"]["enforcement"]["level"] == "audited"
    usage = task["usage"]
    assert usage["device_s"] > 0 and MIB <= usage["memory_peak_bytes"] <= 64 * MIB
    assert float(task["cost"]["amount"]) > 0


def test_the_reason_of_a_full_vgpu_says_what_to_do(fgpu):
    task, _ = run(fgpu, "held = [buffer(16) for _ in range(9)]", "--mem", "64MiB", "--share", "50", code=1)
    error = json.loads(fgpu("result", task["id"], "--json", code=1))["error"]
    assert error["reason"] == "oom_vram" and "--mem" in error["hint"] and "64 MiB" in error["message"]
    assert task["usage"]["denied"] >= 1


def test_a_bypass_is_stopped_and_told(fgpu):
    out = fgpu("run", "--device-kind", fgpu.kind, "--mem", "64MiB", "--share", "50", "--", "env", "-i", "PATH=/usr/bin:/bin", "python3", "-c",
               PROGRAM + "time.sleep(600)", code=1)
    assert "limit_bypassed" in out + fgpu.err and "OPENCL_LAYERS" in out + fgpu.err


def test_slices_and_tasks_of_one_device_know_each_other(fgpu, tmp_path):
    """A slice has most of it: the task waits, and starts when the slice has ended. Then it is the slice that is refused."""
    fgpu.env["XDG_RUNTIME_DIR"] = str(tmp_path)
    (tmp_path / "go").touch()
    slice_ = fgpu.start("slice", "-q", "--gpu", "64MiB", "--share", "80", "--", "sh", "-c", f"echo up; while test -e {tmp_path}/go; do sleep 0.1; done")
    try:
        assert slice_.stdout.readline() == b"up\n"
        task = fgpu("submit", "--device-kind", fgpu.kind, "--mem", "64MiB", "--share", "50", "--", "sleep", "600").split()[0]
        until(lambda: json.loads(fgpu("get", task, "--json"))["state"] == "starting")
        time.sleep(2)
        assert json.loads(fgpu("get", task, "--json"))["state"] == "starting"
        (tmp_path / "go").unlink()
        assert slice_.wait(PATIENCE_S) == 0
        until(lambda: json.loads(fgpu("get", task, "--json"))["state"] == "running")
        assert "50 % is free" in fgpu.fails(5, "slice", "-q", "--gpu", "64MiB", "--share", "80", "--", "true")
        fgpu("cancel", task)
    finally:
        slice_.kill()
        slice_.communicate()


def test_what_no_kind_has_is_refused_with_the_kinds(fgpu):
    assert "no device of kind" in fgpu.fails(2, "run", "--device-kind", "gpu9", "--", "true")


def test_doctor_lists_the_device_and_why(fgpu):
    found = json.loads(fgpu("doctor", "--json", "--set", "opencl=all"))
    opencl = next(d for d in found["machine"]["devices"] if d["name"] == "opencl0")
    assert opencl["offered"] and opencl["memory_level"] == "audited"
    found = json.loads(fgpu("doctor", "--json"))
    opencl = next(d for d in found["machine"]["devices"] if d["name"] == "opencl0")
    assert not opencl["offered"] and "opencl=all" in opencl["why"]
