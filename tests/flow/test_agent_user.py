"""As an ordinary user: no cgroups of our own, and that is said; the sandbox is the same; memory is audited."""
import shutil

import pytest

from agent_world import ROOT_ONLY, USERS, World, open_way
from fake_server import STARTED

USER = 64999                             # nobody's


@pytest.fixture
def user_world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    open_way(folder)
    w = World(folder, user=USER)
    yield w
    w.close()
    shutil.rmtree(folder, ignore_errors=True)


@ROOT_ONLY
def test_levels_are_reported_as_they_are(user_world):
    device = user_world.server.hellos[0]["devices"][0]
    if device["memory_level"] == "kernel":
        pytest.skip("this user was given cgroups of its own")
    assert (device["memory_level"], device["share_level"]) == ("audited", "none")
    assert "no cgroup for memory and cpu" in device["level_why"]


@USERS
@ROOT_ONLY
def test_tasks_run_in_the_same_sandbox(user_world):
    outcome, text = user_world.sh("id -u; echo > /etc/x; ls -d /proc/[0-9]* | wc -l; echo out > /out/file; grep NoNewPrivs /proc/self/status")
    assert outcome["state"] == "succeeded", outcome
    words = text.split()
    assert words[0] == str(USER) and "NoNewPrivs:" in words
    assert user_world.server.blobs[eval(outcome["outputs"])[0]["blob"]] == b"out\n"
    assert outcome["usage"]["device_ns"] > 0


@USERS
@ROOT_ONLY
def test_a_task_over_its_memory_is_stopped(user_world):
    task = user_world.server.start(["python3", "-c", "import time; x = bytearray(200 << 20); time.sleep(600)"], memory=64 << 20)
    outcome = user_world.server.finished(task)
    assert (outcome["state"], outcome["reason"]) == ("failed", "oom_host"), outcome
    assert outcome["usage"]["memory_peak_bytes"] > 64 << 20


@USERS
@ROOT_ONLY
def test_a_task_within_its_memory_is_left_alone(user_world):
    script = "import os, time\nx = bytearray(40 << 20)\nfor _ in range(6):\n    if os.fork() == 0: time.sleep(1.5); os._exit(0)\ntime.sleep(2)"
    task = user_world.server.start(["python3", "-c", script], memory=80 << 20)      # shared pages count once
    user_world.server.report(task, STARTED)
    assert user_world.server.finished(task)["state"] == "succeeded"
