"""Elastic shares through the whole system: server, agent and the kernel's quota."""
import json
import os
import pathlib

import pytest

from agent_world import ROOT_ONLY, until, world  # noqa: F401
from cli_world import FGPU, Fgpu

pytestmark = pytest.mark.skipif(not FGPU.exists(), reason=f"{FGPU} is not built")


@pytest.fixture
def fgpu(tmp_path):
    made = Fgpu(tmp_path)
    made("up", "--detach", "--listen", "127.0.0.1:0")
    yield made
    made("down", "--kill")


def submit(fgpu, *options):
    return json.loads(fgpu("submit", "--json", "--mem", "64MiB", *options, "--", "sleep", "300"))["id"]


def slice_of(fgpu, task):
    """(own share, lent share, state) of a task."""
    told = json.loads(fgpu("get", task, "--json"))
    placed = told["placement"] or {}
    return placed.get("share_percent"), placed.get("share_lent_percent"), told["state"]


def device(fgpu):
    return next(d for d in map(json.loads, fgpu("devices", "--json").splitlines()) if d["name"] == "cpu0")


def quota_percent(fgpu, task):
    """What the kernel gives the task of all cores; None while its group is not there."""
    for folder in (p for p, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(p).startswith(task)):
        group = pathlib.Path(folder)
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
        elif (group / "cpu.cfs_quota_us").exists():
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text(encoding="ascii").strip() for name in ("quota", "period"))
        else:
            continue
        return 100 if quota in ("max", "-1") else round(100 * int(quota) / int(period) / device(fgpu)["units"])
    return None


@ROOT_ONLY
def test_an_elastic_task_is_lent_what_is_idle_and_gives_it_back_to_who_comes(fgpu):
    elastic = submit(fgpu, "--share", "20", "--share-max", "80")
    until(lambda: slice_of(fgpu, elastic) == (20, 60, "running"))
    until(lambda: quota_percent(fgpu, elastic) == 80)
    seen = device(fgpu)
    assert (seen["share_free_percent"], seen["share_lent_percent"]) == (80, 60)
    assert [(v["share_percent"], v["share_lent_percent"]) for v in seen["vgpus"]] == [(20, 60)]
    assert "20 + 60 % lent" in fgpu("get", elastic) and "80 % (60 lent)" in fgpu("devices")

    other = submit(fgpu, "--share", "70")
    until(lambda: slice_of(fgpu, other) == (70, 0, "running"))
    assert slice_of(fgpu, elastic) == (20, 10, "running")
    until(lambda: (quota_percent(fgpu, elastic), quota_percent(fgpu, other)) == (30, 70))

    fgpu("cancel", other)
    until(lambda: slice_of(fgpu, elastic) == (20, 60, "running"))
    until(lambda: quota_percent(fgpu, elastic) == 80)
    assert json.loads(fgpu("get", elastic, "--json"))["attempt"] == 1


@ROOT_ONLY
def test_what_is_lent_outlives_a_restart_of_server_and_agent(fgpu):
    elastic = submit(fgpu, "--share", "20", "--share-max", "80")
    until(lambda: quota_percent(fgpu, elastic) == 80)
    fgpu("down")
    fgpu("up", "--detach", "--listen", "127.0.0.1:0")
    until(lambda: slice_of(fgpu, elastic) == (20, 60, "running"))
    submit(fgpu, "--share", "75")
    until(lambda: slice_of(fgpu, elastic) == (20, 5, "running"))
    until(lambda: quota_percent(fgpu, elastic) == 25)


def test_a_largest_share_below_the_share_is_refused(fgpu):
    assert "resources.share_max" in fgpu.fails(2, "submit", "--share", "50", "--share-max", "20", "--", "true")


def test_a_task_that_is_being_stopped_gives_back_too(world):  # noqa: F811
    task = world.server.start(["sh", "-c", "trap '' TERM; echo up; while true; do sleep 0.1; done"], share=800)
    world.server.wait_text(task, "up")
    world.server.kill(task)
    world.server.send({"m": "resize", "task": task, "attempt": 1, "memory_bytes": 64 << 20, "share_permille": 200})
    until(lambda: "and 200 permille" in world.agent.stderr())
    assert world.server.finished(task)["state"] == "canceled"
